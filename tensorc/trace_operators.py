"""The trees of Python's operators, with the parentheses that the text would have.

A sum or product on the right of `*` was in parentheses. One on the left may have been: a product there
is read without, as `a * b * c`.
"""

from __future__ import annotations

from typing import Any

from tensorc.ir import Add, Div, FloorDiv, Mod, Mul, Neg, Pow
from tensorc.trace_node import ATOM, NEGATION, PRODUCT, Node, grouped, joined


def total(left: Node, right: Node) -> Node:
    """left + right"""
    return _terms(left, grouped(right, PRODUCT), minus=False)


def difference(left: Node, right: Node) -> Node:
    """left - right"""
    return _terms(left, grouped(right, PRODUCT), minus=True)


def _terms(left: Node, right: Node, minus: bool) -> Node:
    flat = isinstance(left.tree, Add)
    terms = left.tree.terms if flat else (left.tree,)
    return joined(Add((*terms, Neg(right.tree) if minus else right.tree)), left, right, flat=flat)


def product(left: Node, right: Node) -> Node:
    """left * right"""
    left, right = grouped(left, PRODUCT), grouped(right, NEGATION)
    flat = isinstance(left.tree, Mul)
    factors = left.tree.factors if flat else (left.tree,)
    return joined(Mul((*factors, right.tree)), left, right, flat=flat)


def quotient(left: Node, right: Node) -> Node:
    """left / right"""
    return _divided(Div, left, right)


def floor_quotient(left: Node, right: Node) -> Node:
    """left // right"""
    return _divided(FloorDiv, left, right)


def remainder(left: Node, right: Node) -> Node:
    """left % right"""
    return _divided(Mod, left, right)


def _divided(kind: Any, left: Node, right: Node) -> Node:
    left, right = grouped(left, PRODUCT), grouped(right, NEGATION)
    return joined(kind(left.tree, right.tree), left, right)


def power(left: Node, right: Node) -> Node:
    """left ** right"""
    left, right = grouped(left, ATOM), grouped(right, NEGATION)
    return joined(Pow(left.tree, right.tree), left, right)
