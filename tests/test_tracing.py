"""Operators, functions, reductions and names of the Python front end, against the parser's trees."""

from __future__ import annotations

import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tensorc.tracing as tc
from tensorc.errors import LanguageError
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


def test_intermediates_take_the_names_of_variables():
    def f(q, k):
        s = (q[i, c] * k[j, c])[i, j]
        return (s[i, u] * (s[j, u] + 1)[u, j][u, j])[i, j]

    names = [s.target for s in record(f, "q[n, d], k[n, d] -> o[n, n]").definition.statements]
    assert names == ["s", "t", "o"]


def test_names_of_intermediates_avoid_all_others():
    def f(q, k):
        for _ in range(3):
            s = (q[i, c] * k[j, c])[i, j]
        o = (s[i, j] * 2)[i, j]
        x = tc.indices("x")
        n = (o[i, x] + 1)[i, x]
        d = tc.tensor("x")
        d[i, j] = n[i, j]
        return d

    names = [s.target for s in record(f, "q[n, d], k[n, d] -> o[n, n]").definition.statements]
    assert names == ["s", "s_2", "s_3", "o_2", "n_2", "o"]


def test_forward_tensors_keep_their_names():
    def f(v):
        w = tc.tensor("w")
        w[i] = v[i] - w[i - 1]
        return (w[i] * 2)[i]

    recording = record(f, "v[n] -> o[n]")
    assert recording.text == "def f(v[n]) -> o[n]:\n    w[i] = v[i] - w[i - 1]\n    o[i] = w[i] * 2\n"


def test_several_outputs_and_scalars():
    def f(q, g):
        norm = tc.sum(q[i, c] ** 2, i, c)[()]
        return (g * q[i, c] / norm)[i, c], tc.sum(q[i, c], i, c), norm

    text = record(f, "q[n, d], g[] -> o[n, d], z[], y[]").text
    assert text.splitlines() == [
        "def f(q[n, d], g[]) -> o[n, d], z[], y[]:",
        "    y[] = sum[i, c](q[i, c] ** 2)",
        "    o[i, c] = g * q[i, c] / y",
        "    z[] = sum[i, c](q[i, c])",
    ]


def test_inputs_and_repeated_tensors_are_copied_to_outputs():
    def f(q):
        s = (q[i, c] * 2)[i, c]
        return s, s, q

    assert record(f, "q[n, d] -> a[n, d], b[n, d], z[n, d]").text.splitlines()[1:] == [
        "    a[i, c] = q[i, c] * 2",
        "    b[j, l] = a[j, l]",
        "    z[u, f] = q[u, f]",
    ]


def test_python_is_the_macro_language():
    def window(x, taps):
        return sum(x[i - t] / (t + 1) for t in range(taps))

    def f(x, taps=3):
        return window(x, taps)[i]

    text = record(f, "x[n] -> o[n]").text
    assert "o[i] = 0 + x[i - 0] / 1 + x[i - 1] / 2 + x[i - 2] / 3" in text
    assert "x[i - 1]" not in record(f, "x[n] -> o[n]", constants={"taps": 1}).text


def test_indices_are_their_letters():
    def score(q, k):
        i, j, c = tc.indices("i", "j, c")
        return q[i, c] * k[j, c]

    def f(q, k):
        (i,) = tc.indices("i")
        j = tc.indices("j")
        return (score(q, k) + (i - j))[i, j]

    assert "o[i, j] = q[i, c] * k[j, c] + (i - j)" in record(f, "q[n, d], k[n, d] -> o[n, n]").text


def test_one_size_or_several():
    (size,) = tc.sizes("n")
    assert repr(size * tc.sizes("d")) == "n * d"
    assert [repr(s) for s in tc.sizes("r, d")] == ["r", "d"]


def test_comparisons_keep_their_sides():
    x, y = tc.indices("x"), tc.indices("y z")[0]
    assert repr(x - 2 < y) == "x - 2 < y"
    assert repr(x < y) == "x < y" and repr(y < x) == "y < x"
    assert repr(tc.sizes("n") > x) == "n > x"


def test_nested_traces_keep_apart():
    def inner(a):
        return (a[i] * 2)[i]

    def outer(a, b):
        text = record(inner, "a[n] -> o[n]").text
        assert text == "def inner(a[n]) -> o[n]:\n    o[i] = a[i] * 2\n"
        return (a[i] + b[i])[i]

    assert "o[i] = a[i] + b[i]" in record(outer, "a[n], b[n] -> o[n]").text


def test_threads_trace_at_once():
    barrier = threading.Barrier(4)
    texts: dict[int, str] = {}

    def work(number: int) -> None:
        def f(a):
            barrier.wait(10)
            s = (a[i] * number)[i]
            barrier.wait(10)
            return (s[i] + number)[i]

        texts[number] = record(f, "a[n] -> o[n]").text

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for k in range(4):
        assert texts[k] == f"def f(a[n]) -> o[n]:\n    s[i] = a[i] * {k}\n    o[i] = s[i] + {k}\n"


def test_names_of_programs():
    f = lambda a: (a[i] * 2)[i]  # noqa: E731
    assert record(f, "a[n] -> o[n]").definition.name == "f"
    assert record(f, "a[n] -> o[n]", name="double").definition.name == "double"

    def softmax(a):
        return (a[i] * 2)[i]

    assert record(softmax, "a[n] -> o[n]").definition.name == "softmax_"


def test_large_expressions_end_in_an_error_at_once():
    def doubling(a):
        s = a[i]
        for _ in range(64):
            s = s * s
        return s[i]

    def nesting(a):
        s = a[i]
        for _ in range(5000):
            s = a[i] * (1 + s)
        return s[i]

    def dividing(a):
        s = a[i]
        for _ in range(5000):
            s = s / a[i]
        return s[i]

    def calling(a):
        s = a[i]
        for _ in range(5000):
            s = tc.exp(s)
        return s[i]

    def many(a):
        s = a
        for _ in range(5000):
            s = (s[i] + 1)[i]
        return s

    for function in (doubling, nesting, dividing, calling, many):
        with pytest.raises(LanguageError):
            record(function, "a[n] -> o[n]")


def test_long_sums_are_fine():
    def f(a):
        total = 0
        for t in range(1000):
            total = total + a[i - t]
        return total[i]

    assert len(only(record(f, "a[n] -> o[n]").definition).body.terms) == 1001
