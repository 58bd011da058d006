"""What inputs are for is read off programs: by their axes and use, whatever their names."""

from __future__ import annotations

from pathlib import Path

import pytest

import tensorc
from tensorc.errors import TensorcError
from tensorc.ir import Extent

pytest.importorskip("torch")

from tensorc.nn.roles import Tokens, roles_of  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
N = Tokens(Extent(1, ("n",)))
FOUND = {
    "linear_attention": "query key value",
    "alibi": "query key value rate",
    "retention": "query key value decay",
    "gated": "query key value log_decay",
    "delta_rule": "query key value gate",
    "gated_delta_rule": "query key value gate log_decay",
    "forgetting_attention": "query key value log_decay",
    "hgrn": "value decay",
    "triple": "query key key value value",
    "tensor_interaction": "query key value",
    "mamba2": "value query key signal log_decay constant constant constant constant",
    "rwkv6": "query key value log_decay constant",
    "packed_documents": "query key value given",
    "prefix_lm": "query key value given",
    "soft_cap": "query key value constant",
    "short_convolution": "value constant",
}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_roles_of_the_catalogue(name: str) -> None:
    program = tensorc.parse((EXAMPLES / f"{name}.tc").read_text())
    assert " ".join(roles_of(program, N).values()) == FOUND[name]


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("f(x[n, d], z[n]) -> S[n, d]:  S[i, c] = z[i] * S[i - 1, c] + x[i, c]", "value decay"),
        ("f(x[n, d], z[n]) -> S[n, d]:  S[i, c] = x[i, c] - z[i] * S[i - 1, c]", "value gate"),
        ("f(x[n], z[n]) -> y[n]:  y[i] = sum[j <= i](exp(-sum[j < u <= i](z[u])) * x[j])", "gate rate"),
        ("f(x[n], z[n]) -> y[n]:  y[i] = sum[j <= i](exp(sum[j < u <= i](-z[u])) * x[j])", "gate rate"),
        (
            "f(x[n], z[n]) -> y[n]:  y[i] = sum[j <= i](prod[j < u <= i](sigmoid(z[u])) * x[j])",
            "gate decay_signal",
        ),
        (
            "f(x[n], z[n], b[]) -> y[n]:  y[i] = sum[j <= i](x[j] * exp(-sum[j < u <= i](softplus(z[u]+b))))",
            "gate rate_signal constant",
        ),
        ("f(x[n], z[n]) -> y[n]:  y[i] = sum[j <= i](prod[j < u <= i](tanh(z[u])) * x[j])", "gate signal"),
        (  # it is read elsewhere, too
            "f(z[n]) -> y[n]:  y[i] = sum[j <= i](prod[j < u <= i](sigmoid(z[u])) * z[j])",
            "gate",
        ),
        ("f(x[n], z[]) -> y[n]:  y[i] = sum[j <= i](exp(z * (i - j)) * x[j])", "gate log_decay"),
        ("f(x[n], z[]) -> y[n]:  y[i] = sum[j <= i](exp(-2 * z * (i - j)) * x[j])", "gate rate"),
        (  # a number of a head
            "f(x[n, h, d], z[n, h]) -> y[n, h, d]:  y[i, a, c] = sum[j <= i](z[j, a] * x[j, a, c])",
            "value gate",
        ),
        ("f(x[n, d], z[n, n]) -> y[n, d]:  y[i, c] = sum[j <= i](z[i, j] * x[j, c])", "value given"),
    ],
)  # fmt: skip
def test_roles_follow_use(text: str, roles: str) -> None:
    assert " ".join(roles_of(tensorc.parse(f"def {text}"), N).values()) == roles


def test_names_do_not_matter() -> None:
    text = (EXAMPLES / "gated_delta_rule.tc").read_text()
    renamed = text.replace("beta", "zz").replace("q[", "aa[").replace("k[", "bb[").replace("g[", "cc[")
    roles = roles_of(tensorc.parse(renamed), N)
    assert roles == {"aa": "query", "bb": "key", "v": "value", "zz": "gate", "cc": "log_decay"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"x": "value"}, "roles= names x; the inputs of retention are q, k, v, gamma"),
        ({"q": "qeury"}, "Did you mean 'query'"),
        ({"gamma": "gate"}, "gamma has no axis n"),
        ({"k": "constant"}, "k has the axis n"),
    ],
)
def test_roles_that_make_no_sense(asked: dict[str, str], message: str) -> None:
    program = tensorc.parse((EXAMPLES / "retention.tc").read_text())
    with pytest.raises(TensorcError, match=message):
        roles_of(program, N, asked)
    assert roles_of(program, N, {"gamma": "constant"})["gamma"] == "constant"
