"""Any program as a layer: every form agrees, gradients reach every parameter, states stream."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tensorc
from tensorc.errors import FormError, ShapeError, TensorcError

torch = pytest.importorskip("torch")

from tensorc.nn import Attention, TensorAttention, TensorInteraction  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIZES = {"mamba2": {"w": 4}, "short_convolution": {"w": 3}}
# q, k, v of the catalogue that stream; of the given inputs only segment ids.
STREAMS = (
    "ahla alibi alibi_window based comba delta_product delta_rule forgetting_attention gated "
    "gated_delta_rule gated_slot_attention hgrn hgrn2 hla2 hla2_prefix hla3 kimi_delta linear_attention "
    "mamba2 normalised power retention rwkv6 rwkv7 scalar_gated short_convolution sliding_window soft_cap "
    "tensor_interaction triple window_linear"
).split()


def layer(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    options = {"heads": 4, "conv": 3, "sizes": SIZES.get(name), **options}
    return Attention(EXAMPLES / f"{name}.tc", 16, **options).double()


def tokens(*shape: int) -> Any:
    return torch.randn(*shape, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def streamed(attention: Any, x: Any, prefix: int) -> Any:
    """A prefix at once, the rest token by token."""
    if prefix:
        head, state = attention.prefill(x[:, :prefix])
    else:
        head, state = x[:, :0], attention.init_state(x[:, 0])
    rows = [head]
    for i in range(prefix, x.shape[1]):
        row, state = attention.step(state, x[:, i])
        rows.append(row[:, None])
    assert state.position == x.shape[1]
    return torch.cat(rows, 1)


@pytest.mark.parametrize("name", STREAMS)
def test_any_program_is_a_layer(name: str) -> None:
    attention, x = layer(name), tokens(2, 11)
    y = attention(x)
    assert y.shape == x.shape and torch.isfinite(y).all()
    torch.testing.assert_close(streamed(attention, x, 6), y)
    torch.testing.assert_close(streamed(attention, x, 0), y)
    y.square().sum().backward()
    missing = [n for n, p in attention.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []


@pytest.mark.parametrize("name", ["gated_delta_rule", "hla2"])
def test_a_layer_is_the_definition_of_what_it_passes(name: str) -> None:
    attention, x = layer(name, conv=0, norm=False), tokens(2, 9)
    inputs, _ = attention.inputs(x, True, None, None, {}, None)
    reference = tensorc.compile(EXAMPLES / f"{name}.tc", backend="reference")
    o = torch.as_tensor(reference(*(i.detach().numpy() for i in inputs)))
    torch.testing.assert_close(attention.output.project(o.movedim(1, 2).flatten(2)), attention(x))


@pytest.mark.parametrize(
    "options",
    [{"heads": 1}, {"heads": 4, "kv_heads": 2}, {"heads": 4, "kv_heads": 1}, {"gate": True}, {"norm": False}],
)
@pytest.mark.parametrize("name", ["retention", "gated_delta_rule"])
def test_options_agree_in_all_forms(name: str, options: dict[str, Any]) -> None:
    attention, x = layer(name, **options), tokens(2, 7)
    torch.testing.assert_close(streamed(attention, x, 3), attention(x))


def test_heads_of_a_group_are_projected_once() -> None:
    inputs = layer("gated_delta_rule", kv_heads=2, conv=0).inputs
    assert inputs.project.weight.shape == (4 * 4 + 2 * (4 + 4 + 1 + 1), 16)


@pytest.mark.parametrize("name", ["delta_rule", "retention"])
def test_the_layout_is_what_the_signature_says(name: str) -> None:
    """[batch, heads, n, d] by leading dimensions, and [batch, n, heads, d] by axes, are the same layer."""
    lead = layer(name)
    text = {
        "retention": """
def f(q[n, h, d], k[n, h, d], v[n, h, e], gamma[h]) -> o[n, h, e]:
    o[i, a, x] = sum[j <= i](gamma[a] ** (i - j) * q[i, a, c] * k[j, a, c] * v[j, a, x])
""",
        "delta_rule": """
