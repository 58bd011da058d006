"""Elements of exact arrays: Python ints, Fractions, and float infinities and NaN where nothing else fits.

Each operation is a ufunc over object arrays. Two rationals combine exactly; beside an infinity or NaN the
result is what floats give, without ever turning a long number into a float.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from tensorc.numbers import Array

NAN, INF = math.nan, math.inf
LARGEST_EXPONENT = 1 << 14  # in bits: longer numbers are not worth their time


def as_exact(data: Any) -> Array:
    """An array of Python ints and Fractions; floats become the fraction that they are exactly."""
    array: Array = np.asarray(data)
    if array.dtype.kind in "bui":
        return (array.astype(np.int64) if array.dtype.kind == "b" else array).astype(object)
    if array.dtype.kind == "f" or not all(type(x) in (int, Fraction) for x in array.flat):
        return as_object(_CONVERT(array))
    return array


def same(left: Any, right: Any) -> Array:
    """Where two exact arrays agree; undefined elements agree with each other."""
    return np.asarray(SAME(as_exact(left), as_exact(right)), dtype=bool)


def as_object(value: Any) -> Array:
    """An object array, also of what NumPy made a plain Python number."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind == "O" else value.astype(object)
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def short(value: Any) -> Any:
    """An int where it is one: faster, and its repr is shorter."""
    return value.numerator if value.denominator == 1 else value


def _convert(value: Any) -> Any:
    if isinstance(value, (bool, int, np.integer, np.bool_)):
        return int(value)
    if isinstance(value, Fraction):
        return value
    value = float(value)
    return short(Fraction(value)) if math.isfinite(value) else value


def _special(value: Any) -> float:
    """A float with the sign of the value, or the infinity or NaN that it is: enough for operations with
    an infinity, and never too long for a float."""
    return value if isinstance(value, float) else float((value > 0) - (value < 0))


def _either(operation: Callable[[Any, Any], Any]) -> np.ufunc:
    """An elementwise operation: exact for two rationals, as floats do it beside an infinity or NaN."""

    def safe(left: Any, right: Any) -> Any:
        if isinstance(left, float) or isinstance(right, float):
            left, right = _special(left), _special(right)
        try:
            result = operation(left, right)
        except ZeroDivisionError:
            return NAN
        return _convert(result) if isinstance(result, float) else result

    ufunc: np.ufunc = np.frompyfunc(safe, 2, 1)
    return ufunc


def _quotient(left: Any, right: Any) -> Any:
    return left / right if isinstance(left, float) else short(Fraction(left) / right)


def _largest(left: Any, right: Any) -> Any:
    return left if left != left or left >= right else right


def _smallest(left: Any, right: Any) -> Any:
    return left if left != left or left <= right else right


def _infinite_power(base: Any, exponent: Any) -> Any:
    """A power of an infinity; what has no clear value is undefined."""
    if exponent == 0 or base != base or isinstance(exponent, float) or exponent.denominator != 1:
        return 1 if exponent == 0 else NAN
    if exponent < 0:
        return 0
    return base if exponent % 2 else INF


def power(base: Any, exponent: Any) -> Any:
    """An integer power of a rational; undefined if the result would be too long."""
    if isinstance(base, float) or isinstance(exponent, float):
        return _infinite_power(base, exponent)
    exponent = int(exponent)
    if base == 0 and exponent < 0:
        return NAN
    if base in (0, 1, -1):
        return 1 if exponent % 2 == 0 and (base or exponent == 0) else base
    bits = max(abs(base.numerator), base.denominator).bit_length() - 1
    return NAN if abs(exponent) * bits > LARGEST_EXPONENT else short(Fraction(base) ** exponent)


def native(fast: np.ufunc, safe: np.ufunc, left: Array, right: Array) -> Any:
    """NumPy's own loop; the safe one where a long number meets an infinity."""
    try:
        return fast(left, right)
    except OverflowError:
        return safe(left, right)


_CONVERT = np.frompyfunc(_convert, 1, 1)
ADD = _either(lambda a, b: a + b)
MULTIPLY = _either(lambda a, b: a * b)
DIVIDE = _either(_quotient)
FLOOR = _either(lambda a, b: a // b)
REMAINDER = _either(lambda a, b: NAN if isinstance(a, float) else a % b)
MAXIMUM = np.frompyfunc(_largest, 2, 1)
MINIMUM = np.frompyfunc(_smallest, 2, 1)
SAME = np.frompyfunc(lambda a, b: a == b or (a != a and b != b), 2, 1)
EXACT_FUNCTIONS: dict[str, np.ufunc] = {
    "abs": np.frompyfunc(abs, 1, 1),
    "sign": np.frompyfunc(lambda a: a if a != a else (a > 0) - (a < 0), 1, 1),
    "relu": np.frompyfunc(lambda a: _largest(a, 0), 1, 1),
    "maximum": MAXIMUM,
    "minimum": MINIMUM,
}
FOLDS: dict[str, tuple[np.ufunc, np.ufunc, Any]] = {
    "sum": (np.add, ADD, 0),
    "prod": (np.multiply, MULTIPLY, 1),
    "max": (MAXIMUM, MAXIMUM, -INF),
    "min": (MINIMUM, MINIMUM, INF),
}
