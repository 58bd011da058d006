"""The invariants of programs and plans, checked between passes when `TENSORC_CHECK=1`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tensorc.ir import (
    Bind,
    Extent,
    Index,
    Node,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    children,
)
from tensorc.plan import (
    CACHED,
    COLUMN,
    FAR,
    HERE,
    NEAR,
    PAST,
    ROW,
    Fill,
    Keep,
    Loop,
    Plan,
    Recur,
    Ref,
    Slide,
    Step,
    Stream,
    Update,
)
from tensorc.plan_io import step_inputs, step_outputs


class InvariantError(AssertionError):
    """A pass produced something that is not a program or plan: an error in tensorc itself."""


def enabled() -> bool:
    """Whether the checks are asked for."""
    return os.environ.get("TENSORC_CHECK") == "1"


def check_program(program: Program) -> None:
    """Every tensor is defined once and read with its axes, every index has one extent where it is used."""
    axes = {name: t.axes for name, t in program.tensors().items()}
    _require(
        len(axes) == len((*program.inputs, *program.locals, *program.outputs)), "a tensor is declared twice"
    )
    targets = [e.target for e in program.equations]
    _require(len(set(targets)) == len(targets), "a tensor is defined twice")
    defined = {*targets, *(i.name for i in program.inputs)}
    _require({o.name for o in program.outputs} <= defined, "an output has no equation")
    for equation in program.equations:
        left = {b.name: b for b in equation.left}
        _require(len(left) == len(equation.left), f"{equation.target} repeats an index on its left")
        declared = tuple(b.extent for b in equation.left)
        _require(axes.get(equation.target) == declared, f"{equation.target} is not declared as it is defined")
        _check_node(equation.body, left, axes, defined, set(program.sizes()), equation.target)


def _check_node(
    node: Node,
    scope: dict[str, Bind],
    axes: Mapping[str, tuple[Extent, ...]],
    defined: set[str],
    sizes: set[str],
    where: str,
) -> None:
    match node:
        case Index(name=name):
            _require(name in scope, f"{where}: the index {name} is bound nowhere")
        case Size(name=name):
            _require(name in sizes, f"{where}: {name} is no size")
        case Read(tensor=tensor, subscripts=subscripts):
            _require(tensor in defined, f"{where}: {tensor} is not defined")
            _require(len(subscripts) == len(axes[tensor]), f"{where}: {tensor} read with other axes")
        case Reduce(binds=binds):
            fresh = {b.name: b for b in binds}
            _require(len(fresh) == len(binds) > 0, f"{where}: a reduction binds nothing, or one index twice")
            _require(not fresh.keys() & scope.keys(), f"{where}: an index is bound twice")
            scope = scope | fresh
        case Softmax(over=over):
            _require({b.name for b in over} <= scope.keys(), f"{where}: softmax over an unbound index")
    for child in children(node):
        _check_node(child, scope, axes, defined, sizes, where)


def check_plan(plan: Plan) -> None:
    """Every value is made before it is read and under as many labels as it has, every label has an extent,
    every output and state is there at the end."""
    made: dict[str, int] = {}
    labels = {name for name, _ in plan.extents} | {ROW, COLUMN, HERE}
    labels |= {state.axes[0] for state in plan.states if state.grows}
    stored = set()
    for loop in plan.loops:
        made.update((s.name, len(s.axes)) for s in loop.states)
        for part in (loop.before, loop.setup, loop.body):
            _check_steps(part, made, labels)
        stored |= _check_ends(loop)
    _check_steps(plan.epilogue, made, labels)
    for name, ref in plan.outputs:
        _require(name in plan.stored or ref.value in made, f"the output {name} is never made")
    _require(set(plan.stored) <= stored, "an output that should be stored is not")


def _check_steps(steps: tuple[Step, ...], made: dict[str, int], labels: set[str]) -> None:
    for step in steps:
        if isinstance(step, Recur):
            made.update((t.value, len(t.axes)) for t in step.targets)
            _check_steps(step.steps, made, labels)
            continue
        if isinstance(step, Stream):
            made.update((r.ref.value, len(r.ref.axes)) for r in step.running)
            _check_steps(step.steps, made, labels | {c.label for c in step.columns})
            continue
        if isinstance(step, Slide):
            _check_steps(step.steps, made, labels)
        for ref in step_inputs(step):
            _require(ref.value in made, f"{ref.value} is read before it is made, by {type(step).__name__}")
            _require(len(ref.axes) == made[ref.value], f"{ref.value} is read with {len(ref.axes)} labels")
        for ref in step_outputs(step):
            _check_labels(ref, labels)
            made[ref.value] = len(ref.axes)
        if isinstance(step, Fill):
            _require(step.target in made, f"{step.target} is filled but not made")


def _check_labels(ref: Ref, labels: set[str]) -> None:
    _require(len(set(ref.axes)) == len(ref.axes), f"{ref.value} repeats a label")
    unknown = [
        a for a in ref.axes if a not in labels and not a.startswith(("#", "$", CACHED, PAST, NEAR, FAR))
    ]
    _require(not unknown, f"{ref.value} has labels without an extent: {unknown}")


def _check_ends(loop: Loop) -> set[str]:
    updated = [s.state.value for s in loop.body if isinstance(s, Update)]
    _require(sorted(updated) == sorted(s.name for s in loop.states), "a state is not updated exactly once")
    return {s.tensor for s in loop.body if isinstance(s, Keep)}


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvariantError(message)
