"""The rewrite for packed documents: what becomes of every way to look at another token."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc.backends.reference import run
from tensorc.ir import Compare, Index, extent
from tensorc.passes.packed import packed
from tensorc.passes.packed_positions import bounds

N = extent("n")

# program → what the rewrite makes of its last equation
REWRITTEN = {
    "an order": (
        "def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])",
        "y[i] = sum[j <= i, document[j] == document[i]](x[j])",
    ),
    "a chain: beside the orders": (
        "def f(x[n]) -> y[n]:  y[i] = sum[u <= j <= i](x[j] * x[u])",
        "y[i] = sum[u <= j <= i, document[j] == document[i], document[u] == document[j]](x[j] * x[u])",
    ),
    "a decay lies between its ends": (
        "def f(x[n], g[n]) -> y[n]:  y[i] = sum[j <= i](exp(sum[j < u <= i](g[u])) * x[j])",
        "y[i] = sum[j <= i, document[j] == document[i]](exp(sum[j < u <= i](g[u])) * x[j])",
    ),
    "not between": (
        "def f(x[n], g[n]) -> y[n]:  y[i] = sum[j <= i](sum[j - 1 <= u <= i](g[u]) * x[j])",
        "y[i] = sum[j <= i, document[j] == document[i]]("
        "sum[j - 1 <= u <= i, document[u] == document[i]](g[u]) * x[j])",
    ),
    "shifts": (
        "def f(x[n], w[m]) -> y[n]:  y[i] = sum[t](w[t] * x[i - t]) + x[i + 1]",
        "y[i] = sum[t](w[t] * ([document[i - t] == document[i]] * x[i - t])) "
        "+ [document[i + 1] == document[i]] * x[i + 1]",
    ),
    "differences stay": (
        "def f(x[n]) -> y[n]:  y[i] = sum[j <= i](0.5 ** (i - j) * x[j] * [(i - j) % 2 == 0])",
        "y[i] = sum[j <= i, document[j] == document[i]](0.5 ** (i - j) * x[j] * [(i - j) % 2 == 0])",
    ),
    "positions and the length": (
        "def f(x[n]) -> y[n]:  y[i] = sum[j // 2 <= i // 2](x[j]) * (i + 1) / n",
        "y[i] = sum[position[j] // 2 <= position[i] // 2, document[j] == document[i]](x[j]) "
        "* (position[i] + 1) / length[i]",
    ),
    "made of the sequence": (
        "def f(x[n]) -> y[n]:\n    m[] = mean[j](x[j])\n    y[i] = x[i] - m",
        "y[i] = x[i] - m[i]",
    ),
    "softmax of a token over its document": (
        "def f(s[n]) -> p[n]:  p[j] = softmax[j](s[j])",
        "p[j] = exp(s[j] - logsumexp[document[j_2] == document[j]](s[j_2]))",
    ),
    "an output of pairs": (
        "def f(q[n, d]) -> p[n, n]:  p[i, j] = q[i, c] * q[j, c]",
        "p[i, j] = [document[j] == document[i]] * sum[c](q[i, c] * q[j, c])",
    ),
    "names that are taken": (
        "def f(document[n]) -> y[n]:  y[i] = sum[j <= i](document[j])",
        "y[i] = sum[j <= i, document_2[j] == document_2[i]](document[j])",
    ),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_rewritten(name: str) -> None:
    text, wanted = REWRITTEN[name]
    made = packed(tensorc.parse(text), N).program
    assert str(made).strip().splitlines()[-1].strip() == wanted
    assert tensorc.parse(str(made)) == made


@pytest.mark.parametrize("ends", [[0, 5], [0, 1, 2, 2, 5], [0, 3, 7], [0, 0], [0]], ids=str)
@pytest.mark.parametrize("name", sorted(set(REWRITTEN) - {"a decay lies between its ends"}))
def test_exactly_the_documents_alone(name: str, ends: list[int]) -> None:
    program = tensorc.parse(REWRITTEN[name][0])
    made, n, rng = packed(program, N), ends[-1], np.random.default_rng(len(ends))
    sizes = {"n": n, "d": 2, "m": 3}
    exact = "softmax" not in name
    inputs = [
        _exact(rng.integers(-3, 4, tuple(a.value(sizes) for a in decl.axes)), exact)
        for decl in program.inputs
    ]
    lengths = np.diff(ends)
    known = {
        "document": np.repeat(np.arange(len(lengths)), lengths),
        "position": np.concatenate([np.arange(0), *map(np.arange, lengths)]),
        "length": np.repeat(lengths, lengths),
    }
    whole = run(made.program, *inputs, *(known[kind] for kind in made.added))
    for a, b in zip(ends, ends[1:], strict=False):
        rows = [x[a:b] if N in d.axes else x for x, d in zip(inputs, program.inputs, strict=True)]
        part = whole[a:b, a:b] if name == "an output of pairs" else whole[a:b]
        alone = run(program, *rows)
        assert part.shape == alone.shape
        assert (part == alone).all() if exact else np.allclose(part, alone, rtol=1e-12)


def _exact(values: Any, exact: bool) -> Any:
    return (
        np.array([Fraction(int(v)) for v in values.flat], object).reshape(values.shape) if exact else values
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(x[n]) -> z[]:  z[] = sum[j](x[j])", "output z has no axis n"),
        ("def f(x[n]) -> y[n]:  y[i] = x[n - 1 - i]", r"x is read at n - 1 - i \(line 1\), which is not"),
        ("def f(x[n], h[n]) -> y[n]:  y[i] = sum[j <= i](h[i - j] * x[j])", "h is read at i - j"),
        ("def f(x[n], t[m]) -> y[n]:  y[i] = x[i] * t[i // 4]", "t is read at i // 4"),
        ("def f(x[2 * n], y[n]) -> z[n]:  z[i] = y[i] + x[2 * i]", "x has the axis 2 . n"),
    ],
)
def test_what_one_pass_cannot_express(text: str, message: str) -> None:
    with pytest.raises(tensorc.FormError, match=message):
        packed(tensorc.parse(text), N)


def test_what_does_not_look_at_tokens_stays() -> None:
    program = tensorc.parse("def f(x[n], w[d]) -> y[n], z[d]:\n    y[i] = x[i]\n    z[c] = w[c] + 1")
    made = packed(program, N)
    assert made.added == () and made.program == program


@pytest.mark.parametrize(
    ("op", "left", "right", "low", "high"),
    [
        ("<", "j", "u", {"j"}, set()), ("<=", "u", "j", set(), {"j"}), (">=", "u", "j", {"j"}, set()),
        (">", "j", "u", set(), {"j"}), ("==", "u", "j", {"j"}, {"j"}), ("!=", "u", "j", set(), set()),
        ("<=", "i", "j", set(), set()),
    ],
)  # fmt: skip
def test_bounds(op: str, left: str, right: str, low: set[str], high: set[str]) -> None:
    assert bounds(Compare(op, Index(left), Index(right)), "u", {"i", "j"}) == (low, high)
