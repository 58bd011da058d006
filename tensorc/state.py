"""The state between tokens: an explicit value, passed in and returned."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Layout:
    """What a state belongs to: the program, the axes and shapes of its tensors, and their dtype."""

    program: str
    names: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: str

    def difference(self, wanted: Layout, time: str) -> str:
        """What is wrong with a state of this layout where another is wanted."""
        if (self.program, self.names, self.axes) != (wanted.program, wanted.names, wanted.axes):
            mine, theirs = self.summary(), wanted.summary()
            return f"The state belongs to {mine}; these inputs need that of {theirs}."
        for name, axes, given, need in zip(self.names, self.axes, self.shapes, wanted.shapes, strict=True):
            if given != need:
                batches = [shape[: len(shape) - len(axes)] for shape in (given, need)]
                shapes = f"State {name}[{', '.join(axes)}] has the shape {given}; these inputs need {need}"
                if batches[0] == batches[1]:
                    return f"{shapes}."
                return (
                    f"{shapes}: leading dimensions {batches[1]}, not {batches[0]}. The batch of a state is "
                    f"that of the inputs it was made from; a step takes one token, without the axis {time}."
                )
        return (
            f"The state is in {self.dtype}; these inputs compute in {wanted.dtype}. Cast the inputs, or "
            "start from a state made from inputs of that dtype."
        )

    def summary(self) -> str:
        """The program and its states: f (S1[d, e])."""
        states = ", ".join(f"{n}[{', '.join(a)}]" for n, a in zip(self.names, self.axes, strict=True))
        return f"{self.program} ({states or 'no states'})"


class State(NamedTuple):
    """The states of a program after `position` tokens.

    `tensors` are the arrays, batch axes first; their sizes do not grow with the position. A step returns a
    new state and leaves the old one as it was.

    >>> import tensorc
    >>> cumulative = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    >>> state = cumulative.init_state(1.5)
    >>> y, state = cumulative.step(state, 1.5)
    >>> y, state = cumulative.step(state, 2.0)
    >>> float(y), state.position, state.elements
    (3.5, 2, 1)
    """

    position: int
    tensors: tuple[Any, ...]
    layout: Layout

    def clone(self) -> State:
        """The same state in arrays of its own."""
        copies = (t.clone() if hasattr(t, "clone") else t.copy() for t in self.tensors)
        return State(self.position, tuple(copies), self.layout)

    @property
    def elements(self) -> int:
        """How many numbers the state holds, over all batch elements."""
        return sum(prod(t.shape) for t in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(int(t.nbytes) for t in self.tensors)
