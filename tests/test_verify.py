"""Verification: what passes, what is reported, and that every small mistake in a plan or source is found."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc import verify_cases, verify_source
from tensorc.backends.numpy_source import numpy_source
from tensorc.errors import BackendError, FormError, TensorcError, VerificationError
from tensorc.exact import ResampleNeeded
from tensorc.ir import Mul, Neg, Program, Read, extent
from tensorc.operator import Operator
from tensorc.passes.pipeline import Log, chunkwise_plan, recurrent_plan, stage_graph
from tensorc.plan import (
    Contract,
    GateUse,
    Gather,
    Keep,
    Loop,
    Map,
    Plan,
    ScanTile,
    Step,
    Tile,
    Update,
)
from tensorc.verify import CompareResult, VerifyResult
from tensorc.verify_cases import Case
from tensorc.verify_digits import MOST_BITS, longest
from tensorc.verify_exact import Difference, differences, draw
from tensorc.verify_shrink import Failure, Shrinker
from tensorc.verify_sizes import MOST_WORK, Work, fit, trials

EXAMPLES = Path(__file__).parents[1] / "examples"
N = extent("n")

LINEAR = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
"""
GATED = """
def f(q[n, d], k[n, d], v[n, e], a[n, d], b[n]) -> o[n, e]:
    o[i, x] = sum[j <= i](prod[j < u <= i](a[u, c]) * prod[j < u < i](b[u]) * q[i, c] * k[j, c] * v[j, x])
"""
STRICT = """
def f(x[n], a[n], b[n]) -> y[n]:
    y[i] = sum[j < i](prod[j < u <= i](a[u]) * prod[j < u < i](b[u]) * x[j])
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
    with pytest.raises(BackendError, match="torch"):
        f.verify(("torch",))
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


# -- mistakes in plans ---------------------------------------------------------------------------------------


def _chunkwise(text: str) -> tuple[Program, Plan]:
    program = tensorc.parse(text)
    sizes = {name: 64 for name in program.sizes()}
    return program, chunkwise_plan(program, stage_graph(program, N, sizes, Log()), N, sizes, 64)


def _recurrent(text: str) -> tuple[Program, Plan]:
    program = tensorc.parse(text)
    sizes = {name: 64 for name in program.sizes()}
    return program, recurrent_plan(program, stage_graph(program, N, sizes, Log()), N, sizes)


def _uses(gates: tuple[GateUse, ...], k: int, **changes: Any) -> tuple[GateUse, ...]:
    return tuple(replace(g, **changes) if at == k else g for at, g in enumerate(gates))


def wrong_steps(step: Step) -> Iterator[tuple[str, Step | None]]:
    """Small mistakes in one step; None drops it."""
    match step:
        case Update():
            yield "drop the update", None
            if step.through is not None:
                yield "forget the decay through the chunk", replace(step, through=None)
            if not step.replace:
                yield "forget the old state", replace(step, replace=True)
            else:
                yield "add to the old state", replace(step, replace=False)
        case Tile(part="fine"):
            yield "swap strictness", replace(step, strict=not step.strict)
            yield "transpose the mask", replace(step, rows=step.columns, columns=step.rows)
            yield "no order", replace(step, part="outside")
        case Tile(part="left" | "right" | "through"):
            yield f"drop the {step.part} tile", replace(step, gates=())
        case ScanTile():
            yield "swap strictness", replace(step, strict=not step.strict)
            if step.gates:
                yield "forget the gates", replace(step, gates=())
        case Map(expr=Mul(factors=factors)):
            yield "negate a factor", replace(step, expr=Mul((Neg(factors[0]), *factors[1:])))
        case Map(expr=expr):
            yield "negate a value", replace(step, expr=Neg(expr))
        case Contract(right=None) | Gather():
            return
    if isinstance(step, Tile) and step.part in ("fine", "left") or isinstance(step, ScanTile) and step.strict:
        for k, use in enumerate(step.gates):
            yield (
                "wrong inclusive flag",
                replace(step, gates=_uses(step.gates, k, inclusive=not use.inclusive)),
            )
            yield "forget one gate", replace(step, gates=step.gates[:k] + step.gates[k + 1 :])


def wrong_plans(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Every plan that differs by one small mistake."""
    for number, loop in enumerate(plan.loops):
        for part in ("before", "setup", "body"):
            steps: tuple[Step, ...] = getattr(loop, part)
            for k, step in enumerate(steps):
                for what, wrong in wrong_steps(step):
                    new = steps[:k] + (() if wrong is None else (wrong,)) + steps[k + 1 :]
                    changes: dict[str, Any] = {part: new}
                    yield f"{what}: {part} {k}", _with(plan, number, replace(loop, **changes))
        yield "run the other way", _with(plan, number, replace(loop, reverse=not loop.reverse))


