"""Timing things side by side: interleaved rounds, medians and minima, ratios to a named yardstick."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from tensorc.timing import in_turn


@dataclass(frozen=True)
class Sample:
    """Seconds per call of one contender (or what is made of them), one number for each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def minimum(self) -> float:
        return min(self.seconds)


def on_the_wall(call: Callable[[], Any], times: int) -> float:
    """Seconds of one of so many calls in a row."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def measure(
    contenders: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    calls: int | Mapping[str, int] = 1,
    budget: float = 60.0,
    timer: Callable[[Callable[[], Any], int], float] = on_the_wall,
) -> dict[str, Sample]:
    """Time all contenders once in each round, in alternating order, after one warm-up call of each.

    `calls` repeats short calls inside a sample, the same number for all or one for each. Rounds stop
    early, after three at least, when `budget` seconds are spent. `timer` gives the seconds of one of several
    calls in a row, by default those on the wall.

    >>> sorted(measure({"a": lambda: None, "b": lambda: None}, rounds=3, calls=10))
    ['a', 'b']
    """

    def timed(name: str, call: Callable[[], Any]) -> float:
        return timer(call, calls if isinstance(calls, int) else calls[name])

    samples = in_turn(contenders, rounds, budget, timed)
    return {name: Sample(tuple(seconds)) for name, seconds in samples.items()}


def keep_pages() -> None:
    """Let freed memory stay with the process (glibc), so that a large output does not time the kernel.

    Pages given back and fetched again cost between 0.05 and 2 s a gigabyte on a shared machine, at random:
    more than the differences that are looked for.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: nothing is mapped apart
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap does not shrink
    except (OSError, AttributeError):
        pass  # another C library: noisier, not wrong


def fastest(candidates: Mapping[int, Callable[[], Any]], rounds: int = 3) -> int:
    """The key of the candidate with the least minimum: how the yardsticks choose their chunk."""
    samples = measure({str(key): call for key, call in candidates.items()}, rounds=rounds, budget=20.0)
    return min(candidates, key=lambda key: samples[str(key)].minimum)
