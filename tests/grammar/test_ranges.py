"""How far indices run: axes, inferred axes, comparisons, and what each reduction binds."""

from __future__ import annotations

import pytest

from tensorc.errors import LanguageError
from tensorc.grammar import parse
from tensorc.ir import Equation, Program, Reduce, Softmax, walk

ATTENTION = "def f(q[n, d], k[m, d], v[m, e], g[n], t[h * d, 2 * n], w=3) -> o[n, e]:\n"


def extents(equation: Equation) -> dict[str, str]:
    """Every index of an equation with the extent it runs over."""
    found = {bind.name: str(bind.extent) for bind in equation.left}
    for node in walk(equation.body):
        if isinstance(node, Reduce):
            found |= {bind.name: str(bind.extent) for bind in node.binds}
        if isinstance(node, Softmax):
            found |= {bind.name: str(bind.extent) for bind in node.over}
    return found


def program(*equations: str, head: str = ATTENTION) -> Program:
    return parse(head + "".join(f"    {equation}\n" for equation in equations))


def axes(found: Program, tensor: str) -> list[str]:
    return [str(axis) for axis in found.tensors()[tensor].axes]


@pytest.mark.parametrize(
    "body, expected",
    [
        ("softmax[j](q[i, c] * k[j, c]) * v[j, x]", {"c": "d", "j": "m"}),
        ("v[j, x] * t[a, b] * t[a, b] * k[j, c] * q[i, c]", {"j": "m", "a": "d * h", "b": "2 * n", "c": "d"}),
        ("v[i, x] * sum[j, j <= i](1)", {"j": "n"}),
        ("v[0, x] * sum[j, u, j <= u <= i](1)", {"j": "n", "u": "n"}),
        ("v[0, x] * sum[j, u, u <= i, j <= u](1)", {"j": "n", "u": "n"}),
        ("v[0, x] * sum[j, j < x](1)", {"j": "e"}),
        ("v[0, x] * sum[j, not j < x](1)", {"j": "e"}),
        ("v[0, x] * sum[j, j <= i or j == i](1)", {"j": "n"}),
        ("v[0, x] * sum[j, [j < x] == 0](1)", {"j": "e"}),
        ("v[0, x] * sum[u, i - w <= u, u <= i](1)", {"u": "n"}),
        ("v[0, x] * sum[j, j < i](q[i - 1, j])", {"j": "d"}),
    ],
)
def test_the_range_of_an_index(body: str, expected: dict[str, str]) -> None:
    head = ATTENTION if "v[i" not in body else ATTENTION.replace("v[m, e]", "v[n, e]").replace("k[m", "k[n")
    found = extents(program(f"o[i, x] = {body}", head=head).equation("o"))
    assert found == {"i": "n", "x": "e"} | expected


def test_an_axis_of_an_intermediate_comes_from_its_equation() -> None:
    found = program("s[i, j] = q[i, c] * k[j, c]", "o[i, x] = s[i, j] * v[j, x]")
    assert axes(found, "s") == ["n", "m"]


def test_an_axis_of_an_intermediate_comes_from_where_it_is_read() -> None:
    found = program(
        "r[i, a] = [a <= i]", "D[i, j] = 2 ** (i - j)", "o[i, x] = D[i, j] * r[i, a] * v[j, x] * v[a, x]"
    )
    assert axes(found, "D") == ["n", "m"] and axes(found, "r") == ["n", "m"]


def test_an_axis_of_an_intermediate_comes_through_another_one() -> None:
    found = program("a[i] = b[i]", "b[i] = c[i]", "c[i] = 2", "o[i, x] = a[j] * v[j, x]")
    assert [axes(found, name) for name in "abc"] == [["m"], ["m"], ["m"]]


def test_an_axis_of_an_intermediate_comes_from_a_comparison() -> None:
    found = program("M[i, j] = g[i] * [j <= i]", "o[i, x] = M[i, 0] * v[0, x]")
    assert axes(found, "M") == ["n", "n"]


def test_the_use_of_an_intermediate_comes_before_a_comparison() -> None:
    found = program("M[i, j] = [j <= i]", "o[i, x] = M[i, j] * v[j, x]")
    assert axes(found, "M") == ["n", "m"]


def test_a_subscript_that_is_not_bare_says_nothing() -> None:
    found = program("o[i, x] = sum[j, j < x](g[j + 1] * v[j // 2, x])")
    assert extents(found.equation("o"))["j"] == "e"


def test_one_letter_has_one_range_in_an_equation() -> None:
    found = program("o[i, x] = v[0, x] * sum[j](k[j, 0]) / sum[j, j <= i](1)")
    binds = [n.binds[0].extent for n in walk(found.equation("o").body) if isinstance(n, Reduce)]
    assert [str(b) for b in binds] == ["m", "m"]


