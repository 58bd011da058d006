"""The cut into states: how many there are, how large, and which reads share one."""

from __future__ import annotations

from math import prod

import pytest

from tensorc import parse
from tensorc.ir import extent
from tensorc.passes.linear import NotLinear, stage_graph
from tensorc.passes.records import Log
from tensorc.passes.stage_graph import Folded, Graph, Stage

HEADER = "q[n, d], k[n, d], v[n, e], g[n], h[n, d], a[n], b[n, d], s[]"
SIZES = {"n": 4096, "d": 64, "e": 32}


def graph(
    lines: str, output: str = "o[n, e]", sizes: dict[str, int] | None = None, log: Log | None = None
) -> Graph:
    body = "\n".join(f"    {line.strip()}" for line in lines.strip().split(";"))
    program = parse(f"def f({HEADER}) -> {output}:\n{body}\n")
    return stage_graph(program, extent("n"), sizes or SIZES, log or Log())


def states(found: Graph, sizes: dict[str, int] | None = None) -> list[int]:
    """The elements of every state, the largest first."""
    known = sizes or SIZES
    return sorted(
        (prod(found.extents[a].value(known) for a in m.axes) for m in found.memories.values()), reverse=True
    )


D, E = SIZES["d"], SIZES["e"]


@pytest.mark.parametrize(
    ("lines", "found"),
    (
        ("o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])", [D * E]),
        ("o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x]) / (1 + abs(sum[j <= i](q[i, c] * k[j, c])))",
         [D * E, D]),
        ("o[i, x] = sum[j <= i](exp(sum[j < u <= i](g[u])) * q[i, c] * k[j, c] * v[j, x])", [D * E]),
        ("o[i, x] = sum[j <= i](exp(sum[j < u <= i](h[u, c])) * q[i, c] * k[j, c] * v[j, x])", [D * E]),
        ("o[i, x] = sum[u <= i, j <= i](q[i, c] * k[u, c] * k[u, y] * q[j, y] * v[j, x])", [D * D, D * E]),
        ("t[i, j] = q[i, c] * k[j, c]; o[i, x] = sum[u <= j <= i](t[i, u] * t[j, u] * v[j, x])",
         [D * D, D * E]),
        ("t[i, j] = q[i, c] * k[j, c]; o[i, x] = sum[u <= j <= i](t[i, j] * t[j, u] * v[u, x])",
         [D * E, D * E]),
        ("t[i, j] = q[i, c] * k[j, c];"
         "o[i, x] = sum[u <= j <= i, l <= j](t[i, u] * t[j, u] * t[j, l] * v[l, x])",
         [D * D, D * E, D * E]),
        ("t[i, y, c] = sum[j <= i](q[j, y] * k[j, c]);"
         "o[i, x] = t[i, y, c] * t[i, f, c] * b[i, f] * q[i, y] * v[i, x]",
         [D * D]),
        ("o[i, x] = sum[j <= i](v[j, x])", [E]),
        ("o[i, x] = v[i, x]", []),
        ("o[i, x] = sum[j](q[i, c] * k[j, c] * v[j, x])", [D * E]),
        ("o[i, x] = q[i, y] * k[l, y] * k[l, c] * q[j, c] * v[j, x]", [D * D, D * E]),
    ),
)  # fmt: skip
def test_states(lines: str, found: list[int]) -> None:
    assert states(graph(lines)) == found


def test_strict_and_inclusive_reads_share_a_state() -> None:
    """The delta rule reads before the write and after it: one state of d·e."""
    lines = "o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x]) - sum[j < i](k[i, c] * k[j, c] * v[j, x])"
    found = graph(lines)
    assert states(found) == [D * E]
    assert sorted(s.reading.strict for s in found.nodes if isinstance(s, Stage)) == [False, True]


def test_one_state_whatever_the_letters() -> None:
    lines = (
        "z[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x]);"
        "o[i, x] = z[i, x] + sum[u < i](k[i, y] * k[u, y] * v[u, x])"
    )
    assert states(graph(lines)) == [D * E]


