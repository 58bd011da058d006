"""The function around the kernels: shapes, memory, launches, results. It takes and returns what functions
of the PyTorch backend do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tensorc.backends.python_layout import tuple_text
from tensorc.backends.tile_axes import flat
from tensorc.backends.tile_cut import cut_end
from tensorc.backends.tile_kernel import Cache, Cut, Kept, Kernel, Launch, Over, Put
from tensorc.backends.tile_moves import after
from tensorc.backends.tile_recalls import operands
from tensorc.backends.triton_call import CallWriter
from tensorc.backends.triton_fit import needs_function
from tensorc.ir import Extent, Program
from tensorc.plan import Plan, State


class LaunchWriter(CallWriter):
    """Writes the module of one plan."""

    def __init__(self, program: Program, plan: Plan) -> None:
        super().__init__(program, plan)
        self.made: set[str] = set()
        self.ways: list[tuple[str, list[str], bool]] = []

    # -- the module --------------------------------------------------------------------------------------

    def module(self) -> tuple[list[str], list[str]]:
        """The lines of the kernels, and of the function."""
        self._function()
        return self.kernels, self.lines

    def _function(self) -> None:
        keywords = self._keywords(None)
        if self._streams():
            keywords += ["state=None", "position=0"]
        keywords += [*self._options_text(), "dtype=None"]
        self._signature(self.names.function, [], keywords)
        self.line('"""The whole sequence: the outputs, and the states after it."""')
        at = len(self.lines)
        self._prepare(None)
        self.line("count = batch.numel()")
        self._dtypes()
        self.line("dot = _dot_type(compute, dtype)")
        self.before = {d.name for d in self.program.inputs}
        for cache in (c for found in self.cuts for c in found.caches if c.source in self.before):
            self.line(f"{self._tensor(cache.tensor)}_rows = {self.names.tensor(cache.source)}")
        for declaration in self.program.inputs:
            name = self.names.tensor(declaration.name)
            self.line(f"{name} = _flat({name}, batch, count, {len(declaration.axes)})")
        fit = len(self.lines)
        if self.plan.time is not None:
            self.line(f"chunks = -(-{self.printer.size(self.plan.time)} // chunk)")
        number = 0
        for found, loop in zip(self.cuts, self.plan.loops, strict=True):
            self._loop(found, number)
            number += len(loop.states)
        end = cut_end(self.plan, self.stem) if self.whole is None else None
        for kernel in [end] if end is not None else self.whole.kernels if self.whole is not None else []:
            for step in kernel.steps:
                if isinstance(step, Put):
                    self._memory(step)
            self.ways.append((kernel.name, [], False))
            self._call(self._writer(kernel), 1)
        self.lines[fit:fit] = self._fit()
        self._finish()
        self._drop(at)
        if self._streams() and self.plan.time in [a for i in self.program.inputs for a in i.axes]:
            self._step()
            self._start()

    def _options_text(self) -> list[str]:
        """How kernels are launched: the rows of a chunk, the columns of a block, the largest tile of the
        grid and the warps, by default those that fit; whether states are computed first; how matrices are
        multiplied."""
        sizes = ["chunk=None", "columns=None", "tile=None", "warps=None", "stages=1"]
        return [*sizes, "split=None", 'precision="ieee"', "in_place=False"]

    def _fit(self) -> list[str]:
        """The choice of what is not given, by a function of what each kernel needs."""
        whole = self.plan.form == "parallel"  # where tokens are features like others
        sizes = [self.names.size(s) for s in self.program.sizes() if whole or s not in self.lengths]
        lines, sizes = needs_function(self.needs, sizes)
        self.kernels += ["", "", *lines]
        arguments = tuple_text(["dtype.itemsize", *sizes])
        ways = [
            f'("{whole}",), {tuple_text([_quoted(k) for k in narrow])}, {serial}'
            for whole, narrow, serial in self.ways
        ]
        rows = self.printer.size(self.plan.time) if self.plan.time is not None else "0"
        self.kernels += ["", "", f"_WAYS = ({', '.join(f'({way})' for way in ways)},)"]
        options = f"{self._chunk()}, _family(device), chunk, columns, tile, warps"
        tokens = self.plan.form == "recurrent"
        return [
            f"    split = {f'_alone(split, {rows})' if tokens else f'_split(split, count, {rows}, device)'}",
            f"    chunk, columns, fits = _fit(_needs, _WAYS, {arguments}, {options}, split)",
        ]

    def _drop(self, start: int) -> None:
        """Drop the variables that nothing uses."""
        names = {*map(self.names.size, self.program.sizes()), "chunks", "dot", "batch", "count"}
        for at in reversed(range(start, len(self.lines))):
            name, sign, _ = self.lines[at].strip().partition(" = ")
            if sign and name in names:
                if not any(re.search(rf"\b{name}\b", line) for line in self.lines[at + 1 :]):
                    del self.lines[at]

    # -- tokens ------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """One token is a sequence of one."""
        keywords = self._keywords(self.plan.time)
        self.line("", 0)
        options = self._options_text()
        own = [*keywords, "position=0", *options, "compute=torch.float32"]
        self._signature("step", ["state"], own)
        self.line('"""One token: the outputs, and the states after it."""')
        arguments = []
        for declaration in self.program.inputs:
            name = self.names.tensor(declaration.name)
            axis = self._time_axis(declaration.axes)
            arguments.append(name if axis is None else f"{name}.unsqueeze({axis})")
        whole = [k.split("=")[0] for k in self._keywords(None)]
        passed = [f"{k}={k}" for k in (*whole, "state", "position", *(o.split("=")[0] for o in options))]
        passed.append("dtype=compute")
        self.line(f"outputs, state = {self.names.function}({', '.join([*arguments, *passed])})")
        rows = []
        for k, declaration in enumerate(self.program.outputs):
            axis = self._time_axis(declaration.axes)
            rows.append(f"outputs[{k}]" + ("" if axis is None else f".squeeze({axis})"))
        self.line(f"return {tuple_text(rows)}, state")

    def _time_axis(self, axes: Sequence[Extent]) -> int | None:
        return axes.index(self.plan.time) - len(axes) if self.plan.time in axes else None

    def _start(self) -> None:
        """The states before any token."""
        keywords = self._keywords(self.plan.time)
        self.line("", 0)
        self._signature("start", [], [*keywords, "compute=torch.float32"])
        self.line('"""The states before any token, for inputs of one token."""')
        at = len(self.lines)
        self._prepare(self.plan.time)
        states = []
        for state in self.plan.states:
            lead = ["*batch"]
            if state.grows:
                names = [self.names.tensor(s) for s in state.sources]
                ranks = [self._rank(s) for s in state.sources]
                shapes = [f"{n}.shape[: {n}.dim() - {r}]" for n, r in zip(names, ranks, strict=True)]
                lead = [f"*_batch({', '.join(shapes)})", "0"]
            parts = [self.printer.size(self.printer.extents[a]) for a in state.axes[state.grows :]]
            states.append(f"torch.zeros({tuple_text([*lead, *parts])}, dtype=compute, device=device)")
        self.line(f"return {tuple_text(states)}")
        self._drop(at)

    def _rank(self, tensor: str) -> int:
        """The axes of an input of one token."""
        return sum(a != self.plan.time for a in dict(self.plan.tensors)[tensor])

    # -- one loop ----------------------------------------------------------------------------------------

    def _loop(self, found: Cut, number: int) -> None:
        assert self.plan.time is not None
        order = {s.name: number + k for k, s in enumerate(self.plan.states)} if number == 0 else {}
        for state in found.states:
            self._state(state, order.get(state.name))
        for kept in found.kept:
            self._state(kept.state, order.get(kept.state.name))
        for cache in found.caches:
            self._cache_before(cache.state, order.get(cache.state.name))
        for launch in found.launches:
            self._launch(launch, found)
        for cache in found.caches:
            self._cached(cache)  # it is returned whether or not a kernel reads it
        for kept in found.kept:
            self._kept_after(kept)

    def _state(self, state: State, number: int | None) -> None:
        name = self.names.value(state.name)
        parts = [self.printer.size(self.printer.extents[a]) for a in state.axes]
        flat = tuple_text(["count", *parts])
        if not self._streams() or number is None:
            self.line(f"{name} = torch.zeros({flat}, dtype=compute, device=device)")
            return
        whole = tuple_text(["*batch", *parts]) if parts else "batch"
        self.line(f"{name} = _begin(state and state[{number}], {whole}, {flat}, compute, device)")

    def _cache_before(self, state: State, number: int | None) -> None:
        name = self.names.value(state.name)
        text = f"state and state[{number}]" if self._streams() and number is not None else "None"
        self.line(f"{name} = {text}")

    def _memory(self, put: Put) -> None:
        """Make room for what a kernel stores."""
        tensor = put.tensor
        if tensor in self.made:
            return
        self.made.add(tensor)
        declared = dict(self.plan.tensors).get(tensor)
        if declared is not None and tensor in {o.name for o in self.program.outputs}:
            parts = [self.printer.size(a) for a in declared]
            dtype = "dtype"
        else:
            labels = [getattr(s, "label", "") for s in put.subscripts]
            extents = [self.printer.extents[a] if a else self.plan.time for a in labels]
            parts = [self.printer.size(extent) for extent in extents if extent is not None]
            dtype = "compute"
        name = self._tensor(tensor)
        self.line(f"{name} = torch.empty({tuple_text(['count', *parts])}, dtype={dtype}, device=device)")

    def _tensor(self, tensor: str) -> str:
        known = tensor in dict(self.plan.tensors) or tensor.startswith("%")
        return self.names.tensor(tensor if known else f"%{tensor}")

    def _launch(self, launch: Launch, found: Cut) -> None:
        caches = {c.tensor: c for c in found.caches}
        for step in launch.whole.steps:
            if isinstance(step, Put):
                self._memory(step)
        for tensor in self._reads(launch.whole):
            if tensor in caches:
                self._cached(caches[tensor])
        narrow = [(k, self._writer(k)) for k in launch.narrow]
        if len(narrow) == 1 and not any(isinstance(s, Over) for s in narrow[0][1].kernel.steps):
            narrow = []  # it would be the same
        several = launch.whole.order != "chunks"
        self.ways.append((launch.whole.name, [k.name for k, _ in narrow], several))
        if not narrow:
            self._call(self._writer(launch.whole), 1)
            return
        self.line(f'if "{launch.whole.name}" in fits:')
        self._call(self._writer(launch.whole), 2)
        self.line("else:")
        before = dict.fromkeys(s for kernel in launch.narrow for s in kernel.carried)
        short = operands((w.kernel, w.axes) for _, w in narrow)
        for state in before:
            name = self.names.value(state.name)
            parts = [self.printer.size(self.printer.extents[a]) for a in state.axes]
            shape = tuple_text(["count", "chunks", *parts])
            kind = "dtype" if state.name in short else "compute"
            self.line(f"{name}_all = torch.empty({shape}, dtype={kind}, device=device)", 2)
        alone = found.states if launch.whole.order == "tokens" else ()
        for state in alone:
            self.line(f"{self._tensor(after(state))} = torch.empty_like({self.names.value(state.name)})", 2)
        for _, writer in narrow:
            writer.short = short
            self._call(writer, 2)
        for state in alone:
            name, new = self.names.value(state.name), self._tensor(after(state))
            self.line(f"{name} = {name}.copy_({new}) if in_place else {new}", 2)

    def _reads(self, kernel: Kernel) -> list[str]:
        return [getattr(s, "tensor", "") for s in flat(kernel.steps)]

    def _cached(self, cache: Cache) -> None:
        """A cache with the rows of this call after its own: what is returned, and what kernels read."""
        if cache.tensor in self.made:
            return
        self.made.add(cache.tensor)
        name, before = self._tensor(cache.tensor), self.names.value(cache.state.name)
        rank = len(cache.state.axes)
        rows, source = f"{name}_rows", self._tensor(cache.source)
        if cache.source not in self.before:
            self.line(f"{rows} = {source}.reshape((*batch, *{source}.shape[1:]))")
        if cache.order != tuple(range(rank)):
            self.line(f"{rows} = _permute({rows}, {', '.join(map(str, cache.order))})")
        grown = f"{before}_next"
        self.line(f"{grown} = _grown({before}, {rows}, {rank}, compute)")
        self.line(f"{name} = _flat({rows} if {before} is None else {grown}, batch, count, {rank})")

    def _kept_after(self, kept: Kept) -> None:
        """The last rows of a tensor, for the next call."""
        if not self._streams():
            return
        state, order = kept.state, kept.order
        name, rows = self.names.value(state.name), self._tensor(kept.source)
        places = (0, *(1 + k for k in order))
        text = rows if places == tuple(range(len(places))) else f"{rows}.permute({places})"
        self.line(f"{name} = _tail({name}, {text}.to(compute), 1 - {name}.dim(), {name}.shape[1])")

    # -- results -----------------------------------------------------------------------------------------

    def _finish(self) -> None:
        results = []
        for output in self.program.outputs:
            sizes = [self.printer.size(a) for a in output.axes]
            shape = tuple_text(["*batch", *sizes]) if sizes else "batch"
            results.append(f"{self.names.tensor(output.name)}.reshape({shape})")
        states = []
        if self._streams():
            caches = {c.state.name: c for found in self.cuts for c in found.caches}
            for state in self.plan.states:
                name = self.names.value(state.name)
                parts = [self.printer.size(self.printer.extents[a]) for a in state.axes[state.grows :]]
                if state.name in caches:
                    states.append(self._cache_after(caches[state.name]))
                else:
                    shape = tuple_text(["*batch", *parts]) if parts else "batch"
                    states.append(f"{name}.reshape({shape})")
        if self.whole is not None:
            self.line(f"return {tuple_text(results)}")
            return
        self.line(f"return {tuple_text(results)}, {tuple_text(states)}")

    def _cache_after(self, cache: Cache) -> str:
        """A cache as it is handed on: of a ring, the last rows."""
        grown, axis = f"{self.names.value(cache.state.name)}_next", -len(cache.state.axes)
        if cache.state.reach is None:
            return grown
        return f"_latest({grown}, {grown}.shape[{axis}], {self._integer(cache.state.reach)}, {axis})"

    def _integer(self, expr: object) -> str:
        from tensorc.backends.python_stream import StreamPrinter

        return StreamPrinter.integer(self.printer, expr)  # type: ignore[arg-type]


def _quoted(name: str) -> str:
    return f'"{name}"'
