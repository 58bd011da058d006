"""Replace the attention of a Hugging Face model by a program.

    pip install "tensorc[torch]" transformers
    python examples/drop_in.py                          a tiny random model: softmax as a program, then others
    python examples/drop_in.py delta_rule.tc            any program over q, k and v, one gate at most

A model of `transformers` looks its attention up by name, so a program takes its place without a change to
the model: `use` registers it and chooses it. Queries come as [batch, heads, n, d], keys and values as
[batch, fewer heads, m, d]; the model wants [batch, n, heads, d] back. Layout is what the signature of a
program says: the softmax below has heads as axes of its own, g groups of r queries that share keys and
values, and returns tokens before heads. A program without heads, such as those of the catalogue, gets them
as leading dimensions.

Documents packed into one row of tokens come with `cu_seq_lens_q`, where they begin and end, and with
`position_ids` that begin again: the argument that fused kernels take in `transformers`, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

import tensorc

HERE = Path(__file__).parent
SOFTMAX = """
def grouped(q[g * r, n, d], k[g, m, d], v[g, m, e], scale[]) -> o[n, g * r, e]:
    p[h, i, j] = softmax[j, j <= i + m - n](scale * q[h, i, c] * k[h // r, j, c])
    o[i, h, x] = p[h, i, j] * v[h // r, j, x]
"""
PACKED = """
def packed(q[g * r, n, d], k[g, n, d], v[g, n, e], scale[]) -> o[n, g * r, e]:
    p[h, i, j] = softmax[j, j <= i](scale * q[h, i, c] * k[h // r, j, c])
    o[i, h, x] = p[h, i, j] * v[h // r, j, x]
"""
LINEAR = """
def linear(q[n, h, d], k[n, h, d], v[n, h, e]) -> o[n, h, e]:
    f[i, j, a] = (elu(q[i, a, c]) + 1) * (elu(k[j, a, c]) + 1)
    o[i, a, x] = sum[j <= i](f[i, j, a] * v[j, a, x]) / sum[j <= i](f[i, j, a])
"""
Layer = Callable[..., tuple[Tensor, None]]


def with_own_heads(text: str = SOFTMAX) -> Layer:
    """A program whose axes are those of the model. Where keys may be more than queries, as in SOFTMAX, the
    cache works; where they are as many, as in PACKED, documents do."""
    program = tensorc.compile(text, backend="torch")

    def attention(
        module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **options: Any
    ) -> tuple[Tensor, None]:
        refuse_padding(mask)
        return program(q, k, v, options["scaling"], cu_seqlens=options.get("cu_seq_lens_q")), None

    return attention


def with_leading_heads(source: str | Path) -> Layer:
    """A causal program over q[n, d], k[n, d] and v[n, e]; inputs beside them are numbers a token, held at
    one half (a log decay at minus one half), since the model has no projection for them."""
    program = tensorc.compile(source, backend="torch")
    decays = {name for name, role in roles(program.program).items() if role == "log_decay"}
    others = [i for i in program.program.inputs if i.name not in ("q", "k", "v")]

    def attention(
        module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **options: Any
    ) -> tuple[Tensor, None]:
        refuse_padding(mask)
        if k.shape[-2] != q.shape[-2]:
            raise ValueError("This program reads its own past: call the model with use_cache=False.")
        groups = k.shape[1]
        q = torch.nn.functional.normalize(q, dim=-1).unflatten(1, (groups, -1))
        k, v = torch.nn.functional.normalize(k, dim=-1).unsqueeze(2), v.unsqueeze(2)
        halves = {i.name: q.new_full((q.shape[-2],), -0.5 if i.name in decays else 0.5) for i in others}
        o = program(
            q=q, k=k, v=v, **halves, cu_seqlens=options.get("cu_seq_lens_q")
        )  # [batch, groups, queries of a group, n, e]
        return o.flatten(1, 2).transpose(1, 2), None

    return attention


def roles(program: tensorc.Program) -> dict[str, str]:
    """What inputs are for."""
    from tensorc.ir import Extent
    from tensorc.nn.roles import Tokens, roles_of

    return roles_of(program, Tokens(Extent(1, ("n",))))


def refuse_padding(mask: Any) -> None:
    """The program has its own relations. Padding would need another; pack documents instead."""
    if mask is not None:
        raise ValueError("The program says who sees whom: pass no attention_mask; pack documents instead.")


def use(model: LlamaForCausalLM, name: str, attention: Layer) -> None:
    """Let a model attend by a program."""
    AttentionInterface.register(name, attention)
    model.set_attn_implementation(name)


def tiny() -> LlamaForCausalLM:
    """A random model of two layers, with four heads of queries and two of keys and values."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, attn_implementation="sdpa")).eval()


def layouts() -> float:
    """[batch, heads, n, d] by leading dimensions, [batch, n, heads, d] by axes, one after another by
    cu_seqlens: one function. The largest difference."""
    leading = tensorc.compile(HERE / "normalised.tc", backend="torch")
    inner = tensorc.compile(LINEAR, backend="torch")
    q, k, v = (torch.randn(3, 10, 4, 16) for _ in "qkv")
    o = inner(q, k, v)
    swapped = leading(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)
    packed = inner(*(x.flatten(0, 1) for x in (q, k, v)), cu_seqlens=torch.tensor([0, 10, 20, 30]))
    return max(float((o - swapped).abs().max()), float((o - packed.unflatten(0, (3, 10))).abs().max()))


def main() -> int:
    parser = argparse.ArgumentParser(description="Programs in place of the attention of a model.")
    parser.add_argument(
        "programs", nargs="*", default=["linear_attention.tc", "gated_delta_rule.tc", "hla2.tc"]
    )
    arguments = parser.parse_args()
    model, tokens = tiny(), torch.randint(128, (2, 24))
    with torch.no_grad():
        own = model(tokens).logits
        written = model.generate(tokens, max_new_tokens=8, do_sample=False, pad_token_id=0)
        use(model, "softmax_program", with_own_heads())
        difference = float((model(tokens).logits - own).abs().max())
        same = torch.equal(written, model.generate(tokens, max_new_tokens=8, do_sample=False, pad_token_id=0))
    print(f"softmax as a program: logits differ by {difference:.1e}; the same text with a cache: {same}")
    for name in arguments.programs:
        path = Path(name) if Path(name).exists() else HERE / name
        use(model, f"program_{path.stem}", with_leading_heads(path))
        loss = model(tokens, labels=tokens, use_cache=False).loss
        model.zero_grad()
        loss.backward()
        reached = all(p.grad is not None for p in model.parameters())
        print(f"{path.stem}: loss {loss.item():.3f}; gradients reach every parameter: {reached}")
    print(f"[batch, heads, n, d], [batch, n, heads, d] and packed documents differ by {layouts():.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
