"""The call of one kernel, as text of the function around it: the grid, the arguments, the states after it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tensorc.backends.tile_anchor import is_cube
from tensorc.backends.tile_axes import GRID, SCALAR, flat
from tensorc.backends.tile_cut import cut
from tensorc.backends.tile_kernel import Kernel
from tensorc.backends.tile_moves import after, left_by
from tensorc.backends.tile_whole import whole
from tensorc.backends.torch_library import FUNCTIONAL
from tensorc.backends.torch_sequence import TorchHead
from tensorc.backends.triton_fit import block, need
from tensorc.backends.triton_kernel import KernelWriter
from tensorc.ir import Extent, Program
from tensorc.plan import Plan, Ref, Stream
from tensorc.plan_io import plan_steps

# What comes with a tensor: its strides, and how they are aligned; with a state: where it is before the first
# row, before each chunk, after the last; with a cache: its new rows, and itself with them.
ENDS = ("_b", "_align", "_in", "_all", "_out", "_rows", "_next", *(f"_s{k}" for k in range(32)))
KERNELS = r"(.*_)?(kernel|(states|reads|token)\d*|end|\d+)"  # how the names of kernels end


class CallWriter(TorchHead):
    """Cuts a plan into kernels, and writes them with the lines that launch them."""

    ends = ENDS

    def __init__(self, program: Program, plan: Plan) -> None:
        super().__init__(program, plan, FUNCTIONAL)
        self.printer.lead = "count"
        for state in plan.states:  # a state that is an output has a name of its own
            self.names.values.pop(state.name, None)
        self.stem = self.names.function
        while any(re.fullmatch(f"{self.stem}_{KERNELS}", name) for name in self.names.taken):
            self.stem += "_"
        self.cuts = [cut(plan, k, self.stem) for k in range(len(plan.loops))]
        self.whole = whole(plan, self.stem) if plan.form == "parallel" else None
        self.kernels: list[str] = []
        labels = {kept.value: kept.axes for kept in plan.kept}
        if self.whole is not None:
            labels |= self.whole.tensors
        for found in self.cuts:
            labels |= {r.tensor: r.value.axes for r in found.rows}
            labels |= {c.tensor: c.state.axes for c in found.caches}
        self.left = {left_by(s): s for s in plan.states}
        labels |= {tensor: state.axes for tensor, state in self.left.items()}
        labels |= {after(s): s.axes for s in plan.states}
        extents = dict(plan.extents)
        self.tensors: dict[str, Sequence[Extent | None]] = dict(plan.tensors)
        self.tensors |= {t: [extents.get(a) for a in axes] for t, axes in labels.items()}
        self.needs: dict[str, str] = {}

    @property
    def lengths(self) -> frozenset[str]:
        """Sizes that are lengths of sequences."""
        names = set(self.plan.time.names if self.plan.time is not None else ())
        for step in plan_steps(self.plan):
            if isinstance(step, Stream):
                names |= {n for c in step.columns if c.extent is not None for n in c.extent.names}
        return frozenset(names)

    def _chunk(self) -> int:
        """The chunk by default: 16 where kernels make cubes of tokens, tokens and features, else 64."""
        kernels = (launch.whole for found in self.cuts for launch in found.launches)
        cubes = any(is_cube(s) for kernel in kernels for s in flat(kernel.steps))
        return 16 if cubes or self.plan.form == "recurrent" else 64

    def _streams(self) -> bool:
        return len(self.plan.loops) == 1 and not self.plan.loops[0].reverse

    def _writer(self, kernel: Kernel) -> KernelWriter:
        cached = frozenset(c.tensor for found in self.cuts for c in found.caches)
        return KernelWriter(self.plan, kernel, self.names, self.tensors, cached, self.lengths)

    def _call(self, writer: KernelWriter, depth: int) -> None:
        kernel = writer.kernel
        self.kernels += ["", "", *writer.write()]
        given = {d.name for d in self.program.inputs}
        given |= {c.tensor for found in self.cuts for c in found.caches if c.source in given} | writer.short
        chunk, spelled = self._chunk(), self.printer.size
        self.needs[kernel.name] = need(kernel, writer.axes, self.program, chunk, spelled, given)
        self.line(f'tile, warps = fits["{kernel.name}"]', depth)
        for tensor, (name, _) in writer.arguments.tensors.items():
            if tensor in self.left:
                self.line(f"{name} = {self.names.value(self.left[tensor].name)}", depth)
        grid = self._grid(writer)
        finals = self._states_after(writer, grid)
        for state, programs in finals.items():
            alone = f"in_place and {programs} == 1" if programs else "in_place"
            self.line(f"{state}_out = {state} if {alone} else torch.empty_like({state})", depth)
        self.line(f"grid = {' * '.join(grid.values())}", depth)
        self.line("if grid:", depth)
        arguments = [*self._arguments(writer), "num_warps=warps", "num_stages=stages"]
        self.line(f"{kernel.name}[(grid,)]({', '.join(arguments)})", depth + 1)
        for state, programs in finals.items():
            text = f"{state}.copy_({state}_out) if in_place else {state}_out" if programs else f"{state}_out"
            self.line(f"{state} = {text}", depth)

    def _grid(self, writer: KernelWriter) -> dict[int, str]:
        """How many programs there are along each axis, by its identity, and around all."""
        found = {0: "count", 1: "chunks"} if writer.kernel.order == "chunks" else {0: "count"}
        for axis in writer.axes.all:
            assert axis.extent is not None
            size = self.printer.size(axis.extent)
            if axis.role == SCALAR:
                found[id(axis)] = f"max({size}, 1)" if axis.shared else size
            elif axis.role == GRID:
                found[id(axis)] = f"_tiles({size}, {block(axis, size)})"
        return found

    def _states_after(self, writer: KernelWriter, grid: Mapping[int, str]) -> dict[str, str]:
        """The states that a kernel stores after the last row, each with how many programs store it where
        these may be several: no program may store what another still has to read."""
        found: dict[str, str] = {}
        for state in writer.kernel.carried if writer.kernel.finals else ():
            own = writer.axes.of(Ref(state.name, state.axes))
            others = [a for a in writer.axes.all if a.shared and not any(a is b for b in own)]
            found[self.names.value(state.name)] = " * ".join(grid[id(a)] for a in others)
        return found

    def _arguments(self, writer: KernelWriter) -> list[str]:
        found, arguments = writer.arguments, list[str]()
        for name, rank in found.tensors.values():
            arguments += [name, *(f"{name}.stride({k})" for k in range(rank + 1))]
        for extent, power, what in found.tables:
            arguments.append(self._table(extent, power, what))
        for state, which in found.states:
            name = self.names.value(state)
            arguments.append(name if which == "in" else f"{name}_{which}")
        position = "position" if self._streams() else "0"
        offset = {"position": position, "cached_first": self._first_cached()}
        arguments += [offset.get(name, name) for name in writer.runtime]
        arguments += [self.names.size(s) for s in found.sizes]
        arguments += [block(a, self.printer.size(a.extent)) for a in found.blocks if a.extent is not None]
        arguments += [f"_align({name})" for name in writer.aligned]
        constants = {"CHUNK": "chunk", "COLUMNS": "columns", "DOT": "dot", "PRECISION": "precision"}
        return [*arguments, *(constants[c] for c in writer.constants)]

    def _first_cached(self) -> str:
        caches = [c for found in self.cuts for c in found.caches]
        if not caches or not self._streams():
            return "0"
        state = self.names.value(caches[0].state.name)
        return f"position - _held({state}, {-len(caches[0].state.axes)})"

    def _table(self, extent: str, power: int, what: str) -> str:
        coefficient, *names = extent.split(".")
        size = self.printer.size(Extent(int(coefficient), tuple(n for n in names if n)))
        return f"_products({size}, {power}, device)[{-1 if what == 'often' else int(what[5:])}]"
