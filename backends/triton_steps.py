"""Printing the steps of a kernel: maps, contractions, row reductions over features, loops, states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from tensorc.backends.tile_axes import EACH, dot_labels, flat
from tensorc.backends.tile_io import tile_inputs, tile_outputs
from tensorc.backends.tile_kernel import (
    Anchored,
    Inverse,
    Over,
    Summed,
    TileStep,
)
from tensorc.backends.triton_expr import finite, zero_where
from tensorc.backends.triton_memory import MemoryPrinter
from tensorc.ir import Cond, Expr, Index, Read, walk
from tensorc.plan import Contract, Fold, Map, Normalise, Ref, Solve, Stream, Update
from tensorc.semiring import SUM_PRODUCT

FOLDS = {"sum": "tl.sum", "max": "tl.max", "min": "tl.min", "prod": "_prod", "logsumexp": "_logsumexp"}
STARTS = {"sum": "0.0", "prod": "1.0", "max": 'float("-inf")', "min": 'float("inf")'}


class StepPrinter(MemoryPrinter):
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
            self._pass_on(step)

    def _pass_on(self, step: TileStep) -> None:
        """Mark what comes from matrix products: their results, and what is computed from these position by
        position."""
        sources = [self.made[r.value] for r in tile_inputs(step) if r.value in self.made]
        made_there = isinstance(step, Anchored | Inverse | Solve)
        if made_there or any(s.product and len(s.places) > 1 for s in sources):
            for ref in tile_outputs(step):
                if ref.value in self.made:
                    self.made[ref.value].product = True

    # -- values ------------------------------------------------------------------------------------------

    def _map(self, step: Map) -> None:
        labels = self.canonical(step.out)
        reads = [n for n in walk(step.expr) if isinstance(n, Read)]
        text = self.printer.value(step.expr, labels)
        if not any(isinstance(n, Read | Index) for n in walk(step.expr)):
            text = f"tl.cast({text}, tl.float32)"
        zero = [a for a in labels if zero_where(step.expr, partial(self._is_zero, a), self._is_finite)]
        known = finite(step.expr, self._is_finite)
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

    def _is_finite(self, read: Read) -> bool:
        return self.made[read.tensor].finite

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
        """A matrix product, in the order in which the result is kept, unless that turns round what comes from
        another product: as the left operand, which is in registers, it is a conversion more, and compilers
        before CUDA 13.3 have overwritten it on sm_90 (triton-lang/triton#6124, #11781)."""
        order = self.canonical(out)
        turned = [self._turned(ref, own, inner) for ref, own in ((left, rows), (right, columns))]
        if not stack:
            ordered = order.index(rows[0]) < order.index(columns[0])
            if turned[0] > turned[1] or (turned[0] == turned[1] and not ordered):
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
        self.made[out.value].product = True

    def _turned(self, ref: Ref, rows: Sequence[str], inner: Sequence[str]) -> bool:
        """Whether an operand comes from a product, and would be transposed to stand on the left."""
        labels = self.labels(ref)
        return self.made[ref.value].product and labels.index(rows[0]) > labels.index(inner[0])

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
        through = ""
        if step.through is not None:  # the state is 0 beyond the end, and stays so
            beyond = () if self.made[step.through.value].finite else step.through.axes
            through = f"{self.masked(step.through, labels, beyond)} * "
        self.line(f"{made.name} = {through}{made.name} + {addend}")

    def streamed(self, step: Stream) -> None:
        """The loops of a stream, whose running values are there."""
        raise NotImplementedError


def _sums_of(loop: Over) -> list[Summed]:
    """The steps that add up what a loop begins, in it or in loops within."""
    own = {r.value for r in loop.sums}
    found = [s for s in flat(loop.steps) if isinstance(s, Summed)]
    return [s for s in found if any(r.value in own for r in tile_outputs(s))]
