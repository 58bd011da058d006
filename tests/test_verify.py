"""Verification: what passes, what is reported, and that every small mistake in a plan or source is found."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc.errors import BackendError, FormError, TensorcError, VerificationError
from tensorc.ir import extent
from tensorc.operator import Operator
from tensorc.verify import CompareResult, VerifyResult
from tensorc.verify_cases import Case
from tensorc.verify_digits import MOST_BITS, longest
from tensorc.verify_exact import Difference, draw
from tensorc.verify_shrink import Failure, Shrinker
from tensorc.verify_sizes import MOST_WORK, Work, fit

EXAMPLES = Path(__file__).parents[1] / "examples"
N = extent("n")

LINEAR = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
"""
SECOND = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    o[i, x] = sum[u <= j <= i](s[i, u] * s[j, u] * v[j, x])
"""
RATIO = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x]) / sum[j <= i](q[i, c] * k[j, c])
"""
REVERSE = "def f(x[n], y[n]) -> z[n]:  z[i] = sum[j >= i](x[j] * y[i]) + sum[j <= i](y[j])"


# -- what passes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hla2", "gated", "normalised", "delta_rule", "attention", "mpo"])
def test_programs_of_the_catalogue_pass(name: str) -> None:
    result = tensorc.compile(EXAMPLES / f"{name}.tc").verify()
    assert result.passed and result.complete, result.not_reached
    assert result.evaluations >= 20 and all(check.source for check in result.checks)


