"""Binding: sizes, batch and dtypes of a call, and every way to get a call wrong."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorc.binding import bind, signature
from tensorc.errors import FormError, ShapeError, TensorcError
from tensorc.grammar import parse
from tensorc.ir import Program

LINEAR = """def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])"""
GROUPED = """def f(q[h * r, n, d], k[h, m, d]) -> o[h * r, n, m]:
    o[g, i, j] = q[g, i, c] * k[g // r, j, c]"""


def program(signature: str) -> Program:
    """A program with this signature and one output that does not matter."""
    return parse(f"def f({signature}) -> z[]:  z[] = 1")


def shapes(*each: tuple[int, ...], dtype: Any = float) -> list[Any]:
    return [np.zeros(shape, dtype) for shape in each]


# Sizes.


def test_plain_axes() -> None:
    bound = bind(parse(LINEAR), shapes((5, 2), (5, 2), (5, 3)))
    assert bound.sizes == {"n": 5, "d": 2, "e": 3}
    assert bound.batch == ()


@pytest.mark.parametrize(
    ("text", "given", "sizes", "expected"),
    [
        ("x[a * b], y[b]", [(6,), (2,)], None, {"a": 3, "b": 2}),
        ("x[a * b], y[b * c], w[c]", [(6,), (10,), (5,)], None, {"a": 3, "b": 2, "c": 5}),
        ("x[2 * a]", [(6,)], None, {"a": 3}),
        ("x[a * a]", [(9,)], None, {"a": 3}),
        ("x[a * b]", [(6,)], {"b": 2}, {"a": 3, "b": 2}),
        ("x[a * b], b=3", [(6,)], None, {"a": 2, "b": 3}),
        ("x[a * b], b=3", [(6,)], {"b": 1}, {"a": 6, "b": 1}),
        ("x[a * b], b=3", [(6,)], {"a": 1}, {"a": 1, "b": 6}),
        ("x[n], w=128", [(6,)], None, {"n": 6, "w": 128}),
        ("x[n], w=128", [(6,)], {"w": 4}, {"n": 6, "w": 4}),
        ("x[n], n=128", [(6,)], None, {"n": 6}),
        ("x[n], y[3]", [(6,), (3,)], {"n": 6}, {"n": 6}),
        ("x[a * b], y[b]", [(0,), (2,)], None, {"a": 0, "b": 2}),
        ("x[a * b], y[b]", [(0,), (0,)], {"a": 4}, {"a": 4, "b": 0}),
        ("x[n]", [(0,)], None, {"n": 0}),
        ("x[n]", [(6,)], {"n": np.int64(6)}, {"n": 6}),
    ],
)
def test_sizes(text: str, given: Any, sizes: Any, expected: dict[str, int]) -> None:
    assert bind(program(text), shapes(*given), sizes=sizes).sizes == expected


@pytest.mark.parametrize(
    ("text", "given", "sizes", "message"),
    [
        (
            "q[n, d], k[n, d]",
            [(2, 8, 128, 64), (2, 8, 128, 32)],
            None,
            "d is 64 in q (2, 8, 128, 64) but 32 in k",
        ),
        ("a[n, n]", [(3, 4)], None, "n is 3 in a (3, 4) but 4 in a (3, 4)."),
        ("x[n]", [(6,)], {"n": 7}, "n is 6 in x (6,) but 7 in sizes=."),
        (
            "x[a * b], y[b]",
            [(7,), (2,)],
            None,
            "axis 1 (a * b) of x (7,) is 7, not a multiple of b = 2 (b is 2 in y",
        ),
        (
            "x[a * b], y[a, b]",
            [(7,), (2, 3)],
            None,
            "axis 1 (a * b) of x (7,) is 7, not 6 (a is 2 in y (2, 3); b",
        ),
        ("x[3]", [(4,)], None, "axis 1 (3) of x (4,) is 4, not 3."),
        ("x[a * a]", [(8,)], None, "axis 1 (a * a) of x (8,) is 8, but no a gives that."),
        (
            "x[a * b], y[b]",
            [(6,), (0,)],
            None,
            "axis 1 (a * b) of x (6,) is 6, not a multiple of b = 0 (b is 0",
        ),
        (
            "x[a * b]",
            [(6,)],
            None,
            "axis 1 (a * b) of x (6,) alone does not tell a. Pass sizes={'a': ..., 'b': ...}",
        ),
        ("x[n, d]", [(6,)], None, "x has shape (6,), but x[n, d] has 2 axes."),
        ("x[n]", [()], None, "x has shape (), but x[n] has 1 axis."),
        ("x[n]", [(6,)], {"n": -1}, "The size n must be an integer from 0, not -1."),
        ("x[n]", [(6,)], {"n": 6.0}, "The size n must be an integer from 0, not 6.0."),
        ("x[n]", [(6,)], {"n": True}, "The size n must be an integer from 0, not True."),
        (
            "x[n, d], y[m, d]",
            [(2, 6, 3), (3, 6, 3)],
            None,
            "Leading 2 and 3 do not broadcast. Given: x (2, 6, 3), y (3",
        ),
    ],
)
def test_shape_errors(text: str, given: Any, sizes: Any, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        bind(program(text), shapes(*given), sizes=sizes)
    assert message in str(caught.value)


def test_a_size_without_a_value() -> None:
    text = parse("def f(x[n]) -> o[n, m]:  o[i, j] = x[i] * j")
    with pytest.raises(ShapeError, match="m is on no axis of an input. Pass sizes={'m': ...}, or declare"):
        bind(text, shapes((3,)))
    assert bind(text, shapes((3,)), sizes={"m": 2}).sizes == {"n": 3, "m": 2}


def test_unknown_sizes() -> None:
    with pytest.raises(TensorcError, match="sizes= has 'window', which is no size; did you mean windows?"):
        bind(program("x[n], windows=3"), shapes((3,)), sizes={"window": 3})


def test_grouped_heads_are_explained() -> None:
    with pytest.raises(ShapeError) as caught:
        bind(parse(LINEAR), shapes((8, 5, 2), (2, 5, 2), (2, 5, 3)))
    hint = "Leading 8 and 2 do not broadcast; grouped heads: q[g * r, n, d], k[g, n, d], k[h // r, j, c]."
    assert hint in str(caught.value)
    assert "Given: q (8, 5, 2), k (2, 5, 2)." in str(caught.value)
    assert bind(parse(GROUPED), shapes((3, 8, 5, 2), (2, 7, 2))).sizes["r"] == 4


# Leading dimensions and dtypes.


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.sampled_from([1, 2, 3]), max_size=3), min_size=2, max_size=3))
def test_leading_dimensions_broadcast_like_numpy(leading: list[list[int]]) -> None:
    text = program(", ".join(f"x{k}[n]" for k in range(len(leading))))
    given = shapes(*[(*lead, 4) for lead in leading])
    try:
        expected = np.broadcast_shapes(*map(tuple, leading))
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            bind(text, given)
    else:
        assert bind(text, given).batch == expected


