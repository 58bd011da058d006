"""Exact numbers, and the random inputs that are drawn for a program."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorc.backends.reference import evaluate
from tensorc.errors import TensorcError
from tensorc.exact import (
    FLOAT,
    RATIONAL,
    Exact,
    ResampleNeeded,
    RescaleNeeded,
    as_exact,
    random_inputs,
    rescaled,
    same,
)
from tensorc.grammar import parse
from tensorc.ir import FUNCTIONS
from tensorc.sampling import roles

INF, NAN = math.inf, math.nan
HALF = Fraction(1, 2)
rationals = st.fractions(min_value=-20, max_value=20, max_denominator=12)
ALL = np.ones((), bool)


def items(*values: Any) -> Any:
    """An exact array of the values."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def exact(*values: Any) -> Any:
    return as_exact(items(*values))


# Rational arithmetic.


@given(rationals, rationals)
def test_rational_operations_equal_fractions(a: Fraction, b: Fraction) -> None:
    x, y = exact(a), exact(b)
    assert RATIONAL.add(x, y)[0] == a + b
    assert RATIONAL.multiply(x, y)[0] == a * b
    assert RATIONAL.negative(x)[0] == -a
    assert RATIONAL.apply("maximum", x, y)[0] == max(a, b)
    assert RATIONAL.apply("minimum", x, y)[0] == min(a, b)
    assert RATIONAL.apply("abs", x)[0] == abs(a)
    assert RATIONAL.apply("sign", x)[0] == (a > 0) - (a < 0)
    assert RATIONAL.apply("relu", x)[0] == max(a, 0)
    if b:
        assert RATIONAL.divide(x, y)[0] == a / b
        assert RATIONAL.floor_divide(x, y)[0] == a // b
        assert RATIONAL.remainder(x, y)[0] == a % b
    else:
        for operation in (RATIONAL.divide, RATIONAL.floor_divide, RATIONAL.remainder):
            assert math.isnan(operation(x, y)[0])


@given(rationals, st.integers(-6, 6))
def test_integer_powers(base: Fraction, exponent: int) -> None:
    result = RATIONAL.power(exact(base), exact(exponent))[0]
    assert result == base**exponent if base or exponent >= 0 else math.isnan(result)


@pytest.mark.parametrize("base", [0, 1, -1])
def test_powers_of_units_are_quick(base: int) -> None:
    results = RATIONAL.power(exact(base, base), exact(10**50, 10**50 + 1))
    assert list(results) == [abs(base), base]


def test_numbers_too_long_are_undefined() -> None:
    assert math.isnan(RATIONAL.power(exact(3), exact(10**12))[0])
    assert math.isnan(RATIONAL.power(exact(HALF), exact(-(10**12)))[0])
    assert math.isnan(Exact(0).apply("exp", exact(10**12))[0])


def test_what_may_be_too_long_is_never_kept_as_undefined() -> None:
    for numbers in (Exact(0, undefined="keep"), Exact(0, undefined="keep")):
        assert numbers.settle(numbers.divide(exact(0), exact(0))).size == 1
    with pytest.raises(ResampleNeeded):
        numbers.settle(numbers.apply("exp", exact(10**6)))
    numbers = Exact(0, undefined="keep")
    with pytest.raises(ResampleNeeded):
        numbers.settle(numbers.power(exact(3), exact(10**6)))


def test_maps_of_long_numbers() -> None:
    values = Exact(0).apply("tanh", exact(10**6000, Fraction(1, 10**6000), INF, 10**6000))
    assert values[0] == values[3] and all(type(v) is int for v in values)


def test_elements_are_python_numbers() -> None:
    for values in ([1, 2], [True], [0.5, 2], np.array([3], np.uint64), np.array([0.25], np.float32)):
        array = np.array(values)
        assert all(type(x) in (int, Fraction) for x in as_exact(array).flat)
    assert all(type(x) is int for x in RATIONAL.divide(exact(6, 4), exact(3, 2)))
    assert type(RATIONAL.multiply(exact(HALF).reshape(()), exact(2).reshape(()))) is np.ndarray
    assert as_exact([0.1])[0] == Fraction(0.1)
    assert list(as_exact([np.inf, 1])) == [INF, 1]


