"""The compiled operator: one program in all its forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.backends.numpy_base import Batch
from tensorc.backends.numpy_expr import compared_inputs
from tensorc.binding import Bound, bind, signature
from tensorc.errors import FormError, TensorcError
from tensorc.forms import Forms
from tensorc.ir import Extent, Program
from tensorc.state import Layout, State

if TYPE_CHECKING:
    from tensorc.plan import Plan
    from tensorc.report import Report


class Operator:
    """What `tensorc.compile` returns. Call it on whole sequences; `prefill` and `step` for streams."""

    def __init__(
        self, program: Program, *, backend: str, form: str, time: Extent | None, sizes: dict[str, int]
    ) -> None:
        self.program, self.backend, self.form, self.time, self.sizes = program, backend, form, time, sizes
        self.forms = Forms(program, time, sizes)
        self.__name__ = program.name
        self.__doc__ = str(program)
        self._single = len(program.outputs) == 1
        self._stepping: dict[object, _Step] = {}
        if form not in ("auto", "parallel"):
            self.forms.require(form)

    def __repr__(self) -> str:
        return f"<tensorc {self.program.name}: {self.backend}, form={self.form}>"

    # -- whole sequences -----------------------------------------------------------------------------

    def __call__(self, *arguments: object, state: State | None = None, **keywords: object) -> Any:
        """The outputs for whole sequences; with `state`, of a sequence that continues.

        Inputs in signature order or by keyword; leading batch dimensions broadcast. One output is
        returned as it is, several as a tuple.
        """
        if self.backend == "reference":
            return self._reference(arguments, keywords, state)
        bound = bind(self.program, arguments, keywords, self.sizes)
        form = self.choose(bound.sizes, streaming=state is not None)
        outputs, _ = self._run(form, bound, state)
        return self._one(outputs)

    def prefill(
        self, *arguments: object, state: State | None = None, **keywords: object
    ) -> tuple[Any, State]:
        """The outputs for a prefix, and the state after it; `state` is the state before it, if any."""
        self._needs_state("prefill")
        bound = bind(self.program, arguments, keywords, self.sizes)
        form = self.choose(bound.sizes, streaming=True)
        outputs, after = self._run(form, bound, state)
        assert after is not None
        return self._one(outputs), after

    def _reference(
        self, arguments: tuple[object, ...], keywords: Mapping[str, object], state: State | None
    ) -> Any:
        from tensorc.backends.reference import run

        if state is not None:
            raise FormError("The reference backend evaluates whole sequences; it takes no state.")
        return run(self.program, *arguments, sizes=self.sizes, **keywords)

    def _one(self, outputs: tuple[Any, ...]) -> Any:
        return outputs[0] if self._single else outputs

    def choose(self, sizes: Mapping[str, int], streaming: bool = False) -> str:
        """The form for these sizes: the one asked for, or the cheapest by the cost model."""
        if self.form != "auto":
            if streaming and self.form == "parallel":
                raise FormError(
                    "The parallel form has no state. Use form='auto', 'chunkwise' or 'recurrent'."
                )
            return self.form
        return self.forms.cheapest(sizes, streaming)

    def _run(self, form: str, bound: Bound, state: State | None) -> tuple[tuple[Any, ...], State | None]:
        arrays = list(bound.arrays.values())
        function, plan, extra = self.forms.function(form, bound.sizes, self._batch(bound))
        if form == "parallel":
            return function(*arrays, **extra, dtype=bound.dtype), None
        for name in plan.ascending:
            self._check_ascending(name, bound.arrays[name])
        layout = self._layout(plan, bound)
        options: dict[str, Any] = dict(extra)
        if state is not None:
            self._check_state(state, layout)
            options |= {"state": state.tensors, "position": state.position}
        if bound.compute.kind == "f" and np.dtype(bound.dtype) != bound.compute:
            options["dtype"] = bound.dtype
        outputs, tensors = function(*arrays, **{"dtype": bound.dtype, **options})
        if not self.forms.streams():
            return outputs, None
        assert self.time is not None
        length = self.time.value(bound.sizes)
        position = (0 if state is None else state.position) + length
        return outputs, State(position, tuple(tensors), layout)

    def _check_ascending(self, name: str, array: Any) -> None:
        """Segments that end and come back are no segments: their ids must not decrease."""
        axes = next(i.axes for i in self.program.inputs if i.name == name)
        rows = np.moveaxis(np.asarray(array), axes.index(self.time) - len(axes), 0)
        if np.any(rows[1:] < rows[:-1]):
            raise TensorcError(
                f"The segment ids {name} decrease along {self.time}. "
                "Sort the segments, or use form='parallel', which takes ids in any order."
            )

    def _batch(self, bound: Bound, tokens: bool = False) -> Batch:
        """What this call shows of the batch dimensions: which inputs have all of them."""
        rank = len(bound.batch)
        result = []
        for declaration in self.program.inputs:
            axes = sum(not tokens or a != self.time for a in declaration.axes)
            shape = bound.arrays[declaration.name].shape
            if len(shape) == axes + rank and shape[:rank] == bound.batch:
                result.append(declaration.name)
        return Batch(frozenset(result), rank == 0)

    # -- tokens ----------------------------------------------------------------------------------------

    def init_state(self, *arguments: object, **keywords: object) -> State:
        """The state before any token; shapes and dtype from the inputs of an example token."""
        return self._stepper(arguments, keywords)[0].start(State, self._bind_token(arguments, keywords))

    def step(self, state: State, *arguments: object, **keywords: object) -> tuple[Any, State]:
        """One token: each input without the time axis. Returns the outputs and a new state."""
        entry, arrays = self._stepper(arguments, keywords)
        if not isinstance(state, State):
            raise TensorcError("The first argument of step is a state: from init_state, prefill or step.")
        if state.layout is not entry.layout:
            self._check_state(state, entry.layout)
        outputs, tensors = entry.function(state.tensors, *arrays, position=state.position)
        if entry.round is not None:
            outputs = tuple(o.astype(entry.round) for o in outputs)
        after = State(state.position + 1, tensors, entry.layout)
        return (outputs[0] if self._single else outputs), after

    def _stepper(self, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> tuple[_Step, Any]:
        """The prepared step for inputs of these shapes and dtypes: looked up, once they were seen."""
        if not keywords:
            try:
                key = tuple([(a.shape, a.dtype) for a in arguments])  # type: ignore[attr-defined]
                entry = self._stepping[key]
            except (AttributeError, KeyError):
                pass
            else:
                return entry, arguments if entry.plain else entry.prepare(arguments)
        self._needs_state("step")
        bound = self._bind_token(arguments, keywords)
        entry = _Step(self, bound)
        if not keywords and all(isinstance(a, np.ndarray | np.generic) for a in arguments):
            if len(self._stepping) >= 64:
                self._stepping.clear()
            self._stepping[tuple([(a.shape, a.dtype) for a in arguments])] = entry  # type: ignore[attr-defined]
        return entry, entry.prepare(list(bound.arrays.values()))

    def _bind_token(self, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> Bound:
        self._needs_state("step")
        assert self.time is not None
        return signature(self.program, str(self.time)).bind(arguments, keywords, self.sizes)

    def _needs_state(self, what: str) -> None:
        if self.backend == "reference":
            raise FormError(f"The reference backend has no {what}; compile with backend='numpy'.")
        if self.form == "parallel":
            raise FormError(f"The parallel form has no {what}. Use form='auto', 'chunkwise' or 'recurrent'.")
        self.forms.require("recurrent")

    def _layout(self, plan: Plan, bound: Bound) -> Layout:
        sizes = bound.sizes
        extents = dict(plan.extents)
        shapes = tuple(bound.batch + tuple(extents[a].value(sizes) for a in s.axes) for s in plan.states)
        names = tuple(s.name.lstrip("%") for s in plan.states)
        axes = tuple(tuple(str(extents[a]) for a in s.axes) for s in plan.states)
        return Layout(self.program.name, names, axes, shapes, str(bound.compute))

    def _check_state(self, state: State, layout: Layout) -> None:
        if not isinstance(state, State):
            raise TensorcError("state= takes a state: from init_state, prefill or step.")
        if state.layout == layout:
            return
        if state.layout.program != layout.program or state.layout.names != layout.names:
            raise TensorcError(
                f"The state belongs to {state.layout.program}, not to {layout.program} at these sizes."
            )
        for name, ours, theirs in zip(layout.names, layout.shapes, state.layout.shapes, strict=True):
            if ours != theirs:
                raise TensorcError(f"State {name} has the shape {theirs}; these inputs need {ours}.")
        raise TensorcError(f"The state is in {state.layout.dtype}; these inputs compute in {layout.dtype}.")

    # -- what one may ask ------------------------------------------------------------------------------

    def source(self, **sizes: int) -> str:
        """The generated source at these sizes (64 features and 4096 tokens where none are given)."""
        full = self.forms.example_sizes(sizes)
        form = self.choose(full)
        return self.forms.source(form, full)

    def report(self, **sizes: int) -> Report:
        """What was found: forms, costs, the chosen order and what was refused (see `tensorc.report`)."""
        from tensorc.report import Refused, build_report

        full = self.forms.example_sizes(sizes)
        plans, missing = {}, []
        for form in ("parallel", "chunkwise", "recurrent"):
            why = self.forms.why_not(form)
            if why is None:
                plans[form] = self.forms.plan(form, full)
            else:
                missing.append(Refused(f"{form} form", why.reason, why.change, why.line))
        return build_report(self.program, full, plans, self.choose(full), self.forms.log, refusals=missing)

    def verify(
        self,
        backends: tuple[str, ...] | None = None,
        seed: int = 0,
        time_limit: float | None = None,
        causal: bool | None = None,
    ) -> Any:
        """Check every form against the definition in exact arithmetic (see `tensorc.verify`)."""
        from tensorc.verify import verify

        return verify(self, backends=backends, seed=seed, time_limit=time_limit, causal=causal)

    def compare(self, *arguments: object, **keywords: object) -> Any:
        """The floating-point error of each form on one's own data (see `tensorc.verify`)."""
        from tensorc.verify import compare

        return compare(self, arguments, keywords)


class _Step:
    """One token's step for inputs of certain shapes and dtypes."""

    def __init__(self, operator: Operator, bound: Bound) -> None:
        functions, plan, extra = operator.forms.token_functions(bound.sizes, operator._batch(bound, True))
        self.extra = {**extra, "compute": bound.compute.type}
        step = functions["step"]
        self.layout = operator._layout(plan, bound)
        self.starter = functions["start"]
        self.round = None if bound.dtype == bound.compute else bound.dtype
        given = compared_inputs(operator.program)
        self.casts = [a.dtype != bound.compute and name not in given for name, a in bound.arrays.items()]
        self.compute = bound.compute
        self.plain = not any(self.casts)
        self.function: Callable[..., Any] = partial(step, **self.extra)

    def prepare(self, arrays: Any) -> list[Any]:
        """The inputs in the dtype of the computation."""
        return [a.astype(self.compute) if cast else a for a, cast in zip(arrays, self.casts, strict=True)]

    def start(self, kind: type[State], bound: Bound) -> State:
        """The state before any token."""
        arrays = list(bound.arrays.values())
        return kind(0, tuple(self.starter(*arrays, **self.extra)), self.layout)
