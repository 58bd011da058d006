"""Several programs in one text: which one is meant, and calls as equations in place."""

from __future__ import annotations

import pytest

from tensorc.errors import LanguageError
from tensorc.grammar import parse
from tensorc.ir import Program
from tensorc.printing import print_program

SCORES = (
    "def g(q[n, d], k[m, d]) -> s[n, m], z[n]:\n"
    "    s[i, j] = q[i, c] * k[j, c]\n    z[i] = sum[j](s[i, j])\n\n"
)


def equations(program: Program) -> list[str]:
    return [line.strip() for line in print_program(program).splitlines()[1:]]


def same(program: Program) -> Program:
    """The program, after checking that it parses back to itself."""
    assert parse(print_program(program)) == program
    return program


def test_the_program_that_no_other_calls_is_meant() -> None:
    text = SCORES + "def f(x[n, d]) -> o[n]:\n    s, z = g(x, x)\n    o[i] = z[i] / s[i, i]\n"
    assert parse(text).name == "f"
    assert parse(text, name="g").name == "g"
    assert parse(text, name="g") == parse(SCORES)


def test_several_candidates_are_listed() -> None:
    text = SCORES + "def f(x[n]) -> o[n]:\n    o[i] = x[i]\n\ndef h(x[n]) -> o[n]:\n    o[i] = x[i]\n"
    with pytest.raises(LanguageError, match="The text holds several programs: g, f, h.") as caught:
        parse(text)
    assert caught.value.hint == "Say which one: name='g'."
    with pytest.raises(LanguageError, match="No program gg; did you mean g?") as caught:
        parse(text, name="gg")
    assert caught.value.hint == "The text holds g, f, h."


def test_names_of_different_programs_are_independent() -> None:
    text = (
        "def g(n[c, d]) -> i[c]:\n    i[q] = sum[k](n[q, k])\n\n"
        "def f(q[n, c], k[n, c]) -> o[n]:\n    a = g(q)\n    b = g(k)\n    o[i] = a[i] * b[i]\n"
    )
    assert equations(same(parse(text))) == [
        "a[q_2] = sum[k_2](q[q_2, k_2])",
        "b[q_2] = sum[k_2](k[q_2, k_2])",
        "o[i] = a[i] * b[i]",
    ]


def test_locals_of_the_callee_get_names_that_are_free() -> None:
    text = (
        "def g(x[n]) -> y[n]:\n    t[i] = x[i] * 2\n    y[i] = t[i] ** 2\n\n"
        "def f(x[n], t[n]) -> o[n]:\n    a = g(x)\n    b = g(t)\n    o[i] = a[i] + b[i]\n"
    )
    program = same(parse(text))
    assert [t.name for t in program.locals] == ["t_2", "a", "t_3", "b"]
    assert equations(program)[2:4] == ["t_3[i] = t[i] * 2", "b[i] = t_3[i] ** 2"]


def test_leading_axes_broadcast() -> None:
    text = SCORES + (
        "def f(q[b, h, n, d], k[h, m, d], w[b, n]) -> o[b, h, n, m]:\n"
        "    s, z = g(q, k)\n    o[r, a, i, j] = s[r, a, i, j] / z[r, a, i] * w[r, i]\n"
    )
    program = same(parse(text))
    assert equations(program)[:2] == [
        "s[b1, b2, i, j] = q[b1, b2, i, c] * k[b2, j, c]",
        "z[b1, b2, i] = sum[j](s[b1, b2, i, j])",
    ]
    assert [str(axis) for axis in program.tensors()["s"].axes] == ["b", "h", "n", "m"]


def test_equations_that_do_not_depend_on_a_leading_axis_do_not_have_it() -> None:
    text = (
        "def g(q[n, d], k[n, d]) -> o[n]:\n    r[j] = sum[c](k[j, c])\n    o[i] = sum[c](q[i, c]) * r[i]\n\n"
        "def f(q[h, n, d], k[n, d]) -> o[h, n]:\n    o = g(q, k)\n"
    )
    assert equations(same(parse(text))) == ["r[j] = sum[c](k[j, c])", "o[b, i] = sum[c](q[b, i, c]) * r[i]"]


