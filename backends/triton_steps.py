"""Printing the steps of a kernel: memory, maps, contractions, row reductions over features, states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tensorc.backends.tile_axes import COLUMNS, EACH, POINTS, dot_labels, flat
from tensorc.backends.tile_io import tile_outputs
from tensorc.backends.tile_kernel import (
    Fetch,
    Lane,
    Listed,
    Over,
    Place,
    Put,
    Row,
    Subscript,
    Summed,
    TileStep,
    Weights,
)
from tensorc.backends.triton_base import TileBase
from tensorc.backends.triton_expr import finite, spread, zero_where
from tensorc.ir import Cond, Expr, Index, Read, walk
from tensorc.plan import ROW, Contract, Fold, Map, Normalise, Ref, Stream, Update
from tensorc.semiring import SUM_PRODUCT

FOLDS = {"sum": "tl.sum", "max": "tl.max", "min": "tl.min", "prod": "_prod", "logsumexp": "_logsumexp"}
STARTS = {"sum": "0.0", "prod": "1.0", "max": 'float("-inf")', "min": 'float("inf")'}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a tile lies: the pointers; the conditions under which each element is there, and those for all
    at once; its rows in the order of the loop, where some may be before the first."""

    pointer: str
    masks: tuple[str, ...]
    whole: tuple[str, ...]
    early: str

    def mask(self, more: str = "") -> str:
        """The mask of what is there."""
        text = " & ".join([*self.masks, *([more] if more else [])])
        for condition in self.whole:
            text = f"tl.where({condition}, {text}, False)"
        return text


