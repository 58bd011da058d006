"""Causality: known programs, every construct that orders tokens, and soundness against the definition."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc
from tensorc.backends.reference import evaluate
from tensorc.causality import Leak, causality, leaks
from tensorc.ir import extent

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
N = extent("n")
HEAD = "def f(q[n, d], k[n, d], v[n, d], seg[n], w=3) -> o[n, d]:\n    "


def answer(text: str, output: str = "o") -> bool | str:
    return causality(tensorc.parse(text), N)[output]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.tc")), ids=lambda p: p.stem)
def test_the_examples(path: Path) -> None:
    program = tensorc.parse(path.read_text())
    found = causality(program, N) if "n" in program.sizes() else {}
    if path.stem == "tensor_attention":  # tril(Q KᵀK Qᵀ) V and its kin look causal and are not
        assert found == {"o": "l: k[l, a] is read for l > i (line 4)"}
    elif path.stem in ("block_causal", "prefix_lm"):
        assert found == {"o": "j: k[j, c] is read for j > i (line 5)"}
    else:
        assert all(value is True for value in found.values())


CAUSAL = [
    "o[i, x] = sum[u <= j, j <= i](q[i, a] * k[u, a] * v[j, x])",
    "o[i, x] = sum[j, i - w < j <= i](k[j, x])",
    "o[i, x] = v[i, x] + v[i - 1, x] + v[0, x] * k[i, x]",
    "o[i, x] = [i >= 1] * v[i // 2, x] + v[i % w, x]",
    "o[i, x] = v[minimum(i, w), x]",
    "o[i, x] = sum[j, j == i or j < i - 3](v[j, x])",
    "o[i, x] = sum[j, not j > i](v[j, x])",
    "o[i, x] = sum[j, i > j or i == j](v[j, x])",
    "o[i, x] = where(i >= 3, v[i - 3, x], v[i, x])",
    "o[i, x] = sum[j](where(j <= i, v[j, x], 0) + where(j > i, k[i, x], q[j, x]))",
    "o[i, x] = sum[j]([j <= i] * v[j, x] / 2)",
    "o[i, x] = sum[j](exp(v[j, x]) * (2 * [j < i]))",
    "o[i, x] = sum[j, i // w == j // w, j <= i](v[j, x])",
    "o[i, x] = sum[j, seg[i] == seg[j], j <= i](v[j, x])",
    "o[i, x] = sum[j, 2 * j <= 2 * i + 1](v[j, x]) + sum[j, 2 * j <= i](v[j, x])",
    "o[i, x] = sum[j, j <= i + w - w](v[j, x])",
    "o[i, x] = sum[a](q[i - a, x] * k[0, a]) + sum[a](q[i - d + a + 1, x] * k[0, a])",
    "o[i, x] = v[i, x] + seg[i] * o[i - 1, x]",
    "o[i, x] = v[i, x] + sum[j < i](k[j, x] * o[j, x])",
    "o[i, x] = sum[j <= i](exp(sum[j < u <= i](seg[u])) * v[j, x])",
    "o[i, x] = max[j <= i](v[j, x]) + mean[j <= i](v[j, x]) + logsumexp[j < i](v[j, x])",
    "o[i, x] = sum[c](k[i, c] * k[i, c]) ** 2 * v[i, x]",
]
LEAKING = [
    ("o[i, x] = sum[j](v[j, x])", "j"),
    ("o[i, x] = sum[j <= i](q[i, a] * k[l, a] * k[l, b] * q[j, b] * v[j, x])", "l"),
    ("o[i, x] = sum[j, i - w < j](k[j, x])", "j"),
    ("o[i, x] = sum[j, j <= i + w](k[j, x])", "j"),
    ("o[i, x] = sum[j, j <= i or j < w](v[j, x])", "j"),
    ("o[i, x] = v[i, x] + v[i + 1, x]", "i + 1"),
    ("o[i, x] = v[n - 1 - i, x]", "n - 1 - i"),
    ("o[i, x] = v[maximum(i, w), x]", "maximum(i, w)"),
    ("o[i, x] = sum[j, i // w == j // w](v[j, x])", "j"),
    ("o[i, x] = sum[j <= i](v[j, x] / sum[u](v[u, x]))", "u"),
    ("o[i, x] = v[i, x] + o[i + 1, x]", "i + 1"),
    ("o[i, x] = where(seg[n - 1] > 0, v[i, x], 0)", "n - 1"),
    ("o[i, x] = sum[j, seg[i] == seg[j]](v[j, x])", "j"),
    ("o[i, x] = sum[j](exp([j <= i] * v[j, x]) * k[j, x])", "j"),
    ("o[i, x] = sum[j, not (j <= i and j < w)](v[j, x])", "j"),
]


@pytest.mark.parametrize("text", CAUSAL)
def test_causal(text: str) -> None:
    assert answer(HEAD + text) is True


@pytest.mark.parametrize(("text", "index"), LEAKING)
def test_leaking(text: str, index: str) -> None:
    found = answer(HEAD + text)
    assert isinstance(found, str) and found.startswith(f"{index}: "), found
    assert "(line 2)" in found


def test_through_tensors() -> None:
    text = """
