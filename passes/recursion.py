"""Self-reference: which axis a group of equations runs along, in which direction, and in what order."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from tensorc.ir import Equation, Expr, Extent, Index, Node, Read, Reduce, Softmax, conjuncts, walk
from tensorc.passes.affine import affine, as_order


@dataclass(frozen=True, slots=True)
class Recursion:
    """A group of equations filled position by position: each equation's recursion index, the extent,
    the direction, and the equations in the order in which one position is computed."""

    extent: Extent
    reverse: bool
    axes: dict[str, int]
    order: tuple[Equation, ...]


def recursion(group: tuple[Equation, ...]) -> Recursion:
    """How to evaluate a group of equations that use each other."""
    names = {e.target for e in group}
    axes = {e.target: _axis(e, names, group) for e in group}
    reverse = False
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(group)))
    position = {e.target: k for k, e in enumerate(group)}
    for k, equation in enumerate(group):
        here = equation.left[axes[equation.target]].name
        orders = _orders(equation.body)
        for node in walk(equation.body):
            if isinstance(node, Read) and node.tensor in names:
                lag = _lag(node.subscripts[axes[node.tensor]], here, orders)
                if lag == 0:
                    graph.add_edge(position[node.tensor], k)
                elif lag > 0:
                    reverse = True
    order = tuple(group[k] for k in nx.lexicographical_topological_sort(graph))
    extent = group[0].left[axes[group[0].target]].extent
    return Recursion(extent, reverse, axes, order)


def _axis(equation: Equation, names: set[str], group: tuple[Equation, ...]) -> int:
    """The axis along which the reads of the group differ from the position being defined."""
    count = len(equation.left)
    moved: list[int] = []
    for other in group:
        for node in walk(other.body):
            if isinstance(node, Read) and node.tensor == equation.target:
                left = {b.name for b in other.left}
                for k in range(count):
                    subscript = node.subscripts[k]
                    if not (isinstance(subscript, Index) and subscript.name in left):
                        moved.append(k)
    if moved:
        return max(set(moved), key=lambda k: (moved.count(k), -k))
    extents = [other.left[_axis_of_self(other, names)].extent for other in group if other is not equation]
    return next((k for k, b in enumerate(equation.left) if b.extent in extents), 0)


def _axis_of_self(equation: Equation, names: set[str]) -> int:
    for node in walk(equation.body):
        if isinstance(node, Read) and node.tensor in names:
            left = {b.name for b in equation.left}
            for k, subscript in enumerate(node.subscripts):
                if not (isinstance(subscript, Index) and subscript.name in left) and k < len(equation.left):
                    return k
    return 0


def _orders(body: Node) -> nx.DiGraph:
    """early → late for every order in a domain, with the strict ones marked."""
    graph = nx.DiGraph()
    for node in walk(body):
        if isinstance(node, Reduce | Softmax):
            for condition in conjuncts(node.domain):
                found = as_order(condition)
                if found is not None and found[2] != "==":
                    graph.add_edge(found[0], found[1])
                else:
                    _shifted(condition, graph)
    return graph


def _shifted(condition: Node, graph: nx.DiGraph) -> None:
    """Orders with an offset, such as j <= i - 3."""
    from tensorc.ir import Add, Compare, Neg
    from tensorc.passes.affine import difference

    if isinstance(condition, Compare) and condition.op in ("<", "<=", ">", ">="):
        found = difference(Add((condition.left, Neg(condition.right))))
        if found is not None:
            late, early = found[0], found[1]
            if condition.op in ("<", "<="):
                late, early = early, late
            graph.add_edge(early, late)


def _lag(subscript: Expr, here: str, orders: nx.DiGraph) -> int:
    """-1 if the subscript is an earlier position than `here`, 0 if the same, 1 if later."""
    if isinstance(subscript, Index):
        if subscript.name == here:
            return 0
        if subscript.name in orders and here in orders:
            if nx.has_path(orders, subscript.name, here):
                return -1
            if nx.has_path(orders, here, subscript.name):
                return 1
    found = affine(subscript)
    if found is not None and found[0].get(here) == 1:
        return (found[1] > 0) - (found[1] < 0) if len(found[0]) == 1 else -1
    return -1


__all__ = ["Recursion", "recursion"]
