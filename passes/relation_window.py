"""Windows: late - early < width. Beside an order on the same pair a window scans: what a token sees is a sum
over the last tokens, made without taking anything away again.

In chunks of C, m whole chunks of a window of width w and what is left of it (Beltagy et al. 2020, arXiv
2004.05150, for the relation; the sum over the last m chunks is the suffix of the m chunks before the last
multiple of m, and a running sum from there on, as two stacks make a queue)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorc.ir import Cond, Const, Expr, Index, free_indices, substitute
from tensorc.passes.bounds import add, farthest
from tensorc.passes.relation import Relation
from tensorc.passes.relation_dense import Dense
from tensorc.passes.relation_order import Order


@dataclass(frozen=True, slots=True)
class Window(Dense):
    """late - early < least, for a number of sizes `least`; without an order it is a mask."""

    least: Expr = Const(1)

    def meet(self, other: Relation) -> Relation | None:
        if not isinstance(other, Order) or (other.early, other.late) != (self.early, self.late):
            return None
        return other.meet(Order(self.early, self.late, False, (), self.least))

    def rename(self, names: Mapping[str, str]) -> Window:
        assert self.condition is not None
        condition = substitute(self.condition, {old: Index(new) for old, new in names.items()})
        early, late = names.get(self.early, self.early), names.get(self.late, self.late)
        return replace(self, early=early, late=late, condition=condition)

    @property
    def width(self) -> Expr | None:
        return self.least


def as_window(condition: Cond, text: str) -> Window | None:
    """The window that a condition on two tokens is.

    >>> from tensorc.ir import Add, Compare, Neg, Size
    >>> found = as_window(Compare("<", Add((Index("i"), Neg(Size("w")))), Index("j")), "i - w < j")
    >>> found.early, found.late, found.least
    ('j', 'i', Size(name='w'))
    """
    indices = sorted(free_indices(condition))
    found = farthest(condition, *indices) if len(indices) == 2 else None
    if found is None:
        return None
    late, early, distance = found
    return Window(early, late, condition, text=text, least=add(distance, Const(1)))
