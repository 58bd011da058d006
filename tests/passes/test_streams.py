"""The time axis of a program, and the axis, direction and order of a self-reference."""

from __future__ import annotations

import pytest

from tensorc import parse
from tensorc.passes.inline import dependency_order, is_recursive
from tensorc.passes.recursion import Recursion, recursion
from tensorc.passes.streams import streams

HEADER = "q[n, d], k[m, d], x[n], y[n, n], z[n, m], s[]"


@pytest.mark.parametrize(
    ("body", "found"),
    (
        ("o[i] = sum[j <= i](x[j])", "n"),
        ("o[i] = sum[j > i](x[j])", "n"),
        ("o[i] = sum[j, i - 3 < j <= i](x[j])", "n"),
        ("o[i] = sum[j](s ** (i - j) * x[j])", "n"),
        ("o[i] = sum[j](exp(s * abs(i - j)) * x[j])", "n"),
        ("o[i] = x[i] + x[i - 1]", "n"),
        ("o[i] = sum[j, j == i - 2](x[j])", "n"),
        ("o[i] = sum[j, x[i] == x[j]](x[j])", "n"),
        ("o[i] = x[i] + s * o[i - 1]", "n"),
        ("o[i] = sum[c](q[i, c] * sum[j](k[j, c]))", ""),
        ("o[i] = sum[j](x[j]) * x[i]", ""),
        ("o[i] = sum[j, j == i](x[j])", ""),
        ("o[i] = sum[c](q[i, c] * q[i, c - 1])", "d"),
        ("o[i] = sum[j, c, b, b <= c](q[i, c] * k[j, b])", "d"),
        ("o[i] = sum[j, c, b, u, u <= j, b <= c](q[i, c] * k[j, b] * k[u, b])", "m d"),
        ("o[i] = sum[j](y[i, j] * x[j])", ""),
        ("o[i] = x[i] * i / n", ""),
    ),
)
def test_streams(body: str, found: str) -> None:
    program = parse(f"def f({HEADER}) -> o[n]:  {body}")
    assert sorted(map(str, streams(program))) == sorted(found.split())


def cycle(lines: str, output: str = "o[n]") -> Recursion:
    """The one group of equations that use their own results."""
    body = "\n".join(f"    {line.strip()}" for line in lines.split(";"))
    program = parse(f"def f({HEADER}) -> {output}:\n{body}\n")
    (group,) = [g for g in dependency_order(program) if is_recursive(g)]
    return recursion(group)


@pytest.mark.parametrize(
    ("lines", "extent", "reverse"),
    (
        ("o[i] = x[i] + sum[j < i](o[j])", "n", False),
        ("o[i] = x[i] + sum[j > i](o[j])", "n", True),
        ("o[i] = x[i] + o[i - 1] / 2 + o[i - 3]", "n", False),
        ("o[i] = x[i] + o[i + 1]", "n", True),
        ("o[i] = x[i] + sum[j <= i - 2](o[j])", "n", False),
        ("o[i] = x[i] + sum[j, u < j < i](o[u] * x[j])", "n", False),
    ),
)
def test_direction(lines: str, extent: str, reverse: bool) -> None:
    found = cycle(lines)
    assert (str(found.extent), found.reverse, found.axes) == (extent, reverse, {"o": 0})


def test_the_order_within_a_position() -> None:
    found = cycle("o[i] = 2 * w[i] + x[i]; w[i] = z1[i] + 1; z1[i] = sum[j < i](o[j])")
    assert [e.target for e in found.order] == ["z1", "w", "o"]


def test_the_axis_may_be_any() -> None:
    found = cycle("w[i, a] = z[i, a] + w[i, a - 1]; o[i] = sum[a](w[i, a])")
    assert (str(found.extent), found.axes) == ("m", {"w": 1})


def test_each_equation_has_its_own_axis() -> None:
    found = cycle("w[c, i] = q[i, c] - sum[j < i](t[j] * x[j]) ; t[i] = sum[c](w[c, i]); o[i] = t[i]")
    assert found.axes == {"w": 1, "t": 0}
