"""What a call costs on PyTorch beside its arithmetic, and single tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.figure import Figure, alone, compared
from benchmarks.operators import WIDTH
from benchmarks.timing import Sample, measure

NAME = "linear_attention"


def overhead(quick: bool) -> Iterator[Figure]:
    """A call of the operator less one of the generated function, on small tensors: eager, eager with a
    gradient program that autograd records, and as the operation of graphs; beside it a plain Function."""
    if not find_spec("torch"):
        return
    import torch

    from benchmarks.operators_torch import ours, tensors

    operator, trained = ours(NAME, "chunkwise"), ours(NAME, "chunkwise")
    trained.gradients.prefer = "program"
    given = [t[..., :4].contiguous() for t in tensors(NAME, 8, 2)]
    followed = [t.clone().requires_grad_() for t in given]
    operator(*given)
    (bare,) = operator._fast.values()

    def function(q: Any, k: Any, v: Any) -> Any:
        return bare(q, k, v)[0]

    contenders = {
        "bare": partial(function, *given),
        "a call of the operator": partial(operator, *given),
        "a call that autograd records": partial(trained, *followed),
        "the operation torch.ops.tensorc.call": partial(torch.ops.tensorc.call, operator.text, given, None),
        "a torch.autograd.Function": partial(as_function(function), *followed),
    }
    found = measure(contenders, rounds=9 if quick else 31, calls=500)
    bare_seconds = found.pop("bare").seconds
    for who, sample in found.items():
        pairs = zip(sample.seconds, bare_seconds, strict=True)
        more = Sample(tuple(max(0.0, whole - part) for whole, part in pairs))
        limit = 20.0 if who.startswith("a call") else None
        yield alone(
            "torch-overhead", f"{NAME}, {who}, beyond the generated function", "us", more, bound=limit
        )


def as_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as the usual wrapper with a backward pass."""
    import torch

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, *tensors: Any) -> Any:
            context.save_for_backward(*tensors)
            return function(*tensors)

    return Wrapped.apply  # type: ignore[no-any-return]


def step(quick: bool) -> Iterator[Figure]:
    """One token of the recurrent form; the yardstick, too, leaves the old state valid."""
    if not find_spec("torch"):
        return
    from benchmarks import handwritten_torch
    from benchmarks.operators_torch import NAMES, ours, tensors

    for name in NAMES:
        by_hand = getattr(handwritten_torch, f"{name}_step")
        for heads in (None, 8):
            prefix = tensors(name, 4, heads)
            rank = 1 if heads is None else 2  # of a number a token
            token = [t.select(rank - 1, 0).contiguous() for t in tensors(name, 1, heads)]
            operator = ours(name, "recurrent")
            _, state = operator.prefill(*prefix)
            old = state.tensors[:2] if name == "hla2" else state.tensors[0]
            found = measure(
                {"ours": partial(operator.step, state, *token), "hand": partial(by_hand, old, *token)},
                rounds=9 if quick else 51,
                calls=200,
            )
            what = f"{name}, one token, heads: {heads or 1}, d=e={WIDTH}, float32"
            yield compared(
                "torch-step", what, "us", found["ours"], found["hand"], bound=1.2,
                against="the same update by hand",
            )  # fmt: skip