def _with(plan: Plan, number: int, loop: Loop) -> Plan:
    return replace(plan, loops=tuple(loop if k == number else old for k, old in enumerate(plan.loops)))


def found(program: Program, plan: Plan) -> bool:
    """Whether exact comparison at the usual sizes finds that a plan is wrong."""
    case = Case("mutant", ((plan, None if plan.form == "recurrent" else 4),))
    rng = np.random.default_rng(0)
    for trial in trials(program, N, {}):
        for kind in ("any", "nonzero"):
            try:
                inputs = draw(program, trial.sizes, rng, trial.batched, kind)
                if differences(program, [case], inputs, trial.sizes, 0)[0]:
                    return True
            except ResampleNeeded:
                continue
    return False


MUTATED = {"linear": LINEAR, "gated": GATED, "strict": STRICT, "second order": SECOND, "reverse": REVERSE}


@pytest.mark.parametrize("name", MUTATED)
def test_every_small_mistake_in_a_chunkwise_plan_is_found(name: str) -> None:
    program, plan = _chunkwise(MUTATED[name])
    assert not found(program, plan)
    mutants = list(wrong_plans(plan))
    assert len(mutants) >= 5
    missed = [what for what, wrong in mutants if not found(program, wrong)]
    assert not missed


@pytest.mark.parametrize("name", ["linear", "gated", "strict", "second order"])
def test_every_small_mistake_in_a_recurrent_plan_is_found(name: str) -> None:
    program, plan = _recurrent(MUTATED[name])
    assert not found(program, plan)
    mutants = [(what, wrong) for what, wrong in wrong_plans(plan) if what != "add to the old state"]
    assert len(mutants) >= 3
    missed = [what for what, wrong in mutants if not found(program, wrong)]
    assert not missed


def test_the_mutations_are_of_every_kind() -> None:
    kinds = {what.split(":")[0] for text in MUTATED.values() for what, _ in wrong_plans(_chunkwise(text)[1])}
    wanted = {"drop the update", "swap strictness", "drop the left tile", "drop the right tile"}
    wanted |= {"wrong inclusive flag", "transpose the mask", "negate a value", "run the other way"}
    assert wanted <= kinds


def _mutate(monkeypatch: pytest.MonkeyPatch, form: str, pick: str) -> None:
    """Make the compiler plan a form with the first mistake of a kind."""
    made = getattr(verify_cases, f"{form}_plan")

    def plan(*arguments: Any) -> Plan:
        right = made(*arguments)
        return next((wrong for what, wrong in wrong_plans(right) if what.startswith(pick)), right)

    monkeypatch.setattr(verify_cases, f"{form}_plan", plan)


def test_a_failure_is_shrunk_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    _mutate(monkeypatch, "chunkwise", "drop the update")
    with pytest.raises(VerificationError) as caught:
        tensorc.compile(LINEAR).verify()
    result = caught.value.result
    assert isinstance(result, VerifyResult) and not result.passed
    example = result.counterexample
    assert example is not None and example.sizes["d"] == example.sizes["e"] == 1
    assert example.sizes["n"] <= 5 and all(array.ndim <= 2 for array in example.inputs.values())
    assert sum(int(np.count_nonzero(a)) for a in example.inputs.values()) == 3
    assert set(np.concatenate([a.ravel() for a in example.inputs.values()])) == {0, 1}
    text = str(caught.value)
    for part in ("The chunkwise, chunk", "def f(q[n, d]", "sizes     n=", "q = [[", "expected", "got", "o["):
        assert part in text
    assert json.loads(json.dumps(result.to_dict()))["counterexample"]["form"].startswith("chunkwise")


