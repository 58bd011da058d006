"""From a failure to the smallest one that can be found: fewer batches, smaller sizes, zeros and ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorc.ir import Extent, Program
from tensorc.numbers import Array
from tensorc.sampling import roles
from tensorc.verify_exact import Difference

MOST_CALLS, MOST_SECONDS, MOST_ELEMENTS = 400, 3.0, 40

Inputs = dict[str, Array]
Fails = Callable[[Mapping[str, int], Inputs], "Difference | None"]


@dataclass(slots=True)
class Failure:
    """Sizes and inputs at which a case differs from the definition, and how."""

    sizes: dict[str, int]
    inputs: Inputs
    difference: Difference


class Shrinker:
    """Tries smaller failures until none is found or the time is up. `fails` says how a case differs."""

    def __init__(self, program: Program, failure: Failure, fails: Fails) -> None:
        self.program, self.best, self.fails = program, failure, fails
        self.calls = 0
        self.end = time.monotonic() + MOST_SECONDS
        self.roles = roles(program)

    def shrink(self) -> Failure:
        """The smallest failure found."""
        progress = True
        while progress and not self._over():
            progress = any([self._batches(), self._sizes(), self._tensors(), self._elements()])
        return self.best

    def _over(self) -> bool:
        return self.calls >= MOST_CALLS or time.monotonic() > self.end

    def _try(self, sizes: dict[str, int], inputs: Inputs) -> bool:
        """Whether this fails too; then it is the best so far."""
        if self._over():
            return False
        self.calls += 1
        difference = self.fails(sizes, inputs)
        if difference is None:
            return False
        self.best = Failure(sizes, inputs, difference)
        return True

    def _batches(self) -> bool:
        inputs = {}
        for decl in self.program.inputs:
            array = self.best.inputs[decl.name]
            first: Any = (0,) * (array.ndim - len(decl.axes))
            inputs[decl.name] = np.asarray(array[first], array.dtype)
        if all(a.ndim == self.best.inputs[n].ndim for n, a in inputs.items()):
            return False
        return self._try(self.best.sizes, inputs)

    def _sizes(self) -> bool:
        """Each size as small as it can be, the inputs cut to it, then without a position in between."""
        changed = False
        for name in list(self.best.sizes):
            for value in range(self.best.sizes[name]):
                sizes = {**self.best.sizes, name: value}
                if self._try(sizes, self._cut(sizes)):
                    changed = True
                    break
            for place in range(self.best.sizes[name] - 2, -1, -1):
                sizes = {**self.best.sizes, name: self.best.sizes[name] - 1}
                changed |= sizes[name] > 0 and self._try(sizes, self._without(name, place))
        return changed

    def _without(self, name: str, place: int) -> Inputs:
        """The inputs without one position of the axes of a size."""
        smaller = {**self.best.sizes, name: self.best.sizes[name] - 1}
        inputs = {}
        for decl in self.program.inputs:
            array = self.best.inputs[decl.name]
            for axis, extent in enumerate(decl.axes):
                kept = np.arange(extent.value(smaller))
                if extent == Extent(1, (name,)):
                    kept = kept + (kept >= place)
                array = np.take(array, kept, axis=axis - len(decl.axes))
            inputs[decl.name] = array
        return inputs

    def _cut(self, sizes: Mapping[str, int]) -> Inputs:
        inputs = {}
        for decl in self.program.inputs:
            where: Any = (..., *(slice(0, axis.value(sizes)) for axis in decl.axes))
            inputs[decl.name] = np.array(self.best.inputs[decl.name][where])
        return inputs

    def _tensors(self) -> bool:
        """Whole tensors of zeros, else of ones."""
        changed = False
        for name in self.best.inputs:
            changed |= any(self._simpler(name, value, None) for value in (0, 1))
        return changed

    def _elements(self) -> bool:
        """Single elements to 0, else to 1."""
        changed = False
        for name, array in self.best.inputs.items():
            if self.roles[name][0] == "segment" or not 1 < array.size <= MOST_ELEMENTS:
                continue
            for place in _places(array):
                changed |= any(self._simpler(name, value, place) for value in (0, 1))
        return changed

    def _simpler(self, name: str, value: int, place: tuple[int, ...] | None) -> bool:
        old = self.best.inputs[name]
        current = old if place is None else np.asarray(old[place])
        if _simple(current, value):
            return False
        array = np.array(old)
        array[... if place is None else place] = value
        return self._try(self.best.sizes, {**self.best.inputs, name: array})


def _places(array: Array) -> Iterator[tuple[int, ...]]:
    yield from np.ndindex(array.shape)


def _simple(array: Array, value: int) -> bool:
    """Whether all elements are the value, or a simpler one."""
    return bool(np.all((array == 0) | (array == value)))
