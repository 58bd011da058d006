"""Functions that generated NumPy source may need; their text is pasted into it, so each stands alone."""

from __future__ import annotations

import numpy as np

# ruff: noqa: ANN001, ANN201, ANN202
# mypy: ignore-errors


def _permute(x, *order):
    """The last axes of x in another order; leading batch axes stay."""
    lead = x.ndim - len(order)
    return x.transpose(*range(lead), *(lead + k for k in order))


def _dtypes(dtype, *inputs):
    """The dtype of the outputs, by default that of the floating inputs together, and of the arithmetic."""
    if dtype is None:
        floating = [x.dtype for x in inputs if x.dtype.kind == "f"]
        dtype = np.result_type(*floating) if floating else np.float64
    return np.dtype(dtype), np.result_type(dtype, np.float32).type


def _state(state, shape, dtype):
    """A state to start from: a copy of the one given, else zeros."""
    return np.zeros(shape, dtype) if state is None else np.array(np.broadcast_to(state, shape), dtype)


def _spread(x, shape, dtype):
    """x over the last axes of a shape, in a dtype."""
    return np.broadcast_to(x, np.broadcast_shapes(np.shape(x), shape)).astype(dtype)


def _matmul(a, b, rows, inner, columns):
    """a[..., rows, inner] times b[..., inner, columns], each group of any number of axes."""
    m = a.shape[a.ndim - rows - inner : a.ndim - inner]
    k = a.shape[a.ndim - inner :]
    n = b.shape[b.ndim - columns :]
    left = a.reshape(*a.shape[: a.ndim - rows - inner], int(np.prod(m)), int(np.prod(k)))
    right = b.reshape(*b.shape[: b.ndim - inner - columns], int(np.prod(k)), int(np.prod(n)))
    product = left @ right
    return product.reshape((*product.shape[:-2], *m, *n))


def _read(x, *subscripts):
    """x at computed subscripts, one for each of its last axes; 0 outside."""
    shape = x.shape[x.ndim - len(subscripts) :]
    inside, clipped = np.True_, []
    for subscript, size in zip(subscripts, shape, strict=True):
        inside = inside & (0 <= subscript) & (subscript < size)
        clipped.append(np.clip(subscript, 0, max(size - 1, 0)))
    if 0 in shape:
        full = np.broadcast_shapes(*(np.shape(s) for s in subscripts))
        return np.zeros(x.shape[: x.ndim - len(subscripts)] + full, x.dtype)
    return np.where(inside, x[(..., *clipped)], x.dtype.type(0))


def _decay(gate, log, axis):
    """Running logarithms of gates along an axis, in float64 unless all are near 0, with counts of negative
    gates and of zeros (None where there are none): what `_segment` subtracts. Zeros are counted, never part
    of the sum; neither are logarithms so low that the sum would lose all others."""
    if log:
        sums = np.cumsum(gate, axis=axis, dtype=np.float64)
        if np.abs(sums).max(initial=0) <= 8:  # a float32 is then as good to 5e-7
            return sums.astype(gate.dtype, copy=False), None, None
        zero = gate < -1e4
        if not zero.any():
            return sums, None, None
        sums = np.cumsum(np.where(zero, 0, gate), axis=axis, dtype=np.float64)
        return sums, None, np.cumsum(zero, axis=axis)
    zero, negative = gate == 0, gate < 0
    size = np.log(np.abs(np.where(zero, 1, gate)), dtype=np.float64)
    flips = np.cumsum(negative, axis=axis) if negative.any() else None
    return np.cumsum(size, axis=axis), flips, np.cumsum(zero, axis=axis) if zero.any() else None


def _before(sums, axis):
    """`_decay` without the gate of each position itself: shifted by one position."""

    def shift(part):
        if part is None:
            return None
        moved = np.roll(part, 1, axis)
        np.moveaxis(moved, axis, 0)[:1] = 0
        return moved

    return tuple(shift(part) for part in sums)


def _at(sums, index):
    """`_decay` at an index (a tuple for the array's axes)."""
    return sums[0][index], *(None if part is None else part[index] for part in sums[1:])


