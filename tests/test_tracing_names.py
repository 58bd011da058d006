"""Names, outputs, nested and concurrent traces, and the limits of a trace."""

from __future__ import annotations

import threading

import pytest

import tensorc.tracing as tc
from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Assignment
from tensorc.trace_program import record

i, j, u, c = tc.indices("i j u c")


def test_intermediates_take_the_names_of_variables():
    def f(q, k):
        s = (q[i, c] * k[j, c])[i, j]
        return (s[i, u] * (s[j, u] + 1)[u, j][u, j])[i, j]

    names = [s.target for s in record(f, "q[n, d], k[n, d] -> o[n, n]").definition.statements]
    assert names == ["s", "t", "o"]


def test_names_of_intermediates_avoid_all_others():
    def f(q, k):
        for _ in range(3):
            s = (q[i, c] * k[j, c])[i, j]
        o = (s[i, j] * 2)[i, j]
        x = tc.indices("x")
        n = (o[i, x] + 1)[i, x]
        d = tc.tensor("x")
        d[i, j] = n[i, j]
        return d

    names = [s.target for s in record(f, "q[n, d], k[n, d] -> o[n, n]").definition.statements]
    assert names == ["s", "s_2", "s_3", "o_2", "n_2", "o"]


def test_forward_tensors_keep_their_names():
    def f(v):
        w = tc.tensor("w")
        w[i] = v[i] - w[i - 1]
        return (w[i] * 2)[i]

    recording = record(f, "v[n] -> o[n]")
    assert recording.text == "def f(v[n]) -> o[n]:\n    w[i] = v[i] - w[i - 1]\n    o[i] = w[i] * 2\n"


def test_several_outputs_and_scalars():
    def f(q, g):
        norm = tc.sum(q[i, c] ** 2, i, c)[()]
        return (g * q[i, c] / norm)[i, c], tc.sum(q[i, c], i, c), norm

    text = record(f, "q[n, d], g[] -> o[n, d], z[], y[]").text
    assert text.splitlines() == [
        "def f(q[n, d], g[]) -> o[n, d], z[], y[]:",
        "    y[] = sum[i, c](q[i, c] ** 2)",
        "    o[i, c] = g * q[i, c] / y",
        "    z[] = sum[i, c](q[i, c])",
    ]


def test_inputs_and_repeated_tensors_are_copied_to_outputs():
    def f(q):
        s = (q[i, c] * 2)[i, c]
        return s, s, q

    assert record(f, "q[n, d] -> a[n, d], b[n, d], z[n, d]").text.splitlines()[1:] == [
        "    a[i, c] = q[i, c] * 2",
        "    b[j, l] = a[j, l]",
        "    z[u, f] = q[u, f]",
    ]


def test_python_is_the_macro_language():
    def window(x, taps):
        return sum(x[i - t] / (t + 1) for t in range(taps))

    def f(x, taps=3):
        return window(x, taps)[i]

    text = record(f, "x[n] -> o[n]").text
    assert "o[i] = 0 + x[i - 0] / 1 + x[i - 1] / 2 + x[i - 2] / 3" in text
    assert "x[i - 1]" not in record(f, "x[n] -> o[n]", constants={"taps": 1}).text


def test_indices_are_their_letters():
    def score(q, k):
        i, j, c = tc.indices("i", "j, c")
        return q[i, c] * k[j, c]

    def f(q, k):
        (i,) = tc.indices("i")
        j = tc.indices("j")
        return (score(q, k) + (i - j))[i, j]

    assert "o[i, j] = q[i, c] * k[j, c] + (i - j)" in record(f, "q[n, d], k[n, d] -> o[n, n]").text


def test_one_size_or_several():
    (size,) = tc.sizes("n")
    assert repr(size * tc.sizes("d")) == "n * d"
    assert [repr(s) for s in tc.sizes("r, d")] == ["r", "d"]


def test_comparisons_keep_their_sides():
    x, y = tc.indices("x"), tc.indices("y z")[0]
    assert repr(x - 2 < y) == "x - 2 < y"
    assert repr(x < y) == "x < y" and repr(y < x) == "y < x"
    assert repr(tc.sizes("n") > x) == "n > x"


def test_nested_traces_keep_apart():
    def inner(a):
        return (a[i] * 2)[i]

    def outer(a, b):
        text = record(inner, "a[n] -> o[n]").text
        assert text == "def inner(a[n]) -> o[n]:\n    o[i] = a[i] * 2\n"
        return (a[i] + b[i])[i]

    assert "o[i] = a[i] + b[i]" in record(outer, "a[n], b[n] -> o[n]").text


def test_threads_trace_at_once():
    barrier = threading.Barrier(4)
    texts: dict[int, str] = {}

    def work(number: int) -> None:
        def f(a):
            barrier.wait(10)
            s = (a[i] * number)[i]
            barrier.wait(10)
            return (s[i] + number)[i]

        texts[number] = record(f, "a[n] -> o[n]").text

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for k in range(4):
        assert texts[k] == f"def f(a[n]) -> o[n]:\n    s[i] = a[i] * {k}\n    o[i] = s[i] + {k}\n"


def test_names_of_programs():
    f = lambda a: (a[i] * 2)[i]  # noqa: E731
    assert record(f, "a[n] -> o[n]").definition.name == "f"
    assert record(f, "a[n] -> o[n]", name="double").definition.name == "double"

    def softmax(a):
        return (a[i] * 2)[i]

    assert record(softmax, "a[n] -> o[n]").definition.name == "softmax_"


def test_large_expressions_end_in_an_error_at_once():
    def doubling(a):
        s = a[i]
        for _ in range(64):
            s = s * s
        return s[i]

    def nesting(a):
        s = a[i]
        for _ in range(5000):
            s = a[i] * (1 + s)
        return s[i]

    def dividing(a):
        s = a[i]
        for _ in range(5000):
            s = s / a[i]
        return s[i]

    def calling(a):
        s = a[i]
        for _ in range(5000):
            s = tc.exp(s)
        return s[i]

    def many(a):
        s = a
        for _ in range(5000):
            s = (s[i] + 1)[i]
        return s

    for function in (doubling, nesting, dividing, calling, many):
        with pytest.raises(LanguageError):
            record(function, "a[n] -> o[n]")


def test_long_sums_are_fine():
    def f(a):
        total = 0
        for t in range(1000):
            total = total + a[i - t]
        return total[i]

    (statement,) = record(f, "a[n] -> o[n]").definition.statements
    assert isinstance(statement, Assignment) and len(statement.body.terms) == 1001
