"""Tensor attention and tensor interaction as layers, and the language model made of the two.

Zhang: Deep Tensor Network (2023), arXiv 2311.11091.
"""

from __future__ import annotations

from typing import Any

from tensorc.nn.attention import Attention
from tensorc.nn.language_model import LanguageModel

BIDIRECTIONAL = """
def second_order(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = q[i, a] * k[l, a] * k[l, b] * q[j, b] * v[j, x]
"""
CAUSAL = """
def second_order(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    o[i, x] = sum[u <= j <= i](s[i, u] * s[j, u] * v[j, x])
"""
DECAYED = """
def second_order(q[n, d], k[n, d], v[n, e], g[n]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    o[i, x] = sum[u <= j <= i](exp(sum[u < t <= i](g[t])) * s[i, u] * s[j, u] * v[j, x])
"""
INTERACTION = """
def interaction(q[n, d], k[n, d], v[n, d]) -> o[n, d]:
    b[i, a, c] = sum[j <= i](q[j, a] * k[j, c])
    o[i, a] = b[i, a, c] * b[i, f, c] * v[i, f]
"""
DECAYED_INTERACTION = """
def interaction(q[n, d], k[n, d], v[n, d], g[n]) -> o[n, d]:
    b[i, a, c] = sum[j <= i](exp(sum[j < t <= i](g[t])) * q[j, a] * k[j, c])
    o[i, a] = b[i, a, c] * b[i, f, c] * v[i, f]
"""


class TensorAttention(Attention):
    """Tokens mix by a product of three: o = ((W W^T) * L) V with W = L * (Q K^T), L the causal mask.

    `decay` lets a head forget, by a factor that each token chooses. With `causal=False` it is
    Q (K^T K) (Q^T V), without a mask. All other arguments are those of `Attention`.

    >>> import torch
    >>> layer = TensorAttention(16, heads=2)
    >>> layer(torch.randn(3, 5, 16)).shape
    torch.Size([3, 5, 16])
    """

    def __init__(self, width: int, *, causal: bool = True, decay: bool = True, **options: Any) -> None:
        text = BIDIRECTIONAL if not causal else DECAYED if decay else CAUSAL
        super().__init__(text, width, **options)


class TensorInteraction(Attention):
    """Channels mix by what the tokens so far have in common: o = B B^T v, with B the sum of q k^T.

    With `decay` B forgets, by a factor that each token chooses. All other arguments are those of `Attention`.

    >>> import torch
    >>> layer = TensorInteraction(16, heads=2)
    >>> y, state = layer.prefill(torch.randn(3, 5, 16))
    >>> state.program.elements == 3 * 2 * 8 * 8
    True
    """

    def __init__(self, width: int, *, decay: bool = False, **options: Any) -> None:
        super().__init__(DECAYED_INTERACTION if decay else INTERACTION, width, **options)


class DeepTensorNetwork(LanguageModel):
    """A causal language model: tokens mix by tensor attention, channels by tensor interaction.

    `decay` lets the heads of tensor attention forget, by factors that tokens choose; `conv` are the taps of
    short convolutions (0: none); `checkpoint` computes blocks again in the backward pass.

    >>> import torch
    >>> model = DeepTensorNetwork(vocabulary=256, width=32, depth=2, heads=2)
    >>> tokens = torch.randint(256, (1, 12))
    >>> model(tokens).shape
    torch.Size([1, 12, 256])
    >>> model.generate(tokens, 5).shape
    torch.Size([1, 5])
    """

    def __init__(
        self,
        vocabulary: int = 256,
        width: int = 256,
        depth: int = 4,
        heads: int = 4,
        *,
        conv: int = 4,
        decay: bool = True,
        checkpoint: bool = False,
    ) -> None:
        options: dict[str, Any] = {"heads": heads, "conv": conv, "gate": True}
        super().__init__(
            vocabulary,
            width,
            depth,
            lambda: TensorAttention(width, decay=decay, **options),
            lambda: TensorInteraction(width, **options),
            checkpoint=checkpoint,
        )
