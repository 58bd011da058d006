"""Dense: any other condition on two tokens. It is a mask everywhere and never scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorc.ir import Cond, Div, Expr, Index, Iverson, Neg, free_indices, substitute
from tensorc.passes.affine import as_order
from tensorc.passes.refusals import no_scan
from tensorc.passes.relation import Decayed, Derivative, Gate, Oriented, Relation
from tensorc.passes.relation_order import Decay, Order
from tensorc.passes.terms import ONE


def _decay(decayed: Decayed) -> Decay:
    return Decay(decayed.gate, decayed.with_early, decayed.with_late)


@dataclass(frozen=True, slots=True)
class Dense(Relation):
    """A condition, or a decay without an order, on two tokens.

    Such a decay is 1 where early comes after late, or, if `factor` is given, what that says: under an
    order, `factor` is the decay times `scale`.
    """

    early: str
    late: str
    condition: Cond | None = None
    decay: Decayed | None = None
    text: str = ""
    factor: Expr | None = None
    scale: Expr = ONE
    only_strict: bool = False

    def dense(self) -> tuple[tuple[Cond, ...], tuple[Decayed, ...]]:
        return ((self.condition,) if self.condition else ()), ((self.decay,) if self.decay else ())

    def scan(self, read: str) -> Oriented | None:
        return None

    def transpose(self) -> Relation:
        return self.rename({self.early: self.late, self.late: self.early})

    def meet(self, other: Relation) -> Relation | None:
        """An order on the same pair makes a decay part of the order."""
        if not isinstance(other, Order) or self.decay is None or self.pair != other.pair:
            return None
        decay = self.decay if other.early == self.decay.early else self._turned()
        if decay is None or (self.only_strict and not other.strict):
            return None
        return other.meet(Order(other.early, other.late, False, (_decay(decay),)))

    def _turned(self) -> Decayed | None:
        """gamma ** (late - early) is (1 / gamma) ** (early - late)."""
        if self.decay is None or self.factor is None or self.only_strict:
            return None
        gate = self.decay.gate
        value = Neg(gate.value) if gate.log else Div(ONE, gate.value)
        return Decayed(Gate(value, gate.log), self.decay.late, self.decay.early, False, True)

    def diagonal(self) -> list[Expr]:
        """The factors of one token that the relation is where both are the same."""
        if self.condition is not None:
            return [Iverson(self.condition)]
        if self.factor is not None:
            return [self.factor]
        decay = self.decay
        return [decay.gate.at(decay.late)] if decay and decay.with_early and decay.with_late else []

    def through(self, lower: Relation, upper: Relation) -> bool:
        return False

    def gates(self) -> tuple[Derivative, ...]:
        return (
            (Derivative(self.decay.gate, self.decay.with_early, self.decay.with_late),) if self.decay else ()
        )

    def rename(self, names: Mapping[str, str]) -> Dense:
        to = {old: Index(new) for old, new in names.items()}
        condition = None if self.condition is None else substitute(self.condition, to)
        decay = self.decay
        if decay is not None:
            gate = Gate(substitute(decay.gate.value, to), decay.gate.log)
            early, late = names.get(decay.early, decay.early), names.get(decay.late, decay.late)
            decay = Decayed(gate, early, late, decay.with_early, decay.with_late)
        early, late = names.get(self.early, self.early), names.get(self.late, self.late)
        factor = None if self.factor is None else substitute(self.factor, to)
        scale = substitute(self.scale, to)
        return Dense(early, late, condition, decay, self.text, factor, scale, self.only_strict)

    @property
    def equates(self) -> bool:
        """Whether the relation says that both tokens are the same."""
        order = None if self.condition is None else as_order(self.condition)
        return order is not None and order[2] == "=="

    @property
    def features(self) -> frozenset[str]:
        found = free_indices(self.condition) if self.condition else frozenset[str]()
        if self.decay:
            found |= self.decay.gate.features
        return found - self.pair

    def why_not(self) -> tuple[str, str]:
        if self.decay is not None:
            return (
                f"a power of {self.late} - {self.early} has no scan where {self.late} may come first",
                f"bound the sum, e.g. {self.early} <= {self.late}",
            )
        assert self.condition is not None
        return no_scan(self.condition, self.text, self.early, self.late)
