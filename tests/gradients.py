"""Checking a gradient program against the definition of the program it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np

import tensorc
from tensorc.backends.reference import evaluate
from tensorc.exact import RATIONAL
from tensorc.ir import Call, Pow, Program, Reduce, Softmax, reads, walk
from tensorc.numbers import FLOAT, Array
from tensorc.sampling import roles
from tests.duals import RATIONAL as EXACT_FUNCTIONS
from tests.duals import slopes

SMALL = {"d": 2, "e": 3, "m": 4, "h": 2, "g": 2, "r": 2}
EXACT = (*EXACT_FUNCTIONS, "maximum", "minimum")


def is_rational(program: Program) -> bool:
    """Whether the program has only operations that are exact on fractions."""
    nodes = [n for e in program.equations for n in walk(e.body)]
    return all(
        n.function in EXACT if isinstance(n, Call) else n.op != "logsumexp" if isinstance(n, Reduce) else True
        for n in nodes
    ) and not any(isinstance(n, Softmax) or (isinstance(n, Pow) and reads(n.exponent)) for n in nodes)


def assert_gradient(text: str | Program, lengths: tuple[int, ...] = (4, 1), seed: int = 0) -> Program:
    """Compare a program's gradient with dual numbers along random directions: exactly where the program is
    rational, else in float64. Returns the gradient; it must print as text that parses to it."""
    program = tensorc.parse(text) if isinstance(text, str) else text
    gradient = tensorc.grad(program)
    assert tensorc.parse(str(gradient)) == gradient, str(gradient)
    for length in lengths:
        case = Case(program, gradient, length, seed + length)
        case.check()
    return gradient


class Case:
    """Random inputs, a direction for each, and weights of the outputs."""

    def __init__(self, program: Program, gradient: Program, length: int, seed: int) -> None:
        self.program, self.gradient = program, gradient
        self.random = Random(seed)
        self.exact = is_rational(program)
        self.sizes = {n: SMALL.get(n, 3) for n in program.sizes()} | dict(program.defaults)
        self.sizes |= {"n": length} if "n" in self.sizes else {}
        parts = roles(program)
        self.inputs = {d.name: self._draw(parts[d.name][0], self._shape(d)) for d in program.inputs}
        self.weights = {f"grad_{d.name}": self._numbers(self._shape(d)) for d in program.outputs}

    def _shape(self, decl: Any) -> tuple[int, ...]:
        return tuple(a.value(self.sizes) for a in decl.axes)

    def _draw(self, role: str, shape: tuple[int, ...]) -> Array:
        if role == "segment":
            return np.cumsum([self.random.randrange(2) for _ in range(int(np.prod(shape)))]).reshape(shape)
        if role in ("data", "flag"):
            return self._filled(shape, lambda: self.random.choice((0, 1, 2)))
        if role == "gate":
            return self._filled(shape, lambda: self._number(0.4, 1.1))
        return self._numbers(shape)

    def _number(self, low: float = -1.5, high: float = 1.5) -> Any:
        if self.exact:
            return Fraction(self.random.randint(int(low * 60), int(high * 60)), 60)
        return self.random.uniform(low, high)

    def _numbers(self, shape: tuple[int, ...]) -> Array:
        return self._filled(shape, self._number)

    def _filled(self, shape: tuple[int, ...], draw: Any) -> Array:
        array = np.empty(shape, object)
        for at in np.ndindex(shape):
            array[at] = draw()
        return array

    def check(self) -> None:
        """Compare <gradient, direction> with the slope along the direction, one input at a time."""
        found = self.of_gradient()
        for decl in self.program.inputs:
            shape = self._shape(decl)
            along = self._numbers(shape)
            rates = slopes(self.program, self.inputs, {decl.name: along}, self.sizes)
            expected = sum(_dot(self.weights[f"grad_{name}"], rate) for name, rate in rates.items())
            grad = found.get(f"grad_{decl.name}")
            got = 0 if grad is None else _dot(grad, along)
            self._compare(decl.name, got, expected)

    def of_gradient(self) -> Mapping[str, Array]:
        """The gradient program by the definition."""
        given = {**self.inputs, **self.weights}
        if self.exact:
            return evaluate(self.gradient, given, self.sizes, RATIONAL)
        floats = {k: np.asarray(x, np.float64) for k, x in given.items()}
        return evaluate(self.gradient, floats, self.sizes, FLOAT)

    def _compare(self, name: str, got: Any, expected: Any) -> None:
        place = f"by {name} at {self.sizes}:\n{self.program}\n{self.gradient}"
        if not np.isfinite(float(expected)):
            return  # the program itself is undefined there
        if self.exact:
            assert got == expected, f"{got} instead of {expected} {place}"
        else:
            scale = 1 + abs(float(expected))
            assert abs(float(got) - float(expected)) <= 1e-9 * scale, f"{got} instead of {expected} {place}"


def _dot(a: Array, b: Array) -> Any:
    return sum((x * y for x, y in zip(a.flat, b.flat, strict=True)), 0)
