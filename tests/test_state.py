"""States are values: named tensors, a position, copies that share nothing."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

import tensorc
from tensorc.state import Layout, State
from tests.backends.numpy_programs import inputs_of, program


@pytest.fixture
def operator() -> tensorc.Operator:
    return tensorc.compile(program("hla2"))


@pytest.fixture
def state(operator: tensorc.Operator) -> State:
    return operator.prefill(*inputs_of("hla2", {"n": 7, "d": 4, "e": 3}, [(2,)], np.float32))[1]


def test_what_a_state_says(state: State) -> None:
    assert state.position == 7 and state.layout.program == "hla2" and state.layout.dtype == "float32"
    assert [t.shape for t in state.tensors] == list(state.layout.shapes) == [(2, 4, 4), (2, 4, 3)]
    assert state.layout.axes == (("d", "d"), ("d", "e"))
    assert state.elements == 2 * (4 * 4 + 4 * 3) and state.nbytes == 4 * state.elements
    assert all(type(t) is np.ndarray and t.dtype == np.float32 for t in state.tensors)


def test_a_clone_shares_nothing(operator: tensorc.Operator, state: State) -> None:
    clone = state.clone()
    assert clone.layout is state.layout and clone.position == state.position
    for mine, other in zip(state.tensors, clone.tensors, strict=True):
        assert not np.shares_memory(mine, other)
        np.testing.assert_array_equal(mine, other)
        other += 1
    token = [a[:, 0] for a in inputs_of("hla2", {"n": 1, "d": 4, "e": 3}, [(2,)], np.float32)]
    one, _ = operator.step(state, *token)
    two, _ = operator.step(clone, *token)
    assert not np.allclose(one, two)


def test_a_state_is_a_tuple_of_three(state: State) -> None:
    position, tensors, layout = state
    assert (position, layout) == (7, state.layout) and tensors is state.tensors
    with pytest.raises(AttributeError):
        state.position = 0  # type: ignore[misc]


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_and_pickles_go_on(operator: tensorc.Operator, state: State, how: object) -> None:
    again = how(state)  # type: ignore[operator]
    assert type(again) is State and again.layout == state.layout
    token = [a[:, 0] for a in inputs_of("hla2", {"n": 1, "d": 4, "e": 3}, [(2,)], np.float32)]
    one, after = operator.step(state, *token)
    two, same = operator.step(again, *token)
    np.testing.assert_array_equal(one, two)
    assert after.position == same.position == 8


def test_a_scalar_state() -> None:
    f = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    state = f.init_state(1.0)
    _, state = f.step(state, 2.0)
    assert state.elements == 1 and state.nbytes == 8 and state.clone().tensors[0] == 2


LAYOUT = Layout("f", ("S1", "S2"), (("d", "e"), ("d",)), ((2, 4, 3), (2, 4)), "float32")


def other(**changes: object) -> Layout:
    return replace(LAYOUT, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            other(program="g"),
            "The state belongs to f (S1[d, e], S2[d]); these inputs need that of g (S1[d, e], S2[d]).",
        ),
        (
            other(names=(), axes=(), shapes=()),
            "The state belongs to f (S1[d, e], S2[d]); these inputs need that of f (no states).",
        ),
        (
            other(shapes=((2, 5, 3), (2, 5))),
            "State S1[d, e] has the shape (2, 4, 3); these inputs need (2, 5, 3).",
        ),
        (
            other(shapes=((4, 3), (4,))),
            "State S1[d, e] has the shape (2, 4, 3); these inputs need (4, 3): leading dimensions (), not "
            "(2,). The batch of a state is that of the inputs it was made from; a step takes one token, "
            "without the axis n.",
        ),
        (
            other(dtype="float64"),
            "The state is in float32; these inputs compute in float64. Cast the inputs, or start from a "
            "state made from inputs of that dtype.",
        ),
    ],
)
def test_what_differs(wanted: Layout, message: str) -> None:
    assert LAYOUT.difference(wanted, "n") == message
