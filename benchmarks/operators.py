"""The operators that are measured: our compiled program, the loop written by hand, and their inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tensorc
from benchmarks import handwritten
from benchmarks.timing import fastest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
HEADS, WIDTH = 8, 64
CHUNKS = (32, 64, 128, 256)

BY_HAND: dict[str, Callable[..., Any]] = {
    "linear_attention": handwritten.linear_attention,
    "hla2": handwritten.hla2,
    "scalar_gated": handwritten.scalar_gated,
    "delta_rule": handwritten.delta_rule,
}


def ours(name: str, form: str) -> Any:
    """A program of the catalogue, compiled for NumPy."""
    return tensorc.compile(EXAMPLES / f"{name}.tc", form=form)


def inputs(name: str, n: int, heads: int | None = HEADS) -> list[Any]:
    """float32 inputs of a program: queries, keys and values, and log decays where it has them."""
    rng = np.random.default_rng(0)
    lead = () if heads is None else (heads,)
    arrays = [rng.standard_normal((*lead, n, WIDTH), dtype=np.float32) for _ in range(3)]
    for array in arrays:
        array *= np.float32(WIDTH**-0.5)
    if name == "delta_rule":
        arrays[1] /= np.linalg.norm(arrays[1], axis=-1, keepdims=True)
        arrays.append(rng.random((*lead, n), dtype=np.float32))
    if name == "scalar_gated":
        arrays.append(-rng.exponential(0.1, (*lead, n)).astype(np.float32))
    return arrays


def tuned(name: str, n: int) -> tuple[Callable[..., Any], int]:
    """The hand-written loop with the chunk that is fastest here, tried on up to 8,192 tokens."""
    kernel, arrays = BY_HAND[name], inputs(name, min(n, 8192))
    chunk = fastest({c: partial(kernel, *arrays, chunk=c) for c in CHUNKS})
    return partial(kernel, chunk=chunk), chunk
