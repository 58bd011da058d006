"""The crossover benchmark: its yardstick is the operator, and its crossing is where two times are equal."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc
from benchmarks.crossover import blocked, crossing
from benchmarks.operators import EXAMPLES


@pytest.mark.parametrize("n", [1, 127, 128, 129, 300])
def test_the_blocked_form_is_the_operator(n: int) -> None:
    rng = np.random.default_rng(1)
    q, k, v = (rng.standard_normal((2, n, width), dtype=np.float32) / 4 for width in (16, 16, 8))
    wanted = tensorc.compile(EXAMPLES / "based.tc", backend="reference")(q, k, v)
    assert np.allclose(blocked(q, k, v), wanted, rtol=1e-4, atol=1e-5)


def test_the_crossing_lies_between_the_lengths_around_it() -> None:
    assert crossing([64, 128, 256], [4.0, 2.0, 0.5]) == pytest.approx(128 * 2**0.5)
    assert crossing([64, 128], [0.5, 0.25]) == 64
    assert crossing([64, 128], [4.0, 2.0]) == 128