def test_empty_batches() -> None:
    assert bind(program("x[n], y[n]"), shapes((0, 3), (1, 3))).batch == (0,)
    with pytest.raises(ShapeError, match="Leading 0 and 2 do not broadcast"):
        bind(program("x[n], y[n]"), shapes((0, 3), (2, 3)))


@pytest.mark.parametrize(
    ("dtypes", "dtype", "compute"),
    [
        (("f2", "f2"), "f2", "f4"),
        (("f2", "f4"), "f4", "f4"),
        (("f4", "f8"), "f8", "f8"),
        (("f4", "i8"), "f4", "f4"),
        (("i4", "?"), "f8", "f8"),
        (("u1", "f2"), "f2", "f4"),
        (("O", "f8"), "O", "O"),
        (("O", "i8"), "O", "O"),
        (("g", "f4"), "g", "g"),
    ],
)
def test_dtypes(dtypes: tuple[str, str], dtype: str, compute: str) -> None:
    bound = bind(program("x[n], y[n]"), [np.zeros(3, d) for d in dtypes])
    assert (bound.dtype, bound.compute) == (np.dtype(dtype), np.dtype(compute))


@pytest.mark.parametrize("scalar", [2, 0.5, True, Fraction(1, 2), np.float64(2), np.zeros(()), np.zeros(4)])
def test_scalars_never_promote(scalar: Any) -> None:
    bound = bind(program("x[n], g[]"), [np.zeros((4, 3), np.float32), scalar])
    assert bound.dtype == np.float32
    assert isinstance(bound.arrays["g"], np.ndarray)


def test_python_numbers_of_one_token_never_promote() -> None:
    text = program("x[n, d], beta[n]")
    token = np.zeros(3, np.float32)
    assert bind(text, [token, 0.5], without_axis="n").dtype == np.float32
    assert bind(text, [token, np.float64(0.5)], without_axis="n").dtype == np.float64


def test_arrays_are_passed_as_given() -> None:
    x = np.zeros(3, np.int8)
    assert bind(program("x[n]"), [x]).arrays["x"] is x
    assert bind(program("x[n]"), [[1, 2]]).arrays["x"].dtype.kind == "i"


