"""One token on PyTorch: what was prepared for tensors like those of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tensorc.state import Layout


@dataclass(frozen=True, slots=True)
class Token:
    """One token on tensors like those that it was made for. `casts` has for each input the dtype that it is
    brought to, or None; `rounded` is that of the outputs where it is not that of the arithmetic."""

    function: Callable[..., Any]
    start: Callable[..., Any]
    layout: Layout
    casts: tuple[torch.dtype | None, ...] | None
    rounded: torch.dtype | None

    def prepare(self, tensors: Any) -> Any:
        """The inputs in the dtype of the arithmetic."""
        if self.casts is None:
            return tensors
        return [t if c is None else t.to(c) for t, c in zip(tensors, self.casts, strict=True)]
