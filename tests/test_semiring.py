"""A contraction in every semiring: the interpreter of plans and emitted NumPy against a reduction by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tensorc
from tensorc.backends.numpy_source import numpy_source
from tensorc.execute import execute
from tensorc.numbers import FLOAT
from tensorc.passes.pipeline import Log, parallel_plan
from tensorc.plan import Contract, Plan
from tensorc.plan_text import print_plan
from tensorc.semiring import SEMIRINGS

PROGRAM = tensorc.parse("def product(a[n, m], b[m, k]) -> y[n, k]:\n    y[i, x] = a[i, j] * b[j, x]")
SIZES = {"n": 3, "m": 4, "k": 2}
BY_HAND = {
    "sum-product": lambda a, b: np.add.reduce(a[:, :, None] * b, 1),
    "max-plus": lambda a, b: np.maximum.reduce(a[:, :, None] + b, 1),
    "min-plus": lambda a, b: np.minimum.reduce(a[:, :, None] + b, 1),
    "max-product": lambda a, b: np.maximum.reduce(a[:, :, None] * b, 1),
}


def in_semiring(name: str) -> Plan:
    plan = parallel_plan(PROGRAM, None, SIZES, False, Log())
    swapped = [replace(s, semiring=name) if isinstance(s, Contract) else s for s in plan.epilogue]
    assert any(isinstance(s, Contract) for s in swapped)
    return replace(plan, epilogue=tuple(swapped))


@pytest.mark.parametrize("name", SEMIRINGS)
def test_every_row_of_the_table_runs(name: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 4)), rng.random((4, 2))
    plan, wanted = in_semiring(name), BY_HAND[name](a, b)
    outputs, _ = execute(PROGRAM, plan, {"a": a, "b": b}, SIZES, FLOAT)
    np.testing.assert_allclose(outputs["y"], wanted)
    scope: dict[str, object] = {}
    exec(numpy_source(PROGRAM, plan), scope)
    (y,) = scope["product"](a, b)  # type: ignore[operator]
    np.testing.assert_allclose(y, wanted)


@pytest.mark.parametrize(("name", "row"), SEMIRINGS.items())
def test_zero_absorbs_and_one_changes_nothing(name: str, row: object) -> None:
    semiring = SEMIRINGS[name]
    combine = {"*": np.multiply, "+": np.add}[semiring.combine]
    total = {"sum": np.add, "max": np.maximum, "min": np.minimum}[semiring.total]
    for x in (0.25, 3.0):
        assert combine(x, semiring.zero) == semiring.zero
        assert combine(x, semiring.one) == x == total(x, semiring.zero)


def test_a_plan_prints_its_semiring() -> None:
    assert "max[j](b[j, x] + a[i, j])" in print_plan(in_semiring("max-plus"))
