"""Pair expressions as steps: scores and masks of a block of rows and a block of columns.

Sums over features are contractions, whatever multiplies them taken in where that costs least (a scale goes
to the queries, not to the scores); all else is pointwise. Reads of columns come from the whole value or
from a cache, by label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensorc.ir import (
    And,
    Cond,
    Const,
    Div,
    Expr,
    Index,
    Mul,
    Neg,
    Node,
    Read,
    Reduce,
    Where,
    free_indices,
    rebuild,
)
from tensorc.passes.emit import STREAM
from tensorc.passes.pairs import instantiate
from tensorc.passes.relation import TOKEN
from tensorc.passes.terms import times
from tensorc.plan import ROW, Guard, Ref, Region, Select, Why

if TYPE_CHECKING:
    from tensorc.passes.realise import Realiser


class Tiles:
    """Emits the values of pairs in one loop; `columns` are the labels of the columns at hand."""

    def __init__(self, realiser: Realiser) -> None:
        self.real = realiser
        self.graph = realiser.graph
        self.columns: tuple[str, ...] = ()
        self.given = False
        self.why = Why()

    # -- reads -------------------------------------------------------------------------------------------

    def read(self, tensor: str, labels: tuple[str, ...]) -> Ref | None:
        """A tensor read at columns, or a pair; None for what is read at the row alone."""
        if tensor in self.graph.pairs:
            pair = Read(tensor, tuple(Index(a) for a in labels))
            return self.tile(self.real.at_token(instantiate(self.graph, pair)), None)
        at = [a for a in labels if a in self.columns]
        if not at:
            return None
        storage = self.graph.read(tensor, labels).axes
        found = self.column(self.graph.tensors[tensor].value, storage, at[0])
        for label in at[1:]:
            found = self.rows(found, label)
        return found

    def column(self, value: str, storage: tuple[str, ...], label: str) -> Ref:
        """A value at the columns of a label; its axes, in its own order, are called `storage`."""
        raise NotImplementedError

    def rows(self, source: Ref, label: str) -> Ref:
        """The columns at hand of a whole value: one of its axes has their label."""
        names = tuple(f"#{k}" if a != label else label for k, a in enumerate(source.axes))
        value = f"{source.value}:{label}{':given' if self.given else ''}"
        emitter = self.real.emitter
        if value not in emitter.level:
            step = Select(Ref(value, names), Ref(source.value, names), label, self.why)
            emitter.provide(value, step, max(emitter.level[source.value], emitter.streaming))
        return Ref(value, source.axes)

    # -- values ------------------------------------------------------------------------------------------

    def tile(self, expr: Expr, axes: Sequence[str] | None) -> Ref:
        """The value of an expression of a pair (under `axes` if given)."""
        return self.real.emitter.pointwise(self.simple(expr), axes, self.why)

    def simple(self, node: Expr) -> Expr:
        """The expression with its contractions, and the pairs it reads, as reads of values."""

        def visit(part: Node) -> Node:
            if isinstance(part, Read) and part.tensor in self.graph.pairs:
                return _read(self.tile(self.real.at_token(instantiate(self.graph, part)), None))
            if isinstance(part, Mul | Neg | Div | Reduce):
                found = self._contraction(part)
                if found is not None:
                    return _read(found)
            if isinstance(part, Read):
                return part
            return rebuild(part, visit)

        return visit(node)  # type: ignore[return-value]

    def _contraction(self, node: Expr) -> Ref | None:
        """A product with one sum over features and factors that no column varies, as one contraction."""
        factors = self.factors(node)
        sums = [f for f in factors if isinstance(f, Reduce) and f.op == "sum" and not f.domain]
        others = [f for f in factors if f not in sums]
        if len(sums) != 1 or any(self._varies(f) for f in others):
            return None
        (total,) = sums
        items = [self.item(f) for f in self.factors(total.body)]
        rest = times(*others)
        if rest != Const(1):
            items.append(self.tile(rest, None))
        present = {a for r in items for a in r.axes}
        bound = {b.name for b in total.binds}
        if not bound <= present:
            return None
        return self.real.emitter.product(items, ordered(present - bound, self.columns), self.why)

    def factors(self, node: Expr) -> list[Expr]:
        """The factors of a product; a pair that is one is taken apart."""
        found: list[Expr] = []
        pending = [node]
        while pending:
            part = pending.pop(0)
            match part:
                case Mul(factors=parts):
                    pending = [*parts, *pending]
                case Neg(operand=operand):
                    pending = [Const(-1), operand, *pending]
                case Div(numerator=top, denominator=bottom) if top != Const(1):
                    pending = [top, Div(Const(1), bottom), *pending]
                case Read(tensor=tensor) if tensor in self.graph.pairs and isinstance(
                    self.graph.pairs[tensor].expr, Mul | Neg | Div | Reduce
                ):
                    pending = [self.real.at_token(instantiate(self.graph, part)), *pending]
                case _:
                    found.append(part)
        return found

    def _varies(self, node: Expr) -> bool:
        """Whether an expression depends on a column."""
        return bool(free_indices(node) & set(self.columns))

    def item(self, factor: Expr) -> Ref:
        """A factor of a product as a value."""
        return self.tile(factor, None)

    # -- masks -------------------------------------------------------------------------------------------

    def mask(self, domain: tuple[Cond, ...]) -> Ref | None:
        """Where all conditions hold; None for no conditions."""
        from tensorc.passes.bounds import always

        if not domain:
            return None
        domain = tuple(self.real.at_token(c) for c in domain)
        emitter = self.real.emitter
        inputs: list[Ref] = []
        self.given = True
        lowered = tuple(emitter._lower(c, inputs, self.why) for c in domain)
        self.given = False
        labels = {n for c in lowered for n in free_indices(c)}
        step = Region(
            emitter.fresh(ordered(labels, self.columns)),
            lowered,  # type: ignore[arg-type]
            always(domain, ROW, self.columns),
            self.why,
        )
        return emitter.add(step, inputs, self.level(labels))

    def level(self, labels: set[str]) -> int:
        """Where a step with these labels belongs."""
        from tensorc.passes.emit import BODY, CONSTANT

        emitter = self.real.emitter
        if labels & set(self.columns):
            return emitter.streaming
        return BODY if ROW in labels else CONSTANT

    def guarded(self, tile: Ref, mask: Ref | None, op: str) -> Ref:
        """A tile where the mask holds, else where a reduction by `op` starts."""
        if mask is None:
            return tile
        emitter = self.real.emitter
        labels = ordered({*tile.axes, *mask.axes}, self.columns)
        if set(labels) != set(tile.axes):
            tile = emitter.pointwise(_read(tile), labels, self.why)
        step = Guard(emitter.fresh(tile.axes), tile, mask, op, self.why)
        return emitter.add(step, [tile, mask])


def ordered(labels: set[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Features, then the row, then columns: how a tile lies in memory."""
    features = sorted(a for a in labels if a not in (ROW, TOKEN) and a not in columns)
    row = [a for a in (ROW, TOKEN) if a in labels]
    return (*features, *row, *(c for c in columns if c in labels))


def _read(ref: Ref) -> Expr:
    return Read(ref.value, tuple(Index(a) for a in ref.axes))


def where(domain: Sequence[Cond]) -> Expr:
    """1 where all conditions hold, else 0."""
    condition = domain[0] if len(domain) == 1 else And(tuple(domain))
    return Where(condition, Const(1), Const(0))


__all__ = ["STREAM", "Tiles", "ordered", "where"]
