"""Functions of single elements, and of rows of them, in generated Triton kernels; their text is pasted into
them, so each stands alone."""

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
def _turns(x):
    """x in quarter turns: how many, and the rest as an angle of at most pi / 4. 2 / pi is taken in pieces of
    12 bits and x in halves, so that products are exact however large x is."""
    x = tl.cast(x, tl.float32)
    high = (x.to(tl.int32, bitcast=True) & -4096).to(tl.float32, bitcast=True)
    low = x - high
    count = x * 0.0
    rest = x * 0.0
    count, rest = _turned(high, low, 0.636474609375, count, rest)
    count, rest = _turned(high, low, 0.00014513731002807617, count, rest)
    count, rest = _turned(high, low, 2.5669578462839127e-08, count, rest)
    count, rest = _turned(high, low, 1.297451035497943e-11, count, rest)
    count, rest = _turned(high, low, 2.931682674400804e-16, count, rest)
    more = tl.floor(rest + 0.5)
    return (count + more).to(tl.int32) & 3, (rest - more) * 1.5707963267948966


@triton.jit
def _turned(high, low, piece, count, rest):
    """Add a piece of 2 / pi times the halves of a number."""
    first, second = high * piece, low * piece
    first -= 4.0 * tl.floor(first * 0.25 + 0.5)
    second -= 4.0 * tl.floor(second * 0.25 + 0.5)
    whole, more = tl.floor(first + 0.5), tl.floor(second + 0.5)
    return count + whole + more, rest + (first - whole) + (second - more)


@triton.jit
def _wave(quarter, angle):
    """The sine of an angle of at most pi / 4, so many quarter turns later."""
    z = angle * angle
    sine = angle + angle * z * (-0.16666654611 + z * (0.0083321608736 - z * 0.00019515295891))
    cosine = 1.0 - 0.5 * z + z * z * (0.04166664568 + z * (-0.0013887316255 + z * 0.00002443315712))
    value = tl.where((quarter & 1) == 0, sine, cosine)
    return tl.where((quarter & 2) == 0, value, -value)


@triton.jit
def _sin(x):
    """sin, without the slow path for large numbers that takes memory of every thread."""
    quarter, angle = _turns(x)
    return _wave(quarter, angle)


@triton.jit
def _cos(x):
    quarter, angle = _turns(x)
    return _wave(quarter + 1, angle)


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
