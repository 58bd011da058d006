"""The attention of a Hugging Face model, replaced by programs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tensorc

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def drop_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drop_in", EXAMPLES / "drop_in.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_softmax_as_a_program_is_the_model(drop_in: ModuleType) -> None:
    """Logits, gradients, and generation with the cache of the model, in double precision."""
    model = drop_in.tiny().double()
    tokens = torch.randint(128, (2, 11), generator=torch.Generator().manual_seed(0))
    found = []
    for name in ("sdpa", "softmax_program"):
        if name != "sdpa":
            drop_in.use(model, name, drop_in.with_own_heads())
        model.zero_grad()
        result = model(tokens, labels=tokens)
        result.loss.backward()
        written = model.generate(tokens, max_new_tokens=5, do_sample=False, pad_token_id=0)
        found.append((result.logits.detach(), [p.grad.clone() for p in model.parameters()], written))
    (logits, gradients, written), (same_logits, same_gradients, same_written) = found
    torch.testing.assert_close(same_logits, logits)
    for mine, own in zip(same_gradients, gradients, strict=True):
        torch.testing.assert_close(mine, own)
    assert torch.equal(written, same_written)


def test_other_programs_see_no_later_token(drop_in: ModuleType) -> None:
    model = drop_in.tiny().double()
    drop_in.use(model, "program", drop_in.with_leading_heads(EXAMPLES / "gated_delta_rule.tc"))
    tokens = torch.randint(128, (1, 9), generator=torch.Generator().manual_seed(0))
    whole = model(tokens, use_cache=False).logits
    torch.testing.assert_close(model(tokens[:, :5], use_cache=False).logits, whole[:, :5])
    with pytest.raises(ValueError, match="use_cache=False"):
        model.generate(tokens, max_new_tokens=2, do_sample=False, pad_token_id=0)


@pytest.mark.parametrize("layer", ["softmax", "gated_delta_rule"])
def test_packed_documents_are_documents(drop_in: ModuleType, layer: str) -> None:
    model, alone = drop_in.tiny().double(), drop_in.tiny().double()
    if layer == "softmax":  # the model's own attention is what documents alone should give
        attention = drop_in.with_own_heads(drop_in.PACKED)
    else:
        attention = drop_in.with_leading_heads(EXAMPLES / f"{layer}.tc")
        drop_in.use(alone, f"packed_{layer}", attention)
    drop_in.use(model, f"packed_{layer}", attention)
    documents = [torch.randint(128, (1, n), generator=torch.Generator().manual_seed(n)) for n in (4, 1, 6)]
    found = model(
        torch.cat(documents, 1),
        position_ids=torch.cat([torch.arange(d.shape[1]) for d in documents])[None],
        cu_seq_lens_q=torch.tensor([0, 4, 5, 11], dtype=torch.int32),
        use_cache=False,
    ).logits
    expected = torch.cat([alone(d, use_cache=False).logits for d in documents], 1)
    torch.testing.assert_close(found, expected)


LAYOUTS = {
    "tokens first": """
def f(q[n, g * r, d], k[n, g, d], v[n, g, e], beta[n, g]) -> o[n, g * r, e]:
    w[i, a, x] = beta[i, a] * (v[i, a, x] - sum[j < i](k[i, a, c] * k[j, a, c] * w[j, a, x]))
    o[i, h, x] = sum[j <= i](q[i, h, c] * k[j, h // r, c] * w[j, h // r, x])
""",
    "heads first": """
def f(q[g * r, n, d], k[g, n, d], v[g, n, e], beta[g, n]) -> o[g * r, n, e]:
    w[a, i, x] = beta[a, i] * (v[a, i, x] - sum[j < i](k[a, i, c] * k[a, j, c] * w[a, j, x]))
    o[h, i, x] = sum[j <= i](q[h, i, c] * k[h // r, j, c] * w[h // r, j, x])
""",
}


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_grouped_batched_and_packed_calls(layout: str, form: str) -> None:
    """Groups of heads as axes of the program, in both layouts, against heads as leading dimensions."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, beta = (
        torch.randn(2, 11, *shape, dtype=torch.float64, generator=generator)
        for shape in ((6, 4), (2, 4), (2, 5), (2,))
    )
    given = [q, torch.nn.functional.normalize(k, dim=-1), v, torch.sigmoid(beta)]
    leading = tensorc.compile(EXAMPLES / "delta_rule.tc", backend="torch")

    def expected(start: int, stop: int) -> Any:
        query, *others = (t[:, start:stop].transpose(1, 2) for t in given)
        o = leading(query.unflatten(1, (2, 3)), *(t.unsqueeze(2) for t in others))
        return o.flatten(1, 2).transpose(1, 2)

    def found(**options: Any) -> Any:
        own = tensorc.compile(LAYOUTS[layout], backend="torch", form=form)
        if layout == "tokens first":
            return own(*given, **options)
        return own(*(t.transpose(1, 2) for t in given), **options).transpose(1, 2)

    torch.testing.assert_close(found(), expected(0, 11))
    bounds = torch.tensor([0, 4, 4, 5, 11], dtype=torch.int32)
    documents = [expected(a, b) for a, b in ((0, 4), (4, 5), (5, 11))]
    torch.testing.assert_close(found(cu_seqlens=bounds), torch.cat(documents, 1))


def test_layouts_agree(drop_in: ModuleType) -> None:
    torch.manual_seed(0)
    assert drop_in.layouts() < 1e-5


def test_the_example_runs(
    drop_in: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["drop_in.py", "hla2.tc"])
    assert drop_in.main() == 0
    shown = capsys.readouterr().out
    assert "the same text with a cache: True" in shown
    assert "hla2: loss" in shown and "every parameter: True" in shown
