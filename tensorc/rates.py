"""How fast this class of CPU is with NumPy: the numbers of the time model.

The table was measured on two cores of an AMD EPYC (Zen 3) with NumPy 2 and OpenBLAS. It is a default, not
a probe: compiling never measures anything. `measure_rates` does, on request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

CACHE = 8 << 20  # bytes of operands and results that stay in the caches


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one dtype: FLOP/s of matrix products at the shape of a chunk and beyond the cache,
    elementwise operations and functions (exp, ...) a second, bytes/s of copies in cache and through
    memory, seconds that a NumPy call and a member of a batch of small matrix products cost at least."""

    dtype: str
    itemsize: int
    matmul: float
    large: float
    elementwise: float
    function: float
    cache: float
    memory: float
    call: float = 1e-6
    product: float = 7e-8


RATES = {
    "float32": Rates("float32", 4, 60e9, 22e9, 3.0e9, 0.35e9, 40e9, 6e9),
    "float64": Rates("float64", 8, 30e9, 11e9, 1.6e9, 0.20e9, 40e9, 6e9),
}
DEFAULT = RATES["float32"]


def measure_rates(dtype: str = "float32", chunk: int = 64) -> Rates:
    """The rates of this machine, measured in under half a second.

    Raises `ValueError` for a dtype that is not in `RATES`.

    >>> measure_rates("float64").itemsize
    8
    """
    if dtype not in RATES:
        raise ValueError(f"rates are known for {' and '.join(RATES)}, not for {dtype}")
    kind = np.dtype(dtype)
    tile = np.full((chunk, chunk), 0.5, kind)
    out = np.empty_like(tile)
    small = np.full((1, 1), 0.5, kind)
    wide = np.full((chunk, 1, 8), 0.5, kind)
    large = np.full(2 * CACHE // kind.itemsize, 0.5, kind)
    tall = np.full((1024, chunk), 0.5, kind)
    call = _seconds(lambda: np.multiply(small, small))

    def rate(work: float, run: Callable[[], object]) -> float:
        return work / max(_seconds(run) - call, 1e-9)

    return Rates(
        dtype,
        kind.itemsize,
        matmul=rate(2 * chunk**3, lambda: np.matmul(tile, tile, out=out)),
        large=rate(2 * chunk * 1024**2, lambda: np.matmul(tall, tall.T)),
        elementwise=rate(chunk**2, lambda: np.multiply(tile, tile, out=out)),
        function=rate(chunk**2, lambda: np.exp(tile, out=out)),
        cache=rate(2 * tile.nbytes, lambda: np.copyto(out, tile)),
        memory=rate(2 * large.nbytes, large.copy),  # into fresh memory, as operations do
        call=call,
        product=max(_seconds(lambda: np.matmul(wide, wide.swapaxes(-1, -2))) - call, 0.0) / chunk,
    )


def _seconds(run: Callable[[], object], budget: float = 0.05) -> float:
    """The least time of one call within the budget."""
    best, start = float("inf"), perf_counter()
    while perf_counter() - start < budget:
        begin = perf_counter()
        run()
        best = min(best, perf_counter() - begin)
    return best