class StepPrinter(TileBase):
    """Prints steps, each kind by its own method."""

    def block(self, steps: Iterable[TileStep]) -> None:
        """Print steps in order."""
        for step in steps:
            method: Callable[[TileStep], None] | None = getattr(self, f"_{type(step).__name__.lower()}", None)
            if method is None:
                raise self.refuse(f"there is no kernel for the step {type(step).__name__}")
            self.enter(step)
            self.comment(step)
            method(step)

    # -- memory ------------------------------------------------------------------------------------------

    def address(self, tensor: str, subscripts: Sequence[Subscript], labels: Sequence[str]) -> Address:
        """Where a tile lies."""
        pointer, masks, early = [self.pointer(tensor)], list[str](), ""
        whole = list[str]()
        for k, subscript in enumerate(subscripts):
            stride = self.stride(tensor, k)
            match subscript:
                case Row(lag=lag):
                    it, row = self._rows(lag, labels)
                    pointer.append(f"{row} * {stride}")
                    masks += self._row_masks(lag, labels)
                    early = it if lag != 0 else ""
                case Lane(label=label):
                    pointer += self._lane(tensor, label, labels, self._outer(subscripts, k), stride)
                    if self.scope[label].role not in POINTS:
                        masks.append(spread(self.mask(label), (label,), labels))
                case Place(expr=expr, extent=extent):
                    text = self.printer.given(expr, labels)
                    place = f"tl.cast({text}, tl.int64)" if self._outer(subscripts, k) else f"({text})"
                    pointer.append(f"{place} * {stride}")
                    found = [f"({text} >= 0)", f"({text} < {self.size(extent)})"]
                    lanes = {n.name for n in walk(expr) if isinstance(n, Index)} & set(labels)
                    if lanes or not labels:
                        masks += found
                    else:
                        whole += found
                case Listed(label=label):
                    table = self.listed(subscript)
                    pointer.append(f"{spread(table, (label,), labels)} * {stride}")
                    masks.append(spread(self.mask(label), (label,), labels))
        return Address(" + ".join(pointer), tuple(masks), tuple(whole), early)

    def _lane(
        self, tensor: str, label: str, labels: Sequence[str], outer: bool, stride: str
    ) -> tuple[str, ...]:
        """How far positions are from the first, in 64 bits where 32 may be too few: `outer`: the axis is
        around that of the tokens."""
        if self.scope[label].role == COLUMNS:
            name = self.columns(label)
            start = f"{name}_start - cached_first" if tensor in self.cached else f"{name}_start"
            slot = spread(f"{name}_slot", (label,), self.lanes(labels))
            return f"tl.cast({start}, tl.int64) * {stride}", f"{slot} * {stride}"
        text = self.position(label, labels)
        return (f"tl.cast({text}, tl.int64) * {stride}" if outer else f"{text} * {stride}",)

    def _outer(self, subscripts: Sequence[Subscript], place: int) -> bool:
        """Whether tokens come after an axis; where tokens are features like others, whether anything does."""
        later = subscripts[place + 1 :]
        if self.kernel.order == "once":
            return bool(later)
        return any(isinstance(s, Row) or self._is_columns(s) for s in later)

    def _is_columns(self, subscript: Subscript) -> bool:
        return isinstance(subscript, Lane) and self.scope[subscript.label].role == COLUMNS

    def _rows(self, lag: int | str, labels: Sequence[str]) -> tuple[str, str]:
        """The place of rows in the order of the loop, and in memory."""
        it, row = (spread(name, (ROW,), labels) if ROW in labels else name for name in ("it", "row"))
        if lag == 0:
            return it, row
        back = self.position(lag, labels) if isinstance(lag, str) else str(lag)
        return f"({it} - {back})", f"({row} {'+' if self.kernel.reverse else '-'} {back})"

    def _row_masks(self, lag: int | str, labels: Sequence[str]) -> list[str]:
        masks = [spread("row_in", (ROW,), labels)] if ROW in labels else []
        if isinstance(lag, str) and self.scope[lag].role not in POINTS:
            masks.append(spread(self.mask(lag), (lag,), labels))
        return masks

    def _fetch(self, step: Fetch) -> None:
        labels = self.canonical(step.out)
        address = self.address(step.tensor, step.subscripts, labels)
        name = self.make(step.out, labels, labels, raw=True)
        early = address.early
        mask = address.mask(f"({early} >= 0)" if early else "")
        self.line(f"{name} = tl.load({address.pointer}{f', mask={mask}, other=0' if mask else ''})")
        if early and step.before:
            self._fetch_before(step, name, labels, address)

    def _fetch_before(self, step: Fetch, name: str, labels: Sequence[str], address: Address) -> None:
        """Rows before the first are the last ones of a state."""
        axes = self.state_axes(step.before)
        rest = [s for s in step.subscripts if not isinstance(s, Row)]
        places = [f"batch * {_atom(self._after(axes))}"]
        places.append(_times(f"({self.depth_of(step.before)} + {address.early})", self._after(axes[1:])))
        for k, subscript in enumerate(rest):
            assert isinstance(subscript, Lane)
            places.append(_times(self.position(subscript.label, labels), self._after(axes[k + 2 :])))
        source = " + ".join([self.state_pointer(step.before, "in"), *places])
        loaded = f"tl.load({source}, mask={address.mask(f'({address.early} < 0)')}, other=0)"
        self.line(f"{name} = {name}.to(tl.float32) + {loaded}")
        self.made[step.out.value].raw = False

    def _after(self, labels: Sequence[str]) -> str:
        """How many elements one position spans: the product of the axes after it."""
        return " * ".join(self.size(self.extents[a]) for a in labels) or "1"

    def _weights(self, step: Weights) -> None:
        labels = list(step.out.axes)
        name = self.make(step.out, labels, labels)
        (label,) = labels
        table = self.table(label, step.power, "often")
        self.line(f"{name} = tl.load({table} + {self.at(label)}, mask={self.mask(label)}, other=0)")

    def listed(self, subscript: Listed) -> str:
        """The places of one element of each product."""
        table = self.table(subscript.label, subscript.power, f"place{subscript.element}")
        key = f"{table}:{self.at(subscript.label)}"
        if key not in self.places:
            name = self.variables.get(key) or self.free(f"{table}_at")
            self.places[key] = self.variables[key] = name
            label = subscript.label
            self.line(f"{name} = tl.load({table} + {self.at(label)}, mask={self.mask(label)}, other=0)")
        return self.places[key]

    def _put(self, step: Put) -> None:
        labels = self.canonical(Ref("", tuple(self._labels_of(step))))
        address = self.address(step.tensor, step.subscripts, labels)
        value, mask = self.tile(step.value, labels, given=True), address.mask()
        self.line(f"tl.store({address.pointer}, {value}{f', mask={mask}' if mask else ''})")

    def _labels_of(self, step: Put) -> list[str]:
        rows = [] if self.kernel.order == "tokens" else [ROW]
        return [
            a
            for s in step.subscripts
            for a in (rows if isinstance(s, Row) else [getattr(s, "label", "")])
            if a
        ]

    # -- values ------------------------------------------------------------------------------------------

    def _map(self, step: Map) -> None:
        labels = self.canonical(step.out)
        reads = [n for n in walk(step.expr) if isinstance(n, Read)]
        text = self.printer.value(step.expr, labels)
        if not any(isinstance(n, Read | Index) for n in walk(step.expr)):
            text = f"tl.cast({text}, tl.float32)"
        zero = [a for a in labels if zero_where(step.expr, partial(self._is_zero, a))]
        known = finite(step.expr) and all(self.made[r.tensor].finite for r in reads)
        full = {s.name for n in reads for s in n.subscripts if isinstance(s, Index)}
        full |= {n.name for n in walk(step.expr) if isinstance(n, Index)}
        if labels and not set(labels) <= full:
            text = self.broadcast(text, labels)
        self.line(f"{self.make(step.out, labels, zero, known)} = {text}")

    def broadcast(self, text: str, labels: Sequence[str]) -> str:
        """A tile over all positions of its labels."""
        return f"{text} + tl.zeros({self.shape(labels)}, tl.float32)"

    def shape(self, labels: Sequence[str]) -> str:
        """The shape of a tile."""
        inner = ", ".join(self.length(self.scope[a]) for a in labels)
        return f"({inner},)" if len(labels) == 1 else f"({inner})"

    def _is_zero(self, label: str, read: Read) -> bool:
        labels = tuple(s.name for s in read.subscripts if isinstance(s, Index))
        return label in self.zeros(Ref(read.tensor, labels))

    def _contract(self, step: Contract) -> None:
        if step.semiring != SUM_PRODUCT:
            raise self.refuse(f"its contraction is one of the semiring {step.semiring}")
        if step.right is None:
            gone = [a for a in step.left.axes if a not in step.out.axes]
            self._reduced(step.left, gone, step.out)
            return
        left, right = (self._alone(mine, other, step.out) for mine, other in
                       ((step.left, step.right), (step.right, step.left)))  # fmt: skip
        groups = dot_labels(Contract(step.out, left, right))
        assert groups is not None
        stack, rows, inner, columns = (self.lanes(g) for g in groups)
        if any(self.scope[a].role != EACH for a in groups[2] if a not in inner):
            raise self.refuse("a sum runs over an axis of which a program has one position")
        if inner and rows and columns:
            self._dot(step.out, left, right, stack, rows, inner, columns)
        else:
            self._product(step.out, left, right, inner)

    def _alone(self, mine: Ref, other: Ref, out: Ref) -> Ref:
        """An operand without the labels that only it has and the result does not need."""
        gone = [a for a in mine.axes if a not in other.axes and a not in out.axes]
        if not gone:
            return mine
        ref = Ref(f"{mine.value}:{','.join(gone)}", tuple(a for a in mine.axes if a not in gone))
        self._reduced(mine, gone, ref)
        return ref

    def _reduced(self, source: Ref, gone: Sequence[str], out: Ref) -> None:
        """The sum over labels."""
        gone = self.lanes(gone)
        labels = [a for a in self.labels(source) if a not in gone]
        text = self.masked(source, self.labels(source), gone)
        for label in sorted(gone, key=self.labels(source).index, reverse=True):
            text = f"tl.sum({text}, {self.labels(source).index(label)})"
        zero = [a for a in self.zeros(source) if a in labels]
        name = self.make(out, labels, zero, self.made[source.value].finite)
        self.line(f"{name} = {text}")

    def _product(self, out: Ref, left: Ref, right: Ref, inner: Sequence[str]) -> None:
        """Operands multiplied element by element, then the sum over labels: no matrix product."""
        labels = self.canonical(out)
        full = [*labels, *inner]
        parts = [self.masked(ref, full, inner) for ref in (left, right)]
        text = " * ".join(parts)
        for _ in inner:
            text = f"tl.sum({text}, {len(full) - 1})"
            full.pop()
        made = [self.made[r.value] for r in (left, right)]
        bounded = all(m.finite for m in made)
        zero = [a for a in labels if bounded and (a in self.zeros(left) or a in self.zeros(right))]
        self.line(f"{self.make(out, labels, zero, bounded)} = {text}")

    def _dot(
        self,
        out: Ref,
        left: Ref,
        right: Ref,
        stack: list[str],
        rows: list[str],
        inner: list[str],
        columns: list[str],
    ) -> None:
        """A matrix product, in the order in which the result is kept."""
        order = self.canonical(out)
        if not stack and order.index(rows[0]) > order.index(columns[0]):
            left, right, rows, columns = right, left, columns, rows
        a = self._grouped(left, [stack, rows, inner], inner)
        b = self._grouped(right, [stack, inner, columns], inner)
        text = f"_dot({a}, {b}, DOT, PRECISION)"
        labels = [*stack, *rows, *columns]
        if len(labels) > 2 + bool(stack) or len(stack) > 1:
            text = f"tl.reshape({text}, {self.shape(labels)})"
        zero = [a for a in labels if a in self.zeros(left) or a in self.zeros(right)]
        known = all(self.made[r.value].finite for r in (left, right))
        self.line(f"{self.make(out, labels, zero, known)} = {text}")

    def _grouped(self, ref: Ref, groups: list[list[str]], over: Sequence[str]) -> str:
        """An operand with each group of labels as one axis."""
        groups = [g for g in groups if g]
        full = [a for g in groups for a in g]
        text = self.masked(ref, full, over, given=True)
        if set(self.labels(ref)) != set(full):
            raise self.refuse("an operand of a matrix product lacks an axis")
        if all(len(g) == 1 for g in groups):
            return text
        sizes = [" * ".join(self.length(self.scope[a]) for a in g) for g in groups]
        return f"tl.reshape({text}, ({', '.join(sizes)}))"

    # -- reductions of rows --------------------------------------------------------------------------------

    def _fold(self, step: Fold) -> None:
        over = self.lanes(step.over)
        labels = self.canonical(step.out)
        full = [*labels, *over]
        start = STARTS.get("max" if step.op == "logsumexp" else step.op)
        if start is None:
            raise self.refuse(f"{step.op} over features in a chunk")
        text = self._where(step.domain, step.body, full, over, start)
        for place in reversed(range(len(labels), len(full))):
            kind = FOLDS[step.op]
            text = f"{kind}({text}, {place})"
        self.line(f"{self.make(step.out, labels, (), False)} = {text}")

    def _where(
        self, domain: Sequence[Cond], body: Expr, full: list[str], over: Sequence[str], start: str
    ) -> str:
        masks = [*(self.printer.condition(c, full) for c in domain), self.inside(over, full)]
        text = self.printer.value(body, full)
        return f"tl.where({' & '.join(m for m in masks if m)}, {text}, {start})"

    def _normalise(self, step: Normalise) -> None:
        over = self.lanes(step.over)
        rest = [a for a in self.canonical(step.out) if a not in over]
        full = [*rest, *over]
        name = self.make(step.out, full, over, False)
        self.line(f"{name} = {self._where(step.domain, step.body, full, over, STARTS['max'])}")
        if len(over) == 1:
            self.line(f"{name} = _softmax({name}, {len(rest)})")
            return
        lengths = [self.length(self.scope[a]) for a in full]
        flat = ", ".join([*lengths[: len(rest)], " * ".join(lengths[len(rest) :])])
        self.line(f"{name} = _softmax(tl.reshape({name}, ({flat},)), {len(rest)})")
        self.line(f"{name} = tl.reshape({name}, {self.shape(full)})")

    # -- loops -------------------------------------------------------------------------------------------

    def _over(self, step: Over) -> None:
        """A loop over tiles of an axis."""
        axis = self.scope[step.label]
        word, depth = self.words[id(axis)], self.depth
        assert axis.extent is not None
        at = len(self.lines)
        kept, places = dict(self.sums), dict(self.places)
        if axis.role == EACH:
            self.line(f"for {word}_at in range(0, {self.size(axis.extent)}):")
            self.depth += 1
        else:
            self.line(f"for {word}_start in range(0, {self.size(axis.extent)}, {word}_block):")
            self.depth += 1
            self.line(f"{word}_at = {word}_start + tl.arange(0, {word}_block)")
            self.line(f"{word}_in = {word}_at < {self.size(axis.extent)}")
        self.block(step.steps)
        self.depth, self.sums, self.places = depth, kept, places
        starts = []
        for summed in _sums_of(step):
            if isinstance(summed.step, Stream):
                self.scope = self.axes.scopes[id(summed.step)]
                starts += [
                    self.filled(r.ref, STARTS[r.op], self.made[r.ref.value].name) for r in summed.step.running
                ]
                continue
            self.scope = self.axes.scopes[id(summed)]
            out = summed.step.out
            starts.append(self.filled(out, STARTS["sum"], self.total(out)))
            self.made[out.value] = replace(self.made[out.value], name=self.total(out))
        self.lines[at:at] = ["    " * depth + start for start in starts]

    def filled(self, ref: Ref, start: str, name: str) -> str:
        """The statement that begins a value with a number, in the scope of the step that makes it."""
        labels = self.labels(ref)
        value = (
            f"tl.full({self.shape(labels)}, {start}, tl.float32)"
            if labels
            else f"tl.cast({start}, tl.float32)"
        )
        return f"{name} = {value}"

    def total(self, ref: Ref) -> str:
        """The variable of a sum that a loop adds up."""
        return self.variable(f"{ref.value}:total")

    def _summed(self, step: Summed) -> None:
        if isinstance(step.step, Stream):
            self.scope = self.axes.scopes[id(step.step)]
            self.streamed(step.step)
            return
        self.block([step.step])
        out = step.step.out
        self.line(f"{self.total(out)} += {self.made[out.value].name}")

    # -- states ------------------------------------------------------------------------------------------

    def _update(self, step: Update) -> None:
        made = self.made[step.state.value]
        labels = self.labels(step.state)
        addend = self.masked(step.addend, labels, [a for a in labels if a in step.addend.axes])
        if step.replace:
            if labels and set(self.labels(step.addend)) != set(labels):
                addend = self.broadcast(addend, labels)
            self.line(f"{made.name} = {addend}")
            return
        through = f"{self.tile(step.through, labels)} * " if step.through is not None else ""
        self.line(f"{made.name} = {through}{made.name} + {addend}")

    def streamed(self, step: Stream) -> None:
        """The loops of a stream, whose running values are there."""
        raise NotImplementedError

    # -- what the writer of a kernel says ------------------------------------------------------------------

    cached: frozenset[str] = frozenset()

    def pointer(self, tensor: str) -> str:
        """The argument with a tensor's pointer."""
        raise NotImplementedError

    def stride(self, tensor: str, axis: int) -> str:
        """The argument with a stride of a tensor."""
        raise NotImplementedError

    def table(self, label: str, power: int, what: str) -> str:
        """The argument with a table of symmetric products."""
        raise NotImplementedError

    def state_pointer(self, state: str, which: str) -> str:
        """The argument with a state before the first row ("in"), after the last ("out"), or before each
        chunk ("all")."""
        raise NotImplementedError

    def state_axes(self, state: str) -> tuple[str, ...]:
        """The labels of a state of the plan."""
        return next(s.axes for s in self.plan.states if s.name == state)

    def depth_of(self, state: str) -> str:
        """How many rows a state of rows has."""
        return self.size(self.extents[self.state_axes(state)[0]])


def _sums_of(loop: Over) -> list[Summed]:
    """The steps that add up what a loop begins, in it or in loops within."""
    own = {r.value for r in loop.sums}
    found = [s for s in flat(loop.steps) if isinstance(s, Summed)]
    return [s for s in found if any(r.value in own for r in tile_outputs(s))]


def _times(text: str, factor: str) -> str:
    return text if factor == "1" else f"{text} * {_atom(factor)}"


def _atom(text: str) -> str:
    """A text that may stand beside an operator."""
    return text if re.fullmatch(r"[\w.]+|\([^()]*\)", text) else f"({text})"
