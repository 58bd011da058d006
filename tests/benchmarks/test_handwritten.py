"""The yardsticks compute what the programs of the catalogue define."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from benchmarks import folds, handwritten
from benchmarks.operators import BY_HAND

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HEADS, D, E = 2, 4, 3


def arrays(name: str, n: int) -> list[Any]:
    rng = np.random.default_rng(n)
    shapes = [(HEADS, n, D), (HEADS, n, D), (HEADS, n, E)]
    found = [rng.standard_normal(shape) for shape in shapes]
    if name == "delta_rule":
        found.append(rng.random((HEADS, n)))
    if name == "scalar_gated":
        found.append(-rng.exponential(0.5, (HEADS, n)))
    return found


def definition(name: str, inputs: list[Any]) -> Any:
    return tensorc.compile(EXAMPLES / f"{name}.tc", backend="reference")(*inputs)


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("n", [0, 1, 5, 8, 13])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_chunk_loops_equal_the_definition(name: str, n: int, chunk: int) -> None:
    inputs = arrays(name, n)
    found = BY_HAND[name](*inputs, chunk=chunk)
    np.testing.assert_allclose(found, definition(name, inputs), rtol=1e-10, atol=1e-10)


def test_the_quadratic_form_equals_the_definition() -> None:
    inputs = arrays("linear_attention", 9)
    expected = definition("linear_attention", inputs)
    np.testing.assert_allclose(handwritten.quadratic(*inputs), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("heads", [(), (HEADS,)])
@pytest.mark.parametrize("name", ["linear_attention", "hla2"])
def test_steps_equal_the_definition(name: str, heads: tuple[int, ...]) -> None:
    inputs = [x if heads else x[0] for x in arrays(name, 7)]
    S, M = np.zeros((*heads, D, E)), np.zeros((*heads, D, D))
    rows = []
    for i in range(7):
        token = [x[..., i, :] for x in inputs]
        if name == "linear_attention":
            row, S = handwritten.linear_attention_step(S, *token)
        else:
            row, (M, S) = handwritten.hla2_step((M, S), *token)
        rows.append(row)
    expected = definition(name, inputs)
    np.testing.assert_allclose(np.stack(rows, axis=-2), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("lead", [(), (HEADS,)])
@pytest.mark.parametrize(("n", "rows", "columns"), [(0, 4, 4), (1, 4, 8), (9, 4, 3), (13, 5, 4), (16, 8, 8)])
def test_blocks_of_softmax_equal_the_definition(
    lead: tuple[int, ...], n: int, rows: int, columns: int
) -> None:
    rng = np.random.default_rng(n)
    q, k, v = (rng.standard_normal((*lead, n, width)) for width in (D, D, E))
    expected = tensorc.compile(folds.PROGRAM, backend="reference")(q, k, v)
    found = handwritten.causal_softmax(q, k, v, rows, columns)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
