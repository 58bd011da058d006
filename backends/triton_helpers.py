"""Functions that generated Triton kernels may need; their text is pasted into them, so each stands alone."""

from __future__ import annotations

import triton
import triton.language as tl

# ruff: noqa: ANN001, ANN201, ANN202
# mypy: ignore-errors


@triton.jit
def _number(x):
    """A size as a float."""
    return tl.cast(x, tl.float32)


@triton.jit
def _square(x):
    return x * x


@triton.jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0))


@triton.jit
def _tanh(x):
    """tanh; by its series where 1 - 2 / (exp(2x) + 1) would cancel."""
    square = x * x
    series = x * (1.0 - square * (0.3333333333 - square * (0.1333333333 - square * 0.0539682540)))
    rest = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - rest) / (1.0 + rest)
    return tl.where(tl.abs(x) < 0.25, series, tl.where(x < 0, -far, far))


@triton.jit
def _silu(x):
    return x * tl.sigmoid(x)


@triton.jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _elu(x):
    """x, or exp(x) - 1 below 0; by its series where that would cancel."""
    series = x * (1.0 + x * (0.5 + x * (0.1666666667 + x * (0.0416666667 + x * 0.0083333333))))
    low = tl.minimum(x, 0.0)
    return tl.where(x > 0, x, tl.where(low > -0.125, series, tl.exp(low) - 1.0))


@triton.jit
def _softplus(x):
    """log(1 + exp(x)) without overflow; by its series where 1 + y would lose y."""
    y = tl.exp(-tl.abs(x))
    small = y * (1.0 - y * (0.5 - y * 0.3333333333))
    return tl.maximum(x, 0.0) + tl.where(y < 0.0078125, small, tl.log(1.0 + y))


@triton.jit
def _power(base, exponent):
    """base to the exponent; a negative base takes whole exponents alone."""
    base, exponent = tl.cast(base, tl.float32), tl.cast(exponent, tl.float32)
    size = tl.exp2(exponent * tl.log2(tl.where(base == 0, 1.0, tl.abs(base))))
    whole = tl.floor(exponent) == exponent
    odd = exponent - 2.0 * tl.floor(exponent * 0.5) == 1.0
    signed = tl.where(whole, tl.where(odd, -size, size), float("nan"))
    nothing = tl.where(exponent == 0, 1.0, tl.where(exponent > 0, 0.0, float("inf")))
    return tl.where(base == 0, nothing, tl.where(base < 0, signed, size))


@triton.jit
def _floor(a, b):
    return tl.floor(a / b)


@triton.jit
def _modulo(a, b):
    return a - b * tl.floor(a / b)


@triton.jit
def _quotient(a, b):
    """a over b, rounded down."""
    rest = a % b
    return a // b - tl.where((rest != 0) & ((rest < 0) != (b < 0)), 1, 0)


@triton.jit
def _rest(a, b):
    """What is left of a over b, with the sign of b."""
    rest = a % b
    return rest + tl.where((rest != 0) & ((rest < 0) != (b < 0)), b, 0)


@triton.jit
def _finite(top):
    """The largest scores of rows, 0 where there are none."""
    return tl.where(tl.abs(top) < float("inf"), top, 0.0)


@triton.jit
def _softmax(x, AXIS: tl.constexpr):
    """exp(x) over its sum along the last axis; all 0 where there is nothing."""
    top = _finite(tl.max(x, AXIS))
    weights = tl.exp(x - tl.expand_dims(top, AXIS))
    total = tl.sum(weights, AXIS)
    return weights / tl.expand_dims(tl.where(total == 0, 1.0, total), AXIS)


