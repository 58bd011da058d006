"""Walking surface trees of a trace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tensorc.grammar.syntax import Assignment, CallStatement, Group, Name, Reduction
from tensorc.ir import Compare, Read, children


def parts(node: Any) -> tuple[Any, ...]:
    """What stands directly below a node; the bare names of a domain included."""
    match node:
        case Name():
            return ()
        case Group():
            return (node.body,)
        case Reduction():
            return (*node.names, *node.conditions, node.body)
        case Compare():
            return (node.left, node.right)
    return children(node)


def walk(node: Any) -> Iterator[Any]:
    """The node and everything below it, parents first."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(parts(current)))


def letters_below(node: Any) -> frozenset[str]:
    """The indices and sizes that occur in a tree. Tensors have tokens, which are no names."""
    return frozenset(n.name for n in walk(node) if isinstance(n, Name) and "%" not in n.name)


def letters_of(statements: list[Assignment | CallStatement]) -> frozenset[str]:
    """The indices and sizes that occur in some equations."""
    found: set[str] = set()
    for statement in statements:
        if isinstance(statement, Assignment):
            found |= {name.name for name in statement.left} | letters_below(statement.body)
    return frozenset(found)


def tensors_below(node: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The tensors that occur in a tree, as tokens, with their subscripts."""
    for part in walk(node):
        if isinstance(part, Read):
            yield part.tensor, part.subscripts
        elif isinstance(part, Name) and "%" in part.name:
            yield part.name, ()
