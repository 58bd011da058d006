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
    """For some warps: how many bytes of tiles they can hold, where elements of the inputs have `size` bytes,
    and how many bytes each product of the kernel takes away.

    Measured by compiling the catalogue: 5 registers a thread for each product, and all but 110 to 130 of the
    255 (512 of "hip" with four warps) for operands, addresses and masks. Products without tensor cores, and
    those of 16 bits before 9, read operands from registers.
    """
    if family == "hip":
        return ((4, 185 * 1024, 5 * 1024),)
    few, most = (36, 94 if family < 9 else 106) if size == 4 else (28, 104) if family < 9 else (52, 122)
    return ((4, few * 1024, 5 * 512), (8, most * 1024, 5 * 1024))


def _fit(needs, ways, sizes, most, family, chunk, columns, tile, warps, split):
    """The rows of a chunk, the columns of a block, and for each kernel to launch the features of a tile and
    the warps: the least work among what fits registers by what each kernel `needs`, bytes of tiles at once
    and products. Where nothing fits it is the least that is too much, which spills. What is given stays.

    `ways`: for each value the kernel that makes it in one pass, those that make it narrowly, and whether the
    one goes through chunks in order, so that narrow ones do more at once; `split`: (whether that is wanted,
    whether there is no other choice).
    """
    key = needs, ways, sizes, most, family, chunk, columns, tile, warps, split
    if key not in _FITS:
        room = _registers(family, sizes[0])
        if warps is not None:
            room = ((warps, *max(one[1:] for one in room)),)
        tiles = (64, 32, 16, 8, 4) if tile is None else (tile,)
        chunks = [r for r in (128, 64, 32, 16) if r <= most] if chunk is None else [chunk]
        blocks = [(r, c) for r in chunks for c in ((min(64, r), 32) if columns is None else (columns,))]
        found = []
        for rows, block in blocks:
            tried = [(t, needs(rows, block, t, *sizes)) for t in tiles]
            found.append((*_taken(ways, tried, room, rows, split), (rows, block)))
        _, _, fits, (rows, block) = min(found, key=lambda one: one[:2])
        if len(_FITS) >= 4096:
            _FITS.clear()
        _FITS[key] = rows, block, fits
    return _FITS[key]


def _taken(ways, tried, room, rows, split):
    """For the rows of a chunk: how much too much the kernels need that are chosen to make each value, their
    work, and the choices."""
    excess, work, found = 0, 0, {}
    for whole, narrow, serial in ways:
        order = [whole, narrow] if narrow else [whole]
        wanted = split[0] and (serial or split[1])
        if split[1]:
            order = order[-1:] if wanted else order[:1]
        options = [_choices(names, tried, room, rows, 1.3 if names is narrow else 1) for names in order]
        first = options[-1] if wanted and not options[-1][0] else min(options, key=lambda one: one[:2])
        excess, work, found = excess + first[0], work + first[1], found | first[2]
    return excess, work, found


def _choices(names, tried, room, rows, weight):
    """How many bytes a warp some kernels need too many, with the tiles and warps chosen for each, their work,
    and the choices. Of each product, what is within a chunk is done again for each tile; short chunks leave
    tensor cores idle. `weight`: for what is read more than once."""
    excess, work, found = 0, 0.0, {}
    for name in names:
        every = [
            ((needs[name][0] + needs[name][1] * each - most) / warps, tile, warps)
            for tile, needs in tried
            for warps, most, each in room
        ]
        over, tile, warps = next((one for one in every if one[0] <= 0), min(every, key=lambda one: one[0]))
        found[name] = tile, warps
        excess += max(0, over)
        work += weight * max(1, tried[0][1][name][1]) * (rows * 64 / tile + 64) * (1 + 2048 / rows**2)
    return excess, work, found


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


def _alone(split, rows):
    """As `_split`, of tokens one after the other: one alone may take states tile by tile, from memory."""
    return split is True and rows == 1, split is not None or rows != 1


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
