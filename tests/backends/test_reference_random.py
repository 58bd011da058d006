"""Random contractions against loops, and programs that try to be slow or deep."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorc.backends.reference import evaluate, run
from tensorc.grammar import parse
from tensorc.ir import (
    Bind,
    Compare,
    Const,
    Div,
    Equation,
    Expr,
    Index,
    Iverson,
    Mul,
    Program,
    Read,
    Reduce,
    Size,
    TensorDecl,
    extent,
)
from tests.backends.definition_by_loops import by_loops

INF, NAN = np.inf, np.nan


def same_numbers(left: Any, right: Any) -> None:
    np.testing.assert_array_equal(np.asarray(left, float), np.asarray(right, float))


# Products of random factors and relations, against loops.

NAMES = "ijuc"


@st.composite
def contractions(draw: st.DrawFn) -> Program:
    """sum[binds, domain](product of reads), with any conditions between the indices."""
    axis = extent("n")
    left = draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))
    number = draw(st.integers(1, 4))
    factors: list[Expr] = []
    inputs = []
    for at in range(number):
        names = draw(st.lists(st.sampled_from(NAMES), max_size=3))
        inputs.append(TensorDecl(f"t{at}", (axis,) * len(names)))
        factors.append(Read(f"t{at}", tuple(Index(name) for name in names)))
    operators = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    relation = st.builds(Compare, operators, *[st.sampled_from([Index(n) for n in NAMES])] * 2)
    conditions = draw(st.lists(relation, max_size=3))
    if draw(st.booleans()):
        factors.append(Iverson(draw(relation)))
    if draw(st.booleans()):
        factors = [Div(factors[0], Size("n")), *factors[1:]]
    bound = tuple(Bind(name, axis) for name in NAMES if name not in left)
    body = factors[0] if len(factors) == 1 else Mul(tuple(factors))
    total = Reduce("sum", bound, tuple(conditions), body)
    equation = Equation("o", tuple(Bind(name, axis) for name in left), total)
    return Program("f", tuple(inputs), (TensorDecl("o", (axis,) * len(left)),), (), (equation,))


@settings(max_examples=150, deadline=None)
@given(contractions(), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([None, NAN, INF, -INF]))
def test_random_contractions(program: Program, n: int, seed: int, bad: float | None) -> None:
    rng = np.random.default_rng(seed)
    inputs = {t.name: rng.integers(-3, 4, (n,) * len(t.axes)).astype(object) for t in program.inputs}
    if bad is not None:
        array = inputs["t0"]
        array[tuple(rng.integers(0, n, array.ndim))] = bad
    floats = {name: array.astype(float) for name, array in inputs.items()}
    expected = by_loops(program, floats, {"n": n})["o"].astype(float)
    result = evaluate(program, floats, {"n": n})["o"]
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


# Hostile programs.


def seconds(text: str, *arguments: Any) -> float:
    program = parse(text)
    start = time.perf_counter()
    run(program, *arguments)
    return time.perf_counter() - start


HOSTILE = {
    "terms": " + ".join(["x[i]"] * 1500),
    "factors": " * ".join(["x[i]"] * 1500),
    "quotients": " / ".join(["x[i]"] * 140),
    "strong quotients": "[i == 0] * " + " / 2 * ".join(["x[i]"] * 70),
    "quotients in a sum": "sum[i](" + " / ".join(["x[i]"] * 140) + ")",
    "parentheses": "(" * 90 + "x[i]" + ")" * 90,
    "signs": "-" * 90 + "x[i]",
    "functions": "abs(" * 90 + "x[i]" + ")" * 90,
    "conditions": "where(" + " and ".join(["x[i] > 0"] * 1000) + ", x[i], 0)",
    "subscript": "x[" + " + ".join(["i"] * 1500) + "]",
    "far away": "x[i * 9223372036854775807 * 9223372036854775807 * 9223372036854775807]",
    "far below": "x[-i * 9223372036854775807 - 9223372036854775807]",
    "large number": "10 ** 400 * 0 + x[i]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_expressions_are_quick(name: str) -> None:
    expression = HOSTILE[name]
    signature, left = ("z[]", "z[]") if expression.startswith("sum") else ("o[n]", "o[i]")
    assert seconds(f"def f(x[n]) -> {signature}:  {left} = {expression}", np.ones(3)) < 1


@pytest.mark.parametrize("inside", [False, True])
def test_a_deep_expression_needs_no_deep_stack(inside: bool) -> None:
    n = extent("n")
    body: Expr = Read("x", (Index("i"),))
    for _ in range(20_000):
        body = Div(body, Const(1))
    body = Reduce("sum", (Bind("i", n),), (), body) if inside else body
    left = () if inside else (Bind("i", n),)
    axes = tuple(bind.extent for bind in left)
    program = Program(
        "f", (TensorDecl("x", (n,)),), (TensorDecl("o", axes),), (), (Equation("o", left, body),)
    )
    same_numbers(run(program, np.array([1.0, 2.0])), 3 if inside else [1, 2])


def test_many_equations() -> None:
    lines = "\n".join(f"    t{k + 1}[i] = t{k}[i] + 1" for k in reversed(range(400)))
    assert seconds(f"def f(x[n]) -> t400[n]:\n    t0[i] = x[i]\n{lines}", np.ones(3)) < 1


def test_the_definition_is_quick_enough_to_test_with() -> None:
    text = """def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
        s[i, j] = q[i, c] * k[j, c]
        o[i, x] = sum[u <= j <= i](s[i, u] * s[j, u] * v[j, x])"""
    q, k, v = np.random.default_rng(0).standard_normal((3, 64, 16))
    assert min(seconds(text, q, k, v) for _ in range(5)) < 0.05
