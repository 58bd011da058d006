"""What stands for numbers while a function is traced: expressions, indices, sizes and tensors.

Python's operators build the surface tree that the parser builds from text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Assignment, Name
from tensorc.ir import Call, Compare, Neg, Read
from tensorc.trace_condition import Condition
from tensorc.trace_misuse import Misuse, no_operand
from tensorc.trace_node import NEGATION, Node, grouped, joined, number
from tensorc.trace_operators import difference, floor_quotient, power, product, quotient, remainder, total
from tensorc.trace_state import Trace, assigned_name, current, distinct_names, user_frame
from tensorc.trace_text import show
from tensorc.trace_walk import SizeName


def operand(value: object) -> Node:
    """The tree of a value that stands in an equation; a LanguageError for what cannot."""
    if isinstance(value, Operand):
        return value.node()
    return number(value) or no_operand(value)


class Operand(Misuse):
    """Arithmetic and comparisons, common to all that is a number in an equation.

    The concrete classes are siblings: Python would let a subclass on the right of a comparison turn it
    around, and `i - w < j` must not become `j > i - w`.
    """

    __slots__ = ()

    def node(self) -> Node:
        raise NotImplementedError

    def __repr__(self) -> str:
        return show(self.node().tree)

    def __hash__(self) -> int:
        return id(self)

    def __add__(self, other: object) -> Open:
        return _two(total, self, other)

    def __radd__(self, other: object) -> Open:
        return _two(total, other, self)

    def __sub__(self, other: object) -> Open:
        return _two(difference, self, other)

    def __rsub__(self, other: object) -> Open:
        return _two(difference, other, self)

    def __mul__(self, other: object) -> Open:
        return _two(product, self, other)

    def __rmul__(self, other: object) -> Open:
        return _two(product, other, self)

    def __truediv__(self, other: object) -> Open:
        return _two(quotient, self, other)

    def __rtruediv__(self, other: object) -> Open:
        return _two(quotient, other, self)

    def __floordiv__(self, other: object) -> Open:
        return _two(floor_quotient, self, other)

    def __rfloordiv__(self, other: object) -> Open:
        return _two(floor_quotient, other, self)

    def __mod__(self, other: object) -> Open:
        return _two(remainder, self, other)

    def __rmod__(self, other: object) -> Open:
        return _two(remainder, other, self)

    def __pow__(self, other: object) -> Open:
        return _two(power, self, other)

    def __rpow__(self, other: object) -> Open:
        return _two(power, other, self)

    def __neg__(self) -> Open:
        part = grouped(operand(self), NEGATION)
        return Open(joined(Neg(part.tree), part))

    def __pos__(self) -> Operand:
        return self

    def __abs__(self) -> Open:
        part = operand(self)
        return Open(joined(Call("abs", (part.tree,)), part))

    def __lt__(self, other: object) -> Condition:
        return _compare("<", self, other)

    def __le__(self, other: object) -> Condition:
        return _compare("<=", self, other)

    def __gt__(self, other: object) -> Condition:
        return _compare(">", self, other)

    def __ge__(self, other: object) -> Condition:
        return _compare(">=", self, other)

    def __eq__(self, other: object) -> Any:
        return _compare("==", self, other)

    def __ne__(self, other: object) -> Any:
        return _compare("!=", self, other)

    def __getitem__(self, subscripts: object) -> Tensor:
        """Defines a tensor: `(q[i, c] * k[j, c])[i, j]`."""
        trace = current()
        if trace is None:
            raise LanguageError(
                f"({show(self.node().tree)})[...] defines a tensor, outside of a trace.",
                hint="Equations stand in a function under @tensorc.jit, or in one that it calls.",
            )
        frame = user_frame()
        tensor = Tensor(trace, assigned_name(frame) or "t")
        trace.opened.add(len(trace.statements))
        tensor.define(subscripts, self)
        return tensor

    def __setitem__(self, subscripts: object, value: object) -> None:
        raise LanguageError(
            f"{show(self.node().tree)} is an expression; only a named tensor can be defined by assignment.",
            hint='w = tensorc.tensor("w"), then w[i, x] = ...',
        )


class Open(Operand):
    """An expression whose indices are still open: nothing says yet which of them are summed."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    def node(self) -> Node:
        return self._node


