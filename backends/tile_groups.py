"""Which results and which states a kernel makes together.

Kernels of their own can cut all features of a result into tiles of the grid. Results with the same features,
or some of another's, lose nothing by being made together, and read their operands once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import networkx as nx

# For one kernel that makes some results: how many features the widest of them has, and how many of these the
# grid cannot have tiles of; nothing where one result lacks what another has.
Cost = Callable[[Sequence[str]], "tuple[int, int] | None"]


def grouped(names: Sequence[str], cost: Cost) -> list[list[str]]:
    """Results in groups."""
    groups: list[list[str]] = []
    for name in names:
        home = next((group for group in groups if _together(group, [name], cost)), None)
        if home is None:
            groups.append([name])
        else:
            home.append(name)
    return groups


def state_groups(reads: Mapping[str, Sequence[str]], cost: Cost) -> list[list[str]]:
    """States in groups, in an order in which each group reads itself and earlier ones; states that depend on
    each other are in one. `reads`: the states from which each is advanced."""
    graph = nx.DiGraph()
    graph.add_nodes_from(reads)
    graph.add_edges_from((r, name) for name, every in reads.items() for r in every if r != name)
    knots = nx.condensation(graph)
    groups: list[list[str]] = []
    place: dict[str, int] = {}
    for knot in nx.lexicographical_topological_sort(knots):
        members = sorted(knots.nodes[knot]["members"], key=list(reads).index)
        earlier = [place[a] for m in members for a in graph.predecessors(m) if a not in members]
        after = max(earlier, default=-1)
        home = next((g for g in range(after + 1, len(groups)) if _together(groups[g], members, cost)), None)
        if home is None:
            home = len(groups)
            groups.append([])
        groups[home] += members
        place.update(dict.fromkeys(members, home))
    return groups


def _together(group: Sequence[str], more: Sequence[str], cost: Cost) -> bool:
    """Whether results lose nothing by being made together."""
    both, *apart = cost([*group, *more]), cost(group), cost(more)
    if both is None:
        return False
    return all(one is not None and both[1] <= one[1] for one in apart if one is None or one[0] == both[0])
