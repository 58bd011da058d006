"""Functions that the callers of generated Triton kernels may need; their text is pasted into the module, so
each stands alone."""

from __future__ import annotations

import torch
import triton.language as tl

# ruff: noqa: ANN001, ANN201, ANN202, F821
# mypy: ignore-errors


def _dot_type(compute, dtype):
    """The type of the operands of matrix products: that of the results where it is shorter."""
    short = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
    if compute not in (torch.float32,):
        raise TypeError(f"These kernels compute in float32, not in {compute}.")
    return short.get(dtype, tl.float32)


def _block(size, least):
    """The power of two that a tile takes for an axis."""
    return max(least, 1 << max(0, size - 1).bit_length())


def _cut(size, tile, least):
    """The power of two that a tile of at most `tile` positions takes for an axis."""
    return min(max(tile, least), _block(size, least))


def _tiles(size, block):
    """How many programs share an axis: one at least, which stores the states."""
    return max(1, -(-size // block))


def _family(device):
    """The kind of GPU: "hip", or the major version of what it is capable of, the least that does where there
    is none."""
    if device.type != "cuda":
        return 8
    return "hip" if torch.version.hip else torch.cuda.get_device_capability(device)[0]


def _registers(family, size):
    """How many bytes of tiles some warps can hold, where elements of the inputs have `size` bytes.

    Measured by compiling: the rest of the 255 registers of a thread (512 of "hip" with four warps) holds
    operands, addresses and masks. From 9 on, products read their operands from shared memory; before, those
    of 16 bits lie in registers, the same in several warps; so do those of products without tensor cores.
    """
    if family == "hip":
        return ((4, 140 * 1024),)
    if size == 4:
        return ((4, 32 * 1024), (8, 96 * 1024))
    return ((4, 22 * 1024), (8, 50 * 1024)) if family < 9 else ((4, 46 * 1024), (8, 100 * 1024))


def _fit(needs, ways, sizes, most, family, chunk, columns, tile, warps, split):
    """The rows of a chunk, the columns of a block, and for each kernel to launch the features of a tile and
    the warps, so that the bytes it `needs` at once fit registers. What is given stays.

    `ways`: for each value the kernel that makes it in one pass, those that make it narrowly, and whether the
    one goes through chunks in order, so that narrow ones do more at once; `split`: (whether that is wanted,
    whether there is no other choice). Chunks are halved where the smallest tiles do not fit; where nothing
    fits it is the least that is too much, which spills.
    """
    key = needs, sizes, most, family, chunk, columns, tile, warps, split
    if key in _FITS:
        return _FITS[key]
    rows = most if chunk is None else chunk
    room = _registers(family, sizes[0])
    if warps is not None:
        room = ((warps, max(most for _, most in room)),)
    tiles = (64, 32, 16, 8, 4) if tile is None else (tile,)
    while True:
        block = min(64, rows) if columns is None else columns
        found, good = {}, True
        tried = [(t, needs(rows, block, t, *sizes)) for t in tiles]
        for whole, narrow, serial in ways:
            order = [whole, narrow] if narrow else [whole]
            if split[0] and (serial or split[1]):
                order.reverse()
            over = []
            for names in order[:1] if split[1] else order:
                fits = {name: _choice(name, tried, room) for name in names}
                over.append((max(bad for _, bad in fits.values()), len(over), fits))
                if over[-1][0] == 0:
                    break
            excess, _, fits = min(over)
            good &= excess == 0
            found |= {name: fit for name, (fit, _) in fits.items()}
        if good or chunk is not None or rows <= 16:
            break
        rows //= 2
    _FITS[key] = rows, block, found
    return _FITS[key]


def _choice(name, tried, room):
    """The tile and the warps for a kernel, and how many bytes too many it needs with them."""
    for tile, needs in tried:
        for warps, most in room:
            if needs[name] <= most:
                return (tile, warps), 0
    tile, needs = min(tried, key=lambda one: one[1][name])
    warps, most = room[-1]
    return (tile, warps), needs[name] - most


_FITS = {}


def _align(x):
    """A number that divides the stride of the batch whatever the length: 16, or 1."""
    inner = [s for s in x.stride()[1:] if s != 1]
    return 16 if inner and all(s % 16 == 0 for s in (x.stride(0), *inner)) else 1


def _split(split, count, rows, device):
    """Whether states are to be computed first, then all chunks at once: where heads alone leave the device
    idle; and whether that was asked for."""
    if split is not None:
        return bool(split), True
    if device.type != "cuda" or rows < 256:
        return False, False
    return count < 2 * torch.cuda.get_device_properties(device).multi_processor_count, False


def _begin(state, shape, flat, compute, device):
    """A state to start from: the one given, else zeros."""
    if state is None:
        return torch.zeros(flat, dtype=compute, device=device)
    return state.to(device, compute).expand(shape).reshape(flat).contiguous()


def _held(state, axis):
    """How many rows a cache has."""
    return 0 if state is None else state.shape[axis]


def _grown(state, rows, rank, compute):
    """The rows [..., rows, features...] of a cache and those after it; the cache stays as it is. The space
    for single rows is doubled when it is used up."""
    axis = -rank
    if state is None:
        return rows.to(compute, copy=True)
    lead = torch.broadcast_shapes(state.shape[:axis], rows.shape[:axis])
    rows = rows.expand(*lead, *rows.shape[axis:])
    state = state if state.shape[:axis] == lead else state.expand(*lead, *state.shape[axis:])
    if rows.shape[axis] == 1:
        return _append(state, rows.select(axis, 0), axis)
    return torch.cat([state, rows.to(compute)], axis)


def _products(size, power, device):
    """For the products of `power` of `size` elements in lexicographic order of their ascending places: the
    place of each element, and in how many orders the elements can be arranged."""
    key = size, power, device
    if key in _PRODUCTS:
        return _PRODUCTS[key]
    every = torch.combinations(torch.arange(size), power, with_replacement=True)
    often = torch.ones(len(every), dtype=torch.float64)
    equal = torch.ones(len(every), dtype=torch.float64)
    for k in range(1, power):
        equal = torch.where(every[:, k] == every[:, k - 1], equal + 1, 1)
        often = often * (k + 1) / equal
    if len(_PRODUCTS) >= 16:
        _PRODUCTS.clear()
    found = [every[:, k].to(torch.int32).contiguous() for k in range(power)]
    _PRODUCTS[key] = [x.to(device) for x in (*found, often.float())]
    return _PRODUCTS[key]


_PRODUCTS = {}
