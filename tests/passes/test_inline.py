"""Which tensors disappear into the equations that read them."""

from __future__ import annotations

import pytest

from tensorc import parse
from tensorc.ir import Index, Read, Reduce, extent, walk
from tensorc.passes.inline import dependency_order, inline, is_recursive
from tensorc.passes.records import Log

HEADER = "q[n, d], k[n, d], v[n, e]"


def left(lines: str, everywhere: bool = True) -> list[str]:
    """The equations that are left; the others were inlined."""
    body = "\n".join(f"    {line.strip()}" for line in lines.strip().split(";"))
    program = parse(f"def f({HEADER}) -> o[n, e]:\n{body}\n")
    return [e.target for e in inline(program, extent("n"), everywhere, Log()).equations]


@pytest.mark.parametrize(
    ("lines", "kept"),
    (
        ("s[i, j] = q[i, c] * k[j, c]; o[i, x] = sum[j <= i](s[i, j] * v[j, x])", ["o"]),
        ("s[i, j] = q[i, c] * k[j, c]; o[i, x] = sum[j <= i](s[i, j] * s[j, i] * v[j, x])", ["o"]),
        ("S[i, c, x] = sum[j <= i](k[j, c] * v[j, x]); o[i, x] = q[i, c] * S[i, c, x]", ["o"]),
        ("z[i, x] = sum[j <= i](v[j, x]); o[i, x] = sum[j <= i](z[j, x])", ["z", "o"]),
        ("f[i, c] = elu(q[i, c]) + 1; o[i, x] = sum[j <= i](f[i, c] * f[j, c] * v[j, x])", ["f", "o"]),
        ("D[i, j] = exp(sum[j < u <= i, c](q[u, c])); o[i, x] = sum[j <= i](D[i, j] * v[j, x])", ["o"]),
        ("p[i, j] = softmax[j <= i](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]", ["p", "o"]),
        ("S[i, c, x] = tanh(sum[j <= i](k[j, c] * v[j, x])); o[i, x] = q[i, c] * S[i, c, x]", ["S", "o"]),
    ),
)
def test_what_is_inlined(lines: str, kept: list[str]) -> None:
    assert left(lines) == kept


def test_a_pair_under_a_function_is_inlined_only_to_be_expanded() -> None:
    lines = "s[i, j] = q[i, c] * k[j, c]; o[i, x] = sum[j <= i](s[i, j] ** 2 * v[j, x])"
    assert left(lines, everywhere=True) == ["o"]
    assert left(lines, everywhere=False) == ["s", "o"]


def test_bound_names_stay_apart() -> None:
    """s is read twice: the letters that it sums must differ."""
    program = parse(
        f"def f({HEADER}) -> o[n, e]:\n"
        "    s[i, j] = q[i, c] * k[j, c]\n"
        "    o[i, x] = sum[u <= j <= i](s[i, u] * s[j, u] * v[j, x])\n"
    )
    (equation,) = inline(program, extent("n"), True, Log()).equations
    bound = [b.name for n in walk(equation.body) if isinstance(n, Reduce) for b in n.binds]
    assert len(set(bound)) == len(bound) == 4


def test_swapped_letters() -> None:
    """s[j, i] inside an equation over i and j is a simultaneous renaming."""
    program = parse(
        f"def f({HEADER}) -> o[n, e]:\n"
        "    s[i, j] = q[i, c] * k[j, c]\n"
        "    o[i, x] = sum[j <= i](s[j, i] * v[j, x])\n"
    )
    (equation,) = inline(program, extent("n"), True, Log()).equations
    reads = {n.tensor: n.subscripts[0] for n in walk(equation.body) if isinstance(n, Read)}
    assert reads["q"] == Index("j") and reads["k"] == Index("i")


def test_an_output_is_kept() -> None:
    program = parse(
        "def f(q[n], k[n]) -> s[n, n], o[n]:\n    s[i, j] = q[i] * k[j]\n    o[i] = sum[j](s[i, j])\n"
    )
    assert [e.target for e in inline(program, extent("n"), True, Log()).equations] == ["s", "o"]


def test_growth_is_bounded() -> None:
    lines = ["s0[i, j] = q[i, c] * k[j, c]"]
    lines += [f"s{n + 1}[i, j] = s{n}[i, j] * s{n}[j, i]" for n in range(16)]
    kept = left("; ".join([*lines, "o[i, x] = sum[j <= i](s16[i, j] * v[j, x])"]))
    assert 1 < len(kept) < 16


def test_what_is_inlined_is_recorded() -> None:
    log = Log()
    program = parse(
        f"def f({HEADER}) -> o[n, e]:\n    s[i, j] = q[i, c] * k[j, c]\n    o[i, x] = s[i, j] * v[j, x]\n"
    )
    inline(program, extent("n"), True, log)
    (record,) = log.rewrites
    assert record.rule == "inline" and record.what.startswith("s ") and record.line == 2


def test_equations_in_the_order_of_what_they_read() -> None:
    program = parse(
        "def f(x[n]) -> o[n]:\n"
        "    o[i] = a[i] + w[i]\n"
        "    w[i] = x[i] + sum[j < i](z[j])\n"
        "    a[i] = x[i]\n"
        "    z[i] = 2 * w[i]\n"
    )
    groups = [[e.target for e in group] for group in dependency_order(program)]
    assert groups.index(["w", "z"]) < groups.index(["o"]) and groups.index(["a"]) < groups.index(["o"])
    assert [is_recursive(g) for g in dependency_order(program)] == [len(g) > 1 for g in groups]
