"""What the definition does not evaluate: outside domains, unused branches, behind strong zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorc.backends.reference import run
from tensorc.grammar import parse

INF, NAN = np.inf, np.nan


def call(text: str, *arguments: Any, **keywords: Any) -> Any:
    return run(parse(text), *(np.array(a) if isinstance(a, list) else a for a in arguments), **keywords)


def same_numbers(left: Any, right: Any) -> None:
    np.testing.assert_array_equal(np.asarray(left, float), np.asarray(right, float))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_later_tokens_do_not_leak(bad: float) -> None:
    text = "def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:  o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])"
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((6, 3)) for _ in range(3))
    clean = call(text, q, k, v)
    k[4], v[5] = bad, bad
    dirty = call(text, q, k, v)
    np.testing.assert_allclose(dirty[:4], clean[:4])
    assert not np.isfinite(dirty[4:]).any()


def test_non_finite_factors_in_every_reduction() -> None:
    x = [1.0, 2.0, INF, NAN]
    for op, expected in [("sum", 3), ("prod", 2), ("max", 2), ("min", 1), ("mean", 1.5)]:
        assert call(f"def f(x[n]) -> o[n]:  o[i] = {op}[j <= i](x[j])", x)[1] == expected
    assert call("def f(x[n]) -> o[n]:  o[i] = logsumexp[j <= i](x[j])", x)[1] == np.logaddexp(1, 2)
    assert call("def f(x[n]) -> p[n, n]:  p[i, j] = softmax[j <= i](x[j])", x)[1].sum() == 1


def test_overflow_outside_the_domain_does_not_leak() -> None:
    text = "def f(a[n], b[n], v[n]) -> o[n]:  o[i] = sum[j <= i](exp(a[i]) * exp(b[j]) * v[j])"
    o = call(text, [500.0, 0, 0], [0.0, 500, 0], [1.0, 1, 1])
    same_numbers(o, [np.exp(500.0), 1 + np.exp(500.0), 2 + np.exp(500.0)])
    o = call("def f(a[n], b[n]) -> o[n]:  o[i] = sum[j <= i](a[j] * b[j])", [2.0, 1e300], [2.0, 1e300])
    same_numbers(o, [4, INF])


def test_a_large_product_with_infinities_goes_block_by_block() -> None:
    text = "def f(a[n, d], b[n, d], v[n]) -> o[n, n]:  o[i, u] = sum[j <= i, c](a[i, c] * b[j, c] * v[u])"
    a, b, v = np.ones((120, 30)), np.ones((120, 30)), np.ones(120)
    b[100], v[3] = INF, NAN
    o = call(text, a, b, v)
    assert np.isnan(o[:, 3]).all()
    o, i = np.delete(o, 3, 1), np.arange(120)[:, None]
    same_numbers(o, np.where(i >= 100, INF, 30 * (i + 1)) + np.zeros((120, 119)))


def test_the_other_branch_of_where_is_not_seen() -> None:
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = where(x[i] > 0, log(x[i]), 0)", [-1.0, 0, 1]), [0, 0, 0])


def test_a_condition_is_a_strong_zero() -> None:
    x = [0.0, INF, NAN, 3]
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = [i == 3] * x[i]", x), [0, 0, 0, 3])
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = x[i] * (2 * (-[i == 3]))", x), [0, 0, 0, -6])
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = [i == 3] * 6 / x[i] / 2", x), [0, 0, 0, 1])
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = sum[j](([j == 3] * x[j]) * x[i])", [3.0] * 4), [9] * 4)
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = sum[j]([j == i] * x[j])", [1.0, INF, 3]), [1, INF, 3])


def test_other_zeros_are_weak() -> None:
    same_numbers(call("def f(x[n], z[n]) -> o[n]:  o[i] = z[i] * x[i]", [INF, 1.0], [0.0, 0.0]), [NAN, 0])
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = x[i - 1] * x[i]", [INF, 1.0]), [NAN, INF])
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = sum[c, c <= i](x[c]) * x[0]", [0.0, INF]), [0, NAN])


def test_reads_outside_are_zero_whatever_is_done_with_them() -> None:
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = exp(x[i - 1])", [0.0, 0.0]), [1, 1])
    p = call("def f(x[n]) -> p[n, m]:  p[i, j] = softmax[j](x[i + j])", [1.0, 2.0], sizes={"m": 2})
    np.testing.assert_allclose(p[1], np.exp([2, 0]) / np.exp([2, 0]).sum())


def test_empty_reductions() -> None:
    x = np.zeros(1)
    nothing = {"sum": 0, "prod": 1, "max": -INF, "logsumexp": -INF, "min": INF, "mean": NAN}
    for op, expected in nothing.items():
        same_numbers(call(f"def f(x[n]) -> o[n]:  o[i] = {op}[j < i](x[j])", x), [expected])
        o = call(f"def f(x[n, d]) -> o[n]:  o[i] = {op}[c](x[i, c])", np.zeros((2, 0)))
        same_numbers(o, [expected] * 2)
    same_numbers(call("def f(x[n]) -> p[n, n]:  p[i, j] = softmax[j < i](x[j])", x), [[0]])
    same_numbers(call("def f(x[n]) -> o[n]:  o[i] = sum[j < i](x[j] / x[i])", [0.0, 2.0]), [0, 0])


def test_softmax_is_stable() -> None:
    scores = np.array([1e4, 1e4, -1e4], np.float32)
    p = call("def f(x[n]) -> p[n, n]:  p[i, j] = softmax[j <= i](x[j])", scores)
    np.testing.assert_allclose(p, [[1, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]])


def test_softmax_of_infinite_scores() -> None:
    p = call("def f(x[n]) -> p[n]:  p[i] = softmax[i](x[i])", [-INF, 0.0, 0.0])
    same_numbers(p, [0, 0.5, 0.5])
