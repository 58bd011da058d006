"""Self-reference in the stage graph: which values depend on themselves, and as what linear system.

An equation that reads its own result at strictly earlier tokens, w = b + Σ a · (P · state of w), is a
cycle of the graph: the strict read, pointwise values, w. Token by token it needs nothing special, since a
strict read comes before the write. Chunk by chunk it is one triangular system, (1 − a · (P Kᵀ ∘ tile)) w
= b + a · (P · state before the chunk) (Yang et al. 2024, arXiv 2406.06484, section 3, for one such rule).
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from tensorc.ir import Add, Const, Div, Expr, Index, Mul, Neg, Node, Read, rebuild, substitute, walk
from tensorc.passes.blockwise import node_inputs
from tensorc.passes.stage_graph import Folded, Graph, GraphNode, Product, Shift, Stage, Tensor, Value
from tensorc.passes.terms import ONE, times
from tensorc.plan import Ref

LARGEST = 64  # values of a cycle that are written as one system
LONGEST = 4096  # nodes of an unknown's equation, what it uses of its own token written out


class NotAffine(Exception):
    """A self-reference that is no linear system: why not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One unknown: constant + Σ factor · read, with expressions over its own labels; each strict read stands
    with the labels it is read under."""

    unknown: Value
    reads: tuple[Stage, ...]
    labels: tuple[tuple[str, ...], ...]
    factors: tuple[Expr, ...]
    constant: Expr


@dataclass(frozen=True, slots=True)
class Write:
    """What a cycle writes to a state: constant + Σ factor · unknown, under the labels of the value."""

    value: Ref
    constant: Expr
    terms: tuple[tuple[Ref, Expr], ...]


@dataclass(frozen=True, slots=True)
class System:
    """A linear system: a row for each unknown, and what of them each state is written, by its value."""

    rows: tuple[Row, ...]
    writes: dict[str, Write]


def cycles(graph: Graph, nodes: dict[str, GraphNode]) -> list[frozenset[str]]:
    """The sets of values that depend on themselves."""
    values = nx.DiGraph()
    for name, node in nodes.items():
        for value in node_inputs(graph, node):
            values.add_edge(value, name)
    return [frozenset(c) for c in nx.strongly_connected_components(values) if len(c) > 1]


def system(graph: Graph, nodes: dict[str, GraphNode], cycle: frozenset[str]) -> System:
    """The linear system of a cycle; `NotAffine` if it is none."""
    if len(cycle) > LARGEST:
        raise NotAffine(f"there are {len(cycle)} equations and states in a cycle")
    stages = [n for v in sorted(cycle) if isinstance(n := nodes[v], Stage)]
    if any(isinstance(nodes[v], Folded) for v in cycle):
        raise NotAffine("it goes through pairs of tokens that are not separable")
    if any(isinstance(nodes[v], Shift) for v in cycle):
        raise NotAffine("it is read at a fixed distance, one token after the other")
    nodes = nodes | {v: _pointwise(graph, n) for v in cycle if isinstance(n := nodes[v], Product)}
    if any(isinstance(nodes[v], Product) for v in cycle):
        raise NotAffine("its own result is contracted again after the state is read")
    written: set[str] = set()
    for stage in stages:
        writes = [r.value for r in graph.memories[stage.state.value].writes if r.value in cycle]
        if not stage.reading.strict or any(r.value in cycle for r in stage.items) or len(writes) != 1:
            raise NotAffine("the state is multiplied by itself, or read after the write it depends on")
        written |= set(writes)
    found = {name: _write(nodes[name], graph, nodes, cycle) for name in sorted(written)}
    unknowns = sorted({ref.value for write in found.values() for ref, _ in write.terms})
    reads = {s.out.value: s for s in stages}
    return System(tuple(_row(nodes[name], graph, nodes, cycle, reads) for name in unknowns), found)


def _pointwise(graph: Graph, node: Product) -> GraphNode:
    """A product that sums nothing is an expression of one token."""
    if {a for item in node.items for a in item.axes} - set(node.out.axes):
        return node
    for item in node.items:
        graph.tensors.setdefault(item.value, Tensor(item.value, tuple(range(len(item.axes)))))
    factors = (Read(item.value, tuple(Index(a) for a in item.axes)) for item in node.items)
    return Value(node.out, times(*factors), node.why)


def _write(node: GraphNode, graph: Graph, nodes: dict[str, GraphNode], cycle: frozenset[str]) -> Write:
    """A written value is an unknown itself, unless it is made of narrower ones: k ⊗ w of w, and sums."""
    if not isinstance(node, Value):
        raise NotAffine("what is written to the state is read from another state of its own")
    wide = frozenset(v for v in cycle if len(nodes[v].out.axes) >= len(node.out.axes))
    expr = _expanded(node.expr, graph, nodes, wide)
    reads = [n.tensor for n in walk(expr) if isinstance(n, Read) and n.tensor in graph.tensors]
    inner = {graph.tensors[name].value for name in reads} & cycle
    if not inner or inner & wide or not all(isinstance(nodes[v], Value) for v in inner):
        return Write(node.out, Const(0), ((node.out, ONE),))
    constant, parts = affine_in(expr, inner, graph)
    return Write(
        node.out, constant, tuple(sorted(parts.items(), key=lambda item: (item[0].value, item[0].axes)))
    )


def _row(
    unknown: GraphNode,
    graph: Graph,
    nodes: dict[str, GraphNode],
    cycle: frozenset[str],
    stages: dict[str, Stage],
) -> Row:
    """What one unknown is, with the unknowns of the same token that it uses replaced by what they are."""
    if not isinstance(unknown, Value):
        raise NotAffine("what is written to the state is read from another state of its own")
    expr = _expanded(unknown.expr, graph, nodes, cycle)
    constant, found = affine_in(expr, set(stages), graph)
    order = sorted(found, key=lambda ref: (ref.value, ref.axes))
    return Row(
        unknown,
        tuple(stages[r.value] for r in order),
        tuple(r.axes for r in order),
        tuple(found[r] for r in order),
        constant,
    )


def _expanded(expr: Expr, graph: Graph, nodes: dict[str, GraphNode], cycle: frozenset[str]) -> Expr:
    """The expression with every pointwise value of the cycle replaced by what it is."""
    budget = [LONGEST]

    def visit(node: Node) -> Node:
        budget[0] -= 1
        if budget[0] < 0:
            raise NotAffine("its equations use each other too often")
        if isinstance(node, Read) and node.tensor in graph.tensors:
            ref = graph.read(
                node.tensor, tuple(s.name if isinstance(s, Index) else "" for s in node.subscripts)
            )
            inner = nodes.get(ref.value)
            if ref.value in cycle and isinstance(inner, Value):
                names = {a: Index(b) for a, b in zip(inner.out.axes, ref.axes, strict=True)}
                return visit(substitute(inner.expr, names))
        return rebuild(node, visit)

    return visit(expr)  # type: ignore[return-value]


def affine_in(expr: Expr, unknown: set[str], graph: Graph) -> tuple[Expr, dict[Ref, Expr]]:
    """(constant, coefficient of each unknown) of an expression; `NotAffine` if it is not linear in them."""
    key = _unknown(expr, unknown, graph)
    if key is not None:
        return Const(0), {key: ONE}
    if not any(_unknown(n, unknown, graph) for n in walk(expr)):
        return expr, {}
    match expr:
        case Neg(operand=operand):
            constant, parts = affine_in(operand, unknown, graph)
            return _negated(constant), {k: times(Const(-1), v) for k, v in parts.items()}
        case Add(terms=terms):
            return _sum([affine_in(t, unknown, graph) for t in terms])
        case Mul(factors=factors):
            return _product(factors, unknown, graph)
        case Div(numerator=top, denominator=bottom):
            if any(_unknown(n, unknown, graph) for n in walk(bottom)):
                raise NotAffine("it divides by its own result")
            return _product((top, Div(ONE, bottom)), unknown, graph)
    raise NotAffine("it goes through a function that is not linear")


def _negated(expr: Expr) -> Expr:
    return expr if expr == Const(0) else times(Const(-1), expr)


def _unknown(node: Node, unknown: set[str], graph: Graph) -> Ref | None:
    """The value a node reads, if it is one of the unknowns under plain labels."""
    if not isinstance(node, Read) or node.tensor not in graph.tensors:
        return None
    if graph.tensors[node.tensor].value not in unknown:
        return None
    labels = tuple(s.name for s in node.subscripts if isinstance(s, Index))
    if len(set(labels)) != len(node.subscripts):
        raise NotAffine("its own result is read under repeated or computed indices")
    return graph.read(node.tensor, labels)


def _sum(parts: list[tuple[Expr, dict[Ref, Expr]]]) -> tuple[Expr, dict[Ref, Expr]]:
    constants = tuple(c for c, _ in parts if c != Const(0))
    merged: dict[Ref, list[Expr]] = {}
    for _, found in parts:
        for key, factor in found.items():
            merged.setdefault(key, []).append(factor)
    total = Const(0) if not constants else constants[0] if len(constants) == 1 else Add(constants)
    return total, {k: v[0] if len(v) == 1 else Add(tuple(v)) for k, v in merged.items()}


def _product(factors: tuple[Expr, ...], unknown: set[str], graph: Graph) -> tuple[Expr, dict[Ref, Expr]]:
    inside = [f for f in factors if any(_unknown(n, unknown, graph) for n in walk(f))]
    if len(inside) != 1:
        raise NotAffine("its own result is multiplied by itself")
    rest = [f for f in factors if f is not inside[0]]
    constant, parts = affine_in(inside[0], unknown, graph)
    scaled = Const(0) if constant == Const(0) else times(*rest, constant)
    return scaled, {k: times(*rest, v) for k, v in parts.items()}
