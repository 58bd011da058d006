"""Evaluation of one expression: every node of the IR as the language defines it.

Nodes are visited by generators that a loop drives, so that a program of ten thousand terms needs no deep
Python stack. Where a body is not evaluated (outside a domain, in the other branch of `where`), its values
are computed all the same but never selected: they cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tensorc.backends.reference_products import (
    check_constant,
    divide,
    gather,
    merge_sums,
    outside,
    product_parts,
)
from tensorc.backends.reference_values import Env, Value, align, contract, multiply, reduce, softmax
from tensorc.ir import (
    Add,
    And,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Extent,
    FloorDiv,
    Index,
    Iverson,
    Mod,
    Mul,
    Neg,
    Node,
    Not,
    Or,
    Pow,
    Read,
    Reduce,
    Size,
    Softmax,
    Where,
    conjuncts,
)
from tensorc.numbers import FLOAT, Array, Numbers

# What a value is wanted for: to compute with, to compare (data as given), or as a subscript (integers).
NUMBER, GIVEN, SUBSCRIPT = "number", "given", "subscript"
_KEEP_GIVEN = ("abs", "sign", "relu", "maximum", "minimum")
_COMPARE: dict[str, Callable[[Array, Array], Any]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
    "==": np.equal, "!=": np.not_equal,
}  # fmt: skip

Visit: TypeAlias = Generator[tuple[Node, Env, str], Value, Value]


class Evaluator:
    """Evaluates expressions over `tensors` (arithmetic dtype) and `given` (inputs as they came).

    Arrays have shape batch + axes, where `axes[name]` are the lengths; results of equations are added to
    `tensors` as they come.
    """

    def __init__(
        self,
        numbers: Numbers,
        sizes: Mapping[str, int],
        tensors: dict[str, Array],
        given: Mapping[str, Array],
        axes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self.numbers = numbers
        self.sizes = sizes
        self.tensors = tensors
        self.given = given
        self.axes = axes
        self._ranges: dict[int, np.ndarray[Any, np.dtype[np.int64]]] = {}

    def positions(self, extent: Extent) -> np.ndarray[Any, np.dtype[np.int64]]:
        """All the positions of an axis."""
        length = extent.value(self.sizes)
        if length not in self._ranges:
            self._ranges[length] = np.arange(length)
        return self._ranges[length]

    def ranges(self, binds: Sequence[Bind]) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
        """The full range of each index."""
        return {bind.name: self.positions(bind.extent) for bind in binds}

    def evaluate(self, node: Node, env: Env, mode: str = NUMBER) -> Value:
        """The value of an expression, or of a condition as booleans, for the positions in `env`."""
        stack = [self._visit(node, env, mode)]
        result: Value | None = None
        while stack:
            try:
                child = stack[-1].send(result)  # type: ignore[arg-type]
            except StopIteration as stop:
                stack.pop()
                result = stop.value
            else:
                stack.append(self._visit(*child))
                result = None
        assert result is not None
        return result

    def _visit(self, node: Node, env: Env, mode: str) -> Visit:
        return _VISITS[type(node)](self, node, env, mode)

    def _numbers(self, mode: str) -> Numbers:
        return FLOAT if mode == SUBSCRIPT else self.numbers

    def _const(self, node: Const, env: Env, mode: str) -> Visit:
        yield from ()
        return Value((), self._numbers(mode).constant(node.value, given=mode != NUMBER))

    def _size(self, node: Size, env: Env, mode: str) -> Visit:
        yield from ()
        return Value((), self._numbers(mode).constant(self.sizes[node.name], given=mode != NUMBER))

    def _index(self, node: Index, env: Env, mode: str) -> Visit:
        yield from ()
        numbers, positions = self._numbers(mode), env[node.name]
        return Value((node.name,), numbers.number(positions) if mode == NUMBER else numbers.given(positions))

    def _read(self, node: Read, env: Env, mode: str) -> Visit:
        source = self.given if mode != NUMBER and node.tensor in self.given else self.tensors
        array, lengths = source[node.tensor], self.axes[node.tensor]
        plain = [s.name for s in node.subscripts if isinstance(s, Index)]
        if len({*plain}) == len(lengths) and all(
            len(env[name]) == length and (length != 1 or env[name][0] == 0)
            for name, length in zip(plain, lengths, strict=True)
        ):
            return Value(tuple(plain), array)
        subscripts = []
        for number, subscript in enumerate(node.subscripts):
            value = yield subscript, env, SUBSCRIPT
            subscripts.append(value)
            if not value.indices and all(len(r) for r in env.values()):
                check_constant(node, number, int(value.array), lengths[number])
        return gather(array, lengths, subscripts)

    def _negative(self, node: Neg, env: Env, mode: str) -> Visit:
        value = yield node.operand, env, mode
        return Value(value.indices, self._numbers(mode).negative(value.array), value.support)

    def _add(self, node: Add, env: Env, mode: str) -> Visit:
        total = yield node.terms[0], env, mode
        for term in node.terms[1:]:
            value = yield term, env, mode
            indices, (left, right) = align([total, value])
            total = Value(indices, self._numbers(mode).add(left, right))
        return Value(total.indices, total.array)

    def _multiply(self, node: Mul, env: Env, mode: str) -> Visit:
        factors = []
        for factor in node.factors:
            factors.append((yield factor, env, mode))
        return multiply(self._numbers(mode), factors)

    def _divide(self, node: Div, env: Env, mode: str) -> Visit:
        numerator = yield node.numerator, env, mode
        denominator = yield node.denominator, env, mode
        return divide(self._numbers(mode), numerator, denominator)

    def _floor(self, node: FloorDiv | Mod, env: Env, mode: str) -> Visit:
        left = yield node.numerator, env, mode
        right = yield node.denominator, env, mode
        indices, arrays = align([left, right])
        numbers = self._numbers(mode)
        operation = numbers.floor_divide if isinstance(node, FloorDiv) else numbers.remainder
        return Value(indices, operation(*arrays))

    def _power(self, node: Pow, env: Env, mode: str) -> Visit:
        base = yield node.base, env, NUMBER
        exponent = yield node.exponent, env, NUMBER
        indices, arrays = align([base, exponent])
        return Value(indices, self.numbers.power(*arrays))

    def _call(self, node: Call, env: Env, mode: str) -> Visit:
        mode = mode if node.function in _KEEP_GIVEN else NUMBER
        values = []
        for argument in node.arguments:
            values.append((yield argument, env, mode))
        indices, arrays = align(values)
        return Value(indices, self._numbers(mode).apply(node.function, *arrays))

    def _iverson(self, node: Iverson, env: Env, mode: str) -> Visit:
        support = yield node.condition, env, GIVEN
        return Value(support.indices, self.numbers.number(support.array), support)

    def _where(self, node: Where, env: Env, mode: str) -> Visit:
        condition = yield node.condition, env, GIVEN
        then = yield node.then, env, NUMBER
        otherwise = yield node.otherwise, env, NUMBER
        indices, (mask, left, right) = align([condition, then, otherwise])
        return Value(indices, np.where(mask, left, right))

    def _compare(self, node: Compare, env: Env, mode: str) -> Visit:
        left = yield node.left, env, GIVEN
        right = yield node.right, env, GIVEN
        indices, arrays = align([left, right])
        return Value(indices, np.asarray(_COMPARE[node.op](*arrays), bool))

    def _and(self, node: And | Or, env: Env, mode: str) -> Visit:
        result = yield node.parts[0], env, mode
        for part in node.parts[1:]:
            indices, (left, right) = align([result, (yield part, env, mode)])
            result = Value(indices, left & right if isinstance(node, And) else left | right)
        return result

    def _not(self, node: Not, env: Env, mode: str) -> Visit:
        value = yield node.part, env, mode
        return Value(value.indices, ~value.array)

    def _masks(self, conditions: Sequence[Cond], env: Env) -> Generator[Any, Value, list[Value]]:
        """One mask for each condition that must hold."""
        masks = []
        for condition in conjuncts(conditions):
            masks.append((yield condition, env, GIVEN))
        return masks

    def _reduce(self, node: Reduce, env: Env, mode: str) -> Visit:
        if node.op == "sum":
            return (yield from self._sum(node, env))
        inner = {**env, **self.ranges(node.binds)}
        masks = yield from self._masks(node.domain, inner)
        body = yield node.body, inner, NUMBER
        return reduce(self.numbers, node.op, body, masks, [b.name for b in node.binds], inner)

    def _sum(self, node: Reduce, env: Env) -> Visit:
        """A sum of a product is contracted factor by factor."""
        binds, domain, body = merge_sums(node, env)
        inner, bound = {**env, **self.ranges(binds)}, [bind.name for bind in binds]
        negative, factors, conditions, divisors = product_parts(body)
        denominators = []
        for divisor in divisors:
            denominators.append((yield divisor, inner, NUMBER))
        if not all(outside(self.numbers, value, bound) for value in denominators):
            negative, factors, conditions, denominators = False, [body], [], []
        masks = yield from self._masks([*domain, *conditions], inner)
        values = []
        for factor in factors:
            values.append((yield factor, inner, NUMBER))
        result = contract(self.numbers, values, masks, bound, inner)
        for denominator in denominators:
            result = divide(self.numbers, result, denominator)
        return Value(result.indices, self.numbers.negative(result.array)) if negative else result

    def _softmax(self, node: Softmax, env: Env, mode: str) -> Visit:
        inner, over = {**env, **self.ranges(node.over)}, [bind.name for bind in node.over]
        masks = yield from self._masks(node.domain, inner)
        body = yield node.body, inner, NUMBER
        value = softmax(self.numbers, body, masks, over, inner)
        for name in over:  # it runs over the whole axis, also where only some positions are wanted
            if name in env and len(env[name]) != len(inner[name]):
                axis = value.array.ndim - len(value.indices) + value.indices.index(name)
                value = Value(value.indices, np.take(value.array, env[name], axis))
        return value


_VISITS: dict[type, Callable[..., Visit]] = {
    Const: Evaluator._const, Size: Evaluator._size, Index: Evaluator._index, Read: Evaluator._read,
    Neg: Evaluator._negative, Add: Evaluator._add, Mul: Evaluator._multiply, Div: Evaluator._divide,
    FloorDiv: Evaluator._floor, Mod: Evaluator._floor, Pow: Evaluator._power, Call: Evaluator._call,
    Iverson: Evaluator._iverson, Where: Evaluator._where, Reduce: Evaluator._reduce,
    Softmax: Evaluator._softmax, Compare: Evaluator._compare, And: Evaluator._and, Or: Evaluator._and,
    Not: Evaluator._not,
}  # fmt: skip
