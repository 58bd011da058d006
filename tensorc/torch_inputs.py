"""What users pass to an operator on PyTorch, as tensors of one device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from tensorc.binding import Bound
from tensorc.errors import BackendError, ShapeError, TensorcError

DTYPES = frozenset(
    (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
        torch.int8, torch.uint8, torch.bool,
    )
)  # fmt: skip
NUMBERS = (bool, int, float)
look = attrgetter("shape", "dtype", "device", "requires_grad")


def signature_of(arguments: Sequence[Any]) -> object:
    """What a call is looked up by: the shapes, dtypes and devices of tensors, and whether autograd records.

    None where an argument is no tensor, and under autocast. Two calls that look the same run the same code.
    """
    try:
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            return None
        return (torch.is_grad_enabled(), *map(look, arguments))
    except AttributeError:
        return None


def recorded(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether autograd records what is computed from tensors."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def anchored(function: Callable[..., tuple[torch.Tensor, ...]]) -> Callable[..., tuple[torch.Tensor, ...]]:
    """A function of tensors that may have nothing to compute: its results have gradients all the same."""

    def call(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        nothing = [t.flatten()[:0].sum() for t in tensors if t.requires_grad]
        found = function(*tensors)
        return tuple(o if o.requires_grad else o + sum(nothing).to(o.dtype) for o in found)

    return call


def without_autocast(tensors: Sequence[torch.Tensor]) -> AbstractContextManager[Any]:
    """Generated source chooses its dtypes itself."""
    kind = tensors[0].device.type if tensors else "cpu"
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return nullcontext()
    context: AbstractContextManager[Any] = torch.autocast(kind, enabled=False)
    return context


def checked_device(device: object) -> torch.device:
    """A device that is there. Raises `BackendError` for one that is not."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError) as error:
        reason = str(error).split("\n", 1)[0]
        raise BackendError(f"device={device!r} cannot be used: {reason}") from error
    return found


def read(values: Sequence[object], device: torch.device | None) -> list[object]:
    """Lists and arrays as tensors. Numbers stay numbers, which promote nothing; what no tensor can hold
    stays as it is, for binding to say what is wrong with it."""
    if device is None:
        device = next((v.device for v in values if isinstance(v, torch.Tensor)), None)
    result = list(values)
    for at, value in enumerate(values):
        if isinstance(value, (torch.Tensor, np.ma.MaskedArray, *NUMBERS)):
            continue
        try:
            array = value if hasattr(value, "__array_interface__") else np.asarray(value)
            result[at] = torch.as_tensor(array, device=device)
        except (TypeError, ValueError, RuntimeError):
            continue
    return result


def on_one_device(bound: Bound, device: torch.device | None, default: torch.dtype | None) -> Bound:
    """The inputs as tensors of one device; numbers take the dtype of the tensors, else the default.

    Raises `ShapeError` for tensors on several devices, `TensorcError` for what is no real number.
    """
    tensors = {n: a for n, a in bound.arrays.items() if isinstance(a, torch.Tensor)}
    owner = next((n for n, a in tensors.items() if a.dim()), next(iter(tensors), ""))
    place = device or (tensors[owner].device if owner else torch.device("cpu"))
    dtype = output_dtype(list(tensors.values()), default)
    arrays = {}
    for name, array in bound.arrays.items():
        if isinstance(array, torch.Tensor):
            _check(name, array, place, "the operator was compiled for" if device else f"{owner} is on")
            arrays[name] = array
            continue
        try:
            real = np.asarray(array).dtype.kind == "f"
            arrays[name] = torch.as_tensor(array, dtype=dtype if real else None, device=place)
        except TypeError as error:
            raise BackendError(
                f"{name} holds numbers that tensors cannot. For integers of any size and fractions, compile "
                "with backend='reference'."
            ) from error
    return replace(bound, arrays=arrays)


def output_dtype(tensors: Sequence[torch.Tensor], default: torch.dtype | None = None) -> torch.dtype:
    """The promotion of the floating tensors, or the default: PyTorch's own if none is given."""
    found: torch.dtype | None = None
    for tensor in tensors:
        if tensor.is_floating_point():
            found = tensor.dtype if found is None else torch.promote_types(found, tensor.dtype)
    return found or default or torch.get_default_dtype()


def _check(name: str, tensor: torch.Tensor, place: torch.device, whose: str) -> None:
    here = tensor.device
    same = here.type == place.type and (place.index is None or here.index == place.index)
    if not same and not (tensor.dim() == 0 and here.type == "cpu"):
        raise ShapeError(f"{name} is on {here}, but {whose} {place}: move one with .to(...).")
    if tensor.dtype not in DTYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise TensorcError(f"{name} holds {kind} elements; inputs are floats, integers or booleans.")
