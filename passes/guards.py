"""Guards: what a condition excludes is never used, even where it is infinite or undefined.

The 0 of [condition] is strong, and outside a domain a body is not evaluated: 1 / (i - j) under j < i is
0, not 0 · inf, where i = j.
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx

from tensorc.ir import (
    And,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Index,
    Iverson,
    Mul,
    Neg,
    Node,
    Where,
    conjuncts,
    free_indices,
    rebuild,
)
from tensorc.passes.relation_dense import Dense
from tensorc.passes.relation_order import Order
from tensorc.passes.terms import Term, times


def strong(expr: Node) -> Node:
    """Products and quotients with a factor [condition] as `where(condition, the rest, 0)`.

    >>> from tensorc.ir import Read
    >>> holds, x = Compare(">", Read("m", ()), Const(0)), Read("x", ())
    >>> strong(Div(Mul((Iverson(holds), x)), Read("m", ()))) == Where(holds, Div(x, Read("m", ())), Const(0))
    True
    """
    if not isinstance(expr, Mul | Div | Neg):
        return rebuild(expr, strong)
    conditions, body = _apart(expr)
    return Where(_all(conditions), body, Const(0)) if conditions else body


def _apart(expr: Node) -> tuple[list[Cond], Expr]:
    """The conditions that are factors of an expression, and the rest of it."""
    match expr:
        case Iverson(condition=condition):
            return [condition], Const(1)
        case Neg(operand=operand):
            conditions, body = _apart(operand)
            return conditions, replace(expr, operand=body)
        case Div(numerator=numerator, denominator=denominator):
            conditions, body = _apart(numerator)
            bottom: Expr = strong(denominator)  # type: ignore[assignment]
            return conditions, replace(expr, numerator=body, denominator=bottom)
        case Mul(factors=factors):
            apart = [_apart(f) for f in factors]
            return [c for found, _ in apart for c in found], times(*(body for _, body in apart))
    return [], rebuild(expr, strong)  # type: ignore[return-value]


def _all(conditions: list[Cond]) -> Cond:
    return conditions[0] if len(conditions) == 1 else And(tuple(conditions))


def guard_pairs(term: Term) -> Term:
    """Factors of two tokens are 0 where the relations of the term, or its conditions of pairs, exclude the
    pair; an order without decays, or a condition, that guards a factor is no longer needed."""
    orders = nx.DiGraph()
    for relation in term.relations:
        if isinstance(relation, Order):
            orders.add_edge(relation.early, relation.late, strict=relation.strict)
    masks = [r for r in term.relations if isinstance(r, Dense) and r.condition is not None]
    windows = [r for r in term.relations if isinstance(r, Order) and r.within is not None]
    chosen = [f for f in term.factors if isinstance(f, Iverson) and len(free_indices(f)) > 1]
    used: set[frozenset[str]] = set()
    factors = []
    others = [f for f in term.factors if f not in chosen]
    for factor in (*others, *(r.factor for r in term.relations if isinstance(r, Dense) and r.factor)):
        free = free_indices(factor)
        conditions = [c for m in masks if m.pair <= free for c in m.dense()[0]]
        conditions += [c for m in windows if m.pair <= free for c in m.dense()[0][1:]]
        conditions += [f.condition for f in chosen if free_indices(f) <= free]
        for early, late, strict in _implied(orders, free):
            conditions.append(Compare("<" if strict else "<=", Index(early), Index(late)))
            used.add(frozenset((early, late)))
        factors.append(Where(_all(conditions), factor, Const(0)) if conditions else factor)
    guarding = {c for f in factors if isinstance(f, Where) for c in conjuncts((f.condition,))}
    factors += [f for f in chosen if f.condition not in guarding]
    kept = tuple(
        r
        for r in term.relations
        if not (isinstance(r, Dense) and r.factor is not None)
        and not (isinstance(r, Order) and not r.decays and r.pair in used)
    )
    return replace(term, factors=tuple(factors), relations=kept)


def _implied(orders: nx.DiGraph, free: frozenset[str]) -> list[tuple[str, str, bool]]:
    """The orders between indices of a factor that follow from those of the term."""
    known = sorted(free & set(orders))
    found = []
    for early in known:
        reached = {early: False}
        pending = [early]
        while pending:
            here = pending.pop()
            for after in orders.successors(here):
                strict = reached[here] or orders.edges[here, after]["strict"]
                if after not in reached or (strict and not reached[after]):
                    reached[after] = strict
                    pending.append(after)
        found += [(early, late, reached[late]) for late in known if late != early and late in reached]
    return found