def _segment(late, early, dtype, bias=None):
    """The product of the gates after `early` up to `late`, both from `_decay`; `bias` is -inf where it is 0.
    Only differences of logarithms are exponentiated, after the mask."""
    if early is None:
        total, zeros, flips = late[0].astype(dtype), late[2], late[1]
    else:
        total = np.subtract(late[0], early[0]).astype(dtype, copy=False)
        zeros = None if late[2] is None else late[2] - early[2]
        flips = None if late[1] is None else late[1] - early[1]
    if bias is not None:
        total += bias
    if zeros is not None:
        total = np.where(zeros, total.dtype.type(-np.inf), total)
    np.exp(total, out=total)
    return total if flips is None else np.where(flips % 2, -total, total)


def _future(length, strict, features, dtype):
    """[rows, columns, 1...]: 0 where the column's token is read by the row's, -inf where it is later."""
    key = length, strict, features, dtype
    bias = _FUTURE.get(key)
    if bias is None:
        allowed = np.tri(length, length, -1 if strict else 0, dtype=bool)
        bias = np.where(allowed, 0, -np.inf).astype(dtype)
        bias = bias.reshape(length, length, *(1 for _ in range(features)))
        _FUTURE.clear()  # the last one is enough: chunks have one length
        _FUTURE[key] = bias
    return bias


_FUTURE = {}


def _delayed(state, rows, lag, axis):
    """`rows` some tokens earlier along an axis (negative); `state` holds the rows before them. `lag` is a
    number, or None for an axis at the end that counts the tokens."""
    joined = _tail(state, rows, axis, state.shape[axis] + rows.shape[axis])
    depth, length = state.shape[axis], rows.shape[axis]
    moved = np.moveaxis(joined, axis, -1)
    if lag is not None:
        return np.moveaxis(moved[..., depth - lag : depth - lag + length], -1, axis)
    each = [np.moveaxis(moved[..., depth - t : depth - t + length], -1, axis) for t in range(depth)]
    empty = np.zeros((*np.moveaxis(moved[..., :length], -1, axis).shape, 0), joined.dtype)
    return np.stack(each, axis=-1) if each else empty


def _tail(state, rows, axis, depth):
    """The last rows of a state and the rows after it, along an axis (negative)."""
    lead = np.broadcast_shapes(state.shape[:axis], rows.shape[:axis])
    parts = [np.broadcast_to(p, lead + p.shape[axis:]) for p in (state, rows)]
    joined = np.concatenate(parts, axis=axis)
    return joined[(..., slice(joined.shape[axis] - depth, None), *(slice(None),) * (-axis - 1))]


def _monomials(lower, factor, power, weighted, axis):
    """Every product of `power` elements along an axis (negative) once: `lower` holds those of one less,
    `factor` the elements. Weighted, each counts as often as its elements can be arranged."""
    first, last, ratio = _places(factor.shape[axis], power)
    out = lower.take(first, axis) * factor.take(last, axis)
    if weighted:
        out *= ratio.astype(out.dtype).reshape(ratio.shape + (1,) * (-axis - 1))
    return out


def _places(size, power):
    """For the products of `power` of `size` elements, ascending places in lexicographic order: which product
    of one element less comes first, the last place, and how many more arrangements there are."""
    found = _PLACES.get((size, power))
    if found is not None:
        return found
    last = np.arange(size)
    equal = np.ones(size, int)
    first = last
    for _ in range(power - 1):
        count = size - last
        first = np.repeat(np.arange(len(last)), count)
        begin = np.cumsum(count) - count
        place = np.arange(len(first)) - (begin - last)[first]
        equal = np.where(place == last[first], equal[first] + 1, 1)
        last = place
    if len(_PLACES) >= 16:
        _PLACES.clear()
    _PLACES[size, power] = first, last, power / equal
    return _PLACES[size, power]


_PLACES = {}


def _inverse(matrix):
    """The inverse of 1 - matrix for small, strictly lower triangular matrices, row by row."""
    out = np.zeros_like(matrix)
    for row in range(matrix.shape[-1]):
        out[..., row, :] = (matrix[..., row, None, :row] @ out[..., :row, :])[..., 0, :]
        out[..., row, row] = 1
    return out


