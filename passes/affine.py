"""Integer-affine views of index expressions and of the conditions between them."""

from __future__ import annotations

from dataclasses import replace

from tensorc.ir import Add, Compare, Cond, Const, Expr, Index, Mul, Neg, Not


def affine(expr: Expr) -> tuple[dict[str, int], int] | None:
    """Coefficients of the indices and the constant, if the expression is affine with integers only."""
    match expr:
        case Const(value=int(value)):
            return {}, value
        case Index(name=name):
            return {name: 1}, 0
        case Neg(operand=operand):
            return _combine([(-1, operand)])
        case Add(terms=terms):
            return _combine([(1, t) for t in terms])
        case Mul(factors=factors):
            scale = 1
            rest = []
            for factor in factors:
                if isinstance(factor, Const) and isinstance(factor.value, int):
                    scale *= factor.value
                else:
                    rest.append(factor)
            return _combine([(scale, rest[0])]) if len(rest) == 1 else ({}, scale) if not rest else None
    return None


def _combine(parts: list[tuple[int, Expr]]) -> tuple[dict[str, int], int] | None:
    coefficients: dict[str, int] = {}
    constant = 0
    for scale, part in parts:
        inner = affine(part)
        if inner is None:
            return None
        for name, value in inner[0].items():
            coefficients[name] = coefficients.get(name, 0) + scale * value
        constant += scale * inner[1]
    return {k: v for k, v in coefficients.items() if v}, constant


def difference(expr: Expr) -> tuple[str, str, int, int] | None:
    """(late, early, a, k) if the expression is a·(late − early) + k with a > 0."""
    found = affine(expr)
    if found is None or len(found[0]) != 2:
        return None
    (x, a), (y, b) = found[0].items()
    if a + b != 0:
        return None
    return (x, y, a, found[1]) if a > 0 else (y, x, b, found[1])


def as_order(condition: Cond) -> tuple[str, str, str] | None:
    """(early, late, "<" | "<=" | "==") if the condition says just that of two indices."""
    if not isinstance(condition, Compare) or condition.op == "!=":
        return None
    found = difference(Add((condition.left, Neg(condition.right))))
    if found is None or found[2] != 1:
        return None
    late, early, _, k = found  # left - right = late - early + k  (op)  0
    left = affine(condition.left)
    right = affine(condition.right)
    assert left is not None and right is not None
    op = condition.op
    if op == "==":
        return (early, late, "==") if k == 0 else None
    # late - early + k >= 0 means early <= late + k
    if op in ("<", "<="):  # late - early + k <= 0: late <= early - k
        early, late, k = late, early, -k
    strict = op in ("<", ">")
    if k == 0:
        return early, late, "<" if strict else "<="
    if k == -1 and not strict:
        return early, late, "<"
    if k == 1 and strict:
        return early, late, "<="
    return None


def negated(condition: Cond) -> Cond:
    """The comparison that "not" of a comparison of positions is; anything else as it stands."""
    opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
    if isinstance(condition, Not) and isinstance(condition.part, Compare):
        if as_order(replace(condition.part, op="<=")) is not None:
            return replace(condition.part, op=opposite[condition.part.op])
    return condition


def lag_of(subscript: Expr, token: str) -> int | str | None:
    """How many tokens before `token` a subscript is: a number (negative: later), or the index that counts
    them in token - index; "+" and the index for token + index; None if it is something else."""
    found = affine(subscript)
    if found is None or found[0].get(token) != 1:
        return None
    rest = {name: a for name, a in found[0].items() if name != token}
    if not rest:
        return -found[1]
    ((name, coefficient),) = rest.items() if len(rest) == 1 else (("", 0),)
    if found[1] != 0 or coefficient not in (-1, 1):
        return None
    return name if coefficient < 0 else f"+{name}"
