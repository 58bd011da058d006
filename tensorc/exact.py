"""Exact numbers: what verification computes with, so that equal means equal.

Arrays have dtype object and hold Python ints and Fractions. Rational operations are exact. A function
without exact values becomes a pseudo-random map of its argument, and exp(a) becomes 2 ** (scale * a),
so that exp(a + b) = exp(a) * exp(b) holds. Infinities and what is undefined (0/0, the mean of nothing)
are Python's float infinities and NaN; they spread as floats do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np

from tensorc.errors import TensorcError
from tensorc.numbers import FLOAT, Array, Numbers
from tensorc.sampling import random_inputs

__all__ = [
    "FLOAT", "RATIONAL", "Array", "Exact", "Numbers", "RescaleNeeded", "ResampleNeeded",
    "as_exact", "random_inputs", "rescaled", "same",
]

T = TypeVar("T")
NAN, INF = math.nan, math.inf
LARGEST_EXPONENT = 1 << 14  # in bits: longer numbers are not worth their time


class RescaleNeeded(Exception):
    """exp met an argument that `scale` does not make an integer: evaluate again, with a scale that
    `denominator` divides."""

    def __init__(self, denominator: int) -> None:
        super().__init__(f"exp needs a scale that {denominator} divides")
        self.denominator = denominator


class ResampleNeeded(Exception):
    """These inputs have no exact result: a denominator is 0 or a number too long. Draw others."""


class Exact:
    """Exact arithmetic; one seed is one choice of the non-linear functions.

    `scale` is the factor of exp's argument. With `undefined="resample"`, a result that holds an undefined
    element raises `ResampleNeeded`; with "keep" it stays NaN, which `same` takes for equal: some programs
    divide by zero whatever their inputs. Without a seed (`RATIONAL`) non-linear functions are errors.

    >>> import numpy as np
    >>> numbers = Exact(seed=0, scale=2)
    >>> a, b = as_exact([1, 2]), as_exact([3, -4])
    >>> numbers.divide(a, b)
    array([Fraction(1, 3), Fraction(-1, 2)], dtype=object)
    >>> exp = numbers.apply("exp", a)
    >>> exp
    array([4, 16], dtype=object)
    >>> bool((numbers.apply("exp", a + b) == exp * numbers.apply("exp", b)).all())
    True
    """

    def __init__(self, seed: int | None, scale: int = 1, *, undefined: str = "resample") -> None:
        self.seed = seed
        self.scale = scale
        self.undefined = undefined
        self._maps: dict[tuple[str, ...], int] = {}

    def at(self, dtype: np.dtype[Any]) -> Numbers:
        return self

    def number(self, array: Any) -> Array:
        return as_exact(array)

    def given(self, data: Any) -> Array:
        return as_exact(data)

    def constant(self, value: int | Fraction, *, given: bool = False) -> Array:
        return _object(value)

    def add(self, left: Array, right: Array) -> Array:
        return _object(_native(np.add, _ADD, left, right))

    def multiply(self, left: Array, right: Array) -> Array:
        return _object(_native(np.multiply, _MULTIPLY, left, right))

    def negative(self, operand: Array) -> Array:
        return _object(np.negative(operand))

    def divide(self, left: Array, right: Array) -> Array:
        return _object(_DIVIDE(left, right))

    def floor_divide(self, left: Array, right: Array) -> Array:
        return _object(_FLOOR(left, right))

    def remainder(self, left: Array, right: Array) -> Array:
        return _object(_REMAINDER(left, right))

    def power(self, base: Array, exponent: Array) -> Array:
        """Integer powers are exact; others are a pseudo-random map of base and exponent."""
        return _object(np.frompyfunc(self._power, 2, 1)(base, exponent))

    def apply(self, function: str, *arrays: Array) -> Array:
        arrays = tuple(map(as_exact, arrays))
        if function in _EXACT_FUNCTIONS:
            return _object(_EXACT_FUNCTIONS[function](*arrays))
        if function == "exp":
            return self.exp(arrays[0])
        return _object(np.frompyfunc(lambda *values: self.map(function, *values), len(arrays), 1)(*arrays))

    def exp(self, array: Array) -> Array:
        """2 ** (scale * a). Raises `RescaleNeeded` where that is no integer exponent."""
        self._need_seed("exp")
        scaled = [x * self.scale for x in array.flat if not isinstance(x, float)]
        wanted = math.lcm(*(x.denominator for x in scaled))
        if wanted != 1:
            raise RescaleNeeded(self.scale * wanted)
        return _object(np.frompyfunc(self._exp, 1, 1)(array))

    def map(self, function: str, *values: Any) -> Any:
        """The pseudo-random value of a function: a nonzero integer, the same for the same arguments."""
        if any(x != x for x in values):
            return NAN
        if function == "log" and values[0] == 0:
            return -INF
        self._need_seed(function)
        key = (function, *(str(x) for x in values))
        found = self._maps.get(key)
        if found is None:
            digest = blake2b(repr((self.seed, key)).encode(), digest_size=8).digest()
            number = int.from_bytes(digest, "big") % 14 - 7
            found = self._maps[key] = number if number < 0 else number + 1
        return found

    def reduce(self, op: str, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        """Like a float reduction; logsumexp is the map `log` of the exact sum of 2 ** (scale * a), so that
        the same sum found block by block gives the same value."""
        if op == "mean":
            count = np.broadcast_to(mask, np.broadcast_shapes(mask.shape, array.shape)).sum(axis=axes)
            return self.divide(self.reduce("sum", array, mask, axes), as_exact(count))
        if op == "logsumexp":
            powers = self.exp(_object(np.where(mask, array, -INF)))
            return self.apply("log", self._fold("sum", powers, axes))
        return self._fold(op, _object(np.where(mask, array, _object(_FOLDS[op][2]))), axes)

    def _fold(self, op: str, array: Array, axes: tuple[int, ...]) -> Array:
        """Reduce several axes as one, with an operation that is safe for long numbers beside infinities."""
        axes = tuple(axis % array.ndim for axis in axes)
        kept = [axis for axis in range(array.ndim) if axis not in axes]
        together = math.prod(array.shape[axis] for axis in axes)
        flat = array.transpose(*kept, *axes).reshape(*(array.shape[axis] for axis in kept), together)
        ufunc, safe, start = _FOLDS[op]
        try:
            return _object(ufunc.reduce(flat, axis=-1, initial=start))
        except OverflowError:
            return _object(safe.reduce(flat, axis=-1, initial=start))

    def softmax(self, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        """Exact: 2 ** (scale * a) over its sum. 0 outside the mask, and everywhere if it is empty."""
        powers = self.exp(_object(np.where(mask, array, -INF)))
        shape = tuple(1 if axis in axes else length for axis, length in enumerate(powers.shape))
        total = self._fold("sum", powers, axes).reshape(shape)
        return _object(np.where(mask, self.divide(powers, total), _object(0)))

    def finite(self, array: Array) -> bool:
        return not any(isinstance(x, float) and not math.isfinite(x) for x in array.flat)

    def settle(self, array: Array) -> Array:
        """The result itself; raises `ResampleNeeded` if an element is undefined and must not be."""
        if self.undefined == "resample" and any(isinstance(x, float) and x != x for x in array.flat):
            raise ResampleNeeded("a result is undefined: a zero denominator, or too large a number")
        return array

    def _exp(self, value: Any) -> Any:
        if isinstance(value, float):
            return 0 if value == -INF else value
        exponent = int(value * self.scale)
        if abs(exponent) > LARGEST_EXPONENT:
            return NAN
        return 1 << exponent if exponent >= 0 else Fraction(1, 1 << -exponent)

    def _power(self, base: Any, exponent: Any) -> Any:
        if isinstance(base, float) or isinstance(exponent, float):
            return _infinite_power(base, exponent)
        if exponent.denominator != 1:
            return self.map("**", base, exponent)
        if base == 0 and exponent < 0:
            return NAN
        bits = max(abs(base.numerator), base.denominator).bit_length() - 1
        if abs(exponent) * bits > LARGEST_EXPONENT:
            return NAN
        return _short(Fraction(base) ** int(exponent)) if bits else _unit_power(base, int(exponent))

    def _need_seed(self, function: str) -> None:
        if self.seed is None:
            raise TensorcError(
                f"{function} has no exact value: exact inputs (dtype object) allow + - * / ** and "
                "comparisons. Pass floats."
            )


RATIONAL = Exact(None, undefined="keep")


def as_exact(data: Any) -> Array:
    """An array of Python ints and Fractions; floats become the fraction that they are exactly."""
    array: Array = np.asarray(data)
    if array.dtype.kind in "bui":
        return (array.astype(np.int64) if array.dtype.kind == "b" else array).astype(object)
    if array.dtype.kind == "f" or not all(type(x) in (int, Fraction) for x in array.flat):
        return _object(_CONVERT(array))
    return array


def same(left: Any, right: Any) -> Array:
    """Where two exact arrays agree; undefined elements agree with each other."""
    return np.asarray(_SAME(as_exact(left), as_exact(right)), dtype=bool)


def rescaled(run: Callable[[Exact], T], seed: int, *, undefined: str = "resample", attempts: int = 8) -> T:
    """`run` with the smallest scale that makes all its exponents integers.

    Everything that is to be compared must happen in one `run`: another scale is another exp. Raises
    `ResampleNeeded` when the scale keeps growing.
    """
    scale = 1
    for _ in range(attempts):
        try:
            return run(Exact(seed, scale, undefined=undefined))
        except RescaleNeeded as needed:
            scale = math.lcm(scale, needed.denominator)
    raise ResampleNeeded(f"the arguments of exp have no common denominator up to {scale}")


def _object(value: Any) -> Array:
    """An object array, also of what NumPy made a plain Python number."""
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind == "O" else value.astype(object)
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def _short(value: Any) -> Any:
    """An int where it is one: faster, and its repr is shorter."""
    return value.numerator if value.denominator == 1 else value


def _convert(value: Any) -> Any:
    if isinstance(value, (bool, int, np.integer, np.bool_)):
        return int(value)
    if isinstance(value, Fraction):
        return value
    value = float(value)
    return _short(Fraction(value)) if math.isfinite(value) else value


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
    return left / right if isinstance(left, float) else _short(Fraction(left) / right)


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


def _unit_power(base: Any, exponent: int) -> Any:
    """A power of 0, 1 or -1, however large the exponent."""
    return 1 if exponent == 0 or base == 1 or (base == -1 and exponent % 2 == 0) else base


def _native(fast: np.ufunc, safe: np.ufunc, left: Array, right: Array) -> Any:
    """NumPy's own loop; the safe one where a long number meets an infinity."""
    try:
        return fast(left, right)
    except OverflowError:
        return safe(left, right)


