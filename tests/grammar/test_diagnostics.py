"""The mistakes people will make, in the words of the language reference; and what a caret points at."""

from __future__ import annotations

import re

import pytest

from tensorc.errors import LanguageError, ShapeError
from tensorc.grammar import parse

HEAD = "def f(q[n, d], k[n, d], v[n, e], g[n], s[]) -> o[n, e]:\n    o[i, x] = "


def error(body: str, head: str = HEAD) -> LanguageError:
    with pytest.raises(LanguageError) as caught:
        parse(head + body + "\n")
    return caught.value


def marked(found: LanguageError) -> str:
    """What the carets stand under."""
    assert found.source_line is not None and found.column is not None and found.end_column is not None
    return found.source_line[found.column - 1 : found.end_column - 1]


FIFTEEN = [
    (
        "sum[j <= i](q[i, c] * k[j, c]) * v[j, x]",
        "j is bound by the sum at 2:15 but used outside it.",
        "Move v[j, x] inside the parentheses.",
        "j",
    ),
    (
        "q[i, c] * v[i, x]",
        "c occurs once in this term and is not on the left.",
        "A typo? If a sum is meant, write sum[c](...).",
        "c",
    ),
    (
        "exp(q[i, c] * k[i, c]) * q[i, c] * v[i, x]",
        "c is summed inside q[i, c] * k[i, c] and used again outside.",
        "Use another letter, or write sum[c](...) where you mean it.",
        "c",
    ),
    (
        "q[i, c] * v[c, x]",
        "c runs over q axis 2 (d) and v axis 1 (n).",
        "If always equal, give them one name in the signature",
        "c",
    ),
    ("q[i, d] * k[i, d] * v[i, x]", "d is a size (1:12), not an index.", "Unused letters: j, l, m", "d"),
    (
        "sum[g](q[i, c] * k[g, c] * v[g, x])",
        "g is the input g[n]; an index needs another letter.",
        "Unused letters:",
        "g",
    ),
    (
        "softmax[j, i - w < j <= i](q[i, c] * k[j, c]) * v[j, x]",
        "w is on no axis.",
        "A number: declare w=128 in the signature (or the input w[]). "
        "An index: list it and compare it, sum[j, w, w <= i](...).",
        "w",
    ),
    (
        "sum(q[i, c] * k[i, c]) * v[i, x]",
        "sum needs its indices and parentheses: sum[c](...).",
        "Name in the [ ] what it runs over",
        "sum",
    ),
    (
        "v[i, x] - sum[j <= i](o[j, x])",
        "o[i, x] uses o[j, x] with j <= i, which includes i itself.",
        "Strictly earlier: j < i.",
        "o[j, x]",
    ),
    (
        "p[i, j] * v[j, x]\n    p[i, j] = softmax[i >= j](q[i, c] * k[j, c])",
        "softmax would run over i, a row of p[i, j].",
        "Write softmax[j, i >= j].",
        "softmax",
    ),
    ("q[i, c] * kk[j, c] * v[j, x]", "No tensor kk; did you mean k?", "Tensors here: q, k, v", "kk"),
    ("q[i] * v[i, x]", "q[n, d] has 2 axes, read with 1.", "Write q[", "q[i]"),
    (
        "v[g[i], x]",
        "g holds data; an axis is indexed by indices, sizes and integers.",
        "Gather before the call.",
        "g[i]",
    ),
    (
        "sum[j]((j <= i) * v[j, x])",
        "`j <= i` is a condition; as a number write [j <= i].",
        "A condition stands in a domain, in [ ], or first in where.",
        "j <= i",
    ),
]


@pytest.mark.parametrize("body, message, hint, culprit", FIFTEEN, ids=[m[:30] for _, m, _, _ in FIFTEEN])
def test_the_mistakes_people_will_make(body: str, message: str, hint: str, culprit: str) -> None:
    found = error(body)
    assert found.message == message
    assert found.hint.startswith(hint)
    assert marked(found) == culprit


@pytest.mark.parametrize(
    "body, culprit",
    [
        ("v[i, x] * unknown[i]", "unknown"),
        ("v[i, x] * sofmax[j](g[j])", "sofmax"),
        ("v[i, x] * exp(g[i], 2)", "exp(g[i], 2)"),
        ("v[i, x] * [g[i]]", "g[i]"),
        ("v[i, x] * g[i // 0]", "i // 0"),
        ("v[i, x] * g", "g"),
        ("v[i, x] * 1e999", "1e999"),
        ("v[i, x] * g[i, i]", "g[i, i]"),
        ("v[i, x] * where(g[i], 1)", "where(g[i], 1)"),
    ],
)
def test_carets_stand_under_the_culprit(body: str, culprit: str) -> None:
    assert marked(error(body)) == culprit


def test_a_caret_over_several_lines_ends_with_the_first() -> None:
    found = error("v[i, x] * exp(g[i],\n        2)")
    assert (found.line, marked(found)) == (2, "exp(g[i],")


@pytest.mark.parametrize("before", [0, 100, 500])
@pytest.mark.parametrize("after", [0, 500])
def test_of_a_long_line_the_part_around_the_caret_is_shown(before: int, after: int) -> None:
    found = error("v[i, x]" + " * g[i]" * before + " * zz[i]" + " * g[i]" * after)
    assert marked(found) == "zz"
    _, line, carets, _ = str(found).split("\n")
    assert len(line) < 200
    assert line[carets.index("^") : carets.rindex("^") + 1] == "zz"
    assert line.endswith(" ...") == (after == 500) and line.startswith("    ... ") == (before > 0)


def test_the_file_is_named() -> None:
    with pytest.raises(LanguageError, match=r"^attention.tc:1:10: "):
        parse("def f(x[n) -> y[n]:", file="attention.tc")


@pytest.mark.parametrize(
    "body, size",
    [
        ("g[-1] * v[i, x]", "read at -1 on axis 1"),
        ("g[2 - 3] * v[i, x]", "read at -1"),
        ("v[0 - 1, x]", "v[n, e]"),
    ],
)
def test_a_constant_outside_is_a_shape_error(body: str, size: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(size)):
        parse(HEAD + body + "\n")


def test_a_constant_outside_a_constant_axis_is_a_shape_error() -> None:
    assert parse("def f(x[4]) -> y[]:\n    y[] = x[3]\n").name == "f"
    with pytest.raises(ShapeError, match=r"x\[4\] is read at 4 on axis 1 .*0 to 3"):
        parse("def f(x[4]) -> y[]:\n    y[] = x[4]\n")


def test_the_message_stands_alone_without_text() -> None:
    from tensorc.grammar.lowering import lower
    from tensorc.grammar.syntax import Assignment, Declaration, Definition, Name
    from tensorc.ir import Read, extent

    axes = (extent("n"),)
    body = Read("z", (Name("i"),))
    statement = Assignment("y", (Name("i"),), body)
    definition = Definition("f", (Declaration("x", axes),), (), (Declaration("y", axes),), (statement,))
    with pytest.raises(LanguageError) as caught:
        lower([definition])
    found = caught.value
    assert (found.line, found.column, found.source_line) == (None, None, None)
    assert str(found) == f"No tensor z.\nhint: {found.hint}"
