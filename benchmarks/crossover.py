"""Polynomial kernels: where the chunkwise form overtakes the parallel one, measured and as the report says.

`based` at the widths of its paper (d = 16, e = 64), 8 heads, float32. The parallel form is measured as it is
while n x n scores fit, and in blocks of rows by hand beyond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import log
from typing import Any

import numpy as np

import tensorc
from benchmarks.figure import Figure, alone, compared
from benchmarks.operators import EXAMPLES, HEADS
from benchmarks.timing import Sample, measure

D, E = 16, 64
LENGTHS = (64, 96, 128, 192, 256, 384, 512, 768)
ROWS = 128


def inputs(n: int) -> list[Any]:
    """Queries, keys and values of 8 heads; scores of at most 1 or so, for which the polynomial is meant."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((HEADS, n, width), dtype=np.float32) * np.float32(0.3) for width in (D, D, E)]


def blocked(q: Any, k: Any, v: Any, rows: int = ROWS) -> Any:
    """The quadratic form in blocks of rows: scores once, the polynomial in place, no later blocks."""
    out = np.empty_like(v)
    mask = np.tri(rows, dtype=q.dtype)
    for start in range(0, q.shape[-2], rows):
        stop = min(start + rows, q.shape[-2])
        weights = q[..., start:stop, :] @ k[..., :stop, :].swapaxes(-1, -2)
        half = weights * np.float32(0.5)
        half += 1
        weights *= half
        weights += 1
        weights[..., start:] *= mask[: stop - start, : stop - start]
        np.matmul(weights, v[..., :stop, :], out=out[..., start:stop, :])
        out[..., start:stop, :] /= weights.sum(axis=-1, keepdims=True)
    return out


def crossing(lengths: Sequence[int], ratios: Sequence[float]) -> float:
    """The length at which the ratio of two times first falls to 1, between two lengths on a straight line of
    the logarithms; the first or last length if it never crosses.

    >>> crossing([100, 400], [2.0, 0.5])
    200.0
    """
    if ratios[0] <= 1:
        return float(lengths[0])
    for k in range(1, len(lengths)):
        if ratios[k] <= 1:
            part = log(ratios[k - 1]) / (log(ratios[k - 1]) - log(ratios[k]))
            return float(round(lengths[k - 1] * (lengths[k] / lengths[k - 1]) ** part, 6))
    return float(lengths[-1])


def crossover(quick: bool) -> Iterator[Figure]:
    """The crossing against the report's, then the times at long sequences against the blocked form."""
    text = EXAMPLES / "based.tc"
    chunks, parallel = (tensorc.compile(text, form=form) for form in ("chunkwise", "parallel"))
    found = []
    for n in LENGTHS[:6] if quick else LENGTHS:
        arrays = inputs(n)
        calls = {"chunks": partial(chunks, *arrays), "parallel": partial(parallel, *arrays)}
        samples = measure(calls, rounds=7 if quick else 21, budget=10.0)
        found.append((n, samples["chunks"], samples["parallel"]))
    lengths = [n for n, _, _ in found]
    each = zip(
        *[[c / p for c, p in zip(a.seconds, b.seconds, strict=True)] for _, a, b in found], strict=False
    )
    measured = Sample(tuple(crossing(lengths, ratios) for ratios in each))
    report = tensorc.compile(text).report(n=2048, d=D, e=E, batch=HEADS).to_dict()
    predicted = next((float(c["n"]) for c in report["crossover"] if c["to"] == "chunkwise"), 1.0)
    off = max(measured.median / predicted, predicted / measured.median)
    what = f"based, {HEADS} heads, d={D}, e={E}, float32"
    yield alone("crossover", f"{what}: length at which chunkwise is faster", "tokens", measured, bound=None)
    yield alone(
        "crossover", f"{what}: the length in the report ({predicted:.0f}), off by a factor of", "times",
        Sample((off,)), bound=1.5,
    )  # fmt: skip
    for n in (2048,) if quick else (2048, 8192, 32768):
        arrays = inputs(n)
        calls = {"chunks": partial(chunks, *arrays), "blocked": partial(blocked, *arrays)}
        samples = measure(calls, rounds=5 if n < 32768 else 3, budget=60.0)
        yield compared(
            "crossover", f"{what}, n={n}", "ms", samples["chunks"], samples["blocked"],
            bound=1.0, at_least=True, against=f"the quadratic form in blocks of {ROWS} rows, by hand",
        )  # fmt: skip
