"""The attention of a Hugging Face model, replaced by programs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
