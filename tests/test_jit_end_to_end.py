"""Jitted functions through the real driver: the values of what was traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorc

RANDOM = np.random.default_rng(5)
Q, K, V = (RANDOM.normal(size=(2, 6, 3)) for _ in range(3))  # two of a batch, six tokens, three features
BETA = RANDOM.random((2, 6))

backends = pytest.mark.parametrize("backend", ["reference", "numpy"])


def delta_rule(q: Any, k: Any, v: Any, beta: Any) -> np.ndarray:
    """The state of the delta rule, token by token."""
    state = np.zeros((2, 3, 3))
    out = []
    for i in range(q.shape[1]):
        old = np.einsum("bc,bcx->bx", k[:, i], state)
        state = state + np.einsum("bc,bx->bcx", k[:, i], beta[:, i, None] * (v[:, i] - old))
        out.append(np.einsum("bc,bcx->bx", q[:, i], state))
    return np.stack(out, axis=1)


@backends
def test_self_reference(backend):
    @tensorc.jit("q[n, d], k[n, d], v[n, e], beta[n] -> o[n, e]", backend=backend)
    def solve(q, k, v, beta):
        i, j, c, x = tensorc.indices("i j c x")
        w = tensorc.tensor("w")
        w[i, x] = beta[i] * (v[i, x] - tensorc.sum(k[i, c] * k[j, c] * w[j, x], j < i))
        return tensorc.sum(q[i, c] * k[j, c] * w[j, x], j <= i)[i, x]

    np.testing.assert_allclose(solve(Q, K, V, BETA), delta_rule(Q, K, V, BETA), rtol=1e-10)
    np.testing.assert_allclose(solve(Q, beta=BETA, v=V, k=K), delta_rule(Q, K, V, BETA), rtol=1e-10)


@backends
def test_methods_windows_and_two_outputs(backend):
    class Smooth:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        @tensorc.jit("x[n], w=2 -> o[n], z[]", backend=backend, form="parallel")
        def window(self, x, w):
            i, u = tensorc.indices("i u")
            o = tensorc.sum(self.scale * x[u], (i - w < u) & (u <= i))[i]
            return o, tensorc.max(o[i], i)

    x = np.arange(6.0)
    o, z = Smooth(2).window(x)
    assert o.tolist() == [0, 2, 6, 10, 14, 18] and z == 18
    o, z = Smooth(0.5).window(x, w=3)
    assert o.tolist() == [0, 0.5, 1.5, 3, 4.5, 6] and z == 6


@backends
def test_programs_that_call_programs(backend):
    @tensorc.jit("q[n, d] -> u[n, d]")
    def unit(q):
        i, c, a = tensorc.indices("i c a")
        return (q[i, c] / tensorc.sqrt(tensorc.sum(q[i, a] ** 2, a)))[i, c]

    @tensorc.jit("q[n, d], k[n, d] -> s[n, n]", backend=backend)
    def cosine(q, k):
        i, j, c = tensorc.indices("i j c")
        a, b = unit(q), unit(k)
        return (a[i, c] * b[j, c])[i, j]

    expected = np.einsum("bic,bjc,bi,bj->bij", Q, K, *(1 / np.linalg.norm(t, axis=-1) for t in (Q, K)))
    np.testing.assert_allclose(cosine(Q, K), expected, rtol=1e-10)


MACROS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "tanh": np.tanh,
    "relu": lambda s: np.maximum(s, 0),
}


@pytest.mark.parametrize("name", MACROS)
def test_without_a_header_and_with_a_function_as_a_constant(name):
    @tensorc.jit(backend="reference")
    def scores(q, k, phi=tensorc.abs):
        i, j, c = tensorc.indices("i j c")
        s = (q[i, c] * k[j, c])[i, j]
        return phi(s[i, j])[i, j]

    s = np.einsum("bic,bjc->bij", Q, K)
    np.testing.assert_allclose(scores(Q, K, phi=getattr(tensorc, name)), MACROS[name](s), rtol=1e-10)
    np.testing.assert_allclose(scores(Q, K), np.abs(s), rtol=1e-10)


def test_attributes_are_those_of_the_operator():
    @tensorc.jit("q[n], k[n] -> o[n]", backend="reference")
    def running(q, k):
        i, j = tensorc.indices("i j")
        return tensorc.sum(q[i] * k[j], j <= i)[i]

    compiled = tensorc.compile(running.program, backend="reference")
    assert type(running.compiled()) is type(compiled)
    assert running.program == compiled.program
    q, k = Q[0, :, 0], K[0, :, 0]
    np.testing.assert_allclose(running(q, k), compiled(q, k))
