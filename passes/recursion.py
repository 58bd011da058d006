"""Self-reference: which axis a group of equations runs along, in which direction, and in what order.

Every read of the group's tensors gives, for an axis of the equation and an axis of the tensor, bounds on
how far the position read is from the position written: from the subscript, and from the conditions
around it (differences of indices; the tightest bound they imply is a shortest path). One axis for each
tensor is chosen so that all reads are earlier or at the same position (or all later), and those at the
same position make no cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

import networkx as nx

from tensorc.ir import (
    Add,
    Compare,
    Cond,
    Div,
    Equation,
    Expr,
    Extent,
    Iverson,
    Mul,
    Neg,
    Node,
    Read,
    Reduce,
    Softmax,
    children,
    conjuncts,
)
from tensorc.passes.affine import affine

SEARCH_LIMIT = 20_000
Distances = dict[tuple[str, str], float]  # (x, y) → an upper bound of x - y
Lag = tuple[float, float]  # the least and the largest distance from the position written


@dataclass(frozen=True, slots=True)
class Recursion:
    """A group of equations filled position by position: each equation's recursion index, the extent,
    the direction, and the equations in the order in which one position is computed."""

    extent: Extent
    reverse: bool
    axes: dict[str, int]
    order: tuple[Equation, ...]


@dataclass(frozen=True, slots=True)
class _Use:
    """A read of one of the group's tensors, and for every pair of axes (of the equation, of the tensor)
    its lag."""

    target: str
    tensor: str
    lags: dict[tuple[int, int], Lag]


def recursion(group: tuple[Equation, ...]) -> Recursion:
    """How to evaluate a group of equations that use each other."""
    equations = {e.target: e for e in group}
    uses = [use for e in group for use in _uses(e, equations)]
    for known in (True, False):  # where the conditions do not tell, the front end knows that it is earlier
        for reverse in (False, True):
            for axes in _choices(group, uses, reverse, known):
                order = _order(group, uses, axes, reverse)
                if order is not None:
                    first = group[0]
                    return Recursion(first.left[axes[first.target]].extent, reverse, axes, order)
    raise ValueError(f"{', '.join(equations)}: no axis along which one position follows from the others")


# -- the distance of a read ------------------------------------------------------------------------------


def _uses(equation: Equation, group: Mapping[str, Equation]) -> Iterator[_Use]:
    """Every read of the group in an equation, with the conditions that hold around it."""
    stack: list[tuple[Node, tuple[Cond, ...]]] = [(equation.body, ())]
    while stack:
        node, around = stack.pop()
        if isinstance(node, Read) and node.tensor in group:
            yield _use(equation, node, group[node.tensor], _distances(around))
        inside = around
        if isinstance(node, Reduce | Softmax):
            inside = (*around, *conjuncts(node.domain))
        elif isinstance(node, Mul | Div):
            inside = (*around, *conjuncts(_strong(node)))
        stack.extend((child, inside) for child in children(node))


def _strong(node: Node) -> list[Cond]:
    """The conditions that are factors of a product: where one fails, nothing else of it is used."""
    found: list[Cond] = []
    stack = [node]
    while stack:
        match stack.pop():
            case Mul(factors=factors):
                stack.extend(factors)
            case Div(numerator=numerator):
                stack.append(numerator)
            case Iverson(condition=condition):
                found.append(condition)
    return found


def _use(equation: Equation, read: Read, source: Equation, distances: Distances) -> _Use:
    lags = {}
    for a, bind in enumerate(equation.left):
        for b, subscript in enumerate(read.subscripts):
            if source.left[b].extent == bind.extent:
                lags[a, b] = _lag(subscript, bind.name, distances)
    return _Use(equation.target, read.tensor, lags)


def _lag(subscript: Expr, here: str, distances: Distances) -> Lag:
    """Bounds of subscript - here; indices are at least 0."""
    found = affine(subscript)
    if found is None:
        return -inf, inf
    names, constant = dict(found[0]), found[1]
    if names.get(here) == 1:
        del names[here]
        least = greatest = float(constant)
    else:
        near = next((n for n, c in names.items() if c == 1 and (n, here) in distances), None)
        if near is None:
            near = next((n for n, c in names.items() if c == 1 and (here, n) in distances), None)
        if near is None:
            return -inf, inf
        del names[near]
        least = constant - distances.get((here, near), inf)
        greatest = constant + distances.get((near, here), inf)
    if any(c > 0 for c in names.values()):
        greatest = inf
    if any(c < 0 for c in names.values()):
        least = -inf
    return least, greatest


def _distances(conditions: Iterable[Cond]) -> Distances:
    """The tightest bounds of the differences of indices that conditions imply."""
    found: Distances = {}
    for condition in conditions:
        for x, y, bound in _bounds(condition):
            found[x, y] = min(bound, found.get((x, y), inf))
    names = sorted({name for pair in found for name in pair})
    for between in names:
        for x in names:
            for y in names:
                through = found.get((x, between), inf) + found.get((between, y), inf)
                if x != y and through < found.get((x, y), inf):
                    found[x, y] = through
    return found


def _bounds(condition: Cond) -> Iterator[tuple[str, str, float]]:
    """(x, y, c) for each x - y <= c that a comparison says."""
    if not isinstance(condition, Compare) or condition.op == "!=":
        return
    left, right, op = condition.left, condition.right, condition.op
    if op in (">", ">="):
        left, right, op = right, left, "<" if op == ">" else "<="
    found = affine(Add((left, Neg(right))))
    if found is None or sorted(found[0].values()) != [-1, 1]:
        return
    plus, minus = sorted(found[0], key=lambda name: -found[0][name])
    yield plus, minus, -found[1] - (op == "<")
    if op == "==":
        yield minus, plus, found[1]


# -- the choice of axes ----------------------------------------------------------------------------------


def _suits(use: _Use, axes: Mapping[str, int], reverse: bool, known: bool) -> bool:
    """Whether a read is at the same position or before it (after it, if reversed)."""
    pair = axes[use.target], axes[use.tensor]
    if pair not in use.lags:
        return False
    least, greatest = use.lags[pair]
    if not known and (least, greatest) == (-inf, inf):
        return True
    return least >= 0 if reverse else greatest <= 0


def _choices(
    group: tuple[Equation, ...], uses: list[_Use], reverse: bool, known: bool
) -> Iterator[dict[str, int]]:
    """Choices of one axis for each tensor that suit every read."""
    order = _neighbours_first(group, uses)
    about: dict[str, list[_Use]] = {e.target: [] for e in order}
    place = {e.target: k for k, e in enumerate(order)}
    for use in uses:
        about[max(use.target, use.tensor, key=place.__getitem__)].append(use)
    axes: dict[str, int] = {}
    stack = [iter(range(len(order[0].left)))]
    for _ in range(SEARCH_LIMIT):
        if not stack:
            return
        equation = order[len(stack) - 1]
        axes.pop(equation.target, None)
        axis = next(stack[-1], None)
        if axis is None:
            stack.pop()
            continue
        axes[equation.target] = axis
        if not all(_suits(use, axes, reverse, known) for use in about[equation.target]):
            continue
        if len(stack) == len(order):
            yield dict(axes)
        else:
            stack.append(iter(range(len(order[len(stack)].left))))


def _neighbours_first(group: tuple[Equation, ...], uses: list[_Use]) -> list[Equation]:
    """The equations so that each one but the first reads, or is read by, one before it."""
    graph = nx.Graph([(u.target, u.tensor) for u in uses])
    by_name = {e.target: e for e in group}
    start = group[0].target
    return [by_name[start], *(by_name[name] for _, name in nx.bfs_edges(graph, start))]


def _order(
    group: tuple[Equation, ...], uses: list[_Use], axes: Mapping[str, int], reverse: bool
) -> tuple[Equation, ...] | None:
    """The equations in the order of one position; None if some need each other there."""
    position = {e.target: k for k, e in enumerate(group)}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(group)))
    for use in uses:
        least, greatest = use.lags[axes[use.target], axes[use.tensor]]
        if (least if reverse else -greatest) <= 0 and (least, greatest) != (-inf, inf):
            graph.add_edge(position[use.tensor], position[use.target])
    if not nx.is_directed_acyclic_graph(graph):
        return None
    return tuple(group[k] for k in nx.lexicographical_topological_sort(graph))


__all__ = ["Recursion", "recursion"]
