"""The most elements that are alive at one moment of a call.

Inputs, outputs, kept tensors and states are there throughout; a value is alive from the step that makes it
to the last that reads it, or to the end of a loop that reads it again for every chunk. Loads are views.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from tensorc.counting import Counter
from tensorc.counting_windows import kept_sums
from tensorc.plan import Append, Load, Plan, Recur, Select, Slide, Step, Stream
from tensorc.plan_io import step_inputs, step_outputs
from tensorc.polynomial import Polynomial
from tensorc.runs import numbered, symbolic_chunk


def peak(plan: Plan, sizes: Mapping[str, int], chunk: int) -> tuple[int, Polynomial]:
    """The number of elements alive at the widest moment, and the polynomial that gives it."""
    length = chunk if plan.form == "chunkwise" else 1
    numbers = Counter(plan, lambda extent: extent.value(sizes), length, True)
    symbols = Counter(plan, Polynomial.of, symbolic_chunk(plan), True)
    lives = _lives(plan)
    for _, _, step in numbered(plan):
        numbers.count(step)
        symbols.count(step)
    changes = [0] * (2 + max((end for _, end in lives.values()), default=0))
    for value, (start, end) in lives.items():
        changes[start] += numbers.elements(value)
        changes[end + 1] -= numbers.elements(value)
    alive = list(accumulate(changes))
    widest = max(range(len(alive)), key=alive.__getitem__)
    polynomial = _always(symbols, plan)
    for value, (start, end) in lives.items():
        if start <= widest <= end:
            polynomial = polynomial + symbols.elements(value)
    constant = _always(numbers, plan).at({})
    return int(constant) + alive[widest], polynomial


def _always(counter: Counter, plan: Plan) -> Polynomial:
    """Inputs, outputs, kept tensors and states."""
    total = Polynomial({})
    for name in counter.tensors:
        product = Polynomial.constant(1)
        for size in counter.tensors[name]:
            product = product * size
        total = total + product
    for state in plan.states:
        total = total + counter.elements(state.name)
        if state.reach is not None and plan.form != "recurrent":  # a buffer with the rows of the call too
            total = total + counter.volume(state.axes[1:], {}) * counter.time
    for _, _, step in numbered(plan):
        if isinstance(step, Slide):
            total = total + kept_sums(counter, step)
    return total


def _lives(plan: Plan) -> dict[str, tuple[int, int]]:
    """The moments between which each value is alive."""
    timeline = _Timeline()
    for loop in plan.loops:
        timeline.run((*loop.before, *loop.setup))
        timeline.again(loop.body)
    timeline.run(plan.epilogue)
    given = {s.name for s in plan.states} | {ref.value for _, ref in plan.outputs}
    return {v: life for v, life in timeline.lives.items() if v not in given and v not in timeline.views}


class _Timeline:
    """Walks the steps, one moment each."""

    def __init__(self) -> None:
        self.now = 0
        self.lives: dict[str, tuple[int, int]] = {}
        self.views: set[str] = set()

    def run(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            self.now += 1
            for ref in step_outputs(step):
                self.lives.setdefault(ref.value, (self.now, self.now))
            if isinstance(step, Load | Select | Append):
                self.views.add(step.out.value)
            if isinstance(step, Stream):
                self.again(step.steps)
                for running in step.running:
                    self._read(running.ref.value)
            elif isinstance(step, Slide):
                self.again(step.steps)
            elif isinstance(step, Recur):
                self.again(step.steps)
                for ref in step.targets:
                    self._read(ref.value)
            else:
                for ref in step_inputs(step):
                    self._read(ref.value)

    def again(self, steps: tuple[Step, ...]) -> None:
        """Steps that are run many times: what they read from outside lives until their end."""
        before = set(self.lives)
        self.run(steps)
        for step in steps:
            for ref in step_inputs(step):
                if ref.value in before:
                    self._read(ref.value)

    def _read(self, value: str) -> None:
        if value in self.lives:
            self.lives[value] = (self.lives[value][0], self.now)