@pytest.mark.parametrize(
    "body, message",
    [
        ("q[i, c] * v[c, x]", "c runs over q axis 2 (d) and v axis 1 (m)."),
        ("q[x, c] * q[i, c]", "x runs over o axis 2 (e) and q axis 1 (n)."),
        ("sum[a](t[a, 0]) * sum[a](g[a])", "a runs over t axis 1 (d * h) and g axis 1 (n)."),
        ("v[0, x] * sum[j <= i](1)", "j is on no axis."),
        ("v[0, x] * sum[j](1)", "j is on no axis."),
        ("v[0, x] * sum[j, j <= i + 1](1)", "j is on no axis."),
        ("v[0, x] * sum[j, j < w](1)", "j is on no axis."),
        ("v[0, x] * sum[j, j <= i, j <= x](1)", "j is on no axis, and is compared with indices over"),
        ("v[0, x] * sum[j](g[j + 1])", "j is on no axis."),
        ("v[0, x] * (i - j) * [j < i]", "j is on no axis."),
        ("softmax[j < i](g[j + 1] * v[0, x])", "j is on no axis."),
    ],
)
def test_no_range_or_two(body: str, message: str) -> None:
    with pytest.raises(LanguageError) as caught:
        program(f"o[i, x] = {body}")
    assert caught.value.message.startswith(message)


def test_equal_numbers_do_not_make_equal_axes() -> None:
    head = "def f(a[n], b[2 * h], n=4, h=2) -> o[]:\n"
    with pytest.raises(LanguageError, match=r"runs over a axis 1 \(n\) and b axis 1 \(2 \* h\)"):
        program("o[] = a[i] * b[i]", head=head)


def test_the_order_of_factors_of_a_size_does_not_matter() -> None:
    found = program("o[] = a[i] * b[i]", head="def f(a[h * 2 * n], b[n * h * 2]) -> o[]:\n")
    assert extents(found.equation("o")) == {"i": "2 * h * n"}


@pytest.mark.parametrize(
    "domain, binds",
    [
        ("j <= i", ["j"]),
        ("u <= j <= i", ["u", "j"]),
        ("j, u, u <= j", ["j", "u"]),
        ("u <= i, j <= i", ["u", "j"]),
        ("i >= j", ["j"]),
        ("g[j] == g[u]", ["j", "u"]),
        ("i, j", ["j"]),
        ("j, j", ["j"]),
        ("not (j <= i and u < 3)", ["j", "u"]),
        ("where(j < 2, u, 0) == 1", ["j", "u"]),
        ("sum[u](g[u] * g[j]) > 0", ["j"]),
    ],
)
def test_a_reduction_binds_every_index_of_its_domain(domain: str, binds: list[str]) -> None:
    body = " * ".join(f"g[{name}]" for name in ("j", "u") if name in binds)
    equation = program(f"o[i, x] = sum[{domain}]({body})").equation("o")
    assert isinstance(equation.body, Reduce)
    assert [bind.name for bind in equation.body.binds] == binds


def test_indices_bound_further_out_are_not_bound_again() -> None:
    body = program("o[i, x] = sum[j <= i](exp(sum[j < u <= i](g[u])) * g[j])").equation("o").body
    inner = [n for n in walk(body) if isinstance(n, Reduce)][1]
    assert isinstance(inner, Reduce) and [b.name for b in inner.binds] == ["u"]


@pytest.mark.parametrize(
    "left, domain, over",
    [
        ("i, j", "j <= i", ["j"]),
        ("i, j", "j, i >= j", ["j"]),
        ("j, i", "j <= i, i", ["i"]),
        ("i, j", "i, j", ["i", "j"]),
        ("i, j", "j", ["j"]),
    ],
)
def test_softmax_runs_over(left: str, domain: str, over: list[str]) -> None:
    head = "def f(q[n, d]) -> p[n, n]:\n"
    body = program(f"p[{left}] = softmax[{domain}](q[i, c] * q[j, c])", head=head).equation("p").body
    assert isinstance(body, Softmax) and [bind.name for bind in body.over] == over


def test_softmax_runs_over_the_first_index_that_is_free() -> None:
    body = program("o[i, x] = softmax[i >= j](q[i, c] * k[j, c]) * v[j, x]").equation("o").body
    (node,) = [n for n in walk(body) if isinstance(n, Softmax)]
    assert [bind.name for bind in node.over] == ["j"]


@pytest.mark.parametrize(
    "equation",
    [
        "p[i, j] = softmax[i >= j](q[i, c] * q[j, c])",
        "p[i, u] = sum[j](softmax[j <= i](q[i, c] * q[j, c]) * q[j, u])",
        "p[i, j] = softmax[0 < 1](q[i, j])",
    ],
)
def test_softmax_over_nothing_clear(equation: str) -> None:
    with pytest.raises(LanguageError, match="softmax would run over"):
        program(equation, head="def f(q[n, n]) -> p[n, n]:\n")
