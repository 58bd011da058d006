"""Programs and plans as `networkx` graphs, for drawing and for questions about dependencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorc.ir import Program, reads
from tensorc.plan import Keep, Load, Plan, Recur, Step, Update
from tensorc.plan_io import plan_steps, step_inputs, step_outputs

if TYPE_CHECKING:
    import networkx as nx


def program_graph(program: Program) -> nx.DiGraph[Any]:
    """Tensors as nodes (`kind`: input, local or output), an edge from each tensor to what reads it.

    >>> import tensorc
    >>> p = tensorc.parse("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    >>> list(program_graph(p).edges)
    [('x', 'y')]
    """
    import networkx as nx

    graph: nx.DiGraph[Any] = nx.DiGraph()
    for kind, declared in (("input", program.inputs), ("local", program.locals), ("output", program.outputs)):
        graph.add_nodes_from((t.name, {"kind": kind, "axes": t.axes}) for t in declared)
    for equation in program.equations:
        graph.add_edges_from((tensor, equation.target) for tensor in sorted(reads(equation.body)))
    return graph


def plan_graph(plan: Plan) -> nx.DiGraph[Any]:
    """Values as nodes (with the step that makes them), an edge from each value to what is made of it."""
    import networkx as nx

    graph: nx.DiGraph[Any] = nx.DiGraph()
    for state in plan.states:
        graph.add_node(state.name, kind="state")
    for step in plan_steps(plan):
        outputs = [r.value for r in step_outputs(step)]
        own = _own(step)
        if isinstance(step, Load):
            graph.add_edge(step.tensor, step.out.value)
        elif isinstance(step, Keep):
            outputs = [step.tensor]
        elif isinstance(step, Update):
            outputs = [step.state.value]
        for value in outputs:
            graph.add_node(value, step=step)
            graph.add_edges_from((ref.value, value) for ref in step_inputs(step) if ref.value not in own)
    return graph


def _own(step: Step) -> set[str]:
    """The values that a recursion makes and reads itself."""
    if not isinstance(step, Recur):
        return set()
    return {r.value for inner in (step, *step.steps) for r in step_outputs(inner)}
