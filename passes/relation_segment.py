"""Segments: seg[late] == seg[early], tokens of one document packed with others into one sequence.

Under an order it is a decay: with ids that never decrease, two tokens are of one segment exactly if no id
changes between them, so the gate is 0 where a segment starts and the state resets there. Without an order
it is a mask, and so it is in the parallel form, which takes any ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorc.ir import Add, Compare, Cond, Const, Expr, Index, Iverson, Neg, Read, free_indices, substitute
from tensorc.passes.relation import TOKEN, Decayed, Derivative, Gate, Oriented, Relation
from tensorc.passes.relation_order import Decay, Order


@dataclass(frozen=True, slots=True)
class Segment(Relation):
    """Equal ids of two tokens; `ids` reads them with the token index `TOKEN`."""

    early: str
    late: str
    ids: Read

    @property
    def features(self) -> frozenset[str]:
        """The feature indices of the ids, such as heads."""
        return free_indices(self.ids) - {TOKEN}

    def dense(self) -> tuple[tuple[Cond, ...], tuple[Decayed, ...]]:
        return (Compare("==", self._at(self.late), self._at(self.early)),), ()

    def scan(self, read: str) -> Oriented | None:
        return None

    def transpose(self) -> Relation:
        return replace(self, early=self.late, late=self.early)

    def meet(self, other: Relation) -> Relation | None:
        if not isinstance(other, Order) or other.pair != self.pair:
            return None
        before = Add((Index(TOKEN), Neg(Const(1))))
        same = Compare("==", self.ids, substitute(self.ids, {TOKEN: before}))
        return other.meet(Order(other.early, other.late, False, (Decay(Gate(Iverson(same), False)),)))

    def through(self, lower: Relation, upper: Relation) -> bool:
        return (
            isinstance(lower, Segment) and isinstance(upper, Segment) and lower.ids == upper.ids == self.ids
        )

    def gates(self) -> tuple[Derivative, ...]:
        return ()

    def rename(self, names: Mapping[str, str]) -> Segment:
        to = {old: Index(new) for old, new in names.items()}
        ids = substitute(self.ids, to)
        assert isinstance(ids, Read)
        return Segment(names.get(self.early, self.early), names.get(self.late, self.late), ids)

    def sorted_tensors(self) -> frozenset[str]:
        return frozenset((self.ids.tensor,))

    def why_not(self) -> tuple[str, str]:
        return (
            f"{self.early} and {self.late} of one segment have no scan without an order",
            f"add an order such as {self.early} <= {self.late}",
        )

    def _at(self, index: str) -> Expr:
        return substitute(self.ids, {TOKEN: Index(index)})


def as_segment(condition: Cond) -> Segment | None:
    """The segment relation that a condition is: one tensor read at two tokens and compared as equal."""
    if not isinstance(condition, Compare) or condition.op != "==":
        return None
    left, right = condition.left, condition.right
    if not isinstance(left, Read) or not isinstance(right, Read) or left.tensor != right.tensor:
        return None
    pairs = [(a, b) for a, b in zip(left.subscripts, right.subscripts, strict=True) if a != b]
    if len(pairs) != 1 or not all(isinstance(s, Index) for s in pairs[0]):
        return None
    (late, early) = pairs[0]
    assert isinstance(late, Index) and isinstance(early, Index)
    ids = replace(left, subscripts=tuple(Index(TOKEN) if s == late else s for s in left.subscripts))
    return Segment(early.name, late.name, ids)
