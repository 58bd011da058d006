"""Streaming causal softmax: time against a blockwise loop written by hand, and peak memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import tensorc
from benchmarks.figure import Figure, alone, compared
from benchmarks.handwritten import causal_softmax
from benchmarks.operators import HEADS, WIDTH
from benchmarks.timing import Sample, fastest, measure

PROGRAM = """
def causal_attention(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    p[i, j] = softmax[j <= i](q[i, c] * k[j, c] / sqrt(d))
    o[i, x] = p[i, j] * v[j, x]
"""
TILES = ((64, 256), (64, 512), (128, 128), (128, 256), (128, 512), (256, 256))  # rows, columns
MIB = 2**20


def inputs(n: int, heads: int | None = HEADS, width: int = WIDTH) -> list[Any]:
    """Queries, keys and values, float32, scores of about unit variance."""
    rng = np.random.default_rng(0)
    shape = (n, width) if heads is None else (heads, n, width)
    return [rng.standard_normal(shape, dtype=np.float32) for _ in range(3)]


def tuned(n: int) -> tuple[Callable[..., Any], tuple[int, int]]:
    """The loop by hand with the tile that is fastest here, tried on up to 4,096 tokens."""
    arrays = inputs(min(n, 4096))
    calls = {k: partial(causal_softmax, *arrays, rows=r, columns=c) for k, (r, c) in enumerate(TILES)}
    rows, columns = TILES[fastest(calls)]
    return partial(causal_softmax, rows=rows, columns=columns), (rows, columns)


def peak(call: Callable[..., Any], n: int, width: int) -> float:
    """Bytes that one call allocates at most, its output among them."""
    arrays = inputs(n, None, width)
    call(*inputs(64, None, width))  # generated code
    tracemalloc.start()
    call(*arrays)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(found)


def fold(quick: bool) -> Iterator[Figure]:
    """Time at two lengths; memory at a long one, where the scores alone would be 4 GiB."""
    operator = tensorc.compile(PROGRAM, form="chunkwise")
    for n, bound in ((2048, None), (8192, 1.2)):
        arrays = inputs(n)
        by_hand, (rows, columns) = tuned(n)
        found = measure(
            {"ours": partial(operator, *arrays), "hand": partial(by_hand, *arrays)},
            rounds=5 if quick else 15,
            calls=max(1, 4096 // n),
        )
        what = f"causal softmax, n={n}, {HEADS} heads, d=e={WIDTH}, float32"
        against = f"blocks by hand, {rows} rows x {columns} columns"
        yield compared("fold", what, "ms", found["ours"], found["hand"], bound=bound, against=against)
    n, width = 8192 if quick else 32768, 8
    hand = peak(causal_softmax, n, width) / MIB
    what = f"causal softmax, n={n}, one head, d=e={width}: peak with the output (by hand {hand:.1f})"
    yield alone("fold", what, "MiB", Sample((peak(operator, n, width) / MIB,)), bound=16)
