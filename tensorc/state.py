"""The state between tokens: an explicit value, passed in and returned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Layout:
    """What a state belongs to: the program, the axes and shapes of its tensors, and their dtype."""

    program: str
    names: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: str


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
        return State(self.position, tuple(t.copy() for t in self.tensors), self.layout)

    @property
    def elements(self) -> int:
        """How many numbers the state holds, over all batch elements."""
        return sum(int(t.size) for t in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(int(t.nbytes) for t in self.tensors)
