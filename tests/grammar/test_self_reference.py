"""Which equations may use their own results."""

from __future__ import annotations

import pytest

from tensorc.errors import LanguageError
from tensorc.grammar import parse
from tensorc.printing import print_program

HEAD = "def f(a[n], b[n], q[n, d], k[n, d], v[n, e], m[n, n], t=2) -> o[n, e]:\n    o[i, x] = v[i, x]\n"

ALLOWED = {
    "a recurrence": "S[i, c, x] = a[i] * S[i - 1, c, x] + k[i, c] * v[i, x]",
    "two steps back": "w[i, x] = v[i, x] + w[i - 2, x] / 2 + w[i - 1, x]",
    "the delta rule": "w[i, x] = a[i] * (v[i, x] - sum[j < i](k[i, c] * k[j, c] * w[j, x]))",
    "a chain": "w[i, x] = v[i, x] - sum[u <= j < i](k[j, c] * k[u, c] * w[u, x])",
    "a chain with the strict end first": "w[i, x] = v[i, x] - sum[u < j <= i](k[j, c] * k[u, c] * w[u, x])",
    "written the other way": "w[i] = a[i] - sum[i > j](w[j] * b[j])",
    "shifted": "w[i] = a[i] - sum[j <= i](w[j - 1] * b[j])",
    "equality": "w[i] = a[i] - sum[j == i - 2](w[j] * b[j])",
    "negation": "w[i] = a[i] - sum[not j >= i](w[j] * b[j])",
    "negation of or": "w[i] = a[i] - sum[not (j >= i or b[j] > 0)](w[j])",
    "both sides moved": "w[i] = a[i] - sum[j + 1 <= i](w[j] * b[j])",
    "a window": "w[i] = a[i] - sum[i - t < j < i](w[j] * b[j])",
    "a mask as a factor": "w[i] = a[i] - [j < i] * b[j] * w[j]",
    "a mask behind a quotient": "w[i] = a[i] - [j < i] * b[j] / 3 * w[j]",
    "a mask in a group": "w[i] = a[i] - sum[j](w[j] * (b[j] * [j < i]))",
    "later positions": "w[i] = a[i] - sum[j > i](w[j] * b[j])",
    "a reverse recurrence": "w[i] = a[i] + b[i] * w[i + 1]",
    "the first position": "w[i] = a[i] + [i > 0] * w[0]",
    "two tensors": "w[i, x] = v[i, x] - r[i, x]\n    r[i, x] = a[i] * w[i - 1, x]",
    "three tensors, one step": "w[i] = r[i] + a[i]\n    r[i] = z[i] * b[i]\n    z[i] = sum[j < i](w[j])",
    "a pair of positions": "A[i, j] = a[i] * b[j] * w[j]\n    w[i] = a[i] - sum[j < i](A[i, j])",
    "the second axis": "S[c, i] = q[i, c] + S[c, i - 1]",
    "a grid along one axis": "S[i, j] = m[i, j] + S[i - 1, j] + S[i - 1, j - 1]",
    "inside softmax": "w[i] = a[i] + max[j < i](w[j] * b[j])",
    "in a condition": "w[i] = a[i] + [w[i - 1] > 0]",
}

REFUSED = {
    "itself": ("w[i] = a[i] + w[i]", "w[i] uses w[i], which includes the same position."),
    "including itself": (
        "w[i] = a[i] - sum[j <= i](w[j] * b[j])",
        "w[i] uses w[j] with j <= i, which includes i itself.",
    ),
    "including itself, later": (
        "w[i] = a[i] - sum[j >= i](w[j] * b[j])",
        "w[i] uses w[j] with j >= i, which includes i itself.",
    ),
    "everything": ("w[i] = a[i] - sum[j](w[j] * b[j])", "w[i] uses w[j], and nothing says that it is"),
    "a loose mask": ("w[i] = a[i] - sum[j]([j < i] + w[j] * b[j])", "w[i] uses w[j], and nothing says"),
    "or": ("w[i] = a[i] - sum[j < i or b[j] > 0](w[j])", "w[i] uses w[j], and nothing says"),
    "both sides": (
        "w[i] = a[i] + w[i - 1] + w[i + 1]",
        "w[i] uses w[i - 1] and w[i + 1]: positions on both sides",
    ),
    "shifted back": ("w[i] = a[i] - sum[j < i](w[j + 1] * b[j])", "w[i] uses w[j + 1] with j + 1 <= i"),
    "an unknown lag": ("w[i] = a[i] + w[i - t]", "w[i] uses w[i - t], and nothing says"),
    "another axis": ("S[i, j] = m[i, j] + S[j, i - 1]", "S[i, j] uses S[j, i - 1], and nothing says"),
    "a grid, on both axes": (
        "S[i, j] = m[i, j] + S[i - 1, j + 1] + S[i, j - 1]",
        "S[i, j] uses",
    ),
    "a pair": (
        "w[i] = a[i] * r[i]\n    r[i] = b[i] + w[i]",
        "w, r need each other at the same position: w -> r -> w.",
    ),
    "a pair, unordered": (
        "w[i] = a[i] * r[i]\n    r[i] = b[j] * w[j]",
        "r[i] and w need each other (w -> r -> w)",
    ),
    "a scalar": ("w[] = w + sum[i](a[i])", "w[] uses itself, and has no positions."),
    "no axis in common": (
        "S[c] = q[0, c] + S[c - 1] * w[0]\n    w[i] = a[i] + S[0]",
        "S[c] and w need each other (S -> w -> S)",
    ),
}


@pytest.mark.parametrize("equations", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(equations: str) -> None:
    program = parse(HEAD + f"    {equations}\n")
    assert parse(print_program(program)) == program


@pytest.mark.parametrize("equations, message", REFUSED.values(), ids=REFUSED.keys())
def test_refused(equations: str, message: str) -> None:
    with pytest.raises(LanguageError) as caught:
        parse(HEAD + f"    {equations}\n")
    assert caught.value.message.startswith(message)
    assert caught.value.line is not None and caught.value.hint


def test_equations_stand_in_any_order() -> None:
    program = parse("def f(x[n]) -> o[n]:\n    o[i] = b[i]\n    b[i] = a[i]\n    a[i] = x[i]\n")
    assert [e.target for e in program.equations] == ["o", "b", "a"]
    assert [t.name for t in program.locals] == ["b", "a"]


def test_positions_do_not_follow_from_an_empty_domain() -> None:
    program = parse(HEAD + "    w[i] = a[i] - sum[j < i, i < j](w[j] * b[j])\n")
    assert program.equation("w").target == "w"
