"""Speed on PyTorch: chunkwise against loops written by hand, what a call costs, single tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import tensorc
from benchmarks.figure import Figure, alone, compared
from benchmarks.operators import CHUNKS, EXAMPLES, HEADS, WIDTH, inputs
from benchmarks.timing import Sample, fastest, measure

SHAPE = f"{HEADS} heads, d=e={WIDTH}, float32"
NAMES = ("linear_attention", "hla2", "scalar_gated", "delta_rule")


def torch(quick: bool) -> Iterator[Figure]:
    """All figures of the torch backend; none where PyTorch is not installed."""
    if find_spec("torch") is None:
        return
    yield from chunkwise(quick)
    yield from overhead(quick)
    yield from step(quick)


def ours(name: str, form: str) -> Any:
    """A program of the catalogue, compiled for PyTorch."""
    return tensorc.compile(EXAMPLES / f"{name}.tc", backend="torch", form=form)


def tensors(name: str, n: int, heads: int | None = HEADS) -> list[Any]:
    """The inputs of a program as tensors."""
    import torch as library

    return [library.from_numpy(array) for array in inputs(name, n, heads)]


def tuned(name: str, n: int) -> tuple[Callable[..., Any], int]:
    """The loop by hand with the chunk that is fastest here, tried on up to 8,192 tokens."""
    from benchmarks import handwritten_torch

    kernel, given = getattr(handwritten_torch, name), tensors(name, min(n, 8192))
    chunk = fastest({c: partial(kernel, *given, chunk=c) for c in CHUNKS})
    return partial(kernel, chunk=chunk), chunk


def chunkwise(quick: bool) -> Iterator[Figure]:
    """Each operator at three lengths against its chunk loop."""
    for name in NAMES:
        operator = ours(name, "chunkwise")
        for n in (2048, 8192) if quick else (2048, 8192, 32768):
            given = tensors(name, n)
            by_hand, chunk = tuned(name, n)
            found = measure(
                {"ours": partial(operator, *given), "hand": partial(by_hand, *given)},
                rounds=9 if quick else 31,
                calls=max(1, 8192 // n),
            )
            what, against = f"{name}, n={n}, {SHAPE}", f"chunk loop by hand, C={chunk}"
            yield compared("torch", what, "ms", found["ours"], found["hand"], bound=1.05, against=against)


def overhead(quick: bool) -> Iterator[Figure]:
    """A call of the operator less one of the generated function, on small tensors."""
    operator = ours("linear_attention", "chunkwise")
    given = [t[..., :4].contiguous() for t in tensors("linear_attention", 8, 2)]
    operator(*given)
    (bare,) = operator._fast.values()
    found = measure(
        {"call": partial(operator, *given), "bare": partial(bare, *given)},
        rounds=9 if quick else 31,
        calls=500,
    )
    pairs = zip(found["call"].seconds, found["bare"].seconds, strict=True)
    more = Sample(tuple(max(0.0, call - function) for call, function in pairs))
    what = "linear_attention, a call beyond the generated function"
    yield alone("torch", what, "us", more, bound=20.0)


def step(quick: bool) -> Iterator[Figure]:
    """One token of the recurrent form; the yardstick, too, leaves the old state valid."""
    from benchmarks import handwritten_torch

    steps = {
        "linear_attention": handwritten_torch.linear_attention_step,
        "hla2": handwritten_torch.hla2_step,
    }
    for name, by_hand in steps.items():
        for heads in (None, HEADS):
            prefix = tensors(name, 4, heads)
            token = [t[..., 0, :].contiguous() for t in tensors(name, 1, heads)]
            operator = ours(name, "recurrent")
            _, state = operator.prefill(*prefix)
            old = state.tensors[0] if name == "linear_attention" else state.tensors[:2]
            found = measure(
                {"ours": partial(operator.step, state, *token), "hand": partial(by_hand, old, *token)},
                rounds=9 if quick else 51,
                calls=200,
            )
            what = f"{name}, one token, heads: {heads or 1}, d=e={WIDTH}, float32"
            against = "the same update by hand"
            yield compared("torch", what, "us", found["ours"], found["hand"], bound=1.2, against=against)