@triton.jit
def _logsumexp(x, AXIS: tl.constexpr):
    """The logarithm of the sum of exp(x) along the last axis; -inf of nothing."""
    top = tl.max(x, AXIS)
    total = tl.sum(tl.exp(x - tl.expand_dims(_finite(top), AXIS)), AXIS)
    return tl.where(total == 0, float("-inf"), tl.log(tl.where(total == 0, 1.0, total)) + _finite(top))


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
def _of_block(x, K: tl.constexpr, ROWS: tl.constexpr):
    """For each row, the row number K of its block of 16."""
    parts: tl.constexpr = ROWS // 16
    here = (tl.arange(0, 16) == K)[None, :, None]
    blocks = tl.reshape(x, (parts, 16, x.shape[1]))
    row = tl.sum(tl.where(here, blocks, tl.zeros_like(blocks)), 1)
    return tl.reshape(tl.broadcast_to(row[:, None, :], blocks.shape), x.shape)


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
    else 0. Between blocks of 16 rows the exponent is split at the last row before the later block; within a
    block it is taken column by column."""
    slot = tl.arange(0, ROWS)
    block = slot // 16
    total = tl.zeros((ROWS, ROWS), tl.float32)
    for s in range(1, ROWS // 16):
        last = (slot == s * 16 - 1)[:, None]
        anchor = tl.sum(tl.where(last, early, 0.0), 0)[None, :]
        none = tl.sum(tl.where(last, early_none, 0), 0)[None, :]
        rows = (block == s)[:, None] & (late_none == none)
        columns = (block < s)[:, None] & (early_none == none)
        a = left * tl.exp2(tl.where(rows, late - anchor, float("-inf")))
        b = right * tl.exp2(tl.where(columns, anchor - early, float("-inf")))
        total += _dot(a, tl.trans(b), DOT, PRECISION)
    for k in tl.static_range(16):
        at = block * 16 + k
        seen = (at < slot) if STRICT else (at <= slot)
        same = seen[:, None] & (late_none == _of_block(early_none, k, ROWS))
        decay = tl.exp2(tl.where(same, late - _of_block(early, k, ROWS), float("-inf")))
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
    """The sum over j <= i (j < i if strict) of pairs[i, j] right[j, c] 2^(late[i, c] - early[j, c]), split as
    in `_anchored_pairs`."""
    slot = tl.arange(0, ROWS)
    block = slot // 16
    total = tl.zeros(late.shape, tl.float32)
    for s in range(1, ROWS // 16):
        last = (slot == s * 16 - 1)[:, None]
        anchor = tl.sum(tl.where(last, early, 0.0), 0)[None, :]
        none = tl.sum(tl.where(last, early_none, 0), 0)[None, :]
        rows = (block == s)[:, None] & (late_none == none)
        columns = (block < s)[:, None] & (early_none == none)
        b = right * tl.exp2(tl.where(columns, anchor - early, float("-inf")))
        a = tl.where((block == s)[:, None] & (block < s)[None, :], pairs, 0.0)
        part = _dot(a, b, DOT, PRECISION)
        total += part * tl.exp2(tl.where(rows, late - anchor, float("-inf")))
    for k in tl.static_range(16):
        at = block * 16 + k
        seen = (at < slot) if STRICT else (at <= slot)
        same = seen[:, None] & (late_none == _of_block(early_none, k, ROWS))
        decay = tl.exp2(tl.where(same, late - _of_block(early, k, ROWS), float("-inf")))
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
    one = slot[:, None] == slot[None, :] + 1
    if WIDTH >= 16:
        return _dot(tl.where(one, 1.0, 0.0), x, tl.float32, "ieee")
    return tl.sum(tl.where(one[:, :, None], x[None, :, :], 0.0), 1)


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


@triton.jit
def _joint_matrix(m00, m01, m10, m11, ROWS: tl.constexpr):
    """The matrix of two unknowns, those of a row side by side."""
    both = tl.join(tl.join(m00, m01), tl.join(m10, m11))
    return tl.reshape(tl.permute(both, (0, 3, 1, 2)), (2 * ROWS, 2 * ROWS))


@triton.jit
def _joint_right(r0, r1, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """The right sides of two unknowns, those of a row after each other."""
    return tl.reshape(tl.permute(tl.join(r0, r1), (0, 2, 1)), (2 * ROWS, WIDTH))


@triton.jit
def _apart(joint, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """The two unknowns of `_joint_right`'s order."""
    return tl.split(tl.permute(tl.reshape(joint, (ROWS, 2, WIDTH)), (0, 2, 1)))
