"""Functions that generated Triton kernels may need; their text is pasted into them, so each stands alone."""

from __future__ import annotations

import triton
import triton.language as tl

# ruff: noqa: ANN001, ANN201, ANN202
# mypy: ignore-errors


@triton.jit
def _multiply(a, b):
    return a * b


@triton.jit
def _prod(x, AXIS: tl.constexpr):
    return tl.reduce(x, AXIS, _multiply)


@triton.jit
def _log_sums(gate, inside):
    """Running sums of log gates, to the base 2, along the first axis, and how many are so low that the sum
    would lose all others."""
    none = inside & (gate < -1e4)
    sums = tl.cumsum(tl.where(inside & (gate >= -1e4), gate * 1.4426950408889634, 0.0), 0)
    return sums, tl.cumsum(none.to(tl.int32), 0)


@triton.jit
def _log_before(sums, none, gate, inside):
    """`_log_sums` without the gate of each position itself."""
    is_none = inside & (gate < -1e4)
    own = tl.where(inside & (gate >= -1e4), gate * 1.4426950408889634, 0.0)
    return sums - own, none - is_none.to(tl.int32)


@triton.jit
def _sums(gate, inside):
    """Running sums of the logarithms of gates, to the base 2, along the first axis; how many are 0, and how
    many negative."""
    none = inside & (gate == 0)
    size = tl.where(inside & (gate != 0), tl.abs(gate), 1.0)
    flips = inside & (gate < 0)
    return tl.cumsum(tl.log2(size), 0), tl.cumsum(none.to(tl.int32), 0), tl.cumsum(flips.to(tl.int32), 0)


@triton.jit
def _before(sums, none, flips, gate, inside):
    """`_sums` without the gate of each position itself."""
    is_none = inside & (gate == 0)
    size = tl.where(inside & (gate != 0), tl.abs(gate), 1.0)
    is_flip = inside & (gate < 0)
    return sums - tl.log2(size), none - is_none.to(tl.int32), flips - is_flip.to(tl.int32)


@triton.jit
def _parity(count):
    """-1 for an odd count, else 1."""
    return tl.where((count & 1) == 1, -1.0, 1.0)


@triton.jit
def _log_power(gate, count):
    """exp(gate) to a whole power."""
    return tl.exp(tl.where(count == 0, 0.0, gate * count.to(tl.float32)))


@triton.jit
def _whole_power(gate, count):
    """A gate to a whole power, which is not negative where it counts."""
    size = tl.exp2(tl.maximum(count, 0).to(tl.float32) * tl.log2(tl.where(gate == 0, 1.0, tl.abs(gate))))
    signed = tl.where((count & 1) == 1, tl.where(gate < 0, -size, size), size)
    return tl.where(gate == 0, tl.where(count == 0, 1.0, 0.0), signed)


@triton.jit
def _of_block(x, K, ROWS: tl.constexpr):
    """For each row, the row number K of its block of 16."""
    parts: tl.constexpr = ROWS // 16
    here = (tl.arange(0, 16) == K)[None, :, None]
    blocks = tl.reshape(x, (parts, 16, x.shape[1]))
    row = tl.sum(tl.where(here, blocks, tl.zeros_like(blocks)), 1)
    return tl.reshape(tl.broadcast_to(row[:, None, :], blocks.shape), x.shape)


