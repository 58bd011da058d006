"""Speed on NumPy: chunkwise against loops written by hand and the quadratic form, growth, single steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks import handwritten
from benchmarks.figure import Figure, numbers
from benchmarks.operators import BY_HAND, HEADS, WIDTH, inputs, ours, tuned
from benchmarks.timing import measure

MS, US = 1e3, 1e6
SHAPE = f"{HEADS} heads, d=e={WIDTH}, float32"


def chunkwise(quick: bool) -> Iterator[Figure]:
    """Each operator at three lengths against its chunk loop."""
    for name in BY_HAND:
        operator = ours(name, "chunkwise")
        for n in (2048, 8192) if quick else (2048, 8192, 32768):
            arrays = inputs(name, n)
            by_hand, chunk = tuned(name, n)
            samples = measure(
                {"ours": partial(operator, *arrays), "hand": partial(by_hand, *arrays)},
                rounds=7 if quick else 25,
            )
            yield Figure(
                "chunkwise",
                f"{name}, n={n}, {SHAPE}",
                "ms",
                numbers(samples["ours"], MS),
                bound=1.15,
                yardstick=numbers(samples["hand"], MS),
                against=f"chunk loop by hand, C={chunk}",
            )


def quadratic(quick: bool) -> Iterator[Figure]:
    """Chunkwise linear attention against the quadratic form: by hand and ours."""
    n = 2048 if quick else 8192
    arrays = inputs("linear_attention", n)
    fast, slow = ours("linear_attention", "chunkwise"), ours("linear_attention", "parallel")
    contenders = {
        "ours": partial(fast, *arrays),
        "by hand, head by head": partial(handwritten.quadratic, *arrays),
        "our parallel form": partial(slow, *arrays),
    }
    samples = measure(contenders, rounds=5)
    for against in list(contenders)[1:]:
        yield Figure(
            "quadratic",
            f"linear_attention, n={n}, {SHAPE}",
            "ms",
            numbers(samples["ours"], MS),
            bound=5 if quick else 20,
            yardstick=numbers(samples[against], MS),
            against=f"quadratic form, {against}",
            at_least=True,
        )


def growth(quick: bool) -> Iterator[Figure]:
    """Time per token at a long length over that at a short one: ours against the hand-written loop's."""
    short, long = 4096, 65536 if quick else 262144
    for name in BY_HAND:
        operator, (by_hand, chunk) = ours(name, "chunkwise"), tuned(name, short)
        small, large = inputs(name, short), inputs(name, long)
        samples = measure(
            {
                "ours, short": partial(operator, *small),
                "hand, short": partial(by_hand, *small),
                "ours, long": partial(operator, *large),
                "hand, long": partial(by_hand, *large),
            },
            rounds=5 if quick else 9,
        )
        per_token = {k: numbers(s, 1 / (long if k.endswith("long") else short)) for k, s in samples.items()}
        grown = {
            who: (
                per_token[f"{who}, long"][0] / per_token[f"{who}, short"][0],
                per_token[f"{who}, long"][1] / per_token[f"{who}, short"][1],
            )
            for who in ("ours", "hand")
        }
        yield Figure(
            "growth",
            f"{name}, time per token, n={short} to {long}, {SHAPE}",
            "times",
            grown["ours"],
            bound=1.0,
            yardstick=grown["hand"],
            against=f"growth of the loop by hand, C={chunk}",
        )


def step(quick: bool) -> Iterator[Figure]:
    """One token of the recurrent form; the yardstick, too, leaves the old state valid."""
    steps: dict[str, Callable[..., Any]] = {
        "linear_attention": handwritten.linear_attention_step,
        "hla2": handwritten.hla2_step,
    }
    for name, by_hand in steps.items():
        for heads in (None, HEADS):
            prefix = inputs(name, 4, heads)
            token = [x[..., 0, :] for x in inputs(name, 1, heads)]
            operator = ours(name, "recurrent")
            _, state = operator.prefill(*prefix)
            M = prefix[1].swapaxes(-1, -2) @ prefix[1]
            old = M if name == "linear_attention" else (M, M)
            samples = measure(
                {"ours": partial(operator.step, state, *token), "hand": partial(by_hand, old, *token)},
                rounds=9 if quick else 51,
                calls=200,
            )
            yield Figure(
                "step",
                f"{name}, one token, {heads or 1} heads, d=e={WIDTH}, float32",
                "us",
                numbers(samples["ours"], US),
                bound=1.5,
                yardstick=numbers(samples["hand"], US),
                against="the same update by hand",
            )


def state(quick: bool) -> Iterator[Figure]:
    """Elements of the recurrent state at a long length over those at a short one."""
    for name in BY_HAND:
        report = ours(name, "recurrent").report
        short, long = (
            float(report(n=n, d=WIDTH, e=WIDTH).to_dict()["forms"]["recurrent"]["state_elements"])
            for n in (4096, 262144)
        )
        yield Figure(
            "state",
            f"{name}, state elements a head, n=262144",
            "elements",
            (long, long),
            bound=1.0,
            yardstick=(short, short),
            against="state elements at n=4096",
        )
