"""What each step of a plan reads and makes: one table for the checker, the graph and the backends."""

from __future__ import annotations

from tensorc.ir import Index, Node, Read, walk
from tensorc.plan import (
    Accumulate,
    Append,
    Contract,
    Delay,
    Fill,
    Fold,
    Gather,
    Guard,
    Keep,
    Load,
    LogSum,
    Map,
    Monomials,
    Normalise,
    Plan,
    Recur,
    Ref,
    Region,
    ScanTile,
    Select,
    Slide,
    Solve,
    Step,
    Stream,
    Tail,
    Tile,
    Update,
    Weigh,
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
        case Region(domain=domain):
            return list(domain)
        case Recur(steps=steps) | Stream(steps=steps) | Slide(steps=steps):
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
        case Solve():
            return [*step.blocks, *step.rights]
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
        case Append(state=state, rows=rows):
            return [state, rows]
        case Select(source=source):
            return [source]
        case Region(domain=domain):
            return [r for c in domain for r in expression_reads(c)]
        case Guard(source=source, mask=mask):
            return [source, mask]
        case Weigh():
            return [r for r in (step.scores, step.mask, step.top) if r is not None]
        case Accumulate(running=running, addend=addend, scale=scale):
            return [running, addend] if scale is None else [running, scale, addend]
        case LogSum(top=top, total=total):
            return [top, total]
        case Stream() | Slide():
            own = {r.value for s in step.steps for r in step_outputs(s)}
            own |= {r.ref.value for r in step.running} if isinstance(step, Stream) else set()
            return [r for s in step.steps for r in step_inputs(s) if r.value not in own]
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
            | Delay()
            | Tail()
            | Monomials()
            | Fold()
            | Normalise()
            | Append()
            | Select()
            | Region()
            | Guard()
            | LogSum()
        ):
            return [step.out]
        case Solve(outs=outs):
            return list(outs)
        case Weigh(out=out, scale=scale):
            return [out] if scale is None else [out, scale]
        case Slide(out=out, gates=gates):
            return [out] if gates is None else [out, gates]
        case Stream(running=running):
            return [r.ref for r in running]
        case Recur(targets=targets):
            return list(targets)
    return []


def plan_steps(plan: Plan) -> list[Step]:
    """All steps of a plan in the order in which they run."""
    steps: list[Step] = []
    for loop in plan.loops:
        steps += [*loop.before, *loop.setup, *loop.body]
    return [*steps, *plan.epilogue]
