"""The interpreter of plans: each step against plain NumPy, whole plans against the definition, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc.backends.reference import evaluate
from tensorc.errors import ShapeError
from tensorc.exact import Exact, ResampleNeeded, RescaleNeeded, as_exact, same
from tensorc.execute import PlanError, execute
from tensorc.execute_expressions import Expressions
from tensorc.execute_relations import scan, solve, tile
from tensorc.execute_values import Labelled, contract, spread
from tensorc.ir import Div, Expr, Index, Program, Read, extent
from tensorc.numbers import FLOAT, Numbers
from tensorc.passes.pipeline import (
    Log,
    NotLinear,
    chunkwise_plan,
    parallel_plan,
    recurrent_plan,
    stage_graph,
)
from tensorc.plan import COLUMN, ROW, Contract, GateUse, Keep, Plan, Ref, ScanTile, Solve, Tile, Update
from tensorc.sampling import random_inputs

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.tc"))
N = extent("n")
EXACT = Exact(0)
SIZES = {"n": 7, "m": 3, "d": 2, "e": 3, "w": 2}

GATED = """
def gated(q[n, d], k[n, d], v[n, e], a[n, d]) -> o[n, e]:
    o[i, x] = sum[j <= i](prod[j < u <= i](a[u, c]) * q[i, c] * k[j, c] * v[j, x])
"""
BOTH_WAYS = """
def both(x[n], y[n]) -> z[n]:
    a[i] = sum[j <= i](x[j])
    z[i] = sum[j >= i](a[j] * y[j])