def _triangular(matrix, right, columns):
    """The unknown of (1 - matrix) unknown = right, the matrix strictly lower triangular: by substitution
    in blocks of 16 rows."""
    rows = matrix.shape[-1]
    shape = np.broadcast_shapes(matrix.shape[:-2], right.shape[: right.ndim - columns - 1])
    wide = right.shape[right.ndim - columns :]
    out = np.empty((*shape, rows, int(np.prod(wide))), right.dtype)
    out[...] = right.reshape(*right.shape[: right.ndim - columns], out.shape[-1])
    whole = rows // 16
    blocks = np.empty((*matrix.shape[:-2], whole, 16, 16), matrix.dtype)
    for k in range(whole):
        blocks[..., k, :, :] = matrix[..., 16 * k : 16 * k + 16, 16 * k : 16 * k + 16]
    blocks = _inverse(blocks)
    for k in range(-(-rows // 16)):
        start, block = 16 * k, out[..., 16 * k : 16 * k + 16, :]
        if k:
            block += matrix[..., start : start + 16, :start] @ out[..., :start, :]
        inverse = blocks[..., k, :, :] if k < whole else _inverse(matrix[..., start:, start:])
        block[...] = inverse @ block
    return out.reshape(*out.shape[:-1], *wide)


def _system(blocks, rights, columns):
    """The unknowns of unknown[a] = right[a] + sum of blocks[a][b] @ unknown[b] over b, each block strictly
    lower triangular or None: one triangular system, the unknowns of a row side by side."""
    count, after = len(rights), (slice(None),) * columns
    known = [block for row in blocks for block in row if block is not None]
    batch = np.broadcast_shapes(*(block.shape[:-2] for block in known))
    rows = count * known[0].shape[-1]
    matrix = np.zeros((*batch, rows, rows), known[0].dtype)
    shape = list(np.broadcast_shapes(*(right.shape for right in rights)))
    shape[-columns - 1] = rows
    joint = np.empty(shape, rights[0].dtype)
    for a, row in enumerate(blocks):
        joint[..., a::count, *after] = rights[a]
        for b, block in enumerate(row):
            if block is not None:
                matrix[..., a::count, b::count] = block
    found = _triangular(matrix, joint, columns)
    return [found[..., a::count, *after] for a in range(count)]


def _scan(x, gate, state, axis):
    """The state after each position along `axis` (negative): gate[t] · before + x[t]."""
    first = np.expand_dims(state, axis)
    shape = list(np.broadcast_shapes(x.shape, first.shape, *([gate.shape] if gate is not None else [])))
    shape[axis] = x.shape[axis]
    out = np.empty(shape, x.dtype)
    rows = np.moveaxis(out, axis, 0)
    writes = np.moveaxis(np.broadcast_to(x, shape), axis, 0)
    gates = None if gate is None else np.moveaxis(np.broadcast_to(gate, shape), axis, 0)
    before = state
    for t in range(len(rows)):  # a loop over rows: cumsum along the first axis is many times slower
        row = rows[t, ...]
        if gates is None:
            np.add(before, writes[t], out=row)
        else:
            np.multiply(gates[t], before, out=row)
            row += writes[t]
        before = row
    return out


def _sigmoid(x):
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _silu(x):
    """x times its sigmoid."""
    return x * _sigmoid(x)


def _gelu(x):
    """x Φ(x) with the exact normal distribution function."""
    from math import erfc, sqrt

    half = np.asarray(np.frompyfunc(erfc, 1, 1)(-np.asarray(x, np.float64) / sqrt(2)), np.float64) / 2
    return (x * half).astype(x.dtype)


def _softplus(x):
    """log(1 + exp(x)) without overflow."""
    return np.logaddexp(x, x.dtype.type(0))


def _elu(x):
    """x where positive, else exp(x) - 1."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _softmax(x, mask, axis):
    """exp(x) over its sum along the axes, 0 where not mask."""
    x = np.where(mask, x, -np.inf).astype(x.dtype)
    top = np.max(x, axis=axis, initial=-np.inf, keepdims=True).astype(x.dtype)
    x = np.where(mask, np.exp(x - np.where(np.isneginf(top), 0, top)), 0).astype(x.dtype)
    total = np.sum(x, axis=axis, keepdims=True)
    return np.where(mask, x / np.where(total == 0, 1, total), 0).astype(x.dtype)


def _logsumexp(x, mask, axis):
    """log of the sum of exp(x) where mask, -inf of nothing."""
    x = np.where(mask, x, -np.inf).astype(x.dtype)
    top = np.max(x, axis=axis, initial=-np.inf, keepdims=True).astype(x.dtype)
    safe = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        return np.log(np.sum(np.exp(x - safe), axis=axis)) + np.squeeze(safe, axis)


def _reduce(ufunc, x, mask, start, axis):
    """A reduction of x where mask, from a start value."""
    x = np.where(mask, x, x.dtype.type(start))
    return ufunc.reduce(x, axis=axis, initial=x.dtype.type(start))


def _cast(x, dtype):
    """x rounded once to the output's dtype."""
    return x if x.dtype == dtype else x.astype(dtype)


class _Cache(np.ndarray):
    """The rows of the tokens so far, as an array. `room` gives, for their number, a buffer that holds them
    and has space behind them: whoever takes it out may write there, all others must copy."""

    room = None

    def __reduce__(self):
        return np.array(self).__reduce__()


def _sealed(buffer, length, axis):
    """The first rows of a buffer along an axis (negative), as a cache with the right to the space behind."""
    cache = buffer[(..., slice(length), *(slice(None),) * (-axis - 1))].view(_Cache)
    cache.room = {length: buffer}
    return cache


def _room(cache, length, shape, axis, dtype):
    """A buffer of a shape that starts with the rows of a cache (there are none if it is None): its own, if
    there is space behind them that nobody took, else a copy."""
    buffer = (getattr(cache, "room", None) or {}).pop(length, None)  # one step, also between threads
    if buffer is None or buffer.shape[axis] < shape[axis] or buffer.dtype != dtype:
        buffer = np.empty(shape, dtype)
        if cache is not None:
            buffer[(..., slice(length), *(slice(None),) * (-axis - 1))] = cache
    return buffer


def _latest(cache, length, most, axis):
    """Of the first rows of a cache, so many, the last ones, at most `most`. Rows appended to them slide
    along the space behind the cache, which is bounded; of a longer buffer they are a copy."""
    if length <= most:
        return cache if cache.shape[axis] == length else _sealed(cache, length, axis)
    rows = (..., slice(length - most, length), *(slice(None),) * (-axis - 1))
    buffer = (getattr(cache, "room", None) or {}).pop(length, None)
    if buffer is None:
        return np.array(cache[rows])
    latest = buffer[rows].view(_Cache)
    latest.room = {most: buffer[(..., slice(length - most, None), *(slice(None),) * (-axis - 1))]}
    return latest


def _append(cache, row, axis):
    """A cache with one row more, along an axis (negative). The space doubles when it is used up; the old
    cache stays as it is."""
    length = cache.shape[axis]
    shape = list(cache.shape)
    shape[axis] = length + 1
    buffer = (getattr(cache, "room", None) or {}).get(length)
    if buffer is None or buffer.shape[axis] <= length:
        shape[axis] = max(16, 2 * length)
    buffer = _room(cache, length, shape, axis, cache.dtype)
    buffer[(..., length, *(slice(None),) * (-axis - 1))] = row
    return _sealed(buffer, length + 1, axis)


def _begin(shape, value, dtype):
    """A running value before the first block."""
    return np.full(shape, value, dtype)


def _guard(x, mask, start, own):
    """x where the mask holds (None: everywhere), else the start of a reduction; in place if x is ours, else
    an array that may be overwritten."""
    if mask is None:
        return x if own else x.copy()
    if not own or np.broadcast_shapes(x.shape, mask.shape) != x.shape:
        return np.where(mask, x, x.dtype.type(start))
    np.copyto(x, start, where=~mask)
    return x


def _weights(scores, mask, top, axis, own):
    """exp(score - top), 0 where not mask; in place if the scores are ours."""
    scores = _guard(scores, mask, -np.inf, own)
    top = np.expand_dims(np.where(np.isfinite(top), top, top.dtype.type(0)), axis)
    if (own or mask is not None) and np.broadcast_shapes(scores.shape, top.shape) == scores.shape:
        np.subtract(scores, top, out=scores)
    else:
        scores = scores - top
    return np.exp(scores, out=scores)


def _weigh(scores, mask, top, axis, own):
    """The weights exp(score - top) of a block, `top` raised to its scores in place, and what was weighed
    before is to be multiplied by. A row without scores has the top -inf and weights 0."""
    scores = _guard(scores, mask, -np.inf, own)
    old = top.copy()
    np.maximum(top, scores.max(axis=axis), out=top)
    with np.errstate(invalid="ignore"):
        scale = np.exp(old - np.where(np.isfinite(top), top, top.dtype.type(0)))
    return _weights(scores, None, top, axis, own or mask is not None), scale


def _logsum(top, total):
    """top + log(total); -inf of nothing."""
    with np.errstate(divide="ignore"):
        return np.log(total) + np.where(np.isfinite(top), top, top.dtype.type(0))
