"""Order: early <= late, or early < late, alone or times decays on the same pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorc.ir import Compare, Cond, Expr, Index, substitute
from tensorc.passes.relation import (
    Decayed,
    Derivative,
    Gate,
    Oriented,
    Read,
    Relation,
    Scan,
)


@dataclass(frozen=True, slots=True)
class Decay:
    """A gate over the tokens between early and late, with or without either end."""

    gate: Gate
    with_early: bool = False
    with_late: bool = True

    def key(self) -> tuple[str, bool, bool]:
        return (repr(self.gate), self.with_early, self.with_late)


@dataclass(frozen=True, slots=True)
class Order(Relation):
    """[early <= late] (or <) times the product of the decays."""

    early: str
    late: str
    strict: bool = False
    decays: tuple[Decay, ...] = ()

    def dense(self) -> tuple[tuple[Cond, ...], tuple[Decayed, ...]]:
        order = Compare("<" if self.strict else "<=", Index(self.early), Index(self.late))
        return (order,), tuple(
            Decayed(d.gate, self.early, self.late, d.with_early, d.with_late) for d in self.decays
        )

    def scan(self, read: str) -> Oriented | None:
        forward = read == self.late
        write = self.early if forward else self.late
        factors: list[Expr] = []
        gates: list[Read] = []
        strict = self.strict
        for decay in self.decays:
            at_write = decay.with_early if forward else decay.with_late
            at_read = decay.with_late if forward else decay.with_early
            if at_write:
                factors.append(decay.gate.at(write))
            gates.append(Read(decay.gate, at_read))
        # An inclusive read needs every gate of its own token; else the diagonal is a term of its own.
        diagonal = None
        if not strict and not all(g.inclusive for g in gates):
            strict = True
            diagonal = tuple(d.gate.at(write) for d in self.decays if d.with_early and d.with_late)
        return Oriented(Scan(write, read, not forward, strict, tuple(gates)), tuple(factors), diagonal)

    def transpose(self) -> Relation:
        swap = {self.early: self.late, self.late: self.early}
        return self.rename(swap)

    def meet(self, other: Relation) -> Relation | None:
        if not isinstance(other, Order) or other.pair != self.pair or other.early != self.early:
            return None
        decays = tuple(sorted(self.decays + other.decays, key=Decay.key))
        return replace(self, strict=self.strict or other.strict, decays=decays)

    def through(self, lower: Relation, upper: Relation) -> bool:
        """The order follows from the path; a strict one only if a link of the path is strict.
        Decays over (early, late] are pushed onto both links, so they must be of that canonical kind."""
        if not isinstance(lower, Order) or not isinstance(upper, Order):
            return False
        return not self.strict or lower.strict or upper.strict

    def gates(self) -> tuple[Derivative, ...]:
        return tuple(Derivative(d.gate, d.with_early, d.with_late) for d in self.decays)

    def rename(self, names: Mapping[str, str]) -> Order:
        to = {old: Index(new) for old, new in names.items()}
        decays = tuple(
            replace(d, gate=replace(d.gate, value=substitute(d.gate.value, to))) for d in self.decays
        )
        return Order(names.get(self.early, self.early), names.get(self.late, self.late), self.strict, decays)

    @property
    def features(self) -> frozenset[str]:
        return frozenset().union(*(d.gate.features for d in self.decays))
