"""Every program of the catalogue, traced: the IR equals that of its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tensorc.tracing as tc
from tensorc.equivalence import equivalent
from tensorc.grammar import parse
from tensorc.trace_program import trace

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS: dict[str, tuple[str, Callable[..., Any]]] = {}
QKV = "q[n, d], k[n, d], v[n, e]"


def program(header: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        PROGRAMS[function.__name__] = header, function
        return function

    return register


@program(f"{QKV} -> o[n, e]")
def linear_attention(q, k, v):
    i, j, c, x = tc.indices("i j c x")
    return tc.sum(q[i, c] * k[j, c] * v[j, x], j <= i)[i, x]


@program(f"{QKV} -> o[n, e]")
def normalised(q, k, v):
    i, j, c, x = tc.indices("i j c x")
    f = ((tc.elu(q[i, c]) + 1) * (tc.elu(k[j, c]) + 1))[i, j]
    return (tc.sum(f[i, j] * v[j, x], j <= i) / tc.sum(f[i, j], j <= i))[i, x]


@program(f"{QKV}, gamma[] -> o[n, e]")
def retention(q, k, v, gamma):
    i, j, c, x = tc.indices("i j c x")
    return tc.sum(gamma ** (i - j) * q[i, c] * k[j, c] * v[j, x], j <= i)[i, x]


@program(f"{QKV}, g[n] -> o[n, e]")
def scalar_gated(q, k, v, g):
    i, j, u, c, x = tc.indices("i j u c x")
    decay = tc.exp(tc.sum(g[u], (j < u) & (u <= i)))
    return tc.sum(decay * q[i, c] * k[j, c] * v[j, x], j <= i)[i, x]


@program(f"{QKV}, g[n, d] -> o[n, e]")
def gated(q, k, v, g):
    i, j, u, c, x = tc.indices("i j u c x")
    decay = tc.exp(tc.sum(g[u, c], j < u, u <= i))
    return tc.sum(decay * q[i, c] * k[j, c] * v[j, x], j <= i)[i, x]


@program(f"{QKV} -> o[n, e]")
def tensor_attention(q, k, v):
    i, j, l, a, b, x = tc.indices("i j l a b x")  # noqa: E741
    return (q[i, a] * k[l, a] * k[l, b] * q[j, b] * v[j, x])[i, x]


@program(f"{QKV} -> o[n, e]")
def hla2_prefix(q, k, v):
    i, j, u, a, b, x = tc.indices("i j u a b x")
    return tc.sum(q[i, a] * k[u, a] * k[u, b] * q[j, b] * v[j, x], u <= i, j <= i)[i, x]


@program(f"{QKV} -> o[n, e]")
def hla2(q, k, v):
    i, j, u, c, x = tc.indices("i j u c x")
    s = (q[i, c] * k[j, c])[i, j]
    return tc.sum(s[i, u] * s[j, u] * v[j, x], (u <= j) & (j <= i))[i, x]


@program(f"{QKV} -> o[n, e]")
def ahla(q, k, v):
    i, j, u, c, x = tc.indices("i j u c x")
    s = (q[i, c] * k[j, c])[i, j]
    return tc.sum(s[i, j] * s[j, u] * v[u, x], (u <= j) & (j <= i))[i, x]


@program(f"{QKV} -> o[n, e]")
def hla3(q, k, v):
    i, j, u, m, c, x = tc.indices("i j u m c x")
    s = (q[i, c] * k[j, c])[i, j]
    return tc.sum(s[i, u] * s[j, u] * s[j, m] * v[m, x], (u <= j) & (j <= i), m <= j)[i, x]


@program("q[n, d], k[n, d], v[n, d] -> o[n, d]")
def tensor_interaction(q, k, v):
    i, j, a, c, f = tc.indices("i j a c f")
    b = tc.sum(q[j, a] * k[j, c], j <= i)[i, a, c]
    return (b[i, a, c] * b[i, f, c] * v[i, f])[i, a]


@program(f"{QKV} -> o[n, e]")
def based(q, k, v):
    i, j, c, x = tc.indices("i j c x")
    s = (q[i, c] * k[j, c])[i, j]
    w = (1 + s[i, j] + s[i, j] ** 2 / 2)[i, j]
    return (tc.sum(w[i, j] * v[j, x], j <= i) / tc.sum(w[i, j], j <= i))[i, x]


@program(f"{QKV} -> o[n, e]")
def power(q, k, v):
    i, j, c, x = tc.indices("i j c x")
    return tc.sum((q[i, c] * k[j, c]) ** 2 * v[j, x], j <= i)[i, x]


@program("q[n, d], k1[n, d], k2[n, d], v1[n, e], v2[n, e] -> o[n, e]")
def triple(q, k1, k2, v1, v2):
    i, j, m, c, x = tc.indices("i j m c x")
    s = (q[i, c] * k1[j, c] * k2[m, c])[i, j, m]
    return tc.sum(s[i, j, m] * v1[j, x] * v2[m, x], j <= i, m <= i)[i, x]


@program("q[n, d], k[m, d], v[m, e] -> o[n, e]")
def attention(q, k, v):
    i, j, c, x = tc.indices("i j c x")
    d = tc.sizes("d")
    p = tc.softmax(q[i, c] * k[j, c] / tc.sqrt(d), j)[i, j]
    return (p[i, j] * v[j, x])[i, x]


@program(f"{QKV}, slope[], w=128 -> o[n, e]")
def alibi_window(q, k, v, slope, w):
    i, j, c, x = tc.indices("i j c x")
    d = tc.sizes("d")
    score = q[i, c] * k[j, c] / tc.sqrt(d) - slope * (i - j)
    p = tc.softmax(score, j, (i - w < j) & (j <= i))[i, j]
    return (p[i, j] * v[j, x])[i, x]


@program(f"{QKV}, beta[n] -> o[n, e]")
def delta_rule(q, k, v, beta):
    i, j, c, x = tc.indices("i j c x")
    w = tc.tensor("w")
    w[i, x] = beta[i] * (v[i, x] - tc.sum(k[i, c] * k[j, c] * w[j, x], j < i))
    return tc.sum(q[i, c] * k[j, c] * w[j, x], j <= i)[i, x]


@program(f"{QKV}, beta[n], g[n] -> o[n, e]")
def gated_delta_rule(q, k, v, beta, g):
    i, j, u, c, x = tc.indices("i j u c x")
    D = tc.exp(tc.sum(g[u], (j < u) & (u <= i)))[i, j]
    w = tc.tensor("w")
    w[i, x] = beta[i] * (v[i, x] - tc.sum(D[i, j] * k[i, c] * k[j, c] * w[j, x], j < i))
    return tc.sum(D[i, j] * q[i, c] * k[j, c] * w[j, x], j <= i)[i, x]


@program("x[b, i, j, k], A[i, p, r], B[r, j, q, s], C[s, k, t] -> y[b, p, q, t]")
def mpo(x, A, B, C):
    z, P, Q, T, I, J, K, R, S = tc.indices("z P Q T I J K R S")  # noqa: E741
    y = (x[z, I, J, K] * A[I, P, R] * B[R, J, Q, S] * C[S, K, T])[z, P, Q, T]
    return y


@program("x[z, a, b], A[a, b, D, k], B[a, D, k, c] -> y[z, c, D]")
def block_tensor_train(x, A, B):
    Z, C, E, I, J, K = tc.indices("Z C E I J K")  # noqa: E741
    y = (x[Z, I, J] * A[I, J, E, K] * B[I, E, K, C])[Z, C, E]
    return y


OTHERS = {
    "grouped": """
        def grouped(q[g * r, n, d], k[g, n, d], v[g, n, e], r=2) -> o[g * r, n, e]:
            p[h, i, j] = softmax[j, j <= i](q[h, i, c] * k[h // r, j, c] / sqrt(d))
            o[h, i, x] = p[h, i, j] * v[h // r, j, x]
        """,
    "recurrence": """
        def recurrence(a[n], k[n, d], v[n, e], q[n, d]) -> o[n, e], z[]:
            S[i, c, x] = a[i] * S[i - 1, c, x] + k[i, c] * v[i, x]
            o[i, x] = where(i % 2 == 0 and not i > 5 or a[i] < 0, q[i, c] * S[i, c, x], maximum(0, v[i, x]))
            z[] = max[i](a[i]) - logsumexp[i, i != 1](a[i])
        """,
}


def grouped(q, k, v):
    h, i, j, c, x = tc.indices("h i j c x")
    r, d = tc.sizes("r d")
    p = tc.softmax(q[h, i, c] * k[h // r, j, c] / tc.sqrt(d), j, j <= i)[h, i, j]
    return (p[h, i, j] * v[h // r, j, x])[h, i, x]


def recurrence(a, k, v, q):
    i, c, x = tc.indices("i c x")
    S = tc.tensor("S")
    S[i, c, x] = a[i] * S[i - 1, c, x] + k[i, c] * v[i, x]
    even = (i % 2 == 0) & ~(i > 5)
    o = tc.where(even | (a[i] < 0), q[i, c] * S[i, c, x], tc.maximum(0, v[i, x]))
    return o[i, x], tc.max(a[i], i) - tc.logsumexp(a[i], i, i != 1)


@pytest.mark.parametrize("function", [grouped, recurrence])
def test_other_constructs(function):
    text = OTHERS[function.__name__]
    header = text.strip().splitlines()[0].removeprefix(f"def {function.__name__}(").removesuffix(":")
    assert equivalent(trace(function, header.replace(") ->", " ->")), parse(text))


def written(name: str) -> Any:
    return parse((EXAMPLES / f"{name}.tc").read_text(), name=name)


def test_the_catalogue_is_there():
    assert set(PROGRAMS) <= {path.stem for path in EXAMPLES.glob("*.tc")}


@pytest.mark.parametrize("name", PROGRAMS)
def test_traced_equals_text(name):
    header, function = PROGRAMS[name]
    traced = trace(function, header)
    assert equivalent(traced, written(name))
    assert traced.name == name


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_text_of_a_trace_parses_to_the_same_program(name):
    header, function = PROGRAMS[name]
    traced = trace(function, header)
    assert traced.text is not None
    assert parse(traced.text) == traced


NEEDS_A_HEADER = {"attention", "alibi_window"}  # they use a size
SQUARE = {"tensor_interaction", "tensor_attention"}  # their headers declare axes equal that meet nowhere


@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - NEEDS_A_HEADER))
def test_without_a_header_axes_are_inferred(name):
    traced = trace(PROGRAMS[name][1])
    expected = written(name)
    assert [t.name for t in traced.inputs] == [t.name for t in expected.inputs]
    assert [len(t.axes) for t in traced.outputs] == [len(t.axes) for t in expected.outputs]
    assert equivalent(traced, expected, rename_sizes=True) == (name not in SQUARE)
