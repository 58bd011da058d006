"""Operators in graphs of PyTorch: `torch.compile`, `torch.export` and whatever reads graphs of operations.

A call in a graph is `torch.ops.tensorc.call(operator, tensors, position)`. The string `operator` is all
there is to know of it, the program included, so that a saved graph runs wherever tensorc is installed.
Eager calls do not come here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from tensorc.errors import FormError, TensorcError
from tensorc.state import Layout, State
from tensorc.torch_inputs import without_autocast
from tensorc.torch_shapes import results_like

if TYPE_CHECKING:
    from tensorc.torch_operator import TorchOperator

_living: WeakValueDictionary[str, TorchOperator] = WeakValueDictionary()


def register(operator: TorchOperator) -> str:
    """What stands for an operator in graphs: its program and settings, as text."""
    settings = {
        "program": str(operator.program),
        "backend": operator.backend,
        "form": operator.form,
        "time": None if operator.time is None else str(operator.time),
        "sizes": operator.sizes,
        "device": None if operator.device is None else str(operator.device),
    }
    text = json.dumps(settings)
    _living[text] = operator
    return text


def operator_of(text: str) -> TorchOperator:
    """The operator of a text, compiled again where there is none in this process."""
    found = _living.get(text)
    return _compiled(text) if found is None else found


@lru_cache(maxsize=256)
def _compiled(text: str) -> TorchOperator:
    from tensorc.compiler import compile

    settings = json.loads(text)
    made: Any = compile(settings.pop("program"), **settings)
    return made  # type: ignore[no-any-return]


def in_graph(
    operator: str,
    names: Sequence[str],
    arguments: Sequence[object],
    keywords: Mapping[str, object],
    states: Sequence[Tensor] = (),
    position: Any = None,
) -> list[Tensor]:
    """A call as one operation of a graph: the outputs and, with a position, the states after. Inputs are
    tensors or numbers; `names` are those of the program."""
    named = {**dict(zip(names, arguments, strict=False)), **keywords}
    if len(arguments) + len(keywords) != len(names) or any(name not in named for name in names):
        raise TensorcError(f"Inputs in compiled code: {', '.join(names)}, each once.")
    tensors = [_tensor(name, named[name]) for name in names]
    found: list[Tensor] = torch.ops.tensorc.call(operator, [*tensors, *states], position)
    return found


def stream_in_graph(
    operator: TorchOperator,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    state: State | None,
    token: bool = False,
) -> tuple[tuple[Tensor, ...], State]:
    """The outputs of a stretch of a stream, or of one token, and the state after it."""
    program = operator.program
    names = [i.name for i in program.inputs]
    _check_stream(operator)
    if token:
        inputs = dict(zip(names, arguments, strict=False)) | dict(keywords)
        places = dict(zip(names, operator.time_axes[0], strict=True))
        arguments, keywords = (), {n: _row(x, places.get(n)) for n, x in inputs.items()}
    position = 0 if state is None else state.position
    before = () if state is None else state.tensors
    found = in_graph(operator.text, names, arguments, keywords, before, position)
    outputs = tuple(found[: len(program.outputs)])
    ends = operator.time_axes[1]
    length = outputs[0].shape[ends[0]]
    if token:
        outputs = tuple(o.squeeze(end) for o, end in zip(outputs, ends, strict=True))
    after = tuple(found[len(program.outputs) :])
    if state is not None:
        return outputs, State(position + length, after, state.layout)
    states, axes = _state_names(operator)
    kind = str(after[0].dtype).replace("torch.", "") if after else "float32"
    layout = Layout(program.name, states, axes, tuple(tuple(t.shape) for t in after), kind)
    return outputs, State(position + length, after, layout)


def _row(x: Any, place: int | None) -> Any:
    """A token as a sequence of one."""
    return x if place is None else x.unsqueeze(place)


def _check_stream(operator: TorchOperator) -> None:
    """Raise `FormError` where there are no states."""
    if operator.form == "parallel":
        raise FormError("The parallel form has no state. Use form='auto', 'chunkwise' or 'recurrent'.")
    operator.forms.require("recurrent")


_check_stream._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as torch.compiler's decorator


def _state_names(operator: TorchOperator) -> tuple[Any, Any]:
    """The names and axes of the states."""
    plan = operator.forms.plan("recurrent", operator.forms.example_sizes({}))
    extents = dict(plan.extents)
    names = tuple(s.name.lstrip("%") for s in plan.states)
    return names, tuple(tuple(str(extents[a]) for a in s.axes) for s in plan.states)


_state_names._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _tensor(name: str, value: Any) -> Tensor:
    """A number as a tensor without axes, in the widest dtype: it promotes nothing."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, int):
        return torch.full((), value, dtype=torch.int64)
    if isinstance(value, float):
        return torch.full((), value, dtype=torch.float64)
    raise TensorcError(f"{name} must be a tensor or a number in compiled code, not {type(value).__name__}.")


