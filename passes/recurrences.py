"""Recurrences as decays: S[i, c] = a[i, c] · S[i - 1, c] + b[i, c] is the sum over j <= i of the gates after
j times b[j, c], so it scans like any other decay (and S[i + 1] scans backwards)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    Node,
    Program,
    Read,
    Reduce,
    TensorDecl,
    Where,
    free_indices,
    reads,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.affine import affine
from tensorc.passes.records import Log
from tensorc.passes.terms import fresh_name, rename_apart, times

Linear: TypeAlias = tuple[Expr | None, Expr | None]  # (factor of the earlier value, rest); None is 0


def as_decays(program: Program, time: Extent, log: Log) -> Program:
    """The program with every first-order recurrence along the time axis written as a decay."""
    tensors = frozenset(program.tensors())
    taken = {n.name for e in program.equations for n in walk(e.body) if isinstance(n, Index)} | tensors
    equations: list[Equation] = []
    added: list[TensorDecl] = []
    for equation in program.equations:
        found = _rewritten(equation, time, log, taken, tensors)
        equations += found
        new = [e for e in found if e.target != equation.target]
        added += [TensorDecl(e.target, tuple(b.extent for b in e.left)) for e in new]
    if tuple(equations) == program.equations:
        return program
    return replace(program, locals=(*program.locals, *added), equations=tuple(equations))


def _rewritten(
    equation: Equation, time: Extent, log: Log, taken: set[str], tensors: frozenset[str]
) -> list[Equation]:
    """An equation as a decay, and what is written to it, where that reads it, as equations of their own."""
    if equation.target not in reads(equation.body):
        return [equation]
    axes = [k for k, b in enumerate(equation.left) if b.extent == time]
    own = [n for n in walk(equation.body) if isinstance(n, Read) and n.tensor == equation.target]
    lags = {_lag(read, equation, axes[0]) for read in own} if len(axes) == 1 else set()
    if len(lags) != 1 or None in lags:
        return [equation]
    (lag,) = lags
    whole = _own_features(equation, axes[0])
    found = _linear(equation.body, whole)
    if found is None or found[0] is None or lag is None:
        return [equation]
    step = _Step(equation, equation.left[axes[0]], lag, found[0], found[1])
    if step.rest is None or equation.target not in reads(step.rest):
        log.did(
            "recurrence", f"{equation.target} is a decay: each value is carried on with a gate", equation.span
        )
        return [replace(equation, body=_scan(step, tensors))]
    if equation.target in reads(step.factor):
        return [equation]
    return _with_writes(step, log, taken) or [equation]


def _lag(read: Read, equation: Equation, axis: int) -> int | None:
    """-1 or 1 if the equation reads its own neighbour along an axis, features at indices; else None."""
    name = equation.left[axis].name
    if any(not isinstance(s, Index) or s.name == name for k, s in enumerate(read.subscripts) if k != axis):
        return None
    found = affine(read.subscripts[axis])
    if found is None or found[0] != {name: 1} or found[1] not in (-1, 1):
        return None
    return found[1]


def _own_features(equation: Equation, axis: int) -> Callable[[Node], bool]:
    """Whether an expression reads the equation's own neighbour at the same features."""
    names = [b.name for b in equation.left]

    def found(expr: Node) -> bool:
        return any(
            isinstance(n, Read)
            and n.tensor == equation.target
            and all(
                s == Index(a) for k, (a, s) in enumerate(zip(names, n.subscripts, strict=True)) if k != axis
            )
            for n in walk(expr)
        )

    return found


def _linear(expr: Expr, own: Callable[[Node], bool]) -> Linear | None:
    """The expression as factor · (its own neighbour) + rest; None if it is not of that kind."""
    if not own(expr):
        return None, None if expr == Const(0) else expr
    match expr:
        case Read():
            return Const(1), None
        case Neg(operand=operand):
            inner = _linear(operand, own)
            return None if inner is None else (_times(Const(-1), inner[0]), _times(Const(-1), inner[1]))
        case Add(terms=terms):
            parts = [_linear(t, own) for t in terms]
            known = [p for p in parts if p is not None]
            if len(known) < len(parts):
                return None
            return _total([p[0] for p in known]), _total([p[1] for p in known])
        case Mul(factors=factors):
            return _product(factors, own)
        case Div(numerator=top, denominator=bottom) if not own(bottom):
            return _product((top, Div(Const(1), bottom)), own)
        case Where(condition=condition, then=then, otherwise=otherwise) if not own(condition):
            sides = [_linear(then, own), _linear(otherwise, own)]
            if sides[0] is None or sides[1] is None:
                return None
            return _chosen(condition, sides[0][0], sides[1][0]), _chosen(condition, sides[0][1], sides[1][1])
    return None


def _chosen(condition: Cond, then: Expr | None, otherwise: Expr | None) -> Expr | None:
    """One of two parts; None is 0."""
    if then is None and otherwise is None:
        return None
    return Where(condition, then or Const(0), otherwise or Const(0))


def _product(factors: tuple[Expr, ...], own: Callable[[Node], bool]) -> Linear | None:
    mine = [f for f in factors if own(f)]
    inner = _linear(mine[0], own) if len(mine) == 1 else None
    if inner is None:
        return None
    rest = times(*(f for f in factors if f is not mine[0]))
    return _times(rest, inner[0]), _times(rest, inner[1])


def _times(factor: Expr, part: Expr | None) -> Expr | None:
    return None if part is None else times(factor, part)


def _total(parts: list[Expr | None]) -> Expr | None:
    kept = tuple(p for p in parts if p is not None)
    return None if not kept else kept[0] if len(kept) == 1 else Add(kept)


