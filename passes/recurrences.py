"""Recurrences as decays: S[i, c] = a[i, c] · S[i - 1, c] + b[i, c] is the sum over j <= i of the gates after
j times b[j, c], so it scans like any other decay (and S[i + 1] scans backwards)."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from tensorc.ir import (
    Add,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Equation,
    Expr,
    Extent,
    Index,
    Mul,
    Neg,
    Program,
    Read,
    Reduce,
    reads,
    substitute,
    walk,
)
from tensorc.passes.affine import affine
from tensorc.passes.records import Log
from tensorc.passes.terms import fresh_name, times

Linear: TypeAlias = tuple[Expr | None, Expr | None]  # (factor of the earlier value, rest); None is 0


def as_decays(program: Program, time: Extent, log: Log) -> Program:
    """The program with every first-order recurrence along the time axis written as a decay."""
    equations = tuple(_rewritten(e, time, log) for e in program.equations)
    return program if equations == program.equations else replace(program, equations=equations)


def _rewritten(equation: Equation, time: Extent, log: Log) -> Equation:
    if equation.target not in reads(equation.body):
        return equation
    axes = [k for k, b in enumerate(equation.left) if b.extent == time]
    own = [n for n in walk(equation.body) if isinstance(n, Read) and n.tensor == equation.target]
    lags = {_lag(read, equation, axes[0]) for read in own} if len(axes) == 1 else set()
    if len(lags) != 1 or None in lags:
        return equation
    (lag,) = lags
    found = _linear(equation.body, equation.target)
    if found is None or found[0] is None or lag is None:
        return equation
    log.did(
        "recurrence", f"{equation.target} is a decay: each value is carried on with a gate", equation.span
    )
    return replace(equation, body=_scan(equation, equation.left[axes[0]], lag, found))


def _lag(read: Read, equation: Equation, axis: int) -> int | None:
    """-1 or 1 if the equation reads its own neighbour along an axis, at the same features; else None."""
    names = [b.name for b in equation.left]
    if any(s != Index(n) for k, (n, s) in enumerate(zip(names, read.subscripts, strict=True)) if k != axis):
        return None
    found = affine(read.subscripts[axis])
    if found is None or found[0] != {names[axis]: 1} or found[1] not in (-1, 1):
        return None
    return found[1]


def _linear(expr: Expr, target: str) -> Linear | None:
    """The expression as factor · (its own neighbour) + rest; None if it is not of that kind."""
    if target not in reads(expr):
        return None, expr
    match expr:
        case Read():
            return Const(1), None
        case Neg(operand=operand):
            inner = _linear(operand, target)
            return None if inner is None else (_times(Const(-1), inner[0]), _times(Const(-1), inner[1]))
        case Add(terms=terms):
            parts = [_linear(t, target) for t in terms]
            known = [p for p in parts if p is not None]
            if len(known) < len(parts):
                return None
            return _total([p[0] for p in known]), _total([p[1] for p in known])
        case Mul(factors=factors):
            return _product(factors, target)
        case Div(numerator=top, denominator=bottom) if target not in reads(bottom):
            return _product((top, Div(Const(1), bottom)), target)
    return None


def _product(factors: tuple[Expr, ...], target: str) -> Linear | None:
    own = [f for f in factors if target in reads(f)]
    inner = _linear(own[0], target) if len(own) == 1 else None
    if inner is None:
        return None
    rest = times(*(f for f in factors if f is not own[0]))
    return _times(rest, inner[0]), _times(rest, inner[1])


def _times(factor: Expr, part: Expr | None) -> Expr | None:
    return None if part is None else times(factor, part)


def _total(parts: list[Expr | None]) -> Expr | None:
    kept = tuple(p for p in parts if p is not None)
    return None if not kept else kept[0] if len(kept) == 1 else Add(kept)


def _scan(equation: Equation, time: Bind, lag: int, found: Linear) -> Expr:
    """sum[j <= i](prod[j < u <= i](factor at u) · rest at j), or its mirror image."""
    factor, rest = found
    if rest is None or factor is None:
        return Const(0)
    taken = {n.name for n in walk(equation.body) if isinstance(n, Index)} | {b.name for b in equation.left}
    i, j, u = Index(time.name), Index(fresh_name("j", taken)), Index(fresh_name("u", taken))
    between: tuple[Cond, ...]
    if lag < 0:
        order, between = Compare("<=", j, i), (Compare("<", j, u), Compare("<=", u, i))
    else:
        order, between = Compare(">=", j, i), (Compare("<=", i, u), Compare("<", u, j))
    range_u = (Bind(u.name, time.extent),)
    if isinstance(factor, Call) and factor.function == "exp":
        inner = Reduce("sum", range_u, between, substitute(factor.arguments[0], {i.name: u}))
        gates: Expr = Call("exp", (inner,))
    else:
        gates = Reduce("prod", range_u, between, substitute(factor, {i.name: u}))
    body = Mul((gates, substitute(rest, {i.name: j})))
    return Reduce("sum", (Bind(j.name, time.extent),), (order,), body, span=equation.span)