def f(q[n, d], k[n, d], v[n, d], g[n]) -> o[n, d], p[n, n], z[n, d], t[d], r[n, d]:
    p[i, j] = softmax[j <= i](q[i, c] * k[j, c])
    o[i, x] = p[i, j] * v[j, x]
    D[i, j] = exp(sum[j < u <= i](g[u]))
    w[i, x] = v[i, x] - sum[j < i](D[i, j] * k[i, c] * k[j, c] * w[j, x])
    y[i, x] = sum[j <= i](D[i, j] * w[j, x])
    z[i, x] = y[i, x] / (1 + sum[j](w[j, x]))
    t[x] = sum[i](v[i, x])
    r[i, x] = v[i, x] * t[x]
"""
    found = causality(tensorc.parse(text), N)
    assert found["o"] is True and found["p"] is True
    assert found["z"] == "j: w[j, x] is read for j > i (line 8)"
    assert found["t"] == "no axis n: a total over all tokens"
    assert found["r"] == "i: v[i, x] is read for every i (line 9)"


def test_a_read_before_and_after_a_shift() -> None:
    head = "def f(q[n, d], k[n, d], v[n, d]) -> o[n, d]:\n    s[i, j] = q[i, c] * k[j + 1, c]\n"
    assert answer(f"{head}    o[i, x] = sum[j < i](s[i, j] * v[j, x])") is True
    leak = leaks(tensorc.parse(f"{head}    o[i, x] = sum[j <= i](s[i, j] * v[j, x])"), N)["o"]
    assert leak is not None
    assert (leak.index, leak.read, leak.line) == ("j + 1", "k[j + 1, c]", 2)
    assert leak.output == "o" and leak.here == "i"


def test_other_axes_do_not_count() -> None:
    head = "def f(q[n, d], k[m, d], v[m, d]) -> o[n, d]:"
    assert answer(f"{head} o[i, x] = softmax[j](q[i, c] * k[j, c]) * v[j, x]") is True
    assert causality(tensorc.parse("def f(x[n]) -> y[n]: y[i] = x[i]"), None) == {}


def test_a_leak_says_where() -> None:
    assert str(Leak("o", "j", "k[j, c]", "i", 3)) == "j: k[j, c] is read for j > i (line 3)"
    assert str(Leak("o", "j", "k[j, c]", None, None)) == "j: k[j, c] is read for every j"


# -- soundness: what is called causal is so, on random programs ----------------------------------------------

INDICES = ("i", "j", "u")
OFFSETS = st.sampled_from(["", " - 1", " + 1", " - w", " + w"])

LEADS = ("s[i, j] = [j <= i] * x[j] * r[i]", "s[i, j] = x[i] * y[j]", "s[i, j] = y[j - 1] * r[i] * r[j]")


@st.composite
def conditions(draw: st.DrawFn) -> str:
    left, right = draw(st.permutations(INDICES))[:2]
    condition = f"{left}{draw(OFFSETS)} {draw(st.sampled_from(['<', '<=', '==', '>=']))} {right}"
    if draw(st.integers(0, 5)) == 0:
        other = f"{draw(st.sampled_from(INDICES))} <= {draw(st.sampled_from(['1', 'i', 'u']))}"
        return f"({condition} {draw(st.sampled_from(['or', 'and']))} {other})"
    return f"not {condition}" if draw(st.integers(0, 5)) == 0 else condition


@st.composite
def programs(draw: st.DrawFn) -> str:
    domain = ", ".join(["j", "u", *draw(st.lists(conditions(), min_size=1, max_size=3))])
    j, u = (draw(st.sampled_from(["", " - 1", " + 1", " // 2"])) for _ in range(2))
    terms = [f"sum[{domain}](x[j{j}] * y[u{u}] * r[j] * r[u])"]
    if draw(st.booleans()):
        terms.append(f"sum[j, u]([{draw(conditions())}] * s[i, j] * y[u] * [u <= i])")
    lead = draw(st.sampled_from(LEADS))
    return f"def f(x[n], y[n], r[n], w=2) -> o[n]:\n    {lead}\n    o[i] = {' + '.join(terms)}\n"


@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(0, 2))
def test_what_is_called_causal_is_causal(text: str, w: int) -> None:
    program = tensorc.parse(text)
    if causality(program, N)["o"] is not True:
        return
    rng, n = np.random.default_rng(0), 6
    arrays = {name: rng.integers(1, 9, n).astype(float) for name in "xyr"}
    before = evaluate(program, arrays, {"n": n, "w": w})["o"]
    for name in "xy":
        for t in range(1, n):
            changed = {**arrays, name: arrays[name].copy()}
            changed[name][t] += 100
            after = evaluate(program, changed, {"n": n, "w": w})["o"]
            assert np.array_equal(before[:t], after[:t]), (name, t)


@st.composite
def differences(draw: st.DrawFn) -> str:
    left, right = draw(st.permutations(INDICES))[:2]
    offset = draw(st.sampled_from(["", " - 2", " - 1", " + 1", " + 2"]))
    return f"{left}{offset} {draw(st.sampled_from(['<', '<=', '==', '>', '>=']))} {right}"


@settings(max_examples=100, deadline=None)
@given(st.lists(differences(), min_size=1, max_size=4))
def test_on_conjunctions_of_differences_it_is_exact(domain: list[str]) -> None:
    """No condition is long, so that a leak shows in a short sequence; every factor is positive."""
    text = f"def f(x[n], r[n]) -> o[n]: o[i] = sum[j, u, {', '.join(domain)}](x[j] * r[j] * r[u])"
    program, n = tensorc.parse(text), 12
    arrays = {"x": np.ones(n), "r": np.ones(n)}
    before = evaluate(program, arrays, {"n": n})["o"]
    leak = False
    for t in range(1, n):
        for name in arrays:
            changed = {**arrays, name: np.where(np.arange(n) == t, 2.0, 1.0)}
            after = evaluate(program, changed, {"n": n})["o"]
            leak |= bool((before[:t] != after[:t]).any())
    assert leak == (causality(program, N)["o"] is not True)


@pytest.mark.parametrize("count", [10, 100, 340])
def test_large_programs_end_in_time(count: int) -> None:
    chain = ["t0[i] = x[i]"] + [
        f"t{k}[i] = sum[j, u, j <= u <= i](t{k - 1}[j] * t{k - 1}[u])" for k in range(1, count)
    ]
    wide = ", ".join(f"a{k} <= i" for k in range(count))
    product = " * ".join(f"x[a{k}]" for k in range(count))
    for text in (
        "\n    ".join(["def f(x[n]) -> o[n]:", *chain, f"o[i] = t{count - 1}[i]"]),
        f"def f(x[n]) -> o[n]:\n    o[i] = sum[{wide}]({product})",
    ):
        program = tensorc.parse(text)
        start = perf_counter()
        found = causality(program, N)["o"]
        assert perf_counter() - start < 2
        assert found is True or "too large" in str(found) or count > 10