# Infinities and what is undefined.


def test_infinities_beside_long_numbers() -> None:
    long = 10**400
    assert list(RATIONAL.add(exact(long, long, -INF), exact(-INF, NAN, INF)))[0] == -INF
    assert RATIONAL.multiply(exact(long, Fraction(1, long)), exact(-INF, INF)).tolist() == [-INF, INF]
    assert math.isnan(RATIONAL.multiply(exact(0), exact(INF))[0])
    assert RATIONAL.divide(exact(long, INF), exact(INF, -long)).tolist() == [0, -INF]
    assert RATIONAL.reduce("sum", exact(long, -INF, 1), ALL, (0,))[()] == -INF
    assert RATIONAL.reduce("max", exact(long, INF, -INF), ALL, (0,))[()] == INF
    assert RATIONAL.power(exact(-INF, -INF, INF), exact(2, 3, -1)).tolist() == [INF, -INF, 0]


def test_undefined_spreads() -> None:
    one, nan = exact(1), exact(NAN)
    for op in (RATIONAL.add, RATIONAL.multiply, RATIONAL.divide, RATIONAL.power):
        assert math.isnan(op(nan, one)[0])
    for function in ("maximum", "minimum"):
        assert math.isnan(RATIONAL.apply(function, one, nan)[0])
        assert math.isnan(RATIONAL.apply(function, nan, one)[0])
    assert math.isnan(Exact(0).apply("tanh", nan)[0])
    assert math.isnan(RATIONAL.reduce("max", exact(1, NAN, 2), ALL, (0,))[()])


def test_settle() -> None:
    fine, bad = exact(1, INF), exact(1, NAN)
    assert Exact(0).settle(fine) is fine
    with pytest.raises(ResampleNeeded):
        Exact(0).settle(bad)
    assert Exact(0, undefined="keep").settle(bad) is bad
    assert same(bad, bad).all() and not same(fine, bad).all()
    assert FLOAT.settle(np.array([NAN])).size == 1
    assert not RATIONAL.finite(fine) and RATIONAL.finite(exact(1, HALF))


# Functions.


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - "exp abs sign relu maximum minimum".split()))
def test_functions_are_fixed_random_maps(name: str) -> None:
    x = exact(*range(-30, 31), HALF, Fraction(-7, 3))
    values = Exact(5).apply(name, x)
    assert (values == Exact(5).apply(name, x)).all()
    assert (values != Exact(6).apply(name, x)).any()
    other = "tanh" if name != "tanh" else "cos"
    assert (values != Exact(5).apply(other, x)).any()
    assert len(set(values)) > 5
    assert all(v != 0 and type(v) is int for v in values if v != -INF)
    assert Exact(5).apply(name, exact(Fraction(4, 2)))[0] == Exact(5).apply(name, exact(2))[0]


def test_real_powers_are_random_maps() -> None:
    x = exact(2, 3)
    assert (Exact(1).power(x, exact(HALF)) == Exact(1).power(x, exact(HALF))).all()
    assert Exact(1).power(x, exact(HALF)).dtype == object


def test_rational_numbers_have_no_functions() -> None:
    for name in ("exp", "tanh", "log", "sqrt"):
        with pytest.raises(TensorcError, match=f"{name} has no exact value"):
            RATIONAL.apply(name, exact(2))


@settings(deadline=None)
@given(st.lists(st.fractions(-5, 5, max_denominator=6), min_size=2, max_size=4))
def test_exp_of_a_sum_is_the_product(values: list[Fraction]) -> None:
    def check(numbers: Exact) -> None:
        total = numbers.apply("exp", exact(sum(values)))[0]
        assert total == math.prod(numbers.apply("exp", exact(*values)))
        assert numbers.apply("exp", exact(-values[0]))[0] * numbers.apply("exp", exact(values[0]))[0] == 1

    rescaled(check, 0, undefined="keep")


