"""Every form of every program against the definition: sizes around the chunk, empty sizes, batches that
broadcast, warnings as errors wherever the definition is finite."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
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
    sizes_of,
)

BATCHES = [(2, 1), (3,), (2, 3), ()]
STREAMS = [name for name in PROGRAMS if "chunkwise" in forms_of(name)]
LINEAR = ["linear_attention", "hla2", "gated", "signed_gates", "normalised", "both_ways", "triple", "heads"]


@cache
def operator(name: str, form: str) -> tensorc.Operator:
    return tensorc.compile(program(name), form=form)


@cache
def definition(name: str) -> tensorc.Operator:
    return tensorc.compile(program(name), backend="reference")


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is not initialised holds NaN."""
    empty = np.empty

    def fill(*arguments: Any, **keywords: Any) -> np.ndarray:
        array = empty(*arguments, **keywords)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return array

    monkeypatch.setattr(np, "empty", fill)


def finite(outputs: Any) -> bool:
    return all(np.isfinite(o).all() for o in as_tuple(outputs))


def check(name: str, form: str, inputs: list[np.ndarray], tolerance: float = 1e-9) -> None:
    """One form against the definition, without a warning if that is finite."""
    expected = definition(name)(*inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if finite(expected) else "ignore")
        found = operator(name, form)(*inputs)
    assert_close(found, expected, tolerance)


def lengths(name: str) -> Iterator[dict[str, int]]:
    """Sequences around the chunk; with a second length where the program has one."""
    for n in (0, 1, 17, 64, 65, 129):
        if n < 100 or name != "triple":  # the definition of a triple takes n³
            yield {"n": n, "m": n // 2 if n > 2 else n}


@pytest.mark.parametrize("name", PROGRAMS)
def test_lengths(name: str) -> None:
    for sizes in lengths(name):
        inputs = inputs_of(name, sizes, BATCHES)
        for form in forms_of(name):
            check(name, form, inputs)


@pytest.mark.parametrize("name", PROGRAMS)
def test_auto_is_one_of_them(name: str) -> None:
    for n in (3, 90):
        inputs = inputs_of(name, {"n": n, "m": n}, [(2,), ()])
        check(name, "auto", inputs)


FEATURES = [{"d": 1, "e": 1}, {"d": 7, "e": 2}, {"e": 0}, {"d": 0}, {"d": 2, "e": 9}]


@pytest.mark.parametrize("sizes", FEATURES, ids=str)
@pytest.mark.parametrize("name", LINEAR)
def test_features(name: str, sizes: dict[str, int]) -> None:
    for n in (0, 1, 19):
        inputs = inputs_of(name, {"n": n} | sizes, BATCHES)
        for form in forms_of(name):
            check(name, form, inputs)


@pytest.mark.parametrize("name", STREAMS)
def test_any_chunk(name: str) -> None:
    """The chunk is a parameter of the generated function: any will do."""
    inputs = inputs_of(name, {"n": 13})
    expected = as_tuple(definition(name)(*inputs))
    function, _ = operator(name, "chunkwise").forms.function("chunkwise", sizes_of(name, {"n": 13}))
    for chunk in (1, 2, 5, 13, 100):
        outputs, _ = function(*inputs, chunk=chunk)
        assert_close(outputs, expected, 1e-9)


LEADING = [[(3,)], [(1,), (3,)], [(2, 1), (1, 3)], [(0,)], [(), (2, 3), (3,)], [(1, 1, 2)]]


@pytest.mark.parametrize("batches", LEADING, ids=str)
@pytest.mark.parametrize("name", [*LINEAR, "delta_rule", "alibi_window", "kept", "with_total", "mpo", "ends"])
def test_batches_broadcast(name: str, batches: list[tuple[int, ...]]) -> None:
    inputs = inputs_of(name, {"n": 18}, batches)
    for form in forms_of(name):
        check(name, form, inputs)


@pytest.mark.parametrize("name", PROGRAMS)
def test_float32_and_float16(name: str) -> None:
    """float16 is computed in float32 and rounded once."""
    narrow = inputs_of(name, {"n": 20, "m": 9}, dtype=np.float16)
    wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in narrow]
    exact = [a.astype(np.float64) if a.dtype == np.float16 else a for a in narrow]
    gold = as_tuple(definition(name)(*exact))
    reference = as_tuple(definition(name)(*wide))
    for form in forms_of(name):
        single = as_tuple(operator(name, form)(*wide))
        half = as_tuple(operator(name, form)(*narrow))
        for one, ref, two, true in zip(single, reference, half, gold, strict=True):
            assert one.dtype == np.float32 and two.dtype == np.float16
            scale = np.abs(true).max(initial=0)
            assert np.abs(one - true).max(initial=0) <= 2 * np.abs(ref - true).max(initial=0) + 1e-5 * scale
            with np.errstate(over="ignore"):
                np.testing.assert_array_equal(two, one.astype(np.float16))


def test_one_rounding_to_float16() -> None:
    """A sum of 4096 ones is exact; in float16 it would stop at 2048."""
    ones = np.ones(4096, np.float16)
    for form in ("parallel", "chunkwise", "recurrent"):
        total = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])", form=form)(ones)
        assert total.dtype == np.float16 and total[-1] == 4096


