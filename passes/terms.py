"""Flat programs: what normalisation makes of the equations.

    definition  Sum(target, left, terms)     a sum of products of one-token factors and relations
                Map(target, left, expr)      a pointwise expression, or a dense row reduction
    term        Term(scale, factors, relations, bound)

A *token index* runs over the time axis, every other index is a feature. A factor holds at most one
token index unless it is a pair that cannot be separated (then no relation of the term can scan past it).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tensorc.errors import Span
from tensorc.ir import (
    Bind,
    Call,
    Compare,
    Const,
    Div,
    Expr,
    Extent,
    Index,
    Mul,
    Node,
    Pow,
    Read,
    Reduce,
    Size,
    Softmax,
    Where,
    free_indices,
    substitute,
    walk,
)
from tensorc.passes.relation import Relation

ONE = Const(1)


@dataclass(frozen=True, slots=True)
class Term:
    """scale · Π factors · Π relations, summed over `bound`. The scale has no indices."""

    scale: Expr = ONE
    factors: tuple[Expr, ...] = ()
    relations: tuple[Relation, ...] = ()
    bound: tuple[Bind, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    """target[left] = the sum of the terms."""

    target: str
    left: tuple[Bind, ...]
    terms: tuple[Term, ...]
    span: Span | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Map:
    """target[left] = a pointwise expression; it may hold row reductions that are evaluated densely."""

    target: str
    left: tuple[Bind, ...]
    expr: Expr
    span: Span | None = None
    source: str = ""


Definition = Sum | Map


def times(*factors: Expr) -> Expr:
    """The product of scalars, ones dropped."""
    flat: list[Expr] = []
    for factor in factors:
        flat += factor.factors if isinstance(factor, Mul) else [factor]
    flat = [f for f in flat if f != ONE]
    return ONE if not flat else flat[0] if len(flat) == 1 else Mul(tuple(flat))


def counted(scale: Expr, bound: Iterable[Bind], used: Collection[str]) -> Expr:
    """The scale of a sum over indices of which those not in `used` occur nowhere: times their sizes."""
    for bind in bound:
        if bind.name not in used:
            scale = times(scale, *(Size(n) for n in bind.extent.names), Const(bind.extent.coefficient))
    return scale


def multiply(a: Term, b: Term) -> Term:
    """The product of two terms whose bound names differ."""
    return Term(times(a.scale, b.scale), a.factors + b.factors, a.relations + b.relations, a.bound + b.bound)


def scaled(scale: Expr, value: Expr, bound: Iterable[Bind]) -> Expr:
    """A scale times a sum. Where the sum is empty it is 0, even if the scale is not finite: 1 / sqrt(0)."""
    risky = any(isinstance(n, Div | Pow | Call) for n in walk(scale))
    risky = risky and any(isinstance(n, Size | Read) for n in walk(scale))
    ranges = [times(*(Size(n) for n in b.extent.names), Const(b.extent.coefficient)) for b in bound]
    product = times(scale, value)
    if not risky or not ranges:
        return product
    return Where(Compare(">", times(*ranges), Const(0)), product, value)


def rename_term(term: Term, names: Mapping[str, str]) -> Term:
    """The term with indices renamed, bound ones too."""
    to = {old: Index(new) for old, new in names.items()}
    return Term(
        term.scale,
        tuple(substitute(f, to) for f in term.factors),
        tuple(r.rename(names) for r in term.relations),
        tuple(replace(b, name=names.get(b.name, b.name)) for b in term.bound),
    )


def has_reduction(node: Node) -> bool:
    """Whether a reduction or softmax occurs anywhere below."""
    return any(isinstance(n, Reduce | Softmax) for n in walk(node))


def extents_of(left: Iterable[Bind], body: Node) -> dict[str, Extent]:
    """The extent of every index of an equation whose bound names are distinct."""
    found = {b.name: b.extent for b in left}
    for node in walk(body):
        if isinstance(node, Reduce):
            found.update((b.name, b.extent) for b in node.binds)
        elif isinstance(node, Softmax):
            found.update((b.name, b.extent) for b in node.over)
    return found


def tokens(node: Node, extents: Mapping[str, Extent], time: Extent | None) -> frozenset[str]:
    """The free token indices of an expression."""
    return frozenset(i for i in free_indices(node) if extents.get(i) == time and time is not None)


def rename_apart(node: Node, taken: set[str], names: Mapping[str, str] | None = None) -> Any:
    """Give every reduction of the expression its own index names; `taken` grows by them."""
    from tensorc.ir import rebuild

    names = names or {}
    changed: Any
    match node:
        case Index(name=name):
            return replace(node, name=names[name]) if name in names else node
        case Reduce(binds=binds):
            inner = {k: v for k, v in names.items() if k not in {b.name for b in binds}}
            fresh = []
            for bind in binds:
                new = fresh_name(bind.name, taken)
                if new != bind.name:
                    inner[bind.name] = new
                fresh.append(replace(bind, name=new))
            changed = rebuild(node, lambda c: rename_apart(c, taken, inner))
            return replace(changed, binds=tuple(fresh))
        case Softmax(over=over):
            kept = tuple(replace(b, name=names.get(b.name, b.name)) for b in over)
            changed = rebuild(node, lambda c: rename_apart(c, taken, names))
            return replace(changed, over=kept)
    return rebuild(node, lambda c: rename_apart(c, taken, names))


def fresh_name(name: str, taken: set[str]) -> str:
    """A name like `name` that is not taken yet; it is taken afterwards."""
    new, k = name, 2
    while new in taken:
        new, k = f"{name}_{k}", k + 1
    taken.add(new)
    return new