@triton.jit
def _across(s, late, early, late_none, early_none, ROWS: tl.constexpr):
    """The decay between the rows of block number s of 16 and those of earlier blocks, as a factor of each:
    split at the last row before the block, so that no exponent is above 0; 0 for other rows."""
    slot = tl.arange(0, ROWS)
    last = (slot == s * 16 - 1)[:, None]
    anchor = tl.sum(tl.where(last, early, 0.0), 0)[None, :]
    none = tl.sum(tl.where(last, early_none, 0), 0)[None, :]
    rows = (slot // 16 == s)[:, None] & (late_none == none)
    columns = (slot // 16 < s)[:, None] & (early_none == none)
    to = tl.exp2(tl.where(rows, late - anchor, float("-inf")))
    return to, tl.exp2(tl.where(columns, anchor - early, float("-inf")))


@triton.jit
def _within(k, late, early, late_none, early_none, ROWS: tl.constexpr, STRICT: tl.constexpr):
    """The place of row number k of the block of 16 of each row, and the decay from it to the row; 0 if that
    does not see it."""
    slot = tl.arange(0, ROWS)
    at = slot // 16 * 16 + k
    seen = (at < slot) if STRICT else (at <= slot)
    same = seen[:, None] & (late_none == _of_block(early_none, k, ROWS))
    return at, tl.exp2(tl.where(same, late - _of_block(early, k, ROWS), float("-inf")))


@triton.jit
def _anchored_pairs(
    left,
    right,
    late,
    early,
    late_none,
    early_none,
    ROWS: tl.constexpr,
    STRICT: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The sum over c of left[i, c] right[j, c] 2^(late[i, c] - early[j, c]) where j <= i (j < i if strict),
    else 0: a matrix product between blocks of 16 rows; within a block column by column."""
    slot = tl.arange(0, ROWS)
    total = tl.zeros((ROWS, ROWS), tl.float32)
    for s in range(1, ROWS // 16):
        to, since = _across(s, late, early, late_none, early_none, ROWS)
        total += _dot(left * to, tl.trans(right * since), DOT, PRECISION)
    for k in range(0, 16):
        at, decay = _within(k, late, early, late_none, early_none, ROWS, STRICT)
        column = tl.sum(left * _of_block(right, k, ROWS) * decay, 1)
        total += tl.where(slot[None, :] == at[:, None], column[:, None], 0.0)
    return total


@triton.jit
def _anchored_rows(
    pairs,
    right,
    late,
    early,
    late_none,
    early_none,
    ROWS: tl.constexpr,
    STRICT: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The sum over j <= i (j < i if strict) of pairs[i, j] right[j, c] 2^(late[i, c] - early[j, c]), as in
    `_anchored_pairs`."""
    slot = tl.arange(0, ROWS)
    block = slot // 16
    total = tl.zeros(late.shape, tl.float32)
    for s in range(1, ROWS // 16):
        to, since = _across(s, late, early, late_none, early_none, ROWS)
        scores = tl.where((block == s)[:, None] & (block < s)[None, :], pairs, 0.0)
        total += to * _dot(scores, right * since, DOT, PRECISION)
    for k in range(0, 16):
        at, decay = _within(k, late, early, late_none, early_none, ROWS, STRICT)
        score = tl.sum(tl.where(slot[None, :] == at[:, None], pairs, 0.0), 1)
        total += score[:, None] * _of_block(right, k, ROWS) * decay
    return total


@triton.jit
def _chain(gate_1, state_1, gate_2, state_2):
    """Two stretches of a recurrence as one."""
    return gate_1 * gate_2, gate_2 * state_1 + state_2


@triton.jit
def _dot(a, b, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """The product of two matrices, or of two stacks of them, of operands of the type DOT.

    Without tensor cores (float32 exactly) a thread holds all of its rows and columns in registers, and
    operands of several products from the first to the last: so take 16 of what is summed at a time, or an
    eighth of it.
    """
    inner: tl.constexpr = b.shape[0]
    if DOT != tl.float32 or PRECISION != "ieee" or len(a.shape) == 3 or inner <= 16:
        product = tl.dot(a.to(DOT), b.to(DOT), input_precision=PRECISION)
    else:
        parts: tl.constexpr = 2 if inner == 32 else 4 if inner == 64 else 8
        number = tl.arange(0, parts)
        left = tl.reshape(a.to(DOT), (a.shape[0], parts, inner // parts))
        right = tl.reshape(b.to(DOT), (parts, inner // parts, b.shape[1]))
        product = tl.zeros((a.shape[0], b.shape[1]), tl.float32)
        for k in range(0, parts + tl.program_id(1)):  # + 0, which keeps the compiler from unrolling
            here = number == k
            some = tl.sum(tl.where(here[None, :, None], left, 0.0), 1)
            others = tl.sum(tl.where(here[:, None, None], right, 0.0), 0)
            product = tl.dot(some, others, product, input_precision=PRECISION)
    return product


@triton.jit
def _earlier(x, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Each row one position later; the first one is 0."""
    slot = tl.arange(0, ROWS)
    before = tl.maximum(slot - 1, 0)[:, None] + tl.zeros((ROWS, WIDTH), tl.int32)
    return tl.where(slot[:, None] == 0, 0.0, tl.gather(x, before, 0))


@triton.jit
def _inverse(matrix, ROWS: tl.constexpr):
    """The inverse of 1 - matrix, strictly lower triangular: blocks of 16 rows by substitution, then pairs of
    blocks merged."""
    blocks: tl.constexpr = ROWS // 16
    slot = tl.arange(0, 16)
    number = tl.arange(0, blocks)
    own = (number[:, None] == number[None, :])[:, None, :, None]
    diagonal = tl.sum(tl.where(own, tl.reshape(matrix, (blocks, 16, blocks, 16)), 0.0), 2)
    unit = tl.where(slot[:, None] == slot[None, :], 1.0, 0.0)
    inverse = unit[None, :, :] + tl.zeros((blocks, 16, 16), tl.float32)
    for k in range(1, 16):
        here = (slot == k)[None, :, None]
        row = tl.sum(tl.where(here, diagonal, 0.0), 1)
        row = tl.sum(row[:, :, None] * inverse, 1) + tl.where(slot == k, 1.0, 0.0)[None, :]
        inverse = tl.where(here, row[:, None, :], inverse)
    full = tl.reshape(tl.where(own, inverse[:, :, None, :], 0.0), (ROWS, ROWS))
    at = tl.arange(0, ROWS)
    if ROWS > 16:
        full = _merged(full, matrix, at, 16)
    if ROWS > 32:
        full = _merged(full, matrix, at, 32)
    if ROWS > 64:
        full = _merged(full, matrix, at, 64)
    if ROWS > 128:
        full = _merged(full, matrix, at, 128)
    return full


@triton.jit
def _merged(full, matrix, at, SIZE: tl.constexpr):
    """Inverses of pairs of blocks from those of the blocks."""
    row, column = at[:, None], at[None, :]
    pair = (row // SIZE != column // SIZE) & (row // (2 * SIZE) == column // (2 * SIZE))
    between = _dot(tl.where(pair, matrix, 0.0), full, tl.float32, "ieee")
    return full + _dot(full, between, tl.float32, "ieee")


@triton.jit
def _solved(inverse, right, WIDTH: tl.constexpr):
    """The inverse times a right side."""
    if WIDTH >= 16:
        return _dot(inverse, right, tl.float32, "ieee")
    return tl.sum(inverse[:, :, None] * right[None, :, :], 1)
