"""The operators that are measured on PyTorch: our program, what others wrote for it, and their inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

import tensorc
from benchmarks import handwritten_autograd, handwritten_torch, references
from benchmarks.operators import CHUNKS, EXAMPLES, HEADS, inputs
from benchmarks.timing import fastest

NAMES = ("linear_attention", "hla2", "scalar_gated", "delta_rule")
TUNED_AT = 8192  # tokens, at most, on which chunks are tried

Kernel = Callable[..., Tensor]


def ours(name: str, form: str) -> Any:
    """A program of the catalogue, compiled for PyTorch."""
    return tensorc.compile(EXAMPLES / f"{name}.tc", backend="torch", form=form)


def own_chunk(name: str) -> int:
    """The chunk that the generated source takes by default."""
    found = re.search(r"chunk=(\d+)", ours(name, "chunkwise").source())
    assert found is not None
    return int(found[1])


def tensors(name: str, n: int, heads: int | None = HEADS, grad: bool = False) -> list[Tensor]:
    """The inputs of a program as tensors (heads, n, features)."""
    return [torch.from_numpy(array).requires_grad_(grad) for array in inputs(name, n, heads)]


def trained(kernel: Kernel, given: Sequence[Tensor], weights: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    """One call of a kernel and of its backward pass: the gradients of all inputs, for those of the output."""
    return lambda: torch.autograd.grad(kernel(*given), given, weights)


def tuned(name: str, n: int, backward: bool) -> tuple[Kernel, int]:
    """The loop by hand with the chunk that is fastest here."""
    kernel = getattr(handwritten_autograd if backward else handwritten_torch, name)
    given = tensors(name, min(n, TUNED_AT), grad=backward)
    calls = {c: partial(kernel, *given, chunk=c) for c in CHUNKS}
    if backward:
        weights = torch.randn(given[2].shape)
        calls = {c: trained(partial(kernel, chunk=c), given, weights) for c in CHUNKS}
    chunk = fastest(calls)
    return partial(kernel, chunk=chunk), chunk


def rivals(name: str, n: int, backward: bool) -> dict[str, Kernel]:
    """What others wrote for an operator, by a name for the table; all of (heads, n, features)."""
    loop, chunk = tuned(name, n, backward)
    found = {f"chunk loop by hand, C={chunk}": loop}
    if name in NAIVE and references.installed():
        found["naive chunk function of flash-linear-attention"] = NAIVE[name]
    return found


def naive_linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Their batched form: all chunks at once. It takes multiples of 64 tokens."""
    function = references.naive("linear_attn").naive_chunk_linear_attn
    return _back(function(*map(_theirs, (q, k, v)), scale=1.0))


def naive_scalar_gated(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """Their loop over chunks of 64, with all masks at once."""
    function = references.naive("simple_gla").naive_chunk_simple_gla
    return _back(function(*map(_theirs, (q, k, v, g)), scale=1.0)[0])


def naive_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """Their loop over chunks of 32, all systems solved before it. They divide queries by the root of d."""
    function = references.naive("delta_rule").delta_rule_chunkwise
    return function(q[None] * q.shape[-1] ** 0.5, k[None], v[None], beta[None])[0][0]  # type: ignore[no-any-return]


def _theirs(x: Tensor) -> Tensor:
    """(heads, n, ...) as [1, n, heads, ...]."""
    return x.transpose(0, 1)[None]


def _back(x: Tensor) -> Tensor:
    """[1, n, heads, ...] as (heads, n, ...)."""
    return x[0].transpose(0, 1)


NAIVE: dict[str, Kernel] = {
    "linear_attention": naive_linear_attention,
    "scalar_gated": naive_scalar_gated,
    "delta_rule": naive_delta_rule,
}
