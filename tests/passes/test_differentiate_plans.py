"""Gradient programs go through the same passes: chunkwise whenever the program is, in linear time, and equal
to their definition in every form."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import tensorc
from tests.programs import write_program

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = {path.stem: path.read_text() for path in sorted((ROOT / "examples").glob("*.tc"))}
LINEAR = """linear_attention scalar_gated gated retention normalised hla2 hla2_prefix ahla hla3 delta_rule
    gated_delta_rule tensor_interaction triple""".split()
PACKED = ["power", "based"]  # the program keeps a packed state, which the gradient unpacks

MORE = {
    "product_gates": """
def product_gates(q[n, d], k[n, d], v[n, e], a[n]) -> o[n, e]:
    o[i, x] = sum[j <= i](prod[j < u <= i](a[u]) * q[i, c] * k[j, c] * v[j, x])
""",
    "sigmoid_gates": """
def sigmoid_gates(q[n, d], k[n, d], v[n, e], a[n, d]) -> o[n, e]:
    o[i, x] = sum[j <= i](prod[j < u <= i](sigmoid(a[u, c])) * q[i, c] * k[j, c] * v[j, x])
""",
    "elementwise": """
def elementwise(f[n, d], c[n, d], o[n, d]) -> h[n, d]:
    h[i, x] = sigmoid(o[i, x]) * sum[j <= i](prod[j < u <= i](f[u, x]) * (1 - f[j, x]) * c[j, x])
""",
    "recurrence": """
def recurrence(q[n, d], k[n, d], v[n, e], g[n]) -> o[n, e]:
    S[i, c, x] = exp(g[i]) * S[i - 1, c, x] + k[i, c] * v[i, x]
    o[i, x] = q[i, c] * S[i, c, x]
""",
    "reverse": """
def reverse(q[n, d], k[n, d], v[n, e], g[n]) -> o[n, e]:
    o[i, x] = sum[j >= i](exp(sum[i <= u < j](g[u])) * q[i, c] * k[j, c] * v[j, x])
""",
    "segments": """
def segments(q[n, d], k[n, d], v[n, e], seg[n]) -> o[n, e]:
    o[i, x] = sum[j <= i, seg[i] == seg[j]](q[i, c] * k[j, c] * v[j, x])
""",
    "bonus": """
def bonus(r[n, d], k[n, d], v[n, e], w[n, d], u[d]) -> o[n, e]:
    o[i, x] = sum[j < i](exp(sum[j < m < i](w[m, c])) * r[i, c] * k[j, c] * v[j, x]) + t[i, x]
    t[i, x] = r[i, c] * u[c] * k[i, c] * v[i, x]
""",
    "grouped": """
def grouped(q[g * r, n, d], k[g, n, d], v[g, n, e], r=2) -> o[g * r, n, e]:
    o[h, i, x] = sum[j <= i](q[h, i, c] * k[h // r, j, c] * v[h // r, j, x])
""",
    "shifted": """
def shifted(x[n, d], w[t, d], k[n, d]) -> y[n, d]:
    z[i, c] = silu(sum[a](w[a, c] * x[i - a, c]))
    y[i, c] = sum[j <= i](z[j, c] * z[i, b] * k[j, b])
""",
}


def program(name: str) -> tensorc.Program:
    """A program of the catalogue or of this file."""
    return tensorc.parse(CATALOGUE.get(name) or MORE[name])


def figures(source: tensorc.Program, n: int) -> Any:
    """The figures of the chunkwise form."""
    sizes = {name: 64 for name in source.sizes()} | {"n": n}
    report = tensorc.compile(source).report(**sizes).to_dict()
    return report["forms"]["chunkwise"]


@pytest.mark.parametrize("name", [*LINEAR, *PACKED])
def test_costs(name: str) -> None:
    forward = figures(program(name), 4096)
    gradient, twice = (figures(tensorc.grad(program(name)), n) for n in (4096, 8192))
    assert twice["flops"] <= 2.05 * gradient["flops"]
    assert gradient["flops"] <= (6 if name in PACKED else 4.1) * forward["flops"]


@pytest.mark.parametrize("name", LINEAR)
def test_no_state_of_every_token_is_stored(name: str) -> None:
    if name == "triple":
        pytest.skip("its two states meet elementwise at one token")
    assert figures(tensorc.grad(program(name)), 8192)["peak_elements"] < 8192 * 64 * 64 / 4


@pytest.mark.parametrize("name", MORE)
def test_more_programs_have_the_chunkwise_form(name: str) -> None:
    tensorc.compile(tensorc.grad(program(name)), form="chunkwise")


@pytest.mark.parametrize("name", ["linear_attention", "gated", "delta_rule", "retention", "hla2", *MORE])
def test_every_form_is_the_definition(name: str) -> None:
    result = tensorc.compile(tensorc.grad(program(name))).verify(time_limit=6)
    assert "chunkwise" in str(result)


def test_random_programs_keep_their_form() -> None:
    kept = 0
    for seed in range(100, 112):
        try:
            source = tensorc.parse(write_program(Random(seed)))
        except tensorc.LanguageError:
            continue
        if tensorc.compile(source).forms.exists("chunkwise"):
            reason = tensorc.compile(tensorc.grad(source)).forms.why_not("chunkwise")
            if reason is not None:  # three tokens at once: both ends of a window and the gate between
                assert "product of gates" in reason.reason and "- j < 70" in str(source), str(source)
            kept += reason is None
    assert kept > 5


def test_states_of_both_directions_in_one_sum() -> None:
    text = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n]:
    s[i, j] = q[i, c] * k[j, c] * v[i, x] * v[j, x]
    o[i] = sum[j < i](s[i, j]) - sum[j > i](s[j, i])
"""
    call = tensorc.compile(text, form="chunkwise")
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(300, 4)) for _ in range(3))
    np.testing.assert_allclose(call(q, k, v), tensorc.compile(text, backend="reference")(q, k, v), rtol=1e-9)


