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
from tensorc.exact_elements import (
    ADD,
    DIVIDE,
    EXACT_FUNCTIONS,
    FLOOR,
    FOLDS,
    INF,
    LARGEST_EXPONENT,
    MULTIPLY,
    NAN,
    REMAINDER,
    as_exact,
    as_object,
    native,
    power,
    same,
)
from tensorc.numbers import FLOAT, Array, Numbers
from tensorc.sampling import random_inputs

__all__ = [
    "FLOAT",
    "RATIONAL",
    "Array",
    "Exact",
    "Numbers",
    "RescaleNeeded",
    "ResampleNeeded",
    "as_exact",
    "random_inputs",
    "rescaled",
    "same",
]

T = TypeVar("T")
_quiet = np.errstate(all="ignore")


class RescaleNeeded(Exception):
    """exp met an argument that `scale` does not make an integer: evaluate again, with a scale that
    `denominator` divides."""

    def __init__(self, denominator: int) -> None:
        number = str(denominator) if denominator.bit_length() < 64 else "a very long number"
        super().__init__(f"exp needs a scale that {number} divides")
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
        self._long = False  # whether a number was too long to be computed
        self._maps: dict[tuple[str, ...], int] = {}

    def at(self, dtype: np.dtype[Any]) -> Numbers:
        return self

    def number(self, array: Any) -> Array:
        return as_exact(array)

    def given(self, data: Any) -> Array:
        return as_exact(data)

    def constant(self, value: int | Fraction, *, given: bool = False) -> Array:
        return as_object(value)

    @_quiet
    def add(self, left: Array, right: Array) -> Array:
        return as_object(native(np.add, ADD, left, right))

    @_quiet
    def multiply(self, left: Array, right: Array) -> Array:
        return as_object(native(np.multiply, MULTIPLY, left, right))

    def negative(self, operand: Array) -> Array:
        return as_object(np.negative(operand))

    @_quiet
    def divide(self, left: Array, right: Array) -> Array:
        return as_object(DIVIDE(left, right))

    @_quiet
    def floor_divide(self, left: Array, right: Array) -> Array:
        return as_object(FLOOR(left, right))

    @_quiet
    def remainder(self, left: Array, right: Array) -> Array:
        return as_object(REMAINDER(left, right))

    @_quiet
    def power(self, base: Array, exponent: Array) -> Array:
        """Integer powers are exact; others are a pseudo-random map of base and exponent."""
        return as_object(np.frompyfunc(self._power, 2, 1)(base, exponent))

    @_quiet
    def apply(self, function: str, *arrays: Array) -> Array:
        arrays = tuple(map(as_exact, arrays))
        if function in EXACT_FUNCTIONS:
            return as_object(EXACT_FUNCTIONS[function](*arrays))
        if function == "exp":
            return self.exp(arrays[0])
        return as_object(np.frompyfunc(lambda *values: self.map(function, *values), len(arrays), 1)(*arrays))

    def exp(self, array: Array) -> Array:
        """2 ** (scale * a). Raises `RescaleNeeded` where that is no integer exponent."""
        self._need_seed("exp")
        scaled = [x * self.scale for x in array.flat if not isinstance(x, float)]
        wanted = math.lcm(*(x.denominator for x in scaled))
        if wanted != 1:
            raise RescaleNeeded(self.scale * wanted)
        return as_object(np.frompyfunc(self._exp, 1, 1)(array))

    def map(self, function: str, *values: Any) -> Any:
        """The pseudo-random value of a function: a nonzero integer, the same for the same arguments."""
        if any(x != x for x in values):
            return NAN
        if function == "log" and values[0] == 0:
            return -INF
        self._need_seed(function)
        key = (function, *map(_text, values))
        found = self._maps.get(key)
        if found is None:
            digest = blake2b(repr((self.seed, key)).encode(), digest_size=8).digest()
            number = int.from_bytes(digest, "big") % 14 - 7
            found = self._maps[key] = number if number < 0 else number + 1
        return found

    @_quiet
    def reduce(self, op: str, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        """Like a float reduction; logsumexp is the map `log` of the exact sum of 2 ** (scale * a), so that
        the same sum found block by block gives the same value."""
        if op == "mean":
            count = np.broadcast_to(mask, np.broadcast_shapes(mask.shape, array.shape)).sum(axis=axes)
            return self.divide(self.reduce("sum", array, mask, axes), as_exact(count))
        if op == "logsumexp":
            powers = self.exp(as_object(np.where(mask, array, -INF)))
            return self.apply("log", self._fold("sum", powers, axes))
        return self._fold(op, as_object(np.where(mask, array, as_object(FOLDS[op][2]))), axes)

    def _fold(self, op: str, array: Array, axes: tuple[int, ...]) -> Array:
        """Reduce several axes as one, with an operation that is safe for long numbers beside infinities."""
        axes = tuple(axis % array.ndim for axis in axes)
        kept = [axis for axis in range(array.ndim) if axis not in axes]
        together = math.prod(array.shape[axis] for axis in axes)
        flat = array.transpose(*kept, *axes).reshape(*(array.shape[axis] for axis in kept), together)
        ufunc, safe, start = FOLDS[op]
        try:
            return as_object(ufunc.reduce(flat, axis=-1, initial=start))
        except OverflowError:
            return as_object(safe.reduce(flat, axis=-1, initial=start))

    @_quiet
    def softmax(self, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        """Exact: 2 ** (scale * a) over its sum. 0 outside the mask, and everywhere if it is empty."""
        powers = self.exp(as_object(np.where(mask, array, -INF)))
        shape = tuple(1 if axis in axes else length for axis, length in enumerate(powers.shape))
        total = self._fold("sum", powers, axes).reshape(shape)
        return as_object(np.where(mask, self.divide(powers, total), as_object(0)))

    def finite(self, array: Array) -> bool:
        return not any(isinstance(x, float) and not math.isfinite(x) for x in array.flat)

    def settle(self, array: Array) -> Array:
        """The result itself; raises `ResampleNeeded` if an element is undefined and must not be, or may
        be so only because a number was too long."""
        if self.undefined == "resample" or self._long:
            if any(isinstance(x, float) and x != x for x in array.flat):
                raise ResampleNeeded("a result is undefined: a zero denominator, or too long a number")
        return array

    def _exp(self, value: Any) -> Any:
        if isinstance(value, float):
            return 0 if value == -INF else value
        exponent = int(value * self.scale)
        if abs(exponent) > LARGEST_EXPONENT:
            self._long = True
            return NAN
        return 1 << exponent if exponent >= 0 else Fraction(1, 1 << -exponent)

    def _power(self, base: Any, exponent: Any) -> Any:
        if isinstance(exponent, Fraction) and exponent.denominator != 1:
            return self.map("**", base, exponent)
        result = power(base, exponent)
        self._long |= result != result and base == base and base != 0
        return result

    def _need_seed(self, function: str) -> None:
        if self.seed is None:
            raise TensorcError(
                f"{function} has no exact value: exact inputs (dtype object) allow + - * / ** and "
                "comparisons. Pass floats."
            )


RATIONAL = Exact(None, undefined="keep")


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


def _text(value: Any) -> str:
    """A number as text, however long: hexadecimal has no limit."""
    return str(value) if isinstance(value, float) else f"{value.numerator:x}/{value.denominator:x}"
