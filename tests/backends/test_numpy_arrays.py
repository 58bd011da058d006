"""Arrays as users have them: strided, read-only, in other orders and dtypes, as lists; inputs stay as they
are, and nothing that comes back shares memory with them or with a state."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

import tensorc
from tests.backends.numpy_programs import (
    PROGRAMS,
    as_tuple,
    assert_close,
    forms_of,
    inputs_of,
    program,
)

SOME = (
    "linear_attention hla2 normalised gated retention delta_rule triple mpo alibi_window channels_first kept "
    "chosen ends with_total both_ways mixed_chain gated_recurrence grouped folds filter scalars weights"
).split()


@cache
def operator(name: str, form: str) -> tensorc.Operator:
    return tensorc.compile(program(name), form=form)


def definition(name: str, inputs: list[Any]) -> Any:
    return tensorc.compile(program(name), backend="reference")(*inputs)


def strided(array: np.ndarray) -> np.ndarray:
    """Every second element of a larger array."""
    if array.ndim == 0:
        return array
    large = np.full([2 * length + 1 for length in array.shape], 7, array.dtype)
    view = large[tuple(slice(1, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def reversed_twice(array: np.ndarray) -> np.ndarray:
    """Negative strides."""
    turn = tuple(slice(None, None, -1) for _ in array.shape)
    return np.ascontiguousarray(array[turn])[turn]


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def broadcast(array: np.ndarray) -> np.ndarray:
    """A leading dimension of stride 0."""
    return np.broadcast_to(array, (2, *array.shape))


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "negative strides": reversed_twice,
    "read-only": read_only,
    "stride 0": broadcast,
    "other byte order": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "unaligned": lambda array: (
        np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SOME)
def test_layouts(name: str, layout: str) -> None:
    plain = inputs_of(name, {"n": 19}, [(2,), ()])
    inputs = [LAYOUTS[layout](array) for array in plain]
    if layout == "stride 0":
        plain = [np.stack([array, array]) for array in plain]
    expected = definition(name, plain)
    for form in forms_of(name):
        assert_close(operator(name, form)(*inputs), expected, 1e-9)
        for before, after in zip(plain, inputs, strict=True):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", PROGRAMS)
def test_inputs_stay_and_outputs_are_new(name: str, dtype: Any) -> None:
    inputs = inputs_of(name, {"n": 5, "m": 5}, [(2,), (1,)], dtype)
    copies = [array.copy() for array in inputs]
    for form in forms_of(name):
        outputs = as_tuple(operator(name, form)(*inputs))
        for one, two in zip(inputs, copies, strict=True):
            np.testing.assert_array_equal(one, two)
        for k, output in enumerate(outputs):
            assert isinstance(output, np.ndarray) and output.flags.writeable
            assert not any(np.shares_memory(output, other) for other in (*inputs, *outputs[:k]))


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
def test_an_output_that_is_an_input_is_a_copy(form: str) -> None:
    f = tensorc.compile(
        "def f(x[n, d], y[n, d]) -> o[n, d], p[n, d], z[n, d]:\n"
        "    o[i, c] = x[i, c]\n    p[i, c] = x[i, c]\n    z[i, c] = sum[j <= i](y[j, c])",
        form=form,
    )
    x, y = np.ones((3, 2)), np.ones((3, 2))
    o, p, z = f(x, y)
    for array in (o, p, z):
        array += 1
    assert (x == 1).all() and (y == 1).all() and (o == 2).all() and (p == 2).all() and z[2, 0] == 4


def test_outputs_of_a_step_are_not_its_states() -> None:
    f = tensorc.compile(
        "def f(x[n, d]) -> before[n, d], after[n, d], same[n, d]:\n"
        "    before[i, c] = sum[j < i](x[j, c])\n    after[i, c] = sum[j <= i](x[j, c])\n"
        "    same[i, c] = x[i, c]"
    )
    x = np.ones(2)
    state = f.init_state(x)
    for t in range(3):
        outputs, state = f.step(state, x)
        for value, output in zip((t, t + 1, 1), outputs, strict=True):
            assert (output == value).all()
            output += 100
    assert (x == 1).all()


INTEGERS = [np.int8, np.int32, np.uint16, np.bool_]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", [name for name in SOME if name not in ("retention", "alibi_window")])
def test_integers_and_booleans_compute_in_float64(name: str, dtype: Any) -> None:
    """No floating input has an axis: the outputs are in float64, exact as long as that is."""
    inputs = [
        array if array.dtype.kind != "f" else np.abs(np.round(2 * array)).astype(dtype)
        for array in inputs_of(name, {"n": 7, "d": 2}, [(2,), ()])
    ]
    expected = definition(name, inputs)
    assert all(output.dtype == np.float64 for output in as_tuple(expected))
    if not all(np.isfinite(output).all() for output in as_tuple(expected)):
        inputs = [np.where(array == 0, 1, array).astype(array.dtype) for array in inputs]
        expected = definition(name, inputs)
    for form in forms_of(name):
        with np.errstate(all="ignore"):  # a gate of 7 a token overflows soon
            assert_close(operator(name, form)(*inputs), expected, 1e-9)


PROMOTIONS: list[tuple[list[Any], Any]] = [
    ([np.float32, np.float32, np.float32, np.float64], np.float32),  # scalars do not promote
    ([np.float32, np.float64, np.float32, np.float32], np.float64),
    ([np.float16, np.float16, np.float32, np.float64], np.float32),
    ([np.float16, np.float16, np.float16, np.float64], np.float16),
    ([np.int64, np.int64, np.float32, np.float64], np.float32),  # nor do integers
    ([np.int64, np.bool_, np.int8, np.float32], np.float64),
    ([np.longdouble, np.float32, np.float32, np.float32], np.longdouble),
]


@pytest.mark.parametrize(("dtypes", "wanted"), PROMOTIONS)
def test_the_dtype_of_the_output(dtypes: list[Any], wanted: Any) -> None:
    values = inputs_of("retention", {"n": 6, "d": 2, "e": 2})
    inputs = [np.asarray(2 * v).astype(dtype) for v, dtype in zip(values, dtypes, strict=True)]
    for form in ("parallel", "chunkwise", "recurrent", "auto"):
        assert operator("retention", form)(*inputs).dtype == wanted
    state = operator("retention", "auto").init_state(*(a[0] if a.ndim else a for a in inputs))
    row, _ = operator("retention", "auto").step(state, *(a[0] if a.ndim else a for a in inputs))
    assert row.dtype == wanted


def test_python_numbers_and_lists() -> None:
    q, k, v, gamma = inputs_of("retention", {"n": 6}, dtype=np.float32)
    for form in ("parallel", "chunkwise", "recurrent"):
        f = operator("retention", form)
        expected = f(q, k, v, np.float32(0.5))
        assert f(q, k, v, 0.5).dtype == np.float32
        np.testing.assert_array_equal(f(q, k, v, 0.5), expected)
        np.testing.assert_array_equal(f(q, k, v, Fraction(1, 2)), expected)
        np.testing.assert_allclose(f(q.tolist(), k.tolist(), v.tolist(), 0.5), expected, rtol=1e-5)
        np.testing.assert_array_equal(f(gamma=0.5, v=v, k=k, q=q), expected)


def test_exact_numbers_are_for_the_reference() -> None:
    f = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    thirds = [Fraction(1, 3)] * 3
    with pytest.raises(tensorc.BackendError, match="computes in floats.*backend='reference'"):
        f(thirds)
    exact = tensorc.compile(f.program, backend="reference")(thirds)
    assert exact.tolist() == [Fraction(1, 3), Fraction(2, 3), Fraction(1)]


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
def test_integers_are_compared_as_they_are(form: str) -> None:
    """2**53 and 2**53 + 1 are one number in float64."""
    text = "def f(x[n], id[n]) -> y[n]:  y[i] = sum[j <= i](where(id[j] == 9007199254740993, x[j], 0))"
    f = tensorc.compile(text, form=form)
    ids = np.array([9007199254740993, 9007199254740992, 9007199254740993])
    assert f(np.ones(3, np.float32), ids).tolist() == [1, 1, 2]
    state = tensorc.compile(f.program).init_state(np.float32(1), ids[0])
    y, state = tensorc.compile(f.program).step(state, np.float32(1), ids[1])
    assert y == 0


def test_subclasses_come_back_as_arrays() -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).view(np.recarray)
    f = tensorc.compile("def f(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])")
    assert type(f(x)) is np.ndarray and f(x).tolist() == [[1, 2], [4, 6]]


IDENTITIES = [
    "x[i, c] + 0 * i",
    "1 * x[i, c]",
    "-(-x[i, c])",
    "(-1) * (-x[i, c])",
    "where(d > 1, x[i, c], x[i, c])",
]


@pytest.mark.parametrize("body", IDENTITIES)
@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
def test_what_is_the_input_is_not_overwritten(body: str, form: str) -> None:
    f = tensorc.compile(
        f"def f(x[n, d], y[n, d]) -> o[n, d], p[n, d]:\n    a[i, c] = {body}\n"
        "    o[i, c] = a[i, c] * y[i, c]\n    p[i, c] = sum[j <= i](a[j, c]) + a[i, c]",
        form=form,
    )
    x, y = np.full((3, 2), 2.0), np.full((3, 2), 3.0)
    o, p = f(x, y)
    assert (x == 2).all() and (y == 3).all() and (o == 6).all() and p[:, 0].tolist() == [4, 6, 8]
    o += 1
    p += 1
    assert (x == 2).all() and f(x, y)[0][0, 0] == 6


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
def test_outputs_have_the_whole_batch(form: str) -> None:
    """Also those that depend on some inputs only, or on none; in steps too."""
    f = tensorc.compile(
        "def f(x[n], y[n, d]) -> o[n], p[n, d], q[n, d]:\n"
        "    o[i] = 2 * x[i]\n    p[i, c] = sum[j <= i](y[j, c])\n    q[i, c] = 3",
        form=form,
    )
    x, y = np.ones(4), np.ones((5, 4, 3))
    assert [a.shape for a in f(x, y)] == [(5, 4), (5, 4, 3), (5, 4, 3)]
    if form != "parallel":
        _, state = f.prefill(x, y)
        outputs, _ = f.step(state, x[0], y[:, 0])
        assert [a.shape for a in outputs] == [(5,), (5, 3), (5, 3)]
        assert [a.flat[0] for a in outputs] == [2, 5, 3] and all(a.flags.writeable for a in outputs)
