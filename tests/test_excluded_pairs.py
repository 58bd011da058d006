"""What a domain excludes is never used: scores that overflow there, rows of nothing, and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorc

SEGMENTS = """
def f(q[n, d], k[n, d], v[n, e], seg[n]) -> o[n, e]:
    m[i] = max[j <= i, seg[i] == seg[j]](q[i, c] * k[j, c])
    o[i, x] = sum[j <= i, seg[i] == seg[j]](exp(q[i, c] * k[j, c] - m[i]) * v[j, x])
"""
STABLE = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    m[i] = max[j <= i](q[i, c] * k[j, c])
    o[i, x] = sum[j <= i](exp(q[i, c] * k[j, c] - m[i]) * v[j, x])
"""
KEPT = """
def f(q[n, d], k[n, d], v[n, e], keep[n]) -> o[n, e]:
    p[i, j] = softmax[j, j <= i, keep[j] != 0](q[i, c] * k[j, c])
    o[i, x] = p[i, j] * v[j, x]
"""
STRICT = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    p[i, j] = softmax[j, j < i](q[i, c] * k[j, c])
    o[i, x] = p[i, j] * v[j, x]
"""
LARGEST = "def f(x[n]) -> y[n]:\n    y[i] = where(i > 0, max[j < i](x[j]), 0)\n"
FORMS = ("parallel", "chunkwise", "recurrent")


def arrays(n: int, scale: float = 1.0) -> list[Any]:
    rng = np.random.default_rng(n)
    return [scale * rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), rng.normal(size=(n, 2))]


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_other_segments_may_overflow(form: str) -> None:
    """A larger score in another segment: exp(score - m) is infinite there."""
    inputs = [*arrays(67, 2000.0), np.arange(67) // 9]
    gold = tensorc.compile(SEGMENTS, backend="reference")(*inputs)
    assert np.isfinite(gold).all()
    assert np.allclose(tensorc.compile(SEGMENTS, form=form)(*inputs), gold)


@pytest.mark.parametrize("form", ["auto", *FORMS])
def test_scores_of_other_documents_may_overflow(form: str) -> None:
    inputs, ends = arrays(67, 2000.0), [0, 22, 23, 67]
    packed = tensorc.compile(STABLE, form=form)(*inputs, cu_seqlens=ends)
    for start, stop in zip(ends, ends[1:], strict=False):
        alone = tensorc.compile(STABLE, backend="reference")(*(a[start:stop] for a in inputs))
        assert np.allclose(packed[start:stop], alone)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", [KEPT, STRICT], ids=["kept", "strict"])
def test_rows_of_nothing_have_gradients(text: str, form: str) -> None:
    """A softmax over nothing is 0 whatever the inputs: no NaN, and the gradient of the other rows."""
    torch = pytest.importorskip("torch")
    inputs = arrays(5)
    if text is KEPT:
        inputs.append(np.array([0.0, 0, 1, 0, 1]))
    given = [torch.tensor(a, requires_grad=True) for a in inputs]
    tensorc.compile(text, form=form, backend="torch")(*given).square().sum().backward()
    definition = tensorc.compile(text, backend="reference")
    out = definition(*inputs)
    gradient = tensorc.compile(tensorc.grad(text), backend="reference")(*inputs, 2 * out)
    for tensor, expected in zip(given, gradient, strict=False):
        assert np.isfinite(expected).all()
        assert np.allclose(tensor.grad.numpy(), expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_maximum_of_nothing_has_no_gradient(form: str) -> None:
    gradient = tensorc.grad(LARGEST)
    x, ones = np.array([3.0, 1.0, 4.0, 1.0, 5.0]), np.ones(5)
    try:
        operator = tensorc.compile(gradient, form=form)
    except tensorc.FormError:
        return
    assert np.array_equal(operator(x, ones), [2, 0, 2, 0, 0])