PROGRAMS = {
    "several outputs": "def f(x[n], s[]) -> y[n], t[]:\n  y[i] = s * sum[j <= i](x[j])\n  t[] = sum[i](x[i])",
    "both directions": REVERSE,
    "kept rows": "def f(x[n], y[n]) -> z[n]:\n  a[i] = sum[j <= i](x[j])\n  z[i] = sum[j >= i](a[j] * y[j])",
    "integer data": "def f(b[n], x[n]) -> y[n]:  y[i] = sum[j <= i, b[j] != 0](x[j])",
    "segments": "def f(x[n], seg[n]) -> y[n]:  y[i] = sum[j <= i, seg[i] == seg[j]](x[j])",
    "segments that are data, too": "def f(x[n], s[n]) -> y[n]:\n"
    "  y[i] = sum[j <= i, s[i] == s[j]](x[j] * s[j])",
    "a mask": "def f(x[n], m[n, n]) -> y[n]:  y[i] = sum[j <= i, m[i, j] != 0](x[j])",
    "positions": "def f(x[n]) -> y[n]:  y[i] = sum[j <= i](i * j * x[j]) / (i + 1)",
    "grouped heads": "def f(q[h * r, n], k[h, n]) -> o[h * r, n]:\n"
    "  o[g, i] = sum[j <= i](q[g, i] * k[g // r, j])",
    "functions": "def f(x[n], g[n]) -> y[n]:\n  a[i] = sigmoid(g[i])\n"
    "  y[i] = tanh(sum[j <= i](prod[j < u <= i](a[u]) * x[j]))",
    "a window": "def f(x[n], w=3) -> y[n]:  y[i] = max[j, i - w < j <= i](x[j])",
    "self-reference": "def f(x[n]) -> y[n]:  y[i] = relu(y[i - 1] + x[i])",
    "always 0/0": "def f(x[n]) -> y[n]:  y[i] = sum[j < i](x[j]) / i",
    "denominators": "def f(x[n], z[n]) -> y[n]:  y[i] = sum[j <= i](1 / x[j] / z[j])",
    "a constant subscript": "def f(x[n, d]) -> y[n]:  y[i] = sum[j <= i](x[j, 4])",
    "no inputs": "def f() -> y[]:  y[] = 1/3",
    "the length": "def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j]) / n",
    "no time axis in an output": "def f(x[n], A[a, b, c]) -> y[n], B[b, c, a]:\n"
    "  y[i] = sum[j <= i](x[j])\n  B[q, r, p] = 2 * A[p, q, r]",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_all_sorts_of_programs_pass(name: str) -> None:
    result = tensorc.compile(PROGRAMS[name]).verify()
    assert result.passed and result.complete, result.not_reached
    assert all(check.exact and check.source for check in result.checks)


def test_every_form_and_stream_is_checked_at_sizes_around_the_chunk() -> None:
    result = tensorc.compile(LINEAR).verify()
    names = {check.name for check in result.checks}
    assert {"parallel", "parallel, multiplied out", "recurrent", "prefill, then steps"} <= names
    assert {f"chunkwise, chunk {chunk}" for chunk in (1, 3, 4)} <= names
    assert {"two chunkwise calls", "steps, then chunkwise"} <= names
    assert {0, 1, 3, 4, 5, 9} == {sizes["n"] for sizes in result.sizes}
    assert {0, 1, 2, 3} == {sizes["d"] for sizes in result.sizes}


def test_time_and_sizes_of_the_operator_are_used() -> None:
    bidirectional = "def f(x[n, d], y[n, d]) -> z[n, d]:  z[i, b] = x[i, a] * x[j, a] * y[j, b]"
    assert "chunkwise" in tensorc.compile(bidirectional).verify().refused
    result = tensorc.compile(bidirectional, time="n").verify()
    assert result.passed and any(check.name.startswith("chunkwise") for check in result.checks)
    window = "def f(x[n], w=300) -> y[n]:  y[i] = sum[j, i - w < j <= i](x[j])"
    tried = {sizes["w"] for sizes in tensorc.compile(window, sizes={"w": 6}).verify().sizes}
    assert {1, 2, 3, 6} <= tried
    product = "def f(x[h * d, n]) -> y[h * d, n]:  y[a, i] = sum[j <= i](x[a, j]) * h"
    assert tensorc.compile(product, sizes={"h": 2}).verify().complete


def test_the_same_seed_gives_the_same_result() -> None:
    first, second = (tensorc.compile(SECOND).verify(seed=7).to_dict() for _ in range(2))
    assert first | {"seconds": 0} == second | {"seconds": 0}


def test_the_result_prints_and_turns_into_json() -> None:
    result = tensorc.compile(RATIO).verify()
    assert isinstance(result, VerifyResult)
    text = str(result)
    assert text.startswith("f: every form equals the definition")
    assert "prefill, then steps" in text and "causal    o: yes" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    data = json.loads(json.dumps(result.to_dict()))
    assert data["passed"] and data["counterexample"] is None and data["causal"] == {"o": True}
    assert data["evaluations"] == sum(check["exact"] for check in data["checks"])


def test_backends_are_chosen_by_name() -> None:
    f = tensorc.compile(LINEAR)
    assert not any(check.source for check in f.verify("reference").checks)
    assert all(check.source for check in f.verify(["reference", "numpy"]).checks)
    assert not any(check.source for check in tensorc.compile(LINEAR, backend="reference").verify().checks)
    with pytest.raises(BackendError, match="No backend 'jax'"):
        f.verify(("jax",))


# -- causality -----------------------------------------------------------------------------------------------

LEAKING = "def f(x[n], k[n]) -> y[n], z[n]:\n  y[i] = sum[j <= i](x[j])\n  z[i] = y[i] * sum[j](k[j])"


def test_causality_is_reported_for_each_output() -> None:
    causal = tensorc.compile(LEAKING).verify().causal
    assert causal["y"] is True
    assert "k" in str(causal["z"]) and "token 1 of k changes token 0 of z" in str(causal["z"])


def test_a_later_token_can_be_an_error() -> None:
    assert tensorc.compile(LINEAR).verify(causal=True).passed
    with pytest.raises(VerificationError, match="z is not causal") as caught:
        tensorc.compile(LEAKING).verify(causal=True)
    assert "token 1 of k" in str(caught.value) and "k[j] is read" in str(caught.value)
    assert isinstance(caught.value.result, VerifyResult) and caught.value.result.passed


def test_the_order_in_the_formula_does_not_make_it_causal() -> None:
    product = "q[i, a] * k[u, a] * k[u, b] * q[j, b] * v[j]"
    text = f"def f(q[n, d], k[n, d], v[n]) -> o[n]:  o[i] = sum[j <= i]({product})"
    with pytest.raises(VerificationError, match="u > i") as caught:
        tensorc.compile(text).verify(causal=True)
    assert "of k" in str(caught.value)


def test_causality_without_a_stream_is_along_the_axis_that_is_shared() -> None:
    text = "def f(q[n, d], k[n, d]) -> o[n, d]:  o[i, x] = q[i, a] * k[l, a] * k[l, x]"
    with pytest.raises(VerificationError, match="o is not causal"):
        tensorc.compile(text).verify(causal=True)
    assert tensorc.compile("def f(x[n]) -> y[n]:  y[i] = 2 * x[i]").verify(causal=True).causal == {"y": True}
    with pytest.raises(FormError, match="no time axis"):
        tensorc.compile("def f(x[]) -> y[]:  y[] = 2 * x").verify(causal=True)


def test_a_causal_mask_given_as_data_is_seen_to_leak() -> None:
    text = "def f(x[n], m[n, n]) -> y[n]:  y[i] = sum[j, m[i, j] != 0](x[j])"
    assert "token" in str(tensorc.compile(text, time="n").verify().causal["y"])


# -- limits --------------------------------------------------------------------------------------------------


def test_the_time_limit_bounds_the_work_and_says_what_is_left_out() -> None:
    f = tensorc.compile(SECOND)
    start = time.monotonic()
    result = f.verify(time_limit=0)
    assert time.monotonic() - start < 2
    assert not result.complete and result.evaluations == 0
    assert "nothing was compared" in str(result) and "not reached: causality" in str(result)
    partly = f.verify(time_limit=0.1)
    assert partly.passed and not partly.complete


HOSTILE = {
    "squares": "def f(x[n]) -> y0[n]:\n"
    + "".join(f"  y{k}[i] = y{k + 1}[i] * y{k + 1}[i]\n" for k in range(50))
    + "  y50[i] = x[i]",
    "squares of its own result": "def f(x[n]) -> y[n]:  y[i] = x[i] + " + " * ".join(["y[i - 1]"] * 16),
    "a huge power": "def f(x[n]) -> y[n]:  y[i] = x[i] ** 100000",
    "towers": "def f(x[n]) -> y[n]:  y[i] = exp(exp(exp(x[i])))",
    "many indices": "def f("
    + ", ".join(f"x{k}[n{k}, n{k + 1}]" for k in range(40))
    + ") -> y[n0, n40]:  y[i0, i40] = "
    + " * ".join(f"x{k}[i{k}, i{k + 1}]" for k in range(40)),
    "a far decay": "def f(x[n]) -> y[n]:  y[i] = sum[j <= i]((1/3) ** (1000 * (i - j)) * x[j])",
    "names": "def np(lambda_[n], exec[n]) -> compute[n]:  compute[i] = sum[j <= i](lambda_[j] * exec[j])",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_end_soon(name: str) -> None:
    start = time.monotonic()
    result = tensorc.compile(HOSTILE[name]).verify()
    assert result.passed
    assert time.monotonic() - start < 15


def test_numbers_that_would_be_too_long_are_left_out() -> None:
    result = tensorc.compile(HOSTILE["squares"]).verify()
    assert result.evaluations == 0 and any("bits" in what for what in result.not_reached)
    assert longest(tensorc.parse(HOSTILE["squares"]), {"n": 1}) > MOST_BITS
    assert longest(tensorc.parse(LINEAR), {"n": 9, "d": 3, "e": 3}) < 64


def test_sizes_are_made_small_enough() -> None:
    program = tensorc.parse(LINEAR)
    work = Work(program)
    assert work.at({"n": 2, "d": 3, "e": 5}) >= 2 * 2 * 3 * 5
    assert fit(work, {"n": 9, "d": 2, "e": 3}, MOST_WORK) == {"n": 9, "d": 2, "e": 3}
    small = fit(work, {"n": 10**6, "d": 10**6, "e": 1}, 1000)
    assert small is not None and work.at(small) <= 1000
    assert fit(work, {"n": 1, "d": 1, "e": 1}, 0) is None


def test_shrinking_ends_when_nothing_smaller_fails() -> None:
    program = tensorc.parse(LINEAR)
    case = Case("never right", ())
    calls: list[dict[str, int]] = []

    def fails(sizes: Any, inputs: Any) -> Difference | None:
        calls.append(dict(sizes))
        return Difference(case) if sizes["n"] >= 2 and inputs["q"].any() else None

    sizes = {"n": 9, "d": 2, "e": 3}
    inputs = draw(program, sizes, np.random.default_rng(0), True)
    best = Shrinker(program, Failure(sizes, inputs, Difference(case)), fails).shrink()
    assert best.sizes == {"n": 2, "d": 1, "e": 0}
    assert np.count_nonzero(best.inputs["q"]) == 1 and best.inputs["q"].shape == (2, 1)
    assert len(calls) < 400


# -- compare -------------------------------------------------------------------------------------------------


def _data(operator: Operator, dtype: Any, **sizes: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=[a.value(sizes) for a in d.axes]).astype(dtype) for d in operator.program.inputs]


def test_compare_gives_the_error_of_each_form() -> None:
    f = tensorc.compile(SECOND)
    result = f.compare(*_data(f, np.float32, n=40, d=8, e=4))
    assert isinstance(result, CompareResult)
    assert result.gold == "the definition in float64" and result.dtype == "float32"
    assert [e.form for e in result.errors] == ["parallel", "chunkwise", "recurrent"]
    assert all(0 < e.relative < 1e-5 for e in result.errors)
    assert "largest error" in str(result) and "chunkwise" in str(result)
    assert json.loads(json.dumps(result.to_dict()))["errors"][0]["form"] == "parallel"
    exact = f.compare(*_data(f, np.float64, n=40, d=8, e=4))
    assert all(e.relative < 1e-13 for e in exact.errors)


def test_compare_on_long_sequences_uses_the_cheapest_form_as_gold() -> None:
    f = tensorc.compile(LINEAR)
    result = f.compare(*_data(f, np.float32, n=6000, d=16, e=16))
    assert result.gold == "the chunkwise form in float64"
    assert {e.form for e in result.errors} >= {"chunkwise", "recurrent"}
    assert result.skipped == ("parallel: too large at these sizes",) or len(result.errors) == 3
    assert all(e.relative < 1e-4 for e in result.errors)


def test_compare_takes_keywords_batches_and_several_outputs() -> None:
    f = tensorc.compile(
        "def f(x[n], s[]) -> y[n], t[]:\n  y[i] = s * sum[j <= i](x[j])\n  t[] = sum[i](x[i])"
    )
    result = f.compare(s=2.0, x=np.ones((3, 5)))
    assert {e.output for e in result.errors} == {"y", "t"}
    assert all(e.error == 0 for e in result.errors)
    with pytest.raises(TensorcError, match="takes floats"):
        f.compare(np.array([1, 2], object), 1)
