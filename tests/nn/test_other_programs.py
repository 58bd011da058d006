"""Layers of programs that stand in no catalogue: roles, all forms, streams and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tensorc.errors import ShapeError

torch = pytest.importorskip("torch")

from tensorc.nn import Attention  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "two decays in one product": (
        """def f(q[n, d], k[n, d], v[n, e], a[n], b[n, d]) -> o[n, e]:
    o[i, x] = sum[j <= i](
        prod[j < u <= i](a[u]) * exp(sum[j < u <= i](b[u, c])) * q[i, c] * k[j, c] * v[j, x])""",
        {"a": "decay", "b": "log_decay"},
    ),
    "a state written as a recurrence, with a gate that writes what it forgets": (
        """def f(q[n, d], v[n, e], a[n, d]) -> o[n, e]:
    S[i, c, x] = a[i, c] * S[i - 1, c, x] + (1 - a[i, c]) * v[i, x]
    o[i, x] = q[i, c] * S[i, c, x]""",
        {"q": "query", "v": "value", "a": "decay"},
    ),
    "two states in a row": (
        """def f(q[n, d], k[n, d], v[n, e], a[n], b[n]) -> o[n, e]:
    M[i, c, x] = b[i] * M[i - 1, c, x] + k[i, c] * v[i, x]
    S[i, c, x] = a[i] * S[i - 1, c, x] + M[i, c, x]
    o[i, x] = q[i, c] * S[i, c, x]""",
        {"a": "decay", "b": "decay"},
    ),
    "descent on a square, with decay": (
        """def f(q[n, d], k[n, d], v[n, e], eta[n], a[n]) -> o[n, e]:
    S[i, c, x] = a[i] * S[i - 1, c, x] - eta[i] * k[i, c] * (k[i, b] * S[i - 1, b, x] - v[i, x])
    o[i, x] = q[i, c] * S[i, c, x]""",
        {"eta": "gate", "a": "decay"},
    ),
    "not linear in its past": (
        """def f(x[n, d], W[d, d]) -> h[n, d]:
    h[i, c] = tanh(x[i, c] + W[c, a] * h[i - 1, a])""",
        {"x": "value", "W": "constant"},
    ),
    "the difference of two softmaxes": (
        """def f(q[n, d], k[n, d], r[n, d], l[n, d], v[n, e], lam[]) -> o[n, e]:
    p[i, j] = softmax[j, j <= i](q[i, c] * k[j, c] / sqrt(d))
    t[i, j] = softmax[j, j <= i](r[i, c] * l[j, c] / sqrt(d))
    o[i, x] = (p[i, j] - lam * t[i, j]) * v[j, x]""",
        {"r": "key", "lam": "constant"},
    ),
    "a pair that does not separate, without softmax": (
        """def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](relu(q[i, c] * k[j, c]) ** 2 * v[j, x]) / (i + 1)""",
        {},
    ),
    "one input alone": ("def f(x[n, d]) -> y[n, d]:  y[i, c] = mean[j <= i](x[j, c])", {"x": "value"}),
    "a number a token": ("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])", {"x": "gate"}),
    "third order with a decay between the first two": (
        """def f(q[n, d], k[n, d], v[n, e], g[n]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    o[i, x] = sum[u < j <= i](exp(sum[u < t <= j](g[t])) * s[i, j] * s[j, u] * v[u, x])""",
        {"g": "log_decay"},
    ),
}
OWN_HEADS: dict[str, tuple[str, dict[str, int]]] = {
    "heads that share a compressed sequence of keys and values": (
        """def f(q[n, h, d], c[n, r], U[h, d, r], V[h, e, r]) -> o[n, h, e]:
    p[i, j, a] = softmax[j, j <= i](q[i, a, y] * U[a, y, z] * c[j, z] / sqrt(d))
    o[i, a, x] = p[i, j, a] * V[a, x, z] * c[j, z]""",
        {"h": 4, "r": 6},
    ),
    "heads that mix": (
        """def f(q[n, h, d], k[n, h, d], v[n, h, e], M[h, h]) -> o[n, h, e]:
    o[i, a, x] = sum[j <= i](M[a, b] * q[i, b, c] * k[j, b, c] * v[j, b, x])""",
        {"h": 4},
    ),
    "softmax of groups": ((EXAMPLES / "grouped_queries.tc").read_text(), {"g": 2, "r": 2}),
}


def tokens() -> Any:
    return torch.randn(2, 9, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def check(layer: Any) -> None:
    """Finite, with gradients everywhere, and the same token by token."""
    x = tokens()
    y = layer(x)
    assert y.shape == x.shape and y.isfinite().all()
    y.square().sum().backward()
    assert [n for n, p in layer.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    head, state = layer.prefill(x[:, :4])
    rows = [head]
    for i in range(4, 9):
        row, state = layer.step(state, x[:, i])
        rows.append(row[:, None])
    torch.testing.assert_close(torch.cat(rows, 1), y)


@pytest.mark.parametrize("heads", [{"heads": 1}, {"heads": 4}, {"heads": 4, "kv_heads": 2}], ids=str)
@pytest.mark.parametrize("what", PROGRAMS)
def test_a_layer(what: str, heads: dict[str, int]) -> None:
    torch.manual_seed(0)
    text, roles = PROGRAMS[what]
    if "kv_heads" in heads and "query" not in Attention(text, 16).roles.values():
        with pytest.raises(ShapeError, match="differ by their queries"):
            Attention(text, 16, **heads)
        return
    layer = Attention(text, 16, conv=2, **heads).double()
    assert roles.items() <= layer.roles.items()
    check(layer)


@pytest.mark.parametrize("what", OWN_HEADS)
def test_a_layer_whose_heads_are_axes(what: str) -> None:
    torch.manual_seed(0)
    text, sizes = OWN_HEADS[what]
    check(Attention(text, 16, conv=2, sizes=sizes).double())


@pytest.mark.parametrize("heads", [1, 2])
def test_a_layer_of_channels_alone(heads: int) -> None:
    """Matrix product operators mix the channels of one token; here its axis has to be named."""
    sizes = {"i": 2, "j": 2, "k": 2, "p": 2, "q": 2, "t": 2, "r": 3, "s": 3}
    torch.manual_seed(0)
    check(Attention(EXAMPLES / "mpo.tc", 16, heads=heads, time="b", sizes=sizes).double())


@pytest.mark.parametrize(
    "decay",
    [
        "prod[j < u <= i](sigmoid(a[u]))",
        "exp(-sum[j < u <= i](softplus(a[u])))",
        "exp(sum[j < u <= i](a[u]))",
    ],
)
def test_memories_are_spread_however_a_decay_is_written(decay: str) -> None:
    """The weight of the token before, where the token itself says nothing."""
    text = f"""def f(x[n, d], a[n]) -> y[n, d]:
    y[i, c] = sum[j <= i]({decay} * x[j, c])"""
    layer = Attention(text, 16, heads=4, spans=(2.0, 16.0)).double()
    x, a = layer.inputs(torch.zeros(1, 2, 16, dtype=torch.float64), True, None, None, {}, None)[0]
    x = torch.zeros_like(x)
    x[..., 0, :] = 1
    weights = layer.operator(x, a)[0, :, 1, 0].detach()
    spans = torch.tensor([2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
    torch.testing.assert_close(weights, 1 - 1 / spans, rtol=1e-6, atol=1e-6)
