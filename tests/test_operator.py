"""An operator in use: calls, the form that is chosen, source, copies, threads, sequences of every length."""

from __future__ import annotations

import copy
import doctest
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tensorc
import tensorc.compiler
import tensorc.operator
import tensorc.prepared
import tensorc.runtime
import tensorc.state
from tensorc.backends import python_layout, python_names
from tests.backends.numpy_programs import as_tuple, inputs_of, program

LINEAR = """
def linear(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
"""


def inputs(n: int, d: int = 3, e: int = 2, dtype: Any = np.float64) -> list[np.ndarray]:
    random = np.random.default_rng(n)
    return [random.normal(size=(n, width)).astype(dtype) for width in (d, d, e)]


# -- what is chosen ----------------------------------------------------------------------------------------


def test_the_form_follows_the_length() -> None:
    f = tensorc.compile(LINEAR)
    short, long = ({"n": n, "d": 64, "e": 64} for n in (16, 65536))
    assert f.choose(short) == "parallel" and f.choose(long) == "chunkwise"
    assert f.choose(short, streaming=True) in ("chunkwise", "recurrent")
    for form in ("parallel", "chunkwise", "recurrent"):
        assert tensorc.compile(LINEAR, form=form).choose(short) == form


def test_source_of_the_form_that_is_chosen() -> None:
    f = tensorc.compile(LINEAR)
    assert f.source(n=16, d=64, e=64).startswith('"""linear: the parallel form')
    assert f.source(n=65536, d=64, e=64).startswith('"""linear: the chunkwise form')
    assert f.source().startswith('"""linear: the')
    recurrent = tensorc.compile(LINEAR, form="recurrent").source()
    assert "def step(state, q, k, v" in recurrent and "def start(q, k, v" in recurrent