def test_sizes_become_those_of_the_arguments() -> None:
    text = (
        "def g(x[n, 2 * d], w=3) -> y[n, d]:\n"
        "    y[i, c] = x[i, 2 * c] * x[i, c + d] / d * [i < w] * sum[j, j < c](1)\n\n"
        "def f(x[m, 4 * h]) -> y[m, 2 * h]:\n    y = g(x)\n"
    )
    assert equations(same(parse(text))) == [
        "y[i, c] = x[i, 2 * c] * x[i, c + 2 * h] / (2 * h) * [i < 3] * sum[j, j < c](1)"
    ]


def test_a_product_of_sizes_at_the_front_is_flattened() -> None:
    text = "def g(x[d]) -> y[d]:\n    y[c] = d * x[c]\n\ndef f(x[2 * h]) -> y[2 * h]:\n    y = g(x)\n"
    assert equations(same(parse(text))) == ["y[c] = 2 * h * x[c]"]


def test_the_range_of_a_result_is_that_of_the_arguments() -> None:
    text = SCORES + (
        "def f(x[n, d], y[m, d]) -> o[n]:\n    s, z = g(x, r)\n"
        "    r[j, c] = y[j, c]\n    o[i] = sum[j](s[i, j])\n"
    )
    program = same(parse(text))
    assert [str(axis) for axis in program.tensors()["s"].axes] == ["n", "m"]


def test_calls_of_calls() -> None:
    text = (
        "def a(x[n]) -> y[n]:\n    y[i] = 2 * x[i]\n\n"
        "def b(x[n]) -> y[n]:\n    t = a(x)\n    y = a(t)\n\n"
        "def c(x[h, n]) -> y[h, n]:\n    y = b(x)\n"
    )
    program = same(parse(text))
    assert program.name == "c"
    assert equations(program) == ["t[b, i] = 2 * x[b, i]", "y[b, i] = 2 * t[b, i]"]


def test_a_call_in_a_recurrence() -> None:
    text = (
        "def g(x[n]) -> y[n]:\n    y[i] = x[i] / 2\n\n"
        "def f(x[n]) -> o[n]:\n    y = g(o)\n    o[i] = x[i] + y[i - 1]\n"
    )
    assert equations(same(parse(text))) == ["y[i] = o[i] / 2", "o[i] = x[i] + y[i - 1]"]
    with pytest.raises(LanguageError, match="need each other at the same position"):
        parse(text.replace("y[i - 1]", "y[i]"))


def test_a_program_may_have_the_name_of_a_tensor() -> None:
    assert parse("def f(f[n]) -> o[n]:\n    o[i] = f[i]\n").name == "f"


def test_an_unused_program_is_checked_too() -> None:
    with pytest.raises(LanguageError, match="No tensor y"):
        parse("def g(x[n]) -> o[n]:\n    o[i] = y[i]\n\ndef f(x[n]) -> o[n]:\n    o = g(x)\n")


def test_softmax_and_self_reference_are_inlined_as_they_are() -> None:
    text = (
        "def g(x[n, d]) -> p[n, n], w[n]:\n"
        "    p[i, j] = softmax[j <= i](x[i, c] * x[j, c])\n"
        "    w[i] = 1 - sum[j < i](p[i, j] * w[j])\n\n"
        "def f(x[h, n, d], j[n]) -> o[h, n]:\n    p, w = g(x)\n    o[a, i] = p[a, i, i] * w[a, i] * j[i]\n"
    )
    assert equations(same(parse(text)))[:2] == [
        "p[b, i, j_2] = softmax[j_2, j_2 <= i](x[b, i, c] * x[b, j_2, c])",
        "w[b, i] = 1 - sum[j_2 < i](p[b, i, j_2] * w[b, j_2])",
    ]
