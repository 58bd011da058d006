"""What the steps of a stream cost: those of a block, as often as there are blocks.

How many columns the rows of a chunk go through differs from chunk to chunk; counted is their mean over the
chunks of a sequence: (n + C) / 2 under an order, the width and a chunk for a window, all of an axis without
a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tensorc.ir import Add, Call, Const, Expr, Mul, Neg, Size, walk
from tensorc.plan import (
    ROW,
    Accumulate,
    Append,
    Columns,
    Guard,
    LogSum,
    Region,
    Select,
    Step,
    Stream,
    Weigh,
    first,
    last,
)

if TYPE_CHECKING:
    from tensorc.counting import Count, Counter

HALF = Fraction(1, 2)


def count_stream(counter: Counter, step: Step, known: Mapping[str, Any], read: Any) -> Count:
    """The cost of one run of a step of `plan_stream`."""
    from tensorc.counting import Count

    match step:
        case Append():
            moved = 2 * counter.elements(step.rows.value)
            counter.store(step.out, known)
            return Count(elements=moved, calls=2)
        case Select():
            sizes = {a: s for a, s in known.items() if a != step.label}
            return Count(elements=counter.store(step.out, sizes), calls=1)
        case Region():
            written = counter.store(step.out, known)
            calls = 2 * max(1, len(step.domain))
            return Count(simple=len(step.domain) * written, elements=read + written, calls=calls)
        case Guard():
            written = counter.store(step.out, known)
            return Count(simple=written, elements=read + written, calls=1)
        case Weigh():
            written = counter.store(step.out, known)
            rows = counter.store(step.scale, known) if step.scale is not None else 0
            simple, special = (3 if step.scale is not None else 1) * written, written + rows
            return Count(simple=simple, special=special, elements=4 * written, calls=10)
        case Accumulate():
            work = counter.elements(step.running.value)
            passes = 1 if step.scale is None else 2
            return Count(simple=passes * work, elements=read + passes * work, calls=passes)
        case LogSum():
            written = counter.store(step.out, known)
            return Count(simple=written, special=written, elements=read + written, calls=3)
        case Stream():
            return _stream(counter, step)
    raise TypeError(f"a step of an unknown kind: {step!r}")


def _stream(counter: Counter, step: Stream) -> Count:
    from tensorc.counting import Count

    blocks: Any = 1
    outside = dict(counter.labels)
    for columns in step.columns:
        count = columns_of(counter, columns)
        counter.labels[columns.label] = counter.plan.block
        blocks = blocks * count * Fraction(1, counter.plan.block)
    started = sum((counter.store(r.ref, {}) for r in step.running), 0)
    inner, loaded = Count(calls=1), 0
    for part in step.steps:
        found = counter.count(part)
        inner = inner + found
        if isinstance(part, Select):
            loaded = loaded + found.elements
    counter.labels = outside
    whole = inner.times(blocks)
    if isinstance(blocks, int | Fraction):
        whole = replace(whole, calls=max(1, blocks) * inner.calls)
    return whole + Count(elements=started, calls=len(step.running), loaded=blocks * loaded)


def columns_of(counter: Counter, columns: Columns) -> Any:
    """The mean number of columns that the rows of a chunk go through."""
    total = counter.time if columns.extent is None else counter.size(columns.extent)
    mean = HALF * (total + counter.chunk)
    if columns.low is None and columns.high is None:
        return total
    low = _moves(columns.low) if columns.low is not None else None
    high = _moves(columns.high) if columns.high is not None else None
    if low and high:
        width = _difference(counter, columns)
        return total if width is None else least(width, total)
    if low or high:
        return least(mean, total)
    return total


def _moves(expr: Expr) -> bool:
    """Whether a limit moves with the rows."""
    return any(isinstance(n, Size) and n.name in (first(ROW), last(ROW)) for n in walk(expr))


def _difference(counter: Counter, columns: Columns) -> Any | None:
    """high - low for the rows of one chunk."""
    assert columns.low is not None and columns.high is not None
    parts = [amount(counter, e) for e in (columns.high, columns.low)]
    return None if parts[0] is None or parts[1] is None else parts[0] + (-1) * parts[1]


def amount(counter: Counter, expr: Expr) -> Any | None:
    from tensorc.ir import Extent

    match expr:
        case Const(value=value):
            return int(value)
        case Size(name=name) if name == first(ROW):
            return 0
        case Size(name=name) if name == last(ROW):
            return counter.chunk + (-1)
        case Size(name=name):
            return counter.size(Extent(1, (name,)))
        case Neg(operand=operand):
            part = amount(counter, operand)
            return None if part is None else (-1) * part
        case Add(terms=parts) | Mul(factors=parts):
            found = [amount(counter, p) for p in parts]
            result: Any = 0 if isinstance(expr, Add) else 1
            for part in found:
                if part is None:
                    return None
                result = result + part if isinstance(expr, Add) else result * part
            return result
        case Call(function="maximum" | "minimum", arguments=parts):
            ends: list[Any] = [amount(counter, p) for p in parts]
            if None in ends:
                return None
            extreme = max if expr.function == "maximum" else min
            return extreme(ends) if all(isinstance(p, int | Fraction) for p in ends) else ends[-1]
    return None


def least(count: Any, total: Any) -> Any:
    """The smaller of two numbers; of polynomials the first."""
    numbers = isinstance(count, int | Fraction) and isinstance(total, int | Fraction)
    return max(0, min(count, total)) if numbers else count
