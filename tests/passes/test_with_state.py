"""States as tensors of a program: they are those of the operator, and gradients go through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc.backends.reference import run
from tensorc.gradient import grad, with_state
from tensorc.ir import TensorDecl
from tests.gradients import assert_gradient

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"d": 2, "e": 3, "n": 9, "t": 3, "w": 3}
NAMES = """linear_attention scalar_gated gated retention normalised hla2 hla3 delta_rule gated_delta_rule
    tensor_interaction triple hgrn hgrn2 rwkv6 short_convolution mamba2""".split()

MORE = {
    "product_gates": """
def product_gates(q[n, d], k[n, d], v[n, e], a[n]) -> o[n, e]:
    o[i, x] = sum[j < i](prod[j < u <= i](a[u]) * q[i, c] * k[j, c] * v[j, x])
""",
    "exclusive": """
def exclusive(q[n, d], k[n, d], v[n, e], a[n, d], g[n], b[]) -> o[n, e]:
    o[i, x] = sum[j < i](prod[j < u < i](a[u, c]) * exp(sum[j < u < i](g[u])) * q[i, c] * k[j, c] * v[j, x])
        + sum[j < i](b ** (i - j - 1) * v[j, x])
""",
    "shifts": """
def shifts(x[n, d], w[t, d]) -> y[n, d], z[n, d]:
    y[i, c] = silu(sum[a](w[a, c] * x[i - a, c])) + x[i - 2, c]
    z[i, c] = y[i, c] + x[i, c]
""",
    "recurrence": """
def recurrence(x[n, d], W[d, d]) -> h[n, d]:
    h[i, c] = tanh(W[c, b] * h[i - 1, b] + x[i, c])
""",
}


def text(name: str) -> str:
    """A program of the catalogue or of this file."""
    if name in MORE:
        return MORE[name].replace(")\n        +", ") +")
    return (ROOT / "examples" / f"{name}.tc").read_text()


def arrays(decls: tuple[TensorDecl, ...], sizes: dict[str, int], seed: int = 0) -> list[Any]:
    """Random arrays for tensors."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=[a.value(sizes) for a in d.axes]) / 2 for d in decls]


def rows(call: Any, inputs: list[Any], start: int, stop: int) -> list[Any]:
    """A piece of the sequence."""
    cut = []
    for x, decl in zip(inputs, call.program.inputs, strict=True):
        axis = decl.axes.index(call.time) if call.time in decl.axes else None
        cut.append(x if axis is None else np.take(x, range(start, stop), axis=axis))
    return cut


def several(found: Any) -> list[Any]:
    """Outputs as a list."""
    return list(found) if isinstance(found, tuple) else [found]


def sizes_of(program: tensorc.Program) -> dict[str, int]:
    """Small sizes for a program."""
    return {n: SIZES.get(n, 2) for n in program.sizes()}


@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_the_states_are_those_of_the_operator(name: str) -> None:
    call = tensorc.compile(text(name))
    sizes = sizes_of(call.program)
    stateful = with_state(text(name), sizes=sizes)
    assert tensorc.parse(str(stateful)) == stateful
    inputs = arrays(call.program.inputs, sizes)
    _, state = call.prefill(*rows(call, inputs, 0, 4))
    for stop in (9, 5, 4):  # five tokens, one, none
        piece = rows(call, inputs, 4, stop)
        outputs, after = call.prefill(*piece, state=state)
        found = several(run(stateful, *piece, *state.tensors))
        for a, b in zip(found, [*several(outputs), *after.tensors], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["gated", "retention", "delta_rule", "hgrn2", *MORE])
def test_gradients_with_states(name: str) -> None:
    gradient = assert_gradient(with_state(text(name), sizes=sizes_of(tensorc.parse(text(name)))), (3, 1))
    states = [t.name for t in gradient.inputs if t.name.startswith("state_")]
    assert {f"grad_{s}" for s in states} <= {t.name for t in gradient.outputs}


@pytest.mark.parametrize("name", NAMES)
def test_their_gradients_are_chunkwise(name: str) -> None:
    tensorc.compile(grad(with_state(text(name))), form="chunkwise")


@pytest.mark.parametrize("name", ["scalar_gated", "delta_rule", "hla2"])
def test_truncated_backpropagation_adds_up(name: str) -> None:
    """The gradient of a sequence is that of its pieces, from the last one on, states carried along."""
    call = tensorc.compile(text(name))
    sizes = sizes_of(call.program)
    inputs = arrays(call.program.inputs, sizes)
    (weights,) = arrays(call.program.outputs, sizes, 1)
    whole = several(run(grad(call.program), *inputs, weights))
    backward = tensorc.compile(grad(with_state(call.program, sizes=sizes)))
    _, state = call.prefill(*rows(call, inputs, 0, 4))
    start = [np.zeros_like(t) for t in state.tensors]
    later = several(backward(*rows(call, inputs, 4, 9), *state.tensors, weights[4:], *start))
    count = len(call.program.inputs)
    earlier = several(backward(*rows(call, inputs, 0, 4), *start, weights[:4], *later[count:]))
    for full, a, b in zip(whole, earlier[:count], later[:count], strict=True):
        np.testing.assert_allclose(full, np.concatenate([a, b]), rtol=1e-9, atol=1e-12)


def test_what_has_no_state_tensor_is_refused() -> None:
    with pytest.raises(tensorc.FormError, match="a state grows"):
        with_state(ROOT / "examples" / "alibi.tc")
    with pytest.raises(tensorc.FormError, match="position is a number"):
        with_state("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j] * (j + 1))")
    with pytest.raises(tensorc.FormError, match="no time axis"):
        with_state("def f(x[n]) -> y[n]:  y[i] = x[i] ** 2")
    with pytest.raises(tensorc.FormError, match="No recurrent form"):
        with_state("def f(x[n]) -> y[n]:  y[i] = sum[j >= i](x[j])")
