"""Equality of programs up to names that do not matter."""

from __future__ import annotations

import pytest

from tensorc.equivalence import canonical, equivalent
from tensorc.grammar import parse
from tensorc.ir import Program


def program(body: str, header: str = "q[n, d], k[n, d], v[n, d], w=4") -> Program:
    return parse(f"def f({header}) -> o[n, d]:\n" + "\n".join("    " + line for line in body.split("; ")))


SAME = [
    ("o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])",
     "o[a, b] = sum[z <= a](q[a, u] * k[z, u] * v[z, b])"),
    ("s[i, j] = q[i, c] * k[j, c]; o[i, x] = s[i, j] * v[j, x]",
     "p[j, i] = q[j, x] * k[i, x]; o[i, x] = p[i, j] * v[j, x]"),
    ("o[i, x] = sum[u <= j <= i](q[j, x] * k[u, x])", "o[i, x] = sum[u <= j, j <= i](q[j, x] * k[u, x])"),
    ("o[i, x] = sum[j, u](q[j, x] * k[u, x])", "o[i, x] = sum[u, j](q[u, x] * k[j, x])"),
    ("o[i, x] = sum[j, u](q[j, x] * k[u, x])", "o[i, x] = sum[j, u](q[u, x] * k[j, x])"),
    ("o[i, x] = sum[j <= i](v[j, x])", "o[i, x] = sum[i >= j](v[j, x])"),
    ("o[i, x] = v[i, x] * [0 == i]", "o[i, x] = v[i, x] * [i == 0]"),
    ("o[i, x] = softmax[j <= i](q[i, c] * k[j, c]) * v[j, x]",
     "o[i, x] = softmax[u <= i](q[i, c] * k[u, c]) * v[u, x]"),
    ("o[i, x] = sum[c](q[i, c]) * sum[c](k[i, c]) * v[i, x]",
     "o[i, x] = sum[c](q[i, c]) * sum[j](k[i, j]) * v[i, x]"),
    ("o[i, x] = sum[j](q[j, x] * sum[u < j](k[u, x]))", "o[i, x] = sum[u](q[u, x] * sum[j < u](k[j, x]))"),
]  # fmt: skip

OTHER = [
    ("o[i, x] = q[i, c] * k[j, c] * v[j, x]", "o[i, x] = q[i, c] * v[j, x] * k[j, c]"),
    ("o[i, x] = sum[j <= i](v[j, x])", "o[i, x] = sum[j < i](v[j, x])"),
    ("o[i, x] = sum[j <= i](v[j, x])", "o[i, x] = sum[i <= j](v[j, x])"),
    ("o[i, x] = q[i, x] * w", "o[i, x] = q[i, x] * d"),
    ("o[i, x] = sum[j, u](q[j, x] * k[u, x])", "o[i, x] = sum[j](q[j, x] * k[j, x])"),
    ("s[i, j] = q[i, c] * k[j, c]; o[i, x] = s[i, j] * v[j, x]",
     "s[i, j] = q[i, c] * k[j, c]; o[i, x] = s[j, i] * v[j, x]"),
    ("o[i, x] = sum[c](q[i, c]) * v[i, x]", "o[i, x] = prod[c](q[i, c]) * v[i, x]"),
    ("o[i, x] = sum[j](q[j, x] * sum[u < j](k[u, x]))", "o[i, x] = sum[j](q[j, x] * sum[j < u](k[u, x]))"),
    ("s[i, x] = q[i, x]; t[i, x] = k[i, x]; o[i, x] = s[i, x]",
     "s[i, x] = q[i, x]; t[i, x] = k[i, x]; o[i, x] = t[i, x]"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), SAME)
def test_names_do_not_matter(first, second):
    assert equivalent(program(first), program(second))
    assert equivalent(program(second), program(first))


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_everything_else_does(first, second):
    assert not equivalent(program(first), program(second))


def test_names_of_inputs_outputs_and_defaults_matter():
    body = "o[i, x] = q[i, x]"
    assert not equivalent(program(body, "q[n, d]"), program(body, "q[n, d], k[n, d]"))
    assert not equivalent(program(body, "q[n, d], w=4"), program(body, "q[n, d], w=5"))
    assert not equivalent(program(body, "q[n, d]"), program("o[i, x] = p[i, x]", "p[n, d]"))


def test_names_of_programs_and_if_asked_of_sizes_do_not():
    first = parse("def f(q[n, d]) -> o[n]: o[i] = sum[c](q[i, c] * d)")
    second = parse("def g(q[d, n]) -> o[d]: o[i] = sum[c](q[i, c] * n)")
    assert not equivalent(first, second)
    assert equivalent(first, second, rename_sizes=True)
    third = parse("def g(q[n, n]) -> o[n]: o[i] = sum[c](q[i, c] * n)")
    assert not equivalent(first, third, rename_sizes=True)


def test_the_canonical_form_is_stable():
    made = program(SAME[1][0])
    assert canonical(made) == canonical(canonical(made))


def test_deep_programs():
    deep = program("o[i, x] = q[i, x]" + " / (2 + q[i, x]" * 40 + ")" * 40)
    assert equivalent(deep, deep)
