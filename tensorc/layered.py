"""Layered drawings of acyclic graphs: a row for each depth, few crossings, edges that bend around nodes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import networkx as nx

Point = tuple[float, float]
BEND = ("bend",)  # starts the name of a place where an edge passes a layer
BEND_WIDTH = 10.0
SWEEPS = 12
GAP = 18.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """Where everything goes: the middle of each node, and each edge as the points it runs through."""

    width: float
    height: float
    nodes: Mapping[Any, Point]
    edges: Sequence[tuple[Any, Any, Sequence[Point]]]


def layered(graph: nx.DiGraph[Any], widths: Mapping[Any, float], step: float) -> Drawing:
    """A drawing of an acyclic graph from top to bottom, the layers `step` apart.

    An edge passes the layers between its ends in bends, which all edges from one node share. The layers
    are ordered by the mean place of their neighbours, up and down again (Sugiyama, Tagawa and Toda, 1981).

    >>> import networkx as nx
    >>> drawing = layered(nx.DiGraph([("a", "b"), ("b", "c")]), {"a": 40, "b": 40, "c": 40}, 60)
    >>> [drawing.nodes[n] for n in "abc"]
    [(20.0, 30.0), (20.0, 90.0), (20.0, 150.0)]
    """
    depth = _depths(graph)
    bent = _with_bends(graph, depth)
    layers: list[list[Hashable]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in bent:
        layers[depth[node]].append(node)
    above = {node: list(bent.predecessors(node)) for node in bent}
    below = {node: list(bent.successors(node)) for node in bent}
    wide = {node: widths.get(node, BEND_WIDTH) for node in bent}
    for sweep in range(SWEEPS):
        _order(layers, below if sweep % 2 else above, bool(sweep % 2))
    place = _places(layers, above, below, wide)
    left = min((place[n] - wide[n] / 2 for n in place), default=0.0)
    points = {n: (place[n] - left, (depth[n] + 0.5) * step) for n in place}
    edges = [(u, v, [points[n] for n in _way(u, v, depth)]) for u, v in graph.edges]
    right = max((points[n][0] + wide[n] / 2 for n in points), default=0.0)
    return Drawing(right, len(layers) * step, {n: points[n] for n in graph}, edges)


def _depths(graph: nx.DiGraph[Any]) -> dict[Hashable, int]:
    """The longest way to each node; a node that nothing leads to stands right above what reads it, unless
    it is marked as `top`."""
    import networkx as nx

    depth = {n: k for k, layer in enumerate(nx.topological_generations(graph)) for n in layer}
    for node in graph:
        if not graph.in_degree(node) and graph.out_degree(node) and not graph.nodes[node].get("top"):
            depth[node] = min(depth[after] for after in graph.successors(node)) - 1
    return depth


def _way(start: Hashable, end: Hashable, depth: Mapping[Hashable, int]) -> list[Hashable]:
    """The nodes and bends of an edge."""
    return [start, *((BEND, start, k) for k in range(depth[start] + 1, depth[end])), end]


def _with_bends(graph: nx.DiGraph[Any], depth: dict[Hashable, int]) -> nx.DiGraph[Any]:
    """The graph with edges between neighbouring layers alone; the bends get their depths."""
    import networkx as nx

    bent: nx.DiGraph[Any] = nx.DiGraph()
    bent.add_nodes_from(graph)
    for start, end in graph.edges:
        way = _way(start, end, depth)
        nx.add_path(bent, way)
        depth.update((bend, depth[start] + k) for k, bend in enumerate(way[1:-1], 1))
    return bent


def _order(
    layers: list[list[Hashable]], neighbours: Mapping[Hashable, list[Hashable]], upwards: bool
) -> None:
    """Sort each layer by the mean place of the neighbours in the layer before it."""
    place = {n: k / max(1, len(layer) - 1) for layer in layers for k, n in enumerate(layer)}
    for layer in reversed(layers) if upwards else layers:
        mean = {n: _mean([place[m] for m in neighbours[n]], place[n]) for n in layer}
        layer.sort(key=lambda n: mean[n])
        place.update((n, k / max(1, len(layer) - 1)) for k, n in enumerate(layer))


def _places(
    layers: Sequence[Sequence[Hashable]],
    above: Mapping[Hashable, list[Hashable]],
    below: Mapping[Hashable, list[Hashable]],
    wide: Mapping[Hashable, float],
) -> dict[Hashable, float]:
    """The middle of every node: near to its neighbours, and apart from those beside it."""
    place = {n: 0.0 for layer in layers for n in layer}
    for sweep in range(2 * SWEEPS):
        neighbours = below if sweep % 2 else above
        for layer in reversed(layers) if sweep % 2 else layers:
            wanted = [_mean([place[m] for m in neighbours[n]], place[n]) for n in layer]
            place.update(zip(layer, _apart(wanted, [wide[n] for n in layer]), strict=True))
    return place


def _apart(wanted: Sequence[float], wide: Sequence[float]) -> list[float]:
    """Places in this order, far enough apart: the mean of what pushing right and pushing left gives."""
    right, left = list(wanted), list(wanted)
    for k in range(1, len(right)):
        right[k] = max(right[k], right[k - 1] + (wide[k - 1] + wide[k]) / 2 + GAP)
    for k in range(len(left) - 2, -1, -1):
        left[k] = min(left[k], left[k + 1] - (wide[k] + wide[k + 1]) / 2 - GAP)
    return [(a + b) / 2 for a, b in zip(left, right, strict=True)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
