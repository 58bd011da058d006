"""Gates between two tokens, as differentiation sees them.

exp(sum[j < u <= i](g[u])) and prod[j < u <= i](a[u]) depend on the gate at u for every pair j < u <= i.
Summed over those pairs, the adjoint of a log gate is

    sum[u <= i](rows[i]) - sum[u <= j](columns[j])

where rows and columns are the sums of the pairs' adjoints over j and over i: for j <= i, the pairs with
u <= i less those with u <= j. It takes linear time, and no division.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx

from tensorc.ir import (
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Extent,
    Index,
    Mul,
    Neg,
    Pow,
    Reduce,
    conjuncts,
    free_indices,
    walk,
)
from tensorc.passes.affine import as_order, difference
from tensorc.passes.decays import ends_between


@dataclass(frozen=True, slots=True)
class Span:
    """A range of tokens: those u after `early` and up to `late`, each end as said, where `guards` hold."""

    u: Bind
    early: str
    late: str
    with_early: bool
    with_late: bool
    guards: tuple[Cond, ...]
    body: Expr


def span_of(node: Reduce, scope: Mapping[str, Extent]) -> Span | None:
    """The range of a sum or product over the tokens between two others; None if it is something else."""
    if node.op not in ("sum", "prod") or len(node.binds) != 1:
        return None
    (u,) = node.binds
    found = ends_between(u.name, conjuncts(node.domain))
    if found is None:
        return None
    early, with_early, late, with_late, guards = found
    inside = free_indices(node.body).union(*(free_indices(g) for g in guards))
    if scope.get(early) != u.extent or scope.get(late) != u.extent or inside & {early, late}:
        return None
    return Span(u, early, late, with_early, with_late, tuple(guards), node.body)


def decay_of(node: Expr, scope: Mapping[str, Extent]) -> Span | None:
    """The range of a product of gates between two tokens; None if an expression is no such product."""
    match node:
        case Reduce(op="prod"):
            return span_of(node, scope)
        case Call(function="exp", arguments=(Reduce(op="sum") as inner,)):
            return span_of(inner, scope)
    return None


def scaled_inside(node: Expr, scope: Mapping[str, Extent]) -> Expr:
    """exp(c · sum[j < u <= i](g)) as exp(sum[j < u <= i](c · g)), if c is the same for all tokens."""
    if not (isinstance(node, Call) and node.function == "exp"):
        return node
    factors, divisors, inner = _taken_apart(node.arguments[0])
    if inner is None or not (factors or divisors):
        return node
    span = span_of(inner, scope)
    outside = (*factors, *divisors)
    if span is None or any(isinstance(n, Reduce) for f in outside for n in walk(f)):
        return node
    if any(free_indices(f) & {span.early, span.late} for f in outside):
        return node
    body: Expr = span.body
    signs = [f for f in factors if f == Const(-1)]
    plain = [f for f in factors if f != Const(-1)]
    if plain:
        body = Mul((*plain, *(body.factors if isinstance(body, Mul) else (body,))))
    for divisor in divisors:
        body = Div(body, divisor)
    if len(signs) % 2:
        body = Neg(body)
    return Call("exp", (Reduce("sum", inner.binds, inner.domain, body),))


def _taken_apart(expr: Expr) -> tuple[list[Expr], list[Expr], Reduce | None]:
    """(factors, divisors, the sum) of a scaled sum."""
    factors: list[Expr] = []
    divisors: list[Expr] = []
    while True:
        match expr:
            case Reduce(op="sum"):
                return factors, divisors, expr
            case Neg(operand=operand):
                factors.append(Const(-1))
                expr = operand
            case Div(numerator=top, denominator=bottom):
                divisors.append(bottom)
                expr = top
            case Mul(factors=parts):
                inner = [p for p in parts if any(isinstance(n, Reduce) for n in walk(p))]
                if len(inner) != 1:
                    return [], [], None
                factors += [p for p in parts if p is not inner[0]]
                expr = inner[0]
            case _:
                return [], [], None


def power_of_distance(node: Expr, scope: Mapping[str, Extent]) -> tuple[str, str, int, int] | None:
    """(late, early, a, k) of base ** (a · (late − early) + k), if the base is the same for both tokens."""
    if not isinstance(node, Pow):
        return None
    found = difference(node.exponent)
    if found is None or scope.get(found[0]) != scope.get(found[1]) or found[0] not in scope:
        return None
    return None if free_indices(node.base) & set(found[:2]) else found


def follows(conditions: Iterable[Cond], early: str, late: str) -> tuple[bool, bool]:
    """Whether the conditions imply early <= late, and early < late."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for condition in conditions:
        found = as_order(condition)
        if found is None:
            continue
        strict = found[2] == "<" or graph.has_edge(*found[:2]) and graph.edges[found[:2]]["strict"]
        graph.add_edge(found[0], found[1], strict=strict)
        if found[2] == "==":
            graph.add_edge(found[1], found[0], strict=False)
    if early not in graph or late not in graph or not nx.has_path(graph, early, late):
        return False, False
    between = (nx.descendants(graph, early) | {early}) & (nx.ancestors(graph, late) | {late})
    return True, any(e["strict"] for _, _, e in graph.subgraph(between).edges(data=True))


def before(early: str, late: str, strict: bool) -> Compare:
    """The condition early <= late, or <."""
    return Compare("<" if strict else "<=", Index(early), Index(late))
