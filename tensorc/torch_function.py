"""Calls that autograd records as one node: forward by the generated function, backward by the gradient
program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tensorc.errors import BackendError
from tensorc.state import Layout
from tensorc.torch_gradient import Mask, Missing

if TYPE_CHECKING:
    from tensorc.torch_operator import TorchOperator

Function = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Recording:
    """A call on tensors of certain shapes and dtypes: the inputs and then, if any, the states.

    `function` takes these tensors and returns the outputs and then, if any, the states after; it records
    nothing. `source` makes the same function in operations that autograd can follow, None if there is none.
    `layout` is that of the states after, where they are returned; without `states` before, those are zero.
    """

    operator: TorchOperator
    function: Function
    source: Callable[[], Function] | None
    sizes: dict[str, int]
    layout: Layout | None = None
    states: bool = False

    def backward(
        self, tensors: Sequence[Tensor], grads: Sequence[Tensor | None], needs: Sequence[bool]
    ) -> Sequence[Tensor | None]:
        """The gradients of the tensors that need one, by the gradient program; where it is recorded itself
        or does not exist, by autograd through the source."""
        given = tuple(g is not None for g in grads)
        if not any(given):
            return [None] * len(tensors)
        if self.source is None or not torch.is_grad_enabled():
            found = self._through_program(tensors, grads, given, needs)
            if not isinstance(found, Missing):
                return found
            if self.source is None:
                raise BackendError(f"No gradient of {self.operator.program.name}: {found.reason}.")
        return self._through_source(self.source(), tensors, grads, needs)

    def _through_program(
        self, tensors: Sequence[Tensor], grads: Sequence[Tensor | None], given: Mask, needs: Sequence[bool]
    ) -> Sequence[Tensor | None] | Missing:
        outputs = len(self.operator.program.outputs)
        start: list[Tensor] = []
        if self.layout is not None and not self.states:
            if any(given[outputs:]):
                dtype, place = getattr(torch, self.layout.dtype), tensors[0].device
                start = [torch.zeros(shape, dtype=dtype, device=place) for shape in self.layout.shapes]
            else:
                given = given[:outputs]
        found = self.operator.gradients.find(self.sizes, given, (*needs, *(False for _ in start)))
        if isinstance(found, Missing):
            return found
        return found([*tensors, *start], [g for g in grads if g is not None])[: len(tensors)]

    def _through_source(
        self,
        source: Function,
        tensors: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> list[Tensor | None]:
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            given = [
                (t if again else t.detach().requires_grad_()) if need else t.detach()
                for t, need in zip(tensors, needs, strict=True)
            ]
            pairs = [(o, g) for o, g in zip(source(*given), grads, strict=True) if g is not None]
            pairs = [(o, g) for o, g in pairs if o.requires_grad]
        by = [t for t, need in zip(given, needs, strict=True) if need]
        if not pairs:
            return [None] * len(tensors)
        outputs, weights = zip(*pairs, strict=True)
        found = iter(torch.autograd.grad(outputs, by, weights, create_graph=again, allow_unused=True))
        return [next(found) if need else None for need in needs]


class Recorded(torch.autograd.Function):  # type: ignore[misc]
    """`Recorded.apply(recording, *tensors)`: the results of the recording's function."""

    @staticmethod
    def forward(recording: Recording, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs, and the states after."""
        return recording.function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """The inputs are all that is kept."""
        ctx.recording = inputs[0]
        ctx.save_for_backward(*inputs[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        """The gradients of the tensors."""
        return None, *ctx.recording.backward(ctx.saved_tensors, grads, ctx.needs_input_grad[1:])


def outputs_of(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """A function of outputs and states as one of outputs."""

    def outputs(*tensors: Any) -> tuple[Any, ...]:
        found: tuple[tuple[Any, ...], Any] = function(*tensors)
        return found[0]

    return outputs


def streaming(function: Callable[..., Any], inputs: int, position: int) -> Callable[..., tuple[Any, ...]]:
    """A function of inputs and states that returns outputs and states, one after the other."""

    def both(*tensors: Any) -> tuple[Any, ...]:
        given = {"state": tensors[inputs:], "position": position} if len(tensors) > inputs else {}
        outputs, after = function(*tensors[:inputs], **given)
        return (*outputs, *after)

    return both
