"""The elementwise operations of a pointwise expression, each with the labels it runs over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tensorc.ir import (
    Add,
    And,
    Call,
    Compare,
    Const,
    Index,
    Iverson,
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
    children,
    free_indices,
)

CHEAP = frozenset(("wide", "narrow", "abs", "sign", "relu", "sqrt", "maximum", "minimum"))


@dataclass(frozen=True, slots=True)
class Operation:
    """`count` operations on every element of the labels; `special` for functions such as exp."""

    count: int
    labels: frozenset[str]
    special: bool = False


def operations(node: Node) -> list[Operation]:
    """The operations of an expression or condition. Arithmetic on numbers and sizes alone is free, and
    so is a zero that only gives a value its shape.

    >>> from tensorc.ir import Index, Read
    >>> i, x = Index("i"), Index("x")
    >>> scaled = Mul((Call("exp", (Read("g", (i,)),)), Read("v", (i, x)), Const(2)))
    >>> [(o.count, sorted(o.labels), o.special) for o in operations(scaled)]
    [(1, ['i'], True), (2, ['i', 'x'], False)]
    """
    found: list[Operation] = []
    labels: dict[int, frozenset[str] | None] = {}  # of a node by identity; None if it is a number
    subtracted: set[int] = set()
    for part in _children_first(node, subtracted):
        below = [] if isinstance(part, Read) else [labels[id(child)] for child in children(part)]
        labels[id(part)] = own = _labels(part, below)
        if own is None or _is_zero(part) or id(part) in subtracted:
            continue
        count = _count(part)
        if count:
            special = isinstance(part, Call | Pow) and not _is_cheap(part)
            found.append(Operation(count, own, special))
    return found


def _children_first(node: Node, subtracted: set[int]) -> Iterator[Node]:
    """Every node after those below it, a read as a leaf; notes the terms that a sum subtracts."""
    stack = [(node, False)]
    while stack:
        current, done = stack.pop()
        if done or isinstance(current, Read):
            yield current
            continue
        if isinstance(current, Add):
            subtracted.update(id(t) for t in current.terms if isinstance(t, Neg))
        stack.append((current, True))
        stack.extend((child, False) for child in reversed(children(current)))


def _labels(node: Node, below: list[frozenset[str] | None]) -> frozenset[str] | None:
    if isinstance(node, Index):
        return frozenset((node.name,))
    if isinstance(node, Read):
        return free_indices(node)
    known = [b for b in below if b is not None]
    return frozenset().union(*known) if known else None


def _count(node: Node) -> int:
    match node:
        case Add(terms=terms):
            return max(0, len(terms) - 1 - sum(_is_zero(t) for t in terms))
        case Mul(factors=parts) | And(parts=parts) | Or(parts=parts):
            return len(parts) - 1
        case Const() | Size() | Index() | Read() | Iverson() | Reduce() | Softmax():
            return 0
        case Neg() | Not() | Compare() | Where() | Call() | Pow():
            return 1
    return 1


def _is_zero(node: Node) -> bool:
    return isinstance(node, Mul) and any(isinstance(f, Const) and f.value == 0 for f in node.factors)


def _is_cheap(node: Call | Pow) -> bool:
    if isinstance(node, Pow):
        return isinstance(node.exponent, Const) and node.exponent.value == 2
    return node.function in CHEAP
