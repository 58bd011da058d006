"""Programs and plans drawn for a report: boxes and curves with their places, which the template prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorc.graphs import plan_graph, program_graph
from tensorc.ir import Program
from tensorc.layered import Drawing, Point, layered
from tensorc.plan import Keep, Load, Plan, Update
from tensorc.plan_text import Notation
from tensorc.printing import print_equation
from tensorc.report_facts import Block, NumberedStep, percent, signature

if TYPE_CHECKING:
    import networkx as nx

LARGEST = 400  # nodes; beyond, a drawing shows nothing
HEIGHT, STEP, LETTER = 34.0, 72.0, 6.7
NARROWEST = 64.0


@dataclass(frozen=True, slots=True)
class Box:
    """A node: its corner and width, two lines of text, what a pointer on it shows; `part` of the width is
    its share of the FLOPs."""

    kind: str
    x: float
    y: float
    width: float
    name: str
    note: str
    told: str
    part: float


@dataclass(frozen=True, slots=True)
class Curve:
    """An edge as the data of an SVG path, and the tip it ends in."""

    path: str
    tip: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A drawing, or the number of nodes that were too many for one."""

    width: float
    height: float
    boxes: Sequence[Box]
    curves: Sequence[Curve]
    too_many: int = 0


@dataclass(frozen=True, slots=True)
class _Label:
    kind: str
    name: str
    note: str
    told: str
    part: float = 0.0


def draw_program(program: Program) -> Graph:
    """The tensors of a program, from inputs to outputs. What a tensor reads of itself at other positions
    is told in its box."""
    import networkx as nx

    graph: nx.DiGraph[Any] = nx.DiGraph()
    full = program_graph(program)
    defined = [e.target for e in program.equations]
    around = {n: k for k, names in enumerate(nx.strongly_connected_components(full)) for n in names}
    looped = {v for u, v in full.edges if around[u] == around[v]}
    graph.add_nodes_from((n, {"top": full.nodes[n]["kind"] == "input"}) for n in full)
    for u, v in full.edges:
        if around[u] != around[v] or (u != v and defined.index(u) < defined.index(v)):
            graph.add_edge(u, v)
    labels = {}
    for declared in (*program.inputs, *program.locals, *program.outputs):
        kind = full.nodes[declared.name]["kind"]
        told = "" if kind == "input" else print_equation(program.equation(declared.name))
        note = f"{kind}, recursive" if declared.name in looped else kind
        labels[declared.name] = _Label(kind, signature(declared), note, told)
    return _draw(graph, labels)


def draw_plan(plan: Plan, blocks: Sequence[Block], flops: int) -> Graph:
    """The steps of a plan with their numbers and shares, from the inputs and states to the outputs and the
    states after. `blocks` are the steps as the report tells them, `flops` those of the whole plan."""
    steps = {id(s.cost.step): s for block in blocks for group in block.groups for s in group.steps}
    graph, labels = _plan_nodes(plan), dict[Any, _Label]()
    notation = Notation(plan)
    states = {state.name: notation.state(state) for state in plan.states}
    for node, data in graph.nodes(data=True):
        kind, name = data["kind"], node[1]
        step = steps.get(id(data.get("step")))
        if kind == "state":
            after = node[0] == "after"
            labels[node] = _Label(kind, states[name], "state after" if after else "state", _told(step))
        elif kind in ("input", "output"):
            labels[node] = _Label(kind, name, kind, _told(step))
        elif step is not None:
            part = step.cost.flops / flops if flops else 0.0
            note = f"{step.cost.kind} {percent(part)}" if step.cost.flops else step.cost.kind
            colour = "product" if step.cost.kind == "product" else "step"
            labels[node] = _Label(colour, f"{step.number}  {notation.value(name)}", note, _told(step), part)
    return _draw(graph, labels)


def _told(step: NumberedStep | None) -> str:
    return "" if step is None else step.text


def _plan_nodes(plan: Plan) -> nx.DiGraph[Any]:
    """Values, tensors and states as nodes ("value" | "tensor" | "state" | "after", name); no cycles, since a
    state before a run is not the state after it. The rows of a tensor are the tensor."""
    import networkx as nx

    full = plan_graph(plan)
    rows = {data["step"].out.value: data["step"].tensor for _, data in full.nodes(data=True)
            if isinstance(data.get("step"), Load)}  # fmt: skip
    states = {state.name for state in plan.states}
    outputs = {name for name, _ in plan.outputs}
    graph: nx.DiGraph[Any] = nx.DiGraph()

    def node(value: str) -> tuple[str, str]:
        if value in states:
            return "state", value
        if value in rows:
            return "tensor", rows[value]
        return ("tensor" if value in plan.inputs or value in plan.stored else "value"), value

    for name in plan.inputs:
        graph.add_node(("tensor", name), kind="input", top=True)
    for state in plan.states:
        graph.add_node(("state", state.name), kind="state")
    for value, data in full.nodes(data=True):
        step = data.get("step")
        if step is None or isinstance(step, Load):
            continue
        at = ("after", value) if isinstance(step, Update) else node(value)
        stored = "output" if value in outputs else "step"
        kind = "state" if at[0] == "after" else stored if isinstance(step, Keep) else "step"
        graph.add_node(at, kind=kind, step=step)
    for value, data in full.nodes(data=True):
        step = data.get("step")
        if step is not None and not isinstance(step, Load):
            at = ("after", value) if isinstance(step, Update) else node(value)
            for before in map(node, full.predecessors(value)):
                if before in graph and before != at:
                    graph.add_edge(before, at)
    for name, ref in plan.outputs:
        if name not in plan.stored:
            graph.add_node(("output", name), kind="output")
            graph.add_edge(node(ref.value), ("output", name))
    return graph


# -- places --------------------------------------------------------------------------------------------------


def _draw(graph: nx.DiGraph[Any], labels: Mapping[Any, _Label]) -> Graph:
    if len(graph) > LARGEST:
        return Graph(0, 0, (), (), len(graph))
    widths = {
        node: max(NARROWEST, LETTER * max(len(label.name), len(label.note)) + 16)
        for node, label in labels.items()
    }
    drawing = layered(graph, widths, STEP)
    boxes = []
    for node, (x, y) in drawing.nodes.items():
        told = labels[node]
        corner = (round(x - widths[node] / 2, 1), round(y - HEIGHT / 2, 1))
        boxes.append(Box(told.kind, *corner, widths[node], told.name, told.note, told.told, told.part))
    return Graph(drawing.width, drawing.height, boxes, _curves(drawing))


def _curves(drawing: Drawing) -> list[Curve]:
    return [_curve(points) for _, _, points in drawing.edges]


def _curve(points: Sequence[Point]) -> Curve:
    """From the lower edge of the first box to the upper edge of the last."""
    (x, y), *way = points
    path = [f"M{x:.1f} {y + HEIGHT / 2:.1f}"]
    below = y + HEIGHT / 2
    for k, (u, v) in enumerate(way):
        last = k == len(way) - 1
        top = v - HEIGHT / 2 - (5 if last else 0)
        middle = (below + top) / 2
        path.append(f"C{x:.1f} {middle:.1f} {u:.1f} {middle:.1f} {u:.1f} {top:.1f}")
        if not last:  # straight through the layer
            path.append(f"V{v + HEIGHT / 2:.1f}")
        x, below = u, v + HEIGHT / 2
    tip = way[-1][1] - HEIGHT / 2
    return Curve(" ".join(path), f"M{x - 3:.1f} {tip - 6:.1f}h6l-3 6z")
