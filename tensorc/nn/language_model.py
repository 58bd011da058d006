"""A causal language model of two layers a block, one that mixes tokens and one that mixes channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Module, ModuleList, RMSNorm, functional, init
from torch.utils.checkpoint import checkpoint as recompute

from tensorc.errors import ShapeError, TensorcError
from tensorc.nn.attention import Attention, AttentionState


class BlockState(NamedTuple):
    """The states of the two layers of a block; None for a layer without one."""

    mixer: AttentionState | None
    channels: AttentionState | None


class LanguageModelState(NamedTuple):
    """The states of all blocks after `position` tokens."""

    position: int
    blocks: tuple[BlockState, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors of all blocks."""
        return sum(layer.nbytes for block in self.blocks for layer in block if layer is not None)


class FeedForward(Module):
    """Channels of each token mix by themselves: W (silu(U x) * V x)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.enter = Linear(width, 2 * inner, bias=False)
        self.project = Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """y[..., width] for x[..., width]."""
        gate, value = self.enter(x).chunk(2, -1)
        return self.project(functional.silu(gate) * value)


class Block(Module):
    """x + mixer(norm(x)), then the same with the layer that mixes channels."""

    def __init__(self, width: int, mixer: Module, channels: Module) -> None:
        super().__init__()
        self.norms = ModuleList([RMSNorm(width), RMSNorm(width)])
        self.mixer, self.channels = mixer, channels

    def forward(self, x: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
        """y[batch, n, width] for x[batch, n, width]."""
        for norm, layer in zip(self.norms, (self.mixer, self.channels), strict=True):
            if isinstance(layer, Attention):
                x = x + layer(norm(x), cu_seqlens=cu_seqlens)
            else:
                x = x + layer(norm(x))
        return x

    def prefill(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """y[batch, n, width] and the state after it."""
        return self._streamed(x, state, lambda layer, x, before: layer.prefill(x, state=before))

    def step(self, state: BlockState, x: Tensor) -> tuple[Tensor, BlockState]:
        """y[batch, width] and the state after one more token."""
        return self._streamed(x, state, lambda layer, x, before: layer.step(before, x))

    def init_state(self, x: Tensor) -> BlockState:
        """The state before any token, for tokens like x[batch, width]."""
        layers = (self.mixer, self.channels)
        return BlockState(*(m.init_state(x) if isinstance(m, Attention) else None for m in layers))

    def _streamed(
        self, x: Tensor, state: BlockState, run: Callable[..., tuple[Tensor, AttentionState]]
    ) -> tuple[Tensor, BlockState]:
        after: list[AttentionState | None] = []
        for norm, layer, before in zip(self.norms, (self.mixer, self.channels), state, strict=True):
            if isinstance(layer, Attention):
                y, now = run(layer, norm(x), before)
            else:
                y, now = layer(norm(x)), None
            x = x + y
            after.append(now)
        return x, BlockState(*after)


class LanguageModel(Module):
    """Logits [batch, n, vocabulary] of the next token, for tokens [batch, n].

    `mixer` and `channels` make the two layers of a block; a layer that is an `Attention` has a state. The
    embedding is also the projection to logits. With `checkpoint`, training keeps the inputs of blocks only
    and computes the rest again in the backward pass.

    >>> import torch
    >>> model = LanguageModel(
    ...     256, 32, 2, lambda: Attention("examples/retention.tc", 32, heads=2), lambda: FeedForward(32, 64)
    ... )
    >>> tokens = torch.randint(256, (2, 9))
    >>> _, state = model.prefill(tokens[:, :8])
    >>> logits, state = model.step(state, tokens[:, 8])
    >>> torch.allclose(logits, model(tokens)[:, 8], atol=1e-5), state.position
    (True, 9)
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        depth: int,
        mixer: Callable[[], Module],
        channels: Callable[[], Module],
        *,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.embedding = Embedding(vocabulary, width)
        self.blocks = ModuleList(Block(width, mixer(), channels()) for _ in range(depth))
        self.norm = RMSNorm(width)
        init.normal_(self.embedding.weight, std=0.02)
        with torch.no_grad():  # what blocks add keeps its size with depth
            for name, weight in self.blocks.named_parameters():
                if name.endswith(("output.project.weight", "channels.project.weight")):
                    weight.mul_((2 * depth) ** -0.5)

    def forward(self, tokens: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
        """Logits for tokens[batch, n]; `cu_seqlens` are the bounds of documents packed along n."""
        x = self._embed(tokens, 2)
        for block in self.blocks:
            if self.checkpoint and torch.is_grad_enabled():
                x = recompute(block, x, cu_seqlens, use_reentrant=False)
            else:
                x = block(x, cu_seqlens)
        return self._logits(x)

    def init_state(self, tokens: Tensor) -> LanguageModelState:
        """The state before any token, for a batch like tokens[batch]."""
        x = self._embed(tokens, 1)
        return LanguageModelState(0, tuple(block.init_state(x) for block in self.blocks))

    def prefill(
        self, tokens: Tensor, state: LanguageModelState | None = None
    ) -> tuple[Tensor, LanguageModelState]:
        """Logits for tokens[batch, n], and the state after them."""
        x = self._embed(tokens, 2)
        position = 0 if state is None else state.position
        nothing = BlockState(None, None)
        after = []
        for at, block in enumerate(self.blocks):
            x, now = block.prefill(x, nothing if state is None else state.blocks[at])
            after.append(now)
        return self._logits(x), LanguageModelState(position + tokens.shape[-1], tuple(after))

    def step(self, state: LanguageModelState, tokens: Tensor) -> tuple[Tensor, LanguageModelState]:
        """Logits[batch, vocabulary] and the state after one more token of each sequence, tokens[batch]."""
        x, after = self._embed(tokens, 1), []
        for block, before in zip(self.blocks, state.blocks, strict=True):
            x, now = block.step(before, x)
            after.append(now)
        return self._logits(x), LanguageModelState(state.position + 1, tuple(after))

    def generate(self, prompt: Tensor, count: int, **options: Any) -> Tensor:
        """`count` tokens[batch, count] that continue prompt[batch, n]; options are those of `stream`."""
        found = list(self.stream(prompt, count, **options))
        return torch.stack(found, -1) if found else prompt[:, :0]

    def stream(
        self,
        prompt: Tensor,
        count: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """The tokens[batch] that continue prompt[batch, n], one by one, in memory that does not grow.

        Temperature 0 takes the likeliest; `top_k` draws from the k likeliest alone. Raises `FormError` where
        a layer has no recurrent form.
        """
        if prompt.dim() != 2 or prompt.shape[1] == 0:
            raise ShapeError(
                f"A prompt is tokens[batch, n], of one token at least; not {tuple(prompt.shape)}."
            )
        if temperature < 0 or (top_k is not None and top_k < 1):
            raise TensorcError("temperature is 0 or more, top_k 1 or more.")
        with torch.no_grad():
            logits, state = self.prefill(prompt)
            token = draw(logits[:, -1], temperature, top_k, generator)
        for left in range(count, 0, -1):
            yield token
            if left > 1:
                with torch.no_grad():
                    logits, state = self.step(state, token)
                    token = draw(logits, temperature, top_k, generator)

    def _embed(self, tokens: Tensor, rank: int) -> Tensor:
        if tokens.dim() != rank or tokens.is_floating_point():
            wanted = "tokens[batch, n]" if rank == 2 else "tokens[batch]"
            raise ShapeError(f"This takes integers {wanted}; not {tuple(tokens.shape)} of {tokens.dtype}.")
        return self.embedding(tokens)

    def _logits(self, x: Tensor) -> Tensor:
        return functional.linear(self.norm(x), self.embedding.weight)


def draw(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token[batch] for logits[batch, vocabulary].

    >>> draw(torch.tensor([[0.0, 9.0, 1.0]]), temperature=0).tolist()
    [1]
    """
    if temperature == 0:
        return logits.argmax(-1)
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    chances = torch.softmax(logits.float() / temperature, -1)
    return torch.multinomial(chances, 1, generator=generator).squeeze(-1)
