"""Surface trees with their measure, the numbers in them, and the parentheses Python dropped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Group
from tensorc.ir import Add, And, Compare, Const, Div, FloorDiv, Mod, Mul, Neg, Or, Pow
from tensorc.trace_state import MAX_TOKENS

MAX_DEPTH = 150  # as in lowering
MAX_BRACKETS = 100  # as in text, and prefix and power operators count
MAX_BITS = 1100

_FLAT = (Add, Mul, Div, FloorDiv, Mod, Compare, And, Or)

# How tightly a tree binds, loosest first.
SUM, PRODUCT, NEGATION, POWER, ATOM = range(5)
_LEVELS: dict[type, int] = {
    Add: SUM,
    Mul: PRODUCT,
    Div: PRODUCT,
    FloorDiv: PRODUCT,
    Mod: PRODUCT,
    Neg: NEGATION,
    Pow: POWER,
}


@dataclass(frozen=True, slots=True)
class Node:
    """A surface tree with its number of tokens, shared parts counted each time, its depth and brackets."""

    tree: Any
    tokens: int
    depth: int = 1
    brackets: int = 0


def joined(tree: Any, *parts: Node, flat: bool = False) -> Node:
    """The node of a tree made of parts. `flat`: the first part was dissolved in it.

    Sharing makes large trees from few steps (`e = e * e` thirty times), so the measure is checked here.
    """
    own = max(1, len(parts) - 1) if isinstance(tree, (*_FLAT, Neg, Pow)) else 2 + len(parts)
    tokens = own + sum(part.tokens for part in parts)
    depth = max((part.depth + (not flat or place > 0) for place, part in enumerate(parts)), default=1)
    brackets = max((part.brackets for part in parts), default=0) + (not isinstance(tree, _FLAT))
    if tokens > MAX_TOKENS:
        raise LanguageError(
            f"An expression of over {MAX_TOKENS} tokens.",
            hint="Name what is used more than once: s = (...)[i, j]. A long sum is tensorc.sum(e, c).",
        )
    if depth > MAX_DEPTH or brackets > MAX_BRACKETS:
        raise LanguageError(
            "An expression nested too deep.",
            hint="Name a part of it: s = (...)[i, j].",
        )
    return Node(tree, tokens, depth, brackets)


def grouped(node: Node, least: int) -> Node:
    """The node, in parentheses if it binds less than `least`."""
    if _LEVELS.get(type(node.tree), ATOM) >= least:
        return node
    return joined(Group(node.tree), node)


def number(value: object) -> Node | None:
    """The node of a Python or NumPy number, exact as it prints: 0.1 is 1/10. None for what is none."""
    if isinstance(value, np.generic):
        value = value.item()
    whole = isinstance(value, int)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise LanguageError(
                f"{value} is no number of the language.",
                hint="A domain excludes positions: tensorc.softmax(e, j, j <= i), tensorc.sum(e, j <= i).",
            )
        value = Fraction(repr(float(value)))
    if isinstance(value, Decimal) and value.is_finite():
        value = Fraction(value)
    if isinstance(value, Fraction) and value.denominator == 1:
        value = value.numerator
    if not isinstance(value, int | Fraction):
        return None
    _check_range(value, whole)
    node = _positive(abs(value) if isinstance(value, Fraction) else abs(int(value)))
    return joined(Neg(node.tree), node) if value < 0 else node


def _check_range(value: int | Fraction, whole: bool) -> None:
    """The bounds of numbers in text: integers below 2**63, others within float64."""
    largest = max(abs(value.numerator), value.denominator)
    if largest.bit_length() > (63 if whole else MAX_BITS):
        raise LanguageError("A number out of range.", hint="Integers are below 2**63; others fit in float64.")


def _positive(value: int | Fraction) -> Node:
    if isinstance(value, int) or _is_decimal(value):
        return Node(Const(value), 1)
    quotient = Div(Const(value.numerator), Const(value.denominator))
    return Node(Group(quotient), 5, 3, 1)


def _is_decimal(value: Fraction) -> bool:
    """Whether the text of the language can hold the number: its denominator divides a power of ten."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1
