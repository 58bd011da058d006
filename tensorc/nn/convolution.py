"""A short convolution over time, one filter a channel: each token sees a few before it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from tensorc.errors import TensorcError


class ShortConvolution(Module):
    """y[i, c] = sum[t < taps](w[t, c] * x[i - t, c]), with a state of the last `taps - 1` tokens.

    It starts as y = x plus noise: filters that differ let keys find the token before theirs at once (with
    y = x alone, associative recall is learned many times later).

    >>> _ = torch.manual_seed(0)
    >>> mix = ShortConvolution(3, taps=4)
    >>> x = torch.randn(2, 5, 3)
    >>> head, state = mix(x[:, :4])
    >>> tail, state = mix(x[:, 4:], state)
    >>> whole, _ = mix(x)
    >>> torch.allclose(torch.cat([head, tail], 1), whole), state.shape
    (True, torch.Size([2, 3, 3]))
    """

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        if taps < 1:
            raise TensorcError(f"conv={taps}: a convolution has 1 tap or more; 0 is none at all.")
        weight = torch.randn(taps, channels) * 0.3
        weight[0] += 1
        self.weight = Parameter(weight)

    def start(self, x: Tensor) -> Tensor:
        """The state before any token, for sequences like x[..., n, channels]."""
        return x.new_zeros(*x.shape[:-2], len(self.weight) - 1, x.shape[-1])

    def forward(
        self, x: Tensor, state: Tensor | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x[..., n, channels] to the same shape, and the state after it.

        `starts[i]` is the first token of the document of token i; filters do not reach beyond it.
        """
        weight = self.weight.to(x.dtype)
        taps, n = len(weight), x.shape[-2]
        padded = torch.cat([self.start(x) if state is None else state, x], -2)
        y = x * weight[0]
        for lag in range(1, taps):
            past = padded[..., taps - 1 - lag : taps - 1 - lag + n, :]
            if starts is not None:
                inside = torch.arange(n, device=x.device) - lag >= starts
                past = past * inside[:, None]
            y = y + past * weight[lag]
        return y, padded[..., padded.shape[-2] - (taps - 1) :, :]

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, taps={len(self.weight)}"


def document_starts(cu_seqlens: Tensor, n: int) -> Tensor:
    """For every token the position at which its document starts.

    >>> document_starts(torch.tensor([0, 2, 5]), 5).tolist()
    [0, 0, 2, 2, 2]
    """
    inner = cu_seqlens.to(torch.int64)
    which = torch.searchsorted(inner, torch.arange(n, device=inner.device), right=True) - 1
    return inner[which]
