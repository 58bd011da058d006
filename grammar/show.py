"""A piece of a program as text, for error messages."""

from __future__ import annotations

from typing import Any

from tensorc.grammar.source import Source
from tensorc.grammar.syntax import Group, Name, Reduction, Truth, children
from tensorc.ir import Bind, Extent, Index, Reduce, Softmax, rebuild

LONGEST = 60


def show(source: Source, node: Any) -> str:
    """The node as it was written, or as it would print; shortened where it is long."""
    text = source.slice(getattr(node, "span", None)) or _printed(node)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _printed(node: Any) -> str:
    from tensorc.ir import And, Compare, Not, Or
    from tensorc.printing import print_cond, print_expr

    plain = _plain(node)
    return print_cond(plain) if isinstance(plain, (Compare, And, Or, Not)) else print_expr(plain)


def _plain(node: Any) -> Any:
    """A surface tree as an expression of the IR that prints alike."""
    match node:
        case Name(name=name):
            return Index(name)
        case Group(body=body) | Truth(body=body):
            return _plain(body)
        case Reduction(op=op, names=names, conditions=conditions, body=body):
            binds = tuple(Bind(n.name, Extent()) for n in names)
            domain = tuple(_plain(c) for c in conditions)
            if op == "softmax":
                return Softmax(binds, domain, _plain(body))
            return Reduce(op, binds, domain, _plain(body))
    return rebuild(node, _plain) if children(node) else node
