"""Speed on NumPy: chunkwise against loops written by hand and the quadratic form, growth, single steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks import handwritten
from benchmarks.figure import Figure, compared
from benchmarks.operators import BY_HAND, HEADS, WIDTH, inputs, ours, tuned
from benchmarks.timing import Sample, keep_pages, measure

SHAPE = f"{HEADS} heads, d=e={WIDTH}, float32"


def chunkwise(quick: bool) -> Iterator[Figure]:
    """Each operator at three lengths against its chunk loop."""
    for name in BY_HAND:
        operator = ours(name, "chunkwise")
        for n in (2048, 8192) if quick else (2048, 8192, 32768):
            arrays = inputs(name, n)
            by_hand, chunk = tuned(name, n)
            found = measure(
                {"ours": partial(operator, *arrays), "hand": partial(by_hand, *arrays)},
                rounds=9 if quick else 31,
                calls=max(1, 8192 // n),
            )
            what, against = f"{name}, n={n}, {SHAPE}", f"chunk loop by hand, C={chunk}"
            bound = 1.2 if name == "delta_rule" else 1.15
            yield compared(
                "chunkwise", what, "ms", found["ours"], found["hand"], bound=bound, against=against
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
    found = measure(contenders, rounds=5, calls={"ours": 8} | dict.fromkeys(list(contenders)[1:], 1))
    for name in list(contenders)[1:]:
        yield compared(
            "quadratic", f"linear_attention, n={n}, {SHAPE}", "ms", found["ours"], found[name],
            bound=5 if quick else 20, against=f"quadratic form, {name}", at_least=True,
        )  # fmt: skip


def growth(quick: bool) -> Iterator[Figure]:
    """Time per token at a long length over that at a short one: ours against the hand-written loop's."""
    keep_pages()
    short, long = 4096, 65536 if quick else 262144
    for name in BY_HAND:
        operator, (by_hand, chunk) = ours(name, "chunkwise"), tuned(name, short)
        small, large = inputs(name, short), inputs(name, long)
        contenders = {
            "ours, short": partial(operator, *small),
            "hand, short": partial(by_hand, *small),
            "ours, long": partial(operator, *large),
            "hand, long": partial(by_hand, *large),
        }
        calls = {who: 1 if who.endswith("long") else 16 for who in contenders}
        found = measure(contenders, rounds=5 if quick else 9, calls=calls)
        grown = {
            who: grows(found[f"{who}, short"], found[f"{who}, long"], long / short)
            for who in ("ours", "hand")
        }
        yield compared(
            "growth", f"{name}, time per token, n={short} to {long}, {SHAPE}", "times",
            grown["ours"], grown["hand"], bound=1.0, against=f"growth of the loop by hand, C={chunk}",
        )  # fmt: skip


def grows(short: Sample, long: Sample, factor: float) -> Sample:
    """Round by round, the time per token at the long length over that at the short one."""
    return Sample(tuple(b / a / factor for a, b in zip(short.seconds, long.seconds, strict=True)))


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
            found = measure(
                {"ours": partial(operator.step, state, *token), "hand": partial(by_hand, old, *token)},
                rounds=9 if quick else 51,
                calls=200,
            )
            what = f"{name}, one token, heads: {heads or 1}, d=e={WIDTH}, float32"
            yield compared(
                "step", what, "us", found["ours"], found["hand"], bound=1.5, against="the same update by hand"
            )


def state(quick: bool) -> Iterator[Figure]:
    """Elements of the recurrent state at a long length over those at a short one."""
    for name in BY_HAND:
        report = ours(name, "recurrent").report
        short, long = (
            float(report(n=n, d=WIDTH, e=WIDTH).to_dict()["forms"]["recurrent"]["state_elements"])
            for n in (4096, 262144)
        )
        what = f"{name}, state elements a head, n=262144"
        yield compared(
            "state",
            what,
            "elements",
            Sample((long,)),
            Sample((short,)),
            bound=1.0,
            against="the same at n=4096",
        )
