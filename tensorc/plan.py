"""Plans: what passes hand to backends.

Values are tensors whose axes carry labels: feature labels (letters of the program), the token labels
`ROW` (the reading position) and `COLUMN` (the writing position) of a chunk, or plain token letters in
the parallel form. A step makes one value out of others; broadcasting and transposition are by label.

    plan   Plan(form, prologue, loops, outputs, ...)      loop   Loop(reverse, setup, body, updates)
    step   Load | Gather | Map | Contract | Tile | ScanTile | Solve | Delay | Tail | Monomials
           | Fold | Normalise | Recur | Fill | Update | Keep
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import comb
from typing import TypeAlias

from tensorc.errors import Span
from tensorc.ir import Cond, Expr, Extent
from tensorc.plan_stream import Accumulate as Accumulate
from tensorc.plan_stream import Append as Append
from tensorc.plan_stream import Columns as Columns
from tensorc.plan_stream import Guard as Guard
from tensorc.plan_stream import LogSum as LogSum
from tensorc.plan_stream import Region as Region
from tensorc.plan_stream import Running as Running
from tensorc.plan_stream import Select as Select
from tensorc.plan_stream import Slide as Slide
from tensorc.plan_stream import Stream as Stream
from tensorc.plan_stream import Weigh as Weigh
from tensorc.plan_values import CACHED as CACHED
from tensorc.plan_values import COLUMN as COLUMN
from tensorc.plan_values import FAR as FAR
from tensorc.plan_values import HERE as HERE
from tensorc.plan_values import NEAR as NEAR
from tensorc.plan_values import PAST as PAST
from tensorc.plan_values import ROW as ROW
from tensorc.plan_values import Ref as Ref
from tensorc.plan_values import Why as Why
from tensorc.plan_values import first as first
from tensorc.plan_values import last as last
from tensorc.semiring import SUM_PRODUCT


@dataclass(frozen=True, slots=True)
class Symmetric(Extent):
    """The products of `power` of the positions of an axis, whatever their order: d + 1 over 2 of them.

    >>> Symmetric(1, ("d",), 2).value({"d": 4})
    10
    """

    power: int = 2

    def value(self, sizes: Mapping[str, int]) -> int:
        count = Extent.value(self, sizes)
        return comb(count + self.power - 1, self.power) if count else 0

    def __str__(self) -> str:
        return f"C({Extent.__str__(self)} + {self.power - 1}, {self.power})"


@dataclass(frozen=True, slots=True)
class Load:
    """A tensor of the caller (or a kept value): the rows of the chunk if it has the time axis at
    `time`, else the whole."""

    out: Ref
    tensor: str
    time: int | None
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Gather:
    """A read with computed subscripts; zero outside the axes. `axes` of the source label its extents."""

    out: Ref
    source: Ref
    subscripts: tuple[Expr, ...]
    extents: tuple[Extent, ...]
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Map:
    """A pointwise expression; reads name values, their subscripts are labels."""

    out: Ref
    expr: Expr
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Contract:
    """The product of one or two values, summed over the labels that the result lacks: in the semiring of
    this name, a row of `tensorc.semiring`."""

    out: Ref
    left: Ref
    right: Ref | None = None
    why: Why = field(default=Why(), compare=False)
    semiring: str = SUM_PRODUCT


@dataclass(frozen=True, slots=True)
class GateUse:
    """A gate in a tile: the value of the gates (logarithms if `log`), its token label ROW first if it
    varies from token to token; `inclusive` if the reading token's own gate applies."""

    gate: Ref
    log: bool
    inclusive: bool
    constant: bool


@dataclass(frozen=True, slots=True)
class Tile:
    """A piece of a scan relation. `part`:

    "fine"     [ROW, COLUMN, ...]  the order mask times the decays over (column, row], 0 where row and
                                   column are `within` or more apart
    "left"     [ROW, ...]          the decays from before the chunk to a row
    "right"    [ROW, ...]          the decays from a row to the end of the chunk
    "through"  [...]               the decays of the whole chunk
    "outside"  [late, early, ...]  a decay without an order: 1 where early is not before late
    """

    out: Ref
    part: str
    strict: bool
    gates: tuple[GateUse, ...]
    rows: str = ROW
    columns: str = COLUMN
    within: Expr | None = None
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class ScanTile:
    """Every token's state in a chunk: S[t] = gates[t] · S[t-1] + writes[t], from the state before it."""

    out: Ref
    writes: Ref
    state: Ref
    strict: bool
    gates: tuple[GateUse, ...]
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Solve:
    """The unknowns of unknown[a] = right[a] + Σ_b matrix[a][b] · unknown[b] along ROW; each matrix
    [ROW, COLUMN, ...] is strictly lower triangular (None: zero). Labels that a matrix and a right side have
    are batch labels, the others of the right sides pass through; all right sides have the same labels."""

    outs: tuple[Ref, ...]
    matrix: tuple[tuple[Ref | None, ...], ...]
    rights: tuple[Ref, ...]
    why: Why = field(default=Why(), compare=False)

    @property
    def blocks(self) -> tuple[Ref, ...]:
        """The matrices that are there."""
        return tuple(block for row in self.matrix for block in row if block is not None)

    @property
    def batch(self) -> tuple[str, ...]:
        """The labels of matrices beside ROW and COLUMN."""
        labels = (a for block in self.blocks for a in block.axes if a not in (ROW, COLUMN))
        return tuple(dict.fromkeys(labels))