GATES = {
    "zeros": lambda a, random: np.where(random.random(a.shape) < 0.3, 0, a),
    "negative": lambda a, random: -np.abs(a),
    "all zero": lambda a, random: np.zeros_like(a),
    "tiny": lambda a, random: a * 1e-30,
    "large": lambda a, random: a * 30,
    "one": lambda a, random: np.ones_like(a),
}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("name", ["signed_gates", "signed_channels", "gated_recurrence", "ends"])
def test_product_gates(name: str, kind: str) -> None:
    """Products of gates: of either sign, zero, vanishing, growing; no division, no NaN."""
    inputs = inputs_of(name, {"n": 70, "d": 3}, [(2,)])
    which = [t.name for t in program(name).inputs].index("f" if name == "gated_recurrence" else "a")
    inputs[which] = GATES[kind](inputs[which], np.random.default_rng(3))
    for form in forms_of(name):
        check(name, form, inputs)


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
@pytest.mark.parametrize("gate", [0.0, -1e-8, -40.0, -1e4, -np.inf])
def test_log_gates(gate: float, form: str) -> None:
    """Decays of any strength: forgetting everything is a gate of -inf."""
    for name in ("gated", "scalar_gated", "second_order_decayed"):
        inputs = inputs_of(name, {"n": 70, "d": 3}, [(2,)])
        which = [t.name for t in program(name).inputs].index("g")
        strong = np.random.default_rng(4).random(inputs[which].shape) < 0.5
        inputs[which] = np.where(strong, gate, inputs[which])
        expected = definition(name)(*inputs)
        assert finite(expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_close(operator(name, form)(*inputs), expected, 1e-9)


def test_long_decays_do_not_overflow() -> None:
    """exp(G)·cumsum(x·exp(-G)) would: the decay over the whole sequence is exp(-40000)."""
    q, k, v, g = inputs_of("scalar_gated", {"n": 2000, "d": 2, "e": 2}, dtype=np.float32)
    g = np.full_like(g, -20)
    state, expected = np.zeros((2, 2), np.float32), np.empty_like(v)
    for t in range(2000):
        state = np.exp(g[t]) * state + np.outer(k[t], v[t])
        expected[t] = q[t] @ state
    for form in ("chunkwise", "recurrent"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_close(operator("scalar_gated", form)(q, k, v, g), expected, 1e-5)


QUIET = [
    "sum[j <= i](where(x[j] > 0, log(x[j]), 0))",
    "sum[j <= i, x[j] > 0](sqrt(x[j]))",
    "max[j <= i, x[j] > 0](log(x[j]))",
    "where(n > 5, 1 / (n - 3), 7) * x[i]",
    "where(x[i] == 0, 1, 1 / x[i])",
    "sum[j, j <= i, x[j] != 0](1 / x[j])",
    "where(x[i] > 100, exp(1000 * x[i]), x[i])",
]


@pytest.mark.parametrize("body", QUIET)
def test_what_is_not_taken_does_not_warn(body: str) -> None:
    text = f"def f(x[n]) -> y[n]:  y[i] = {body}"
    x = np.array([1.5, 0.0, -2.0])
    expected = tensorc.compile(text, backend="reference")(x)
    for form in ("parallel", "chunkwise", "recurrent"):
        try:
            call = tensorc.compile(text, form=form)
        except tensorc.FormError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_allclose(call(x), expected, rtol=1e-12)


LOUD = ["x[i] / (x[i] - x[i])", "log(x[i] - 9)", "sqrt(-abs(x[i]))", "exp(1000 * x[i])"]


@pytest.mark.parametrize("body", LOUD)
def test_what_is_taken_warns(body: str) -> None:
    with pytest.warns(RuntimeWarning):
        tensorc.compile(f"def f(x[n]) -> y[n]:  y[i] = {body}")(np.arange(1.0, 4.0))


CONSTANTS = [
    "x[i] * (1 / 0)",
    "x[i] * (-1) ** 0.5",
    "x[i] + 2 ** 10000",
    "x[i] + 2 ** 200",
    "x[i] * n ** -1",
    "exp(0.5) * x[i] + softplus(1) - gelu(2) + sigmoid(0) * silu(3)",
    "x[i] / sqrt(2)",
    "7 // 2 * x[i] + -7 % 3",
    "i",
    "n",
    "3",
    "(i % 2) * x[i] + (n // 2)",
    "x[0] * x[i] + x[n - 1]",
    "x[i // 2] + x[n - 1 - i] + x[i + 1] - x[i - 1]",
]


@pytest.mark.parametrize("body", CONSTANTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_have_the_dtype_of_the_computation(body: str, dtype: Any) -> None:
    text = f"def f(x[n]) -> y[n]:  y[i] = {body}"
    x = np.array([1.5, -2.0, 0.5], dtype)
    expected = tensorc.compile(text, backend="reference")(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if np.isfinite(expected).all() else "ignore")
        found = tensorc.compile(text)(x)
    assert found.dtype == expected.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_constant_does_not_widen_a_state() -> None:
    call = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](exp(0.5) * x[j] / sqrt(2))")
    state = call.init_state(np.float32(1))
    for _ in range(2):
        y, state = call.step(state, np.float32(1))
    assert y.dtype == np.float32 and state.tensors[0].dtype == np.float32
