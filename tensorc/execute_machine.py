"""The memory of the interpreter: values, states and stored tensors, and what steps look up there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorc.execute_stream import number
from tensorc.execute_values import Labelled, PlanError
from tensorc.numbers import Array, Numbers
from tensorc.plan import CACHED, COLUMN, PAST, ROW, Plan, Ref

Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens at hand: their places in the sequence, and how many tokens came before the sequence.
    `single`: the one token of the recurrent form, whose axis is gone from every value. `size`: how many
    tokens a chunk has, the last one of a sequence aside."""

    rows: Rows
    position: int
    single: bool
    size: int = 1


class Machine:
    """What steps have made. `values` hold the array, and the data as given where it is known; `states` are
    those of the loop at hand, `updated` what they will be after the chunk; `stored` the tensors of whole
    length: the array, which rows are there, and their axis."""

    def __init__(
        self,
        plan: Plan,
        numbers: Numbers,
        sizes: Mapping[str, int],
        given: Mapping[str, Array],
        batch: tuple[int, ...],
    ) -> None:
        self.plan, self.numbers, self.sizes, self.batch = plan, numbers, sizes, batch
        self.extents = dict(plan.extents)
        self.axes = dict(plan.tensors)
        self.inputs = {n: (numbers.number(a), numbers.given(a)) for n, a in given.items()}
        self.values: dict[str, tuple[Array, Array | None]] = {}
        self.states: dict[str, Array] = {}
        self.updated: dict[str, Array] = {}
        self.stored: dict[str, tuple[Array, Any, int]] = {}
        self.chunk: Chunk | None = None
        self.filled: int | None = None
        self.reverse = False
        self.blocks: dict[str, Rows] = {}  # the positions of the columns at hand, by label

    def value(self, ref: Ref, given: bool = False) -> Labelled:
        """A value under the labels of the reference."""
        if ref.value in self.updated:
            raise PlanError(f"{ref.value} is read after its update.")
        if ref.value in self.states:
            return Labelled(ref.axes, self.states[ref.value])
        if ref.value not in self.values:
            raise PlanError(f"{ref.value} is read before a step has made it.")
        number, raw = self.values[ref.value]
        array = raw if given and raw is not None else number
        if array.ndim < len(ref.axes):
            raise PlanError(f"{ref.value} has {array.ndim} axes, read with the labels {ref.axes}.")
        return Labelled(ref.axes, array)

    def make(self, out: Ref, array: Array, given: Array | None = None) -> None:
        """Store what a step made; nothing but the loading of an input happens twice."""
        known = out.value in self.values or out.value in self.states
        if known and given is None:
            raise PlanError(f"{out.value} is made twice.")
        self.values[out.value] = (array, given)

    def tokens(self) -> Chunk:
        """The tokens at hand."""
        if self.chunk is None:
            raise PlanError("A step outside the loops needs the rows of a chunk.")
        return self.chunk

    def positions(self, label: str) -> Rows:
        """The positions that a label runs over."""
        if label in (ROW, COLUMN):
            chunk = self.tokens()
            return chunk.rows + chunk.position
        if label in self.blocks:
            return self.blocks[label]
        if label.startswith((CACHED, PAST)):
            return np.arange(self.here() - self._kept(), self.here() + label.startswith(CACHED))
        return np.arange(self.length(label))

    def _kept(self) -> int:
        """How many tokens before the one at hand the caches hold."""
        ring = next((s.reach for s in self.plan.states if s.reach is not None), None)
        return self.here() if ring is None else min(self.here(), number(ring, self.sizes))

    def length(self, label: str) -> int:
        """How many positions a label has."""
        if label in (ROW, COLUMN):
            return len(self.tokens().rows)
        if label in self.blocks:
            return len(self.blocks[label])
        if label.startswith((CACHED, PAST)):  # token by token: all that a cache holds
            return self._kept() + label.startswith(CACHED)
        if label not in self.extents:
            raise PlanError(f"The label {label} has no extent.")
        return self.extents[label].value(self.sizes)

    def passed(self) -> int:
        """How many tokens the loop has gone through before those at hand, earlier calls included."""
        rows = self.tokens().rows
        if self.reverse:
            assert self.plan.time is not None
            return self.plan.time.value(self.sizes) - 1 - int(rows.max())
        return int(rows.min()) + self.tokens().position

    def end(self, name: str) -> int:
        """The first or last position of the tokens or columns at hand."""
        label, _, which = name.rpartition(":")
        if self.chunk is not None and self.chunk.single and label == ROW:
            return self.here()
        positions = self.positions(label)
        return int(positions.min() if which == "first" else positions.max())

    def here(self) -> int:
        """The position that a recursion fills, or the token of the recurrent form."""
        if self.filled is not None:
            return self.filled
        chunk = self.tokens()
        if not chunk.single:
            raise PlanError("A position of one token stands in a step for a whole chunk.")
        return int(chunk.rows[0]) + chunk.position

    def whole(self, tensor: str) -> Array:
        """A tensor of whole length, all of whose rows must have been kept."""
        if tensor not in self.stored:
            extents = self.axes[tensor]
            shape = self.batch + tuple(a.value(self.sizes) for a in extents)
            if self.plan.time is not None and self.plan.time.value(self.sizes):
                raise PlanError(f"No loop has kept {tensor}.")
            return self.numbers.number(np.zeros(shape, np.int64))
        array, filled, _ = self.stored[tensor]
        if not filled.all():
            raise PlanError(f"Some rows of {tensor} are never kept.")
        return array
