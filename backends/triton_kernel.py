"""One kernel as Triton source: its signature, the place of a program in the grid, the loop over chunks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorc.backends.python_names import Names
from tensorc.backends.tile_axes import EACH, GRID, LANE, POINTS, SCALAR, TILES, Axis
from tensorc.backends.tile_kernel import Kernel, Recall
from tensorc.backends.triton_expr import spread
from tensorc.backends.triton_streams import StreamPrinter
from tensorc.ir import Extent
from tensorc.plan import Plan, Ref, State

PLACES = ("at", "first", "last", "length", "row", "row_in", "slot")


@dataclass(slots=True)
class Arguments:
    """What a kernel takes: tensors with how many axes, tables by (extent, power, what), states by which."""

    tensors: dict[str, tuple[str, int]] = field(default_factory=dict)
    tables: dict[tuple[str, int, str], str] = field(default_factory=dict)
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    lengths: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    blocks: list[Axis] = field(default_factory=list)


class KernelWriter(StreamPrinter):
    """Writes the text of one kernel. `memory` has the extents of every tensor in memory, `lengths` the sizes
    that are lengths of sequences: they change from call to call, and nothing is compiled for them."""

    def __init__(
        self,
        plan: Plan,
        kernel: Kernel,
        names: Names,
        memory: Mapping[str, Sequence[Extent | None]],
        cached: frozenset[str],
        lengths: frozenset[str],
    ) -> None:
        super().__init__(plan, kernel, names, memory)
        self.memory, self.cached, self.length_names = memory, cached, lengths
        if kernel.order == "once":  # where tokens are features like others, all that shapes no tile
            self.length_names = frozenset(names.sizes) - self._fixed_sizes()
        self.short: frozenset[str] = frozenset()  # states that are recalled in the type of operands
        self.arguments = Arguments()
        self.aligned: list[str] = []

    def _fixed_sizes(self) -> frozenset[str]:
        """Sizes of axes that are whole in a tile; all where loops are within loops, which run out of
        registers for places and masks unless these can be left out."""
        nested = any(a.role == EACH for a in self.axes.all)
        own = [a.extent for a in self.axes.all if nested or a.role == LANE]
        return frozenset(n for extent in own if extent is not None for n in extent.names)

    # -- arguments ---------------------------------------------------------------------------------------

    def pointer(self, tensor: str) -> str:
        if tensor not in self.arguments.tensors:
            known = tensor in dict(self.plan.tensors) or tensor.startswith("%")
            name = self.names.tensor(tensor) if known else self.names.tensor(f"%{tensor}")
            self.arguments.tensors[tensor] = name, len(self.memory[tensor])
        return self.arguments.tensors[tensor][0]

    def stride(self, tensor: str, axis: int) -> str:
        return f"{self.pointer(tensor)}_s{axis}"

    def table(self, label: str, power: int, what: str) -> str:
        extent = self.extents[label]
        key = f"{extent.coefficient}.{'.'.join(extent.names)}", power, what
        if key not in self.arguments.tables:
            self.arguments.tables[key] = self.free(f"{what}_{'_'.join(extent.names) or 'one'}_{power}")
        return self.arguments.tables[key]

    def state_pointer(self, state: str, which: str) -> str:
        key = state, which
        if key not in self.arguments.states:
            self.arguments.states[key] = f"{self.names.value(state)}_{which}"
        return self.arguments.states[key]

    # -- the text ----------------------------------------------------------------------------------------

    @property
    def rows(self) -> str:
        """How many rows there are."""
        assert self.plan.time is not None
        return self.size(self.plan.time)

    def write(self) -> list[str]:
        """The function, with its decorator."""
        self.depth = 1
        for state in (*self.kernel.given, *self.kernel.carried):
            self._load_state(state, "in")
        loop = self.kernel.order in ("serial", "tokens")
        if loop:
            step = ", CHUNK" if self.kernel.order == "serial" else ""
            index = "start" if self.kernel.order == "serial" else "it"
            self.line(f"for {index} in range(0, {self.rows}{step}):")
            self.depth = 2
        if self.kernel.order == "tokens":
            self.line("row = tl.cast(it, tl.int64)")
        elif self.kernel.order != "once":
            self._rows_at_hand()
        if self.kernel.saves:
            for state in self.kernel.carried:
                self._store_state(state, "all")
        self.block(self.kernel.steps)
        self.depth = 1
        if self.kernel.finals:
            for state in self.kernel.carried:
                self._store_state(state, "out")
        body = self._pruned(self.lines)
        self.lines = []
        return [*self._signature(body), *self.lines, *body]

    def _rows_at_hand(self) -> None:
        """Positions: in the order of the loop, in memory, in the sequence."""
        n = self.rows
        self.line("it = start + slot")
        self.line(f"row_in = it < {n}")
        self.line(f"length = tl.minimum(CHUNK, {n} - start).to(tl.int32)")
        if self.kernel.reverse:
            self.line(f"row = ({n} - 1 - it).to(tl.int64)")
            self.line(f"at = {n} - 1 - it")
            self.line(f"first = {n} - start - length")
            self.line(f"last = {n} - start - 1")
        else:
            self.line("row = it.to(tl.int64)")
            self.line("at = position + it")
            self.line("first = position + start")
            self.line("last = position + start + length - 1")

    def _state_address(self, state: State, which: str) -> tuple[str, str]:
        """The pointers of a state and the mask of what is there."""
        ref = Ref(state.name, state.axes)
        self.scope = dict(zip(state.axes, self.axes.of(ref), strict=True))
        labels = self.canonical(ref)
        whole = self._after(state.axes)
        base = "(batch * chunks + start // CHUNK)" if which == "all" else "batch"
        parts = [self.state_pointer(state.name, which), base if whole == "1" else f"{base} * {_atom(whole)}"]
        for k, label in enumerate(state.axes):
            text = (
                self.at(label)
                if self.scope[label].role in POINTS
                else spread(self.at(label), (label,), labels)
            )
            after = self._after(state.axes[k + 1 :])
            parts.append(text if after == "1" else f"{text} * {_atom(after)}")
        return " + ".join(parts), self.inside(labels, labels)

    def _recall(self, step: Recall) -> None:
        state = next(s for s in self.plan.states if s.name == step.out.value)
        self._load_state(state, step.which)
        self.enter(step)

    def _load_state(self, state: State, which: str) -> None:
        pointer, mask = self._state_address(state, which)
        ref = Ref(state.name, state.axes)
        labels = self.canonical(ref)
        short = which == "all" and state.name in self.short
        name = self.make(ref, labels, labels, name=self.names.value(state.name), raw=short)
        options = f", mask={mask}, other=0" if mask else ""
        self.line(f"{name} = tl.load({pointer}{options})")

    def _store_state(self, state: State, which: str) -> None:
        pointer, mask = self._state_address(state, which)
        options = f", mask={mask}" if mask else ""
        self.line(f"tl.store({pointer}, {self.made[state.name].name}{options})")

    def _signature(self, body: Sequence[str]) -> list[str]:
        """The decorator, the arguments, and where in the grid a program is."""
        head = self._head_lines()
        text = "\n".join([*body, *head])

        def used(name: str) -> bool:
            return re.search(rf"\b{re.escape(name)}\b", text) is not None

        found = self.arguments
        parts = list[str]()
        plain = list[str]()
        for name, rank in found.tensors.values():
            parts += [name, f"{name}_b", *(f"{name}_s{k}" for k in range(rank))]
            plain.append(f"{name}_b")
        parts += [*found.tables.values(), *found.states.values()]
        sizes = {s: self.names.size(s) for s in self._size_names()}
        found.lengths = [s for s, v in sizes.items() if s in self.length_names and used(v)]
        found.sizes = [s for s, v in sizes.items() if s not in self.length_names and used(v)]
        runtime = [
            *(sizes[s] for s in found.lengths),
            *(x for x in ("position", "cached_first", "chunks") if used(x)),
        ]
        self.runtime = runtime
        constants = [sizes[s] for s in found.sizes]
        found.blocks = [
            a for a in self.axes.all if a.role in (LANE, GRID, TILES) and used(f"{self.words[id(a)]}_block")
        ]
        constants += [f"{self.words[id(a)]}_block" for a in found.blocks]
        self.aligned = [name for name, rank in found.tensors.values() if rank > 1]
        constants += [f"{name}_align" for name in self.aligned]
        self.constants = [c for c in ("CHUNK", "COLUMNS", "DOT", "PRECISION") if used(c)]
        constants += self.constants
        # A size may be that of an axis whose elements are neighbours: whether 16 divide it is worth knowing.
        varying = [*plain, *(runtime if self.kernel.order != "once" else ())]
        fixed = ", ".join(f'"{name}"' for name in varying)
        everything = [*parts, *runtime, *(f"{c}: tl.constexpr" for c in constants)]
        return [
            f"@triton.jit(do_not_specialize=[{fixed}])",
            f"def {self.kernel.name}({', '.join(everything)}):",
            *(line for line in head if self._needed(line, head, body)),
        ]

    def _pruned(self, body: list[str]) -> list[str]:
        """The body without the positions that nothing uses."""
        for name in PLACES:
            for at, line in enumerate(body):
                if line.strip().startswith(f"{name} = ") and not self._needed(line, (), body):
                    del body[at]
                    break
        return body

    def _needed(self, line: str, head: Sequence[str], body: Sequence[str]) -> bool:
        """Whether anything uses the variable of a line of the head."""
        name, sign, _ = line.strip().partition(" = ")
        if not sign or not (name.endswith(("_in", "_at")) or name in PLACES):
            return True
        rest = [other for other in [*head, *body] if other is not line]
        return any(re.search(rf"\b{re.escape(name)}\b", other) for other in rest)

    def _size_names(self) -> list[str]:
        return [n for n in self.names.sizes]

    def _head_lines(self) -> list[str]:
        """The place of a program in the grid, and the positions of its axes."""
        lines = ["    pid = tl.program_id(0)"]
        tail = list[str]()
        for axis in self.axes.all:
            word = self.words[id(axis)]
            assert axis.extent is not None
            size = self.size(axis.extent)
            block = f"{word}_block"
            if axis.role == SCALAR:
                count = f"tl.maximum({size}, 1)" if axis.shared else _atom(size)
                lines += [f"    {word}_at = pid % {count}", f"    pid = pid // {count}"]
            elif axis.role == GRID:
                tiles = f"tl.maximum(tl.cdiv({size}, {block}), 1)"
                lines += [f"    {word}_tile = pid % {tiles}", f"    pid = pid // {tiles}"]
                tail += [f"    {word}_at = {word}_tile * {block} + tl.arange(0, {block})"]
                tail += [f"    {word}_in = {word}_at < {size}"]
            elif axis.role == LANE:
                tail += [f"    {word}_at = tl.arange(0, {block})", f"    {word}_in = {word}_at < {size}"]
        if self.kernel.order == "chunks":
            lines += ["    start = (pid % chunks) * CHUNK", "    pid = pid // chunks"]
        lines.append("    batch = pid.to(tl.int64)")
        for name, rank in self.arguments.tensors.values():
            stride = f"tl.multiple_of({name}_b, {name}_align)" if rank > 1 else f"{name}_b"
            lines.append(f"    {name} += batch * {stride}")
        slot = ["    slot = tl.arange(0, CHUNK)"] if self.kernel.order != "tokens" else []
        return [*lines, *tail, *slot]


def _atom(text: str) -> str:
    return text if re.fullmatch(r"[\w.]+|\(.*\)", text) else f"({text})"
