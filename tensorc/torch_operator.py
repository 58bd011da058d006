"""The operator on PyTorch: tensors in, tensors out, on the device and in the dtype of the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from tensorc.backends.python_base import Batch
from tensorc.backends.python_expr import compared_inputs
from tensorc.binding import Bound, signature
from tensorc.errors import TensorcError
from tensorc.forms import Printer
from tensorc.ir import Extent, Program
from tensorc.operator import SEEN, Operator, new_tuple
from tensorc.plan import Plan
from tensorc.prepared import Call, state_layout, with_keywords
from tensorc.state import Layout, State
from tensorc.subscripts import check_constants
from tensorc.torch_custom import in_graph, register, stream_in_graph
from tensorc.torch_function import Recorded, Recording, outputs_of, streaming
from tensorc.torch_gradient import Gradients, Missing
from tensorc.torch_inputs import (
    anchored,
    checked_device,
    on_one_device,
    output_dtype,
    read,
    recorded,
    signature_of,
    without_autocast,
)
from tensorc.torch_token import Token


class TorchOperator(Operator):
    """`Operator` for backend="torch". Calls like one that was seen before look their function up by the
    shapes, dtypes and devices of the tensors alone.

    Where a call needs gradients, they come from the gradient program (`tensorc.grad`), which keeps the
    inputs alone, or from autograd through the generated source, whichever the cost model finds faster;
    `backward` says which, and why. Double backward goes through the source.

    In code that PyTorch compiles or exports, a call is one operation, `torch.ops.tensorc.call`.
    """

    followed = True  # whether autograd can follow the generated source

    def __init__(
        self,
        program: Program,
        *,
        backend: str,
        form: str,
        time: Extent | None,
        sizes: dict[str, int],
        device: object = None,
    ) -> None:
        super().__init__(program, backend=backend, form=form, time=time, sizes=sizes)
        self.device = None if device is None else checked_device(device)
        self._axes = tuple(bool(i.axes) for i in program.inputs)
        self._fast: dict[object, Callable[..., tuple[Any, ...]]] = {}
        self._tokens: dict[object, Token] = {}
        self._layouts: dict[Layout, Layout] = {}
        self.gradients = Gradients(self)
        self.text = register(self)
        self.time_axes = tuple(
            tuple(t.axes.index(time) - len(t.axes) if time in t.axes else None for t in tensors)
            for tensors in (program.inputs, program.outputs)
        )  # of the inputs and of the outputs, counted from the end

    def __reduce__(self) -> tuple[Any, ...]:
        device = None if self.device is None else str(self.device)
        return _again, (type(self), self.program, self.backend, self.form, self.time, self.sizes, device)

    def derived(self, program: Program) -> Operator:
        if program not in self._derived:
            self._derived[program] = self.like(program, self.form)
        return self._derived[program]

    def like(self, program: Program, form: str) -> TorchOperator:
        """Another program on the same backend and device."""
        sizes = {name: size for name, size in self.sizes.items() if name in program.sizes()}
        return _again(type(self), program, self.backend, form, self.time, sizes, self.device)

    def _printer(self) -> Printer:
        from tensorc.backends.torch_source import torch_source

        return torch_source

    def backward(self, **sizes: int) -> str:
        """How gradients of all inputs are made at these sizes: by which program, or why by autograd.

        >>> import tensorc
        >>> total = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])", backend="torch")
        >>> total.backward(n=4096)
        'by the gradient program, chunkwise'
        """
        return self.gradients.explain(self.forms.example_sizes(sizes))

    def _more_refusals(self, sizes: Mapping[str, int]) -> list[Any]:
        return self.gradients.refusals(sizes)

    # -- whole sequences -----------------------------------------------------------------------------

    def __call__(
        self, /, *arguments: object, state: Any = None, cu_seqlens: object = None, **keywords: object
    ) -> Any:
        """The outputs for whole sequences, as `Operator.__call__` says, on the device of the inputs.

        Tensors may have any strides; those of one call are on one device. Gradients reach every input.
        Raises `ShapeError` for tensors on several devices.
        """
        if torch.compiler.is_compiling():
            return self._in_graph(arguments, keywords, state, cu_seqlens)
        if state is None and cu_seqlens is None and not keywords:
            key = signature_of(arguments)
            function = self._fast.get(key)
            outputs = self._first(arguments, keywords, key) if function is None else function(*arguments)
            return outputs[0] if self._single else outputs
        if state is None and cu_seqlens is None and not {"state", "cu_seqlens"} & {*self._inputs}:
            return self._one(self._first(arguments, keywords, None))
        return super().__call__(*arguments, state=state, cu_seqlens=cu_seqlens, **keywords)

    def _in_graph(
        self, arguments: tuple[object, ...], keywords: dict[str, object], state: Any, cu_seqlens: object
    ) -> Any:
        if cu_seqlens is not None:
            raise TensorcError("cu_seqlens in compiled code: call with packed documents outside of it.")
        if state is None:
            return self._one(tuple(in_graph(self.text, self._inputs, arguments, keywords)))
        return self._one(stream_in_graph(self, arguments, keywords, state)[0])

    def prefill(
        self, /, *arguments: object, state: Any = None, cu_seqlens: object = None, **keywords: object
    ) -> tuple[Any, Any]:
        if torch.compiler.is_compiling() and cu_seqlens is None:
            outputs, after = stream_in_graph(self, arguments, keywords, state)
            return self._one(outputs), after
        return super().prefill(*arguments, state=state, cu_seqlens=cu_seqlens, **keywords)

    def _first(
        self, arguments: tuple[object, ...], keywords: Mapping[str, object], key: object
    ) -> tuple[Any, ...]:
        """A call that is not looked up; the next one with such tensors goes straight to the function."""
        bound = self._bind(arguments, keywords)
        tensors = [*bound.arrays.values()]
        form = self.choose(bound.sizes)
        form, call, function = self._function(form, bound)
        self._check_segments(call, bound)
        if key is not None and not call.plan.ascending:
            if len(self._fast) >= SEEN:
                self._fast.clear()
            self._fast[key] = function
        with without_autocast(tensors):
            return function(*tensors)

    def _run(self, form: str, bound: Bound, state: State | None) -> tuple[tuple[Any, ...], State | None]:
        before = () if state is None else state.tensors
        tensors = [*bound.arrays.values(), *before]
        if state is not None:
            self._check_state(state, self._prepared(form, bound, False).layout)
        form, call, function = self._function(form, bound, before, 0 if state is None else state.position)
        self._check_segments(call, bound)
        with without_autocast(tensors):
            found = function(*tensors)
        outputs, after = found[: len(self.program.outputs)], found[len(self.program.outputs) :]
        if call.layout is None:
            return outputs, None
        assert self.time is not None
        position = (0 if state is None else state.position) + self.time.value(bound.sizes)
        return outputs, State(position, after, call.layout)

    def _function(
        self, form: str, bound: Bound, before: Sequence[torch.Tensor] = (), position: int | None = None
    ) -> tuple[str, Call, Callable[..., tuple[Any, ...]]]:
        """The function of the inputs and then states that returns the outputs and, with a position, the
        states after; where autograd records it, with its gradients."""
        tensors = [*bound.arrays.values(), *before]
        if not recorded(tensors):
            call = self._prepared(form, bound, False)
            return form, call, self._plain(call, form, bound, position)
        if form == "recurrent" and self.form == "auto" and self.forms.exists("chunkwise"):
            form = "chunkwise"  # autograd through it keeps less
        recording = self._recording(form, bound, before, position)
        states = (True,) * len(recording.layout.shapes if recording.layout else ())
        needs = (*[t.requires_grad for t in tensors], *([False] * (len(states) - len(before))))
        backward = self.gradients.find(bound.sizes, ((True,) * len(self.program.outputs)) + states, needs)
        preferred = not isinstance(backward, Missing) and self.gradients.preferred(backward, form, bound)
        if self.followed and not preferred:
            followed = self._prepared(form, bound, True)
            function = self._plain(followed, form, bound, position)
            return form, followed, anchored(function) if 0 in bound.sizes.values() else function
        return form, self._prepared(form, bound, False), partial(Recorded.apply, recording)

    def recording(self, tensors: Sequence[torch.Tensor], position: int | None) -> Recording:
        """A call on inputs and then, with a position, states, and how its gradients come back."""
        inputs = len(self._inputs)
        bound = self._bind(tuple(tensors[:inputs]), {})
        form = self.choose(bound.sizes, streaming=position is not None)
        return self._recording(form, bound, tensors[inputs:], position)

    def _recording(
        self, form: str, bound: Bound, before: Sequence[torch.Tensor], position: int | None
    ) -> Recording:
        call = self._prepared(form, bound, False)
        self._check_segments(call, bound)

        def source() -> Callable[..., tuple[Any, ...]]:
            return self._plain(self._prepared(form, bound, True), form, bound, position)

        return Recording(
            self,
            self._plain(call, form, bound, position),
            source if self.followed else None,
            bound.sizes,
            None if position is None else call.layout,
            bool(before),
        )

    def _plain(
        self, call: Call, form: str, bound: Bound, position: int | None
    ) -> Callable[..., tuple[Any, ...]]:
        """A generated function as one of tensors that returns tensors."""
        function = with_keywords(call.function, {"dtype": self._dtype(bound)})
        if form == "parallel":
            return function
        if position is None:
            return outputs_of(function)
        return streaming(function, len(self.program.inputs), position)

    def _check_segments(self, call: Call, bound: Bound) -> None:
        for name in call.plan.ascending:
            self._check_ascending(name, bound.arrays[name].detach().cpu().numpy())

    def _prepared(self, form: str, bound: Bound, grad: bool) -> Call:
        """The function for tensors of these shapes and dtypes: looked up, once they were seen."""
        kinds = [(a.shape, a.dtype) for a in bound.arrays.values()]
        key = (form, *bound.sizes.values(), self._dtype(bound), grad, *kinds)
        found = self._calls.get(key)
        if found is None:
            check_constants(self._constants, bound.sizes)
            batch = replace(self._batch(bound), overwrite=not grad)
            function, plan = self.forms.function(form, bound.sizes, batch)
            streams = form != "parallel" and self.forms.streams()
            compute = torch.promote_types(self._dtype(bound), torch.float32)
            found = Call(function, plan, self._layout(plan, bound, compute) if streams else None)
            if len(self._calls) >= SEEN:
                self._calls.clear()
            self._calls[key] = found
        return found

    # -- tokens ----------------------------------------------------------------------------------------

    def init_state(self, /, *arguments: object, **keywords: object) -> State:
        token, tensors = self._token(arguments, keywords)
        return State(0, token.start(*tensors), token.layout)

    def step(self, state: Any = None, /, *arguments: object, **keywords: object) -> tuple[Any, State]:
        """One token: each input without the time axis. Returns the outputs and a new state.

        The old state stays as it is. Python numbers take the dtype of the state.
        """
        if torch.compiler.is_compiling():
            outputs, after = stream_in_graph(self, arguments, keywords, state, token=True)
            return self._one(outputs), after
        if not self.followed and torch.is_grad_enabled():
            return self._single_row(self._checked(state, "step"), arguments, keywords)
        key = None if keywords or type(state) is not State else self._token_key(state, arguments)
        token = self._tokens.get(key)
        if key is None or token is None:
            if state is None and isinstance(keywords.get("state"), State):
                state = keywords.pop("state")
            token, arguments = self._token(arguments, keywords, self._checked(state, "step"), key)
        elif token.casts is not None:
            arguments = token.prepare(arguments)
        if state.layout is not token.layout:
            self._check_state(state, token.layout)
        outputs, tensors = token.function(state.tensors, *arguments, position=state.position)
        if token.rounded is not None:
            outputs = tuple([o.to(token.rounded) for o in outputs])
        after = new_tuple(State, (state.position + 1, tensors, token.layout))  # as State(...), faster
        return (outputs[0] if self._single else outputs), after

    def _single_row(
        self, state: State, arguments: tuple[object, ...], keywords: dict[str, object]
    ) -> tuple[Any, State]:
        """One token as a sequence of one, whose gradients come from the gradient program."""
        self._needs_state("step")
        bound = self._bind(arguments, keywords, str(self.time), getattr(torch, state.layout.dtype))
        rows = zip(bound.arrays.values(), self.time_axes[0], strict=True)
        outputs, after = self.prefill(*(t if p is None else t.unsqueeze(p) for t, p in rows), state=state)
        found = outputs if isinstance(outputs, tuple) else (outputs,)
        return self._one(tuple(o.squeeze(p) for o, p in zip(found, self.time_axes[1], strict=True))), after

    def _token_key(self, state: State, arguments: tuple[Any, ...]) -> object:
        key = signature_of(arguments)
        if key is None or not torch.is_grad_enabled():
            return key
        try:
            return key, recorded(state.tensors)
        except AttributeError:  # the state of another backend, which is refused with the reason
            return None

    def _token(
        self,
        arguments: tuple[object, ...],
        keywords: dict[str, object],
        state: State | None = None,
        key: object = None,
    ) -> tuple[Token, Any]:
        """The function for tokens of these shapes and dtypes, and the inputs as it takes them."""
        self._needs_state("step")
        assert self.time is not None
        default = None if state is None else getattr(torch, state.layout.dtype)
        bound = self._bind(arguments, keywords, str(self.time), default)
        tensors = list(bound.arrays.values())
        dtype = self._dtype(bound, default)
        compute = torch.promote_types(dtype, torch.float32)
        grad = recorded([*tensors, *(() if state is None else state.tensors)])
        batch = replace(self._batch(bound, True), overwrite=not grad)
        functions, plan, extra = self.forms.token_functions(bound.sizes, batch)
        layout = self._layout(plan, bound, compute, token=True)
        compared = compared_inputs(self.program)
        casts = tuple(
            compute if t.dtype != compute and n not in compared else None for n, t in bound.arrays.items()
        )
        options = {**extra, "compute": compute}
        token = Token(
            with_keywords(functions["step"], options),
            with_keywords(functions["start"], options),
            layout,
            casts if any(casts) else None,
            None if dtype == compute else dtype,
        )
        if key is not None:
            if len(self._tokens) >= SEEN:
                self._tokens.clear()
            self._tokens[key] = token
        return token, token.prepare(tensors)

    def _layout(self, plan: Plan, bound: Bound, compute: torch.dtype, token: bool = False) -> Layout:
        """The layout of the states; the same object each time, so that steps compare no contents."""
        layout = state_layout(self.program, plan, bound, token)
        layout = replace(layout, dtype=str(compute).removeprefix("torch."))
        return self._layouts.setdefault(layout, layout)

    # -- inputs ----------------------------------------------------------------------------------------

    def _arrays(self) -> tuple[type, ...]:
        return (torch.Tensor,)

    def _bind(
        self,
        arguments: tuple[object, ...],
        keywords: Mapping[str, object],
        without: str | None = None,
        default: torch.dtype | None = None,
    ) -> Bound:
        """The inputs as tensors, and the sizes; `default` is the dtype where only numbers are given."""
        if without is None and any(isinstance(a, State) for a in arguments):
            raise TensorcError(f"A state is passed by keyword: {self._example('state=state')}.")
        given = iter(read([*arguments, *keywords.values()], self.device))
        values = [next(given) for _ in arguments]
        named = {name: next(given) for name in keywords}
        bound = signature(self.program, without).bind(values, named, self.sizes)
        return on_one_device(bound, self.device, default)

    def _dtype(self, bound: Bound, default: torch.dtype | None = None) -> torch.dtype:
        counted = [a for a, axes in zip(bound.arrays.values(), self._axes, strict=True) if axes]
        return output_dtype(counted, default)

    def _batch(self, bound: Bound, tokens: bool = False) -> Batch:
        ranks = [sum(not tokens or a != self.time for a in i.axes) for i in self.program.inputs]
        pairs = zip(bound.arrays.items(), ranks, strict=True)
        free = frozenset(name for (name, array), rank in pairs if array.dim() == rank)
        compute = torch.promote_types(self._dtype(bound), torch.float32)
        typed = frozenset(name for name, array in bound.arrays.items() if array.dtype == compute)
        return replace(super()._batch(bound, tokens), free=free if bound.batch else frozenset(), typed=typed)


def _again(
    kind: type[TorchOperator],
    program: Program,
    backend: str,
    form: str,
    time: Extent | None,
    sizes: dict[str, int],
    device: object,
) -> TorchOperator:
    """An operator from what it was made of: how copies and pickles come back."""
    return kind(program, backend=backend, form=form, time=time, sizes=sizes, device=device)