class Foreign:
    """An array of another library, as far as binding looks."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.ndim, self.dtype = shape, len(shape), f"other.{dtype}"


def test_arrays_of_another_library() -> None:
    x, y = Foreign((2, 3), "float32"), Foreign((3,), "bfloat16")
    bound = bind(program("x[n], y[n]"), [x, y])
    assert bound.arrays["x"] is x
    assert (bound.batch, bound.sizes, bound.dtype) == ((2,), {"n": 3}, np.float32)


# Arguments.


def test_keywords() -> None:
    q, k, v = shapes((5, 2), (5, 2), (5, 3))
    assert bind(parse(LINEAR), [q], {"v": v, "k": k}).arrays == {"q": q, "k": k, "v": v}


@pytest.mark.parametrize(
    ("count", "keywords", "message"),
    [
        (2, {}, "f takes 3 inputs (q, k, v): v is missing."),
        (0, {"k": 1}, "f takes 3 inputs (q, k, v): q, v are missing."),
        (4, {}, "f takes 3 inputs (q, k, v), but 4 were given."),
        (3, {"key": 1}, "f has no input 'key'"),
        (2, {"vv": 1}, "f has no input 'vv'; did you mean v?"),
        (3, {"q": 1}, "f got q twice: by position and by name."),
        (3, {"d": 1}, "d is a size of f, not an input: pass sizes={'d': ...} when compiling."),
    ],
)
def test_argument_errors(count: int, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(TensorcError) as caught:
        bind(parse(LINEAR), shapes(*[(5, 2)] * count), keywords)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("text", "x must be an array or a number, not str."),
        (None, "x must be an array or a number, not NoneType."),
        (1j, "x must be an array or a number, not complex."),
        ([[1, 2], [3]], "x is not a rectangular array"),
        (["a", "b"], "x holds strings; inputs are floats, integers or booleans."),
        ([1j, 2], "x holds complex numbers"),
        (np.array(["2020-01-01"], "M8"), "x holds dates"),
        (np.zeros(3, [("a", int)]), "x holds elements of type [('a'"),
        (np.array([1, None]), "x holds NoneType objects; exact inputs are ints and Fractions."),
        (np.array([1, 1j], object), "x holds complex objects"),
        ({}, "x must be an array or a number, not dict."),
    ],
)
def test_what_is_no_array(value: Any, message: str) -> None:
    with pytest.raises(TensorcError) as caught:
        bind(program("x[n]"), [value])
    assert message in str(caught.value)


# One token.


def test_one_token() -> None:
    text = program("q[h, n, d], k[n, d], g[], w[d, e]")
    bound = bind(text, shapes((7, 2, 4), (4,), (), (4, 3)), without_axis="n")
    assert bound.sizes == {"h": 2, "d": 4, "e": 3}
    assert bound.batch == (7,)


def test_one_token_of_an_axis_that_is_there_twice() -> None:
    with pytest.raises(FormError, match="a has the axis n twice"):
        bind(program("a[n, n]"), shapes(()), without_axis="n")
    with pytest.raises(FormError, match=r"a has the axis 2 \* n"):
        bind(program("a[2 * n]"), shapes(()), without_axis="n")


def test_a_size_of_a_token_can_be_given() -> None:
    assert bind(program("x[n, d]"), shapes((3,)), sizes={"n": 9}, without_axis="n").sizes == {"d": 3, "n": 9}


# Preparation.


def test_signatures_are_prepared_once() -> None:
    text = parse(LINEAR)
    assert signature(text) is signature(text)
    assert signature(text) is not signature(text, "n")


def test_results_of_a_call_are_its_own() -> None:
    text, arrays = program("x[n]"), shapes((3,))
    bind(text, arrays).sizes["n"] = 7
    assert bind(text, arrays).sizes == {"n": 3}
    assert bind(text, shapes((4,))).sizes == {"n": 4}


def test_many_shapes_and_programs_are_forgotten() -> None:
    text = program("x[n]")
    for n in range(200):
        assert bind(text, shapes((n,))).sizes == {"n": n}
    for n in range(300):
        assert bind(program("x[n]"), shapes((n,))).sizes == {"n": n}


def test_binding_again_is_quick() -> None:
    prepared, arrays = signature(parse(LINEAR)), shapes((5, 2), (5, 2), (5, 3))
    times = []
    for _ in range(200):
        start = time.perf_counter()
        prepared.bind(arrays)
        times.append(time.perf_counter() - start)
    assert min(times) < 50e-6
