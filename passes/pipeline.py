"""The passes in their order: from a program to the plan of each form.

inline        pair and state-like tensors into the equations that read them
normalise     equations to sums of products of factors and relations
merge         relations on one pair into one
chains        relations of a term into forests of scans
order         the cheapest contraction tree of every term
stages        the tree cut into states and one-token values
schedule      stages into loops over the sequence
realise       loops into steps: split over chunks, or token by token
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorc.check import check_plan, check_program, enabled
from tensorc.ir import Extent, Program, Size, walk
from tensorc.passes.blockwise import schedule
from tensorc.passes.chunkwise import Chunkwise
from tensorc.passes.columns import row_extents
from tensorc.passes.linear import NotLinear, stage_graph
from tensorc.passes.parallel import Parallel
from tensorc.passes.records import Log
from tensorc.passes.recurrent import Recurrent
from tensorc.passes.solve import NotAffine
from tensorc.passes.stage_graph import Folded, Graph
from tensorc.passes.streams import streams
from tensorc.plan import Plan, Step, span_line
from tensorc.plan_io import step_expressions

ORDER = ("inline", "normalise", "merge", "chains", "order", "stages", "schedule", "realise")


def chunkwise_plan(
    program: Program, graph: Graph, time: Extent, sizes: Mapping[str, int], chunk: int
) -> Plan:
    """The chunkwise form. The sizes and the chunk decide orders, never a state."""
    try:
        return _checked(Chunkwise(program, graph, time, sizes, chunk).plan())
    except NotAffine as problem:
        names = ", ".join(sorted(u.lstrip("%") for u in graph.unknowns))
        line = next((n.why.line for n in graph.nodes if n.out.value in graph.unknowns), None)
        change = "use form='recurrent', token by token, or make it linear in its own result"
        uses = "uses its own result" if len(graph.unknowns) == 1 else "use their own results"
        raise NotLinear(f"{names} {uses}: {problem}", change, line) from None


def fold_rows(program: Program) -> Extent | None:
    """The rows of a program without a time axis that is blockwise all the same: pairs of rows and columns
    are folded. None if there are none."""
    for axis in row_extents(program):
        try:
            graph = stage_graph(program, axis, dict.fromkeys(program.sizes(), 64), Log())
        except NotLinear:
            continue
        if any(isinstance(n, Folded) for n in graph.nodes):
            return axis
    return None


def recurrent_plan(program: Program, graph: Graph, time: Extent, sizes: Mapping[str, int]) -> Plan:
    """The recurrent form; `NotLinear` if a value needs a later token or has no time axis."""
    loops = schedule(graph)
    later = next((p for p in loops.passes if p.reverse), None)
    if later is not None:
        reason = "values are carried from later tokens to earlier ones"
        raise NotLinear(reason, "bound the index, e.g. j <= i, or use form='parallel'", None)
    for output in program.outputs:
        if time not in output.axes:
            line = span_line(program.equation(output.name).span)
            reason = f"the output {output.name} has no axis {time}: it is a total over all tokens"
            raise NotLinear(
                reason, "give it that axis, a total so far at each token, or use form='chunkwise'", line
            )
    total = next((m for p in loops.passes for m in p.memories if m.total), None)
    if total is not None:
        reason = "a sum over all tokens includes later ones"
        raise NotLinear(reason, "bound the index, e.g. j <= i, or use form='parallel'", total.why.line)
    later_fold = next((n for n in graph.nodes if isinstance(n, Folded) and n.reads_later(time)), None)
    if later_fold is not None:
        reason = f"{later_fold.op} over the tokens includes later ones"
        change = "bound the index, e.g. j <= i, or use form='chunkwise'"
        raise NotLinear(reason, change, later_fold.why.line)
    plan = Recurrent(program, graph, time, sizes, 1).plan()
    step = _length_step(plan, time)
    if step is not None:
        reason = f"the length {time} is a number in it, which no single token knows"
        raise NotLinear(reason, "pass the number as an input, or use form='chunkwise'", step.why.line)
    return _checked(plan)


def _length_step(plan: Plan, time: Extent) -> Step | None:
    """The first step whose result depends on how many tokens there are."""
    for loop in plan.loops:
        for step in (*loop.before, *loop.setup, *loop.body):
            nodes = [n for e in step_expressions(step) for n in walk(e)]
            if any(isinstance(n, Size) and n.name in time.names for n in nodes):
                return step
    return None


def parallel_plan(
    program: Program, time: Extent | None, sizes: Mapping[str, int], expand: bool, log: Log
) -> Plan:
    """The parallel form for these sizes; `expand`: polynomials of pairs are multiplied out."""
    if enabled():
        check_program(program)
    return _checked(Parallel(program, time, sizes, expand, log).plan())


def _checked(plan: Plan) -> Plan:
    if enabled():
        check_plan(plan)
    return plan


__all__ = [
    "ORDER",
    "Graph",
    "Log",
    "NotLinear",
    "chunkwise_plan",
    "fold_rows",
    "parallel_plan",
    "recurrent_plan",
    "stage_graph",
    "streams",
]
