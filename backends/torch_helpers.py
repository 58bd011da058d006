"""Functions that generated PyTorch source may need; their text is pasted into it, so each stands alone.

They overwrite only what they made themselves, and nothing that autograd keeps.
"""

from __future__ import annotations

import math

import torch

# ruff: noqa: ANN001, ANN201, ANN202
# mypy: ignore-errors

_ALL = slice(None)
_LAST = slice(-1, None)


def _permute(x, *order):
    """The last axes of x in another order; leading batch axes stay."""
    lead = x.dim() - len(order)
    return x.permute(*range(lead), *(lead + k for k in order))


def _dtypes(dtype, *inputs):
    """The dtype of the outputs, by default that of the floating inputs together, and of the arithmetic."""
    if dtype is None:
        floating = [x.dtype for x in inputs if x.is_floating_point()]
        dtype = floating[0] if floating else torch.get_default_dtype()
        for other in floating[1:]:
            dtype = torch.promote_types(dtype, other)
    return dtype, torch.promote_types(dtype, torch.float32)


def _device(*inputs):
    """The device of the first tensor."""
    return next((x.device for x in inputs if isinstance(x, torch.Tensor)), torch.device("cpu"))


def _batch(first, *others):
    """The shape that shapes broadcast to."""
    return first if all(first == other for other in others) else torch.broadcast_shapes(first, *others)


def _flat(x, batch, count, rank):
    """x with its batch axes broadcast and made one; `rank` axes stay."""
    own = x.shape[x.dim() - rank :]
    return x.expand((*batch, *own)).reshape((count, *own))


def _state(state, shape, dtype, device):
    """A state to start from: a copy of the one given, else zeros."""
    if state is None:
        return torch.zeros(shape, dtype=dtype, device=device)
    return state.to(device, dtype).expand(shape).clone()


def _spread(x, shape, dtype, device):
    """x over the last axes of a shape, in a dtype."""
    x = torch.as_tensor(x, dtype=dtype, device=device)
    return x.expand(torch.broadcast_shapes(x.shape, shape)).clone()


def _whole(x, shape, dtype):
    """A copy of x over a whole shape, in a dtype."""
    return x.to(dtype).expand(shape).clone(memory_format=torch.contiguous_format)


def _joined(parts, axis, shape, dtype, device):
    """The rows of all chunks, one after the other, over a whole shape."""
    if not parts:
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.cat(parts, axis).to(dtype).expand(shape)


def _with_row(x, axis, position, row):
    """x with one row along an axis (negative) replaced."""
    shape = torch.broadcast_shapes(x.select(axis, 0).shape, row.shape)
    x = x.expand(*shape[: len(shape) + axis + 1], *x.shape[axis:])
    return torch.select_scatter(x, row.expand(shape), axis, position)


def _add_product(base, a, b):
    """base + a @ b in one pass, for axes before the last two that all three have."""
    lead = math.prod(base.shape[:-2])
    parts = (x.reshape(lead, *x.shape[-2:]) for x in (base, a, b))
    return torch.baddbmm(*parts).view(base.shape)


def _add_product_(base, a, b):
    """base + a @ b written into base, for axes before the last two that all three have."""
    lead = math.prod(base.shape[:-2])
    a, b = (x.reshape(lead, *x.shape[-2:]) for x in (a, b))
    base.view(lead, *base.shape[-2:]).baddbmm_(a, b)


def _matmul(a, b, rows, inner, columns):
    """a[..., rows, inner] times b[..., inner, columns], each group of any number of axes."""
    m = a.shape[a.dim() - rows - inner : a.dim() - inner]
    k = a.shape[a.dim() - inner :]
    n = b.shape[b.dim() - columns :] if columns else ()
    left = a.reshape(*a.shape[: a.dim() - rows - inner], math.prod(m), math.prod(k))
    right = b.reshape(*b.shape[: b.dim() - inner - columns], math.prod(k), math.prod(n))
    product = left @ right
    return product.reshape((*product.shape[:-2], *m, *n))


def _read(x, *subscripts):
    """x at computed subscripts, one for each of its last axes; 0 outside."""
    shape = x.shape[x.dim() - len(subscripts) :]
    subscripts = [torch.as_tensor(s, device=x.device) for s in subscripts]
    full = torch.broadcast_shapes(*(s.shape for s in subscripts))
    if 0 in shape:
        return x.new_zeros(*x.shape[: x.dim() - len(subscripts)], *full)
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    clipped = []
    for subscript, size in zip(subscripts, shape, strict=True):
        inside = inside & (subscript >= 0) & (subscript < size)
        clipped.append(subscript.clamp(0, size - 1).long())
    return torch.where(inside, x[(..., *clipped)], 0)


