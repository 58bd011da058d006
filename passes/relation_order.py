"""Order: early <= late, or early < late, alone or times decays on the same pair, perhaps in a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorc.ir import Add, Call, Compare, Cond, Const, Expr, Index, Iverson, Neg, substitute
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
    """[early <= late] (or <) times the product of the decays; `within`: and [late - early < within]."""

    early: str
    late: str
    strict: bool = False
    decays: tuple[Decay, ...] = ()
    within: Expr | None = None

    def dense(self) -> tuple[tuple[Cond, ...], tuple[Decayed, ...]]:
        conditions: tuple[Cond, ...] = (
            Compare("<" if self.strict else "<=", Index(self.early), Index(self.late)),
        )
        if self.within is not None:
            distance = Add((Index(self.late), Neg(Index(self.early))))
            conditions = (*conditions, Compare("<", distance, self.within))
        return conditions, tuple(
            Decayed(d.gate, self.early, self.late, d.with_early, d.with_late) for d in self.decays
        )

    def scan(self, read: str) -> Oriented:
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
            diagonal = self.diagonal()
        scan = Scan(write, read, not forward, strict, tuple(gates), self.within)
        return Oriented(scan, tuple(factors), diagonal)

    def diagonal(self) -> tuple[Expr, ...]:
        """What it is of a token with itself, if it is not strict: factors of that token."""
        both = tuple(d.gate.at(self.late) for d in self.decays if d.with_early and d.with_late)
        if self.within is None or (isinstance(self.within, Const) and self.within.value > 0):
            return both
        return (*both, Iverson(Compare("<", Const(0), self.within)))

    def transpose(self) -> Relation:
        swap = {self.early: self.late, self.late: self.early}
        return self.rename(swap)

    def meet(self, other: Relation) -> Relation | None:
        if not isinstance(other, Order) or other.pair != self.pair or other.early != self.early:
            return None
        decays = tuple(sorted(self.decays + other.decays, key=Decay.key))
        within = narrower(self.within, other.within)
        return replace(self, strict=self.strict or other.strict, decays=decays, within=within)

    def through(self, lower: Relation, upper: Relation) -> bool:
        """The order follows from the path; a strict one only if a link of the path is strict.
        Decays over (early, late] are pushed onto both links, so they must be of that canonical kind."""
        if not isinstance(lower, Order) or not isinstance(upper, Order) or self.within is not None:
            return False
        return not self.strict or lower.strict or upper.strict

    def gates(self) -> tuple[Derivative, ...]:
        return tuple(Derivative(d.gate, d.with_early, d.with_late) for d in self.decays)

    def rename(self, names: Mapping[str, str]) -> Order:
        to = {old: Index(new) for old, new in names.items()}
        decays = tuple(
            replace(d, gate=replace(d.gate, value=substitute(d.gate.value, to))) for d in self.decays
        )
        early, late = names.get(self.early, self.early), names.get(self.late, self.late)
        return Order(early, late, self.strict, decays, self.within)

    @property
    def width(self) -> Expr | None:
        return self.within

    @property
    def features(self) -> frozenset[str]:
        return frozenset().union(*(d.gate.features for d in self.decays))


def narrower(one: Expr | None, other: Expr | None) -> Expr | None:
    """The smaller of two widths; None is no limit."""
    if one is None or other is None or one == other:
        return other if one is None else one
    return Call("minimum", (one, other))
