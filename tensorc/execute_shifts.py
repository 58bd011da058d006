"""Executing shifts: rows of earlier tokens, from the chunk and from the state before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tensorc.execute_values import Labelled, spread
from tensorc.numbers import Array
from tensorc.plan import Delay, Ref, Tail

Get: TypeAlias = Callable[[Ref], Labelled]


def delayed(step: Delay, get: Get, row: str) -> Array:
    """The rows of the source `lag` tokens earlier (for a label: each number of tokens that it counts)."""
    features = step.state.axes[1:]
    if step.source is None:
        old = spread(get(step.state), step.state.axes)
        return spread(Labelled(features, _first(old, len(features))), step.out.axes)
    rows, axis, depth = _history(step.source, step.state, get, row)
    length = rows.shape[axis] - depth
    if isinstance(step.lag, int):
        kept = np.take(rows, range(depth - step.lag, depth - step.lag + length), axis=axis)
        return spread(Labelled((row, *features), kept), step.out.axes)
    each = [np.take(rows, range(depth - lag, depth - lag + length), axis=axis) for lag in range(depth)]
    empty = np.empty((*rows.shape[:axis], 0, length, *rows.shape[axis + 1 :]), rows.dtype)
    stacked = np.stack(each, axis=axis) if each else empty
    if row in step.source.axes:
        return spread(Labelled((step.lag, row, *features), stacked), step.out.axes)
    return spread(Labelled((step.lag, *features), _first(stacked, len(features))), step.out.axes)


def _first(array: Array, after: int) -> Array:
    """The first of the axis that has `after` axes behind it; an array even without axes."""
    where: tuple[Any, ...] = (..., 0, *(slice(None),) * after)
    first: Array = array[where]
    return first


def tail(step: Tail, get: Get, row: str) -> Array:
    """The state of a delay after the chunk: the last rows."""
    rows, axis, depth = _history(step.source, step.state, get, row)
    last = np.take(rows, range(rows.shape[axis] - depth, rows.shape[axis]), axis=axis)
    return spread(Labelled(step.state.axes, last), step.out.axes)


def _history(source: Ref, state: Ref, get: Get, row: str) -> tuple[Array, int, int]:
    """The rows of the state and of the chunk after it, their axis, and how many are the state's."""
    features = state.axes[1:]
    old = spread(get(state), state.axes)
    given = row in source.axes
    new = spread(get(source), (row, *features) if given else features)
    if not given:
        new = np.expand_dims(new, new.ndim - len(features))
    rank = len(state.axes)
    lead = np.broadcast_shapes(old.shape[: old.ndim - rank], new.shape[: new.ndim - rank])
    parts = [np.broadcast_to(p, (*lead, *p.shape[p.ndim - rank :])) for p in (old, new)]
    return np.concatenate(parts, axis=len(lead)), len(lead), old.shape[old.ndim - rank]