def _real(x):
    """An integer, or integers, as float64."""
    return x.double() if isinstance(x, torch.Tensor) else float(x)


def _known(x):
    """Whether values may be looked at: not where one would have to wait for them."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _decay(gate, log, axis):
    """Running logarithms of gates along an axis, in float64 unless all are near 0, with the counts of
    negative gates and of zeros (None where there are none): what `_segment` subtracts. Zeros are counted,
    never part of the sum; neither are logarithms so low that the sum would lose all others. Where autograd
    follows, sums of the zeros alone come last: they have the derivatives that logarithms lose."""
    known = _known(gate)
    if log:
        sums = gate.cumsum(axis, dtype=torch.float64)
        if known and gate.numel():
            low, high = (x.item() for x in sums.aminmax())
            if low >= -8 and high <= 8:  # a float32 is then as good to 5e-7
                return sums.to(gate.dtype), None, None, None
            if low > -1e4:
                return sums, None, None, None
        zero = gate < -1e4
        return gate.masked_fill(zero, 0).cumsum(axis, dtype=torch.float64), None, zero.cumsum(axis), None
    zero, negative = gate == 0, gate < 0
    sums = gate.masked_fill(zero, 1).abs().to(torch.float64).log().cumsum(axis)
    flips = None if known and not negative.any() else negative.cumsum(axis)
    if known and not zero.any():
        return sums, flips, None, None
    followed = gate.requires_grad and torch.is_grad_enabled()
    return sums, flips, zero.cumsum(axis), gate.masked_fill(~zero, 0).cumsum(axis) if followed else None


def _before(sums, axis):
    """`_decay` without the gate of each position itself: shifted by one position."""

    def shift(part):
        if part is None:
            return None
        first = torch.zeros_like(part.narrow(axis, 0, min(1, part.shape[axis])))
        return torch.cat([first, part.narrow(axis, 0, max(0, part.shape[axis] - 1))], axis)

    return tuple(shift(part) for part in sums)


def _at(sums, index):
    """`_decay` at an index (a tuple for the tensor's axes)."""
    return tuple(None if part is None else part[index] for part in sums)


def _segment(late, early, dtype, bias=None):
    """The product of the gates after `early` up to `late`, both from `_decay`; `bias` is -inf where it is 0.
    Only differences of logarithms are exponentiated, after the mask."""
    total, flips, zeros, lost = late
    if early is None:
        if zeros is None and flips is None:
            return total.to(dtype).exp()
        total = total.to(dtype, copy=True)
    else:
        total = (total - early[0]).to(dtype)
        zeros = None if zeros is None else zeros - early[2]
        flips = None if flips is None else flips - early[1]
        lost = None if lost is None else lost - early[3]
    if zeros is not None:
        total.masked_fill_(zeros != 0 if lost is None else (zeros != 0) & (zeros != 1), -math.inf)
    if bias is not None:
        total += bias
    total = total.exp_()
    if lost is not None:  # of a single zero the others are the derivative
        total = torch.where(zeros == 1, total * lost.to(dtype), total)
    return total if flips is None else torch.where(flips % 2 == 1, -total, total)


def _future(length, strict, features, dtype, device):
    """[rows, columns, 1...]: 0 where the column's token is read by the row's, -inf where it is later."""
    key = length, strict, features, dtype, device
    if key in _FUTURE:
        return _FUTURE[key]
    with torch.inference_mode(False):
        bias = torch.full((length, length), -math.inf, dtype=dtype, device=device).triu_(0 if strict else 1)
        bias = bias.view(length, length, *(1 for _ in range(features)))
    if not torch.compiler.is_compiling():
        if len(_FUTURE) >= 8:
            _FUTURE.clear()
        _FUTURE[key] = bias
    return bias


_FUTURE = {}


def _delayed(state, rows, lag, axis):
    """`rows` some tokens earlier along an axis (negative); `state` holds the rows before them. `lag` is a
    number, or None for an axis at the end that counts the tokens."""
    depth, length = state.shape[axis], rows.shape[axis]
    joined = _tail(state, rows, axis, depth + length)
    if lag is not None:
        return joined.narrow(axis, depth - lag, length)
    each = [joined.narrow(axis, depth - t, length) for t in range(depth)]
    return torch.stack(each, -1) if each else joined.new_zeros(*rows.shape, 0)


def _tail(state, rows, axis, depth):
    """The last rows of a state and the rows after it, along an axis (negative)."""
    lead = torch.broadcast_shapes(state.shape[:axis], rows.shape[:axis])
    joined = torch.cat([p.expand(*lead, *p.shape[axis:]) for p in (state, rows)], axis)
    return joined.narrow(axis, joined.shape[axis] - depth, depth)


def _monomials(lower, factor, power, weighted, axis):
    """Every product of `power` elements along an axis (negative) once: `lower` holds those of one less,
    `factor` the elements. Weighted, each counts as often as its elements can be arranged."""
    first, last, ratio = _places(factor.shape[axis], power, factor.device)
    out = lower.index_select(axis, first) * factor.index_select(axis, last)
    return out * ratio.to(out.dtype).view(-1, *(1 for _ in range(-axis - 1))) if weighted else out


def _places(size, power, device):
    """For the products of `power` of `size` elements, ascending places in lexicographic order: which product
    of one element less comes first, the last place, and how many more arrangements there are."""
    key = size, power, device
    if key in _PLACES:
        return _PLACES[key]
    first = last = torch.arange(size)
    equal = torch.ones(size, dtype=torch.int64)
    for _ in range(power - 1):
        count = size - last
        first = torch.repeat_interleave(torch.arange(len(last)), count)
        place = torch.arange(len(first)) - (count.cumsum(0) - count - last)[first]
        equal = torch.where(place == last[first], equal[first] + 1, 1)
        last = place
    if len(_PLACES) >= 16:
        _PLACES.clear()
    _PLACES[key] = tuple(x.to(device) for x in (first, last, power / equal))
    return _PLACES[key]


_PLACES = {}


def _triangular(matrix, right, columns):
    """The unknown of (1 + matrix) unknown = right; of the matrix what lies below the diagonal is read."""
    wide = right.shape[right.dim() - columns :]
    flat = right.reshape(*right.shape[: right.dim() - columns], math.prod(wide))
    # Transposed, both lie in memory as LAPACK wants them.
    out = torch.linalg.solve_triangular(matrix.mT, flat.mT, upper=True, left=False, unitriangular=True).mT
    return out if columns == 1 else out.reshape(*out.shape[:-1], *wide)


def _system(blocks, rights, columns):
    """The unknowns of unknown[a] = right[a] + sum of blocks[a][b] @ unknown[b] over b, each block strictly
    lower triangular or None: one triangular system, the unknowns of a row side by side."""
    known = [block for row in blocks for block in row if block is not None]
    batch = torch.broadcast_shapes(*(block.shape[:-2] for block in known))
    length, count = known[0].shape[-1], len(rights)
    none = known[0].new_zeros(*batch, length, length)
    rows = [torch.stack([(none if b is None else b).expand_as(none) for b in row], -1) for row in blocks]
    matrix = torch.stack(rows, -3).reshape(*batch, length * count, length * count)
    joint = torch.stack(torch.broadcast_tensors(*rights), -columns - 1)
    wide = joint.shape[joint.dim() - columns :]
    joint = joint.reshape((*joint.shape[: joint.dim() - columns - 2], length * count, *wide))
    found = _triangular(-matrix, joint, columns)
    found = found.reshape((*found.shape[: found.dim() - columns - 1], length, count, *wide))
    return found.unbind(-columns - 1)


def _scan(x, gate, state, axis):
    """The state after each position along `axis` (negative): gate[t] · before + x[t], by doubling."""
    length, first = x.shape[axis], state.unsqueeze(axis)
    if gate is None:
        return x.cumsum(axis) + first
    x, gate = torch.broadcast_tensors(x, gate)
    step = 1
    while step < length:
        kept, done = length - step, x.narrow(axis, 0, step)
        later = gate.narrow(axis, step, kept)
        x = torch.cat([done, x.narrow(axis, step, kept) + later * x.narrow(axis, 0, kept)], axis)
        gate = torch.cat([gate.narrow(axis, 0, step), later * gate.narrow(axis, 0, kept)], axis)
        step *= 2
    return x + gate * first


def _earlier(states, state, axis):
    """The states before each position along `axis` (negative): that of the chunk's start first."""
    first = state.unsqueeze(axis).expand_as(states.narrow(axis, 0, 1))
    return torch.cat([first, states.narrow(axis, 0, states.shape[axis] - 1)], axis)


def _sealed(buffer, length, axis):
    """The first rows of a buffer along an axis, as a cache with the right to the space behind them: `room`
    gives the buffer for their number; whoever takes it out may write there, all others must copy."""
    cache = buffer.narrow(axis, 0, length)
    cache.room = {length: buffer}
    return cache


def _room(cache, length, shape, axis, dtype, device):
    """A buffer of a shape that starts with the rows of a cache (there are none if it is None): its own, if
    there is space behind them that nobody took, else a copy."""
    buffer = getattr(cache, "room", {}).pop(length, None)  # one step, also between threads
    if buffer is None or buffer.shape[axis] < shape[axis] or buffer.dtype != dtype:
        buffer = torch.empty(shape, dtype=dtype, device=device)
        if cache is not None:
            buffer.narrow(axis, 0, length).copy_(cache)
    return buffer


def _append(cache, row, axis):
    """A cache with one row more, along an axis. The space doubles when it is used up; the old cache stays
    as it is."""
    length = cache.shape[axis]
    buffer = getattr(cache, "room", {}).get(length)
    shape = list(cache.shape)
    shape[axis] = length + 1 if buffer is not None and buffer.shape[axis] > length else max(16, 2 * length)
    buffer = _room(cache, length, shape, axis, cache.dtype, cache.device)
    buffer.select(axis, length).copy_(row)
    return _sealed(buffer, length + 1, axis)


def _latest(cache, length, most, axis):
    """Of the first rows of a cache, so many, the last ones, at most `most`. Rows appended to them slide
    along the space behind the cache, which is bounded; of a longer buffer they are a copy."""
    if length <= most:
        return cache if cache.shape[axis] == length else _sealed(cache, length, axis)
    buffer = getattr(cache, "room", {}).pop(length, None)
    if buffer is None:
        return cache.narrow(axis, length - most, most).clone()
    latest = buffer.narrow(axis, length - most, most)
    latest.room = {most: buffer.narrow(axis, length - most, buffer.shape[axis] - length + most)}
    return latest


def _extended(cache, rows, axis):
    """A cache and the rows after it, along an axis, as a new tensor."""
    shape = list(cache.shape)
    shape[axis] = rows.shape[axis]
    return torch.cat([cache, rows.to(cache.dtype).expand(shape)], axis)


def _nowhere(mask):
    """Whether a mask holds nowhere, if that may be asked."""
    return _known(mask) and not mask.any()


def _guard(x, mask, start, own):
    """x where the mask holds (None: everywhere), else the start of a reduction: may be overwritten."""
    if mask is None:
        return x if own else x.clone()
    return torch.where(mask, x, start)


def _finite(top):
    """The largest scores of rows, 0 where there are none."""
    return torch.where(top.isfinite(), top, 0)


def _weights(scores, mask, top, axis, own):
    """exp(score - top), 0 where not mask."""
    top = _finite(top)
    for place in sorted((axis,) if isinstance(axis, int) else axis, reverse=True):
        top = top.unsqueeze(place)
    return (_guard(scores, mask, -math.inf, own) - top).exp_()


def _weigh(scores, mask, top, axis, own):
    """The weights exp(score - top) of a block, `top` first raised to its scores; what was weighed before is
    to be multiplied by; and that top. A row without scores has the top -inf and weights 0."""
    scores = _guard(scores, mask, -math.inf, own)
    raised = torch.maximum(top, scores.amax(axis))
    return _weights(scores, None, raised, axis, own), torch.exp(top - _finite(raised)), raised


def _logsum(top, total):
    """top + log(total); -inf of nothing."""
    return torch.log(total) + _finite(top)


def _softplus(x):
    """log(1 + exp(x)) without overflow."""
    return torch.logaddexp(x, torch.zeros_like(x))


def _masked(x, mask, value, axis):
    """x with a value where not mask, and its last axes that `axis` names made one."""
    x = x if mask is True else torch.where(torch.as_tensor(mask, device=x.device), x, value)
    return x if axis == -1 else x.flatten(-len(axis))


def _softmax(x, mask, axis):
    """exp(x) over its sum along the axes, 0 where not mask."""
    shape = torch.broadcast_shapes(x.shape, getattr(mask, "shape", ()))
    x = _masked(x, mask, -math.inf, axis)
    return torch.softmax(x, -1).masked_fill(x == -math.inf, 0).reshape(shape)


def _logsumexp(x, mask, axis):
    """log of the sum of exp(x) where mask, -inf of nothing."""
    x = _masked(x, mask, -math.inf, axis)
    return torch.logsumexp(x, -1) if x.shape[-1] else x.new_full(x.shape[:-1], -math.inf)


def _reduce(op, x, mask, axis):
    """A reduction of x where mask: "sum", "prod", "max" or "min"."""
    start = {"sum": 0, "prod": 1, "max": -math.inf, "min": math.inf}[op]
    x = _masked(x, mask, start, axis)
    if x.shape[-1] == 0:
        return x.new_full(x.shape[:-1], start)
    return {"sum": torch.sum, "prod": torch.prod, "max": torch.amax, "min": torch.amin}[op](x, -1)