def test_a_new_length_makes_no_new_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes stay symbolic: one source for all lengths of a form."""
    f = tensorc.compile(LINEAR, form="chunkwise")
    f(*inputs(10))
    made: list[str] = []
    monkeypatch.setattr("tensorc.forms.load", lambda source: made.append(source))
    for n in (1, 7, 100, 1000):
        f(*inputs(n))
    assert not made


def test_many_shapes_stay_right() -> None:
    """More shapes than are remembered."""
    f = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    for _ in range(2):
        for n in range(90):
            assert f(np.ones(n)).tolist() == list(range(1, n + 1))


def test_batches_that_differ_in_which_input_has_them() -> None:
    """What is computed in place depends on it; shapes that were seen must not be confused."""
    f = tensorc.compile(LINEAR, form="chunkwise")
    q, k, v = inputs(5)
    for which in range(3):
        arrays = [np.stack([a, 2 * a]) if at == which else a for at, a in enumerate((q, k, v))]
        one = f(*arrays)
        np.testing.assert_allclose(one[0], f(q, k, v))
        np.testing.assert_allclose(one[1], 2 * one[0])


def test_sizes_of_the_signature() -> None:
    text = "def smooth(x[n], w=3) -> y[n]:  y[i] = sum[i - w < j <= i](x[j]) / w"
    x = np.arange(6.0)
    assert tensorc.compile(text)(x).tolist() == [0, 1 / 3, 1, 2, 3, 4]
    assert tensorc.compile(text, sizes={"w": 1})(x).tolist() == x.tolist()
    assert tensorc.compile(text, sizes={"n": 6})(x)[0] == 0


def test_outputs_in_the_order_of_the_signature() -> None:
    f = tensorc.compile("def f(x[n]) -> b[n], a[]:\n    a[] = sum[i](x[i])\n    b[i] = sum[j <= i](x[j])")
    b, a = f(np.ones(3))
    assert b.tolist() == [1, 2, 3] and a == 3 and isinstance(f(np.ones(3)), tuple)


class Foreign:
    """An array of another library."""

    def __init__(self, array: np.ndarray, readable: bool = True) -> None:
        self.array, self.readable = array, readable
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if not self.readable:
            raise TypeError("it is on another device")
        return self.array


def test_arrays_of_other_libraries() -> None:
    f = tensorc.compile("def f(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])")
    x = np.ones((3, 2), np.float32)
    assert type(f(Foreign(x))) is np.ndarray and f(Foreign(x))[-1].tolist() == [3, 3]
    state = f.init_state(Foreign(x[0]))
    for token in (Foreign(x[0]), x[0], Foreign(x[0]), Foreign(x[0])):
        y, state = f.step(state, token)
    assert type(y) is np.ndarray and y.tolist() == [4, 4]
    for use in (f, lambda x: f.step(state, x), f.prefill):
        with pytest.raises(tensorc.TensorcError, match="x cannot be read as a NumPy array: it is on another"):
            use(Foreign(x[0] if use is not f and use != f.prefill else x, readable=False))


# -- as a value --------------------------------------------------------------------------------------------


def test_repr_and_documentation() -> None:
    f = tensorc.compile(LINEAR, form="chunkwise")
    assert repr(f) == "<tensorc linear(q[n, d], k[n, d], v[n, e]) -> o[n, e]: numpy, chunkwise>"
    assert f.__name__ == "linear" and f.__doc__ == str(f.program)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_operators_are_copied_and_pickled(how: Any) -> None:
    f = tensorc.compile(LINEAR, form="chunkwise", sizes={"d": 3})
    f(*inputs(4))
    again = how(f)
    assert repr(again) == repr(f) and again.program == f.program and again.sizes == f.sizes
    np.testing.assert_array_equal(again(*inputs(9)), f(*inputs(9)))
    _, state = f.prefill(*inputs(9))
    row, _ = again.step(how(state), *(a[0] for a in inputs(4)))
    assert row.shape == (2,)


@pytest.mark.parametrize("name", ["hla2", "gated", "delta_rule", "alibi_window", "chosen", "mpo"])
def test_programs_are_copied_and_pickled(name: str) -> None:
    found = pickle.loads(pickle.dumps(program(name)))
    assert found == program(name) == copy.deepcopy(program(name)) and hash(found) == hash(program(name))
    arrays = inputs_of(name, {"n": 5})
    one, two = tensorc.compile(found)(*arrays), tensorc.compile(program(name))(*arrays)
    for mine, other in zip(as_tuple(one), as_tuple(two), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_an_operator_is_what_compile_takes() -> None:
    f = tensorc.compile(LINEAR)
    again = tensorc.compile(f, form="recurrent", backend="numpy")  # type: ignore[arg-type]
    assert again.program is f.program and again.form == "recurrent"


# -- at the same time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gated", "normalised", "ends"])
def test_threads_share_an_operator(name: str) -> None:
    f = tensorc.compile(program(name))
    jobs = [inputs_of(name, {"n": n, "d": d}, seed=n) for n in (1, 20, 70, 150) for d in (2, 3)] * 3
    expected = [as_tuple(tensorc.compile(program(name), form="recurrent")(*job)) for job in jobs]

    def work(number: int) -> bool:
        job, wanted = jobs[number], expected[number]
        whole = as_tuple(f(*job))
        outputs, state = f.prefill(*job)
        tokens = [a[0] for a in job]
        f.step(state, *tokens)
        fresh = f.init_state(*tokens)
        first, _ = f.step(fresh, *tokens)
        rows = [a[0] for a in wanted]
        return all(
            np.allclose(one, two, rtol=1e-9, atol=1e-9)
            for found, real in ((whole, wanted), (as_tuple(outputs), wanted), (as_tuple(first), rows))
            for one, two in zip(found, real, strict=True)
        )

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(len(jobs))))
    finally:
        sys.setswitchinterval(interval)


# -- examples in docstrings ----------------------------------------------------------------------------------

MODULES = [
    tensorc.compiler,
    tensorc.operator,
    tensorc.prepared,
    tensorc.runtime,
    tensorc.state,
    python_layout,
    python_names,
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_in_docstrings(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize(
    "method", ["__call__", "prefill", "step", "init_state", "choose", "source", "report"]
)
def test_methods_say_what_they_do(method: str) -> None:
    text = getattr(tensorc.Operator, method).__doc__
    assert text and text[0].isupper() and "." in text
