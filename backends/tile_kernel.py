"""The tile language: what a GPU kernel does to the rows of one chunk.

Tiles are values whose axes carry labels, as in plans, and a kernel speaks most of the plan's own
vocabulary (maps, contractions, the tiles of relations, scans, solves, streams). What plans leave open is
said here: where in memory a tile is read from and written to, which states are carried from chunk to chunk
and which are read from memory, and what runs at once.

    kernel     Kernel(name, order, carried, steps, ...)
    step       a step of a plan | Fetch | Put | Weights | Recall | Anchored | Inverse | Over | Summed
    subscript  Row | Lane | Place | Listed          one for each axis of a tensor in memory
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from tensorc.ir import Expr, Extent
from tensorc.plan import Contract, GateUse, Ref, Solve, State, Step, Stream, Why


@dataclass(frozen=True, slots=True)
class Row:
    """The rows at hand, `lag` rows earlier in the order of the loop: a number, or a label that counts."""

    lag: int | str = 0


@dataclass(frozen=True, slots=True)
class Lane:
    """The positions of a label."""

    label: str


@dataclass(frozen=True, slots=True)
class Place:
    """A computed position; what lies outside the axis reads as 0."""

    expr: Expr
    extent: Extent


@dataclass(frozen=True, slots=True)
class Listed:
    """For each product of `power` elements under the label: the place of its element number `element`."""

    label: str
    power: int
    element: int


Subscript: TypeAlias = Row | Lane | Place | Listed


@dataclass(frozen=True, slots=True)
class Fetch:
    """A tile from memory. Rows before the first are those of the state `before` [depth, ...], the latest
    last; 0 if there is none. `order`: for each axis of the state after the first, which subscript it has."""

    out: Ref
    tensor: str
    subscripts: tuple[Subscript, ...]
    before: str = ""
    order: tuple[int, ...] = ()
    why: Why = field(default=Why(), compare=False)

    @property
    def places(self) -> tuple[Expr, ...]:
        """The computed subscripts."""
        return tuple(s.expr for s in self.subscripts if isinstance(s, Place))


@dataclass(frozen=True, slots=True)
class Weights:
    """How often each product of `power` elements of an axis can be arranged, under one label."""

    out: Ref
    power: int
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Put:
    """A tile to memory."""

    tensor: str
    value: Ref
    subscripts: tuple[Subscript, ...]
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Recall:
    """A state from memory: as it was before the first row ("in") or before the chunk at hand ("all")."""

    out: Ref
    which: str
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Anchored:
    """The product of a decay of single features between tokens, of `left` [ROW, feature], `right` [COLUMN,
    feature] and `pairs` [ROW, COLUMN], summed over the feature (`out` is [ROW, COLUMN]) or over the columns
    (`out` is [ROW, feature]). Any of the three may be missing."""

    out: Ref
    gate: GateUse
    strict: bool
    feature: str
    left: Ref | None
    right: Ref | None
    pairs: Ref | None
    why: Why = field(default=Why(), compare=False)

    @property
    def reads(self) -> list[Ref]:
        """The values it reads."""
        return [self.gate.gate, *(r for r in (self.left, self.right, self.pairs) if r is not None)]


@dataclass(frozen=True, slots=True)
class Inverse:
    """The inverse of the matrix of a triangular system, apart from its right sides."""

    out: Ref
    solve: Solve
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Over:
    """A loop over tiles of an axis of features; `sums` are the values that its `Summed` steps add up."""

    label: str
    sums: tuple[Ref, ...]
    steps: tuple[TileStep, ...]
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Summed:
    """A step that sums over an axis, of which a loop has a tile: its result is added to what there is."""

    step: Contract | Anchored | Stream
    why: Why = field(default=Why(), compare=False)


TileStep: TypeAlias = "Step | Fetch | Put | Weights | Recall | Anchored | Inverse | Over | Summed"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch. `order`: "serial" over the chunks with `carried` states in registers, "chunks" all at
    once, "tokens", one row after the other, or "once": what has no rows.

    `given` are states that earlier loops left; `saves`: the state before each chunk goes to memory;
    `finals`: the last one does. `narrow`: features that it sums over are taken tile by tile.
    """

    name: str
    order: str
    reverse: bool
    carried: tuple[State, ...]
    steps: tuple[TileStep, ...]
    given: tuple[State, ...] = ()
    saves: bool = False
    finals: bool = False
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """A tensor of all rows that a kernel leaves in memory for a later one; `axes` are the labels of the
    value that it holds, ROW among them."""

    tensor: str
    value: Ref


@dataclass(frozen=True, slots=True)
class Cache:
    """The rows of a state that grows, and after them those of a tensor in memory, in the order `axes`."""

    tensor: str
    state: State
    source: str
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A state that is the last rows of a tensor in memory; `order` puts the tensor's axes in the state's."""

    state: State
    source: str
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """What computes something of a loop: one kernel, or, for few heads or wide features, narrow ones: states
    in the order of time, then everything else for all chunks at once, each result by a kernel of its own."""

    whole: Kernel
    narrow: tuple[Kernel, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """A loop of a plan as kernels, in order. `rows`, `caches` and `kept` are what the caller prepares and
    returns; `states` those that kernels carry."""

    launches: tuple[Launch, ...]
    rows: tuple[Rows, ...]
    caches: tuple[Cache, ...]
    kept: tuple[Kept, ...]
    states: tuple[State, ...]