"""


def all_plans(program: Program, sizes: dict[str, int]) -> list[Plan]:
    """The plans of a program along n: parallel, and chunkwise and recurrent where they exist."""
    plans = [parallel_plan(program, N, sizes, expand, Log()) for expand in (False, True)]
    try:
        graph = stage_graph(program, N, sizes, Log())
        plans += [chunkwise_plan(program, graph, N, sizes, chunk) for chunk in (16, 128)]
        plans.append(recurrent_plan(program, graph, N, sizes))
    except NotLinear:
        pass
    return plans


def check(program: Program, sizes: dict[str, int], batch: tuple[int, ...] = (), chunk: int = 3) -> int:
    """Every plan equals the definition exactly; the number of plans."""
    rng = np.random.default_rng(0)
    plans = all_plans(program, sizes)
    for _ in range(20):
        inputs = random_inputs(program, sizes, rng, batch)
        try:
            return _check(program, sizes, plans, inputs, chunk)
        except (RescaleNeeded, ResampleNeeded):  # numbers too long: others are drawn, as verify does
            continue
    raise AssertionError("no inputs with short numbers")


def _check(
    program: Program, sizes: dict[str, int], plans: list[Plan], inputs: dict[str, Any], chunk: int
) -> int:
    numbers = Exact(0, 2**4 * 3 * 5 * 7, undefined="keep")
    expected = evaluate(program, inputs, sizes, numbers)
    for plan in plans:
        outputs, _ = execute(program, plan, inputs, sizes, numbers, chunk)
        for name, wanted in expected.items():
            assert outputs[name].shape == wanted.shape
            assert same(outputs[name], wanted).all(), plan.form
    return len(plans)


# -- whole plans ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_plan_of_the_catalogue_equals_the_definition(path: Path) -> None:
    program = tensorc.compile(path).program
    sizes = {name: SIZES.get(name, 2) for name in program.sizes()}
    if path.stem == "gated_slot_attention":  # softmax of what a softmax reads: the exponents get long
        sizes["n"] = 2
    assert check(program, sizes) >= 2
    assert check(program, sizes | {"n": 1} if "n" in sizes else sizes, batch=(2,)) >= 2


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8])
def test_gates_may_be_zero_negative_and_fractions(n: int) -> None:
    assert check(tensorc.parse(GATED), {"n": n, "d": 2, "e": 2}) == 5


@pytest.mark.parametrize("n", [0, 1, 4, 7])
def test_loops_forward_and_backward_with_kept_rows(n: int) -> None:
    program = tensorc.parse(BOTH_WAYS)
    graph = stage_graph(program, N, {"n": n}, Log())
    plan = chunkwise_plan(program, graph, N, {"n": n}, 16)
    assert [loop.reverse for loop in plan.loops] == [False, True] and plan.kept
    inputs = {"x": np.arange(n), "y": np.arange(n)[::-1]}
    expected = evaluate(program, inputs, {"n": n}, EXACT)["z"]
    for chunk in (1, 2, 3, 16):
        found, _ = execute(program, plan, inputs, {"n": n}, EXACT, chunk)
        assert same(found["z"], expected).all()


def test_floats_are_computed_in_the_dtype_of_the_inputs() -> None:
    program = tensorc.parse(GATED)
    sizes = {"n": 9, "d": 2, "e": 3}
    rng = np.random.default_rng(1)
    for dtype in (np.float32, np.float64):
        inputs = {
            d.name: rng.normal(size=[a.value(sizes) for a in d.axes]).astype(dtype) for d in program.inputs
        }
        expected = evaluate(program, inputs, sizes)["o"]
        for plan in all_plans(program, sizes):
            found, states = execute(program, plan, inputs, sizes, FLOAT, 4)
            assert found["o"].dtype == dtype and all(s.dtype == dtype for s in states)
            np.testing.assert_allclose(found["o"], expected, rtol=2e-4 if dtype == np.float32 else 1e-12)


def test_batches_lead_and_broadcast() -> None:
    program = tensorc.parse(GATED)
    sizes = {"n": 5, "d": 2, "e": 3}
    inputs = random_inputs(program, sizes, np.random.default_rng(0), (2, 3))
    inputs = {"q": inputs["q"][0], "k": inputs["k"][:, :1], "v": inputs["v"], "a": inputs["a"][0, 0]}
    expected = evaluate(program, inputs, sizes, EXACT)["o"]
    assert expected.shape == (2, 3, 5, 3)
    for plan in all_plans(program, sizes):
        assert same(execute(program, plan, inputs, sizes, EXACT, 2)[0]["o"], expected).all()


def test_a_sequence_goes_on_from_a_state() -> None:
    text = "def f(x[n], a[n]) -> y[n]:  y[i] = sum[j <= i](prod[j < u <= i](a[u]) * x[j]) + i"
    program = tensorc.parse(text)
    inputs = {"x": np.arange(1, 8), "a": np.array([2, -1, 0, 3, 1, -2, 2])}
    expected = evaluate(program, inputs, {"n": 7}, EXACT)["y"]
    plans = all_plans(program, {"n": 7})[2:]
    for first in plans:
        for second in plans:
            head, state = execute(program, first, {k: v[:5] for k, v in inputs.items()}, {"n": 5}, EXACT, 4)
            tail, after = execute(
                program, second, {k: v[5:] for k, v in inputs.items()}, {"n": 2}, EXACT, 4, state, 5
            )
            assert same(np.concatenate([head["y"], tail["y"]]), expected).all()
            whole = execute(program, second, inputs, {"n": 7}, EXACT, 4)[1]
            assert all(same(a, b).all() for a, b in zip(after, whole, strict=True))


def test_conditions_compare_the_data_as_given() -> None:
    text = "def f(s[n], x[n]) -> y[n]:  y[i] = sum[j <= i, s[i] == s[j]](x[j])"
    program = tensorc.parse(text)
    large = 2**60
    inputs = {"s": np.array([large, large + 1, large + 1]), "x": np.array([1.0, 2.0, 4.0])}
    plan = parallel_plan(program, N, {"n": 3}, False, Log())
    assert execute(program, plan, inputs, {"n": 3}, FLOAT)[0]["y"].tolist() == [1, 2, 6]


# -- plans that cannot run -----------------------------------------------------------------------------------


def _chunkwise() -> tuple[Program, Plan, dict[str, Any]]:
    program = tensorc.parse("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    plan = chunkwise_plan(program, stage_graph(program, N, {"n": 4}, Log()), N, {"n": 4}, 16)
    return program, plan, {"x": np.arange(4)}


def test_a_value_that_no_step_has_made_is_an_error() -> None:
    program, plan, inputs = _chunkwise()
    (loop,) = plan.loops
    for gone in range(len(loop.body)):
        body = loop.body[:gone] + loop.body[gone + 1 :]
        if isinstance(loop.body[gone], Update):
            continue  # that is a wrong plan, but one that runs
        with pytest.raises(PlanError):
            execute(program, replace(plan, loops=(replace(loop, body=body),)), inputs, {"n": 4}, EXACT, 2)


def test_a_value_of_an_earlier_chunk_is_gone() -> None:
    program, plan, inputs = _chunkwise()
    (loop,) = plan.loops
    turned = replace(loop, body=loop.body[1:] + loop.body[:1])
    with pytest.raises(PlanError, match="before a step has made it"):
        execute(program, replace(plan, loops=(turned,)), inputs, {"n": 4}, EXACT, 2)


def test_a_state_is_not_read_after_its_update() -> None:
    program, plan, inputs = _chunkwise()
    (loop,) = plan.loops
    update = next(s for s in loop.body if isinstance(s, Update))
    first = replace(loop, body=(*loop.body, update))
    with pytest.raises(PlanError, match="after its update"):
        execute(program, replace(plan, loops=(first,)), inputs, {"n": 4}, EXACT, 2)


def test_rows_are_kept_once() -> None:
    program, plan, inputs = _chunkwise()
    (loop,) = plan.loops
    keep = next(s for s in loop.body if isinstance(s, Keep))
    twice = replace(loop, body=(*loop.body, keep))
    with pytest.raises(PlanError, match="kept twice"):
        execute(program, replace(plan, loops=(twice,)), inputs, {"n": 4}, EXACT, 2)
    with pytest.raises(PlanError, match="No loop has kept y"):
        never = replace(loop, body=tuple(s for s in loop.body if s is not keep))
        execute(program, replace(plan, loops=(never,)), inputs, {"n": 4}, EXACT, 2)


def test_labels_that_do_not_fit_are_errors() -> None:
    program, plan, inputs = _chunkwise()
    (loop,) = plan.loops
    step = next(s for s in loop.body if isinstance(s, Contract))
    wrong = replace(step, out=Ref(step.out.value, ("nowhere",)))
    body = tuple(wrong if s is step else s for s in loop.body)
    with pytest.raises(PlanError):
        execute(program, replace(plan, loops=(replace(loop, body=body),)), inputs, {"n": 4}, EXACT, 2)


def test_inputs_must_have_their_axes() -> None:
    program, plan, _ = _chunkwise()
    with pytest.raises(ShapeError, match=r"x has shape \(3,\)"):
        execute(program, plan, {"x": np.arange(3)}, {"n": 4}, EXACT)
    with pytest.raises(PlanError, match="1 states, not 2"):
        execute(program, plan, {"x": np.arange(4)}, {"n": 4}, EXACT, None, (1, 2))


# -- single steps --------------------------------------------------------------------------------------------


def _tile(part: str, gates: np.ndarray[Any, Any], inclusive: bool, strict: bool = False) -> Any:
    uses = (GateUse(Ref("a", (ROW,)), False, inclusive, False),)
    axes = {"fine": (ROW, COLUMN), "outside": (ROW, COLUMN), "left": (ROW,), "right": (ROW,), "through": ()}
    step = Tile(Ref("t", axes[part]), part, strict, uses)
    return tile(FLOAT, step, lambda ref: Labelled(ref.axes, gates), len(gates))


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_tiles_are_products_of_gates(inclusive: bool, strict: bool) -> None:
    gates = np.array([2.0, -3.0, 0.0, 5.0, -0.5])
    fine, outside = (_tile(part, gates, inclusive, strict) for part in ("fine", "outside"))
    for late in range(5):
        for early in range(5):
            product = np.prod(gates[early + 1 : late + 1 if inclusive else late])
            before = early < late or (early == late and not strict)
            assert fine[late, early] == (product if before else 0)
            assert outside[late, early] == (product if before else 1)
    left = [np.prod(gates[: t + 1 if inclusive else t]) for t in range(5)]
    assert _tile("left", gates, inclusive).tolist() == left
    assert _tile("right", gates, inclusive).tolist() == [np.prod(gates[t + 1 :]) for t in range(5)]
    assert _tile("through", gates, inclusive) == np.prod(gates)


def test_a_tile_of_constant_and_of_logarithmic_gates() -> None:
    uses = (
        GateUse(Ref("c", ("h",)), False, True, True),
        GateUse(Ref("g", (ROW,)), True, True, False),
    )
    values = {"c": np.array([0.5, -2.0]), "g": np.log([2.0, 3.0, 5.0])}
    step = Tile(Ref("t", (ROW, COLUMN, "h")), "fine", False, uses)
    found = tile(FLOAT, step, lambda ref: Labelled(ref.axes, values[ref.value]), 3)
    assert found.shape == (3, 3, 2)
    np.testing.assert_allclose(found[2, 0], np.array([0.25, 4.0]) * 15)
    np.testing.assert_allclose(found[1, 1], [1, 1])
    assert (found[0, 2] == 0).all()


def test_a_gate_that_varies_is_not_constant() -> None:
    step = Tile(Ref("t", (ROW,)), "left", False, (GateUse(Ref("a", (ROW,)), False, True, True),))
    with pytest.raises(PlanError, match="said to be constant"):
        tile(FLOAT, step, lambda ref: Labelled(ref.axes, np.ones(3)), 3)


@pytest.mark.parametrize("strict", [True, False])
def test_a_scan_is_the_state_of_every_token(strict: bool) -> None:
    gates, writes, state = np.array([2, 0, -1]), np.array([[1, 2], [3, 4], [5, 6]]), np.array([10, 20])
    values = {"a": as_exact(gates), "w": as_exact(writes), "S": as_exact(state)}
    uses = (GateUse(Ref("a", (ROW,)), False, True, False),)
    step = ScanTile(Ref("t", ("x", ROW)), Ref("w", (ROW, "x")), Ref("S", ("x",)), strict, uses)
    found = scan(EXACT, step, lambda ref: Labelled(ref.axes, values[ref.value]), ROW, (2,))
    after, seen = [], state
    for gate, write in zip(gates, writes, strict=True):
        after.append(gate * seen if strict else gate * seen + write)
        seen = gate * seen + write
    assert found.T.tolist() == np.array(after).tolist()


def test_a_triangular_system_and_its_mask() -> None:
    matrix = np.tril(np.arange(1, 17).reshape(4, 4), -1)
    right = np.arange(8).reshape(4, 2)
    values = {"m": as_exact(matrix), "r": as_exact(right)}
    step = Solve((Ref("t", (ROW, "x")),), ((Ref("m", (ROW, COLUMN)),),), (Ref("r", (ROW, "x")),))
    (found,) = solve(EXACT, step, lambda ref: Labelled(ref.axes, values[ref.value]), ROW, COLUMN)
    assert ((np.eye(4, dtype=int).astype(object) - matrix).dot(found) == right).all()
    values["m"] = as_exact(matrix + np.eye(4, dtype=int))
    with pytest.raises(PlanError, match="strictly lower triangular"):
        solve(EXACT, step, lambda ref: Labelled(ref.axes, values[ref.value]), ROW, COLUMN)


@pytest.mark.parametrize("numbers", [FLOAT, EXACT], ids=["floats", "exact"])
def test_contractions_sum_what_the_result_lacks(numbers: Numbers) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-3, 4, (2, 3, 4)), rng.integers(-3, 4, (4, 5))
    operands = (Labelled(("i", "c"), numbers.number(a)), Labelled(("c", "x"), numbers.number(b)))
    found = contract(numbers, operands, ("x", "i"))
    assert found.tolist() == (a @ b).swapaxes(-1, -2).tolist()
    alone = contract(numbers, operands[:1], ("c",))
    assert alone.tolist() == a.sum(axis=1).tolist()
    empty = contract(numbers, (Labelled(("c",), numbers.number(np.zeros(0, int))),) * 2, ())
    assert empty == 0


def test_contractions_of_infinities_are_as_floats_have_them() -> None:
    left, right = Labelled(("c",), np.array([np.inf, 1.0])), Labelled(("c",), np.array([0.0, 1.0]))
    with np.errstate(invalid="ignore"):
        assert np.isnan(contract(FLOAT, (left, right), ()))
    exact = [Labelled(v.labels, as_exact(v.array)) for v in (left, right)]
    assert np.isnan(float(contract(EXACT, exact, ())[()]))


def test_labels_are_aligned_by_name() -> None:
    value = Labelled(("i", "j"), np.arange(6).reshape(2, 3))
    assert spread(value, ("j", "k", "i")).shape == (3, 1, 2)
    with pytest.raises(PlanError, match="does not fit"):
        spread(value, ("i",))
    with pytest.raises(PlanError, match="twice"):
        Labelled(("i", "i"), np.ones((2, 2)))


class _Around:
    """Values for expressions."""

    sizes: Mapping[str, int] = {"d": 4}

    def __init__(self, **values: Any) -> None:
        self.values = values

    def value(self, ref: Ref, given: bool = False) -> Labelled:
        return Labelled(ref.axes, self.values[ref.value])

    def positions(self, label: str) -> Any:
        return np.arange(3)

    def here(self) -> int:
        return 7


def test_expressions_have_strong_zeros() -> None:
    program = tensorc.parse("def f(x[n]) -> y[n]:  y[i] = [i > 0] * (x[i] / i) + where(i < 1, 5, x[i] ** 2)")
    around = _Around(x=as_exact([2, 3, 4]))
    found = Expressions(EXACT, around).evaluate(program.equations[0].body)
    assert spread(found, ("i",)).tolist() == [5, 12, 18]


def test_long_expressions_need_no_deep_stack() -> None:
    program = tensorc.parse("def f(x[n]) -> y[n]:  y[i] = " + " - ".join(["x[i]"] * 1500))
    found = Expressions(EXACT, _Around(x=as_exact([1, 2, 3]))).evaluate(program.equations[0].body)
    assert found.array.tolist() == [-1498, -2996, -4494]
    deep: Expr = Read("x", (Index("i"),))
    for _ in range(1199):
        deep = Div(deep, Read("x", (Index("i"),)))
    found = Expressions(EXACT, _Around(x=as_exact([1, -1, 2]))).evaluate(deep)
    assert found.array.tolist() == [1, 1, Fraction(1, 2**1198)]
