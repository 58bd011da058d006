"""How far linear attention on PyTorch is from the machine, and from the quadratic forms that PyTorch has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.figure import Figure, compared
from benchmarks.operators import HEADS, WIDTH
from benchmarks.speed_torch import SHAPE, lengths
from benchmarks.timing import Sample, measure

NAME = "linear_attention"
SQUARE = 2048  # rows and columns of the product that shows the peak


def bound(quick: bool) -> Iterator[Figure]:
    """Chunkwise linear attention against its own products alone: at chunk shape, and at peak rate.

    The bound is what the four batched products of a chunk take, in a loop of their own into tensors that
    exist, times the number of chunks: the same multiplications, and nothing else.
    """
    if not find_spec("torch"):
        return
    from benchmarks.operators_torch import ours, own_chunk, tensors

    operator, chunk = ours(NAME, "chunkwise"), own_chunk(NAME)
    for n in lengths(quick):
        contenders = {
            "ours": partial(operator, *tensors(NAME, n)),
            "products": products(chunk, n // chunk),
            "peak": peak(),
        }
        found = measure(
            contenders, rounds=5 if quick else 15, calls={"ours": max(1, 8192 // n), "products": 1, "peak": 1}
        )
        flops = 2 * n * HEADS * (2 * chunk * WIDTH + 2 * WIDTH * WIDTH)
        at_peak = tuple(s * flops / (2 * SQUARE**3) for s in found["peak"].seconds)
        what = f"{NAME}, forward, n={n}, {SHAPE}"
        against = f"its batched products alone, at chunk shape, C={chunk}"
        yield compared(
            "torch-bound", what, "ms", found["ours"], found["products"], bound=1.5, against=against
        )
        against = f"as many multiplications at the rate of a {SQUARE} x {SQUARE} product"
        yield compared("torch-bound", what, "ms", found["ours"], Sample(at_peak), bound=None, against=against)


def products(chunk: int, count: int) -> Callable[[], None]:
    """The four products of a chunk, so many times."""
    import torch

    Q, K, V = (torch.randn(HEADS, chunk, WIDTH) for _ in range(3))
    A, Y, S = torch.empty(HEADS, chunk, chunk), torch.empty_like(V), torch.empty(HEADS, WIDTH, WIDTH)
    KT = K.transpose(1, 2)

    def run() -> None:
        for _ in range(count):
            torch.bmm(Q, KT, out=A)
            torch.bmm(A, V, out=Y)
            torch.bmm(Q, S, out=Y)
            torch.bmm(KT, V, out=S)

    return run


def peak() -> Callable[[], Any]:
    """One large square product."""
    import torch

    x = torch.randn(SQUARE, SQUARE)
    return partial(torch.mm, x, x, out=torch.empty_like(x))


def context(quick: bool) -> Iterator[Figure]:
    """Against the quadratic form through torch.compile, and against PyTorch's fused causal softmax, which is
    another operator. For information."""
    if not find_spec("torch"):
        return
    import torch

    from benchmarks.operators_torch import ours, tensors

    operator = ours(NAME, "chunkwise")
    fused = partial(torch.nn.functional.scaled_dot_product_attention, is_causal=True)
    rivals = {"fused causal softmax": fused, "the quadratic form, torch.compile": compiled()}
    for n in (512,) if quick else (2048, 4096):
        given = tensors(NAME, n)
        contenders: dict[str, Callable[[], Any]] = {"ours": partial(operator, *given)}
        for who, rival in rivals.items():
            if rival is not None:
                contenders[who] = partial(rival, *given)
        found = measure(contenders, rounds=5, calls={who: 4 if who == "ours" else 1 for who in contenders})
        mine = found.pop("ours")
        for who, sample in found.items():
            yield compared(
                "torch-context", f"{NAME}, forward, n={n}, {SHAPE}", "ms", mine, sample, bound=None,
                against=who, at_least=True,
            )  # fmt: skip


def compiled() -> Callable[..., Any] | None:
    """The quadratic form through torch.compile; None, with a word on stderr, where that cannot compile."""
    import torch

    def quadratic(q: Any, k: Any, v: Any) -> Any:
        return torch.bmm(torch.bmm(q, k.transpose(1, 2)).tril(), v)

    function = torch.compile(quadratic, dynamic=True)
    try:
        function(*(torch.ones(1, 8, 4) for _ in range(3)))
    except Exception as error:  # no C++ compiler, among others; what is raised differs between versions
        print(f"no figure for torch.compile: {str(error).splitlines()[0]}", file=sys.stderr)
        return None
    return function
