"""Generated PyTorch source against the definition: run on tensors that share no memory with the inputs, are
not contiguous, and with uninitialised buffers that hold NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tensorc.backends.python_base import Batch
from tensorc.backends.torch_source import torch_source
from tensorc.plan import Plan
from tensorc.verify_cases import Inputs, Outputs, States
from tensorc.verify_source import Sources, hostile


class TorchSources(Sources):
    """`Sources` for PyTorch. What is known of a call is also that nothing is recorded: that source works in
    place, the other one does not."""

    def run(
        self,
        plan: Plan,
        chunk: int | None,
        inputs: Inputs,
        sizes: Mapping[str, int],
        state: States | None,
        position: int,
        dtype: np.dtype[Any],
    ) -> tuple[Outputs, States]:
        tensors = {name: tensor(array) for name, array in inputs.items()}
        before = None if state is None else tuple(map(tensor, state))
        kind: Any = getattr(torch, dtype.name)
        found: Any = super().run(plan, chunk, tensors, sizes, before, position, kind)
        outputs, states = found
        return {n: t.numpy() for n, t in outputs.items()}, tuple(t.numpy() for t in states)

    def _argument(self, array: Any) -> Any:
        return array

    def _print(self, plan: Plan, batch: Batch) -> str:
        return torch_source(self.program, plan, replace(batch, overwrite=self.known))

    def _poison(self, namespace: dict[str, Any]) -> None:
        namespace["torch"] = Poisoned()


class Poisoned:
    """PyTorch, but what is not initialised holds NaN."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def empty(*shape: Any, **keywords: Any) -> torch.Tensor:
        """NaN, or the largest number of a dtype without NaN."""
        made = torch.empty(*shape, **keywords)
        if made.is_floating_point():
            return made.fill_(float("nan"))
        return made.fill_(True if made.dtype == torch.bool else torch.iinfo(made.dtype).max)


def tensor(array: Any) -> torch.Tensor:
    """The same numbers as a tensor of its own, not contiguous where that is possible."""
    copy = hostile(np.asarray(array)).copy() if np.ndim(array) == 0 else np.asarray(array)
    if np.ndim(array) == 0:
        return torch.tensor(copy[()])
    wide = np.zeros((*copy.shape[:-1], 2 * copy.shape[-1] + 1), copy.dtype)
    wide[..., 1::2] = copy
    return torch.from_numpy(wide)[..., 1::2]
