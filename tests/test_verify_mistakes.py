"""Every small mistake in a plan or in generated source is found, shrunk and shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc import verify_cases, verify_source
from tensorc.backends.numpy_source import numpy_source
from tensorc.errors import VerificationError
from tensorc.exact import ResampleNeeded
from tensorc.ir import Mul, Neg, Program, Read, extent
from tensorc.passes.pipeline import Log, chunkwise_plan, recurrent_plan, stage_graph
from tensorc.plan import Contract, GateUse, Gather, Keep, Loop, Map, Plan, ScanTile, Step, Tile, Update
from tensorc.verify import VerifyResult
from tensorc.verify_cases import Case
from tensorc.verify_exact import differences, draw
from tensorc.verify_sizes import trials

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


def test_reads_are_not_hidden_by_the_mutations() -> None:
    program, plan = _chunkwise(RATIO)
    divided = [
        s for loop in plan.loops for s in loop.body if isinstance(s, Map) and not isinstance(s.expr, Read)
    ]
    assert divided and not found(program, plan)
    for what, wrong in wrong_plans(plan):
        if what.startswith("negate a value"):
            assert found(program, wrong), what
