"""What a step of a plan costs: operations, elements moved, NumPy calls.

The counts are exact and generic in the sizes: given integers they are integers, given polynomials they are
polynomials. A multiply-add counts as 2 FLOPs everywhere; an elementwise operation as 1 an element, so that
the outer product and the addition that advance a state together are one multiply-add an element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tensorc.counting_stream import HALF, amount, count_stream, least
from tensorc.counting_windows import band, count_slide
from tensorc.ir import Extent
from tensorc.operations import Operation, operations
from tensorc.plan import (
    CACHED,
    COLUMN,
    PAST,
    ROW,
    Contract,
    Delay,
    Fill,
    Fold,
    Gather,
    Keep,
    Load,
    Map,
    Monomials,
    Normalise,
    Plan,
    Recur,
    Ref,
    ScanTile,
    Slide,
    Solve,
    Step,
    Stream,
    Tail,
    Tile,
    Update,
)
from tensorc.plan_io import step_inputs

Amount: TypeAlias = Any  # int or Polynomial: sums and products of either mix
REDUCTION = {"logsumexp": (3, 1)}  # simple operations and functions an element; else one operation


@dataclass(frozen=True, slots=True)
class Count:
    """One run of a step: FLOPs of matrix products, elementwise operations, functions (one FLOP each),
    elements of operands and results, NumPy calls, the members of batched matrix products, and of a stream
    the elements that it reads from memory again."""

    products: Amount = 0
    simple: Amount = 0
    special: Amount = 0
    elements: Amount = 0
    calls: Amount = 1
    batch: Amount = 0
    loaded: Amount = 0

    @property
    def flops(self) -> Amount:
        """All operations."""
        return self.products + self.simple + self.special

    def __add__(self, other: Count) -> Count:
        return Count(*(a + b for a, b in zip(self._fields(), other._fields(), strict=True)))

    def times(self, runs: Amount) -> Count:
        """The count of that many runs."""
        return Count(*(a * runs for a in self._fields()))

    def _fields(self) -> tuple[Amount, ...]:
        return (
            self.products, self.simple, self.special, self.elements, self.calls, self.batch, self.loaded,
        )  # fmt: skip


class Counter:
    """Counts the steps of a plan in order; `shapes` holds the sizes of every value met so far.

    `size` gives the amount of an extent, `chunk` that of the tokens of a chunk (1 in the recurrent form).
    A cache has as many rows as there are tokens; a step of the recurrent form goes through half of them in
    the mean, through all at its `widest`.
    """

    def __init__(
        self, plan: Plan, size: Callable[[Extent], Amount], chunk: Amount, widest: bool = False
    ) -> None:
        self.plan, self.size, self.chunk = plan, size, chunk
        self.shapes: dict[str, tuple[Amount, ...]] = {}
        self.labels = {label: size(extent) for label, extent in plan.extents}
        self.tensors = {name: tuple(map(size, axes)) for name, axes in plan.tensors}
        self.time = None if plan.time is None else size(plan.time)
        for whole in plan.kept:  # the one label that is no feature is the token
            self.tensors[whole.value] = tuple(self.labels.get(a, self.time) for a in whole.axes)
        mean = (
            self.time if widest or plan.form != "recurrent" or self.time is None else HALF * (self.time + 1)
        )
        self.labels |= {CACHED: mean, PAST: mean}  # of positions alone, where nothing is cached
        for state in plan.states:
            if state.grows:
                held = None if state.reach is None else amount(self, state.reach)
                rows = self.time if held is None else least(held, self.time)
                self.labels[CACHED] = mean if held is None else least(held + 1, mean)
                self.labels[PAST] = mean if held is None else least(held, mean)
                self._store(Ref(state.name, state.axes), {CACHED: rows})
            else:
                self._store(Ref(state.name, state.axes), {})
        for label, width in plan.windows:
            self.labels[label] = band(self, width)

    # -- sizes -----------------------------------------------------------------------------------------

    def volume(self, labels: Iterable[str], known: Mapping[str, Amount]) -> Amount:
        """The product of the sizes of labels."""
        product: Amount = 1
        for label in labels:
            product = product * (known[label] if label in known else self._label(label))
        return product

    def elements(self, value: str) -> Amount:
        """The number of elements of a value."""
        product: Amount = 1
        for size in self.shapes[value]:
            product = product * size
        return product

    def _label(self, label: str) -> Amount:
        if label not in self.labels and label.startswith((CACHED, PAST)):
            label = label.rstrip("0123456789")  # further columns of a cache are as many as the first
        return self.chunk if label in (ROW, COLUMN) else self.labels[label]

    def _known(self, refs: Iterable[Ref]) -> dict[str, Amount]:
        """The sizes of the labels of some values."""
        found: dict[str, Amount] = {}
        for ref in refs:
            found.update(zip(ref.axes, self.shapes[ref.value], strict=True))
        return found

    def store(self, ref: Ref, known: Mapping[str, Amount]) -> Amount:
        """Note the shape of a new value; its number of elements."""
        return self._store(ref, known)

    def _store(self, ref: Ref, known: Mapping[str, Amount]) -> Amount:
        """Note the shape of a new value; its number of elements."""
        self.shapes[ref.value] = tuple(known[a] if a in known else self._label(a) for a in ref.axes)
        return self.elements(ref.value)

    # -- steps -----------------------------------------------------------------------------------------

    def count(self, step: Step) -> Count:
        """The cost of one run of a step."""
        if isinstance(step, Load):
            return self._load(step)
        if isinstance(step, Recur):
            return self._recur(step)
        if isinstance(step, Stream):
            return count_stream(self, step, {}, 0)
        if isinstance(step, Slide):
            return count_slide(self, step)
        refs = step_inputs(step)
        known = self._known(refs)
        read = sum((self.elements(value) for value in dict.fromkeys(r.value for r in refs)), 0)
        match step:
            case Gather():
                return Count(elements=2 * self._store(step.out, known), calls=8)
            case Map():
                written = self._store(step.out, known)
                return self._pointwise(operations(step.expr), known) + Count(elements=read + written, calls=0)
            case Contract():
                return self._contract(step, known) + Count(elements=read, calls=0)
            case Tile():
                return self._tile(step, known) + Count(elements=read, calls=0)
            case ScanTile():
                return self._scan(step, known) + Count(elements=read, calls=0)
            case Delay() | Tail():
                return Count(elements=read + 2 * self._store(step.out, known), calls=6)
            case Monomials():  # two gathers and a product; the weights are one more
                written = self._store(step.out, known)
                passes = 2 if step.weighted else 1
                return Count(simple=passes * written, elements=read + (3 + passes) * written, calls=5)
            case Solve():  # half a matrix product: the matrix is triangular
                written = sum((self._store(out, known) for out in step.outs), 0)
                work = len(step.outs) * self.chunk * written
                return Count(products=work, elements=read + 2 * written, calls=12)
            case Fold() | Normalise():
                return self._reduce(step, known) + Count(elements=read, calls=0)
            case Update():
                work = 0 if step.replace else self.elements(step.state.value)
                passes = 1 if step.through is None else 2
                moved = 0 if step.replace else read + 2 * work
                return Count(simple=passes * work, elements=moved, calls=0 if step.replace else passes)
            case Fill() | Keep():
                return Count(elements=2 * read)
        return count_stream(self, step, known, read)

    def _load(self, step: Load) -> Count:
        declared = self.tensors[step.tensor]
        sizes = {f"#{k}": size for k, size in enumerate(declared)}
        if step.time is not None and self.plan.form == "chunkwise":
            sizes[f"#{step.time}"] = self.chunk
        return Count(elements=self._store(step.out, sizes), calls=int(self.plan.form == "chunkwise"))

    def _recur(self, step: Recur) -> Count:
        for target in step.targets:
            self._store(target, {})
        inner = Count(calls=0)
        for part in step.steps:
            inner = inner + self.count(part)
        return inner.times(self.size(step.extent))

    def _pointwise(self, found: Sequence[Operation], known: Mapping[str, Amount]) -> Count:
        simple: Amount = 0
        special: Amount = 0
        for operation in found:
            work = operation.count * self.volume(sorted(operation.labels), known)
            if operation.special:
                special = special + work
            else:
                simple = simple + work
        calls = max(1, sum(o.count for o in found))
        return Count(simple=simple, special=special, calls=calls)

    def _contract(self, step: Contract, known: dict[str, Amount]) -> Count:
        """A matrix product; an elementwise product where nothing is summed; or a sum. Labels of one
        operand alone that the result lacks are summed before the product."""
        written = self._store(step.out, known)
        kept, left = set(step.out.axes), set(step.left.axes)
        if step.right is None:
            work = self.elements(step.left.value) if left - kept else 0
            return Count(simple=work, elements=written)
        right = set(step.right.axes)
        before: Amount = 0
        for mine, other in ((left, right), (right, left)):
            if mine - other - kept:
                before = before + self.volume(sorted(mine), known)
        inner = (left & right) - kept
        full = self.volume(sorted(kept | inner), known)
        if not inner:
            return Count(simple=before + full, elements=written, calls=2)
        shared = self.volume(sorted(kept & left & right), known) if kept & left & right else 0
        return Count(products=2 * full, simple=before, elements=written, batch=shared)

    def _tile(self, step: Tile, known: dict[str, Amount]) -> Count:
        """A mask: one comparison an element. A decay: running sums of the gates, then a difference and an
        exponential an element (and a sign where gates may be negative)."""
        written = self._store(step.out, known | {step.columns: self._rows(step, known)})
        masks = 1 if step.part in ("fine", "outside") else 0
        simple: Amount = masks * written
        special: Amount = 0
        for k, use in enumerate(step.gates):
            if not use.constant:
                simple = simple + self.elements(use.gate.value) * (1 if use.log else 3)
            simple = simple + written * ((1 if use.log or use.constant else 2) + (k > 0))
            special = special + written
        # Each pass over a tile of decays is a call of its own: prefix sums, difference, mask, exp.
        calls = 10 * len(step.gates) if step.gates else 2
        moved = written * (1 + 3 * len(step.gates))
        return Count(simple=simple, special=special, elements=moved, calls=calls)

    def _rows(self, step: Tile, known: Mapping[str, Amount]) -> Amount:
        return known[step.rows] if step.rows in known else self._label(step.rows)

    def _scan(self, step: ScanTile, known: dict[str, Amount]) -> Count:
        """One addition an element, and a multiplication by its gates."""
        written = self._store(step.out, known)
        special: Amount = 0
        for use in step.gates:
            special = special + (self.elements(use.gate.value) if use.log else 0)
        passes = 1 + len(step.gates) + (step.strict and any(u.inclusive for u in step.gates))
        calls = (2 if step.gates else 1) * self.chunk + 2
        return Count(simple=passes * written, special=special, elements=2 * written, calls=calls)

    def _reduce(self, step: Fold | Normalise, known: dict[str, Amount]) -> Count:
        written = self._store(step.out, known)
        full = self.volume(sorted({*step.out.axes, *step.over}), known)
        simple, special = (4, 1) if isinstance(step, Normalise) else REDUCTION.get(step.op, (1, 0))
        found = [*operations(step.body), *(o for c in step.domain for o in operations(c))]
        masked = 1 if step.domain else 0
        own = Count(simple=(simple + masked) * full, special=special * full, elements=written, calls=4)
        return self._pointwise(found, known) + own + Count(elements=2 * full, calls=0)
