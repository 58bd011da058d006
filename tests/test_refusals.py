"""Refusals: which rule was tried, why it does not apply, what change would allow it, and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

import tensorc
from tensorc.report_text import report_text

GOLDEN = Path(__file__).parent / "golden" / "refusals.txt"
QKV = "q[n, d], k[n, d], v[n, e]"
SCORE = "    s[i, j] = q[i, c] * k[j, c]\n"


def causal(weight: str, more: str = "", inputs: str = QKV) -> str:
    """A program that sums weights of earlier tokens."""
    return f"def f({inputs}) -> o[n, e]:\n{more}    o[i, x] = sum[j <= i]({weight} * v[j, x])\n"


# Whatever cannot be rewritten: nothing here is an error, every program runs in some form.
PROGRAMS = {
    "blocks of tokens": f"def f({QKV}) -> o[n, e]:\n"
    "    o[i, x] = sum[j // 4 < i // 4](q[i, c] * k[j, c] * v[j, x])\n",
    "a function of a score": causal("relu(s[i, j])", SCORE),
    "exp of a score": causal("exp(s[i, j])", SCORE),
    "softmax": f"def f({QKV}) -> o[n, e]:\n    p[i, j] = softmax[j, j <= i](q[i, c] * k[j, c])\n"
    "    o[i, x] = p[i, j] * v[j, x]\n",
    "logsumexp": "def f(q[n, d], k[n, d]) -> z[n]:\n    z[i] = logsumexp[j, j <= i](q[i, c] * k[j, c])\n",
    "the largest": f"def f({QKV}) -> o[n, e]:\n"
    "    o[i, x] = max[j, j <= i](sum[c](q[i, c] * k[j, c]) * v[j, x])\n",
    "those near the largest": f"def f({QKV}) -> o[n, e]:\n{SCORE}    m[i] = max[j, j <= i](s[i, j])\n"
    "    o[i, x] = sum[j <= i, s[i, j] >= m[i] - 1](v[j, x])\n",
    "a degree past the bound": causal("(1 + s[i, j]) ** 9", SCORE),
    "monomials past the bound": causal(
        "(1 + s[i, j] + t[i, j] + r[i, j]) ** 6",
        f"{SCORE}    t[i, j] = k[i, c] * k[j, c]\n    r[i, j] = q[i, c] * q[j, c]\n",
    ),
    "a fractional power": causal("s[i, j] ** 0.5", SCORE),
    "a negative power": causal("s[i, j] ** -1", SCORE),
    "a power that is data": causal("s[i, j] ** p", SCORE, f"{QKV}, p[]"),
    "a quotient of a pair": causal("1 / (1 + s[i, j])", SCORE),
    "masked bidirectional": f"def f({QKV}) -> o[n, e]:\n"
    "    o[i, x] = sum[j <= i](q[i, a] * k[l, a] * k[l, b] * q[j, b] * v[j, x])\n",
    "no mask": f"def f({QKV}) -> o[n, e]:\n    o[i, x] = q[i, c] * k[j, c] * v[j, x]\n",
    "later tokens": f"def f({QKV}) -> o[n, e]:\n    o[i, x] = sum[j >= i](q[i, c] * k[j, c] * v[j, x])\n",
    "no time axis in the output": "def f(k[n, d], v[n, e]) -> s[d, e]:\n"
    "    h[i, c, x] = sum[j <= i](k[j, c] * v[j, x])\n    s[c, x] = sum[i](h[i, c, x])\n",
    "two tokens in the output": "def f(q[n, d], k[n, d]) -> o[n, n]:\n"
    "    o[i, j] = [j <= i] * sum[c](q[i, c] * k[j, c])\n",
    "a mask that is data": causal("M[i, j] * q[i, c] * k[j, c]", inputs=f"{QKV}, M[n, n]"),
    "a window that is data": f"def f({QKV}, w[]) -> o[n, e]:\n"
    "    o[i, x] = sum[j <= i, i - j < w](q[i, c] * k[j, c] * v[j, x])\n",
    "starts that are data": f"def f({QKV}, start[n]) -> o[n, e]:\n"
    "    o[i, x] = sum[j <= i, j >= start[i]](q[i, c] * k[j, c] * v[j, x])\n",
    "computed segments": f"def f({QKV}, g[n]) -> o[n, e]:\n    seg[i] = sum[j <= i](g[j])\n"
    "    o[i, x] = sum[j <= i, seg[i] == seg[j]](q[i, c] * k[j, c] * v[j, x])\n",
    "every second token": f"def f({QKV}) -> o[n, e]:\n"
    "    o[i, x] = sum[j <= i, (i - j) % 2 == 0](q[i, c] * k[j, c] * v[j, x])\n",
    "a stretched read": causal("q[i, c] * k[2 * j, c]"),
    "its own result in a function": f"def f({QKV}) -> w[n, e]:\n"
    "    w[i, x] = tanh(v[i, x] + sum[j < i](k[i, c] * k[j, c] * w[j, x])) + 0 * q[i, 0]\n",
    "two axes": "def f(x[n, m]) -> o[n, m]:\n    o[i, j] = sum[a <= i, b <= j](x[a, b])\n",
}


def refused(name: str) -> list[dict[str, object]]:
    operator = tensorc.compile(PROGRAMS[name])
    sizes = {"n": 512, "m": 512, "d": 8, "e": 8}
    known = {k: v for k, v in sizes.items() if k in operator.program.sizes()}
    report = operator.report(**known)
    assert all(len(line) <= 100 for line in report_text(report).splitlines())
    found: list[dict[str, object]] = report.to_dict()["refused"]
    return found


def test_the_refusals(update_golden: bool) -> None:
    lines = []
    for name, text in PROGRAMS.items():
        lines += [f"== {name}", *text.rstrip().split("\n")]
        for refusal in refused(name):
            lines.append(f"-- {refusal['rule']} (line {refusal['line']}): {refusal['reason']}")
            lines.append(f"   instead: {refusal['change']}")
        lines.append("")
    text = "\n".join(lines)
    if update_golden:
        GOLDEN.write_text(text)
    assert GOLDEN.read_text() == text, "pytest --update-golden writes it anew"


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_says_rule_reason_change_and_line(name: str) -> None:
    found = refused(name)
    assert found
    for refusal in found:
        assert refusal["rule"] and refusal["reason"] and refusal["change"]
        axis = "time axis" in str(refusal["reason"]) or "no axis" in str(refusal["reason"])
        assert isinstance(refusal["line"], int) or axis


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_missing_form_is_an_error_with_the_same_reason(name: str) -> None:
    for refusal in refused(name):
        if str(refusal["rule"]).endswith(" form"):
            form = str(refusal["rule"]).removesuffix(" form")
            with pytest.raises(tensorc.FormError) as caught:
                tensorc.compile(PROGRAMS[name], form=form)
            assert str(refusal["reason"]) in str(caught.value)


def test_a_result_that_needs_itself_is_an_error_with_the_change() -> None:
    text = f"def f({QKV}) -> w[n, e]:\n    w[i, x] = v[i, x] + sum[j <= i](k[i, c] * k[j, c] * w[j, x])\n"
    with pytest.raises(tensorc.LanguageError, match="which includes i itself") as caught:
        tensorc.compile(text)
    assert caught.value.hint == "Strictly earlier: j < i." and caught.value.line == 2


def test_pairs_that_double_with_each_equation() -> None:
    """Written out they would have billions of parts."""
    lines = [f"s{k}[i, j] = s{k - 1}[i, j] * s{k - 1}[i, j] + s{k - 1}[i, j]" for k in range(1, 30)]
    text = f"def f({QKV}) -> o[n, e]:\n    s0[i, j] = q[i, c] * k[j, c]\n    " + "\n    ".join(lines)
    operator = tensorc.compile(f"{text}\n    o[i, x] = sum[j <= i](s29[i, j] * v[j, x])\n")
    found = operator.report(n=16, d=2, e=2)
    assert list(found.forms) == ["parallel"]
    assert any("once every pair that it reads is written out" in r.reason for r in found.refused)
