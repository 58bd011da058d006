"""Recognising decays: products of gates between two tokens, however they are written.

exp(sum[j < u <= i](g[u, c]))      prod[j < u <= i](a[u])      exp(-2 * sum[j < u <= i](g[u]))
gamma ** (i - j)                   exp(-slope * (i - j))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tensorc.ir import (
    Call,
    Cond,
    Const,
    Div,
    Expr,
    Extent,
    Index,
    Mul,
    Neg,
    Node,
    Pow,
    Reduce,
    Where,
    conjuncts,
    free_indices,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.affine import as_order, difference
from tensorc.passes.relation import TOKEN, Decayed, Gate
from tensorc.passes.terms import ONE

Tokens = Callable[[Node], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Range:
    """A decay that was found. `factor` is the expression itself where it differs from the decay
    outside of an order (a power); None where the decay is 1 there. `scale`: a factor to multiply.
    `only_strict`: the two agree only under a strict order."""

    decayed: Decayed
    factor: Expr | None = None
    scale: Expr = ONE
    only_strict: bool = False


def gate_range(expr: Expr, tokens: Tokens) -> Range | None:
    """exp of a (scaled) sum of gates between two tokens, or a product of gates."""
    if isinstance(expr, Reduce) and expr.op == "prod":
        return _between(expr, None, False, tokens)
    if not (isinstance(expr, Call) and expr.function == "exp"):
        return None
    scale, node = _unscale(expr.arguments[0], tokens)
    if isinstance(node, Reduce) and node.op == "sum":
        return _between(node, scale, True, tokens)
    return None


def _unscale(expr: Expr, tokens: Tokens) -> tuple[list[Expr], Expr]:
    """Take token-free factors off a product: (factors, the rest)."""
    match expr:
        case Neg(operand=operand):
            scale, rest = _unscale(operand, tokens)
            return [Const(-1), *scale], rest
        case Mul(factors=factors):
            free = [f for f in factors if not tokens(f) and not any(isinstance(n, Reduce) for n in walk(f))]
            bound = [f for f in factors if f not in free]
            if len(bound) == 1:
                scale, rest = _unscale(bound[0], tokens)
                return [*free, *scale], rest
        case Div(numerator=top, denominator=bottom) if not tokens(bottom):
            scale, rest = _unscale(top, tokens)
            return [*scale, Div(Const(1), bottom)], rest
    return [], expr


def _between(node: Reduce, scale: list[Expr] | None, log: bool, tokens: Tokens) -> Range | None:
    if len(node.binds) != 1:
        return None
    u = node.binds[0].name
    if tokens(node.body) - {u} or not tokens(node):
        return None
    ends = _ends(u, conjuncts(node.domain))
    if ends is None:
        return None
    early, with_early, late, with_late, guards = ends
    body: Expr = node.body
    for guard in guards:
        if tokens(guard) - {u}:
            return None
        body = Where(guard, body, Const(0 if log else 1))
    if scale:
        body = Mul((*scale, body))
    gate = Gate(substitute(body, {u: Index(TOKEN)}), log)
    return Range(Decayed(gate, early, late, with_early, with_late))


def of_one_token(node: Node, extents: Mapping[str, Extent]) -> Node:
    """Sums and products over i <= u <= i are the body at i, and those over i < u <= i are empty.

    >>> from tensorc.ir import Bind, Compare, Read, extent
    >>> i, u, n = Index("i"), Index("u"), extent("n")
    >>> domain = (Compare("<=", i, u), Compare("<=", u, i))
    >>> of_one_token(Reduce("prod", (Bind("u", n),), domain, Read("a", (u,))), {"i": n})
    Read(tensor='a', subscripts=(Index(name='i'),))
    """
    node = rebuild(node, lambda child: of_one_token(child, extents))
    if not (isinstance(node, Reduce) and node.op in ("sum", "prod") and len(node.binds) == 1):
        return node
    u = node.binds[0].name
    ends = _ends(u, conjuncts(node.domain), same=True)
    if ends is None or ends[0] != ends[2] or extents.get(ends[0]) != node.binds[0].extent:
        return node
    none = Const(0 if node.op == "sum" else 1)
    if not (ends[1] and ends[3]):
        return none
    body: Node = node.body
    for guard in ends[4]:
        body = Where(guard, body, none)  # type: ignore[arg-type]
    return substitute(body, {u: Index(ends[0])})


def ends_between(u: str, conditions: list[Cond]) -> tuple[str, bool, str, bool, list[Cond]] | None:
    """(early, whether inclusive, late, whether inclusive, other conditions) of a domain of u between two
    tokens; None if it is not that."""
    return _ends(u, conditions)


def _ends(
    u: str, conditions: list[Cond], same: bool = False
) -> tuple[str, bool, str, bool, list[Cond]] | None:
    """(early, whether inclusive, late, whether inclusive, other conditions) of a domain between two tokens;
    `same`: also of one between a token and itself."""
    early = late = None
    guards = []
    for condition in conditions:
        order = as_order(condition)
        if order is None or order[2] == "==" or u not in order[:2]:
            guards.append(condition)
        elif order[1] == u and early is None:
            early = (order[0], order[2] == "<=")
        elif order[0] == u and late is None:
            late = (order[1], order[2] == "<=")
        else:
            return None
    if early is None or late is None or (early[0] == late[0] and not same):
        return None
    return early[0], early[1], late[0], late[1], guards


def gate_of_difference(expr: Expr, tokens: Tokens) -> Range | None:
    """base ** (i - j + k) and exp(c · (i - j + k)): a constant gate between j and i."""
    match expr:
        case Pow(base=base, exponent=exponent) if not tokens(base) and not _reduces(base):
            found = difference(exponent)
            if found is not None:
                late, early, a, k = found
                gate = Gate(base if a == 1 else Pow(base, Const(a)), False)
                return _constant(expr, gate, early, late, a, k, lambda n: Pow(base, Const(n)))
        case Call(function="exp", arguments=(argument,)):
            scale, rest = _unscale(argument, tokens)
            found = difference(rest)
            if found is not None and tokens(rest) == {found[0], found[1]}:
                late, early, a, k = found
                rate: Expr = Mul((*scale, Const(a))) if scale else Const(a)
                return _constant(
                    expr, Gate(rate, True), early, late, a, k, lambda n: Call("exp", (_times(scale, n),))
                )
    return None


def _times(scale: list[Expr], n: int) -> Expr:
    return Mul((*scale, Const(n))) if scale else Const(n)


def _reduces(node: Node) -> bool:
    return any(isinstance(n, Reduce) for n in walk(node))


def _constant(
    expr: Expr, gate: Gate, early: str, late: str, step: int, k: int, power: Callable[[int], Expr]
) -> Range | None:
    """gate ** (late - early) times a power of k; one step less is the decay without its late end."""
    if free_indices(gate.value) & {early, late}:
        return None
    if k >= 0:
        return Range(Decayed(gate, early, late, False, True), expr, ONE if k == 0 else power(k))
    if gate.log:
        return Range(Decayed(gate, early, late, False, True), expr, power(k))
    if k == -1 and step == 1:
        return Range(Decayed(gate, early, late, False, False), expr, only_strict=True)
    return None
