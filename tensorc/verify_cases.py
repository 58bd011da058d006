"""The ways to compute a program that verification compares with its definition.

A case is a form at a chunk, or a stream: the sequence in two pieces, the second beginning with the state
that the first left. Every plan that the compiler may choose is taken: orders depend on sizes, and what is
verified at small sizes should be what runs at large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from tensorc.execute_values import PlanError
from tensorc.ir import Extent, Program
from tensorc.numbers import Array
from tensorc.operator import Operator
from tensorc.passes.pipeline import (
    Log,
    NotLinear,
    chunkwise_plan,
    parallel_plan,
    recurrent_plan,
    stage_graph,
)
from tensorc.plan import (
    COLUMN,
    ROW,
    Contract,
    Fold,
    Keep,
    Load,
    Normalise,
    Plan,
    Recur,
    ScanTile,
    Slide,
    Step,
    Stream,
    Tile,
    Update,
)

Inputs: TypeAlias = Mapping[str, Array]
Outputs: TypeAlias = dict[str, Array]
States: TypeAlias = tuple[Array, ...]
# plan, chunk, inputs, sizes, state, position -> outputs, states
Run: TypeAlias = Callable[
    [Plan, "int | None", Inputs, Mapping[str, int], "States | None", int], tuple[Outputs, States]
]

SMALL_LENGTH, SMALL = 8, 2
CHUNKS = (16, 64, 128)  # orders within a chunk depend on its length, too


@dataclass(frozen=True, slots=True)
class Case:
    """One way to compute the outputs: plans with their chunks, for one piece of the sequence each."""

    name: str
    pieces: tuple[tuple[Plan, int | None], ...]

    def run(self, program: Program, inputs: Inputs, sizes: Mapping[str, int], run: Run) -> Outputs:
        """The outputs, each piece computed by `run`."""
        if len(self.pieces) == 1:
            ((plan, chunk),) = self.pieces
            return run(plan, chunk, inputs, sizes, None, 0)[0]
        time = self.pieces[0][0].time
        assert time is not None
        (name,) = time.names
        cut = (sizes[name] + 1) // 2
        state: States | None = None
        parts: list[Outputs] = []
        bounds = ((0, cut), (cut, sizes[name]))
        for (plan, chunk), (start, stop) in zip(self.pieces, bounds, strict=True):
            self._check_states(plan)
            some = rows(program, time, inputs, start, stop)
            outputs, state = run(plan, chunk, some, {**sizes, name: stop - start}, state, start)
            parts.append(outputs)
        return {d.name: _joined(d.axes, time, [p[d.name] for p in parts]) for d in program.outputs}

    def _check_states(self, plan: Plan) -> None:
        first = self.pieces[0][0]
        if [(s.name, s.axes) for s in plan.states] != [(s.name, s.axes) for s in first.states]:
            raise PlanError(
                f"The states of the {first.form} form are not those of the {plan.form} form: "
                f"{[s.name for s in first.states]} and {[s.name for s in plan.states]}."
            )

    def work(self, sizes: Mapping[str, int]) -> int:
        """About how many multiplications it takes."""
        return sum(plan_work(plan, chunk or plan.chunk, sizes) for plan, chunk in self.pieces)


def rows(program: Program, time: Extent, inputs: Inputs, start: int, stop: int) -> dict[str, Array]:
    """The tokens from start to stop of every input that has the time axis."""
    found = {}
    for decl in program.inputs:
        array = inputs[decl.name]
        for axis, extent in enumerate(decl.axes):
            if extent == time:
                where: Any = (..., slice(start, stop), *(slice(None),) * (len(decl.axes) - axis - 1))
                array = array[where]
        found[decl.name] = array
    return found


class Ascending:
    """The inputs that some plan takes in ascending order along the time axis, as ids of segments."""

    def __init__(self, program: Program, time: Extent | None, cases: Sequence[Case]) -> None:
        names = {name for case in cases for plan, _ in case.pieces for name in plan.ascending}
        declared = {d.name: d.axes for d in program.inputs}
        self.axes = {n: declared[n].index(time) - len(declared[n]) for n in sorted(names) if time is not None}

    def sorted(self, inputs: Inputs) -> dict[str, Array]:
        """The inputs with those in order."""
        return {n: np.sort(a, axis=self.axes[n]) if n in self.axes else a for n, a in inputs.items()}

    def holds(self, inputs: Inputs) -> bool:
        """Whether they are in order."""
        return all(bool((np.sort(inputs[n], axis=axis) == inputs[n]).all()) for n, axis in self.axes.items())


def _joined(axes: tuple[Extent, ...], time: Extent, parts: Sequence[Array]) -> Array:
    return np.concatenate(parts, axis=axes.index(time) - len(axes))


def cases(operator: Operator, stop: Callable[[], bool] = lambda: False) -> tuple[list[Case], dict[str, str]]:
    """Every case of a program, and for each form that does not exist the reason. Once `stop` says so, the
    plans for one set of sizes must do."""
    found: dict[tuple[object, ...], Case] = {}
    refused: dict[str, str] = {}
    for form in ("chunkwise", "recurrent"):
        problem = operator.forms.why_not(form)
        if problem is not None:
            refused[form] = problem.reason
    for case in _cases(operator, refused, stop):
        found.setdefault((case.name, *((replace(p, chunk=0), c) for p, c in case.pieces)), case)
    return list(found.values()), refused


def _cases(operator: Operator, refused: Mapping[str, str], stop: Callable[[], bool]) -> Iterator[Case]:
    program, time = operator.program, operator.forms.rows
    for number, sizes in enumerate(_planning_sizes(operator)):
        if number and stop():
            return
        for expand in (False, True):
            plan = parallel_plan(program, operator.time, sizes, expand, Log())
            yield Case("parallel, multiplied out" if expand else "parallel", ((plan, None),))
        if time is None or {"chunkwise", "recurrent"} <= refused.keys():
            continue
        try:
            graph = stage_graph(program, time, sizes, Log())
            chunks = () if "chunkwise" in refused else CHUNKS
            plans = [chunkwise_plan(program, graph, time, sizes, chunk) for chunk in chunks]
            token = None if "recurrent" in refused else recurrent_plan(program, graph, time, sizes)
        except NotLinear:  # at these sizes only: no call gets such a plan
            continue
        for plan in plans:
            for chunk in (4, 1, 3):
                yield Case(f"chunkwise, chunk {chunk}", ((plan, chunk),))
        if token is not None:
            yield Case("recurrent", ((token, None),))
            if plans and operator.time is not None and _streams(program, time):
                yield from _stream_cases(plans[0], token)


def _stream_cases(plan: Plan, token: Plan) -> Iterator[Case]:
    yield Case("prefill, then steps", ((plan, 4), (token, None)))
    yield Case("two chunkwise calls", ((plan, 4), (plan, 3)))
    yield Case("steps, then chunkwise", ((token, None), (plan, 4)))


def _planning_sizes(operator: Operator) -> Iterator[dict[str, int]]:
    """Sizes that plans are made for: usual ones, and small ones."""
    usual = operator.forms.example_sizes({})
    yield usual
    lengths = operator.forms.rows.names if operator.forms.rows is not None else ()
    yield {name: SMALL_LENGTH if name in lengths else SMALL for name in usual}


def _streams(program: Program, time: Extent) -> bool:
    """Whether the inputs can be cut along the time axis."""
    if time.coefficient != 1 or len(time.names) != 1:
        return False
    others = {name for d in program.inputs for a in d.axes if a != time for name in a.names}
    return time.names[0] not in others


def plan_work(plan: Plan, chunk: int, sizes: Mapping[str, int]) -> int:
    """About how many multiplications a plan takes at these sizes."""
    lengths = {label: extent.value(sizes) for label, extent in plan.extents}
    time = plan.time.value(sizes) if plan.time is not None else 1
    token = 1 if plan.form == "recurrent" else min(chunk, max(1, time))
    lengths |= {ROW: token, COLUMN: token}
    steps = -(-time // token)
    total = _steps_work(plan.epilogue, lengths, sizes)
    for loop in plan.loops:
        total += _steps_work(loop.before, lengths, sizes)
        total += steps * _steps_work((*loop.setup, *loop.body), lengths, sizes)
    return total


def _steps_work(steps: Sequence[Step], lengths: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    total = 0
    for step in steps:
        if isinstance(step, Stream):
            columns = max([1, *sizes.values()]) ** len(step.columns)
            inner = {**lengths, **{c.label: 1 for c in step.columns}}
            total += columns * _steps_work(step.steps, inner, sizes)
        elif isinstance(step, Slide):  # every chunk of a window once
            inner = {**lengths, step.label: 1}
            total += max(sizes.values(), default=1) * _steps_work(step.steps, inner, sizes)
        elif isinstance(step, Recur):
            total += step.extent.value(sizes) * _steps_work(step.steps, lengths, sizes)
        else:
            total += prod(lengths.get(label, 1) for label in _labels(step))
    return total


def _labels(step: Step) -> set[str]:
    match step:
        case Contract(left=left, right=right):
            return {*left.axes, *(right.axes if right is not None else ())}
        case Fold() | Normalise():
            return {*step.out.axes, *step.over}
        case Tile():
            return {*step.out.axes, step.rows, step.columns}
        case ScanTile() | Load():
            return set(step.out.axes)
        case Update():
            return set(step.state.axes)
        case Keep():
            return set(step.axes)
        case _:
            return set(getattr(getattr(step, "out", None), "axes", ()))
