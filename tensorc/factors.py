"""Factors of products, and those that all terms of a sum share: b·x - b·y is b·(x - y), with one
multiplication of every element less."""

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
    split = [signed_factors(term) for term in expr.terms]
    shared = [f for f in split[0][0] if isinstance(f, Read) and all(f in factors for factors, _ in split)]
    shared = [f for k, f in enumerate(shared) if f not in shared[:k]]
    if not shared:
        return expr
    terms = []
    for factors, negative in split:
        for factor in shared:
            factors.remove(factor)
        rest: Expr = Const(1) if not factors else factors[0] if len(factors) == 1 else Mul(tuple(factors))
        terms.append(Neg(rest) if negative else rest)
    return Mul((*shared, Add(tuple(terms))))


def signed_factors(expr: Expr) -> tuple[list[Expr], bool]:
    """The factors of a product without their signs, and whether it is negative.

    >>> signed_factors(Neg(Mul((Const(-2), Const(3)))))
    ([Const(value=2), Const(value=3)], False)
    """
    match expr:
        case Neg(operand=operand):
            factors, negative = signed_factors(operand)
            return factors, not negative
        case Mul(factors=factors):
            parts = [signed_factors(f) for f in factors]
            return [f for part, _ in parts for f in part], sum(sign for _, sign in parts) % 2 == 1
        case Const(value=value) if value < 0:
            return ([] if value == -1 else [Const(-value)]), True
    return [expr], False
