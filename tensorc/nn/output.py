"""From the outputs of a program back to tokens of the width of the model."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import Identity, Linear, Module, ModuleList, RMSNorm, functional

from tensorc.errors import ShapeError
from tensorc.ir import Program
from tensorc.nn.roles import Tokens, feature_axis


class Output(Module):
    """The outputs of all heads side by side: normalised, gated by the token, projected."""

    def __init__(
        self,
        program: Program,
        tokens: Tokens,
        sizes: dict[str, int],
        heads: tuple[int, ...],
        width: int,
        norm: bool,
        gate: bool,
    ) -> None:
        super().__init__()
        outputs = program.outputs
        for output in outputs:
            if output.axes.count(tokens.time) != 1:
                raise ShapeError(
                    f"The output {output.name}[{', '.join(map(str, output.axes))}] does not have one row a "
                    f"token: a layer needs the axis {tokens.time} once in every output."
                )
        self._axes = [len(o.axes) for o in outputs]
        self._time = [len(o.axes) - o.axes.index(tokens.time) for o in outputs]
        self._heads = len(heads)
        last = [feature_axis(program, o, tokens) for o in outputs]
        norms = [Identity() if a is None else RMSNorm(a.value(sizes), eps=1e-6) for a in last]
        self.norms = ModuleList(norms) if norm else None
        inner = prod(heads) * sum(prod(a.value(sizes) for a in tokens.others(o.axes)) for o in outputs)
        self.gate = Linear(width, inner, bias=False) if gate else None
        self.project = Linear(inner, width, bias=False)

    def forward(self, outputs: Any, x: Tensor, sequence: bool) -> Tensor:
        """[..., n, width] with `sequence`, else [..., width], from what the program returned for x."""
        found = []
        for at, output in enumerate(outputs if isinstance(outputs, tuple) else (outputs,)):
            axes = self._axes[at] - (not sequence)
            batch = output.dim() - axes - self._heads
            if sequence:
                output = output.movedim(output.dim() - self._time[at], batch)
            output = output.to(x.dtype)
            if self.norms is not None:
                output = self.norms[at](output)
            found.append(
                output.flatten(batch + sequence) if output.dim() > batch + sequence else output[..., None]
            )
        joined = found[0] if len(found) == 1 else torch.cat(found, -1)
        if self.gate is not None:
            joined = joined * functional.silu(self.gate(x))
        return self.project(joined)
