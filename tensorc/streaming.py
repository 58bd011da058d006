"""One token at a time: what an operator does with states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.binding import signature
from tensorc.errors import FormError, TensorcError
from tensorc.prepared import Step, as_numpy, state_layout
from tensorc.state import Layout, State

if TYPE_CHECKING:
    from tensorc.forms import Forms
    from tensorc.ir import Extent, Program

SEEN = 64  # so many shapes are remembered


class Streaming:
    """The part of an operator that steps: states before any token, after each, and what may go wrong."""

    program: Program
    backend: str
    form: str
    time: Extent | None
    sizes: dict[str, int]
    forms: Forms
    _inputs: tuple[str, ...]
    _single: bool
    _steps: dict[object, Step]
    _last: Step | None

    def init_state(self, /, *arguments: object, **keywords: object) -> State:
        """The state before any token; shapes and dtype from the inputs of an example token.

        >>> import tensorc
        >>> total = tensorc.compile("def total(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])")
        >>> total.init_state([0.0, 0.0]).tensors
        (array([0., 0.]),)
        """
        step, arrays = self._stepper(arguments, keywords)
        return State(0, step.start(*arrays), step.layout)

    def step(self, state: Any = None, /, *arguments: object, **keywords: object) -> tuple[Any, State]:
        """One token: each input without the time axis. Returns the outputs and a new state.

        The old state stays as it is. Python numbers take the dtype of the state.
        """
        step = self._last
        if keywords or step is None or not step.fits(arguments):
            if state is None and isinstance(keywords.get("state"), State):
                state = keywords.pop("state")
            step, arrays = self._stepper(arguments, keywords, self._checked(state, "step"))
        else:
            arrays = arguments if step.plain else step.prepare(arguments)
        if type(state) is not State or state.layout is not step.layout:
            self._check_state(self._checked(state, "step"), step.layout)
        outputs, tensors = step.function(state.tensors, *arrays, position=state.position)
        if step.round is not None:
            outputs = tuple(o.astype(step.round) for o in outputs)
        after = State(state.position + 1, tensors, step.layout)
        return (outputs[0] if self._single else outputs), after

    def _stepper(
        self, arguments: tuple[object, ...], keywords: dict[str, object], state: State | None = None
    ) -> tuple[Step, Any]:
        """The prepared step for inputs of these shapes and dtypes, and the inputs as it takes them."""
        self._needs_state("step")
        assert self.time is not None
        if state is not None:  # a Python number promotes nothing
            kind = np.dtype(state.layout.dtype).type
            arguments = tuple(kind(a) if type(a) is float else a for a in arguments)
            keywords = {name: kind(a) if type(a) is float else a for name, a in keywords.items()}
        bound = signature(self.program, str(self.time)).bind(arguments, keywords, self.sizes)
        as_numpy(bound.arrays)
        arrays = bound.arrays.values()
        key = (bound.dtype, *bound.sizes.values(), *[a.shape for a in arrays], *[a.dtype for a in arrays])
        step = self._steps.get(key)
        if step is None:
            functions, plan, extra = self.forms.token_functions(bound.sizes, self.forms.batch(bound, tokens=True))
            layout = state_layout(self.program, plan, bound)
            step = Step(bound, functions, extra, layout, self.forms.compared)
            if len(self._steps) >= SEEN:
                self._steps.clear()
            self._steps[key] = step
        self._last = step
        return step, step.prepare(list(arrays))

    def _needs_state(self, what: str) -> None:
        if self.backend == "reference":
            raise FormError(f"The reference backend has no {what}; compile with backend='numpy'.")
        if self.form == "parallel":
            raise FormError(f"The parallel form has no {what}. Use form='auto', 'chunkwise' or 'recurrent'.")
        self.forms.require("recurrent")

    def _checked(self, state: object, what: str) -> State:
        if not isinstance(state, State):
            self._needs_state(what)
            raise TensorcError(
                f"The first argument of {what} is a state, from init_state, prefill or step: "
                f"o, state = {self._example(first='state', call='.step')}. Given: {kind_of(state)}."
            )
        return state

    def _check_state(self, state: State, layout: Layout | None) -> None:
        if layout is None:
            self._needs_state("state")
        elif state.layout != layout:
            raise TensorcError(state.layout.difference(layout, str(self.time)))

    def _example(self, last: str = "", first: str = "", call: str = "") -> str:
        """A call as it should be written."""
        return f"{self.program.name}{call}({', '.join(filter(None, [first, *self._inputs, last]))})"


def kind_of(value: object) -> str:
    """What was given instead of a state."""
    return "nothing" if value is None else f"a {type(value).__name__}"
