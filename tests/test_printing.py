"""Programs as text: what is left out, where parentheses stand, and that it parses to the same program."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings

sys.path.insert(0, str(Path(__file__).parent / "grammar"))
from programs import all_on_an_axis, programs  # noqa: E402

from tensorc.errors import LanguageError
from tensorc.grammar import parse
from tensorc.ir import (
    Add,
    And,
    Bind,
    Compare,
    Const,
    Div,
    Expr,
    Index,
    Mul,
    Neg,
    Pow,
    Program,
    Read,
    Reduce,
    Size,
    extent,
)
from tensorc.printing import print_cond, print_equation, print_expr, print_program

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.tc"))
a, b, c = (Read(name, (Index("i"),)) for name in "abc")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_catalogue_parses_back_to_itself(path: Path) -> None:
    program = parse(path.read_text(encoding="utf-8"))
    again = parse(print_program(program))
    assert again == program
    assert print_program(again) == print_program(program)


@given(programs())
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs_parse_back_to_themselves(program: Program) -> None:
    assume(all_on_an_axis(program))
    text = print_program(program)
    try:
        assert parse(text) == program, text
    except LanguageError as error:
        raise AssertionError(text) from error


PROGRAMS = [
    "def f(q[n, d], k[n, d]) -> s[n, n]:\n    s[i, j] = q[i, c] * k[j, c]\n",
    "def f(g[], x[2 * h], w=3) -> y[2 * h], z[]:\n    y[i] = g * x[i] * w\n    z[] = sum[i](x[i])\n",
    "def f(x[n]) -> y[n]:\n    y[i] = x[i] - sum[j, j <= i](1) - x[i] * x[j] * x[j]\n",
    "def f(q[n, d]) -> y[n]:\n    y[i] = exp(q[i, c] * q[i, c] / 2) * (q[i, b] * q[i, b]) ** 2\n",
    "def f(q[n, d]) -> y[n]:\n    y[i] = -sum[c](q[i, c] * q[i, c]) + 1\n",
    "def f(q[n, d]) -> y[n]:\n    y[i] = sum[c](q[i, c] * q[i, c]) * q[i, 0]\n",
    "def f(q[n, d]) -> y[n]:\n    y[i] = sum[c](q[i, c] ** 2) / (1 + q[i, c] * q[i, c])\n",
    "def f(x[n], y[n]) -> z[n]:\n    z[i] = where(0 < i <= 3 or not x[i] > 0, x[i], -y[i]) * [i % 2 == 0]\n",
    "def f(x[n, n]) -> z[n]:\n    z[i] = sum[j](softmax[j, j <= i](x[i, j]) ** 2)\n",
    "def f(x[n, n]) -> z[n]:\n    z[i] = softmax[j, j <= i](x[i, j]) * x[i, j]\n",
    "def f(x[n]) -> z[n]:\n    z[i] = x[i] + sum[u, j, j < u](x[j] * x[u])\n",
]


@pytest.mark.parametrize("text", PROGRAMS)
def test_text_that_prints_as_it_was_written(text: str) -> None:
    assert print_program(parse(text)) == text


def test_a_sum_stays_explicit_where_the_rule_would_place_it_elsewhere() -> None:
    head = "def f(q[n, d], w[d], x[n]) -> y[n]:\n    y[i] = "
    for body in (
        "sum[c](q[i, c] * (w[c] * q[i, c]))",  # a smaller group would take it
        "sum[c](exp(q[i, c] * w[c]) * w[c])",
        "sum[c](q[i, c])",  # one factor
        "sum[c](q[i, c] + w[c])",
        "sum[c](w[c] * q[c, c] ** 2 * sum[j <= c](x[j]))",  # the inner sum would bind it
        "sum[b, c](q[i, c] * w[b] * w[c] * w[b])",  # the order of its indices
    ):
        text = head.replace("q[n, d]", "q[d, d]").replace("x[n]) -> y[n]", "x[d]) -> y[d]") + body + "\n"
        assert print_program(parse(text)) == text


OPERANDS: list[tuple[Expr, str]] = [
    (Add((a, Add((b, c)))), "a[i] + (b[i] + c[i])"),
    (Add((a, Neg(Add((b, c))))), "a[i] - (b[i] + c[i])"),
    (Add((a, Neg(Neg(b)))), "a[i] - -b[i]"),
    (Add((Neg(a), Mul((Neg(b), c)))), "-a[i] + -b[i] * c[i]"),
    (Mul((a, Mul((b, c)))), "a[i] * (b[i] * c[i])"),
    (Mul((Div(a, b), c)), "a[i] / b[i] * c[i]"),
    (Div(a, Div(b, c)), "a[i] / (b[i] / c[i])"),
    (Div(a, Mul((b, c))), "a[i] / (b[i] * c[i])"),
    (Mul((a, Add((b, c)))), "a[i] * (b[i] + c[i])"),
    (Neg(Mul((a, b))), "-(a[i] * b[i])"),
    (Neg(Pow(a, b)), "-a[i] ** b[i]"),
    (Pow(Neg(a), b), "(-a[i]) ** b[i]"),
    (Pow(a, Neg(b)), "a[i] ** -b[i]"),
    (Pow(Pow(a, b), c), "(a[i] ** b[i]) ** c[i]"),
    (Pow(a, Pow(b, c)), "a[i] ** b[i] ** c[i]"),
    (Pow(a, Mul((b, c))), "a[i] ** (b[i] * c[i])"),
    (Const(-2), "-2"),
    (Pow(Const(-2), a), "(-2) ** a[i]"),
    (Const(Fraction(1, 10)), "0.1"),
    (Const(Fraction(-5, 2)), "-2.5"),
    (Const(Fraction(1, 3)), "1 / 3"),
    (Pow(Const(Fraction(1, 3)), a), "(1 / 3) ** a[i]"),
    (Const(Fraction(1, 10**30)), "1e-30"),
    (Const(10**30), "1e30"),
    (Const(2**63), "9223372036854775808.0"),
    (Const(2**63 - 1), "9223372036854775807"),
    (Mul((Size("n"), Read("s", ()))), "n * s"),
]


@pytest.mark.parametrize("expr, text", OPERANDS, ids=[text for _, text in OPERANDS])
def test_parentheses_only_where_needed(expr: Expr, text: str) -> None:
    assert print_expr(expr) == text


@pytest.mark.parametrize("number", [Fraction(1, 10**30), 10**30, 2**63, Fraction(123456789, 2**40), 1])
def test_numbers_parse_back_exactly(number: int | Fraction) -> None:
    text = f"def f(x[n]) -> y[n]:\n    y[i] = {print_expr(Const(number))} * x[i]\n"
    body = parse(text).equation("y").body
    assert isinstance(body, Mul) and body.factors[0] == Const(number)


def test_conditions() -> None:
    i, j, u = Index("i"), Index("j"), Index("u")
    chain = And((Compare("<=", u, j), Compare("<", j, i)))
    assert print_cond(chain) == "u <= j < i"
    assert print_cond(And((*chain.parts, Compare("!=", u, i)))) == "u <= j < i and u != i"


def test_an_expression_has_every_sum_explicit() -> None:
    body = Reduce("sum", (Bind("i", extent("n")),), (), Mul((a, b)))
    assert print_expr(body) == "sum[i](a[i] * b[i])"


def test_an_equation() -> None:
    program = parse("def f(q[n, d]) -> s[n, n]:\n    s[i, j] = q[i, c] * q[j, c]\n")
    assert print_equation(program.equations[0]) == "s[i, j] = q[i, c] * q[j, c]"


def test_str_of_a_program_is_its_text() -> None:
    assert str(parse(PROGRAMS[0])) == PROGRAMS[0]
