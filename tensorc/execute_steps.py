"""The steps of a plan, one by one, on values in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorc.execute_expressions import GIVEN, Expressions
from tensorc.execute_machine import Machine
from tensorc.execute_monomials import monomials
from tensorc.execute_relations import scan, solve, tile
from tensorc.execute_shifts import delayed, tail
from tensorc.execute_stream import (
    accumulate,
    append,
    guard,
    kept_whole,
    log_sum,
    number,
    region,
    select,
    stream,
    weigh,
)
from tensorc.execute_values import Labelled, PlanError, broadcast, contract, spread
from tensorc.execute_windows import slide
from tensorc.ir import Cond, Expr
from tensorc.numbers import FLOAT, Array, Numbers
from tensorc.plan import (
    COLUMN,
    HERE,
    ROW,
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


class Interpreter(Machine):
    """Runs steps on the memory of a machine."""

    def __init__(
        self,
        plan: Plan,
        numbers: Numbers,
        sizes: Mapping[str, int],
        given: Mapping[str, Array],
        batch: tuple[int, ...],
    ) -> None:
        super().__init__(plan, numbers, sizes, given, batch)
        self.expressions = Expressions(numbers, self)
        self.subscripts = Expressions(FLOAT, self)

    def run(self, steps: Sequence[Step]) -> None:
        """Steps in their order."""
        for step in steps:
            _STEPS[type(step)](self, step)

    def load(self, step: Load) -> None:
        """An input, or rows that an earlier loop kept."""
        if step.tensor in self.inputs:
            number, given = self.inputs[step.tensor]
            rank = len(self.axes[step.tensor])
            parts = [self._rows(a, step.time, rank) for a in (number, given)]
            self.make(step.out, parts[0], parts[1])
            return
        if step.time is None:
            self.make(step.out, kept_whole(self, step))
            return
        if step.tensor not in self.stored:
            raise PlanError(f"{step.tensor} is loaded before a loop has kept it.")
        array, filled, axis = self.stored[step.tensor]
        if not filled[self.tokens().rows].all():
            raise PlanError(f"{step.tensor} is loaded before all its rows are kept.")
        rank = array.ndim - len(self.batch)
        if step.time != axis:
            raise PlanError(f"{step.tensor} is kept by rows of axis {axis}, loaded by axis {step.time}.")
        self.make(step.out, self._rows(array, step.time, rank))

    def _rows(self, array: Array, time: int | None, rank: int) -> Array:
        """The rows of the tokens at hand along the axis `time` of the last `rank` axes."""
        if time is None or self.plan.form == "parallel":
            return array
        chunk = self.tokens()
        rows: Any = chunk.rows[0] if chunk.single else chunk.rows
        return np.asarray(np.take(array, rows, axis=array.ndim - rank + time), array.dtype)

    def gather(self, step: Gather) -> None:
        """A read with computed subscripts; 0 outside the axes."""
        number, given = self.values.get(step.source.value, (self.value(step.source).array, None))
        rank = len(step.source.axes)
        self.make(
            step.out,
            self._gathered(step, number, rank),
            None if given is None else self._gathered(step, given, rank),
        )

    def _gathered(self, step: Gather, array: Array, rank: int) -> Array:
        lengths = array.shape[array.ndim - rank :]
        if rank != len(step.subscripts):
            raise PlanError(f"{step.source.value} has {rank} axes, read with {len(step.subscripts)}.")
        subscripts = [
            Labelled((label,), np.arange(self.length(label)))
            if label.startswith("@")
            else self.subscripts.evaluate(subscript, GIVEN)
            for label, subscript in zip(step.source.axes, step.subscripts, strict=True)
        ]
        labels = step.out.axes
        places = [spread(s, labels) for s in subscripts]
        shape = tuple(self.length(a) for a in labels)
        inside: Any = np.ones(shape, bool)
        for place, length in zip(places, lengths, strict=True):
            inside = inside & (place >= 0) & (place < length)
        if 0 in lengths:
            return np.zeros(array.shape[: array.ndim - rank] + shape, np.int64).astype(array.dtype)
        clipped = [np.clip(p, 0, n - 1).astype(np.int64) for p, n in zip(places, lengths, strict=True)]
        index: Any = (..., *clipped)
        picked = np.broadcast_to(array[index], array.shape[: array.ndim - rank] + shape)
        return np.where(inside, picked, np.zeros((), np.int64).astype(array.dtype))

    def map(self, step: Map) -> None:
        """A pointwise expression, repeated along labels that it lacks."""
        value = self.expressions.evaluate(step.expr)
        known = value.lengths()
        lengths = [known[a] if a in known else self.length(a) for a in step.out.axes]
        self.make(step.out, broadcast(value, step.out.axes, lengths).copy())

    def contract(self, step: Contract) -> None:
        """A product of one or two values, summed over the labels that the result lacks."""
        refs = [step.left] if step.right is None else [step.left, step.right]
        values = [self.value(r) for r in refs]
        self.make(step.out, contract(self.numbers, values, step.out.axes, step.semiring))

    def tile(self, step: Tile) -> None:
        """A piece of a scan relation."""
        if self.length(step.rows) != self.length(step.columns):
            raise PlanError(f"A tile has {step.rows} and {step.columns} of different lengths.")
        within = None if step.within is None else number(step.within, self.sizes)
        self.make(step.out, tile(self.numbers, step, self.value, self.length(step.rows), within))

    def scan(self, step: ScanTile) -> None:
        """Every token's state in a chunk."""
        lengths = [self.length(a) for a in step.out.axes if a != ROW]
        self.make(step.out, scan(self.numbers, step, self.value, ROW, lengths))

    def delay(self, step: Delay) -> None:
        """Rows of earlier tokens."""
        self.make(step.out, delayed(step, self.value, ROW))

    def tail(self, step: Tail) -> None:
        """The rows that later tokens still need."""
        self.make(step.out, tail(step, self.value, ROW))

    def monomials(self, step: Monomials) -> None:
        """The products of some elements of a vector, each once."""
        self.make(step.out, monomials(self.numbers, step, self.value))

    def solve(self, step: Solve) -> None:
        """The unknowns of a triangular system, row by row."""
        found = solve(self.numbers, step, self.value, ROW, COLUMN)
        for out, unknown in zip(step.outs, found, strict=True):
            self.make(out, unknown)

    def fold(self, step: Fold) -> None:
        """A row reduction where the domain holds."""
        body, mask = self._domain(step.body, step.domain, (*step.out.axes, *step.over))
        axes = tuple(range(body.ndim - len(step.over), body.ndim))
        self.make(step.out, self.numbers.reduce(step.op, body, mask, axes))

    def normalise(self, step: Normalise) -> None:
        """softmax where the domain holds, else 0."""
        body, mask = self._domain(step.body, step.domain, step.out.axes)
        first = body.ndim - len(step.out.axes)
        axes = tuple(first + k for k, a in enumerate(step.out.axes) if a in step.over)
        self.make(step.out, self.numbers.softmax(body, mask, axes))

    def _domain(self, body: Expr, domain: tuple[Cond, ...], labels: tuple[str, ...]) -> tuple[Array, Array]:
        """An expression and where it counts, with all of the labels in full."""
        lengths = [self.length(a) for a in labels]
        value = self.expressions.evaluate(body)
        array = broadcast(Labelled(value.labels, value.array), labels, lengths)
        mask: Any = np.ones(lengths, bool)
        for condition in domain:
            holds = self.expressions.evaluate(condition)
            mask = mask & broadcast(holds, labels, lengths)
        shape = np.broadcast_shapes(array.shape, mask.shape)
        return np.broadcast_to(array, shape), np.broadcast_to(mask, shape)

    # -- recursion, state, outputs -----------------------------------------------------------------------

    def recur(self, step: Recur) -> None:
        """Position by position; what one position makes is gone after it, but for what it fills."""
        zero = self.numbers.number(np.zeros((), np.int64))
        for target in step.targets:
            shape = self.batch + tuple(self.length(a) for a in target.axes)
            self.make(target, np.broadcast_to(zero, shape).copy())
        outside = dict(self.values)
        positions = range(step.extent.value(self.sizes))
        for position in reversed(positions) if step.reverse else positions:
            self.filled, self.values = position, dict(outside)
            self.run(step.steps)
        self.filled, self.values = None, outside

    def fill(self, step: Fill) -> None:
        """One position of a tensor that a recursion fills."""
        if step.target not in self.values or self.filled is None:
            raise PlanError(f"{step.target} is filled outside a recursion.")
        labels = tuple(a for a in step.axes if a != HERE)
        where: Any = (..., *(self.filled if a == HERE else slice(None) for a in step.axes))
        array = self.values[step.target][0]
        array[where] = spread(self.value(step.row), labels)

    def update(self, step: Update) -> None:
        """state = through · state + addend, in force from the next chunk on."""
        numbers, axes = self.numbers, step.state.axes
        if step.state.value not in self.states:
            raise PlanError(f"{step.state.value} is updated, but is no state of this loop.")
        cache = next((s for s in self.plan.states if s.grows and s.name == step.state.value), None)
        if cache is not None:
            rows = self.value(step.addend).array
            at = rows.ndim - len(cache.axes)
            length = rows.shape[at]
            gone = 0 if cache.reach is None else max(0, length - number(cache.reach, self.sizes))
            self.updated[step.state.value] = np.take(rows, range(gone, length), axis=at)
            return
        new = spread(self.value(step.addend), axes)
        old = spread(self.value(step.state), axes)
        if not step.replace:
            if step.through is not None:
                old = numbers.multiply(old, spread(self.value(step.through), axes))
            new = numbers.add(old, new)
        self.updated[step.state.value] = np.broadcast_to(new, self.states[step.state.value].shape)

    def keep(self, step: Keep) -> None:
        """The rows of a value, stored in a tensor of the whole length."""
        chunk, declared = self.tokens(), self.axes.get(step.tensor)
        axis = step.axes.index(ROW) if ROW in step.axes else -1
        if chunk.single and declared is not None:
            axis = declared.index(self.plan.time)
        if axis < 0:
            raise PlanError(f"{step.tensor} is kept without a row for each token.")
        labels = step.axes if ROW in step.axes else (*step.axes[:axis], ROW, *step.axes[axis:])
        value = self.value(step.value)
        lengths = [
            len(chunk.rows) if a == ROW else declared[k].value(self.sizes) if declared else self.length(a)
            for k, a in enumerate(labels)
        ]
        if step.tensor not in self.stored:
            assert self.plan.time is not None
            whole = self.plan.time.value(self.sizes)
            shape = self.batch + tuple(whole if k == axis else n for k, n in enumerate(lengths))
            array = self.numbers.number(np.zeros((), np.int64))
            self.stored[step.tensor] = (np.broadcast_to(array, shape).copy(), np.zeros(whole, bool), axis)
        array, filled, _ = self.stored[step.tensor]
        if filled[chunk.rows].any():
            raise PlanError(f"Rows of {step.tensor} are kept twice.")
        where: Any = (..., chunk.rows, *(slice(None),) * (len(labels) - axis - 1))
        array[where] = broadcast(value, labels, lengths)
        filled[chunk.rows] = True


_STEPS: dict[type, Callable[[Interpreter, Any], None]] = {
    Load: Interpreter.load,
    Gather: Interpreter.gather,
    Map: Interpreter.map,
    Contract: Interpreter.contract,
    Tile: Interpreter.tile,
    ScanTile: Interpreter.scan,
    Solve: Interpreter.solve,
    Delay: Interpreter.delay,
    Tail: Interpreter.tail,
    Monomials: Interpreter.monomials,
    Fold: Interpreter.fold,
    Normalise: Interpreter.normalise,
    Recur: Interpreter.recur,
    Fill: Interpreter.fill,
    Append: append,
    Select: select,
    Slide: slide,
    Region: region,
    Guard: guard,
    Weigh: weigh,
    Accumulate: accumulate,
    LogSum: log_sum,
    Stream: stream,
    Update: Interpreter.update,
    Keep: Interpreter.keep,
}
