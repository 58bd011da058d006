"""Walking surface trees of a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tensorc.grammar.syntax import Assignment, CallStatement, Name, children


@dataclass(frozen=True, slots=True)
class SizeName(Name):
    """The name of a size; a plain `Name` is an index or a tensor."""


def walk(node: Any) -> Iterator[Any]:
    """The node and everything below it, parents first."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(children(current)))


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
