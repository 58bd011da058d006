"""Mistakes in traced functions: each ends in an error that says what to write instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tensorc.tracing as tc
from tensorc.errors import LanguageError
from tensorc.trace_program import record, trace

HEADER = "q[n, d], k[n, d], v[n, e], g[] -> o[n, e]"
i, j, u, c, x = tc.indices("i j u c x")
WEIGHT = np.ones((3, 3))


class Parameter:
    """What torch.Tensor does with a foreign operand: it asks for `__torch_function__`."""

    shape = (3, 3)

    def __array__(self, *args: object) -> Any:
        return np.ones((3, 3))

    def __mul__(self, other: Any) -> Any:
        return type(other).__torch_function__(Parameter.__mul__, (Parameter, type(other)), (self, other), {})


def failing(function: Callable[..., Any], header: str | None = HEADER) -> LanguageError:
    with pytest.raises(LanguageError) as caught:
        trace(function, header)
    error = caught.value
    assert error.line is None and error.column is None
    assert error.hint, "an error says what to write instead"
    return error


def defines(build: Callable[..., Any]) -> Callable[..., Any]:
    return lambda q, k, v, g: build(q, k, v, g)[i, x]


# What the body of o[i, x] is, and what the message and the hint must hold.
BODIES = {
    "if on a condition": (lambda q, k, v, g: v[i, x] if g > 0 else 0,
        "`g > 0` has no truth value", "tensorc.where"),
    "if on a number": (lambda q, k, v, g: v[i, x] if v[i, x] else 0, "`v[i, x]` has no truth value", "where"),
    "equality in if": (lambda q, k, v, g: v[i, x] if i == x else 0, "`i == x` has no truth value", "where"),
    "and": (lambda q, k, v, g: tc.sum(v[j, x], u < j and j < i), "`u < j` has no truth value", "&"),
    "not": (lambda q, k, v, g: tc.sum(v[j, x], not (j < i)), "no truth value", "~"),
    "chained comparison": (lambda q, k, v, g: tc.sum(v[j, x], 1 < j <= i),
        "no truth value", "(u <= j) & (j <= i)"),
    "or without parentheses": (lambda q, k, v, g: tc.sum(v[j, x], j <= i | j < 3),
        "`i` and `j`", "(j <= i) | (j < t)"),
    "or half in parentheses": (lambda q, k, v, g: tc.sum(v[j, x], (j <= i) | j < 3),
        "`j <= i` and `j`", "| (j < t)"),
    "and of a mask": (lambda q, k, v, g: tc.sum(v[j, x], (j <= i) & k[i, j]), "k[i, j]", "m[i, j] != 0"),
    "not of a number": (lambda q, k, v, g: tc.sum(v[j, x], ~j), "~ of `j`", "write (j <= i)"),
    "a condition as a number": (lambda q, k, v, g: v[i, x] * (j <= i),
        "`j <= i` is a condition", "Conditions"),
    "a condition plus 1": (lambda q, k, v, g: (j <= i) + 1, "tensorc.iverson(j <= i)", "domain"),
    "a condition compared": (lambda q, k, v, g: tc.iverson((j <= i) == (i < 3)), "is a condition", "iverson"),
    "a condition as a body": (lambda q, k, v, g: tc.sum(j <= i, j), "is a condition", "iverson"),
    "a number as a condition": (lambda q, k, v, g: tc.iverson(v[i, x]), "takes a condition", "!= 0"),
    "a Python truth value": (lambda q, k, v, g: tc.where(True, v[i, x], 0),
        "Python truth value", "if flag else"),
    "no domain": (lambda q, k, v, g: tc.sum(v[j, x]), "sum needs its indices", "tensorc.sum(e, c)"),
    "a text in the domain": (lambda q, k, v, g: tc.sum(v[j, x], "j"), "'j' in the domain", "condition"),
    "a number in the domain": (lambda q, k, v, g: tc.max(v[i, x], 0), "0 in the domain of max", "maximum"),
    "an expression in the domain": (lambda q, k, v, g: tc.max(v[i, x], g), "g[] in the domain", "maximum"),
    "built-in sum": (lambda q, k, v, g: sum(v[i, x]), "not iterable", "tensorc.sum"),
    "built-in sum of a tensor": (lambda q, k, v, g: sum(v), "not iterable", "tensorc.sum"),
    "built-in max": (lambda q, k, v, g: max(v[i, x], 0), "no truth value", "tensorc.maximum"),
    "iteration": (lambda q, k, v, g: [row for row in q], "not iterable", "indices"),
    "membership": (lambda q, k, v, g: 1 in v, "not a container", "tensorc"),
    "a NumPy function": (lambda q, k, v, g: np.exp(v[i, x]), "ufunc", "tensorc.exp"),
    "a math function": (lambda q, k, v, g: math.exp(v[i, x]), "no floating value", "tensorc.exp"),
    "an array": (lambda q, k, v, g: v[i, x] * WEIGHT, "ndarray of shape (3, 3)", "Pass it as an input"),
    "an array on the left": (lambda q, k, v, g: WEIGHT * v[i, x], "ndarray of shape (3, 3)", "as an input"),
    "an array read": (lambda q, k, v, g: v[i, x] * WEIGHT[i, x], "`i`", "input"),
    "an array in a function": (lambda q, k, v, g: tc.exp(WEIGHT), "ndarray", "as an input"),
    "a parameter on the left": (lambda q, k, v, g: Parameter() * v[i, x], "torch", "Pass it as an input"),
    "a parameter on the right": (lambda q, k, v, g: v[i, x] * Parameter(),
        "Parameter", "Pass it as an input"),
    "a list read": (lambda q, k, v, g: v[i, x] * [1, 2][i], "no integer value", "input"),
    "None": (lambda q, k, v, g: v[i, x] * None, "None", "Equations hold"),
    "text": (lambda q, k, v, g: v[i, x] + "1", "'1' (str)", "Equations hold"),
    "a complex number": (lambda q, k, v, g: v[i, x] * 1j, "1j", "real numbers"),
    "a function": (lambda q, k, v, g: v[i, x] * tc.exp, "function", "Call it"),
    "infinity": (lambda q, k, v, g: v[i, x] * math.inf, "inf is no number", "domain"),
    "nan": (lambda q, k, v, g: v[i, x] * np.nan, "nan is no number", "domain"),
    "a huge integer": (lambda q, k, v, g: v[i, x] * 2**63, "out of range", "2**63"),
    "range of a size": (lambda q, k, v, g: sum(v[i, x] for _ in range(tc.sizes("d"))),
        "no integer value", "range()"),
    "len": (lambda q, k, v, g: v[i, x] * len(q), "no length", "len()"),
    "shape": (lambda q, k, v, g: v[i, x] / q.shape[1], "no attribute shape", "tensorc.sizes"),
    "a method": (lambda q, k, v, g: q.sum(), "no attribute sum", "tensorc.sum"),
    "@": (lambda q, k, v, g: q @ k, "@", "q[i, c] * k[j, c]"),
    "a slice": (lambda q, k, v, g: v[i, :], ": is no subscript", "Every axis"),
    "an ellipsis": (lambda q, k, v, g: v[..., x], "Ellipsis is no subscript", "Every axis"),
    "a float subscript": (lambda q, k, v, g: v[i / 2.0, 1.5], "1.5 is no subscript", "integer"),
    "too few subscripts": (lambda q, k, v, g: v[i], "v[n, e] has 2 axes, read with 1", "batch"),
    "a scalar read": (lambda q, k, v, g: g[i, x], "g[] has 0 axes, read with 2", "g[()][i, x] repeats it"),
    "no subscripts": (lambda q, k, v, g: v * g, "v[n, e] has 2 axes, read with none", "v[i, j]"),
    "an expression read": (lambda q, k, v, g: (q[i, c] * k[j, c])[i, u] * g,
        "t[i, u] has 2 axes", "s = (...)[i, j]"),
    "an unknown size": (lambda q, k, v, g: v[i, x] * tc.sizes("m"), "No size m", "m=64"),
    "a size as an index": (lambda q, k, v, g: q[i, tc.indices("d")], "d is a size", "Unused letters"),
    "an input as an index": (lambda q, k, v, g: q[i, tc.indices("g")],
        "g is the input g[]", "Unused letters"),
    "an output as an index": (lambda q, k, v, g: q[i, tc.indices("o")], "o is the output o[n, e]", "Unused"),
    "a name that is taken": (lambda q, k, v, g: tc.tensor("q"), "There is a tensor q", "own name"),
    "a tensor named like a size": (lambda q, k, v, g: tc.tensor("d"), "d is a size", "another name"),
    "a keyword as a name": (lambda q, k, v, g: tc.indices("if"), "'if' is no name for", "another name"),
    "a function as a name": (lambda q, k, v, g: tc.indices("exp"), "name of a function", "another name"),
    "no names": (lambda q, k, v, g: tc.indices(""), "at least one name", "indices"),
    "names that are no text": (lambda q, k, v, g: tc.indices(3), "not 3", "indices"),
    "a row that softmax would normalise": (lambda q, k, v, g: tc.softmax(v[i, x], i <= x),
        "softmax would run over i", "softmax"),
    "j outside of its sum": (lambda q, k, v, g: tc.sum(q[i, c], j <= i) * v[j, x],
        "j is bound by the sum but", "inside"),
    "c once": (lambda q, k, v, g: q[i, c] * v[i, x], "c occurs once in this term", "tensorc.sum(..., c)"),
    "c inside and outside": (lambda q, k, v, g: tc.exp(q[i, c] * k[i, c]) * q[i, c] * v[i, x],
        "c is summed", "letter"),
    "c on two sizes": (lambda q, k, v, g: q[i, c] * v[c, x],
        "c runs over q axis 2 (d) and v axis 1 (n)", "one name"),
    "data as a subscript": (lambda q, k, v, g: q[i, v[i, x]], "v holds data", "Gather"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_mistakes_in_an_expression(name):
    build, message, hint = BODIES[name]
    error = failing(defines(build))
    assert message in error.message
    assert hint in error.hint


def test_an_open_score_used_twice_asks_for_a_name():
    def f(q, k, v, g):
        s = q[i, c] * k[j, c]
        return tc.sum(s * s * v[j, x], j <= i)[i, x]

    error = failing(f)
    assert "c is summed inside" in error.message
    assert error.hint == (
        "Python drops the parentheses of (q[i, c] * k[j, c]). Define it once, "
        "s = (q[i, c] * k[j, c])[i, j], and use s[i, j]."
    )


@pytest.mark.parametrize(
    "use",
    [
        lambda s, v: tc.sum(s * (s + 1) * v[j, x], j),
        lambda s, v: tc.sum(s / (1 + s) * v[j, x], j),
        lambda s, v: tc.sum(s * v[j, x] / tc.sqrt(2) * s, j),
        lambda s, v: tc.sum(v[j, x] + s * s, j),
    ],
)
def test_other_uses_of_an_open_score(use):
    error = failing(lambda q, k, v, g: use(q[i, c] * k[j, c], v)[i, x])
    assert "Define it once, s = (q[i, c] * k[j, c])[i, j]" in error.hint


@pytest.mark.parametrize("divide", [lambda s: s % 2, lambda s: s // 2, lambda s: 1 + 2 * (s * 3 % 2)])
def test_a_sum_before_or_after_a_remainder_must_be_said(divide):
    error = failing(lambda q, k, v, g: (divide(q[i, c] * k[j, c]) * v[j, x])[i, x])
    assert "Is c summed before or after `q[i, c] * k[j, c]" in error.message
    assert "tensorc.sum(..., c)" in error.hint
    for said in (tc.sum(u * u, u, u < i) % 2, tc.sum(u * u % 2, u, u < i), (i * i) % 2, i * x // 2):
        assert trace(lambda q, k, v, g, said=said: (said * v[i, x] + k[u, c] * k[u, c])[i, x], HEADER)


def test_a_score_may_be_used_in_separate_terms():
    def f(q, k, v, g):
        s = q[i, c] * k[j, c]
        return tc.sum((1 + s + s**2 / 2) * v[j, x], j <= i)[i, x]

    assert "(1 + q[i, c] * k[j, c] + (q[i, c] * k[j, c]) ** 2 / 2)" in str(trace(f, HEADER))


def test_errors_show_the_equation_and_its_place():
    def f(q, k, v, g):
        s = (q[i, c] * k[j, c])[i, j]
        return (s[i, j] * v[x, j])[i, x]

    message = failing(f).message.splitlines()
    assert message[1].strip() == "o[i, x] = s[i, j] * v[x, j]"
    assert set(message[2].strip()) == {"^"}
    assert message[3].strip().startswith(f"traced at {__file__}:")


def test_shifted_reading_of_an_expression_is_explained():
    def f(q, k, v, g):
        s = q[i, c] * k[j, c]
        return (s[i, u][i, u] * v[u, x])[i, x]

    error = failing(f)
    assert "j occurs once" in error.message
    assert "define it once, s = (...)[i, j], and read that" in error.hint


OUTPUTS = {
    "nothing": (lambda q: None, "returns nothing", "return (...)[i, x]"),
    "a number": (lambda q: 3, "returns 3, which is no tensor", "(...)[i, x]"),
    "an open expression": (lambda q: q[i, c] * 2, "an expression without its indices", "return (...)[i, j]"),
    "an index twice": (lambda q: (q[i, i] * 2)[i, i], "i stands twice on the left", "distinct"),
    "a shifted index": (lambda q: q[i, c][i - 1, c], "i - 1 stands on the left", "then s[i, j - 1]"),
    "a number on the left": (lambda q: q[i, c][i, 0], "0 stands on the left", "defines a tensor"),
    "a size on the left": (lambda q: q[i, c][i, tc.sizes("d")], "the size d stands on the left", "defines"),
    "too few axes": (lambda q: tc.sum(q[i, c], c)[i], "o[n, d] has 2 axes, defined with 1", "index for each"),
    "two tensors": (lambda q: (q, q), "returns 2 tensors; its header has 1: o[n, d]", "one tensor for each"),
    "a generator": (lambda q: (q for _ in q.shape), "no attribute shape", "tensorc"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_mistakes_in_what_is_returned(name):
    build, message, hint = OUTPUTS[name]
    error = failing(build, "q[n, d] -> o[n, d]")
    assert message in error.message
    assert hint in error.hint


def test_definitions_by_assignment():
    def into_an_input(q, k, v, g):
        v[i, x] = q[i, c]

    def twice(q, k, v, g):
        w = tc.tensor("w")
        w[i, x] = v[i, x]
        w[i, x] = v[i, x]

    def into_an_expression(q, k, v, g):
        (v[i, x] * 2)[i, x] = 3  # noqa: B018

    def never(q, k, v, g):
        w = tc.tensor("w")
        return (w[i, x] + v[i, x])[i, x]

    def announced_twice(q, k, v, g):
        tc.tensor("w")
        tc.tensor("w")

    assert "v[n, e] is an input" in failing(into_an_input).message
    assert "w[i, x] is defined already" in failing(twice).message
    assert "v[i, x] * 2 is an expression" in failing(into_an_expression).message
    assert "w is announced but never defined" in failing(never).message
    assert "There is a tensor w already" in failing(announced_twice).message


def test_a_cycle_at_one_position():
    def f(q, k, v, g):
        w = tc.tensor("w")
        w[i, x] = v[i, x] + tc.sum(w[j, x], j <= i)
        return (w[i, x] * 2)[i, x]

    assert "j < i" in failing(f).hint


def test_outside_of_a_trace():
    with pytest.raises(LanguageError, match="defines a tensor, outside of a trace"):
        (i * j)[i, j]
    with pytest.raises(LanguageError, match=r"tensor\('w'\) outside of a trace"):
        tc.tensor("w")


def test_expressions_made_before_the_trace_are_checked_in_it():
    size, letter = tc.sizes("m"), tc.indices("d")
    before, number = i - letter, size * 2
    assert "d is a size" in failing(lambda q: (q[i, c] * before)[i, c], "q[n, d] -> o[n, d]").message
    assert "No size m" in failing(lambda q: (q[i, c] * number)[i, c], "q[n, d] -> o[n, d]").message
    assert str(trace(lambda q, m: (m * q[i, c] * number)[i, c], "q[n, d], m=3 -> o[n, d]"))


def test_tensors_do_not_leave_their_trace():
    kept = SimpleNamespace()

    def f(q):
        kept.q = q
        kept.s = (q[i, c] * 2)[i, c]
        return kept.s

    record(f, "q[n, d] -> o[n, d]")
    with pytest.raises(LanguageError, match="belongs to the trace of f, which has ended"):
        kept.q[i, c]
    with pytest.raises(LanguageError, match="belongs to the trace of f, which has ended"):
        record(lambda q: (q[i, c] + kept.s[i, c])[i, c], "q[n, d] -> o[n, d]")

    def outer(q):
        record(lambda a: (a[i, c] + q[i, c])[i, c], "a[n, d] -> o[n, d]")

    with pytest.raises(LanguageError, match="belongs to the trace of outer, not to the one running here"):
        record(outer, "q[n, d] -> o[n, d]")


def test_a_failed_trace_leaves_nothing_behind():
    with pytest.raises(ZeroDivisionError):
        record(lambda q: 1 // 0, "q[n, d] -> o[n, d]")
    with pytest.raises(LanguageError, match="outside of a trace"):
        (i * j)[i, j]


def test_arguments_and_header_must_agree():
    with pytest.raises(LanguageError, match=r"names the input k, which is no parameter of f\(q\)"):
        record(lambda q: q, "q[n], k[n] -> o[n]", name="f")
    with pytest.raises(LanguageError, match="argument mask of f has no value and is not in the header"):
        record(lambda q, mask: q, "q[n] -> o[n]", name="f")


def test_no_header():
    error = failing(lambda q, k: (q[i, c] * k[c])[i, j], None)
    assert "No input says how long axis 2 of o is" in error.message
    assert "k is never read" in failing(lambda q, k: (q[i] * 2)[i], None).message
    assert "q is read with 2 subscripts and with 1" in failing(lambda q: (q[i, c] * q[c])[i], None).message
    assert "traced without a header" in failing(lambda q: (q[i] * tc.sizes("n"))[i], None).message
    assert "without its indices" in failing(lambda q: tc.sum(q[i], i), None).message
    assert "returns nothing" in failing(lambda q: (), None).message
