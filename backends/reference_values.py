"""Arrays whose axes are named by indices: what a subexpression evaluates to.

A value's array has batch axes first, which broadcast as in NumPy, then one axis for each of its indices.
Values are combined by aligning names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tensorc.errors import TensorcError
from tensorc.numbers import Array, Numbers

LARGEST = 1 << 28  # elements of one intermediate; the reference is for small sizes
BLOCK = 1 << 22  # elements of a dense product that are held at once

Env = Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]  # the positions each index runs over


@dataclass(frozen=True, slots=True)
class Value:
    """An array and the indices of its axes behind the batch axes.

    `support` is where a factor [condition] allows the value to be anything but 0: a strong zero, which
    stays 0 in a product with infinity or NaN.
    """

    indices: tuple[str, ...]
    array: Array
    support: Value | None = None


def align(values: Sequence[Value], indices: Sequence[str] = ()) -> tuple[tuple[str, ...], list[Array]]:
    """The arrays with one axis for each index that any of the values has (`indices` first), so that they
    broadcast.

    >>> a, b = Value(("i",), np.ones(3)), Value(("j", "i"), np.ones((2, 3)))
    >>> names, arrays = align([a, b])
    >>> names, [array.shape for array in arrays]
    (('i', 'j'), [(3, 1), (3, 2)])
    """
    union = tuple(dict.fromkeys([*indices, *(name for value in values for name in value.indices)]))
    lengths: dict[str, int] = {}
    for value in values:
        batch = value.array.ndim - len(value.indices)
        lengths |= dict(zip(value.indices, value.array.shape[batch:], strict=True))
    check_volume(lengths.values())
    return union, [_spread(value, union) for value in values]


def check_volume(lengths: Iterable[int]) -> None:
    """Refuse an array that nobody wants to wait for."""
    lengths = list(lengths)
    if prod(lengths) > LARGEST or len(lengths) > 56:
        raise TensorcError(
            f"The definition needs an array of {' x '.join(map(str, lengths))} elements. The reference "
            "is for small sizes: choose smaller ones, or another backend."
        )


def _spread(value: Value, union: tuple[str, ...]) -> Array:
    if value.indices == union:
        return value.array
    batch = value.array.ndim - len(value.indices)
    order = [name for name in union if name in value.indices]
    array = value.array.transpose(*range(batch), *(batch + value.indices.index(name) for name in order))
    lengths = dict(zip(order, array.shape[batch:], strict=True))
    return array.reshape(*array.shape[:batch], *(lengths.get(name, 1) for name in union))


def conjunction(masks: Sequence[Value]) -> Value | None:
    """Where all masks hold; None if there are none."""
    if len(masks) < 2:
        return masks[0] if masks else None
    indices, arrays = align(masks)
    result = arrays[0]
    for array in arrays[1:]:
        result = result & array
    return Value(indices, result)


def multiply(numbers: Numbers, factors: Sequence[Value]) -> Value:
    """The product, with the strong zeros of its factors."""
    product, supports = factors[0], [f.support for f in factors if f.support is not None]
    for factor in factors[1:]:
        indices, (left, right) = align([product, factor])
        product = Value(indices, numbers.multiply(left, right))
    return keep(product, conjunction(supports))


def keep(value: Value, support: Value | None) -> Value:
    """The value where the support holds, else a strong zero."""
    if support is None:
        return plain(value)
    indices, (array, mask) = align([value, support])
    return Value(indices, np.where(mask, array, _zero(array)), support)


def plain(value: Value) -> Value:
    """The value with ordinary zeros."""
    return Value(value.indices, value.array)


def contract(
    numbers: Numbers, factors: Sequence[Value], masks: Sequence[Value], bound: Sequence[str], env: Env
) -> Value:
    """The sum over the bound indices, where all masks hold, of the product of the factors.

    Finite factors are contracted one index at a time. An infinity or NaN must not reach sums whose domain
    excludes it, so those are multiplied out in full and then selected.
    """
    if all(numbers.finite(factor.array) for factor in factors):
        result = _eliminate(numbers, factors, masks, bound, env)
        if numbers.finite(result.array):
            return result
    return _dense(numbers, factors, masks, bound, env)


def _eliminate(
    numbers: Numbers, factors: Sequence[Value], masks: Sequence[Value], bound: Sequence[str], env: Env
) -> Value:
    """Sum one bound index after the other, the one with the smallest product first."""
    operands = list(factors)
    for mask in masks:
        for at, operand in enumerate(operands):
            if set(mask.indices) <= set(operand.indices):
                operands[at] = plain(keep(operand, mask))
                break
        else:
            operands.append(Value(mask.indices, numbers.number(mask.array)))
    left = dict.fromkeys(bound)
    while left:
        index = min(left, key=lambda name: _volume(operands, name, env))
        del left[index]
        inside = [o for o in operands if index in o.indices]
        operands = [o for o in operands if index not in o.indices]
        operands.append(_sum_out(numbers, inside, index, env))
    return plain(multiply(numbers, operands))


def _volume(operands: Sequence[Value], index: str, env: Env) -> int:
    """How many products there are when this index goes."""
    names = {name for o in operands if index in o.indices for name in o.indices}
    return prod(len(env[name]) for name in names)


def _sum_out(numbers: Numbers, operands: Sequence[Value], index: str, env: Env) -> Value:
    """The product of the operands summed over one index."""
    if not operands:
        return Value((), numbers.number(len(env[index])))
    names = list(dict.fromkeys(name for o in operands for name in o.indices))
    check_volume(len(env[name]) for name in names)
    if len(names) > 48 or len(operands) > 24:  # more than einsum takes
        return _dense(numbers, operands, [], [index], env)
    rest = tuple(name for name in names if name != index)
    arguments: list[Any] = []
    for operand in operands:
        arguments += [operand.array, [..., *map(names.index, operand.indices)]]
    result = np.einsum(*arguments, [..., *map(names.index, rest)], optimize=len(operands) == 2)
    return Value(rest, np.asarray(result, operands[0].array.dtype))


def _dense(
    numbers: Numbers, factors: Sequence[Value], masks: Sequence[Value], bound: Sequence[str], env: Env
) -> Value:
    """Every product on its own, selected by all masks, then summed. Block by block along a kept index."""
    union = tuple(dict.fromkeys(name for v in (*factors, *masks) for name in v.indices))
    everything = tuple(dict.fromkeys([*union, *bound]))
    batch = np.broadcast_shapes(*(v.array.shape[: v.array.ndim - len(v.indices)] for v in (*factors, *masks)))
    kept = [name for name in union if name not in bound and len(env[name]) > 1]
    if kept and prod(batch) * prod(len(env[name]) for name in everything) > BLOCK:
        index = max(kept, key=lambda name: len(env[name]))
        rows = []
        for position in range(len(env[index])):
            inner = {**env, index: env[index][position : position + 1]}
            some = [_row(factor, index, position) for factor in factors]
            where = [_row(mask, index, position) for mask in masks]
            rows.append(_dense(numbers, some, where, bound, inner))
        axis = len(batch) + rows[0].indices.index(index)
        shapes = np.broadcast_shapes(*(row.array.shape for row in rows))
        return Value(rows[0].indices, np.concatenate([np.broadcast_to(r.array, shapes) for r in rows], axis))
    product = plain(multiply(numbers, [plain(factor) for factor in factors]))
    return reduce(numbers, "sum", product, masks, bound, env)


def _row(value: Value, index: str, position: int) -> Value:
    """One position of an index, its axis kept."""
    if index not in value.indices:
        return value
    axis = value.array.ndim - len(value.indices) + value.indices.index(index)
    slices = (slice(None),) * axis + (slice(position, position + 1),)
    return Value(value.indices, value.array[slices])


def masked(
    numbers: Numbers, body: Value, masks: Sequence[Value], over: Sequence[str], env: Env
) -> tuple[tuple[str, ...], Array, Array, tuple[int, ...]]:
    """Body and mask aligned and spread over all the indices in `over`: (indices, body, mask, axes)."""
    mask = conjunction(masks) or Value((), np.ones((), bool))
    indices, (array, where) = align([body, mask], [n for n in body.indices if n not in over])
    indices, (array, where) = align([Value(indices, array), Value(indices, where)], [*indices, *over])
    batch = max(array.ndim, where.ndim) - len(indices)
    wanted = [len(env[name]) if name in over else 1 for name in indices]
    check_volume(len(env[name]) for name in indices)
    shape = np.broadcast_shapes(array.shape, where.shape, tuple([1] * batch + wanted))
    axes = tuple(batch + at for at, name in enumerate(indices) if name in over)
    return indices, np.broadcast_to(array, shape), np.broadcast_to(where, shape), axes


def reduce(
    numbers: Numbers, op: str, body: Value, masks: Sequence[Value], bound: Sequence[str], env: Env
) -> Value:
    """Any reduction over the bound indices where all masks hold."""
    indices, array, mask, axes = masked(numbers, body, masks, bound, env)
    return Value(tuple(n for n in indices if n not in bound), numbers.reduce(op, array, mask, axes))


def softmax(numbers: Numbers, body: Value, masks: Sequence[Value], over: Sequence[str], env: Env) -> Value:
    """Softmax along `over` where all masks hold, else 0."""
    indices, array, mask, axes = masked(numbers, body, masks, over, env)
    return Value(indices, numbers.softmax(array, mask, axes))


def _zero(array: Array) -> Any:
    return 0 if array.dtype.kind == "O" else array.dtype.type(0)
