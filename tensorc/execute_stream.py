"""Streams over columns, taken literally: block after block, with running values.

What softmax carries is (top, total): the largest score so far, and the sum of exp(score − top). With exact
numbers both are exact, so that a stream that is right gives the definition to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.execute_values import Labelled, PlanError, broadcast, spread, union
from tensorc.ir import Add, Call, Const, Expr, Mul, Neg, Size
from tensorc.numbers import Array, Numbers
from tensorc.plan import (
    CACHED,
    FAR,
    NEAR,
    ROW,
    Accumulate,
    Append,
    Columns,
    Guard,
    Load,
    LogSum,
    Region,
    Select,
    Stream,
    Weigh,
)
from tensorc.plan_stream import STARTS

if TYPE_CHECKING:
    from tensorc.execute_steps import Interpreter

BLOCK = 3  # columns of a block: few, so that small sequences have several


def append(machine: Interpreter, step: Append) -> None:
    """The cache with the rows of the tokens at hand after its own."""
    old = machine.value(step.state).array
    features = step.state.axes[1:]
    rows = machine.value(step.rows, step.given)
    count = 1 if machine.tokens().single else len(machine.tokens().rows)
    if machine.tokens().single:
        new = np.expand_dims(spread(rows, features), -len(features) - 1)
    else:
        new = spread(rows, (ROW, *features))
    lead = np.broadcast_shapes(old.shape[: -len(step.state.axes)], new.shape[: -len(step.state.axes)])
    wide = old.shape[old.ndim - len(features) :]
    parts = [
        np.broadcast_to(old, (*lead, old.shape[-len(step.state.axes)], *wide)),
        np.broadcast_to(new, (*lead, count, *wide)),
    ]
    machine.make(step.out, np.concatenate(parts, axis=-len(step.state.axes)))


def kept_whole(machine: Interpreter, step: Load) -> Array:
    """All rows that an earlier loop has kept."""
    if step.tensor in machine.stored:
        array, filled, _ = machine.stored[step.tensor]
        if not filled.all():
            raise PlanError(f"{step.tensor} is loaded before all its rows are kept.")
        return array
    kept = next(k for k in machine.plan.kept if k.value == step.tensor)
    assert machine.plan.time is not None
    if machine.plan.time.value(machine.sizes):
        raise PlanError(f"{step.tensor} is loaded before a loop has kept it.")
    shape = [machine.extents[a].value(machine.sizes) if a in machine.extents else 0 for a in kept.axes]
    return machine.numbers.number(np.zeros((*machine.batch, *shape), np.int64))


def select(machine: Interpreter, step: Select) -> None:
    """The columns at hand of a whole value."""
    axis = step.out.axes.index(step.label)
    number = machine.value(step.source).array
    given = machine.values.get(step.source.value, (None, None))[1]
    found: list[Array | None] = []
    for array in (number, given):
        if array is None:
            found.append(None)
            continue
        at = array.ndim - len(step.out.axes) + axis
        places: Any = machine.blocks.get(step.label)
        if places is None:
            found.append(array)
            continue
        if step.label.startswith(CACHED):  # the last row is that of the last token at hand
            places = places - (int(machine.positions(ROW).max()) + 1 - array.shape[at])
        elif step.label.startswith((NEAR, FAR)):  # that of the last token before them
            if machine.reverse and machine.plan.time is not None:
                places = machine.plan.time.value(machine.sizes) - 1 - places
            places = places - (machine.passed() - array.shape[at])
        if len(places) and places[-1] >= array.shape[at]:
            raise PlanError(f"The columns {step.label} go to {places[-1]} of {array.shape[at]} rows.")
        if len(places) and places[0] < 0:
            raise PlanError(f"The columns {step.label} need rows that the ring no longer has.")
        found.append(np.asarray(np.take(array, places, axis=at), array.dtype))
    assert found[0] is not None
    machine.make(step.out, found[0], found[1])


def region(machine: Interpreter, step: Region) -> None:
    """Where all conditions hold; the test that they always do must not lie."""
    lengths = [machine.length(a) for a in step.out.axes]
    total: Any = np.ones(lengths, bool)
    for condition in step.domain:
        holds = machine.expressions.evaluate(condition)
        total = total & broadcast(holds, step.out.axes, lengths)
    if step.always is not None and total.size:
        test = machine.expressions.evaluate(step.always)
        if bool(test.array) and not bool(np.all(total)):
            raise PlanError("A mask is said to hold everywhere in a block where it does not.")
    machine.make(step.out, total)


def guard(machine: Interpreter, step: Guard) -> None:
    """A value where the mask holds, else where a reduction starts."""
    start = _start(machine.numbers, step.op)
    value, where = machine.value(step.source), machine.value(step.mask)
    labels = union([value, where])
    array = np.where(spread(where, labels), spread(value, labels), start)
    machine.make(step.out, spread(Labelled(labels, array.astype(value.array.dtype)), step.out.axes))


def _start(numbers: Numbers, op: str) -> Array:
    start = STARTS[op]
    return numbers.number(np.asarray(start, np.int64 if start in (0, 1) else np.float64))


def weigh(machine: Interpreter, step: Weigh) -> None:
    """exp(score − top) where the mask holds; in a stream the top rises first."""
    numbers = machine.numbers
    scores = machine.value(step.scores)
    kept = tuple(a for a in scores.labels if a not in step.over)
    where = np.ones((1,) * scores.array.ndim, bool)
    if step.mask is not None:
        where = spread(machine.value(step.mask), scores.labels)
    assert step.top is not None
    old = spread(machine.value(step.top), kept)
    axes = tuple(k - len(scores.labels) for k, a in enumerate(scores.labels) if a in step.over)
    top = old
    if step.scale is not None:
        highest = numbers.reduce("max", scores.array, where, axes)
        top = numbers.apply("maximum", *np.broadcast_arrays(old, highest))
    safe = np.where(_finite(top), top, numbers.number(0)).astype(top.dtype)
    wide = spread(Labelled(kept, safe), scores.labels)
    weights = numbers.apply("exp", numbers.add(scores.array, numbers.negative(wide)))
    weights = np.where(where, weights, numbers.number(0)).astype(weights.dtype)
    machine.make(step.out, spread(Labelled(scores.labels, weights), step.out.axes))
    if step.scale is not None:
        change = numbers.add(old, numbers.negative(safe))
        machine.make(step.scale, spread(Labelled(kept, numbers.apply("exp", change)), step.scale.axes))
        machine.values[step.top.value] = (spread(Labelled(kept, top), step.top.axes), None)


def _finite(array: Array) -> Array:
    if array.dtype != object:
        return np.asarray(np.isfinite(array))
    flat = [not isinstance(x, float) or x - x == 0 for x in array.flat]
    return np.asarray(flat, bool).reshape(array.shape)


def accumulate(machine: Interpreter, step: Accumulate) -> None:
    """A running value takes up the addend."""
    numbers, axes = machine.numbers, step.running.axes
    old = machine.value(step.running).array
    if step.scale is not None:
        old = numbers.multiply(old, spread(machine.value(step.scale), axes))
    new = spread(machine.value(step.addend), axes)
    if step.op == "sum":
        result = numbers.add(old, new)
    elif step.op == "prod":
        result = numbers.multiply(old, new)
    else:
        result = numbers.apply("maximum" if step.op == "max" else "minimum", *np.broadcast_arrays(old, new))
    machine.values[step.running.value] = (result, None)


def log_sum(machine: Interpreter, step: LogSum) -> None:
    """The logarithm of exp(top) · total; exact numbers need no other than that of the sum."""
    numbers = machine.numbers
    top, total = (spread(machine.value(r), step.out.axes) for r in (step.top, step.total))
    safe = np.where(_finite(top), top, numbers.number(0)).astype(top.dtype)
    if total.dtype == object:
        result = numbers.apply("log", numbers.multiply(numbers.apply("exp", safe), total))
    else:
        result = numbers.add(numbers.apply("log", total), safe)
    machine.make(step.out, result)


def stream(machine: Interpreter, step: Stream) -> None:
    """Block after block of columns; what a block makes is gone after it, but for the running values."""
    names = {running.ref.value for running in step.running}
    for running in step.running:
        shape = [machine.length(a) for a in running.ref.axes]
        start = np.broadcast_to(_start(machine.numbers, running.op), (*machine.batch, *shape)).copy()
        machine.make(running.ref, start)
    outside, before = dict(machine.values), machine.blocks
    for blocks in product(*(list(_blocks(machine, c)) for c in step.columns)):
        machine.blocks = before | dict(zip((c.label for c in step.columns), blocks, strict=True))
        machine.values = outside | {n: machine.values[n] for n in names}
        machine.run(step.steps)
    machine.blocks = before
    machine.values = outside | {n: machine.values[n] for n in names}


def _blocks(machine: Interpreter, columns: Columns) -> Iterator[Array]:
    """The positions of every block of columns that the rows at hand may need."""
    if columns.extent is not None:
        end = columns.extent.value(machine.sizes)
    else:
        end = int(machine.positions(ROW).max()) + 1
    numbers = {name: machine.end(name) for name in (f"{ROW}:first", f"{ROW}:last")}
    sizes = {**machine.sizes, **numbers}
    low = 0 if columns.low is None else max(0, number(columns.low, sizes))
    high = end if columns.high is None else min(end, number(columns.high, sizes))
    for start in range(low, high, BLOCK):
        yield np.arange(start, min(start + BLOCK, high))


def number(expr: Expr, sizes: Mapping[str, int]) -> int:
    """An integer expression of sizes and of the ends of blocks."""
    match expr:
        case Const(value=value):
            return int(value)
        case Size(name=name):
            return sizes[name]
        case Neg(operand=operand):
            return -number(operand, sizes)
        case Add(terms=terms):
            return sum(number(t, sizes) for t in terms)
        case Mul(factors=factors):
            result = 1
            for factor in factors:
                result *= number(factor, sizes)
            return result
        case Call(function="maximum", arguments=parts):
            return max(number(p, sizes) for p in parts)
        case Call(function="minimum", arguments=parts):
            return min(number(p, sizes) for p in parts)
    raise PlanError(f"{expr!r} bounds columns.")
