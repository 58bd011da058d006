"""The arithmetic an interpreter needs, with floats or with exact numbers in its place.

`Numbers` is what the definition and the steps of a plan are evaluated with: `FLOAT` is NumPy's own
arithmetic, `tensorc.exact.Exact` computes with integers and fractions. Both work on arrays of any shape
and broadcast as NumPy does; addition, products and contractions of finite values may also be written with
NumPy's operators and `einsum`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Numbers(Protocol):
    """A number system. A reduction takes the axes to reduce and a mask of where elements take part."""

    def at(self, dtype: np.dtype[Any]) -> Numbers:
        """This system for inputs that compute in `dtype`."""

    def number(self, array: Any) -> Array:
        """Data as numbers to compute with."""

    def given(self, data: Any) -> Array:
        """Data with the values as given, for conditions: integers stay integers."""

    def constant(self, value: int | Fraction, *, given: bool = False) -> Array:
        """A number of the program as a 0-d array."""

    def add(self, left: Array, right: Array) -> Array: ...
    def multiply(self, left: Array, right: Array) -> Array: ...
    def negative(self, operand: Array) -> Array: ...
    def divide(self, left: Array, right: Array) -> Array: ...
    def floor_divide(self, left: Array, right: Array) -> Array: ...
    def remainder(self, left: Array, right: Array) -> Array: ...
    def power(self, base: Array, exponent: Array) -> Array: ...

    def apply(self, function: str, *arrays: Array) -> Array:
        """A function of `tensorc.ir.FUNCTIONS`, elementwise."""

    def reduce(self, op: str, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        """sum, prod, max, min, mean or logsumexp over `axes` where `mask` holds."""

    def softmax(self, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        """exp over its sum along `axes` where `mask` holds, else 0."""

    def finite(self, array: Array) -> bool:
        """Whether no element is infinite or undefined."""

    def settle(self, array: Array) -> Array:
        """A result on its way out."""


@dataclass(frozen=True)
class Float:
    """NumPy's arithmetic in one floating dtype. `FLOAT` is an instance; `at` gives those of other dtypes.

    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> FLOAT.reduce("sum", x, np.array([[True, False], [True, True]]), (1,))
    array([1., 7.])
    >>> FLOAT.softmax(x, np.array([[True, False], [False, False]]), (1,))
    array([[1., 0.],
           [0., 0.]])
    """

    dtype: np.dtype[Any] = np.dtype(np.float64)

    def at(self, dtype: np.dtype[Any]) -> Numbers:
        if dtype.kind == "O":
            from tensorc.exact import RATIONAL

            return RATIONAL
        return Float(dtype)

    def number(self, array: Any) -> Array:
        return np.asarray(array).astype(self.dtype, copy=False)

    def given(self, data: Any) -> Array:
        array: Array = np.asarray(data)
        if array.dtype.kind in "bi":
            return array.astype(np.int64, copy=False)
        if array.dtype.kind == "u":
            return array.astype(object if array.dtype.itemsize == 8 else np.int64)
        if array.dtype.kind == "f":
            return array.astype(np.result_type(array.dtype, np.float32), copy=False)
        return array

    def constant(self, value: int | Fraction, *, given: bool = False) -> Array:
        if given and isinstance(value, int):
            return np.array(value, np.int64 if abs(value) < 2**31 else object)
        try:
            return np.array(float(value), self.dtype)
        except OverflowError:
            return np.array(math.copysign(math.inf, value), self.dtype)

    def add(self, left: Array, right: Array) -> Array:
        left, right = _wide(left, right, product=False)
        return np.asarray(np.add(left, right))

    def multiply(self, left: Array, right: Array) -> Array:
        left, right = _wide(left, right, product=True)
        return np.asarray(np.multiply(left, right))

    def negative(self, operand: Array) -> Array:
        return np.asarray(np.negative(operand))

    def divide(self, left: Array, right: Array) -> Array:
        return np.asarray(np.true_divide(left, right))

    def floor_divide(self, left: Array, right: Array) -> Array:
        return np.asarray(np.floor_divide(left, self._divisor(right)))

    def remainder(self, left: Array, right: Array) -> Array:
        return np.asarray(np.remainder(left, self._divisor(right)))

    def _divisor(self, array: Array) -> Array:
        """Integer division by 0 gives 0 in NumPy; as floats it is undefined, as it should be."""
        return array.astype(np.float64) if array.dtype.kind in "iO" and bool((array == 0).any()) else array

    def power(self, base: Array, exponent: Array) -> Array:
        return np.asarray(np.power(self.number(base), self.number(exponent)))

    def apply(self, function: str, *arrays: Array) -> Array:
        result = np.asarray(_FUNCTIONS[function](*arrays))
        return result if result.dtype.kind != "O" else result.astype(object)

    @np.errstate(all="ignore")
    def reduce(self, op: str, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        if op == "mean":
            count = np.sum(np.broadcast_to(mask, np.broadcast_shapes(mask.shape, array.shape)), axis=axes)
            return np.asarray(self.reduce("sum", array, mask, axes) / self.number(count))
        if op == "logsumexp":
            top = np.max(np.where(mask, array, -np.inf), axis=axes, initial=-np.inf, keepdims=True)
            top = np.where(np.isfinite(top), top, 0).astype(array.dtype)
            powers = np.where(mask, np.exp(array - top), 0)
            return np.asarray(np.log(np.sum(powers, axis=axes)) + np.squeeze(top, axes))
        ufunc, start = _REDUCTIONS[op]
        kept = np.where(mask, array, array.dtype.type(start))
        return np.asarray(ufunc.reduce(kept, axis=axes, initial=array.dtype.type(start)))

    @np.errstate(all="ignore")
    def softmax(self, array: Array, mask: Array, axes: tuple[int, ...]) -> Array:
        scores = np.where(mask, array, -np.inf).astype(array.dtype)
        top = np.max(scores, axis=axes, initial=-np.inf, keepdims=True).astype(array.dtype)
        powers = np.where(mask, np.exp(scores - top), 0).astype(array.dtype)
        return np.where(mask, powers / np.sum(powers, axis=axes, keepdims=True), 0).astype(array.dtype)

    def finite(self, array: Array) -> bool:
        return array.dtype.kind != "f" or bool(np.isfinite(array).all())

    def settle(self, array: Array) -> Array:
        return array


FLOAT = Float()

_REDUCTIONS: dict[str, tuple[np.ufunc, float]] = {
    "sum": (np.add, 0.0),
    "prod": (np.multiply, 1.0),
    "max": (np.maximum, -np.inf),
    "min": (np.minimum, np.inf),
}


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without an overflow: the exponent is never positive."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small))


def _gelu(x: Array) -> Array:
    """x Φ(x) with the exact normal distribution function."""
    half = np.asarray(_ERFC(-np.asarray(x, np.float64) / math.sqrt(2)), np.float64) / 2
    return np.asarray(x * half).astype(x.dtype)


def _elu(x: Array) -> Array:
    return np.asarray(np.where(x > 0, x, np.expm1(np.minimum(x, 0))))


_ERFC = np.frompyfunc(math.erfc, 1, 1)
_FUNCTIONS: dict[str, Any] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "abs": np.abs,
    "sign": np.sign,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "gelu": _gelu,
    "relu": lambda x: np.maximum(x, x.dtype.type(0) if x.dtype.kind != "O" else 0),
    "elu": _elu,
    "softplus": lambda x: np.logaddexp(x, x.dtype.type(0)),
    "cos": np.cos,
    "sin": np.sin,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def _wide(left: Array, right: Array, product: bool) -> Sequence[Array]:
    """Two operands, as Python integers where 64 bits might not hold the result."""
    if left.dtype.kind != "i" or right.dtype.kind != "i" or not left.size or not right.size:
        return left, right
    high, other = (max(abs(int(a.max())), abs(int(a.min()))) for a in (left, right))
    if (high * other if product else high + other) < 2**62:
        return left, right
    return left.astype(object), right.astype(object)
