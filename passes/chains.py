"""Chains: the relations of a term become a forest of scans, rooted at the output's token.

Relations on one pair are merged; edges that follow from a path are removed (a strict edge over a
non-strict path is split on equality first) and their decays pushed onto the path; a cycle of the
undirected graph is split into the orders of one of its incomparable pairs, until none is left. In the
forest every edge is oriented towards the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import networkx as nx

from tensorc.errors import Span
from tensorc.ir import Expr, Extent, free_indices
from tensorc.passes.records import Log
from tensorc.passes.relation import Relation, Scan
from tensorc.passes.relation_dense import Dense
from tensorc.passes.relation_order import Decay, Order
from tensorc.passes.terms import ONE, Term, rename_term, times

MOST_TERMS = 64


class NoScan(Exception):
    """The relations of a term have no scans: why, and what change would give them some."""

    def __init__(self, reason: str, change: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.change = change


@dataclass(frozen=True, slots=True)
class LinearTerm:
    """A term whose relations are scans. `term.relations` is empty."""

    term: Term
    scans: tuple[Scan, ...]

    @property
    def indices(self) -> frozenset[str]:
        """The indices that its factors and scans have."""
        return frozenset().union(
            *(free_indices(f) for f in self.term.factors),
            *({s.read, s.write} | s.features for s in self.scans),
        )


def linear_terms(
    term: Term, outputs: frozenset[str], time: Extent, log: Log, span: Span | None
) -> list[LinearTerm]:
    """The term as a sum of terms whose relations form a forest of scans, roots at `outputs`."""
    pending, done = [merge(term)], []
    while pending:
        current = pending.pop(0)
        if current is None:
            continue
        split = _normalise(current, outputs, lambda rule, what: log.did(rule, what, span))
        if split is None:
            rooted, more = _orient(current, outputs, time)
            done.append(rooted)
            split = more
        pending = split + pending
        if len(pending) + len(done) > MOST_TERMS:
            raise NoScan("the relations split into too many chains", "use fewer incomparable indices")
    return done


def merge(term: Term) -> Term | None:
    """Relations on one pair merged, cycles of <= made equalities; None if the term is zero."""
    changed = True
    while changed:
        changed = False
        relations = list(term.relations)
        for a in range(len(relations)):
            for b in range(len(relations)):
                met = relations[a].meet(relations[b]) if a != b else None
                if met is not None:
                    term = _scaled(term, relations[a])
                    relations = [r for k, r in enumerate(relations) if k not in (a, b)] + [met]
                    term, changed = replace(term, relations=tuple(relations)), True
                    break
            if changed:
                break
    for relation in term.relations:
        if isinstance(relation, Dense) and relation.equates:
            rest = tuple(r for r in term.relations if r is not relation)
            return _equal(replace(term, relations=rest), {relation.early: relation.late})
    cycle = _order_cycle(term)
    if cycle is None:
        return term
    if any(r.strict for r in cycle):
        return None
    first, others = cycle[0].early, {r.early for r in cycle} - {cycle[0].early}
    return _equal(term, {o: first for o in others})


def apart_from_own(term: Term, tokens: Iterable[str], outputs: frozenset[str]) -> list[Term]:
    """The term with strict orders between these tokens and the output, and what it is at equal tokens."""
    merged = merge(term)
    pending = [] if merged is None else [merged]
    for token in tokens:
        split: list[Term] = []
        for one in pending:
            found = next((r for r in _orders(one) if token in r.pair and r.pair & outputs), None)
            if found is None or found.strict:
                split.append(one)
                continue
            (output,) = found.pair - {token}
            rest = tuple(r for r in one.relations if r is not found)
            own = replace(one, relations=rest, factors=one.factors + found.diagonal())
            same = _equal(own, {token: output})
            split += [replace(one, relations=(*rest, replace(found, strict=True))), *([same] if same else [])]
        pending = split
    return pending


def _scaled(term: Term, relation: Relation) -> Term:
    """The term times what a decay leaves over when it becomes part of an order."""
    if not isinstance(relation, Dense) or relation.scale == ONE:
        return term
    if free_indices(relation.scale):
        return replace(term, factors=(*term.factors, relation.scale))
    return replace(term, scale=times(term.scale, relation.scale))


def _order_cycle(term: Term) -> list[Order] | None:
    graph = nx.DiGraph()
    for relation in _orders(term):
        graph.add_edge(relation.early, relation.late)
    for part in nx.strongly_connected_components(graph):
        if len(part) > 1:
            return [r for r in _orders(term) if r.early in part and r.late in part]
    return None


def _orders(term: Term) -> list[Order]:
    return [r for r in term.relations if isinstance(r, Order)]


def _equal(term: Term, names: dict[str, str]) -> Term | None:
    """The term at equal tokens: bound names replaced, relations of a token with itself resolved."""
    bound = {b.name for b in term.bound}
    for old, new in list(names.items()):
        if old not in bound and new in bound:
            del names[old]
            names = {k: old if v == new else v for k, v in names.items()} | {new: old}
    if any(old not in bound for old in names):
        raise NoScan("two indices of the output are compared as equal", "write the equation with one index")
    term = replace(term, bound=tuple(b for b in term.bound if b.name not in names))
    term = rename_term(term, names)
    kept: list[Relation] = []
    factors: list[Expr] = list(term.factors)
    for relation in term.relations:
        if relation.early != relation.late:
            kept.append(relation)
        elif isinstance(relation, Order):
            if relation.strict:
                return None
            factors += relation.diagonal()
        elif isinstance(relation, Dense):
            factors += relation.diagonal()
        else:
            raise NoScan(*relation.why_not())
    scales = [f for f in factors if not free_indices(f)]  # whether a window holds its own token
    factors = [f for f in factors if free_indices(f)]
    return merge(
        replace(term, scale=times(term.scale, *scales), relations=tuple(kept), factors=tuple(factors))
    )


Did: TypeAlias = Callable[[str, str], None]


def _normalise(term: Term, outputs: frozenset[str], did: Did) -> list[Term | None] | None:
    """One step towards a forest; None if the relations are one already."""
    graph = nx.DiGraph()
    for relation in _orders(term):
        graph.add_edge(relation.early, relation.late, order=relation)
    for other in term.relations:
        if isinstance(other, Dense):
            return _implied(term, other, graph, did)
        if not isinstance(other, Order):
            return _with_order(term, other, graph)
    for relation in sorted(_orders(term), key=lambda r: (r.early, r.late)):
        if relation.within is not None:  # it says more than any path
            continue
        graph.remove_edge(relation.early, relation.late)
        if nx.has_path(graph, relation.early, relation.late):
            path = _longest_path(graph, relation.early, relation.late)
            links = [graph.edges[e]["order"] for e in zip(path, path[1:], strict=False)]
            did("reduce", f"{_text(relation)} follows from {' and '.join(map(_text, links))}")
            return _reduce(term, relation, links)
        graph.add_edge(relation.early, relation.late, order=relation)
    cycles = nx.cycle_basis(graph.to_undirected())
    if not cycles:
        return None
    closure = nx.transitive_closure(graph)
    for cycle in cycles:
        for a in sorted(cycle):
            for b in sorted(cycle):
                if a < b and not closure.has_edge(a, b) and not closure.has_edge(b, a):
                    first = merge(replace(term, relations=(*term.relations, Order(a, b))))
                    second = merge(replace(term, relations=(*term.relations, Order(b, a, strict=True))))
                    did("extend", f"a cycle of relations is split into {a} <= {b} and {b} < {a}")
                    return [first, second]
    raise NoScan("the relations form a cycle", "remove a comparison that follows from the others")


def _with_order(term: Term, relation: Relation, graph: nx.DiGraph) -> list[Term | None]:
    """A relation that scans only with an order: with one that the other relations imply."""
    for early, late in ((relation.early, relation.late), (relation.late, relation.early)):
        if early in graph and late in graph and nx.has_path(graph, early, late):
            met = relation.meet(Order(early, late))
            if met is not None:
                rest = tuple(r for r in term.relations if r is not relation)
                return [merge(replace(term, relations=(*rest, met)))]
    raise NoScan(*relation.why_not())


def _longest_path(graph: nx.DiGraph, first: str, last: str) -> list[str]:
    """The path with the most links between two tokens of an acyclic graph."""
    between = (nx.descendants(graph, first) | {first}) & (nx.ancestors(graph, last) | {last})
    path: list[str] = nx.dag_longest_path(graph.subgraph(between), weight=None, default_weight=1)
    return path


def _text(relation: Order) -> str:
    return f"{relation.early} {'<' if relation.strict else '<='} {relation.late}"


def _implied(term: Term, relation: Dense, graph: nx.DiGraph, did: Did) -> list[Term | None]:
    """A decay without an order of its own: the other relations imply one, or it is split into both."""
    decay = relation.decay
    if decay is None:
        return _with_order(term, relation, graph)
    rest = tuple(r for r in term.relations if r is not relation)
    early, late = decay.early, decay.late
    known = {early, late} <= set(graph)
    for first, last in ((early, late), (late, early)) if known else ():
        if nx.has_path(graph, first, last):
            between = (nx.descendants(graph, first) | {first}) & (nx.ancestors(graph, last) | {last})
            strict = any(e["order"].strict for _, _, e in graph.subgraph(between).edges(data=True))
            met = relation.meet(Order(first, last, strict))
            if met is not None:
                return [merge(replace(_scaled(term, relation), relations=(*rest, met)))]
    if relation.only_strict:
        raise NoScan(*relation.why_not())
    if relation.factor is None and known and nx.has_path(graph, late, early):
        if not (decay.with_early and decay.with_late):
            return [merge(replace(term, relations=rest))]
    did("split", f"a decay without an order is split into {early} <= {late} and {late} < {early}")
    # A product of no gates is 1: D = [early <= late] D + [late < early]. A power has a value on both sides.
    after = rest if relation.factor is None else term.relations
    return [
        merge(replace(term, relations=(*term.relations, Order(early, late)))),
        merge(replace(term, relations=(*after, Order(late, early, strict=True)))),
    ]


def _reduce(term: Term, edge: Order, path: list[Order]) -> list[Term | None]:
    """Remove an edge that follows from a path, its decays pushed onto the links."""
    rest = [r for r in term.relations if r is not edge]
    needs_strict = edge.strict and not any(r.strict for r in path)
    open_end = any(not d.with_late for d in edge.decays) and not path[-1].strict
    if needs_strict or open_end:
        # [a < b] = [a <= m][m < b] + [a < m][m = b], m the last link's early end.
        last = path[-1]
        strict = [replace(last, strict=True) if r is last else r for r in rest]
        first = merge(replace(term, relations=(*strict, edge)))
        second = _equal(
            replace(term, relations=(*[r for r in rest if r is not last], edge, last)),
            {last.early: last.late},
        )
        return [first, second]
    extra: dict[int, list[Decay]] = {k: [] for k in range(len(path))}
    for decay in edge.decays:
        for k in range(len(path)):
            first_link, last_link = k == 0, k == len(path) - 1
            extra[k].append(
                Decay(decay.gate, decay.with_early and first_link, decay.with_late if last_link else True)
            )
    swapped = {
        id(link): replace(link, decays=tuple(sorted(link.decays + tuple(extra[k]), key=Decay.key)))
        for k, link in enumerate(path)
    }
    return [merge(replace(term, relations=tuple(swapped.get(id(r), r) for r in rest)))]


def _orient(term: Term, outputs: frozenset[str], time: Extent) -> tuple[LinearTerm, list[Term | None]]:
    """Orient every edge towards the root; diagonals that a scan leaves over become terms."""
    graph = nx.Graph()
    for relation in _orders(term):
        graph.add_edge(relation.early, relation.late, order=relation)
    factors, scans, more = list(term.factors), [], []
    for part in nx.connected_components(graph):
        for read, write in nx.bfs_edges(graph, _root(term, part, outputs)):
            order: Order = graph.edges[read, write]["order"]
            oriented = order.scan(read)
            if oriented.diagonal is not None:
                rest = tuple(r for r in term.relations if r is not order)
                more.append(
                    _equal(
                        replace(term, relations=rest, factors=term.factors + oriented.diagonal), {write: read}
                    )
                )
                # The strict part alone goes on; the diagonal was split off.
                strict = replace(term, relations=(*rest, replace(order, strict=True)))
                return _orient_rest(strict, outputs, time, more)
            factors += oriented.write_factors
            scans.append(oriented.scan)
    plain = replace(term, relations=(), factors=tuple(factors))
    return LinearTerm(plain, tuple(scans)), more


def _orient_rest(
    term: Term, outputs: frozenset[str], time: Extent, more: list[Term | None]
) -> tuple[LinearTerm, list[Term | None]]:
    linear, extra = _orient(term, outputs, time)
    return linear, more + extra


def _root(term: Term, part: Iterable[str], outputs: frozenset[str]) -> str:
    """The output's token; without one, a token that comes after all it is related to."""
    names = sorted(part)
    found = [name for name in names if name in outputs]
    if len(found) > 1:
        raise NoScan("the output has two tokens of one sequence", "only one token index may be on the left")
    if found:
        return found[0]
    later = {r.early for r in _orders(term)}
    return next((n for n in names if n not in later), names[0])
