"""Causality, tested: does changing a later token change an earlier output?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tensorc.backends.reference import evaluate
from tensorc.errors import TensorcError
from tensorc.exact import Exact, ResampleNeeded, rescaled, same
from tensorc.ir import Extent, Program
from tensorc.numbers import Array
from tensorc.sampling import roles
from tensorc.verify_exact import draw

SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Leak:
    """An output at token `earlier` that changes with the input `tensor` at the token `later`."""

    output: str
    tensor: str
    earlier: int
    later: int

    def __str__(self) -> str:
        return f"token {self.later} of {self.tensor} changes token {self.earlier} of {self.output}"


def leaks(
    program: Program,
    time: Extent,
    sizes: Mapping[str, int],
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, Leak], int]:
    """For each output that a later token changes, how; and on how many samples that was examined.

    >>> from tensorc.compiler import parse
    >>> from tensorc.ir import extent
    >>> text = "def f(x[n]) -> y[n], z[n]:\\n  y[i] = sum[j <= i](x[j])\\n  z[i] = sum[j >= i](x[j])"
    >>> found, _ = leaks(parse(text), extent("n"), {"n": 3}, 0)
    >>> print(found["z"], "y" in found)
    token 1 of x changes token 0 of z False
    """
    rng = np.random.default_rng(seed)
    found: dict[str, Leak] = {}
    samples = 0
    for _ in range(2 * SAMPLES):
        if samples == SAMPLES or stop():
            break
        inputs, other = draw(program, sizes, rng), draw(program, sizes, rng)
        try:
            for leak in rescaled(_Examine(program, time, inputs, other, sizes), seed, undefined="keep"):
                known = found.get(leak.output)
                if known is None or (leak.later, leak.earlier) < (known.later, known.earlier):
                    found[leak.output] = leak
            samples += 1
        except (ResampleNeeded, TensorcError):
            continue
    return found, samples


class _Examine:
    """One sample: every later token of every input is replaced, and the outputs compared."""

    def __init__(
        self,
        program: Program,
        time: Extent,
        inputs: Mapping[str, Array],
        other: Mapping[str, Array],
        sizes: Mapping[str, int],
    ) -> None:
        self.program, self.time, self.inputs, self.other, self.sizes = program, time, inputs, other, sizes
        self.roles = roles(program)
        self.outputs = {d.name: d.axes for d in program.outputs if time in d.axes}
        self.tokens = [d for d in program.inputs if time in d.axes]

    def __call__(self, numbers: Exact) -> list[Leak]:
        expected = self._evaluate(self.inputs, numbers)
        length = self.time.value(self.sizes)
        together = ", ".join(d.name for d in self.tokens)
        suspects: dict[str, Leak] = {}
        for later in range(1, length):
            changed = {d.name: self._changed(d.name, d.axes, later, length) for d in self.tokens}
            moved = self._evaluate({**self.inputs, **changed}, numbers)
            for name in self.outputs:
                earlier = self._first(name, expected, moved, later)
                if earlier is not None:
                    suspects.setdefault(name, Leak(name, together, earlier, later))
        if not suspects:
            return []
        single = self._culprits(set(suspects), expected, numbers, length)
        return single + [leak for n, leak in suspects.items() if n not in {s.output for s in single}]

    def _culprits(
        self, suspects: set[str], expected: Mapping[str, Array], numbers: Exact, length: int
    ) -> list[Leak]:
        """The single tokens of single inputs that change a suspected output."""
        found = []
        for later in range(1, length):
            for decl in self.tokens:
                changed = self._changed(decl.name, decl.axes, later, later + 1)
                moved = self._evaluate({**self.inputs, decl.name: changed}, numbers)
                for name in suspects:
                    earlier = self._first(name, expected, moved, later)
                    if earlier is not None:
                        found.append(Leak(name, decl.name, earlier, later))
        return found

    def _evaluate(self, inputs: Mapping[str, Array], numbers: Exact) -> dict[str, Array]:
        return evaluate(self.program, inputs, self.sizes, numbers)

    def _changed(self, name: str, axes: tuple[Extent, ...], start: int, stop: int) -> Array:
        """An input with other values for the tokens from start to stop. Segment ids stay in order."""
        array = np.array(self.inputs[name])
        for axis, extent in enumerate(axes):
            if extent == self.time:
                rows = np.moveaxis(array, axis, 0)
                if self.roles[name][0] == "segment":
                    rows[start:] += 1
                else:
                    rows[start:stop] = np.moveaxis(self.other[name], axis, 0)[start:stop]
        return array

    def _first(
        self, name: str, expected: Mapping[str, Array], moved: Mapping[str, Array], later: int
    ) -> int | None:
        """The first token before `later` at which an output changed. With several token axes, an element
        is as late as the latest of its tokens."""
        axes = [axis for axis, extent in enumerate(self.outputs[name]) if extent == self.time]
        where = tuple(slice(later if k in axes else None) for k in range(expected[name].ndim))
        wrong = np.argwhere(~same(expected[name][where], moved[name][where]))
        return int(wrong[:, axes].max(axis=1).min()) if len(wrong) else None