def test_decays_of_a_chunk_are_not_overwritten_while_they_are_needed() -> None:
    source = tensorc.compile(tensorc.grad(program("retention")), form="chunkwise").source(n=4096, d=16, e=16)
    space: dict[str, Any] = {}
    exec(source, space)
    rng = np.random.default_rng(0)
    q, k, v, weights = (rng.normal(size=(7, 16)) for _ in range(4))
    gamma = np.float64(0.5)
    expected = tensorc.compile(tensorc.grad(program("retention")), backend="reference")(
        q, k, v, gamma, weights
    )
    found = space["retention_grad"](q, k, v, gamma, weights, chunk=4)[0]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_self_reference_waits_for_what_it_adds_to() -> None:
    """What w adds to its own result comes from three loops, the last of them backwards."""
    text = """
def f(x[n, d], k[n, d]) -> w[n, d]:
    a[i, c] = sum[j >= i](x[j, c])
    b[i, c] = sum[j <= i](a[j, c] * k[j, c])
    z[i, c] = sum[j >= i](b[j, c] * x[j, c])
    w[i, c] = z[i, c] - sum[j < i](k[i, m] * k[j, m] * w[j, c])
"""
    call = tensorc.compile(text, form="chunkwise")
    rng = np.random.default_rng(0)
    x, k = rng.normal(size=(300, 4)), rng.normal(size=(300, 4)) / 8
    expected = tensorc.compile(text, backend="reference")(x, k)
    np.testing.assert_allclose(call(x, k), expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())


def test_attention_between_two_sequences() -> None:
    """Rows of both sequences are outputs: one axis of rows is not enough for blocks."""
    gradient = tensorc.grad(program("attention"))
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=s) for s in ((5, 4), (7, 4), (7, 3), (5, 3))]
    found = tensorc.compile(gradient)(*inputs)
    expected = tensorc.compile(gradient, backend="reference")(*inputs)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_distance_that_is_an_axis_of_what_is_read_is_refused() -> None:
    call = tensorc.compile("def f(x[n, t]) -> y[n]:\n    y[i] = sum[a](x[i - a, a])\n")
    assert "counts tokens" in str(call.forms.why_not("chunkwise"))
    np.testing.assert_allclose(call(np.arange(6.0).reshape(3, 2)), [0, 3, 7])


@pytest.mark.parametrize("name", ["linear_attention", "scalar_gated", "gated", "delta_rule"])
def test_chunks_agree_with_the_definition_in_floats(name: str) -> None:
    gradient = tensorc.grad(program(name))
    rng = np.random.default_rng(1)
    sizes = {"n": 300, "d": 8, "e": 4}
    inputs = [rng.normal(size=[2, *(a.value(sizes) for a in t.axes)]) / 3 for t in gradient.inputs]
    inputs = [-np.abs(x) if t.name == "g" else x for x, t in zip(inputs, gradient.inputs, strict=True)]
    found = tensorc.compile(gradient, form="chunkwise")(*inputs)
    expected = tensorc.compile(gradient, backend="reference")(*inputs)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10 * (1 + np.abs(b).max()))
