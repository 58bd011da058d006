"""Where an index that is neither on the left nor bound is summed: the equation with every sum explicit."""

from __future__ import annotations

import pytest

from tensorc.errors import LanguageError
from tensorc.grammar import parse
from tensorc.printing import print_expr

HEAD = (
    "def f(q[n, d], k[n, d], v[n, e], W[a, d], V[a, d], x[n, d], A[d, d], p[n, n], g[n], w[d], z[d], s[])"
    " -> o[n, e]:\n    o[i, y] = "
)


def explicit(body: str) -> str:
    return print_expr(parse(HEAD + body + "\n").equation("o").body)


SUMS = [
    # A product of two factors.
    ("q[i, c] * v[i, y] * k[i, c]", "sum[c](q[i, c] * v[i, y] * k[i, c])"),
    ("q[i, c] * k[j, c] * v[j, y]", "sum[c, j](q[i, c] * k[j, c] * v[j, y])"),
    # The sum is as wide as its term; the operands of + and - are separate terms.
    ("2 * q[i, c] * k[i, c] / sqrt(d) + v[i, y]", "sum[c](2 * q[i, c] * k[i, c] / sqrt(d)) + v[i, y]"),
    (
        "v[i, y] - q[i, c] * k[i, c] + w[c] * z[c]",
        "v[i, y] - sum[c](q[i, c] * k[i, c]) + sum[c](w[c] * z[c])",
    ),
    ("-q[i, c] * k[i, c]", "sum[c](-q[i, c] * k[i, c])"),
    ("-(q[i, c] * k[i, c])", "-sum[c](q[i, c] * k[i, c])"),
    # At any depth.
    (
        "(elu(q[i, c]) + 1) * (elu(k[i, c]) + 1)",
        "sum[c]((elu(q[i, c]) + 1) * (elu(k[i, c]) + 1))",
    ),
    ("q[i, c] ** 2 * exp(k[i, c])", "sum[c](q[i, c] ** 2 * exp(k[i, c]))"),
    ("q[i, c] / z[c]", "sum[c](q[i, c] / z[c])"),
    ("[p[i, j] > 0] * g[j]", "sum[j]([p[i, j] > 0] * g[j])"),
    ("q[i, c] * where(w[c] > 0, 1, 2)", "sum[c](q[i, c] * where(w[c] > 0, 1, 2))"),
    ("q[i, c] * k[i - 1, c] // 2 * s", "sum[c](q[i, c] * k[i - 1, c] // 2 * s)"),
    # The smallest group: parentheses, arguments, bodies, bases, divisors.
    ("(q[i, c] * k[i, c]) * v[i, y]", "sum[c](q[i, c] * k[i, c]) * v[i, y]"),
    ("(q[i, c] * k[i, c]) ** 2 * v[i, y]", "sum[c](q[i, c] * k[i, c]) ** 2 * v[i, y]"),
    ("exp(q[i, c] * k[i, c]) * v[i, y]", "exp(sum[c](q[i, c] * k[i, c])) * v[i, y]"),
    ("maximum(q[i, c] * k[i, c], w[c] * z[c])", "maximum(sum[c](q[i, c] * k[i, c]), sum[c](w[c] * z[c]))"),
    ("where(q[i, c] * k[i, c] > 0, 1, 2)", "where(sum[c](q[i, c] * k[i, c]) > 0, 1, 2)"),
    ("v[i, y] / (q[i, c] * k[i, c])", "v[i, y] / sum[c](q[i, c] * k[i, c])"),
    ("s ** (q[i, c] * k[i, c])", "s ** sum[c](q[i, c] * k[i, c])"),
    ("sum[j <= i](q[i, c] * k[j, c] * v[j, y])", "sum[j <= i](sum[c](q[i, c] * k[j, c] * v[j, y]))"),
    ("sum[j](g[j] + q[i, c] * k[j, c])", "sum[j](g[j] + sum[c](q[i, c] * k[j, c]))"),
    ("max[j <= i](q[i, c] * k[j, c])", "max[j <= i](sum[c](q[i, c] * k[j, c]))"),
    # A body that holds a letter once leaves it to the product around it.
    ("sum[j](p[i, j] * q[j, c]) * w[c]", "sum[c](sum[j](p[i, j] * q[j, c]) * w[c])"),
    # Disjoint groups may each sum the same letter.
    (
        "(W[b, c] * x[i, c]) * (V[b, c] * x[i, c])",
        "sum[b](sum[c](W[b, c] * x[i, c]) * sum[c](V[b, c] * x[i, c]))",
    ),
    ("(q[i, c] * w[c]) * sum[c](k[i, c])", "sum[c](q[i, c] * w[c]) * sum[c](k[i, c])"),
    # Explicit sums say what is meant.
    ("sum[c](q[i, c])", "sum[c](q[i, c])"),
    ("sum[c](A[c, c])", "sum[c](A[c, c])"),
    ("sum[c](q[i, c] ** 2)", "sum[c](q[i, c] ** 2)"),
    ("sum[c](exp(q[i, c] - k[i, c]))", "sum[c](exp(q[i, c] - k[i, c]))"),
    ("sum[c](exp(q[i, c] * k[i, c]) * w[c])", "sum[c](exp(q[i, c] * k[i, c]) * w[c])"),
    # softmax keeps its index, which the product around it sums.
    ("softmax[j](q[i, c] * k[j, c]) * v[j, y]", "sum[j](softmax[j](sum[c](q[i, c] * k[j, c])) * v[j, y])"),
    ("softmax[j <= i](p[i, j] * g[j]) * v[j, y]", "sum[j](softmax[j, j <= i](p[i, j] * g[j]) * v[j, y])"),
]


