"""An interpreter of plans: the steps themselves, in any number system.

It shares no code with the backends that print steps, so that the two check each other. With exact
numbers, a plan that is right gives the result of the definition to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tensorc.binding import compute_dtype, output_dtype
from tensorc.errors import ShapeError
from tensorc.execute_machine import Chunk
from tensorc.execute_steps import Interpreter
from tensorc.execute_values import Labelled, PlanError, broadcast
from tensorc.execute_windows import near
from tensorc.ir import Program
from tensorc.numbers import Array, Numbers
from tensorc.plan import Loop, Plan

__all__ = ["PlanError", "execute"]


def execute(
    program: Program,
    plan: Plan,
    inputs: Mapping[str, Any],
    sizes: Mapping[str, int],
    numbers: Numbers,
    chunk: int | None = None,
    state: Sequence[Any] | None = None,
    position: int = 0,
) -> tuple[dict[str, Array], tuple[Array, ...]]:
    """The outputs of a plan by name, of shape batch + axes, and its states after the sequence.

    `inputs` are arrays of shape leading dimensions + declared axes; `chunk` overrides that of the plan.
    `state` holds the states before the sequence, in the order of `plan.states`, and `position` counts the
    tokens before it.

    >>> from tensorc.compiler import parse
    >>> from tensorc.exact import Exact
    >>> from tensorc.ir import extent
    >>> from tensorc.passes.pipeline import Log, parallel_plan
    >>> program = parse("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    >>> plan = parallel_plan(program, extent("n"), {"n": 3}, False, Log())
    >>> execute(program, plan, {"x": np.array([1, 2, 3])}, {"n": 3}, Exact(0))
    ({'y': array([1, 3, 6], dtype=object)}, ())

    Raises `PlanError` for a plan that reads what no step has made, `ShapeError` for inputs that do not have
    the declared axes, and what the number system raises.
    """
    given = {name: np.asarray(inputs[name]) for name in plan.inputs}
    batch = _batch(program, given, sizes)
    floating = [given[d.name].dtype for d in program.inputs if d.axes]
    numbers = numbers.at(compute_dtype(output_dtype(floating)))
    machine = Interpreter(plan, numbers, sizes, given, batch)
    with np.errstate(all="ignore"):
        states = _start(plan, machine, state)
        for loop in plan.loops:
            _run(loop, machine, states, plan.chunk if chunk is None else chunk, position)
        machine.run(plan.epilogue)
        outputs = {d.name: _output(plan, machine, d.name) for d in program.outputs}
    return {n: numbers.settle(a) for n, a in outputs.items()}, tuple(states[s.name] for s in plan.states)


def _batch(program: Program, given: Mapping[str, Array], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The common leading shape of the inputs."""
    leading = []
    for declared in program.inputs:
        shape, wanted = given[declared.name].shape, tuple(a.value(sizes) for a in declared.axes)
        cut = len(shape) - len(wanted)
        if cut < 0 or shape[cut:] != wanted:
            raise ShapeError(f"{declared.name} has shape {shape}; its axes are {wanted}.")
        leading.append(shape[:cut])
    return np.broadcast_shapes(*leading)


def _start(plan: Plan, machine: Interpreter, given: Sequence[Any] | None) -> dict[str, Array]:
    """The states before the sequence: as given, else 0."""
    if given is not None and len(given) != len(plan.states):
        raise PlanError(f"The plan has {len(plan.states)} states, not {len(given)}.")
    states = {}
    for k, state in enumerate(plan.states):
        if state.grows:
            shape = (0, *(machine.length(a) for a in state.axes[1:]))
            empty = np.zeros(shape, np.int64)
            kept = empty if given is None else np.asarray(given[k])
            convert = machine.numbers.given if state.given else machine.numbers.number
            states[state.name] = convert(kept)
            continue
        shape = machine.batch + tuple(machine.length(a) for a in state.axes)
        start = np.zeros((), np.int64) if given is None else np.asarray(given[k])
        states[state.name] = np.broadcast_to(machine.numbers.number(start), shape).copy()
    return states


def _run(loop: Loop, machine: Interpreter, states: dict[str, Array], chunk: int, position: int) -> None:
    """One loop over the sequence. What a chunk makes is gone after it; states stay. Of the recurrent form
    a token is the whole program: all steps are its own."""
    assert machine.plan.time is not None
    length = machine.plan.time.value(machine.sizes)
    recurrent = machine.plan.form == "recurrent"
    size = 1 if recurrent else chunk
    if not recurrent:
        machine.run(loop.before)
    outside = dict(machine.values)
    starts = range(0, length, size)
    machine.reverse = loop.reverse
    for start in reversed(starts) if loop.reverse else starts:
        rows = np.arange(start, min(start + size, length))
        rows = rows[::-1] if loop.reverse else rows
        machine.chunk = Chunk(rows, position, recurrent, size)
        machine.blocks = {label: near(machine, width) for label, width in machine.plan.windows}
        machine.values = dict(outside)
        machine.run((*loop.before, *loop.setup) if recurrent else loop.setup)
        machine.states = {s.name: states[s.name] for s in loop.states}
        machine.run(loop.body)
        _advance(loop, machine, states)
    machine.values, machine.chunk, machine.states = outside, None, {}
    for state in loop.states:
        machine.values[state.name] = (states[state.name], None)


def _advance(loop: Loop, machine: Interpreter, states: dict[str, Array]) -> None:
    for name, value in machine.updated.items():
        if name not in {s.name for s in loop.states}:
            raise PlanError(f"A loop updates {name}, which is no state of it.")
        states[name] = value
    machine.updated = {}


def _output(plan: Plan, machine: Interpreter, name: str) -> Array:
    """An output that the loops stored, or the value that stands for it at the end."""
    declared = dict(plan.tensors)[name]
    lengths = [a.value(machine.sizes) for a in declared]
    if name in plan.stored:
        return machine.whole(name)
    value = machine.value(dict(plan.outputs)[name])
    labels = tuple(f"#{k}" for k in range(len(declared)))
    array = broadcast(Labelled(value.labels, value.array), labels, lengths)
    return np.broadcast_to(array, (*machine.batch, *lengths)).copy()