def test_a_state_read_by_two_equations() -> None:
    """One d·d state, read twice: neither d·d·d nor two of d·d."""
    lines = "t[i, y, c] = sum[j <= i](q[j, y] * k[j, c]); o[i, y] = t[i, y, c] * t[i, f, c] * b[i, f]"
    found = graph(lines, "o[n, d]")
    assert states(found) == [D * D]
    assert sum(isinstance(n, Stage) for n in found.nodes) == 2


def test_other_gates_or_directions_are_other_states() -> None:
    two = "exp(sum[j < u <= i](g[u])) * k[j, c] * v[j, x]"
    lines = f"o[i, x] = sum[j <= i](q[i, c] * {two}) + sum[j <= i](q[i, c] * k[j, c] * v[j, x])"
    assert states(graph(lines)) == [D * E, D * E]
    both = "o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x]) + sum[j > i](q[i, c] * k[j, c] * v[j, x])"
    assert states(graph(both)) == [D * E, D * E]


def test_exclusive_and_inclusive_gates_share_a_state() -> None:
    """Gates over (j, i] and over (j, i) are reads of one state, after and before the gate of i."""
    lines = (
        "o[i, x] = sum[j < i](prod[j < u <= i](a[u]) * q[i, c] * k[j, c] * v[j, x])"
        " + sum[j < i](prod[j < u < i](a[u]) * k[i, c] * k[j, c] * v[j, x])"
    )
    found = graph(lines)
    assert states(found) == [D * E]
    readings = [n.reading.inclusive for n in found.nodes if isinstance(n, Stage)]
    assert sorted(readings) == [(False,), (True,)]


def test_constant_factors_do_not_enter_a_state() -> None:
    assert states(graph("o[i, x] = sum[j <= i](s * 2 * q[i, c] * k[j, c] * v[j, x])")) == [D * E]


def test_narrow_values_are_written_together() -> None:
    """With e = 1 the state is a vector of d, and with d = 1 one of e."""
    lines = "o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])"
    assert states(graph(lines, sizes=SIZES | {"e": 1}), SIZES | {"e": 1}) == [D]
    assert states(graph(lines, sizes=SIZES | {"d": 1}), SIZES | {"d": 1}) == [E]


@pytest.mark.parametrize(
    ("lines", "reason"),
    (
        ("o[i, x] = sum[j <= i](relu(q[i, c] * k[j, c]) * v[j, x])", "not separable"),
        ("o[i, x] = sum[j, 2 * j <= i](v[j, x])", "has no scan"),
        ("p[i, j] = softmax[j <= i](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]", "softmax over j"),
        ("o[i, x] = max[j <= i](v[j, x])", "max over"),
    ),
)
def test_what_is_not_separable_is_folded_and_the_reason_recorded(lines: str, reason: str) -> None:
    log = Log()
    found = graph(lines, log=log)
    assert states(found) == [] and any(isinstance(n, Folded) for n in found.nodes)
    refused = [r for r in log.refusals if reason in r.reason]
    assert refused and all(r.rule == "summary-first" and r.change and r.line for r in refused)


@pytest.mark.parametrize(
    ("lines", "reason"),
    (
        (
            "t[i, j] = max[l <= j](q[i, c] * k[l, c]); o[i, x] = sum[j <= i](t[i, j] * v[j, x])",
            "three tokens at once",
        ),
        (
            "r[i, j] = q[i, c] * k[j, c]; w[i, j] = prod[j < u <= i](a[u]);"
            "o[i, x] = sum[j <= i](w[i, j] * relu(r[i, j]) * v[j, x])",
            "product of gates",
        ),
        ("r[i, j] = relu(q[i, c] * k[j, c]); o[i, x] = sum[j <= i](r[i, j - 1] * v[j, x])", "diagonal"),
    ),
)
def test_refusals_name_the_reason(lines: str, reason: str) -> None:
    with pytest.raises(NotLinear) as problem:
        graph(lines)
    assert reason in problem.value.reason and problem.value.change and problem.value.line


def test_tokens_that_never_meet_are_refused() -> None:
    with pytest.raises(NotLinear, match="two token indices"):
        graph("o[i, j] = q[i, c] * k[j, c]", "o[n, n]")


def test_a_scan_that_is_summed_as_it_stands_is_a_total() -> None:
    found = graph("o[] = sum[j, u <= j](v[u, x] * v[u, x])", "o[]")
    assert [m.total for m in found.memories.values()] == [False, True]
