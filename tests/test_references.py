"""The naive functions of flash-linear-attention are programs, in values and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tensorc
from benchmarks import references

torch = pytest.importorskip("torch")
if not references.installed():
    pytest.skip('flash-linear-attention: pip install "tensorc[references]"', allow_module_level=True)

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BATCH, HEADS, D, E = 2, 3, 8, 5
NORMALISED = """
def normalised(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    o[i, x] = sum[j <= i](s[i, j] * v[j, x]) / (sum[j <= i](s[i, j]) + 1e-10)
"""
REBASED = """
def rebased(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    w[i, j] = (q[i, c] * k[j, c]) ** 2
    o[i, x] = sum[j <= i](w[i, j] * v[j, x]) / (sum[j <= i](w[i, j]) + 1e-6)
"""
BASED_SUM = """
def based(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    o[i, x] = sum[j <= i]((1 + s[i, j] + s[i, j] ** 2 / 2) * v[j, x])
"""


@dataclass(frozen=True)
class Case:
    """A function of theirs, and the program that it is: an example's name, or text.

    `tokens_first` is the layout [batch, tokens, heads, features]; else heads come before tokens. `others`
    are the inputs after queries, keys and values. Positive inputs keep sums that divide away from zero.
    """

    module: str
    function: str
    program: str
    others: tuple[str, ...] = ()
    tokens_first: bool = False
    n: int = 13
    positive: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.module}.{self.function}" + "".join(f"-{name}={value}" for name, value in self.options)


CASES = [
    Case("linear_attn", "naive_recurrent_linear_attn", "linear_attention", tokens_first=True),
    Case("linear_attn", "naive_chunk_linear_attn", "linear_attention", tokens_first=True, n=128),
    Case(
        "linear_attn", "naive_chunk_linear_attn", NORMALISED, tokens_first=True, n=128, positive=True,
        options=(("normalize", True),),
    ),
    Case("simple_gla", "naive_recurrent_simple_gla", "scalar_gated", ("g",), tokens_first=True),
    Case("simple_gla", "naive_chunk_simple_gla", "scalar_gated", ("g",), tokens_first=True, n=70),
    Case("simple_gla", "naive_parallel_simple_gla", "scalar_gated", ("g",), tokens_first=True),
    Case("gla", "naive_recurrent_gla", "gated", ("gk",), tokens_first=True),
    Case("retention", "naive_retention", "retention"),
    Case("delta_rule", "delta_rule_recurrence", "delta_rule", ("beta",)),
    Case("delta_rule", "delta_rule_chunkwise", "delta_rule", ("beta",), n=96),
    Case("delta_rule", "delta_rule_parallel", "delta_rule", ("beta",), n=128),
    Case(
        "gated_delta_rule", "naive_recurrent_gated_delta_rule", "gated_delta_rule", ("beta", "g"),
        tokens_first=True,
    ),
    Case(
        "gated_delta_rule", "naive_chunk_gated_delta_rule", "gated_delta_rule", ("beta", "g"),
        tokens_first=True, n=70,
    ),
    Case("based", "naive_parallel_based", "based"),
    Case("based", "naive_parallel_based", BASED_SUM, options=(("use_norm", False),)),
    Case("based", "naive_chunk_based", "based", n=256),
    Case("rebased", "naive_parallel_rebased", REBASED, positive=True),
    Case("rebased", "naive_parallel_rebased", "power", options=(("use_norm", False),)),
]  # fmt: skip


def inputs(case: Case) -> dict[str, Any]:
    """Inputs in the layout [batch, heads, tokens, features], by the names of their arguments."""
    generator = torch.Generator().manual_seed(case.n)

    def normal(*shape: int) -> Any:
        drawn = torch.randn(BATCH, HEADS, case.n, *shape, generator=generator)
        return drawn.abs() + 0.1 if case.positive else drawn

    keys = normal(D)
    found = {"q": normal(D), "k": keys / keys.norm(dim=-1, keepdim=True), "v": normal(E)}
    made = {
        "beta": lambda: torch.sigmoid(normal()),
        "g": lambda: torch.nn.functional.logsigmoid(normal() + 2),
        "gk": lambda: torch.nn.functional.logsigmoid(normal(D) + 2),
    }
    return found | {name: made[name]() for name in case.others}


def theirs(case: Case, given: dict[str, Any]) -> Any:
    """Their function, in their layout; some return a state or weights beside the output."""
    function = getattr(references.naive(case.module), case.function)
    if case.tokens_first:
        given = {name: tensor.transpose(1, 2) for name, tensor in given.items()}
    found = function(**given, **dict(case.options))
    output = found[0] if isinstance(found, tuple) else found
    return output.transpose(1, 2) if case.tokens_first else output


def ours(case: Case, form: str, given: dict[str, Any]) -> Any:
    """The program. Their functions divide queries by the root of their width; retention has its decays."""
    source = case.program if "\n" in case.program else EXAMPLES / f"{case.program}.tc"
    operator = tensorc.compile(source, backend="torch", form=form)
    q, *others = given.values()
    if case.module == "retention":
        others.append(1 - 2.0 ** (-5 - torch.arange(HEADS)))
    return operator(q * D**-0.5, *others)


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_naive_function_is_the_program(case: Case, form: str) -> None:
    given = {name: tensor.requires_grad_() for name, tensor in inputs(case).items()}
    expected, found = theirs(case, given), ours(case, form, given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    gradients = [torch.autograd.grad(o, list(given.values()), weights) for o in (found, expected)]
    for name, mine, their in zip(given, *gradients, strict=True):
        difference = float((mine - their).abs().max())
        assert difference <= 1e-5 * max(1.0, float(their.abs().max())), name
