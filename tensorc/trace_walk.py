"""Walking surface trees of a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tensorc.grammar.syntax import Assignment, CallStatement, Name, Reduction, children
from tensorc.ir import Div, FloorDiv, Mod, Mul

PRODUCTS = (Mul, Div, FloorDiv, Mod)


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
    """The indices that occur in a tree. Tensors have tokens, which are no names."""
    names = (n for n in walk(node) if isinstance(n, Name) and not isinstance(n, SizeName))
    return frozenset(n.name for n in names if "%" not in n.name)


def letters_of(statements: list[Assignment | CallStatement]) -> frozenset[str]:
    """The indices that occur in some equations."""
    found: set[str] = set()
    for statement in statements:
        if isinstance(statement, Assignment):
            found |= {name.name for name in statement.left} | letters_below(statement.body)
    return frozenset(found)


def factors_of(product: Any) -> Iterator[Any]:
    """The factors of a product, those of its numerators and divisors included."""
    stack = [product]
    while stack:
        node = stack.pop()
        if isinstance(node, Mul):
            stack.extend(reversed(node.factors))
        elif isinstance(node, Div | FloorDiv | Mod):
            stack.extend((node.denominator, node.numerator))
        else:
            yield node


def shared_letters(product: Any) -> frozenset[str]:
    """The letters in two or more factors of a product: it sums them, unless they are on the left or bound."""
    once: set[str] = set()
    twice: set[str] = set()
    for factor in factors_of(product):
        letters = letters_below(factor)
        twice |= once & letters
        once |= letters
    return frozenset(twice)


def ambiguous_sum(body: Any, left: frozenset[str]) -> tuple[Any, str] | None:
    """A `//` or `%` of an open product, and the letter that may be summed before or after it.

    `(x[c] * y[c]) % 2` and `x[c] * y[c] % 2` differ in text and are the same in Python.
    """
    stack = [(body, left)]
    while stack:
        node, bound = stack.pop()
        if isinstance(node, Reduction):
            bound = bound.union(*(letters_below(part) for part in (*node.names, *node.conditions)))
        elif isinstance(node, FloorDiv | Mod) and isinstance(node.numerator, PRODUCTS):
            for letter in sorted(shared_letters(node.numerator) - bound):
                return node, letter
        stack.extend((child, bound) for child in children(node))
    return None
