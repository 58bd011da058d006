"""The protocol of relations: what the rest of the compiler may ask of one.

A relation stands between two token indices, the `early` and the `late` one. It is an operand of the
contraction. Each kind is one file; nothing else knows the kinds apart. The eight answers:

    dense       the matrix itself: conditions and decays to multiply (the definition; masks in a tile)
    scan        how it is applied to one operand in linear time, or None
    transpose   the same relation read the other way (backward passes, outputs on the early side)
    split       over (chunk, position): coarse · fine · left factor · right factor · chunk gate
    step        how its state advances by one token
    meet        its product with another relation on the same pair
    through     whether R(late, early) = R(late, between) · R(between, early)
    gates       its derivative by its own parameters
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorc.ir import Cond, Expr, Index, Iverson, free_indices, substitute

TOKEN = "@"  # no letter of a program can be this


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of a decay at one token: `value` with the token index `TOKEN` (absent if constant).

    `log`: the value is the logarithm of the gate. A product gate may be zero or negative.
    """

    value: Expr
    log: bool

    def at(self, index: str) -> Expr:
        """The gate's own value (no logarithm) at a token."""
        from tensorc.ir import Call

        here = substitute(self.value, {TOKEN: Index(index)})
        return Call("exp", (here,)) if self.log else here

    @property
    def constant(self) -> bool:
        """Whether the gate is the same at every token."""
        return TOKEN not in free_indices(self.value)

    @property
    def features(self) -> frozenset[str]:
        """The feature indices the gate carries."""
        return free_indices(self.value) - {TOKEN}


@dataclass(frozen=True, slots=True)
class Read:
    """One gate as it is read: `inclusive` if the gate of the reading token itself applies."""

    gate: Gate
    inclusive: bool = True


@dataclass(frozen=True, slots=True)
class Block:
    """One term of the chunk split, with the tile that belongs to it: `fine` for pairs of one chunk, `left`
    for what earlier chunks left in the state (times the decays up to the reading token)."""

    earlier: bool
    tile: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How a token reads a state: `strict` before its own write, and for each gate whether its own applies."""

    strict: bool
    inclusive: tuple[bool, ...] = ()

    def split(self) -> tuple[Block, ...]:
        """[early <= late] over chunks: [J = I] · fine + [J < I] · left · right, through the chunk gate.
        The same split applies again inside a chunk."""
        return Block(False, "fine"), Block(True, "left")

    def step(self) -> tuple[str, tuple[int, ...]]:
        """Token by token: the state after its write, or the one before times the gates of these numbers."""
        if not self.strict:
            return "after", ()
        return "before", tuple(k for k, own in enumerate(self.inclusive) if own)


@dataclass(frozen=True, slots=True)
class Scan:
    """A relation oriented for a scan: values of `write` are carried to `read`.

    The state after token t is S[t] = Πgates[t] · S[t-1] + x[t] (t counted backwards if `reverse`).
    `strict` reads the state before the write of its own token, times the inclusive gates;
    otherwise all gates are inclusive and the state is read after the write.
    """

    write: str
    read: str
    reverse: bool
    strict: bool
    gates: tuple[Read, ...] = ()
    within: Expr | None = None  # tokens at least so far apart do not see each other

    @property
    def reading(self) -> Reading:
        """How the state is read."""
        return Reading(self.strict, tuple(g.inclusive for g in self.gates))

    @property
    def features(self) -> frozenset[str]:
        """Feature indices of all gates: the state keeps them open."""
        return frozenset().union(*(g.gate.features for g in self.gates))

    def rename(self, names: Mapping[str, str]) -> Scan:
        """The scan with indices renamed."""
        to = {old: Index(new) for old, new in names.items()}
        gates = tuple(
            replace(g, gate=replace(g.gate, value=substitute(g.gate.value, to))) for g in self.gates
        )
        return replace(
            self, write=names.get(self.write, self.write), read=names.get(self.read, self.read), gates=gates
        )


@dataclass(frozen=True, slots=True)
class Oriented:
    """A scan with what is left over: factors for the writing side, and whether the pair of a token
    with itself must be added as a separate term (`diagonal`, with its factors)."""

    scan: Scan
    write_factors: tuple[Expr, ...] = ()
    diagonal: tuple[Expr, ...] | None = None


class Relation(ABC):
    """A relation between the tokens `early` and `late`; see the module's docstring for the answers."""

    early: str
    late: str

    @abstractmethod
    def dense(self) -> tuple[tuple[Cond, ...], tuple[Decayed, ...]]:
        """The conditions and the decays whose product is the matrix."""

    @abstractmethod
    def scan(self, read: str) -> Oriented | None:
        """The relation as a scan that carries values to the token `read`; None if it has none."""

    @abstractmethod
    def transpose(self) -> Relation:
        """The relation with the names of its two tokens exchanged in role (as a matrix: transposed)."""

    @abstractmethod
    def meet(self, other: Relation) -> Relation | None:
        """The product with a relation on the same pair, if that is one relation of a known kind."""

    @abstractmethod
    def through(self, lower: Relation, upper: Relation) -> bool:
        """Whether this relation follows from `lower` (early to between) and `upper` (between to late)."""

    @abstractmethod
    def gates(self) -> tuple[Derivative, ...]:
        """The derivative by each of its gates."""

    @abstractmethod
    def rename(self, names: Mapping[str, str]) -> Relation:
        """The relation with indices renamed."""

    @property
    def pair(self) -> frozenset[str]:
        return frozenset((self.early, self.late))

    @property
    def width(self) -> Expr | None:
        """How far apart its tokens are less than; None if any distance will do."""
        return None

    @property
    def features(self) -> frozenset[str]:
        """Feature indices the relation carries."""
        return frozenset()

    def sorted_tensors(self) -> frozenset[str]:
        """Tensors whose values must not decrease along the time axis for its scans to be right."""
        return frozenset()

    def why_not(self) -> tuple[str, str]:
        """Why the relation has no scan, and what change would give it one."""
        return ("", "")


@dataclass(frozen=True, slots=True)
class Decayed:
    """A decay as it stands in a matrix: the product of `gate` over early..late, ends as said."""

    gate: Gate
    early: str
    late: str
    with_early: bool
    with_late: bool


@dataclass(frozen=True, slots=True)
class Derivative:
    """∂D/∂gate[u] = D · [early ‹ u › late] (for a log gate; times 1/gate, split at u, for a product)."""

    gate: Gate
    with_early: bool
    with_late: bool


def as_factor(conditions: tuple[Cond, ...]) -> Expr | None:
    """Conditions as one 0/1 factor."""
    from tensorc.ir import And

    if not conditions:
        return None
    return Iverson(conditions[0] if len(conditions) == 1 else And(conditions))