def test_exp_asks_for_its_scale() -> None:
    with pytest.raises(RescaleNeeded) as caught:
        Exact(0, scale=5).apply("exp", exact(HALF, Fraction(1, 3), 1))
    assert caught.value.denominator == 30
    powers = Exact(0, scale=30).apply("exp", exact(HALF, -1, -INF, INF))
    assert powers.tolist() == [2**15, Fraction(1, 2**30), 0, INF]


def test_a_scale_that_keeps_growing() -> None:
    count = iter(range(2, 100))

    def never(numbers: Exact) -> None:
        numbers.apply("exp", exact(Fraction(1, 3 ** next(count))))

    with pytest.raises(ResampleNeeded, match="no common denominator"):
        rescaled(never, 0)


# Reductions.


@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "mean"])
@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 0, 2), (0, 4, 2), (1, 1, 1)])
@pytest.mark.parametrize("axes", [(1,), (0, 2), (0, 1, 2), (2, 1)])
def test_reductions_agree_with_floats(op: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.integers(-3, 4, shape), rng.random(shape) < 0.7
    with np.errstate(all="ignore"):
        expected = FLOAT.reduce(op, values.astype(float), mask, axes)
    result = RATIONAL.reduce(op, as_exact(values), mask, axes)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.astype(float), expected)


def test_softmax_is_rational_and_sums_to_one() -> None:
    scores, mask = exact(1, 2, 3, 4, 5, 6).reshape(2, 3), np.array([[True, False, True], [False] * 3])
    p = Exact(0).softmax(scores, mask, (1,))
    assert p.tolist() == [[Fraction(1, 5), 0, Fraction(4, 5)], [0, 0, 0]]
    assert Exact(0).softmax(scores, np.ones((2, 3), bool), (0, 1)).sum() == 1


def test_softmax_by_blocks_equals_softmax() -> None:
    """(max, sum) carried over two blocks, as a streamed softmax does."""
    numbers, scores, values = Exact(0), exact(3, -1, 4, 1, -5), exact(2, 7, 1, 8, 2)
    top, total, output = -INF, 0, 0
    for block in (slice(0, 2), slice(2, 5)):
        new = max([top, *scores[block]])
        scale = numbers.apply("exp", exact(top - new))[0]
        powers = numbers.apply("exp", scores[block] - new)
        total = total * scale + powers.sum()
        output = output * scale + (powers * values[block]).sum()
        top = new
    whole = numbers.softmax(scores, np.ones(5, bool), (0,))
    assert Fraction(output) / total == (whole * values).sum()
    lse = numbers.reduce("logsumexp", scores, ALL, (0,))[()]
    assert lse == numbers.apply("log", exact(total * numbers.apply("exp", exact(top))[0]))[0]


def test_logsumexp_of_nothing() -> None:
    assert Exact(0).reduce("logsumexp", exact(1, 2), np.zeros(2, bool), (0,))[()] == -INF
    assert Exact(0).reduce("logsumexp", exact(-INF, -INF), ALL, (0,))[()] == -INF
    assert Exact(0).apply("log", exact(0))[0] == -INF
    assert Exact(0).apply("exp", exact(-INF))[0] == 0


# Programs.


def test_zero_denominators_are_resampled() -> None:
    program = parse("def f(x[n]) -> o[n]:  o[i] = 1 / x[i]")
    inputs = {"x": exact(1, 0)}
    with pytest.raises(ResampleNeeded):
        evaluate(program, inputs, {"n": 2}, Exact(0))
    kept = evaluate(program, inputs, {"n": 2}, Exact(0, undefined="keep"))["o"]
    assert kept[0] == 1 and math.isnan(kept[1])


def test_what_is_masked_needs_no_resampling() -> None:
    text = "o[i] = sum[j, x[j] != 0](1 / x[j]) + where(x[i] == 0, 0, 1 / x[i])"
    program = parse("def f(x[n]) -> o[n]:  " + text)
    assert evaluate(program, {"x": exact(0, 2)}, {"n": 2}, Exact(0))["o"].tolist() == [HALF, 1]


