"""prefill, step, init_state and state=: in any combination the whole call."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc.state import State
from tests.backends.numpy_programs import PROGRAMS, as_tuple, assert_close, forms_of, inputs_of, program

STREAMS = [name for name in PROGRAMS if "recurrent" in forms_of(name)]
FEW = ["linear_attention", "hla2", "normalised", "gated", "retention", "delta_rule", "ends", "kept", "chosen"]
N = 13


@cache
def operator(name: str, form: str = "auto") -> tensorc.Operator:
    return tensorc.compile(program(name), form=form)


def time_axis(axes: Any) -> int | None:
    """Where the time axis n is, from the end."""
    return next((k - len(axes) for k, axis in enumerate(axes) if str(axis) == "n"), None)


def cut(name: str, arrays: Any, where: slice | int, outputs: bool = False) -> list[np.ndarray]:
    """Part of the sequence of every input (or output) that has the time axis."""
    declared = program(name).outputs if outputs else program(name).inputs
    parts = []
    for tensor, array in zip(declared, arrays, strict=True):
        axis = time_axis(tensor.axes)
        parts.append(array if axis is None else array[(..., where, *[slice(None)] * (-axis - 1))])
    return parts


def definition(name: str, inputs: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    return as_tuple(tensorc.compile(program(name), backend="reference")(*inputs))


def assert_part(name: str, found: Any, expected: Any, where: slice | int, tolerance: float = 1e-9) -> None:
    assert_close(as_tuple(found), tuple(cut(name, expected, where, outputs=True)), tolerance)


@pytest.mark.parametrize("batches", [[()], [(2, 3), (3,), (2, 1)], [(), (2,)]], ids=str)
@pytest.mark.parametrize("name", STREAMS)
def test_a_sequence_in_pieces(name: str, batches: list[tuple[int, ...]]) -> None:
    """prefill, prefill with a state, a call with a state, steps, prefill again."""
    inputs = inputs_of(name, {"n": N}, batches)
    expected = definition(name, inputs)
    f = operator(name)
    outputs, state = f.prefill(*cut(name, inputs, slice(0, 5)))
    assert_part(name, outputs, expected, slice(0, 5))
    outputs, state = f.prefill(*cut(name, inputs, slice(5, 8)), state=state)
    assert_part(name, outputs, expected, slice(5, 8))
    assert_part(name, f(*cut(name, inputs, slice(8, N)), state=state), expected, slice(8, N))
    for i in range(8, 11):
        assert state.position == i
        outputs, state = f.step(state, *cut(name, inputs, i))
        assert_part(name, outputs, expected, i)
    outputs, state = f.prefill(*cut(name, inputs, slice(11, N)), state=state)
    assert_part(name, outputs, expected, slice(11, N))
    assert state.position == N


@pytest.mark.parametrize("name", STREAMS)
def test_tokens_from_the_start(name: str) -> None:
    inputs = inputs_of(name, {"n": 6}, [(2,), ()])
    expected = definition(name, inputs)
    f = operator(name)
    state = f.init_state(*cut(name, inputs, 0))
    assert state.position == 0 and all((t == 0).all() for t in state.tensors)
    for i in range(6):
        outputs, state = f.step(state, *cut(name, inputs, i))
        assert_part(name, outputs, expected, i)
    _, whole = f.prefill(*inputs)
    assert whole.layout == state.layout and whole.position == state.position == 6
    assert_close(state.tensors, whole.tensors, 1e-9)


FORMS = list(itertools.product(["auto", "chunkwise", "recurrent"], repeat=2))


@pytest.mark.parametrize("forms", FORMS, ids=str)
@pytest.mark.parametrize("name", FEW)
def test_a_state_of_one_form_continues_in_another(name: str, forms: tuple[str, str]) -> None:
    inputs = inputs_of(name, {"n": N}, [(2,)])
    expected = definition(name, inputs)
    first, second = (operator(name, form) for form in forms)
    _, state = first.prefill(*cut(name, inputs, slice(0, 6)))
    outputs, after = second.prefill(*cut(name, inputs, slice(6, N)), state=state)
    assert_part(name, outputs, expected, slice(6, N))
    outputs, _ = second.step(state, *cut(name, inputs, 6))
    assert_part(name, outputs, expected, 6)
    assert after.position == N


@pytest.mark.parametrize("name", STREAMS)
def test_an_empty_prefix_is_the_state_before_any_token(name: str) -> None:
    inputs = inputs_of(name, {"n": 3}, [(2,)])
    expected = definition(name, inputs)
    f = operator(name)
    outputs, state = f.prefill(*cut(name, inputs, slice(0, 0)))
    assert_part(name, outputs, expected, slice(0, 0))
    fresh = f.init_state(*cut(name, inputs, 0))
    assert state.layout == fresh.layout and state.position == 0
    assert_close(state.tensors, fresh.tensors, 0)
    assert_part(name, f(*inputs, state=fresh), expected, slice(None))


@pytest.mark.parametrize("name", STREAMS)
def test_states_stay_valid(name: str) -> None:
    """Nothing that takes a state changes it, and no two states share memory that is written to."""
    inputs = inputs_of(name, {"n": 9}, [(2,)])
    f = operator(name)
    _, state = f.prefill(*cut(name, inputs, slice(0, 5)))
    kept = state.clone()
    first, after = f.step(state, *cut(name, inputs, 5))
    again, same = f.step(state, *cut(name, inputs, 5))
    f.prefill(*cut(name, inputs, slice(5, 9)), state=state)
    f(*cut(name, inputs, slice(5, 9)), state=state)
    for mine, copy in zip(state.tensors, kept.tensors, strict=True):
        np.testing.assert_array_equal(mine, copy)
    for one, two in zip((*as_tuple(first), *after.tensors), (*as_tuple(again), *same.tensors), strict=True):
        np.testing.assert_array_equal(one, two)
    for output in as_tuple(first):
        assert not any(np.shares_memory(output, other) for other in (*state.tensors, *after.tensors, *inputs))
    _, whole = f.prefill(*cut(name, inputs, slice(5, 9)), state=state)
    for tensor in whole.tensors:
        assert not any(np.shares_memory(tensor, other) for other in (*state.tensors, *inputs))


@pytest.mark.parametrize("name", FEW)
def test_float16_streams_in_float32(name: str) -> None:
    inputs = inputs_of(name, {"n": N}, dtype=np.float16)
    f = operator(name)
    whole = as_tuple(operator(name, "recurrent")(*inputs))
    state = f.init_state(*cut(name, inputs, 0))
    assert all(t.dtype == np.float32 for t in state.tensors)
    for i in range(N):
        outputs, state = f.step(state, *cut(name, inputs, i))
        for output, expected in zip(as_tuple(outputs), cut(name, whole, i, outputs=True), strict=True):
            assert output.dtype == np.float16
            np.testing.assert_array_equal(output, expected)


def test_the_state_does_not_grow() -> None:
    inputs = inputs_of("hla2", {"n": 200})
    f = operator("hla2")
    _, short = f.prefill(*cut("hla2", inputs, slice(0, 1)))
    _, long = f.prefill(*inputs)
    assert short.layout == long.layout and short.elements == long.elements == 5 * 5 + 5 * 3
    assert short.nbytes == 8 * short.elements


# -- how inputs may be given -----------------------------------------------------------------------------


def test_keywords_lists_and_numbers() -> None:
    q, k, v, gamma = inputs_of("retention", {"n": 4})
    f = operator("retention")
    expected = definition("retention", [q, k, v, np.float64(0.5)])[0]
    state = f.init_state(q[0], k[0], v[0], 0.5)
    ways: list[tuple[list[Any], dict[str, Any]]] = [
        ([], {"q": q[0], "k": k[0], "v": v[0], "gamma": 0.5}),
        ([q[1].tolist(), k[1].tolist(), v[1].tolist(), 0.5], {}),
        ([q[2], k[2]], {"gamma": np.float64(0.5), "v": v[2]}),
        ([tuple(q[3]), k[3], v[3], np.array(0.5)], {}),
    ]
    for i, (arguments, keywords) in enumerate(ways):
        row, state = f.step(state, *arguments, **keywords)
        np.testing.assert_allclose(row, expected[i], rtol=1e-12)
    row, _ = f.step(state=f.init_state(q=q[0], k=k[0], v=v[0], gamma=0.5), q=q[0], k=k[0], v=v[0], gamma=0.5)
    np.testing.assert_allclose(row, expected[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_python_numbers_take_the_dtype_of_the_state(dtype: Any) -> None:
    f = tensorc.compile("def f(x[n], y[n]) -> z[n]:  z[i] = sum[j <= i](x[j] * y[j])")
    _, state = f.prefill(np.ones(3, dtype), np.ones(3, dtype))
    z, state = f.step(state, 0.5, 2)
    assert z == 4 and z.dtype == dtype
    z, state = f.step(state, y=0.1, x=1.0)
    assert z.dtype == dtype and state.tensors[0].dtype == dtype


def test_several_shapes_and_dtypes_by_turns() -> None:
    """Each call finds its own prepared step, whatever came before."""
    f = operator("linear_attention")
    kinds = [
        inputs_of("linear_attention", {"n": 4, "d": d}, [batch], dtype)
        for d in (2, 3)
        for batch in ((), (2,))
        for dtype in (np.float32, np.float64)
    ]
    states = [f.init_state(*cut("linear_attention", inputs, 0)) for inputs in kinds]
    for i in range(4):
        for k, inputs in enumerate(kinds):
            row, states[k] = f.step(states[k], *cut("linear_attention", inputs, i))
            assert_part("linear_attention", row, definition("linear_attention", inputs), i, 1e-5)


def test_inputs_named_state_and_self() -> None:
    f = tensorc.compile("def f(state[n], self[n]) -> y[n]:  y[i] = sum[j <= i](state[j] * self[j])")
    a, b = np.arange(4.0), np.arange(4.0) + 1
    expected = np.cumsum(a * b)
    np.testing.assert_array_equal(f(a, b), expected)
    np.testing.assert_array_equal(f(state=a, self=b), expected)
    y, state = f.prefill(state=a[:2], self=b[:2])
    y, state = f.step(state, state=a[2], self=b[2])
    assert y == expected[2] and isinstance(state, State) and state.position == 3


def test_a_program_without_memory_steps_too() -> None:
    f = tensorc.compile("def f(x[n], w[d]) -> y[n, d]:  y[i, c] = x[i] * w[c]", time="n")
    state = f.init_state(1.0, [1.0, 2.0])
    assert state.tensors == () and state.elements == 0
    y, state = f.step(state, 3.0, [1.0, 2.0])
    assert y.tolist() == [3, 6] and state.position == 1


def test_positions_go_on() -> None:
    f = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = i * x[i] + sum[j <= i](x[j])")
    x = np.ones(6)
    expected = f(x)
    _, state = f.prefill(x[:2])
    np.testing.assert_array_equal(f(x[2:], state=state), expected[2:])
    rows = []
    for t in range(2, 6):
        row, state = f.step(state, x[t])
        rows.append(row)
    np.testing.assert_array_equal(rows, expected[2:])