# -- the operations ------------------------------------------------------------------------------------------

CALL = "(str operator, Tensor[] tensors, SymInt? position) -> Tensor[]"
VJP = (
    "(str operator, Tensor[] tensors, Tensor[] grads, bool[] given, bool[] needs, SymInt? position) "
    "-> Tensor[]"
)


@torch.library.custom_op("tensorc::call", mutates_args=(), schema=CALL)  # type: ignore[untyped-decorator]
def call(operator: str, tensors: list[Tensor], position: int | None) -> list[Tensor]:
    """The outputs for some inputs; with a position also for states, and with the states after."""
    found = operator_of(operator)
    with torch.no_grad():
        if position is None:
            results = found(*tensors)
            return _own(results if isinstance(results, tuple) else (results,), tensors)
        recording = found.recording(tensors, position)
        with without_autocast(tensors):
            return _own(recording.function(*tensors), tensors)


@call.register_fake  # type: ignore[untyped-decorator]
def _(operator: str, tensors: list[Tensor], position: Any) -> list[Tensor]:
    return results_like(operator_of(operator), tensors, position is not None)


@torch.library.custom_op("tensorc::vjp", mutates_args=(), schema=VJP)  # type: ignore[untyped-decorator]
def vjp(
    operator: str,
    tensors: list[Tensor],
    grads: list[Tensor],
    given: list[bool],
    needs: list[bool],
    position: int | None,
) -> list[Tensor]:
    """The gradients of the tensors that need one, from those of the results that have one."""
    weights = iter(grads)
    all_grads = [next(weights) if g else None for g in given]
    recording = operator_of(operator).recording(tensors, position)
    with torch.no_grad(), without_autocast(tensors), _followed():
        found = recording.backward(tensors, all_grads, needs)
    pairs = [(t, g) for t, g, need in zip(tensors, found, needs, strict=True) if need]
    return _own([torch.zeros_like(t) if g is None else g for t, g in pairs], [*tensors, *grads])


@vjp.register_fake  # type: ignore[untyped-decorator]
def _(
    operator: str,
    tensors: list[Tensor],
    grads: list[Tensor],
    given: list[bool],
    needs: list[bool],
    position: Any,
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t, need in zip(tensors, needs, strict=True) if need]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.operator, tensors, ctx.position = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    given, needs = [g is not None for g in grads], list(ctx.needs_input_grad[1])
    weights = [g for g in grads if g is not None]
    found = iter(
        torch.ops.tensorc.vjp(ctx.operator, [*ctx.saved_tensors], weights, given, needs, ctx.position)
    )
    return None, [next(found) if need else None for need in needs], None


call.register_autograd(_backward, setup_context=_keep)


def _followed() -> AbstractContextManager[Any]:
    """Operations of PyTorch take autograd away from what runs inside them; a backward pass through the
    source needs it again."""
    keys = torch._C
    hidden = keys._dispatch_tls_local_exclude_set()
    for key in ("AutogradCPU", "AutogradCUDA", "AutogradOther", "ADInplaceOrView"):
        hidden = hidden.remove(getattr(keys.DispatchKey, key))
    context: AbstractContextManager[Any] = keys._ForceDispatchKeyGuard(
        keys._dispatch_tls_local_include_set(), hidden
    )
    return context


def _own(tensors: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """Results as graphs expect them: contiguous, each in memory of its own."""
    seen = {t.untyped_storage().data_ptr() for t in given}
    result = []
    for tensor in tensors:
        tensor = tensor.contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        result.append(tensor)
    return result