def test_scale_is_found_for_a_program() -> None:
    program = parse("def f(x[n]) -> p[n, n]:  p[i, j] = softmax[j](x[i] * x[j] / 6 + x[j] / 5)")
    result = rescaled(lambda numbers: evaluate(program, {"x": exact(1, 2)}, {"n": 2}, numbers), 0)["p"]
    assert result[0].sum() == 1 and result[0, 0] == 1 / (1 + Fraction(2) ** (5 + 6))


# Random inputs.

ROLES = {
    "def f(x[n]) -> o[n]:  o[i] = x[i] * 2": {"x": "value"},
    "def f(g[n]) -> o[n]:  o[i] = exp(sum[j <= i](g[j]))": {"g": "log"},
    "def f(g[n]) -> o[n]:  o[i] = exp(g[i] - g[i - 1]) * g[i]": {"g": "value"},
    "def f(a[n]) -> o[n]:  o[i] = prod[j <= i](a[j])": {"a": "gate"},
    "def f(a[]) -> o[n, n]:  o[i, j] = a ** (i - j)": {"a": "gate"},
    "def f(a[n]) -> o[n]:  o[i] = a[i] ** 2": {"a": "value"},
    "def f(s[n], x[n]) -> o[n]:  o[i] = sum[s[i] == s[j]](x[j])": {"s": "segment", "x": "value"},
    "def f(m[n], x[n]) -> o[n]:  o[i] = where(m[i], x[i], 0)": {"m": "flag", "x": "value"},
    "def f(t[n], x[n]) -> o[n]:  o[i] = sum[t[j] < t[i]](x[j])": {"t": "data", "x": "value"},
    "def f(x[n]) -> o[n]:  o[i] = sum[x[j] < x[i]](x[j])": {"x": "value"},
    "def f(q[n, d], k[n, d]) -> o[n, n]:  o[i, j] = exp(q[i, c] * k[j, c])": {"q": "value", "k": "value"},
}


@pytest.mark.parametrize("text", ROLES)
def test_roles(text: str) -> None:
    found = roles(parse(text))
    assert {name: role for name, (role, _) in found.items()} == ROLES[text]


def test_inputs_have_shapes_batch_and_variety() -> None:
    text = """def f(x[n, d], g[n], a[n], s[h, n], m[n], y[]) -> o[n]:
        o[i] = sum[s[t, i] == s[t, j], m[j] != 0](x[j, c] * y * exp(g[i]) * prod[u <= i](a[u]))"""
    text = text.replace("o[i] = sum[", "o[i] = sum[t, c, ")
    program = parse(text)
    inputs = random_inputs(program, {"n": 40, "d": 3, "h": 2}, np.random.default_rng(0), batch=(2,))
    assert {name: array.shape for name, array in inputs.items()} == {
        "x": (2, 40, 3), "g": (2, 40), "a": (2, 40), "s": (2, 2, 40), "m": (2, 40), "y": (2,),
    }  # fmt: skip
    assert {-3, 0, 3} <= set(inputs["x"].flat) and max(inputs["x"].flat) == 3
    assert 0 in inputs["g"] and min(inputs["g"].flat) < 0
    assert {0, -1, HALF} <= set(inputs["a"].flat)
    assert inputs["s"].dtype == np.int64 and np.ptp(inputs["s"]) > 2
    assert (np.diff(inputs["s"], axis=-1) >= 0).all()
    assert inputs["m"].dtype == bool
    assert all(type(x) in (int, Fraction) for name in "xgay" for x in inputs[name].flat)


def test_inputs_are_reproducible_and_may_be_empty() -> None:
    program = parse("def f(x[n, d]) -> o[n]:  o[i] = sum[c](x[i, c])")
    draw = [random_inputs(program, {"n": 3, "d": 2}, np.random.default_rng(4))["x"] for _ in range(2)]
    assert (draw[0] == draw[1]).all()
    assert random_inputs(program, {"n": 0, "d": 2}, np.random.default_rng(4))["x"].shape == (0, 2)
