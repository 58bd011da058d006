"""Polynomials of a score within a chunk: one tile of scores, then the polynomial pointwise, once.

Multiplied out, 1 + s + s*s/2 is a state for each power of s. Within a chunk that would be a product of two
tokens for each power; where the stages of a sum share their relation and all factors but the scores, the
scores are made once and what is summed is a polynomial of them, as it was written.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tensorc.ir import Add, Const, Expr, Index, Mul, Neg, Read, Where, free_indices
from tensorc.passes.relation import TOKEN, Block
from tensorc.passes.stage_graph import Memory, Stage, Value
from tensorc.passes.terms import ONE, times
from tensorc.passes.written_sums import WrittenSums
from tensorc.plan import COLUMN, ROW, GateUse, Ref, Why

SPLIT = (Block(False, "fine"), Block(True, "left"))
Part: TypeAlias = tuple[Expr, Expr]  # a scale and what it multiplies


@dataclass(slots=True)
class _Monomial:
    """A stage of the sum: its scale, the scores it multiplies, and what it shares with the others."""

    stage: Stage
    scale: Expr
    scores: list[Ref]
    rest: list[Ref]


class PairPolynomials(WrittenSums):
    """Realises sums of stages by one polynomial of their scores, where they are that."""

    @abstractmethod
    def gates(self, memory: Memory, inclusive: tuple[bool, ...] | None = None) -> list[GateUse]:
        """The gates of a state as tiles use them."""

    @abstractmethod
    def from_state(self, node: Stage, gates: list[GateUse]) -> Ref:
        """What a stage reads of the tokens before the chunk."""

    @abstractmethod
    def is_carried(self, node: Stage) -> bool:
        """Whether a stage that multiplies anything is cheaper with every token's state."""

    def polynomial(self, node: Value, why: Why) -> Ref | None:
        """The value of a sum of stages that are powers of the same scores; None if it is none."""
        parts = [(scale, expr, self._stage(node, expr)) for scale, expr in _parts(node.expr)]
        alike: dict[object, list[tuple[Expr, Stage]]] = {}
        for scale, _, stage in parts:
            if stage is not None:
                memory = self.graph.memories[stage.state.value]
                alike.setdefault((memory.gates, memory.reverse, stage.reading), []).append((scale, stage))
        groups: dict[object, list[_Monomial]] = {}
        for found in alike.values():
            for scale, stage in found if len(found) > 1 else ():
                monomial = self._monomial(scale, stage, why)
                rest = tuple(sorted((r.value, r.axes) for r in monomial.rest))
                groups.setdefault((id(found), rest), []).append(monomial)
        chosen = [group for group in groups.values() if _worthwhile(group)]
        if not chosen:
            return None
        joined = {m.stage.out.value for group in chosen for m in group}
        total = [part for group in chosen for part in self._evaluated(node, group, why)]
        for scale, expr, stage in parts:
            if stage is None or stage.out.value not in joined:
                total.append(self._here(times(scale, expr)))
        expr = total[0] if len(total) == 1 else Add(tuple(total))
        return self.emitter.pointwise(expr, self._labels(node.out.axes), why)

    def _monomial(self, scale: Expr, stage: Stage, why: Why) -> _Monomial:
        """A stage of the sum, its factors within a chunk taken apart."""
        factors = self.pairs(stage)
        out = set(self._labels(stage.out.axes))
        made = [self.emitter.product(c, _labels(c, out | {COLUMN}), why) for c in _components(factors, out)]
        scores = [r for r in made if {ROW, COLUMN} <= set(r.axes)]
        return _Monomial(stage, scale, scores, [r for r in made if r not in scores])

    def _stage(self, node: Value, expr: Expr) -> Stage | None:
        """The stage that a part reads as it stands, if it may become a monomial."""
        if not isinstance(expr, Read) or expr.tensor not in self.graph.tensors:
            return None
        labels = tuple(s.name for s in expr.subscripts if isinstance(s, Index))
        if len(set(labels)) != len(expr.subscripts):
            return None
        ref = self.graph.read(expr.tensor, labels)
        stage = self.nodes.get(ref.value)
        if not isinstance(stage, Stage) or stage.out.axes != ref.axes or ref.value not in self.here:
            return None  # what another loop read of its state is a value here
        memory = self.graph.memories[stage.state.value]
        plain = not any(set(gate.axes) - {TOKEN} for gate, _ in memory.gates)
        plain = plain and not memory.total and memory.within is None and stage.reading.split() == SPLIT
        fits = set(stage.out.axes) == set(node.out.axes)
        return stage if plain and fits and not self.is_carried(stage) else None

    def _evaluated(self, node: Value, group: Sequence[_Monomial], why: Why) -> list[Expr]:
        """The sum of a group: the polynomial of the scores times what all share, and each state's read."""
        first = group[0].stage
        memory = self.graph.memories[first.state.value]
        gates = self.gates(memory, first.reading.inclusive)
        within = Why(why.equation, "within the chunk: one polynomial of the scores", why.line)
        axes = next(r.axes for m in group for r in m.scores)
        tile = self.emitter.pointwise(self._polynomial(group), axes, within)
        fine = self.emitter.tile("fine", first.reading.strict, gates, within)
        assert fine is not None
        factors = [*group[0].rest, tile, fine]
        labels = self._labels(node.out.axes)
        kept = [a for a in labels if a in {b for r in factors for b in r.axes}]
        total: list[Expr] = [_read(self.emitter.product(factors, kept, within))]
        for monomial in group:
            scale = self._here(monomial.scale)
            total.append(times(scale, _read(self.from_state(monomial.stage, gates))))
        return total

    def _polynomial(self, group: Sequence[_Monomial]) -> Expr:
        """The sum of the scales times the scores; by Horner's rule where there is one score."""
        scores = {r for m in group for r in m.scores}
        if len(scores) > 1:
            return Add(tuple(times(self._here(m.scale), *map(_read, m.scores)) for m in group))
        (score,) = scores
        powers: dict[int, list[Expr]] = {}
        for monomial in group:
            powers.setdefault(len(monomial.scores), []).append(self._here(monomial.scale))
        result: Expr | None = None
        for power in range(max(powers), -1, -1):
            if result is not None:
                result = times(_read(score), result)
            terms = powers.get(power, [])
            if terms or result is None:
                result = Add((*terms, result)) if result is not None else _sum(terms)
        assert result is not None
        return result