class Letter(Operand):
    """An index or a size: a name that is its number."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name


class Index(Letter):
    """An index: a position, counted from 0. Two indices of one letter are the same index."""

    __slots__ = ()

    def node(self) -> Node:
        trace = current()
        if trace is not None:
            trace.check_index(self._name)
        return Node(Name(self._name), 1)


class Size(Letter):
    """A size of the header."""

    __slots__ = ()

    def node(self) -> Node:
        trace = current()
        if trace is not None:
            trace.check_size(self._name)
        return Node(SizeName(self._name), 1)


class Tensor(Operand):
    """A named tensor: `[...]` reads it; `w[i, x] = ...` defines it. One without axes is read bare."""

    __slots__ = ("trace", "label", "token", "axes", "kind")

    def __init__(self, trace: Trace, label: str, axes: tuple[str, ...] | None = None, kind: str = "") -> None:
        self.trace = trace
        self.label = label
        self.axes = axes  # as written; None while unknown
        self.kind = kind  # "input", "forward" or ""
        self.token = trace.add(self)

    def __repr__(self) -> str:
        return self.label if self.axes is None else f"{self.label}[{', '.join(self.axes)}]"

    def check_trace(self) -> None:
        """A tensor is of use only in its own trace."""
        if self.trace is not current():
            raise LanguageError(
                f"{self.label} belongs to the trace of {self.trace.function}, "
                + ("which has ended." if self.trace.finished else "not to the one running here."),
                hint="Give it to the function as an argument; keep no traced tensor in a variable outside.",
            )

    def node(self) -> Node:
        self.check_trace()
        if self.axes:
            letters = ", ".join(self.trace.unused_letters(len(self.axes)))
            hint = f"Read it at indices: {self.label}[{letters}]."
            if not self.kind:
                hint = f"[{', '.join(self.axes)}] on an expression defines a tensor, on a tensor reads it. "
                hint += "Define it once, s = (...)[i, j], and use s[i, j] or s[u, j]."
            raise LanguageError(f"{self!r} has {_axes(len(self.axes))}, read with none.", hint=hint)
        return Node(Name(self.token), 1)

    def __getitem__(self, subscripts: object) -> Any:
        self.check_trace()
        parts = [subscript(part) for part in _items(subscripts)]
        if self.axes is not None and len(parts) != len(self.axes):
            hint = "Leading batch dimensions are never written; they broadcast."
            if not self.axes:
                hint = f"A scalar is read bare, {self.label}; {self.label}[()][i, x] repeats it along axes."
            raise LanguageError(f"{self!r} has {_axes(len(self.axes))}, read with {len(parts)}.", hint=hint)
        return Open(joined(Read(self.token, tuple(p.tree for p in parts)), *parts))

    def __setitem__(self, subscripts: object, value: object) -> None:
        self.check_trace()
        if self.kind != "forward" or self.axes is not None:
            what = "an input" if self.kind == "input" else "defined already"
            raise LanguageError(
                f"{self!r} is {what}; a tensor has exactly one equation.",
                hint='A tensor that reads itself at earlier positions: w = tensorc.tensor("w").',
            )
        self.define(subscripts, value)

    def define(self, subscripts: object, value: object) -> None:
        """Appends the equation of this tensor to the trace."""
        left = [_left(part) for part in _items(subscripts)]
        if (twice := distinct_names(left)) is not None:
            raise LanguageError(
                f"{twice} stands twice on the left.", hint="The left side holds distinct index names."
            )
        body = operand(value)
        self.trace.check_letters(body.tree, frozenset(name.name for name in left))
        self.axes = tuple(name.name for name in left)
        equation = Assignment(self.token, tuple(left), body.tree)
        self.trace.state(equation, body.tokens + 2 * len(left) + 4, user_frame())


def _axes(count: int) -> str:
    return f"{count} {'axis' if count == 1 else 'axes'}"


def _items(subscripts: object) -> tuple[object, ...]:
    return subscripts if isinstance(subscripts, tuple) else (subscripts,)


def _left(part: object) -> Name:
    """An index on the left of an equation."""
    if not isinstance(part, Index):
        what = f"the size {part!r}" if isinstance(part, Size) else repr(part)
        raise LanguageError(
            f"{what} stands on the left, where only indices may.",
            hint="[...] on an expression defines a tensor: s = (q[i, c] * k[j, c])[i, j]; then s[i, j - 1].",
        )
    name: Name = part.node().tree
    return name


def subscript(part: object) -> Node:
    """One subscript of a read."""
    if part is None or part is Ellipsis or isinstance(part, slice | bool | float | str):
        written = ":" if isinstance(part, slice) else repr(part)
        raise LanguageError(
            f"{written} is no subscript.",
            hint="Every axis is read at an integer expression of indices, sizes and integers: x[i - 1, c].",
        )
    return operand(part)


def _two(build: Callable[[Node, Node], Node], left: object, right: object) -> Open:
    return Open(build(operand(left), operand(right)))


def _compare(op: str, left: object, right: object) -> Condition:
    first, second = operand(left), operand(right)
    return Condition(joined(Compare(op, first.tree, second.tree), first, second))
