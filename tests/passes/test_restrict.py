"""Programs for some of their outputs."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc
from tensorc.passes.restrict import restricted
from tests.backends.numpy_programs import CATALOGUE


def test_what_nothing_needs_is_left_out() -> None:
    program = tensorc.parse("""
def f(x[n], a[n]) -> y[n], z[n], t[]:
    h[i] = x[i] ** 2
    g[i] = a[i] ** 3
    y[i] = sum[j <= i](h[j])
    z[i] = y[i] * g[i]
    t[] = sum[i](z[i])
""")
    one, two = restricted(program, ["y"]), restricted(program, ["t"])
    assert [e.target for e in one.equations] == ["h", "y"] and [t.name for t in one.locals] == ["h"]
    assert [t.name for t in two.locals] == ["h", "g", "y", "z"] and two.inputs == program.inputs
    assert restricted(program, ["y", "z", "t"]) is program
    x, a = np.arange(4.0), np.arange(4.0) + 1
    y, z, t = tensorc.compile(program)(x, a)
    assert np.allclose(tensorc.compile(one)(x, a), y) and np.allclose(tensorc.compile(two)(x, a), t)


@pytest.mark.parametrize("name", CATALOGUE)
def test_gradients_by_one_input_print_and_parse(name: str) -> None:
    gradient = tensorc.grad(CATALOGUE[name])
    for output in gradient.outputs:
        one = restricted(gradient, [output.name])
        assert tensorc.parse(str(one)) == one
