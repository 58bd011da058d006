"""Forward-mode differentiation of the definition: dual numbers a + b·ε through the reference evaluation.

The value is a Python int or Fraction where only + - * / and integer powers are used, so that derivatives of
polynomials and ratios are exact; functions compute in float64. The conventions are those of the gradient:
ties of a maximum share equally, abs, sign and relu have slope 0 at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from tensorc.backends.reference import evaluate
from tensorc.ir import Program
from tensorc.numbers import Array

Real = Any  # int, Fraction or float


class Dual:
    """value + slope·ε; comparisons look at the value."""

    __slots__ = ("slope", "value")

    def __init__(self, value: Real, slope: Real = 0) -> None:
        self.value, self.slope = value, slope

    def __add__(self, other: Any) -> Dual:
        other = dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other: Any) -> Dual:
        other = dual(other)
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __sub__(self, other: Any) -> Dual:
        return self + -dual(other)

    def __truediv__(self, other: Any) -> Dual:
        other = dual(other)
        value = _ratio(self.value, other.value)
        return Dual(value, _ratio(self.slope - value * other.slope, other.value))

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < dual(other).value)

    def __le__(self, other: Any) -> bool:
        return bool(self.value <= dual(other).value)

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > dual(other).value)

    def __ge__(self, other: Any) -> bool:
        return bool(self.value >= dual(other).value)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == dual(other).value)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)


def dual(number: Any) -> Dual:
    """A number with slope 0."""
    return number if isinstance(number, Dual) else Dual(number)


def _ratio(a: Real, b: Real) -> Real:
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a)
    return a / b if isinstance(a, float) or isinstance(b, float) else Fraction(a) / b


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _sign(x: Real) -> int:
    return (x > 0) - (x < 0)


def _normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


# The value of each function and its derivative.
FUNCTIONS: dict[str, tuple[Callable[[Real], Real], Callable[[Real], Real]]] = {
    "exp": (math.exp, math.exp),
    "log": (lambda x: math.log(x) if x > 0 else math.nan, lambda x: 1 / x if x > 0 else math.nan),
    "sqrt": (math.sqrt, lambda x: 0.5 / math.sqrt(x)),
    "rsqrt": (lambda x: x**-0.5, lambda x: -0.5 * x**-1.5),
    "abs": (abs, _sign),
    "sign": (_sign, lambda x: 0),
    "tanh": (math.tanh, lambda x: 1 - math.tanh(x) ** 2),
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    "silu": (lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x))),
    "gelu": (
        lambda x: x * _normal(x),
        lambda x: _normal(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "relu": (lambda x: x if x > 0 else 0, lambda x: int(x > 0)),
    "elu": (lambda x: x if x > 0 else math.expm1(x), lambda x: 1 if x > 0 else math.exp(x)),
    "softplus": (lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0), _sigmoid),
    "cos": (math.cos, lambda x: -math.sin(x)),
    "sin": (math.sin, math.cos),
}
RATIONAL = ("abs", "sign", "relu")


def _function(name: str, x: Dual) -> Dual:
    value, slope = FUNCTIONS[name]
    at = x.value if name in RATIONAL else float(x.value)
    return Dual(value(at), slope(at) * x.slope)


def _largest(a: Dual, b: Dual) -> Dual:
    if a.value == b.value:
        return Dual(
            a.value, (Fraction(1, 2) if isinstance(a.value, int | Fraction) else 0.5) * (a.slope + b.slope)
        )
    return a if a.value > b.value else b


def _power(base: Dual, exponent: Dual) -> Dual:
    b, p = base.value, exponent.value
    whole = isinstance(p, int | Fraction) and Fraction(p).denominator == 1
    exact = whole and isinstance(b, int | Fraction)
    power = Fraction if exact else float
    at = (lambda e: power(b) ** int(e)) if whole else (lambda e: float(b) ** float(e))
    slope: Real = 0
    if p != 0 and base.slope != 0:
        slope += p * at(p - 1) * base.slope
    if exponent.slope != 0:
        slope += at(p) * math.log(b) * exponent.slope
    return Dual(at(p), slope)


def _extreme(row: list[Dual], op: str) -> Dual:
    if not row:
        return Dual(-math.inf if op == "max" else math.inf)
    value = (max if op == "max" else min)(d.value for d in row)
    slopes = [d.slope for d in row if d.value == value]
    return Dual(value, _ratio(sum(slopes), len(slopes)))


def _folded(row: list[Dual], op: str) -> Dual:
    if op in ("max", "min"):
        return _extreme(row, op)
    if op == "logsumexp":
        if not row:
            return Dual(-math.inf)
        top = max(float(d.value) for d in row)
        total = _folded([_function("exp", d - top) for d in row], "sum")
        return _function("log", total) + top
    result = Dual(1 if op == "prod" else 0)
    for d in row:
        result = result * d if op == "prod" else result + d
    return result / len(row) if op == "mean" else result


def _each(operation: Callable[..., Any], *arrays: Any) -> Array:
    found = np.frompyfunc(operation, len(arrays), 1)(*arrays)
    if not isinstance(found, np.ndarray):
        single = np.empty((), object)
        single[()] = found
        return single
    return found


class DualNumbers:
    """The number system of dual numbers: arrays of dtype object."""

    def at(self, dtype: Any) -> DualNumbers:
        return self

    def number(self, array: Any) -> Array:
        return _each(lambda x: x if isinstance(x, Dual) else Dual(_plain(x)), np.asarray(array))

    def given(self, data: Any) -> Array:
        return _each(lambda x: x.value if isinstance(x, Dual) else _plain(x), np.asarray(data))

    def constant(self, value: Real, *, given: bool = False) -> Array:
        return _each(lambda x: value if given else Dual(value), np.zeros((), object))

    def add(self, left: Array, right: Array) -> Array:
        return _each(lambda a, b: a + b, left, right)

    def multiply(self, left: Array, right: Array) -> Array:
        return _each(lambda a, b: a * b, left, right)

    def negative(self, operand: Array) -> Array:
        return _each(lambda a: -a, operand)

    def divide(self, left: Array, right: Array) -> Array:
        return _each(lambda a, b: dual(a) / b, left, right)

    def floor_divide(self, left: Array, right: Array) -> Array:
        return _each(lambda a, b: Dual(dual(a).value // dual(b).value), left, right)

    def remainder(self, left: Array, right: Array) -> Array:
        def rest(a: Any, b: Any) -> Dual:
            a, b = dual(a), dual(b)
            return Dual(a.value % b.value, a.slope - (a.value // b.value) * b.slope)

        return _each(rest, left, right)

    def power(self, base: Array, exponent: Array) -> Array:
        return _each(lambda a, b: _power(dual(a), dual(b)), base, exponent)

    def apply(self, function: str, *arrays: Array) -> Array:
        if function == "maximum":
            return _each(lambda a, b: _largest(dual(a), dual(b)), *arrays)
        if function == "minimum":
            return _each(lambda a, b: -_largest(-dual(a), -dual(b)), *arrays)
        return _each(lambda a: _function(function, dual(a)), *arrays)

    def reduce(self, op: str, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        array, mask = np.broadcast_arrays(array, mask)
        axes = tuple(axis % array.ndim for axis in axes)
        kept = [axis for axis in range(array.ndim) if axis not in axes]
        shape = tuple(array.shape[axis] for axis in kept)
        rows = array.transpose(*kept, *axes).reshape(math.prod(shape), -1 if array.size else 0)
        masks = mask.transpose(*kept, *axes).reshape(rows.shape)
        result = np.empty(len(rows), object)
        for k, (row, inside) in enumerate(zip(rows, masks, strict=True)):
            result[k] = _folded([dual(d) for d, m in zip(row, inside, strict=True) if m], op)
        return result.reshape(shape)

    def softmax(self, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        array, mask = np.broadcast_arrays(array, mask)
        total = self.reduce("logsumexp", array, mask, axes)
        total = np.expand_dims(total, tuple(axis % array.ndim for axis in axes))
        weigh = lambda d, t, m: _function("exp", dual(d) - t) if m else Dual(0)  # noqa: E731
        return _each(weigh, array, total, mask)

    def finite(self, array: Array) -> bool:
        return True

    def settle(self, array: Array) -> Array:
        return array


def _plain(x: Any) -> Real:
    return x if isinstance(x, int | Fraction | float) and not isinstance(x, bool | np.generic) else _native(x)


def _native(x: Any) -> Real:
    return int(x) if isinstance(x, bool | np.bool_ | np.integer) else float(x)


def slopes(
    program: Program, inputs: Mapping[str, Array], along: Mapping[str, Array], sizes: Mapping[str, int]
) -> dict[str, Array]:
    """The derivative of every output along a direction of the inputs, as an array of numbers."""
    given = {
        name: _each(lambda x, t: Dual(_plain(x), _plain(t)), x, along[name]) if name in along else x
        for name, x in inputs.items()
    }
    outputs = evaluate(program, given, sizes, DualNumbers())  # type: ignore[arg-type]
    return {name: _each(lambda d: dual(d).slope, array) for name, array in outputs.items()}