@pytest.mark.parametrize("body, expected", SUMS, ids=[body for body, _ in SUMS])
def test_sums_are_explicit(body: str, expected: str) -> None:
    assert explicit(body) == expected


@pytest.mark.parametrize("body, expected", SUMS, ids=[body for body, _ in SUMS])
def test_the_explicit_form_means_the_same(body: str, expected: str) -> None:
    assert parse(HEAD + expected + "\n") == parse(HEAD + body + "\n")


LOOSE = [
    ("A[c, c]", "c occurs in one factor only in this term"),
    ("q[i, c] ** 2", "c occurs once in this term"),
    ("exp(q[i, c] - k[i, c])", "c occurs in one factor only in this term"),
    ("exp(p[i, j])", "j occurs once in this term"),
    ("q[i, c] + k[i, c]", "c occurs once in this term"),
    ("maximum(q[i, c], 0)", "c occurs once in this term"),
    ("v[i, y] * (q[i, c] + k[i, c])", "c occurs in one factor only in this term"),
    ("exp(q[i, c] * k[j, c]) * w[c] * g[j]", "c is summed inside q[i, c] * k[j, c] and used again outside"),
    ("q[i, c] * (k[i, c] * w[c])", "c is summed inside k[i, c] * w[c] and used again outside"),
    ("w[c] * (1 + q[i, c] * k[i, c])", "c is summed inside q[i, c] * k[i, c] and used again outside"),
    ("(q[i, c] * k[i, c] + w[c]) * z[c]", "c is summed inside q[i, c] * k[i, c] and used again outside"),
    ("sum[j](p[i, j]) * g[j]", "j is bound by the sum at 2:15 but used outside it"),
    ("sum[j <= i](v[j, y]) / p[i, j]", "j is bound by the sum at 2:15 but used outside it"),
    ("exp(max[j <= i](p[i, j])) * exp(g[j])", "j is bound by the max at 2:19 but used outside it"),
    ("softmax[j](p[i, j])", "j occurs once in this term"),
    ("softmax[j](p[i, j]) * (g[j] * v[j, y])", "j is summed inside g[j] * v[j, y] and used again outside"),
]


@pytest.mark.parametrize("body, message", LOOSE, ids=[body for body, _ in LOOSE])
def test_letters_that_no_rule_sums(body: str, message: str) -> None:
    with pytest.raises(LanguageError) as caught:
        explicit(body)
    assert caught.value.message.startswith(message)


def test_bound_in_one_term_and_used_in_another() -> None:
    assert explicit("sum[j](g[j]) + g[j] * v[j, y]") == "sum[j](g[j]) + sum[j](g[j] * v[j, y])"


def test_an_index_missing_on_the_right_repeats_the_value() -> None:
    program = parse("def f(g[n]) -> o[n, e]:\n    o[i, y] = g[i]\n")
    assert print_expr(program.equation("o").body) == "g[i]"
    assert [str(bind.extent) for bind in program.equation("o").left] == ["n", "e"]


def test_a_traced_compound_operand_is_a_group() -> None:
    from tensorc.grammar.lowering import lower
    from tensorc.grammar.syntax import Assignment, Declaration, Definition, Name
    from tensorc.ir import Mul, Read, extent

    def read(tensor: str, *letters: str) -> Read:
        return Read(tensor, tuple(Name(letter) for letter in letters))

    n, d = extent("n"), extent("d")
    body = Mul(
        (Mul((read("q", "i", "c"), read("q", "i", "c"))), Mul((read("q", "i", "b"), read("q", "i", "b"))))
    )
    traced = Definition(
        "f",
        (Declaration("q", (n, d)),),
        (),
        (Declaration("o", (n,)),),
        (Assignment("o", (Name("i"),), body),),
    )
    text = "def f(q[n, d]) -> o[n]:\n    o[i] = q[i, c] * q[i, c] * (q[i, b] * q[i, b])\n"
    assert lower([traced]) == parse(text)
    assert print_expr(lower([traced]).equation("o").body) == (
        "sum[c](q[i, c] * q[i, c] * sum[b](q[i, b] * q[i, b]))"
    )
