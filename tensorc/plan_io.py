"""What each step of a plan reads and makes: one table for the checker, the graph and the backends."""

from __future__ import annotations

from tensorc.ir import Index, Node, Read, walk
from tensorc.plan import (
    Contract,
    Delay,
    Fill,
    Fold,
    Gather,
    Keep,
    Load,
    Map,
    Monomials,
    Normalise,
    Plan,
    Recur,
    Ref,
    ScanTile,
    Solve,
    Step,
    Tail,
    Tile,
    Update,
)


def expression_reads(node: Node) -> list[Ref]:
    """The values an expression reads, in order, once for each time."""
    refs = []
    for inner in walk(node):
        if isinstance(inner, Read):
            refs.append(Ref(inner.tensor, tuple(s.name for s in inner.subscripts if isinstance(s, Index))))
    return refs


def step_expressions(step: Step) -> list[Node]:
    """The expressions that a step evaluates."""
    match step:
        case Map(expr=expr):
            return [expr]
        case Gather(subscripts=subscripts):
            return list(subscripts)
        case Fold() | Normalise():
            return [step.body, *step.domain]
        case Recur(steps=steps):
            return [e for s in steps for e in step_expressions(s)]
    return []


def step_inputs(step: Step) -> list[Ref]:
    """The values a step reads, once for each time."""
    match step:
        case Gather(source=source):
            return [source]
        case Map(expr=expr):
            return expression_reads(expr)
        case Contract(left=left, right=right):
            return [left] if right is None else [left, right]
        case Tile(gates=gates):
            return [g.gate for g in gates]
        case ScanTile():
            return [step.writes, step.state, *(g.gate for g in step.gates)]
        case Delay(source=source, state=state) | Tail(source=source, state=state):
            return [state] if source is None else [source, state]
        case Solve(matrix=matrix, right=right):
            return [matrix, right]
        case Monomials(lower=lower, factor=factor):
            return [lower, factor]
        case Fold() | Normalise():
            return [r for n in (step.body, *step.domain) for r in expression_reads(n)]
        case Fill(row=row):
            return [row]
        case Update():
            return [step.addend] if step.through is None else [step.through, step.addend]
        case Keep(value=value):
            return [value]
        case Recur(steps=steps):
            return [r for s in steps for r in step_inputs(s)]
    return []


def step_outputs(step: Step) -> list[Ref]:
    """The values a step makes."""
    match step:
        case (
            Load()
            | Gather()
            | Map()
            | Contract()
            | Tile()
            | ScanTile()
            | Solve()
            | Delay()
            | Tail()
            | Monomials()
            | Fold()
            | Normalise()
        ):
            return [step.out]
        case Recur(targets=targets):
            return list(targets)
    return []


def plan_steps(plan: Plan) -> list[Step]:
    """All steps of a plan in the order in which they run."""
    steps: list[Step] = []
    for loop in plan.loops:
        steps += [*loop.before, *loop.setup, *loop.body]
    return [*steps, *plan.epilogue]
