"""The compiled operator: one program in all its forms."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.backends.numpy_source import numpy_source
from tensorc.backends.python_base import Batch
from tensorc.backends.python_expr import compared_inputs
from tensorc.binding import Bound, bind, signature
from tensorc.binding_sizes import LONGEST_AXIS
from tensorc.errors import BackendError, FormError, TensorcError
from tensorc.forms import Forms, Printer
from tensorc.ir import Extent, Program
from tensorc.prepared import Call, Step, as_numpy, state_layout
from tensorc.state import Layout, State
from tensorc.subscripts import check_constants, constant_subscripts

if TYPE_CHECKING:
    from tensorc.report import Refused, Report

SEEN = 64  # so many shapes are remembered
new_tuple = tuple.__new__


class Operator:
    """What `tensorc.compile` returns. Call it on whole sequences; `prefill` and `step` for streams.

    `program` is what was compiled; `backend`, `form`, `time` (the time axis, if there is one) and `sizes`
    are as asked for.

    >>> import numpy as np
    >>> import tensorc
    >>> total = tensorc.compile("def total(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])")
    >>> total
    <tensorc total(x[n, d]) -> y[n, d]: numpy, auto>
    >>> x = np.arange(6.0).reshape(3, 2)
    >>> total(x)[-1]
    array([6., 9.])
    >>> y, state = total.prefill(x)
    >>> y, state = total.step(state, [1.0, 1.0])
    >>> y, state.position
    (array([ 7., 10.]), 4)
    """

    def __init__(
        self, program: Program, *, backend: str, form: str, time: Extent | None, sizes: dict[str, int]
    ) -> None:
        self.program, self.backend, self.form, self.time, self.sizes = program, backend, form, time, sizes
        self.forms = self._forms(program, time, sizes)
        self.__name__ = program.name
        self.__doc__ = str(program)
        self._inputs = tuple(i.name for i in program.inputs)
        self._single = len(program.outputs) == 1
        self._constants = constant_subscripts(program)
        self._derived: dict[Program, Operator] = {}
        self._calls: dict[object, Call] = {}
        self._steps: dict[object, Step] = {}
        self._last: Step | None = None
        if backend == "reference" and form not in ("auto", "parallel"):
            raise FormError(f"The reference backend evaluates the definition; it has no {form} form.")
        if form not in ("auto", "parallel"):
            self.forms.require(form)

    def _forms(self, program: Program, time: Extent | None, sizes: Mapping[str, int]) -> Forms:
        """The forms of the program as this backend prints them."""
        return Forms(program, time, sizes, self._printer())

    def _printer(self) -> Printer:
        """What prints the source of a plan."""
        return numpy_source

    def __repr__(self) -> str:
        head = str(self.program).split("\n", 1)[0].removeprefix("def ").removesuffix(":")
        return f"<tensorc {head}: {self.backend}, {self.form}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.program, self.backend, self.form, self.time, self.sizes)

    # -- whole sequences -----------------------------------------------------------------------------

    def __call__(
        self, /, *arguments: object, state: Any = None, cu_seqlens: object = None, **keywords: object
    ) -> Any:
        """The outputs for whole sequences; with `state`, of a sequence that continues.

        Inputs in signature order or by keyword; leading batch dimensions broadcast. One output is
        returned as it is, several as a tuple. Inputs are never changed, and no output shares memory with
        them. Raises `ShapeError` for shapes that do not fit, `FormError` for a form that is missing.

        With `cu_seqlens` (integers [0, len0, len0 + len1, ..., n]) the time axis holds documents one after
        another, and the result is that of each alone. `state` is then a list, one of each document. An
        output without the time axis has one of each document, in front.

        >>> import numpy as np
        >>> import tensorc
        >>> total = tensorc.compile("def total(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
        >>> total(np.ones(5), cu_seqlens=[0, 2, 5])
        array([1., 2., 1., 2., 3.])
        """
        if self._are_documents(cu_seqlens, keywords):
            return self._one(self._documents(arguments, keywords, cu_seqlens, state, False)[0])
        state = self._stateful(state, keywords)
        if self.backend == "reference":
            return self._reference(arguments, keywords, state)
        bound = self._bind(arguments, keywords)
        form = self.choose(bound.sizes, streaming=state is not None, batch=prod(bound.batch))
        outputs, _ = self._run(form, bound, state)
        return self._one(outputs)

    def prefill(
        self, /, *arguments: object, state: Any = None, cu_seqlens: object = None, **keywords: object
    ) -> tuple[Any, Any]:
        """The outputs for a prefix, and the state after it; `state` is the state before it, if any.

        Inputs as for a call. Several outputs come as a tuple: `(o, z), state = f.prefill(q, k)`. With
        `cu_seqlens` the states before and after are one of each document: `o, states = f.prefill(...)`.
        """
        if self._are_documents(cu_seqlens, keywords):
            self._needs_state("prefill")
            outputs, states = self._documents(arguments, keywords, cu_seqlens, state, True)
            return self._one(outputs), states
        state = self._stateful(state, keywords)
        self._needs_state("prefill")
        bound = self._bind(arguments, keywords)
        form = self.choose(bound.sizes, streaming=True, batch=prod(bound.batch))
        outputs, after = self._run(form, bound, state)
        assert after is not None
        return self._one(outputs), after

    def _stateful(self, state: State | None, keywords: dict[str, object]) -> State | None:
        """The state of a call; an input of that name is given back to the keywords."""
        if state is None or isinstance(state, State):
            return None if state is None else self._own(state)
        if "state" in self._inputs:
            keywords["state"] = state
            return None
        raise TensorcError(f"state= takes a state: from init_state, prefill or step; not {_kind(state)}.")

    def _are_documents(self, cu_seqlens: object, keywords: dict[str, object]) -> bool:
        """Whether a call is one of packed documents; an input of that name is given back to the keywords."""
        if cu_seqlens is not None and "cu_seqlens" in self._inputs:
            keywords["cu_seqlens"] = cu_seqlens
            return False
        return cu_seqlens is not None

    def _documents(
        self,
        arguments: tuple[object, ...],
        keywords: dict[str, object],
        cu_seqlens: object,
        states: object,
        streaming: bool,
    ) -> tuple[tuple[Any, ...], tuple[State, ...]]:
        from tensorc.documents import call_documents

        bind(self.program, arguments, keywords, self.sizes)  # names that do not fit raise here
        named = {**dict(zip(self._inputs, arguments, strict=False)), **keywords}
        return call_documents(self, named, cu_seqlens, states, streaming)

    def derived(self, program: Program) -> Operator:
        """Another program under the same settings: the same operator each time."""
        if program not in self._derived:
            sizes = {name: size for name, size in self.sizes.items() if name in program.sizes()}
            self._derived[program] = Operator(
                program, backend=self.backend, form=self.form, time=self.time, sizes=sizes
            )
        return self._derived[program]

    def _bind(self, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> Bound:
        if any(isinstance(a, State) for a in arguments):
            raise TensorcError(f"A state is passed by keyword: {self._example('state=state')}.")
        bound = bind(self.program, arguments, keywords, self.sizes)
        if bound.compute.kind == "O":
            raise BackendError(
                "The numpy backend computes in floats. For integers of any size and fractions, compile with "
                "backend='reference'."
            )
        as_numpy(bound.arrays)
        return bound

    def _reference(
        self, arguments: tuple[object, ...], keywords: Mapping[str, object], state: State | None
    ) -> Any:
        from tensorc.backends.reference import run

        if state is not None:
            raise FormError("The reference backend evaluates whole sequences; it takes no state.")
        if keywords:
            bind(self.program, arguments, keywords, self.sizes)  # names that do not fit raise here
            named = {**dict(zip(self._inputs, arguments, strict=False)), **keywords}
            arguments = tuple(named[name] for name in self._inputs)
        return run(self.program, *arguments, sizes=self.sizes)

    def _one(self, outputs: tuple[Any, ...]) -> Any:
        return outputs[0] if self._single else outputs

    def choose(self, sizes: Mapping[str, int], streaming: bool = False, batch: int = 1) -> str:
        """The form for these sizes: the one asked for, or the cheapest by the cost model for a batch.

        >>> import tensorc
        >>> total = tensorc.compile("def total(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])", form="chunkwise")
        >>> total.choose({"n": 4096})
        'chunkwise'
        """
        if self.form != "auto":
            if streaming and self.form == "parallel":
                raise FormError(
                    "The parallel form has no state. Use form='auto', 'chunkwise' or 'recurrent'."
                )
            return self.form
        return self.forms.cheapest(sizes, streaming, batch)

    def _run(self, form: str, bound: Bound, state: State | None) -> tuple[tuple[Any, ...], State | None]:
        call = self._prepare(form, bound)
        arrays = bound.arrays.values()
        if form == "parallel":
            return call.function(*arrays, dtype=bound.dtype), None
        for name in call.plan.ascending:
            self._check_ascending(name, bound.arrays[name])
        if state is None:
            outputs, tensors = call.function(*arrays, dtype=bound.dtype)
        else:
            self._check_state(state, call.layout)
            outputs, tensors = call.function(
                *arrays, dtype=bound.dtype, state=state.tensors, position=state.position
            )
        if call.layout is None:
            return outputs, None
        assert self.time is not None
        position = (0 if state is None else state.position) + self.time.value(bound.sizes)
        return outputs, State(position, tuple(tensors), call.layout)

    def _prepare(self, form: str, bound: Bound) -> Call:
        """The function for inputs of these shapes and dtypes: looked up, once they were seen."""
        key = (form, *bound.sizes.values(), bound.compute, *[a.shape for a in bound.arrays.values()])
        found = self._calls.get(key)
        if found is None:
            check_constants(self._constants, bound.sizes)
            function, plan = self.forms.function(form, bound.sizes, self._batch(bound))
            streams = form != "parallel" and self.forms.streams()
            found = Call(function, plan, state_layout(self.program, plan, bound) if streams else None)
            if len(self._calls) >= SEEN:
                self._calls.clear()
            self._calls[key] = found
        return found

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
        if keywords or step is None or type(state) is not State or not step.fits(arguments):
            if state is None and isinstance(keywords.get("state"), State):
                state = keywords.pop("state")
            step, arguments = self._stepper(arguments, keywords, self._checked(state, "step"))
        elif step.casts:
            arguments = step.prepare(arguments)
        position, tensors, layout = state
        if layout is not step.layout:
            self._check_state(state, step.layout)
        outputs, tensors = step.function(tensors, *arguments, position=position)
        if step.round is not None:
            outputs = tuple(o.astype(step.round) for o in outputs)
        after = new_tuple(State, (position + 1, tensors, step.layout))  # as State(...), in half the time
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
            functions, plan, extra = self.forms.token_functions(bound.sizes, self._batch(bound, True))
            layout = state_layout(self.program, plan, bound, token=True)
            step = Step(bound, functions, extra, layout, compared_inputs(self.program))
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

    def _arrays(self) -> tuple[type, ...]:
        """What states are made of."""
        return np.ndarray, np.generic

    def _checked(self, state: object, what: str) -> State:
        if not isinstance(state, State):
            self._needs_state(what)
            raise TensorcError(
                f"The first argument of {what} is a state, from init_state, prefill or step: "
                f"o, state = {self._example(first='state', call='.step')}. Given: {_kind(state)}."
            )
        return self._own(state)

    def _own(self, state: State) -> State:
        """A state of this backend. Raises `TensorcError` for one of another."""
        strange = next((t for t in state.tensors if not isinstance(t, self._arrays())), None)
        if strange is None:
            return state
        raise TensorcError(
            f"The state is of another backend: it holds {_kind(strange)}, which {self.backend} does not "
            "compute with. Start from init_state or prefill of this operator."
        )

    def _check_state(self, state: State, layout: Layout | None) -> None:
        if layout is None:
            self._needs_state("state")
        elif state.layout != layout:
            raise TensorcError(state.layout.difference(layout, str(self.time)))

    def _example(self, last: str = "", first: str = "", call: str = "") -> str:
        """A call as it should be written."""
        return f"{self.program.name}{call}({', '.join(filter(None, [first, *self._inputs, last]))})"

    # -- what one may ask ------------------------------------------------------------------------------

    def source(self, **sizes: int) -> str:
        """The generated source at these sizes (64 features and 4096 tokens where none are given)."""
        if self.backend == "reference":
            raise BackendError("The reference backend has no source: compile with backend='numpy'.")
        full = self.forms.example_sizes(sizes)
        return self.forms.source(self.choose(full), full)

    def report(self, **sizes: int) -> Report:
        """What was found: forms, costs, the chosen order and what was refused (see `tensorc.report`).

        `batch=`, where that is no size of the program, is for how many sequences and heads at once the
        form is chosen; costs are those of one.
        """
        from tensorc.report import Refused, build_report

        batch = 1 if "batch" in self.program.sizes() else sizes.pop("batch", 1)
        if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= LONGEST_AXIS:
            raise TensorcError(f"batch= is how many sequences and heads there are, 1 or more; not {batch!r}.")
        full = self.forms.example_sizes(sizes)
        plans, missing = {}, []
        for form in ("parallel", "chunkwise", "recurrent"):
            why = self.forms.why_not(form)
            if why is None:
                plans[form] = self.forms.plan(form, full)
            else:
                missing.append(Refused(f"{form} form", why.reason, why.change, why.line))
        missing += self._more_refusals(full)
        chosen = self.choose(full, batch=batch)
        return build_report(self.program, full, plans, chosen, self.forms.log, refusals=missing, batch=batch)

    def _more_refusals(self, sizes: Mapping[str, int]) -> list[Refused]:
        """What this backend refuses beside forms."""
        return []

    def check_bounds(self, /, *arguments: object, **keywords: object) -> float:
        """Check that the scores of these inputs keep the bounds of what was approximated; the largest
        absolute score. Inputs as for a call; scores are made in blocks, so that long sequences fit.

        Raises `TensorcError` for a score beyond its bound, with its value and place, and for a program
        in which nothing was approximated (see `tensorc.approximate`).
        """
        from tensorc.score_bounds import largest_scores

        if not self.program.approximations:
            raise TensorcError(
                f"Nothing in {self.program.name} is approximated, so there are no bounds to check. "
                "Programs from tensorc.approximate have bounds."
            )
        bound = bind(self.program, arguments, keywords, self.sizes)
        as_numpy(bound.arrays)
        return max(largest_scores(self.program, bound.arrays, bound.sizes))

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


def _kind(value: object) -> str:
    """What was given instead of a state."""
    return "nothing" if value is None else f"a {type(value).__name__}"


def _again(program: Program, backend: str, form: str, time: Extent | None, sizes: dict[str, int]) -> Operator:
    """An operator from what it was made of: how copies and pickles come back."""
    return Operator(program, backend=backend, form=form, time=time, sizes=sizes)