_CONVERT = np.frompyfunc(_convert, 1, 1)
_ADD = _either(lambda a, b: a + b)
_MULTIPLY = _either(lambda a, b: a * b)
_DIVIDE = _either(_quotient)
_FLOOR = _either(lambda a, b: a // b)
_REMAINDER = _either(lambda a, b: NAN if isinstance(a, float) else a % b)
_MAXIMUM = np.frompyfunc(_largest, 2, 1)
_MINIMUM = np.frompyfunc(_smallest, 2, 1)
_SAME = np.frompyfunc(lambda a, b: a == b or (a != a and b != b), 2, 1)
_EXACT_FUNCTIONS: dict[str, np.ufunc] = {
    "abs": np.frompyfunc(abs, 1, 1),
    "sign": np.frompyfunc(lambda a: a if a != a else (a > 0) - (a < 0), 1, 1),
    "relu": np.frompyfunc(lambda a: _largest(a, 0), 1, 1),
    "maximum": _MAXIMUM,
    "minimum": _MINIMUM,
}
_FOLDS: dict[str, tuple[np.ufunc, np.ufunc, Any]] = {
    "sum": (np.add, _ADD, 0),
    "prod": (np.multiply, _MULTIPLY, 1),
    "max": (_MAXIMUM, _MAXIMUM, -INF),
    "min": (_MINIMUM, _MINIMUM, INF),
}
