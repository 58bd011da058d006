"""Language models: the recurrent form gives the logits of the parallel one, in memory that does not grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tensorc.errors import FormError, ShapeError, TensorcError

torch = pytest.importorskip("torch")

from tensorc.nn import (  # noqa: E402
    Attention,
    DeepTensorNetwork,
    FeedForward,
    LanguageModel,
)
from tensorc.nn.language_model import draw  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def network(**options: Any) -> Any:
    torch.manual_seed(0)
    return DeepTensorNetwork(vocabulary=19, width=16, depth=2, heads=2, **options).double()


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    options: dict[str, Any] = {"heads": 2, "conv": 3}
    return LanguageModel(
        19, 16, 2, lambda: Attention(EXAMPLES / f"{name}.tc", 16, **options), lambda: FeedForward(16, 24)
    ).double()


def text(*shape: int) -> Any:
    return torch.randint(19, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", [network, lambda: network(decay=False), lambda: model_of("delta_rule")])
def test_steps_give_the_logits_of_the_parallel_form(make: Any) -> None:
    model, tokens = make(), text(2, 13)
    logits = model(tokens)
    head, state = model.prefill(tokens[:, :7])
    torch.testing.assert_close(head, logits[:, :7])
    again, state = model.prefill(tokens[:, 7:9], state)
    torch.testing.assert_close(again, logits[:, 7:9])
    for i in range(9, 13):
        row, state = model.step(state, tokens[:, i])
        torch.testing.assert_close(row, logits[:, i])
    assert state.position == 13
    state = model.init_state(tokens[:, 0])
    row, _ = model.step(state, tokens[:, 0])
    torch.testing.assert_close(row, logits[:, 0])


def test_no_later_token_is_seen() -> None:
    model, tokens = network(), text(1, 9)
    other = tokens.clone()
    other[:, 6:] = (other[:, 6:] + 1) % 19
    torch.testing.assert_close(model(other)[:, :6], model(tokens)[:, :6])
    assert not torch.allclose(model(other)[:, 6:], model(tokens)[:, 6:])


def test_generation_is_greedy_decoding_of_the_parallel_form() -> None:
    model, tokens = network(), text(2, 5)
    found = model.generate(tokens, 6, temperature=0)
    for _ in range(6):
        tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], 1)
    assert torch.equal(found, tokens[:, 5:])


def test_memory_of_generation_does_not_grow() -> None:
    model = network()
    _, state = model.prefill(text(1, 3))
    size = state.nbytes
    with torch.no_grad():
        for token in text(1, 60)[0]:
            _, state = model.step(state, token[None])
    assert state.nbytes == size and state.position == 63
    # Each block: the states of second order and of the interaction, and three tokens before the filters.
    assert size == 2 * 8 * 2 * ((8 * 8 + 8 * 8) + 8 * 8) + 2 * 8 * 2 * 3 * (3 * 16)


def test_generation_repeats_with_a_seed_and_draws_from_the_likeliest() -> None:
    model, tokens = network(), text(1, 4)
    first, second = (
        model.generate(tokens, 8, top_k=5, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert model.generate(tokens, 0).shape == (1, 0)
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]])
    drawn = {int(draw(logits, 5.0, 2)) for _ in range(60)}
    assert drawn == {1, 2}


def test_packed_documents() -> None:
    model, tokens = network(), text(1, 10)
    packed = model(tokens, torch.tensor([0, 4, 10]))
    torch.testing.assert_close(packed, torch.cat([model(tokens[:, :4]), model(tokens[:, 4:])], 1))


def test_mistakes() -> None:
    model = network()
    with pytest.raises(ShapeError, match=r"tokens\[batch, n\]"):
        model(text(5))
    with pytest.raises(ShapeError, match="float"):
        model(torch.zeros(1, 5))
    with pytest.raises(ShapeError, match="one token at least"):
        model.generate(text(1, 0), 3)
    with pytest.raises(TensorcError, match="temperature"):
        model.generate(text(1, 2), 3, temperature=-1.0)
    both = LanguageModel(
        19, 16, 1, lambda: Attention(EXAMPLES / "tensor_attention.tc", 16), lambda: FeedForward(16, 8)
    )
    assert both(text(1, 4)).shape == (1, 4, 19)
    with pytest.raises(FormError, match="recurrent form"):
        both.generate(text(1, 4), 2)
