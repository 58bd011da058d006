"""The loops of a stage graph: which pass over the sequence computes what.

Stages of one direction share a loop; what needs the result of a whole pass (a total, or a scan in the
other direction) is computed in a later one. Values that cross loops are kept whole, unless they are
pointwise in the inputs: then they are made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import networkx as nx

from tensorc.ir import reads
from tensorc.passes.linear import NotLinear
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Folded, Graph, GraphNode, Memory, Packed, Product, Shift, Stage, Value

ROUNDS = 8  # of moving values that depend on themselves to a later loop


@dataclass(slots=True)
class Pass:
    """One loop to be: its direction (None until a scan fixes it) and its nodes."""

    reverse: bool | None = None
    nodes: list[GraphNode] = field(default_factory=list)
    constants: list[GraphNode] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)


@dataclass(slots=True)
class Schedule:
    """The loops in order, and for every value the first loop that has it."""

    passes: list[Pass]
    first: dict[str, int]
    remade: set[str]


def schedule(graph: Graph) -> Schedule:
    """Assign every node of the graph to the earliest loop that can compute it. Values that depend on
    themselves share a loop: the first that has what all of them need."""
    together = _cycles(graph)
    least: dict[str, int] = {}
    plan = _schedule(graph, least)
    for _ in range(len(together) + ROUNDS):
        apart = [c for c in together if len({plan.first[value] for value in c}) > 1]
        if not apart:
            break
        for cycle in apart:
            latest = max(plan.first[value] for value in cycle)
            least.update(dict.fromkeys(cycle, latest))
        plan = _schedule(graph, least)
    return plan


def _cycles(graph: Graph) -> list[set[str]]:
    """The sets of values that depend on themselves."""
    made = {n.out.value for n in graph.nodes}
    values: nx.DiGraph[str] = nx.DiGraph()
    for node in graph.nodes:
        values.add_edges_from((v, node.out.value) for v in node_inputs(graph, node) if v in made)
    return [c for c in nx.strongly_connected_components(values) if len(c) > 1]


def _schedule(graph: Graph, least: Mapping[str, int]) -> Schedule:
    plan = Schedule([Pass()], {}, set())
    placed: dict[tuple[str, int], str] = {}
    for node in graph.nodes:
        inputs = node_inputs(graph, node)
        level = max([least.get(node.out.value, 0), *(plan.first.get(value, 0) for value in inputs)])
        if isinstance(node, Stage):
            _place_stage(graph, node, level, plan, placed)
        elif isinstance(node, Folded):
            _place_fold(graph, node, level, plan)
        elif isinstance(node, Shift):
            while _at(plan, level).reverse not in (None, node.reverse):
                level += 1
            target = _at(plan, level)
            target.reverse = node.reverse
            target.nodes.append(node)
            plan.first[node.out.value] = level
        else:
            constant = TOKEN not in node.out.axes
            target = _at(plan, level)
            (target.constants if constant else target.nodes).append(node)
            if isinstance(node, Value | Packed) and all(
                v not in plan.first or v in plan.remade for v in inputs
            ):
                plan.remade.add(node.out.value)
            plan.first[node.out.value] = level
    return plan


def _place_stage(
    graph: Graph, node: Stage, level: int, plan: Schedule, placed: dict[tuple[str, int], str]
) -> Stage:
    """Put a stage into the first loop that fits; its state is shared with others of that loop."""
    memory = graph.memories[node.state.value]
    while not memory.total and _at(plan, level).reverse not in (None, memory.reverse):
        level += 1
    target = _at(plan, level)
    if not memory.total:
        target.reverse = memory.reverse
    if (memory.name, level) not in placed:
        copied = any(name == memory.name for name, _ in placed)
        own = replace(memory, name=f"{memory.name}_{level}") if copied else memory
        graph.memories[own.name] = own
        placed[memory.name, level] = own.name
        target.memories.append(own)
    node = replace(node, state=replace(node.state, value=placed[memory.name, level]))
    plan.first[node.out.value] = level + 1 if memory.total else level
    if memory.total:
        _at(plan, level + 1).constants.append(node)
    else:
        target.nodes.append(node)
    return node


def _place_fold(graph: Graph, node: Folded, level: int, plan: Schedule) -> None:
    """Put a fold into the first loop that fits: a forward one if it fills a cache as it goes, else one after
    all loops that make what it reads at columns."""
    if node.lag is not None:
        while _at(plan, level).reverse not in (None, False):
            level += 1
        _at(plan, level).reverse = False
    else:
        made = {n.out.value for n in graph.nodes if TOKEN in n.out.axes}
        missing = next((v for v, _ in node.cached if v in made and v not in plan.first), None)
        if missing is not None:
            name = missing.lstrip("%$")
            reason = f"{name} uses its own result at later tokens, in pairs that no state summarises"
            raise NotLinear(reason, "use form='parallel'", node.why.line)
        level = max([level, *(plan.first[v] + 1 for v, _ in node.cached if v in made)])
    _at(plan, level).nodes.append(node)
    plan.first[node.out.value] = level


def _at(plan: Schedule, level: int) -> Pass:
    while len(plan.passes) <= level:
        plan.passes.append(Pass())
    return plan.passes[level]


def node_inputs(graph: Graph, node: GraphNode) -> list[str]:
    """The values a node needs."""
    match node:
        case Value(expr=expr):
            return [graph.tensors[t].value for t in sorted(reads(expr))]
        case Product(items=items):
            return [r.value for r in items]
        case Packed(lower=lower, factor=factor):
            return [lower.value, factor.value]
        case Shift(source=source):
            return [source.value]
        case Folded(rows=rows, cached=cached):
            return [*rows, *(value for value, _ in cached)]
        case Stage(items=items, state=state):
            memory = graph.memories[state.value]
            return [r.value for r in (*items, *memory.writes, *(g for g, _ in memory.gates))]
    raise TypeError(node)
