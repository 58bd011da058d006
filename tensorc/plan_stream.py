"""Steps of a stream: row reductions over columns, a block of columns at a time.

A stream stands in the body of a loop over chunks of rows. Its columns are the tokens in a cache (those up
to the rows), or the whole of an axis. Values in it may have the labels of columns; running values live
from one block to the next. In the recurrent form the same steps stand without a stream: all columns are
one block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tensorc.ir import Cond, Expr, Extent
from tensorc.plan_values import Ref, Why

if TYPE_CHECKING:
    from tensorc.plan import Step

STARTS = {"sum": 0, "prod": 1, "max": float("-inf"), "min": float("inf")}


@dataclass(frozen=True, slots=True)
class Append:
    """The rows of a cache and, after them, those of the tokens at hand. `state` is the cache before them:
    [token, features...]; `out` has the label of columns in the place of the token. `given`: as data that
    conditions compare."""

    out: Ref
    state: Ref
    rows: Ref
    given: bool = False
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Select:
    """The columns at hand of a whole value, along the axis that `out` labels with them."""

    out: Ref
    source: Ref
    label: str
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Slide:
    """What the whole chunks of a window before the chunk sum up to: w // C - 1 of them, so that all rows of
    a chunk of C tokens see all of their columns. out = through · out + addend, chunk by chunk, where `steps`
    make the addend and the gate `through` from the columns `label` of one; `gates` is the product of all.

    Every chunk is summed twice, whatever the width: from each of the m before a multiple of m up to that
    multiple, and from there on (two stacks make a queue). Nothing is taken away again.
    """

    out: Ref
    gates: Ref | None
    label: str
    width: Expr
    steps: tuple[Step, ...]
    addend: Ref
    through: Ref | None
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Region:
    """Where all conditions hold. `always`: a test of the first and last positions at hand; if it holds the
    mask is true everywhere and need not be made."""

    out: Ref
    domain: tuple[Cond, ...]
    always: Cond | None
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Guard:
    """A value where the mask holds, elsewhere where a reduction by `op` starts."""

    out: Ref
    source: Ref
    mask: Ref
    op: str
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Weigh:
    """exp(score − top), 0 outside the mask, `top` the largest score of a row.

    In a stream `top` is a running value, which first rises to the scores at hand; `scale` is what
    everything weighed by the old top is to be multiplied by. A row without scores has the top −inf and
    weights 0.
    """

    out: Ref
    scores: Ref
    over: tuple[str, ...]
    mask: Ref | None
    top: Ref | None
    scale: Ref | None
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Accumulate:
    """A running value takes up the addend by `op`, after it was multiplied by the scale."""

    running: Ref
    addend: Ref
    op: str
    scale: Ref | None
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class LogSum:
    """top + log(total): the logarithm of the sum of exp(score), from the weights' top and their total."""

    out: Ref
    top: Ref
    total: Ref
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Columns:
    """What a stream runs over: a label, from `low` on (never before 0), before `high` (never past the end:
    the extent, or for tokens in a cache their number)."""

    label: str
    low: Expr | None
    high: Expr | None
    extent: Extent | None


@dataclass(frozen=True, slots=True)
class Running:
    """A running value and how its reduction starts."""

    ref: Ref
    op: str


@dataclass(frozen=True, slots=True)
class Stream:
    """For every block of columns that the rows at hand may need, the steps; then the running values are
    the results. Several columns: every combination of their blocks."""

    columns: tuple[Columns, ...]
    running: tuple[Running, ...]
    steps: tuple[Step, ...]
    why: Why = field(default=Why(), compare=False)