@dataclass(frozen=True, slots=True)
class Delay:
    """The rows of `source` some tokens earlier; `state` [depth, ...] holds the rows before the chunk, the
    latest last. `lag` is a number of tokens, or a label: then that axis of the result counts them. Token by
    token, a number of tokens needs the state alone, and there is no source."""

    out: Ref
    source: Ref | None
    state: Ref
    lag: int | str
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Monomials:
    """The products of `power` elements of a vector, each once: out[m] = lower[first(m)] * factor[last(m)].

    `lower` has the products of one element less under the label `first` (the vector itself for power 2),
    `factor` the vector under `last`, `out` the products under `label`, in lexicographic order of their
    ascending places. `weighted`: each counts as often as its places can be arranged, given that `lower` is
    weighted too; the sum over m of weighted times plain products is the power of the inner product.
    """

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
class Tail:
    """The state of a delay after the chunk: the last rows of the state and the rows of `source`."""

    out: Ref
    source: Ref
    state: Ref
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Fold:
    """A row reduction of an expression over `over`, where the domain holds."""

    out: Ref
    op: str
    over: tuple[str, ...]
    domain: tuple[Cond, ...]
    body: Expr
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Normalise:
    """softmax of an expression over `over`, 0 outside the domain."""

    out: Ref
    over: tuple[str, ...]
    domain: tuple[Cond, ...]
    body: Expr
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Fill:
    """Store one position of a tensor that a recursion fills; `axes` has HERE where the position goes."""

    target: str
    axes: tuple[str, ...]
    row: Ref
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Recur:
    """Equations that use their own results: one position after the other (from the end if `reverse`),
    the position a number called HERE. `targets` are the tensors to fill, zero before they are filled."""

    extent: Extent
    reverse: bool
    targets: tuple[Ref, ...]
    steps: tuple[Step, ...]
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Update:
    """state = through · state + addend at the end of a chunk (or token)."""

    state: Ref
    through: Ref | None
    addend: Ref
    replace: bool = False
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Keep:
    """Store the rows of a value in a tensor of the whole length (an output, or for a later loop), whose
    axes are `axes` in that order."""

    tensor: str
    value: Ref
    axes: tuple[str, ...] = ()
    why: Why = field(default=Why(), compare=False)


Step: TypeAlias = (
    Load
    | Gather
    | Map
    | Contract
    | Tile
    | ScanTile
    | Solve
    | Delay
    | Tail
    | Monomials
    | Fold
    | Normalise
    | Append
    | Select
    | Slide
    | Region
    | Guard
    | Weigh
    | Accumulate
    | LogSum
    | Stream
    | Fill
    | Recur
    | Update
    | Keep
)


@dataclass(frozen=True, slots=True)
class State:
    """A state: the label of each axis and the extents, in order.

    One that `grows` is a cache of rows: its first axis counts the tokens so far; with `reach` it is a ring
    and holds the rows of the last `reach` tokens alone (of all, as long as there are fewer). It depends on
    the inputs `sources` alone, so that it has their batch dimensions; with `given` it holds data as
    conditions see it. One that is `wide` is float64, whatever the rest is.
    """

    name: str
    axes: tuple[str, ...]
    why: Why = field(default=Why(), compare=False)
    grows: bool = False
    given: bool = False
    sources: tuple[str, ...] = ()
    reach: Expr | None = None
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Loop:
    """One pass over the sequence: `before` once, `setup` for each length of a chunk, `body` for each
    chunk (each token in the recurrent form)."""

    reverse: bool
    states: tuple[State, ...]
    before: tuple[Step, ...]
    setup: tuple[Step, ...]
    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One form of a program: the loops, one after the other, then what remains.

    `kept` are tensors of whole length that one loop leaves for a later one. `outputs` that the loops
    did not store are values at the end. `extents` give the size of every label of a feature, and of the
    token letters of the parallel form. `chunk` is the suggested chunk, `block` that of a stream's columns.
    `tensors` are the declared axes of the inputs and outputs. `ascending` are inputs that must not decrease
    along the time axis. `windows`: labels of the columns before a chunk that are less than a width before
    its first row, without the whole chunks that a `Slide` of this width sums.
    """

    form: str
    program: str
    time: Extent | None
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, Ref], ...]
    loops: tuple[Loop, ...]
    epilogue: tuple[Step, ...]
    kept: tuple[Ref, ...]
    stored: tuple[str, ...]
    extents: tuple[tuple[str, Extent], ...]
    chunk: int = 64
    block: int = 256
    tensors: tuple[tuple[str, tuple[Extent, ...]], ...] = ()
    ascending: tuple[str, ...] = ()
    windows: tuple[tuple[str, Expr], ...] = ()
    wide: tuple[str, ...] = ()  # kept tensors in float64

    @property
    def states(self) -> tuple[State, ...]:
        """All states, in order."""
        return tuple(s for loop in self.loops for s in loop.states)

    def extent(self, label: str) -> Extent:
        """The extent of a label."""
        return dict(self.extents)[label]

    def __str__(self) -> str:
        from tensorc.plan_text import print_plan

        return print_plan(self)


def span_line(span: Span | None) -> int | None:
    """The line of a span, if there is one."""
    return None if span is None else span.line