@pytest.mark.parametrize("form", ["recurrent", "chunkwise"])
def test_a_wrong_plan_fails_in_the_form_it_is_of(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    _mutate(monkeypatch, form, "negate" if form == "recurrent" else "wrong inclusive flag")
    with pytest.raises(VerificationError, match=f"The {form}"):
        tensorc.compile(GATED).verify()


def test_a_plan_that_cannot_run_fails_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    made = chunkwise_plan

    def plan(*arguments: Any) -> Plan:
        right = made(*arguments)
        (loop,) = right.loops
        return _with(right, 0, replace(loop, body=tuple(s for s in loop.body if not isinstance(s, Keep))))

    monkeypatch.setattr(verify_cases, "chunkwise_plan", plan)
    with pytest.raises(VerificationError, match="PlanError: No loop has kept o"):
        tensorc.compile(LINEAR).verify()


def test_states_that_do_not_fit_fail_in_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    made = recurrent_plan

    def plan(*arguments: Any) -> Plan:
        right = made(*arguments)
        (loop,) = right.loops
        old = loop.states[0].name
        wrong: Plan = _renamed(right, old, "%other")
        return wrong

    monkeypatch.setattr(verify_cases, "recurrent_plan", plan)
    with pytest.raises(
        VerificationError, match="prefill, then steps.*\n(.*\n)*.*states of the chunkwise form"
    ):
        tensorc.compile(LINEAR).verify()


def _renamed(value: Any, old: str, new: str) -> Any:
    """A plan with one value under another name."""
    if isinstance(value, tuple):
        return tuple(_renamed(part, old, new) for part in value)
    if isinstance(value, str):
        return new if value == old else value
    if hasattr(value, "__dataclass_fields__"):
        return replace(
            value, **{f: _renamed(getattr(value, f), old, new) for f in value.__dataclass_fields__}
        )
    return value


# -- mistakes in generated source ----------------------------------------------------------------------------


def _edit(monkeypatch: pytest.MonkeyPatch, form: str, old: str, new: str) -> list[str]:
    """Generate source in which a pattern is replaced; the list holds what was edited."""
    made = numpy_source
    edited: list[str] = []

    def source(program: Program, plan: Plan, *rest: Any) -> str:
        text = made(program, plan, *rest)
        changed, count = re.subn(old, new, text) if plan.form == form else (text, 0)
        edited.extend([text] * bool(count))
        return changed

    monkeypatch.setattr(verify_source, "numpy_source", source)
    return edited


EDITS = {
    "a sign": ("chunkwise", r" \*= ", r" *= -"),
    "rows that are never written": ("chunkwise", r"range\(0, n, chunk\)", "range(chunk, n, chunk)"),
    "an input that is overwritten": ("parallel", r"(dtype=None\):\n)", r"\1    q *= 2\n"),
    "a dtype": ("parallel", r"(dtype=None\):\n)", r"\1    dtype = np.dtype('f2')\n"),
    "an accumulation in float32": ("parallel", r"np\.result_type\(dtype, np\.float32\)", "np.dtype('f4')"),
    "a name": ("recurrent", r"return \(", "return (missing, "),
}


@pytest.mark.parametrize("name", EDITS)
def test_mistakes_in_source_are_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    edited = _edit(monkeypatch, *EDITS[name])
    with pytest.raises(VerificationError, match="generated source in float") as caught:
        tensorc.compile(LINEAR).verify()
    assert edited and f"The {EDITS[name][0]}" in str(caught.value)
    example = caught.value.result.counterexample  # type: ignore[attr-defined]
    assert max(example.sizes.values()) <= 5


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


def test_reads_are_not_hidden_by_the_mutations() -> None:
    program, plan = _chunkwise(RATIO)
    divided = [
        s for loop in plan.loops for s in loop.body if isinstance(s, Map) and not isinstance(s.expr, Read)
    ]
    assert divided and not found(program, plan)
    for what, wrong in wrong_plans(plan):
        if what.startswith("negate a value"):
            assert found(program, wrong), what
