"""Positions where documents are packed: which expressions of token indices mean the same as in a document
alone, and which of them have to be counted from the document's start."""

from __future__ import annotations

from collections.abc import Set

from tensorc.ir import (
    Add,
    Compare,
    Cond,
    Const,
    Expr,
    FloorDiv,
    Index,
    Mod,
    Mul,
    Neg,
    Node,
    Program,
    Reduce,
    Size,
    Softmax,
    walk,
)
from tensorc.passes.affine import difference


def mentions(node: Node, tokens: Set[str], lengths: Set[str]) -> bool:
    """Whether a token index or the length of the time axis stands in a node as a number."""
    return any(
        (isinstance(n, Index) and n.name in tokens) or (isinstance(n, Size) and n.name in lengths)
        for n in walk(node)
    )


def weights(expr: Expr, tokens: Set[str], lengths: Set[str]) -> dict[str, int] | None:
    """How often each token index is counted in an affine expression, whose other terms have no position
    and are no data; None for anything else.

    >>> from tensorc.ir import Const
    >>> weights(Add((Index("i"), Neg(Index("j")), Const(3))), {"i", "j"}, {"n"})
    {'i': 1, 'j': -1}
    """
    match expr:
        case Index(name=name) if name in tokens:
            return {name: 1}
        case Neg(operand=operand):
            inner = weights(operand, tokens, lengths)
            return None if inner is None else {name: -w for name, w in inner.items()}
        case Add(terms=terms):
            total: dict[str, int] = {}
            for term in terms:
                inner = weights(term, tokens, lengths)
                if inner is None:
                    return None
                for name, weight in inner.items():
                    total[name] = total.get(name, 0) + weight
            return {name: weight for name, weight in total.items() if weight}
        case Mul(factors=(Const(value=int(scale)), factor)):
            inner = weights(factor, tokens, lengths)
            return None if inner is None else {name: scale * w for name, w in inner.items()}
    if mentions(expr, tokens, lengths) or not _integer(expr):
        return None
    return {}


def _integer(expr: Expr) -> bool:
    """Whether an expression is made of indices, sizes and integers alone."""
    return all(isinstance(n, Index | Size | Const | Neg | Add | Mul | FloorDiv | Mod) for n in walk(expr))


def relative(expr: Expr, tokens: Set[str], lengths: Set[str]) -> bool:
    """Whether an expression depends on differences of positions only, such as i - j."""
    found = weights(expr, tokens, lengths)
    return found is not None and sum(found.values()) == 0


def bounds(condition: Cond, token: str, others: Set[str]) -> tuple[set[str], set[str]]:
    """The other tokens that a condition keeps a token from going below, and above.

    >>> below = Compare("<", Index("j"), Index("u"))
    >>> bounds(below, "u", {"i", "j"}), bounds(below, "u", {"i"})
    (({'j'}, set()), (set(), set()))
    """
    low, high = set[str](), set[str]()
    if not isinstance(condition, Compare):
        return low, high
    found = difference(Add((condition.left, Neg(condition.right))))
    if found is None or token not in found[:2] or not others & set(found[:2]):
        return low, high
    late, early, _, k = found  # a · (late - early) + k  (op)  0
    op = condition.op
    least = -k + (op == ">")
    most = -k - (op == "<")
    if op in (">", ">=", "==") and least >= 0:  # late >= early
        (low if token == late else high).add(early if token == late else late)
    if op in ("<", "<=", "==") and most <= 0:  # late <= early
        (high if token == late else low).add(early if token == late else late)
    return low, high


def ends_of(conditions: list[Cond], token: str, known: set[str]) -> tuple[set[str], set[str]]:
    """The known tokens below and above a token."""
    low, high = set[str](), set[str]()
    for condition in conditions:
        below, above = bounds(condition, token, known)
        low |= below
        high |= above
    return low, high


def indices_of(program: Program) -> set[str]:
    """Every index of a program."""
    found = {b.name for e in program.equations for b in e.left}
    for equation in program.equations:
        for node in walk(equation.body):
            if isinstance(node, Reduce | Softmax):
                found |= {b.name for b in (node.binds if isinstance(node, Reduce) else node.over)}
    return found
