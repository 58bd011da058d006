"""Pointwise expressions of a plan: reads name values, their subscripts are labels.

Nodes are evaluated from a stack of work, so that an expression of ten thousand operators needs no deep
Python stack. A body that is not selected (the other branch of `where`) is computed all the same but
cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tensorc.execute_values import Labelled, PlanError, align, kept
from tensorc.ir import (
    Add,
    And,
    Call,
    Compare,
    Const,
    Div,
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
    Size,
    Where,
    children,
)
from tensorc.numbers import Array, Numbers
from tensorc.plan import HERE, Ref

# What a value is wanted for: to compute with, or to compare (data as given, integers exactly).
NUMBER, GIVEN = "number", "given"
_KEEP_GIVEN = ("abs", "sign", "relu", "maximum", "minimum")
_COMPARE: dict[str, Callable[[Array, Array], Any]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
    "==": np.equal, "!=": np.not_equal,
}  # fmt: skip


class Surroundings(Protocol):
    """What an expression needs to know: values, positions and sizes."""

    sizes: Mapping[str, int]

    def value(self, ref: Ref, given: bool = False) -> Labelled:
        """A value under the labels of the reference, as given where conditions compare it."""

    def positions(self, label: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The positions that a label runs over."""

    def end(self, name: str) -> int:
        """The first or last position of the tokens or columns at hand."""

    def here(self) -> int:
        """The position that a recursion fills, or the token of the recurrent form."""


class Expressions:
    """Evaluates expressions in one number system."""

    def __init__(self, numbers: Numbers, surroundings: Surroundings) -> None:
        self.numbers, self.around = numbers, surroundings

    def evaluate(self, node: Node, mode: str = NUMBER) -> Labelled:
        """The value of an expression, or of a condition as booleans."""
        todo: list[tuple[Node, str, bool]] = [(node, mode, False)]
        done: list[Labelled] = []
        while todo:
            current, wanted, ready = todo.pop()
            parts = () if isinstance(current, Read) else children(current)
            if parts and not ready:
                todo.append((current, wanted, True))
                inner = _mode(current, wanted)
                todo.extend((part, inner, False) for part in reversed(parts))
                continue
            values = done[len(done) - len(parts) :]
            del done[len(done) - len(parts) :]
            done.append(self._combine(current, wanted, values) if parts else self._leaf(current, wanted))
        (result,) = done
        return result

    def _leaf(self, node: Node, mode: str) -> Labelled:
        given = mode == GIVEN
        match node:
            case Const(value=value):
                return Labelled((), self.numbers.constant(value, given=given))
            case Size(name=name):
                number = self._number(name)
                return Labelled((), self.numbers.constant(number, given=given))
            case Index(name=name):
                positions = self.around.positions(name)
                array = self.numbers.given(positions) if given else self.numbers.number(positions)
                return Labelled((name,), array)
            case Read(tensor=tensor, subscripts=subscripts):
                return self.around.value(Ref(tensor, _labels(node, subscripts)), given)
        raise PlanError(f"A pointwise step holds {type(node).__name__}.")

    def _number(self, name: str) -> int:
        """A size, or a position that stands as one."""
        if name == HERE:
            return self.around.here()
        return self.around.end(name) if ":" in name else self.around.sizes[name]

    def _combine(self, node: Node, mode: str, values: list[Labelled]) -> Labelled:
        numbers = self.numbers
        match node:
            case Neg():
                (value,) = values
                return Labelled(value.labels, numbers.negative(value.array), value.support)
            case Add():
                return self._fold(numbers.add, values)
            case Mul():
                supports = [v.support for v in values if v.support is not None]
                return kept(numbers, self._fold(numbers.multiply, values), supports)
            case Div():
                labels, (top, bottom) = align(*values)
                quotient = Labelled(labels, numbers.divide(top, bottom))
                return kept(numbers, quotient, [s for s in (values[0].support,) if s is not None])
            case FloorDiv():
                return self._fold(numbers.floor_divide, values)
            case Mod():
                return self._fold(numbers.remainder, values)
            case Pow():
                return self._fold(numbers.power, values)
            case Call(function="wide" | "narrow"):  # the types that others compute in
                return values[0]
            case Call(function=function):
                labels, arrays = align(*values)
                return Labelled(labels, numbers.apply(function, *arrays))
            case Iverson():
                (support,) = values
                return Labelled(support.labels, numbers.number(support.array), support)
            case Where():
                labels, (mask, then, otherwise) = align(*values)
                return Labelled(labels, np.where(mask, then, otherwise))
        return self._condition(node, values)

    def _condition(self, node: Node, values: list[Labelled]) -> Labelled:
        match node:
            case Compare(op=op):
                labels, arrays = align(*values)
                return Labelled(labels, np.asarray(_COMPARE[op](*arrays), bool))
            case And():
                return self._fold(np.logical_and, values)
            case Or():
                return self._fold(np.logical_or, values)
            case Not():
                return Labelled(values[0].labels, ~values[0].array)
        raise PlanError(f"A pointwise step holds {type(node).__name__}.")

    def _fold(self, operation: Callable[[Array, Array], Any], values: list[Labelled]) -> Labelled:
        total = Labelled(values[0].labels, values[0].array)
        for value in values[1:]:
            labels, (left, right) = align(total, value)
            total = Labelled(labels, np.asarray(operation(left, right)))
        return total


def reads_of(node: Node) -> list[Ref]:
    """The values that an expression reads."""
    found, stack = list[Ref](), [node]
    while stack:
        current = stack.pop()
        if isinstance(current, Read):
            found.append(Ref(current.tensor, _labels(current, current.subscripts)))
        else:
            stack.extend(children(current))
    return found


def _mode(node: Node, mode: str) -> str:
    """What the parts of a node are wanted for."""
    if isinstance(node, Compare | And | Or | Not | Iverson):
        return GIVEN
    if isinstance(node, Pow | Where):
        return NUMBER
    if isinstance(node, Call):
        return mode if node.function in _KEEP_GIVEN else NUMBER
    return mode


def _labels(node: Read, subscripts: Sequence[Node]) -> tuple[str, ...]:
    names = tuple(s.name for s in subscripts if isinstance(s, Index))
    if len(names) < len(subscripts):
        raise PlanError(f"A step reads {node.tensor} at a subscript that is no label.")
    return names
