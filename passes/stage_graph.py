"""The stage graph: one-token values and states, independent of the form.

All values here have at most one token axis, labelled `TOKEN`. The chunkwise, recurrent and whole-sequence
realisations start from this graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from tensorc.ir import Cond, Expr, Extent
from tensorc.passes.relation import Reading
from tensorc.plan import Ref, Why


@dataclass(frozen=True, slots=True)
class Value:
    """A pointwise expression of one token (or of none); reads name values or tensors."""

    out: Ref
    expr: Expr
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Product:
    """A contraction of values of the same token."""

    out: Ref
    items: tuple[Ref, ...]
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Memory:
    """A state: what is written to it at each token, its gates, and the direction. `within`: a token sees the
    writes less than so many tokens before it alone, so that what is kept is not the state but its writes."""

    name: str
    axes: tuple[str, ...]
    writes: tuple[Ref, ...]
    gates: tuple[tuple[Ref, bool], ...]
    reverse: bool
    total: bool = False
    within: Expr | None = None
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """out = the state, as its token sees it, times the items.
    A total is the state after the last token."""

    out: Ref
    state: Ref
    items: tuple[Ref, ...]
    reading: Reading
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Packed:
    """The products of `power` elements of one value, each once (see `tensorc.plan.Monomials`)."""

    out: Ref
    lower: Ref
    factor: Ref
    first: str
    last: str
    label: str
    power: int
    weighted: bool
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Shift:
    """out = the source some tokens earlier (later, if `reverse`), 0 before the first: `lag` tokens, or as
    many as a label of the result counts. The state holds the rows that are still needed, `depth` first."""

    out: Ref
    source: Ref
    lag: int | str
    state: Ref
    reverse: bool
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Pair:
    """A value of two tokens or more, never kept as a tensor: its expression over `labels` (those of its
    declaration, in order), to be evaluated for a block of rows and a block of columns."""

    labels: tuple[str, ...]
    expr: Expr
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Weights:
    """Softmax weights before they are normalised: exp(score − the largest score of the row)."""

    score: Expr
    domain: tuple[Cond, ...]


@dataclass(frozen=True, slots=True)
class Folded:
    """A reduction over columns, for each row `TOKEN`, that no state summarises.

    `op`: sum, prod, max, min or logsumexp of the product of `factors`; "top" and "total" are the largest
    score of the weights and the sum of the weights. With weights a sum is theirs, divided by their total.
    `columns`: their labels with the axes they run over; `lag`: how far before the row they are at least
    (None: later ones too). `rows` and `cached` are the values that are read at the row and at columns; a
    cached one with True is compared, and kept as it was given.
    """

    out: Ref
    op: str
    columns: tuple[tuple[str, Extent], ...]
    factors: tuple[Expr, ...]
    domain: tuple[Cond, ...]
    weights: Weights | None
    lag: int | None
    rows: tuple[str, ...]
    cached: tuple[tuple[str, bool], ...]
    why: Why = field(default=Why(), compare=False)

    def reads_later(self, time: Extent) -> bool:
        """Whether a token's result depends on later tokens."""
        return self.lag is None and any(extent == time for _, extent in self.columns)

    @property
    def stream(self) -> tuple[object, ...]:
        """What folds of one stream have in common."""
        domain = self.weights.domain if self.weights is not None else self.domain
        return self.columns, self.lag is None, domain


GraphNode: TypeAlias = Value | Product | Packed | Stage | Shift | Folded


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor of the program lives: the value, and for each declared axis its axis there."""

    value: str
    positions: tuple[int, ...]


@dataclass(slots=True)
class Graph:
    """The stage graph of a program: nodes in order, states by name, labels with their extents. `unknowns`
    are values that depend on themselves: equations that use their own results."""

    nodes: list[GraphNode] = field(default_factory=list)
    memories: dict[str, Memory] = field(default_factory=dict)
    extents: dict[str, Extent] = field(default_factory=dict)
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    unknowns: set[str] = field(default_factory=set)
    ascending: set[str] = field(default_factory=set)
    pairs: dict[str, Pair] = field(default_factory=dict)

    def read(self, tensor: str, labels: tuple[str, ...]) -> Ref:
        """A tensor of the program as a value: labels given in the order of its declaration."""
        source = self.tensors[tensor]
        axes = [""] * len(labels)
        for position, label in zip(source.positions, labels, strict=True):
            axes[position] = label
        return Ref(source.value, tuple(axes))
