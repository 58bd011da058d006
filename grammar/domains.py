"""Which indices a domain mentions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tensorc.grammar.syntax import Name, Reduction, children
from tensorc.ir import Index


def free_letters(conditions: Iterable[Any], outer: set[str]) -> list[str]:
    """The indices of conditions that no reduction inside them binds, in the order of first occurrence.

    `outer` are the indices bound around the conditions: a reduction inside never binds those.
    """
    nodes = list(conditions)
    direct = dict.fromkeys(_outside_reductions(nodes))
    for node in _reductions(nodes):
        names = [n.name for n in node.names]
        if node.op == "softmax":
            below = [*names, *free_letters((*node.conditions, node.body), outer | direct.keys())]
        else:
            around = outer | direct.keys()
            inner = {*names, *free_letters(node.conditions, around)} - around
            below = [n for n in free_letters((node.body,), around | inner) if n not in inner]
        direct.update(dict.fromkeys(below))
    return list(direct)


def _outside_reductions(nodes: list[Any]) -> Iterable[str]:
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        if isinstance(node, (Index, Name)):
            yield node.name
        elif not isinstance(node, Reduction):
            stack.extend(reversed(children(node)))


def _reductions(nodes: list[Any]) -> Iterable[Reduction]:
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        if isinstance(node, Reduction):
            yield node
        else:
            stack.extend(reversed(children(node)))