def _worthwhile(group: Sequence[_Monomial]) -> bool:
    """Whether there are several, of scores that look alike."""
    shapes = {frozenset(r.axes) for m in group for r in m.scores if {ROW, COLUMN} <= set(r.axes)}
    return len(group) > 1 and len(shapes) == 1


def _parts(expr: Expr) -> list[Part]:
    """A sum as scales times values, where a scale has no token."""
    match expr:
        case Add(terms=terms):
            return [part for term in terms for part in _parts(term)]
        case Neg(operand=operand):
            return [(times(Const(-1), scale), value) for scale, value in _parts(operand)]
        case Mul(factors=factors):
            values = [f for f in factors if TOKEN in free_indices(f)]
            if len(values) == 1:
                return [(times(*(f for f in factors if f is not values[0])), values[0])]
        case Where(condition=condition, then=then, otherwise=otherwise):
            one = _parts(then)
            if len(one) == 1 and one[0][1] == otherwise and TOKEN not in free_indices(condition):
                return [(Where(condition, one[0][0], ONE), otherwise)]
    return [(ONE, expr)]


def _components(factors: Sequence[Ref], out: set[str]) -> list[list[Ref]]:
    """Factors that share a label that is summed within the pair belong together."""
    found: list[tuple[set[str], list[Ref]]] = []
    for ref in factors:
        summed = set(ref.axes) - out - {ROW, COLUMN}
        joined = [c for c in found if c[0] & summed]
        found = [c for c in found if not c[0] & summed]
        labels = summed.union(*(c[0] for c in joined))
        found.append((labels, [*(r for c in joined for r in c[1]), ref]))
    return [refs for _, refs in found]


def _labels(refs: Iterable[Ref], kept: set[str]) -> list[str]:
    """The labels of a component's product: heads first, then the two tokens."""
    present = dict.fromkeys(a for r in refs for a in r.axes if a in kept)
    return sorted(present, key=lambda a: (a == COLUMN, a == ROW))


def _sum(terms: list[Expr]) -> Expr:
    return terms[0] if len(terms) == 1 else Add(tuple(terms))


def _read(ref: Ref) -> Expr:
    return Read(ref.value, tuple(Index(a) for a in ref.axes))
