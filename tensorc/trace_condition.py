"""Conditions of a trace: what comparisons give, joined by & | ~."""

from __future__ import annotations

from typing import Any, NoReturn

from tensorc.grammar.syntax import Group
from tensorc.ir import And, Not, Or
from tensorc.trace_misuse import Misuse, no_operand
from tensorc.trace_node import Node, joined
from tensorc.trace_text import show


class Condition(Misuse):
    """A relation between numbers. It stands in a domain, in `iverson`, or first in `where`."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    def node(self) -> Node:
        return self._node

    def __repr__(self) -> str:
        return show(self._node.tree)

    def __hash__(self) -> int:
        return id(self)

    def __and__(self, other: object) -> Condition:
        return self._join(And, other)

    def __or__(self, other: object) -> Condition:
        return self._join(Or, other)

    def __invert__(self) -> Condition:
        part = self._node
        if isinstance(part.tree, And | Or):
            part = joined(Group(part.tree), part)
        return Condition(joined(Not(part.tree), part))

    def _join(self, kind: type[And] | type[Or], other: object) -> Condition:
        if not isinstance(other, Condition):
            self._mixed(other)
        parts = (*_parts(kind, self._node.tree), *_parts(kind, other._node.tree))
        return Condition(joined(kind(parts), self._node, other._node, flat=True))

    def _number(self, *others: object) -> NoReturn:
        no_operand(self)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _number
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _number
    __neg__ = __pos__ = __abs__ = _number
    __lt__ = __le__ = __gt__ = __ge__ = _number
    __eq__ = _number
    __ne__ = _number
    __getitem__ = _number


def _parts(kind: type[And] | type[Or], tree: Any) -> tuple[Any, ...]:
    """The parts of a condition of the same kind, so that chains are flat; an `or` in an `and` is a group."""
    if isinstance(tree, kind):
        return tree.parts
    return (Group(tree) if isinstance(tree, Or) else tree,)
