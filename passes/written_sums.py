"""What a token writes to a state, as products of narrow values: k ⊗ w, or a sum of some of them.

A sum such as k ⊗ w + l ⊗ z is as wide as the state. Two tokens of a chunk are multiplied without it: by
(q · k) w + (q · l) z, a matrix product for each term.
"""

from __future__ import annotations

from tensorc.ir import Add, Const, Expr, Index, Mul, Neg, Read, walk
from tensorc.passes.pair_factors import PairFactors
from tensorc.passes.stage_graph import Memory, Stage, Value
from tensorc.passes.terms import times
from tensorc.plan import COLUMN, ROW, Ref, Why


class WrittenSums(PairFactors):
    """Takes what is written to a state apart."""

    def pair_terms(self, node: Stage) -> list[list[Ref]]:
        """What two tokens of one chunk are multiplied by: the factors of each term of a sum."""
        memory = self.graph.memories[node.state.value]
        found = self._sum(memory)
        if found is None:
            return [self.pairs(node)]
        own, written, terms = found
        inner = self.inner(node, memory)
        names = {a: inner[b] for a, b in zip(written.out.axes, own.axes, strict=True) if b in inner}
        rest = self.pairs(node, written.out.value)
        return [[*rest, *self._at_columns(term, names, node.why)] for term in terms]

    def write_terms(self, memory: Memory) -> list[list[Ref]]:
        """What the tokens of a chunk write: the factors of each term of a sum, at the columns."""
        found = self._sum(memory)
        if found is None:
            return [[self.ref(r, COLUMN) for r in memory.writes]]
        own, written, terms = found
        names = dict(zip(written.out.axes, own.axes, strict=True))
        rest = [self.ref(r, COLUMN) for r in memory.writes if r is not own]
        return [[*rest, *self._at_columns(term, names, memory.why)] for term in terms]

    def _at_columns(self, term: list[Expr], names: dict[str, str], why: Why) -> list[Ref]:
        refs = [self.emitter.pointwise(self._here(factor), None, why) for factor in term]
        return [
            ref.relabel({a: b for a, b in names.items() if a in ref.axes} | {ROW: COLUMN}) for ref in refs
        ]

    def _sum(self, memory: Memory) -> tuple[Ref, Value, list[list[Expr]]] | None:
        """A written value that is a sum of products of narrower ones: as the memory has it, and the factors
        of each product, those of the same labels as one."""
        if memory.within is not None:
            return None
        for own in memory.writes:
            node = self.nodes.get(own.value)
            if isinstance(node, Value) and isinstance(node.expr, Add):
                terms = [factors_of(term) for term in node.expr.terms]
                once = sum(r.value == own.value for r in memory.writes) == 1
                if once and all(_narrow(term, frozenset(node.out.axes)) for term in terms):
                    return own, node, terms
        return None


def _narrow(term: list[Expr], axes: frozenset[str]) -> bool:
    """Whether factors have all labels together, and none of them has all: a label that a term lacks would be
    summed over it, too."""
    labels = [_labels(factor) for factor in term]
    return frozenset().union(*labels) >= axes and all(len(own) < len(axes) for own in labels)


def factors_of(term: Expr) -> list[Expr]:
    """The factors of a product, those that have the same labels together; a sign with the first."""
    sign = 1
    while isinstance(term, Neg):
        term, sign = term.operand, -sign
    parts: dict[frozenset[str], list[Expr]] = {}
    for factor in term.factors if isinstance(term, Mul) else (term,):
        parts.setdefault(_labels(factor), []).append(factor)
    if sign < 0:
        next(iter(parts.values())).insert(0, Const(-1))
    return [times(*factors) for factors in parts.values()]


def _labels(expr: Expr) -> frozenset[str]:
    return frozenset(
        s.name for n in walk(expr) if isinstance(n, Read) for s in n.subscripts if isinstance(s, Index)
    )
