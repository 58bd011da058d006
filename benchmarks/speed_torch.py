"""Speed on PyTorch: chunkwise against loops written by hand, forward, and with the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.figure import Figure, compared
from benchmarks.operators import HEADS, WIDTH
from benchmarks.timing import Sample, keep_pages, measure

SHAPE = f"{HEADS} heads, d=e={WIDTH}, float32"
ROUNDS = 15


def lengths(quick: bool) -> tuple[int, ...]:
    """Tokens of the sequences that are measured."""
    return (512, 2048) if quick else (2048, 8192, 32768)


def forward(quick: bool) -> Iterator[Figure]:
    """Each operator against the best of what others wrote for it."""
    if find_spec("torch"):
        yield from loops("torch-forward", quick, backward=False)


def backward(quick: bool) -> Iterator[Figure]:
    """The same with gradients of all inputs: our backward pass against autograd through loops."""
    if find_spec("torch"):
        yield from loops("torch-backward", quick, backward=True)


def loops(group: str, quick: bool, backward: bool) -> Iterator[Figure]:
    """All operators at all lengths. A rival that is too slow at one length is not tried at the next."""
    from benchmarks.operators_torch import NAMES, rivals

    keep_pages()
    for name in NAMES:
        slow: set[str] = set()
        for n in lengths(quick):
            others = {who: k for who, k in rivals(name, n, backward).items() if who not in slow}
            yield from side_by_side(group, name, n, others, slow, backward, 5 if quick else ROUNDS)


def side_by_side(
    group: str, name: str, n: int, others: dict[str, Any], slow: set[str], backward: bool, rounds: int
) -> Iterator[Figure]:
    """Ours in whole rounds with others; the bound is on the fastest of them.

    One that takes more than twice as long as the fastest in a trial is no yardstick: it leaves the rounds,
    for `slow`.
    """
    import torch

    from benchmarks.operators_torch import ours, tensors, trained

    given = tensors(name, n, grad=backward)
    weights = torch.randn(given[2].shape)

    def timed(kernel: Any) -> Callable[[], Any]:
        return trained(kernel, given, weights) if backward else partial(kernel, *given)

    calls = {who: timed(kernel) for who, kernel in others.items()}
    trial = measure(calls, rounds=1) if len(calls) > 1 else {}
    left = {
        who for who, sample in trial.items() if sample.minimum > 2 * min(s.minimum for s in trial.values())
    }
    slow |= left
    field = {"ours": timed(ours(name, "chunkwise"))} | {w: c for w, c in calls.items() if w not in left}
    found = measure(field, rounds=rounds, calls=max(1, 4096 // n))
    mine = found.pop("ours")
    best = min(found, key=lambda who: found[who].median)
    title = f"{name}, {'forward + backward' if backward else 'forward'}, n={n}, {SHAPE}"
    yield compared(group, title, "ms", mine, found.pop(best), bound=1.05, against=best)
    for who, sample in found.items():
        yield compared(group, title, "ms", mine, sample, bound=None, against=who)
    for who in sorted(left):
        once = Sample((mine.median,))
        yield compared(group, title, "ms", once, trial[who], bound=None, against=f"{who}, one call")
