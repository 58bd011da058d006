"""Sums of several writes a token: no form holds the sum as wide as the state for every token of a chunk."""

from __future__ import annotations

import pytest

import tensorc
from tensorc.plan import Contract, Map, ScanTile
from tensorc.plan_io import plan_steps
from tests.agreement import check_forms

PLAIN = """
def f(q[n, d], k[n, d], v[n, e], l[n, d], u[n, e]) -> o[n, e]:
    s[i, c, x] = sum[j <= i](k[j, c] * v[j, x] - l[j, c] * u[j, x])
    o[i, x] = q[i, c] * s[i, c, x]
"""
GATED = """
def f(q[n, d], k[n, d], v[n, e], l[n, d], u[n, e], b[n], g[n]) -> o[n, e]:
    w[i, c, x] = b[i] * k[i, c] * v[i, x] + l[i, c] * u[i, x]
    o[i, x] = sum[j <= i](exp(sum[j < t <= i](g[t])) * q[i, c] * w[j, c, x])
"""
SELF = """
def f(k[n, d], v[n, e], l[n, d], u[n, e]) -> o[n, e]:
    o[i, x] = v[i, x] - sum[j < i](k[i, c] * (k[j, c] * o[j, x] + l[j, c] * u[j, x]))
"""

TWICE = """
def f(p[n], b[n], u[d], z[d], q[n, d]) -> o[n, d]:
    W[j, c] = p[j] * u[c] + b[j] * z[c]
    S[i, c, y] = 0.9 * S[i - 1, c, y] + W[i, c] * W[i, y]
    o[i, c] = q[i, y] * S[i, c, y]
"""
SPREAD = """
def f(k[n, d], w[n, e], p[n], b[n, d], q[n, d]) -> o[n]:
    W[j, c, x] = k[j, c] * w[j, x] + p[j] * b[j, c]
    o[i] = sum[j <= i, c, x](q[i, c] * W[j, c, x])
"""

OWN_SPREAD = """
def f(p[n], k[n, d], r[n, e], v[n, d]) -> w[n, d]:
    W[j, c, x] = p[j] * w[j, c] + k[j, c] * r[j, x]
    w[i, c] = v[i, c] - 0.02 * sum[j < i, x](W[j, c, x] * p[i] * 0.9 ** (i - j))
"""
OTHERS_SPREAD = """
def f(p[n], b[n, d], r[n, e], v[n, d]) -> w[n, d]:
    W[j, c, x] = w[j, c] * r[j, x] + p[j] * b[j, c] + p[j]
    w[i, c] = v[i, c] - 0.02 * sum[j < i, x](W[j, c, x] * p[i])
"""


@pytest.mark.parametrize("text", [OWN_SPREAD, OTHERS_SPREAD], ids=["the unknown", "what is known"])
def test_terms_of_a_system_may_lack_labels(text: str) -> None:
    check_forms(text, (1, 5, 70, 150))
    tensorc.compile(text, form="chunkwise").verify()


@pytest.mark.parametrize("text", [TWICE, SPREAD], ids=["a value twice", "a term without a label"])
def test_what_is_not_taken_apart(text: str) -> None:
    check_forms(text, (1, 5, 70, 150))


@pytest.mark.parametrize("text", [PLAIN, GATED, SELF], ids=["plain", "gated", "of itself"])
def test_every_form_is_the_definition(text: str) -> None:
    check_forms(text, (0, 1, 5, 17, 70))


@pytest.mark.parametrize("text", [PLAIN, GATED, SELF], ids=["plain", "gated", "of itself"])
def test_a_chunk_multiplies_tokens_term_by_term(text: str) -> None:
    operator = tensorc.compile(text, form="chunkwise")
    plan = operator.forms.plan("chunkwise", operator.forms.example_sizes({"n": 4096, "d": 64, "e": 64}))
    steps = list(plan_steps(plan))
    assert not any(isinstance(s, ScanTile) for s in steps)
    assert all(len(s.out.axes) < 3 for s in steps if isinstance(s, Contract | Map))


def test_small_states_are_carried_as_before() -> None:
    """Where the state of each token is narrow, a scan is cheaper than pairs of tokens."""
    text = """
    def f(k[n, d], v[n, d], g[n, d]) -> o[n, d]:
        o[i, c] = sum[j <= i](exp(sum[j < t <= i](g[t, c])) * (k[j, c] + v[j, c]))
    """
    operator = tensorc.compile(text, form="chunkwise")
    plan = operator.forms.plan("chunkwise", operator.forms.example_sizes({"n": 4096, "d": 64}))
    assert any(isinstance(s, ScanTile) for s in plan_steps(plan))