@dataclass(frozen=True, slots=True)
class _Step:
    """A recurrence: target[left] = factor · target at the token before (lag -1) or after (1) + rest."""

    equation: Equation
    time: Bind
    lag: int
    factor: Expr
    rest: Expr | None


def _scan(step: _Step, tensors: frozenset[str]) -> Expr:
    """sum[j <= i](prod[j < u <= i](factor at u) · rest at j), or its mirror image."""
    if step.rest is None:
        return Const(0)
    taken = {n.name for n in walk(step.equation.body) if isinstance(n, Index)} | tensors
    taken |= {b.name for b in step.equation.left}
    return _carried(step, step.rest, {}, taken, own=True)


def _carried(step: _Step, write: Expr, names: Mapping[str, Expr], taken: set[str], own: bool) -> Expr:
    """The sum of what was written up to a token (`own`: itself included), each with the gates after it;
    `names` are the features at which it is read."""
    time, factor = step.time, step.factor
    i, j, u = Index(time.name), Index(fresh_name("j", taken)), Index(fresh_name("u", taken))
    earlier, later = (j, i) if step.lag < 0 else (i, j)
    order = Compare("<=" if own else "<", earlier, later)
    # Backwards it is i <= u < j: the mirror image of j < u <= i, and of j < u < i without the token itself.
    up, down = ("<=" if own else "<"), "<"
    ends = (
        (Compare(down, j, u), Compare(up, u, i)) if step.lag < 0 else (Compare(up, i, u), Compare(down, u, j))
    )
    body = substitute(write, {**names, i.name: j})
    if factor != Const(1):
        range_u = (Bind(u.name, time.extent),)
        gate = substitute(factor, {**names, i.name: u})
        if isinstance(gate, Call) and gate.function == "exp":
            gates: Expr = Call("exp", (Reduce("sum", range_u, ends, gate.arguments[0]),))
        else:
            gates = Reduce("prod", range_u, ends, gate)
        body = Mul((gates, body))
    return Reduce("sum", (Bind(j.name, time.extent),), (order,), body, span=step.equation.span)


# -- what is written to a state that the write reads -----------------------------------------------------


def _with_writes(step: _Step, log: Log, taken: set[str]) -> list[Equation] | None:
    """A state S[i] = a · S[i - 1] + k ⊗ (v - k · S[i - 1]): what reads the state and has fewer features than
    it becomes an equation w of its own, so that S is a decay of k ⊗ w, and w refers to itself by S. None if
    every part that reads the state has all of its features."""
    assert step.rest is not None
    equation, writes = step.equation, list[Equation]()
    write = _apart(_factored(step.rest, equation.target), step, writes, taken)
    if write is None:
        return None
    if isinstance(write, Add):  # several writes are one state
        name = fresh_name(f"{equation.target}_a", taken)
        writes.append(Equation(name, equation.left, write, span=equation.span))
        write = Read(name, tuple(Index(b.name) for b in equation.left))

    def visit(node: Node) -> Node:
        if not isinstance(node, Read) or node.tensor != equation.target:
            return rebuild(node, visit)
        pairs = zip(equation.left, node.subscripts, strict=True)
        names = {b.name: s for b, s in pairs if b != step.time}
        return _carried(step, rename_apart(write, taken), names, taken, own=False)

    made = [replace(e, body=visit(e.body)) for e in writes]  # type: ignore[arg-type]
    names = ", ".join(e.target for e in writes)
    log.did("recurrence", f"{equation.target} is a decay of what is written to it, {names}", equation.span)
    own = _carried(step, rename_apart(write, taken), {}, taken, own=True)
    return [*made, replace(equation, body=own)]


def _apart(expr: Expr, step: _Step, writes: list[Equation], taken: set[str]) -> Expr | None:
    """The expression with its parts that read the state as equations of their own."""
    equation = step.equation
    if equation.target not in reads(expr):
        return expr
    features = [b for b in equation.left if b != step.time]
    left = tuple(b for b in equation.left if b == step.time or b.name in free_indices(expr))
    if len(left) <= len(features):
        name = fresh_name(f"{equation.target}_w", taken)
        writes.append(Equation(name, left, expr, span=equation.span))
        return Read(name, tuple(Index(b.name) for b in left))
    match expr:
        case Add(terms=parts) | Mul(factors=parts):
            found = [_apart(p, step, writes, taken) for p in parts]
            known = tuple(p for p in found if p is not None)
            if len(known) < len(parts):
                return None
            return Add(known) if isinstance(expr, Add) else Mul(known)
        case Neg(operand=operand):
            inner = _apart(operand, step, writes, taken)
            return None if inner is None else Neg(inner)
        case Div(numerator=top, denominator=bottom) if equation.target not in reads(bottom):
            inner = _apart(top, step, writes, taken)
            return None if inner is None else Div(inner, bottom)
    return None


def _factored(expr: Expr, target: str) -> Expr:
    """b · k · v - b · k · s as b · k · (v - s): what all terms of a sum have in common, before it."""
    terms = _products(expr)
    common = [f for f in terms[0] if target not in reads(f) and all(f in t for t in terms)]
    if len(terms) < 2 or not common:
        return expr
    rests = []
    for term in terms:
        rest = list(term)
        for factor in common:
            rest.remove(factor)
        rests.append(times(*rest))
    return times(*common, Add(tuple(rests)))


def _products(expr: Expr) -> list[list[Expr]]:
    """A sum as the factors of its terms."""
    match expr:
        case Add(terms=terms):
            return [p for t in terms for p in _products(t)]
        case Neg(operand=operand):
            return [[Const(-1), *p] for p in _products(operand)]
        case Mul(factors=factors):
            return [list(factors)]
    return [[expr]]
