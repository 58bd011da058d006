"""Operators, functions, reductions and names of the Python front end, against the parser's trees."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tensorc.tracing as tc
from tensorc.grammar.parser import parse_definitions
from tensorc.grammar.syntax import Assignment, Definition
from tensorc.trace_program import record

HEADER = "q[n, d], k[n, d], m[n, n], a[n], b[n], g[], w=64 -> o[n, n]"
i, j, u, c = tc.indices("i j u c")
n, d, w = tc.sizes("n d w")


def traced_body(build: Any) -> Any:
    """The surface tree that `build(q, k, m, a, b, g)` makes as the body of o[i, j]."""

    def f(q, k, m, a, b, g):
        return build(q, k, m, a, b, g)[i, j]

    return only(record(f, HEADER).definition).body


def only(definition: Definition) -> Assignment:
    (statement,) = definition.statements
    assert isinstance(statement, Assignment)
    return statement


def text_body(text: str) -> Any:
    (definition,) = parse_definitions(f"def f(q[n, d]) -> o[n, n]: o[i, j] = {text}")
    return only(definition).body


SAME = [
    (lambda q, k, m, a, b, g: q[i, c] * k[j, c], "q[i, c] * k[j, c]"),
    (lambda q, k, m, a, b, g: a[i] * b[j] * g, "a[i] * b[j] * g"),
    (lambda q, k, m, a, b, g: a[i] * (b[j] * g), "a[i] * (b[j] * g)"),
    (lambda q, k, m, a, b, g: (a[i] + b[j]) * g, "(a[i] + b[j]) * g"),
    (lambda q, k, m, a, b, g: a[i] - b[j] + g, "a[i] - b[j] + g"),
    (lambda q, k, m, a, b, g: a[i] - (b[j] + g), "a[i] - (b[j] + g)"),
    (lambda q, k, m, a, b, g: a[i] - -b[j], "a[i] - -b[j]"),
    (lambda q, k, m, a, b, g: -a[i] * b[j], "-a[i] * b[j]"),
    (lambda q, k, m, a, b, g: -(a[i] * b[j]), "-(a[i] * b[j])"),
    (lambda q, k, m, a, b, g: a[i] * -(b[j] + 1), "a[i] * -(b[j] + 1)"),
    (lambda q, k, m, a, b, g: a[i] / b[j] / g, "a[i] / b[j] / g"),
    (lambda q, k, m, a, b, g: a[i] / (b[j] / g), "a[i] / (b[j] / g)"),
    (lambda q, k, m, a, b, g: a[i] / b[j] * g, "a[i] / b[j] * g"),
    (lambda q, k, m, a, b, g: a[i] * b[j] / g, "a[i] * b[j] / g"),
    (lambda q, k, m, a, b, g: i // 3 % 2 * a[j], "i // 3 % 2 * a[j]"),
    (lambda q, k, m, a, b, g: 7 // (i + 1), "7 // (i + 1)"),
    (lambda q, k, m, a, b, g: 7 % (i + 1), "7 % (i + 1)"),
    (lambda q, k, m, a, b, g: a[i] ** 2 ** b[j], "a[i] ** 2 ** b[j]"),
    (lambda q, k, m, a, b, g: (a[i] ** 2) ** b[j], "(a[i] ** 2) ** b[j]"),
    (lambda q, k, m, a, b, g: (-a[i]) ** 2, "(-a[i]) ** 2"),
    (lambda q, k, m, a, b, g: -(a[i] ** 2), "-a[i] ** 2"),
    (lambda q, k, m, a, b, g: g ** -(i - j), "g ** -(i - j)"),
    (lambda q, k, m, a, b, g: g ** (i - j), "g ** (i - j)"),
    (lambda q, k, m, a, b, g: 2 ** a[i] + 0.5, "2 ** a[i] + 0.5"),
    (lambda q, k, m, a, b, g: 1 - a[i], "1 - a[i]"),
    (lambda q, k, m, a, b, g: 1 / a[i], "1 / a[i]"),
    (lambda q, k, m, a, b, g: a[i] * -2, "a[i] * -2"),
    (lambda q, k, m, a, b, g: -0.1 * a[i], "-0.1 * a[i]"),
    (lambda q, k, m, a, b, g: abs(a[i]) * tc.abs(b[j]), "abs(a[i]) * abs(b[j])"),
    (lambda q, k, m, a, b, g: +a[i], "a[i]"),
    (lambda q, k, m, a, b, g: tc.exp(a[i] - b[j]), "exp(a[i] - b[j])"),
    (lambda q, k, m, a, b, g: tc.maximum(a[i], 0), "maximum(a[i], 0)"),
    (lambda q, k, m, a, b, g: tc.minimum(2, i - j), "minimum(2, i - j)"),
    (lambda q, k, m, a, b, g: q[i, c] / tc.sqrt(d), "q[i, c] / sqrt(d)"),
    (lambda q, k, m, a, b, g: q[i - 1, d - 1 - c], "q[i - 1, d - 1 - c]"),
    (lambda q, k, m, a, b, g: a[i // 2] * a[tc.minimum(j, 3)], "a[i // 2] * a[minimum(j, 3)]"),
    (lambda q, k, m, a, b, g: g[()] * m[i, i], "g[] * m[i, i]"),
    (lambda q, k, m, a, b, g: tc.sum(a[u] * w, u, u <= i), "sum[u, u <= i](a[u] * w)"),
    (lambda q, k, m, a, b, g: tc.prod(a[u], (j < u) & (u <= i)), "prod[j < u <= i](a[u])"),
    (lambda q, k, m, a, b, g: tc.prod(a[u], j < u, u <= i), "prod[j < u, u <= i](a[u])"),
    (lambda q, k, m, a, b, g: tc.iverson((i < j) & (i < u)), "[i < j and i < u]"),
    (lambda q, k, m, a, b, g: tc.iverson((i < j) & (j < i - u) & (i - u >= 0)), "[i < j < i - u >= 0]"),
    (lambda q, k, m, a, b, g: a[i] * tc.max(b[u], u), "a[i] * max[u](b[u])"),
    (lambda q, k, m, a, b, g: tc.min(b[u], u < i, u > 1), "min[u < i, u > 1](b[u])"),
    (lambda q, k, m, a, b, g: tc.mean(b[u], u), "mean[u](b[u])"),
    (lambda q, k, m, a, b, g: tc.logsumexp(b[u], u), "logsumexp[u](b[u])"),
    (lambda q, k, m, a, b, g: tc.softmax(m[i, j], j, j <= i), "softmax[j, j <= i](m[i, j])"),
    (lambda q, k, m, a, b, g: tc.iverson(j <= i) * a[j], "[j <= i] * a[j]"),
    (lambda q, k, m, a, b, g: tc.where(m[i, j], a[i], 0), "where(m[i, j], a[i], 0)"),
    (lambda q, k, m, a, b, g: tc.where(~(j < i), 1, 0), "where(not j < i, 1, 0)"),
    (lambda q, k, m, a, b, g: tc.iverson((j < i) | (j == u)), "[j < i or j == u]"),
    (
        lambda q, k, m, a, b, g: tc.iverson(((j < i) | (j != u)) & (a[i] >= b[j]) & ~((i < 3) & (j < 4))),
        "[(j < i or j != u) and a[i] >= b[j] and not (i < 3 and j < 4)]",
    ),
    (lambda q, k, m, a, b, g: tc.iverson((i < j) & ((j < u) & (u < 9))), "[i < j < u < 9]"),
    (lambda q, k, m, a, b, g: tc.max(g, (u < i) & (u < j) | (u < 1)), "max[u < i and u < j or u < 1](g)"),
]


@pytest.mark.parametrize(("build", "text"), SAME, ids=[text for _, text in SAME])
def test_operators_build_the_trees_of_the_text(build, text):
    assert traced_body(build) == text_body(text)


@pytest.mark.parametrize(("build", "text"), SAME, ids=[text for _, text in SAME])
def test_traces_are_written_as_text_with_places(build, text):
    def f(q, k, m, a, b, g):
        return build(q, k, m, a, b, g)[i, j]

    recording = record(f, HEADER)
    (parsed,) = parse_definitions(recording.text)
    assert parsed == recording.definition
    assert spans(parsed) == spans(recording.definition)


def spans(definition: Definition) -> list[Any]:
    from tensorc.trace_walk import walk

    declared = [(x.span, x.axis_spans) for x in (*definition.inputs, *definition.outputs)]
    statement = only(definition)
    return [definition.span, *declared, statement.span, *(node.span for node in walk(statement.body))]


NUMBERS = [
    (0.1, Fraction(1, 10)), (1e-5, Fraction(1, 100000)), (2.0, 2), (True, 1), (1e300, 10**300),
    (np.float64(0.1), Fraction(1, 10)), (np.int32(7), 7), (np.bool_(True), 1),
    (Decimal("0.25"), Fraction(1, 4)),
    (Fraction(3, 8), Fraction(3, 8)), (5e-324, Fraction("5e-324")), (np.float32(0.5), Fraction(1, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("value", "exact"), NUMBERS, ids=[repr(v) for v, _ in NUMBERS])
@pytest.mark.parametrize("left", [False, True])
def test_numbers_are_exact(value, exact, left):
    body = traced_body(lambda q, k, m, a, b, g: value * a[i] if left else a[i] * value)
    assert body.factors[0 if left else 1].value == exact


def test_a_fraction_without_decimals_is_a_quotient():
    assert traced_body(lambda q, k, m, a, b, g: a[i] * Fraction(1, 3)) == text_body("a[i] * (1 / 3)")


def test_numbers_round_trip_through_text():
    for value in (0.1, 1e-300, 1e300, 123456.789, 5e-324, 2.5e22, 1e16, 1.7976931348623157e308):

        def f(a, value=value):
            return (a[i] * value)[i]

        recording = record(f, "a[n] -> o[n]")
        assert parse_definitions(recording.text) == (recording.definition,)
