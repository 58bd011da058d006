"""Layered drawings: layers, order and places of random graphs."""

from __future__ import annotations

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorc.layered import layered


@st.composite
def graphs(draw: st.DrawFn) -> nx.DiGraph:
    size = draw(st.integers(0, 14))
    graph = nx.DiGraph()
    graph.add_nodes_from(range(size))
    pairs = [(u, v) for v in range(size) for u in range(v)]
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), max_size=30)) if pairs else [])
    return graph


@settings(deadline=None, max_examples=60)
@given(graphs(), st.integers(10, 90))
def test_nodes_stand_apart_and_edges_go_down(graph: nx.DiGraph, width: int) -> None:
    drawing = layered(graph, dict.fromkeys(graph, float(width)), 50.0)
    assert set(drawing.nodes) == set(graph)
    for node, (x, y) in drawing.nodes.items():
        assert width / 2 - 1e-6 <= x <= drawing.width - width / 2 + 1e-6 and 0 < y < drawing.height
        assert all(abs(x - u) >= width for m, (u, v) in drawing.nodes.items() if m != node and v == y)
    assert {(u, v) for u, v, _ in drawing.edges} == set(graph.edges)
    for start, end, points in drawing.edges:
        assert points[0] == drawing.nodes[start] and points[-1] == drawing.nodes[end]
        heights = [y for _, y in points]
        assert all(b - a == 50 for a, b in zip(heights, heights[1:], strict=False))


def test_a_crossing_that_can_be_avoided_is() -> None:
    drawing = layered(nx.DiGraph([("a", "d"), ("b", "c")]), dict.fromkeys("abcd", 40.0), 50)
    a, b, c, d = (drawing.nodes[n][0] for n in "abcd")
    assert (a < b) == (d < c)


def test_sources_stand_by_what_reads_them_unless_they_are_on_top() -> None:
    graph = nx.DiGraph([("a", "b"), ("b", "c"), ("late", "c"), ("top", "c")])
    graph.nodes["top"]["top"] = True
    drawing = layered(graph, dict.fromkeys(graph, 40.0), 50)
    height = {node: y for node, (_, y) in drawing.nodes.items()}
    assert height["late"] == height["b"] and height["top"] == height["a"]