def f(q[n, h, d], k[n, h, d], v[n, h, e], beta[n, h]) -> o[n, h, e]:
    w[i, a, x] = beta[i, a] * (v[i, a, x] - sum[j < i](k[i, a, c] * k[j, a, c] * w[j, a, x]))
    o[i, a, x] = sum[j <= i](q[i, a, c] * k[j, a, c] * w[j, a, x])
""",
    }[name]
    own = Attention(text, 16, sizes={"h": 4}, conv=3).double()
    assert own.roles == lead.roles and own.sizes == {**lead.sizes, "h": 4}
    own.load_state_dict(lead.state_dict())
    x = tokens(2, 9)
    torch.testing.assert_close(own(x), lead(x))
    torch.testing.assert_close(streamed(own, x, 4), lead(x))


def test_grouped_heads_of_the_program() -> None:
    text = """
def f(q[g * r, n, d], k[g, n, d], v[g, n, e]) -> o[g * r, n, e]:
    o[h, i, x] = sum[j <= i](q[h, i, c] * k[h // r, j, c] * v[h // r, j, x])
"""
    own = Attention(text, 16, sizes={"g": 2, "r": 2}).double()
    torch.manual_seed(0)
    lead = layer("linear_attention", kv_heads=2, conv=0)
    own.load_state_dict(lead.state_dict())
    x = tokens(3, 8)
    torch.testing.assert_close(own(x), lead(x))


@pytest.mark.parametrize("name", ["gated", "delta_rule", "hla2", "tensor_interaction"])
def test_packed_documents_are_documents(name: str) -> None:
    attention, x = layer(name), tokens(1, 11)
    packed = attention(x, cu_seqlens=torch.tensor([0, 4, 5, 11]))
    alone = torch.cat([attention(x[:, a:b]) for a, b in ((0, 4), (4, 5), (5, 11))], 1)
    torch.testing.assert_close(packed, alone)


@pytest.mark.parametrize("heads", [1, 2])
def test_all_outputs_of_a_program_are_used(heads: int) -> None:
    text = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e], z[n]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
    z[i] = sum[j <= i](q[i, c] * k[j, c])
"""
    torch.manual_seed(0)
    both, x = Attention(text, 16, heads=heads).double(), tokens(2, 6)
    assert both.output.project.in_features == 16 + heads
    torch.testing.assert_close(streamed(both, x, 3), both(x))


def test_inputs_that_come_with_the_call() -> None:
    attention, x = layer("packed_linear", conv=0), tokens(2, 6)
    ids = torch.tensor([0, 0, 1, 1, 1, 4])
    y = attention(x, given={"seg": ids})
    torch.testing.assert_close(attention(x, given={"seg": ids.expand(2, 6)}), y)
    torch.testing.assert_close(y[:, 2:5], attention(x[:, 2:5], given={"seg": ids[2:5]}))
    with pytest.raises(TensorcError, match="seg comes with the call"):
        attention(x)


def test_another_sequence() -> None:
    attention = layer("attention", memory="m", conv=0)
    assert list(attention.roles.values()) == ["query", "key", "value"]
    x, other = tokens(2, 5), tokens(2, 7) * 2
    y = attention(x, memory=other)
    order = torch.randperm(7)
    torch.testing.assert_close(attention(x, memory=other[:, order]), y)
    torch.testing.assert_close(attention(x), attention(x, memory=x))
    with pytest.raises(ShapeError, match="memory has the shape"):
        attention(x, memory=torch.zeros(2, 7, 3))
    with pytest.raises(TensorcError, match="reads one sequence"):
        layer("hla2")(x, memory=other)


def test_truncated_backpropagation_through_time() -> None:
    """Gradients pass through a state: two halves in a row are the whole."""
    attention, x = layer("gated_delta_rule"), tokens(2, 8)
    head, state = attention.prefill(x[:, :5])
    two = torch.autograd.grad((head.sum() + attention(x[:, 5:], state=state).sum()), attention.parameters())
    one = torch.autograd.grad(attention(x).sum(), attention.parameters())
    for a, b in zip(two, one, strict=True):
        torch.testing.assert_close(a, b)


def test_first_values() -> None:
    attention = layer("gated_delta_rule", spans=(2.0, 64.0))
    keys = attention.inputs(tokens(1, 4), True, None, None, {}, None)[0]
    torch.testing.assert_close(keys[1].norm(dim=-1), torch.ones(1, 4, 4, dtype=torch.float64))
    g = attention.inputs.input_g.bias.detach()
    spans = 1 / (1 - torch.sigmoid(g))
    torch.testing.assert_close(
        spans, torch.tensor([2, 6.3496, 20.1587, 64], dtype=torch.float64), rtol=1e-4, atol=0
    )
    assert (keys[4] < 0).all() and ((keys[3] > 0) & (keys[3] < 1)).all()
    kept = layer("cosformer", conv=0, initial={"t": 0.01}, features="elu + 1")
    assert kept.inputs.input_t.bias.tolist() == pytest.approx([0.01] * 4)


def test_half_precision_and_autocast_keep_decays() -> None:
    x = torch.randn(2, 5, 16)
    attention = Attention(EXAMPLES / "gated.tc", 16, heads=2, conv=2)
    with torch.autocast("cpu", torch.bfloat16):
        y = attention(x)
    torch.testing.assert_close(y.float(), attention(x), rtol=0.1, atol=0.05)
    half = attention.to(torch.bfloat16)
    assert half(x.bfloat16()).dtype == torch.bfloat16
    y, state = half.prefill(x.bfloat16())
    last, state = half.step(state, x[:, 0].bfloat16())
    assert last.dtype == torch.bfloat16 and state.convolution is not None


def test_copies_and_state_dict() -> None:
    attention, x = layer("gated_delta_rule"), tokens(2, 6)
    y = attention(x)
    torch.testing.assert_close(copy.deepcopy(attention)(x), y)
    torch.testing.assert_close(pickle.loads(pickle.dumps(attention))(x), y)
    other = Attention(EXAMPLES / "gated_delta_rule.tc", 16, heads=4, conv=3).double()
    assert not torch.allclose(other(x), y)
    other.load_state_dict(attention.state_dict())
    torch.testing.assert_close(other(x), y)
    assert "gated_delta_rule(q[n, d]" in repr(attention)


@pytest.mark.parametrize("decay", [True, False])
def test_tensor_layers_stream_and_verify(decay: bool) -> None:
    x = tokens(2, 9)
    for kind in (TensorAttention, TensorInteraction):
        made = kind(16, heads=2, decay=decay).double()
        torch.testing.assert_close(streamed(made, x, 4), made(x))
        assert str(made.operator.verify(causal=True))
    both = TensorAttention(16, heads=2, causal=False).double()
    assert not torch.allclose(both(x)[:, :4], both(x[:, :4]))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("hla2", {"heads": 3}, ShapeError, "3 heads do not divide the width 16"),
        ("hla2", {"kv_heads": 3}, ShapeError, "kv_heads divides heads"),
        ("hla2", {"features": "cosine"}, TensorcError, "No feature map 'cosine'"),
        ("hla2", {"features": {"x": "unit"}}, TensorcError, "features= names x"),
        ("hla2", {"initial": {"x": 1.0}}, TensorcError, "initial= names x"),
        ("hla2", {"memory": "m"}, FormError, "memory='m' is no size of hla2"),
        ("hla2", {"conv": -1}, TensorcError, "1 tap or more"),
        ("gated", {"spans": (0.5, 8.0)}, TensorcError, "more than 1 token"),
        ("attention", {}, ShapeError, "memory='m'"),
        ("mamba2", {"sizes": {}}, ShapeError, r"The size w of wx\[e, w\] is not known"),
        ("mpo", {}, FormError, "counts tokens"),
    ],
)
def test_mistakes(name: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer(name, **options)


def test_only_this_package_loads_torch() -> None:
    code = "import sys, tensorc; assert 'torch' not in sys.modules; print(tensorc.nn.Attention.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "Attention\n", run.stderr
