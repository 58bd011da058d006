"""Windows, taken literally: the columns before the whole chunks, and these one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tensorc.execute_stream import number
from tensorc.execute_values import Labelled, PlanError, spread
from tensorc.ir import Expr
from tensorc.numbers import Array
from tensorc.plan import Ref, Slide

if TYPE_CHECKING:
    from tensorc.execute_machine import Machine, Rows
    from tensorc.execute_steps import Interpreter


def near(machine: Machine, width: Expr) -> Rows:
    """The columns that some rows of the chunk may see, before the whole chunks that all of them see."""
    start = machine.passed()
    end = start - _whole(machine, width) * machine.tokens().size
    return _positions(machine, max(0, start - number(width, machine.sizes) + 1), max(0, end))


def _positions(machine: Machine, first: int, end: int) -> Rows:
    """The positions of the tokens that a loop goes through from the first to before the end."""
    passed = np.arange(first, end)
    if not machine.reverse:
        return passed
    assert machine.plan.time is not None
    return machine.plan.time.value(machine.sizes) - 1 - passed


def _whole(machine: Machine, width: Expr) -> int:
    """How many whole chunks all rows of a chunk see."""
    return max(0, number(width, machine.sizes) // machine.tokens().size - 1)


def slide(machine: Interpreter, step: Slide) -> None:
    """The sum over the whole chunks, from the oldest on: each one decays what came before it."""
    numbers, outside, blocks = machine.numbers, machine.values, machine.blocks
    start, size = machine.passed(), machine.tokens().size
    shape = tuple(machine.length(a) for a in step.out.axes)
    total: Array = np.broadcast_to(numbers.number(np.zeros((), np.int64)), machine.batch + shape)
    gates: Array = numbers.number(np.ones((), np.int64))
    for back in range(_whole(machine, step.width), 0, -1):
        rows = _positions(machine, max(0, start - back * size), max(0, start - (back - 1) * size))
        if not len(rows):
            continue
        machine.values, machine.blocks = dict(outside), blocks | {step.label: rows}
        machine.run(step.steps)
        if step.through is not None:
            gate = spread(machine.value(step.through), step.out.axes)
            total = numbers.multiply(total, gate)
            gates = numbers.multiply(gates, gate)
        total = numbers.add(total, spread(machine.value(step.addend), step.out.axes))
    machine.values, machine.blocks = outside, blocks
    machine.make(step.out, total)
    if step.gates is not None:
        _make_gates(machine, step.gates, step.out, gates)


def _make_gates(machine: Interpreter, ref: Ref, out: Ref, gates: Array) -> None:
    """The product of the gates under its own labels: of the others it has length 1."""
    if gates.ndim < len(out.axes):  # no chunk
        machine.make(ref, np.broadcast_to(gates, tuple(machine.length(a) for a in ref.axes)))
        return
    lead = gates.ndim - len(out.axes)
    gone = tuple(lead + k for k, a in enumerate(out.axes) if a not in ref.axes)
    if any(gates.shape[k] != 1 for k in gone):
        raise PlanError("A gate of a window has labels that it is not made under.")
    order = tuple(a for a in out.axes if a in ref.axes)
    machine.make(ref, spread(Labelled(order, gates.squeeze(gone)), ref.axes))
