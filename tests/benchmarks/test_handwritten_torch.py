"""The yardsticks of the torch backend compute what the programs of the catalogue define."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import tensorc
from tests.benchmarks.test_handwritten import EXAMPLES, HEADS, D, E, arrays, definition

torch = pytest.importorskip("torch")

from benchmarks import handwritten_autograd, handwritten_torch, references  # noqa: E402
from benchmarks.operators_torch import NAIVE, NAMES, own_chunk, trained  # noqa: E402


def tensors(name: str, n: int) -> list[Any]:
    return [torch.from_numpy(array) for array in arrays(name, n)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1, 5, 13])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_chunk_loops_equal_the_definition(name: str, n: int, chunk: int) -> None:
    found = getattr(handwritten_torch, name)(*tensors(name, n), chunk=chunk)
    expected = definition(name, arrays(name, n))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 5, 13])
def test_autograd_goes_through_the_loops(name: str, n: int) -> None:
    """Values by the definition, gradients as those through the parallel form of the program."""
    given = [t.requires_grad_() for t in tensors(name, n)]
    weights = torch.randn(given[2].shape, dtype=torch.float64)
    program = tensorc.compile(EXAMPLES / f"{name}.tc", backend="torch", form="parallel")
    expected = trained(program, given, weights)()
    by_hand = partial(getattr(handwritten_autograd, name), chunk=4)
    np.testing.assert_allclose(
        by_hand(*given).detach(), definition(name, arrays(name, n)), rtol=1e-9, atol=1e-9
    )
    found = trained(by_hand, given, weights)()
    for mine, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.skipif(not references.installed(), reason="flash-linear-attention is not installed")
@pytest.mark.parametrize("name", NAIVE)
def test_naive_functions_equal_the_definition(name: str) -> None:
    found = NAIVE[name](*(t.float() for t in tensors(name, 64)))
    expected = definition(name, arrays(name, 64))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_steps_equal_the_definition(name: str) -> None:
    inputs = tensors(name, 7)
    S, M = torch.zeros(HEADS, D, E, dtype=torch.float64), torch.zeros(HEADS, D, D, dtype=torch.float64)
    state: Any = (M, S) if name == "hla2" else S
    rows = []
    for i in range(7):
        row, state = getattr(handwritten_torch, f"{name}_step")(state, *(x[:, i] for x in inputs))
        rows.append(row)
    expected = definition(name, arrays(name, 7))
    np.testing.assert_allclose(torch.stack(rows, 1).numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_chunk_of_the_generated_source(name: str) -> None:
    assert 8 <= own_chunk(name) <= 1024
