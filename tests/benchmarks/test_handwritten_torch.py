"""The yardsticks of the torch backend compute what the programs of the catalogue define."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.benchmarks.test_handwritten import HEADS, D, E, arrays, definition

torch = pytest.importorskip("torch")

from benchmarks import handwritten_torch, speed_torch  # noqa: E402


def tensors(name: str, n: int) -> list[Any]:
    return [torch.from_numpy(array) for array in arrays(name, n)]


@pytest.mark.parametrize("name", speed_torch.NAMES)
@pytest.mark.parametrize("n", [0, 1, 5, 13])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_chunk_loops_equal_the_definition(name: str, n: int, chunk: int) -> None:
    found = getattr(handwritten_torch, name)(*tensors(name, n), chunk=chunk)
    expected = definition(name, arrays(name, n))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["linear_attention", "hla2"])
def test_steps_equal_the_definition(name: str) -> None:
    inputs = tensors(name, 7)
    S, M = torch.zeros(HEADS, D, E, dtype=torch.float64), torch.zeros(HEADS, D, D, dtype=torch.float64)
    rows = []
    for i in range(7):
        token = [x[:, i] for x in inputs]
        if name == "linear_attention":
            row, S = handwritten_torch.linear_attention_step(S, *token)
        else:
            row, (M, S) = handwritten_torch.hla2_step((M, S), *token)
        rows.append(row)
    expected = definition(name, arrays(name, 7))
    np.testing.assert_allclose(torch.stack(rows, 1).numpy(), expected, rtol=1e-9, atol=1e-9)
