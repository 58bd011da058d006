"""The tables of the language reference say what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tensorc.grammar import parse
from tensorc.grammar.lowering import MAX_DEPTH
from tensorc.grammar.names import RESERVED
from tensorc.grammar.scanner import MAX_BYTES, MAX_NESTING, MAX_TOKENS
from tensorc.ir import FUNCTIONS, REDUCTIONS, Reduce, Softmax, walk

PAGE = (Path(__file__).parents[2] / "grammar" / "LANGUAGE.md").read_text(encoding="utf-8")
HEAD = "def f(q[n, d], k[n, d], v[n, n, n], w[d], g[n], a[n], w0=2) -> "


def rows(title: str) -> list[tuple[str, str]]:
    """The rows of the table in a section."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    return [(left.strip("`"), right) for left, right in found if not left.startswith("written")]


@pytest.mark.parametrize("written, means", rows("Sums that need not be written"))
def test_sums(written: str, means: str) -> None:
    head = HEAD + "o[n]:\n    o[i] = "
    assert parse(head + written + "\n") == parse(head + means.strip("`") + "\n")


RUNS = {
    "sum[j <= i](...)": "o[i] = sum[j <= i](a[j])",
    "sum[u <= j <= i](...)": "o[i] = sum[u <= j <= i](a[j] * a[u])",
    "sum[j, l, j <= i](...)": "o[i] = sum[j, l, j <= i](a[j] * g[l])",
    "prod[j < u <= i](a[u])": "o[i] = sum[j <= i](g[j] * prod[j < u <= i](a[u]))",
    "p[i, j] = softmax[j <= i](...)": "p[i, j] = softmax[j <= i](a[j])",
    "p[i, j] = softmax[j, i - w < j <= i](...)": "p[i, j] = softmax[j, i - w0 < j <= i](a[j])",
}


def test_what_reductions_run_over() -> None:
    table = dict(rows("Reductions"))
    assert table.keys() == RUNS.keys()
    for written, equation in RUNS.items():
        shape = ", ".join("n" for _ in equation.split("]")[0].split(","))
        body = parse(f"{HEAD}{equation[0]}[{shape}]:\n    {equation}\n").equations[0].body
        *_, node = (n for n in walk(body) if isinstance(n, (Reduce, Softmax)))
        names = [bind.name for bind in (node.binds if isinstance(node, Reduce) else node.over)]
        assert names == re.findall(r"`(\w)`", table[written].split(",")[0])


def test_limits_and_words() -> None:
    text = " ".join(PAGE.split())
    assert f"over {MAX_BYTES // 1024} KiB, {MAX_TOKENS:,} tokens, or {MAX_NESTING} nested brackets" in text
    assert f"more than {MAX_DEPTH} operations deep" in text
    assert {*FUNCTIONS, *REDUCTIONS, "softmax", "where", "inf", "nan"} == RESERVED
    assert all(word in PAGE for word in RESERVED)
