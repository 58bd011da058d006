"""Common factors of sums: b·x - b·y is b·(x - y), with one multiplication of every element less."""

from __future__ import annotations

from tensorc.ir import Add, Const, Expr, Mul, Neg, Node, Read, rebuild


def factored(expr: Node) -> Node:
    """An expression whose sums have the reads that all of their terms share before them.

    >>> from tensorc.ir import Index
    >>> b, x, y = (Read(name, (Index("i"),)) for name in "bxy")
    >>> factored(Add((Mul((b, x)), Neg(Mul((b, y)))))) == Mul((b, Add((x, Neg(y)))))
    True
    """
    expr = rebuild(expr, factored)
    if not isinstance(expr, Add) or len(expr.terms) < 2:
        return expr
    split = [_split(term) for term in expr.terms]
    shared = [f for f in split[0][1] if isinstance(f, Read) and all(f in factors for _, factors in split)]
    shared = [f for k, f in enumerate(shared) if f not in shared[:k]]
    if not shared:
        return expr
    terms = []
    for negative, factors in split:
        for factor in shared:
            factors.remove(factor)
        rest: Expr = Const(1) if not factors else factors[0] if len(factors) == 1 else Mul(tuple(factors))
        terms.append(Neg(rest) if negative else rest)
    return Mul((*shared, Add(tuple(terms))))


def _split(term: Expr) -> tuple[bool, list[Expr]]:
    """Whether a term is negative, and its factors."""
    match term:
        case Neg(operand=operand):
            negative, factors = _split(operand)
            return not negative, factors
        case Mul(factors=factors):
            negative = False
            split: list[Expr] = []
            for factor in factors:
                other, parts = _split(factor)
                negative, split = negative != other, split + parts
            return negative, split
        case Const(value=-1):
            return True, []
    return False, [term]
