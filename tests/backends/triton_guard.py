"""Bounds checks for Triton's interpreter, which has none: every element that a kernel reads or writes lies in
a tensor that was passed to it. Import it before kernels run, in a process with TRITON_INTERPRET=1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from triton.runtime import interpreter

SPANS: list[tuple[int, int]] = []
builder: Any = interpreter.InterpreterBuilder
masked_load, masked_store = builder.create_masked_load, builder.create_masked_store
run = interpreter.InterpretedFunction.run


def check(pointers: Any, mask: Any, what: str) -> None:
    """Fail if an element that the mask lets through lies outside of all tensors."""
    inside = np.broadcast_to(np.asarray(mask.data, bool), pointers.data.shape)
    places = np.asarray(pointers.data)[inside].astype(np.uint64)
    if not places.size:
        return
    size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
    low, high = int(places.min()), int(places.max()) + size
    if not any(start <= low and high <= end for start, end in SPANS):
        raise AssertionError(f"{what} out of bounds")


def checked_load(self: Any, pointers: Any, mask: Any, *rest: Any, **options: Any) -> Any:
    check(pointers, mask, "a read")
    return masked_load(self, pointers, mask, *rest, **options)


def checked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any, **options: Any) -> Any:
    check(pointers, mask, "a write")
    return masked_store(self, pointers, value, mask, *rest, **options)


def checked_run(self: Any, *arguments: Any, **options: Any) -> Any:
    """A launch; the memory of its tensors is known while it lasts."""
    SPANS[:] = []
    for x in arguments:
        if isinstance(x, torch.Tensor):
            span = sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) + 1
            SPANS.append((x.data_ptr(), x.data_ptr() + x.element_size() * (span if x.numel() else 0)))
    return run(self, *arguments, **options)


def install() -> None:
    """Check all kernels from here on."""
    builder.create_masked_load, builder.create_masked_store = checked_load, checked_store
    interpreter.InterpretedFunction.run = checked_run
