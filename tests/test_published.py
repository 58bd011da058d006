"""The programs of the catalogue against the published recurrences, written out by hand, token by token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
T, D, E, M, W = 11, 3, 2, 4, 3
Array = np.ndarray[Any, np.dtype[Any]]


def draw() -> dict[str, Array]:
    rng = np.random.default_rng(7)
    normal = {"q": (T, D), "k": (T, D), "l": (T, D), "z": (T, D), "v": (T, E), "u": (T, E), "bonus": (D,)}
    found = {name: rng.normal(size=shape) for name, shape in normal.items()}
    found |= {
        name: rng.normal(size=shape) for name, shape in {"wx": (E, W), "wb": (D, W), "wc": (D, W)}.items()
    }
    found |= {
        name: rng.random(shape) for name, shape in {"beta": T, "eta": T, "a": (T, D), "f": (T, E)}.items()
    }
    found |= {name: -rng.random(shape) for name, shape in {"g": T, "gd": (T, D), "gm": (T, M)}.items()}
    return found | {"dt": rng.normal(size=T)}


X = draw()


def loop(step: Callable[[Array, int], tuple[Array, Array]], *shape: int) -> Array:
    """The outputs of S, o = step(S, t) from S = 0."""
    state, outputs = np.zeros(shape), []
    for t in range(T):
        state, output = step(state, t)
        outputs.append(output)
    return np.array(outputs)


def rwkv6(S: Array, t: int) -> tuple[Array, Array]:
    kv = np.outer(X["k"][t], X["v"][t])
    return np.exp(X["gd"][t])[:, None] * S + kv, X["q"][t] @ (S + X["bonus"][:, None] * kv)


def rwkv7(S: Array, t: int) -> tuple[Array, Array]:
    z, kept = X["z"][t], np.exp(X["gd"][t])[:, None] * S
    S = kept - np.outer(X["a"][t] * z, z @ S) + np.outer(X["k"][t], X["v"][t])
    return S, X["q"][t] @ S


def written(S: Array, key: Array, value: Array, strength: float) -> Array:
    """The state after a delta-rule write."""
    return S + strength * np.outer(key, value - key @ S)


def kimi_delta(S: Array, t: int) -> tuple[Array, Array]:
    S = written(np.exp(X["gd"][t])[:, None] * S, X["k"][t], X["v"][t], X["beta"][t])
    return S, X["q"][t] @ S


def gated_delta_rule(S: Array, t: int) -> tuple[Array, Array]:
    S = written(np.exp(X["g"][t]) * S, X["k"][t], X["v"][t], X["beta"][t])
    return S, X["q"][t] @ S


def delta_product(S: Array, t: int) -> tuple[Array, Array]:
    S = written(S, X["k"][t], X["v"][t], X["beta"][t])
    S = written(S, X["l"][t], X["u"][t], X["eta"][t])
    return S, X["q"][t] @ S


def comba(S: Array, t: int) -> tuple[Array, Array]:
    k, beta, b, r = X["k"][t], X["beta"][t], 0.7, 0.3
    S = np.exp(X["g"][t]) * S - b * beta * np.outer(k, k @ S) + beta * np.outer(k, X["v"][t])
    return S, (X["q"][t] - r * k) @ S


def slots(S: Array, t: int) -> tuple[Array, Array]:
    kept = np.exp(X["gm"][t])[:, None]
    S = kept * S + (1 - kept) * np.concatenate([X["k"][t], X["v"][t]])
    p = np.exp(S[:, :D] @ X["q"][t])
    return S, p / p.sum() @ S[:, D:]


def hgrn(h: Array, t: int) -> tuple[Array, Array]:
    h = X["f"][t] * h + (1 - X["f"][t]) * X["v"][t]
    return h, h


def hgrn2(S: Array, t: int) -> tuple[Array, Array]:
    S = X["a"][t][:, None] * S + np.outer(1 - X["a"][t], X["v"][t])
    return S, X["q"][t] @ S


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def convolved(x: Array, taps: Array) -> Array:
    padded = np.concatenate([np.zeros((W - 1, x.shape[1])), x])
    return silu(sum(taps[:, s] * padded[W - 1 - s : W - 1 - s + T] for s in range(W)))


def mamba2(S: Array, t: int) -> tuple[Array, Array]:
    x, b, c = (convolved(X[name], X[taps])[t] for name, taps in (("v", "wx"), ("k", "wb"), ("q", "wc")))
    step = np.log1p(np.exp(X["dt"][t]))
    S = np.exp(step * -0.5) * S + step * np.outer(b, x)
    return S, c @ S + 0.3 * x


RECURRENCES: dict[str, tuple[Any, tuple[int, ...], list[Any]]] = {
    "rwkv6": (rwkv6, (D, E), ["q", "k", "v", "gd", "bonus"]),
    "rwkv7": (rwkv7, (D, E), ["q", "k", "v", "gd", "z", "a"]),
    "kimi_delta": (kimi_delta, (D, E), ["q", "k", "v", "beta", "gd"]),
    "gated_delta_rule": (gated_delta_rule, (D, E), ["q", "k", "v", "beta", "g"]),
    "delta_product": (delta_product, (D, E), ["q", "k", "v", "beta", "l", "u", "eta"]),
    "comba": (comba, (D, E), ["q", "k", "v", "beta", "g", 0.7, 0.3]),
    "gated_slot_attention": (slots, (M, D + E), ["q", "k", "v", "gm"]),
    "hgrn": (hgrn, (E,), ["v", "f"]),
    "hgrn2": (hgrn2, (D, E), ["q", "a", "v"]),
    "mamba2": (mamba2, (D, E), ["v", "k", "q", "dt", -0.5, 0.3, "wx", "wb", "wc"]),
}


@pytest.mark.parametrize("name", RECURRENCES)
def test_the_published_recurrence(name: str) -> None:
    step, shape, inputs = RECURRENCES[name]
    operator = tensorc.compile(EXAMPLES / f"{name}.tc")
    found = operator(*(X[i] if isinstance(i, str) else i for i in inputs))
    np.testing.assert_allclose(found, loop(step, *shape), rtol=1e-9, atol=1e-12)


ROWS, COLUMNS = np.arange(T)[:, None], np.arange(T)
SCORES = X["q"] @ X["k"].T / np.sqrt(D)
PAIRS: dict[str, tuple[Array, Any, list[Any]]] = {
    "forgetting_attention": (SCORES + np.cumsum(X["g"])[:, None] - np.cumsum(X["g"]), COLUMNS <= ROWS, ["g"]),
    "block_causal": (SCORES, COLUMNS // 16 <= ROWS // 16, []),
    "soft_cap": (2 * np.tanh(SCORES / 2), COLUMNS <= ROWS, [2.0]),
    "prefix_lm": (SCORES, (COLUMNS <= ROWS) | (COLUMNS < 4), [np.array(4)]),
    "alibi": (SCORES - 0.25 * (ROWS - COLUMNS), COLUMNS <= ROWS, [0.25]),
    "sliding_window": (SCORES, (COLUMNS <= ROWS) & (COLUMNS > ROWS - 128), []),
    "packed_documents": (SCORES, (COLUMNS <= ROWS) & (ROWS // 5 == COLUMNS // 5), [np.arange(T) // 5]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_published_scores_and_mask(name: str) -> None:
    scores, mask, more = PAIRS[name]
    p = np.where(mask, np.exp(scores), 0)
    inputs = [X[i] if isinstance(i, str) else i for i in ["q", "k", "v", *more]]
    found = tensorc.compile(EXAMPLES / f"{name}.tc")(*inputs)
    np.testing.assert_allclose(found, p @ X["v"] / p.sum(1, keepdims=True), rtol=1e-9, atol=1e-12)


def test_a_short_convolution_and_the_cosine_of_the_distance() -> None:
    found = tensorc.compile(EXAMPLES / "short_convolution.tc")(X["k"], X["wb"])
    np.testing.assert_allclose(found, convolved(X["k"], X["wb"]), rtol=1e-9, atol=1e-12)
    q, k = np.abs(X["q"]), np.abs(X["k"])
    w = np.tril(q @ k.T * np.cos(0.05 * (ROWS - COLUMNS)))
    found = tensorc.compile(EXAMPLES / "cosformer.tc")(q, k, X["v"], 0.05)
    np.testing.assert_allclose(found, w @ X["v"] / w.sum(1, keepdims=True), rtol=1e-9, atol=1e-12)


def test_rows_and_columns_are_a_kronecker_product() -> None:
    rng = np.random.default_rng(0)
    qr, kr, qc, kc = (rng.normal(size=(rows, D)) for rows in (4, 4, 5, 5))
    v = rng.normal(size=(4, 5, E))

    def softmax(scores: Array) -> Array:
        p = np.exp(scores / np.sqrt(D))
        return p / p.sum(1, keepdims=True)

    both = np.kron(softmax(qr @ kr.T), softmax(qc @ kc.T))
    found = tensorc.compile(EXAMPLES / "row_column_attention.tc")(qr, kr, qc, kc, v)
    np.testing.assert_allclose(found.reshape(20, E), both @ v.reshape(20, E), rtol=1e-9, atol=1e-12)


def test_query_heads_share_keys() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(4, T, D)), rng.normal(size=(2, T, D)), rng.normal(size=(2, T, E))
    found = tensorc.compile(EXAMPLES / "grouped_queries.tc")(q, k, v)
    for head in range(4):
        p = np.where(COLUMNS <= ROWS, np.exp(q[head] @ k[head // 2].T / np.sqrt(D)), 0)
        expected = p @ v[head // 2] / p.sum(1, keepdims=True)
        np.testing.assert_allclose(found[head], expected, rtol=1e-9, atol=1e-12)
