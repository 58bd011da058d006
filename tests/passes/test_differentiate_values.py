"""Gradients are right: against dual numbers through the definition, exactly where a program is rational."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import numpy as np
import pytest

import tensorc
from tensorc.backends.reference import run
from tests.gradients import assert_gradient, is_rational
from tests.programs import write_program

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = sorted((ROOT / "examples").glob("*.tc"))
CORPUS = [
    part
    for path in sorted((ROOT / "tests" / "corpus").glob("*.tc"))
    for part in re.findall(r"^def .*?(?=^\S|\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("path", CATALOGUE, ids=lambda p: p.stem)
def test_the_catalogue(path: Path) -> None:
    assert_gradient(path.read_text(), (0, 1, 2, 5))


@pytest.mark.parametrize("number", range(0, len(CORPUS), 10))
def test_the_corpus(number: int) -> None:
    for text in CORPUS[number : number + 10]:
        name = text.split("(")[0].removeprefix("def ")
        if name in ("exp_big", "const_out"):  # overflows on purpose; has no derivative
            continue
        assert_gradient(text, (3,))


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_programs(first: int) -> None:
    checked = exact = 0
    for seed in range(first, first + 10):
        try:
            program = tensorc.parse(write_program(Random(seed)))
        except tensorc.LanguageError:
            continue
        assert_gradient(program, (3,), seed)
        checked += 1
        exact += is_rational(program)
    assert checked >= 5 and exact


# -- every function and reduction -----------------------------------------------------------------

FUNCTIONS = "exp tanh sigmoid silu gelu relu elu softplus cos sin abs sign".split()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "form", ["{0}(x[i])", "{0}(x[i] * a) * x[i]", "{0}(sum[j <= i](x[j])) / (1 + a ** 2)"]
)
def test_functions(function: str, form: str) -> None:
    if function == "sign" and "x[i]" == form[4:8]:
        form += " + x[i]"
    text = f"def f(x[n], a[]) -> y[n]:\n    y[i] = {form.format(function)} + a * x[i]\n"
    assert_gradient(text, (1, 4))


@pytest.mark.parametrize("expression", [
    "log(1 + x[i] ** 2)", "sqrt(1 + x[i] ** 2)", "rsqrt(1 + x[i] ** 2)", "log(sum[j <= i](exp(x[j])))",
    "(1 + x[i] ** 2) ** a", "2 ** x[i]", "(2 + tanh(x[i])) ** x[i]", "a ** 2", "x[i] ** -2",
    "x[i] ** 0.5 ** 0",
    "maximum(x[i], a)", "minimum(x[i] ** 2, a * x[i])", "maximum(maximum(x[i], x[i - 1]), 0.1)",
    "x[i] / (1 + a ** 2)", "a / (2 + sum[j <= i](x[j] ** 2))", "1 / (3 + x[i]) / (3 + a)",
    "sum[j <= i](x[j]) / (2 + sum[j](x[j] ** 2)) * x[i]", "(x[i] * 5) % (2 + a ** 2)", "x[i] // 2 + x[i]",
    "where(x[i] > a, x[i] ** 2, a * x[i])", "where(i > 1, x[i], x[i - 1]) * a", "[x[i] > 0] * x[i] * a",
    "max[j <= i](x[j] * a)", "min[j](x[j] - x[i])", "mean[j <= i](x[j] ** 2) * a", "mean[j](x[j]) * x[i]",
    "logsumexp[j <= i](x[j] * a)", "logsumexp[j](x[i] * x[j])", "prod[j <= i](x[j])", "prod[j](x[j] + a)",
    "prod[j, l, l <= j](x[j] + x[l])", "sum[j](x[j] * softmax[j](x[j] * a))",
    "x[i] * max[j](prod[l <= j](x[l]))",
    "sum[l](softmax[l, l <= i](x[l] * x[i]) * x[l])", "exp(x[i] - logsumexp[j](x[j]))", "a", "i * x[i] / n",
])  # fmt: skip
def test_expressions(expression: str) -> None:
    assert_gradient(f"def f(x[n], a[]) -> y[n]:\n    y[i] = {expression} + a * x[i]\n", (1, 4))


def test_what_has_no_derivative_gets_the_stated_one() -> None:
    text = """
def f(x[n], z[n]) -> y[n], m[]:
    y[i] = abs(x[i]) + 3 * relu(x[i]) + 10 * maximum(x[i], z[i])
    m[] = max[i](x[i] + z[i])
"""
    x, z = np.zeros(2), np.zeros(2)
    grad_x, grad_z = run(tensorc.grad(text), x, z, np.ones(2), np.float64(1))
    np.testing.assert_allclose(grad_x, [5.5, 5.5])  # half of the maximum; the two equal sums share
    np.testing.assert_allclose(grad_z, [5.5, 5.5])


# -- gates ----------------------------------------------------------------------------------------

DOMAINS = ["j < u <= i", "j <= u < i", "j < u < i", "j <= u <= i"]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("order", ["j <= i", "j < i", "j"])
@pytest.mark.parametrize("gates", [
    "exp(sum[{0}](g[u]))", "exp(-a ** 2 * sum[{0}](g[u] ** 2))", "prod[{0}](g[u])",
    "prod[{0}](sigmoid(g[u]))",
    "prod[{0}, B[u] != 0](exp(g[u]) )", "exp(sum[{0}, B[u] != 0](g[u]) / 2)", "sum[{0}](g[u])",
])  # fmt: skip
def test_gates(domain: str, order: str, gates: str) -> None:
    text = f"""
def f(g[n], B[n], k[n], q[n], a[]) -> y[n]:
    y[i] = sum[{order}]({gates.format(domain)} * k[j] * q[i]) + a * k[i]
"""
    assert_gradient(text, (4,))


def test_product_gates_that_are_zero() -> None:
    text = "def f(a[n], k[n], q[n]) -> y[n]:\n    y[i] = sum[j <= i](prod[j < u <= i](a[u]) * k[j] * q[i])\n"
    program = tensorc.parse(text)
    a = np.array([0.5, 0.0, -2.0, 0.0, 0.0, 3.0])
    k, q, weights = np.arange(1.0, 7), np.arange(2.0, 8), np.ones(6)
    found = run(tensorc.grad(program), a, k, q, weights)[0]
    step = np.eye(6)
    rates = [
        (run(program, a + s, k, q) - run(program, a - s, k, q)).sum() / 2 for s in step
    ]  # linear in each
    np.testing.assert_allclose(found, rates)


@pytest.mark.parametrize("exponent", [
    "i - j", "i - j + 1", "2 * (i - j)", "3 * (i - j) + 2", "i - j - 1", "j - i", "abs(i - j)",
    "2 * (i - j) - 1",
])  # fmt: skip
@pytest.mark.parametrize("order", ["j < i", "j <= i"])
def test_powers_of_a_constant(exponent: str, order: str) -> None:
    text = f"""
def f(x[n, d], rate[d], b[]) -> y[n, d]:
    y[i, c] = sum[{order}](rate[c] ** ({exponent}) * x[j, c] * b)
"""
    assert_gradient(text, (4,))


def test_a_constant_of_zero() -> None:
    program = tensorc.parse("def f(x[n], b[]) -> y[n]:\n    y[i] = sum[j <= i](b ** (i - j) * x[j])\n")
    _, grad_b = run(tensorc.grad(program), np.arange(1.0, 6), np.float64(0), np.ones(5))
    assert grad_b == 1 + 2 + 3 + 4


def test_equal_gates_of_several_sums_have_one_flow() -> None:
    text = """
def f(q[n, d], k[n, d], v[n, e], g[n]) -> o[n, e]:
    D[i, j] = exp(sum[j < u <= i](g[u]))
    f[i, j] = D[i, j] * exp(q[i, c] + k[j, c])
    o[i, x] = sum[j <= i](f[i, j] * v[j, x]) / sum[j <= i](D[i, j] * (1 + k[j, 0] ** 2))
"""
    text = text.replace("exp(q[i, c] + k[j, c])", "sum[c](exp(q[i, c]) * exp(k[j, c]))")
    gradient = assert_gradient(text)
    assert sum(e.target.startswith("flow") for e in gradient.equations) == 1


# -- self-reference, windows, segments, shapes ----------------------------------------------------


@pytest.mark.parametrize("equations", [
    "y[i, c] = a[i] * y[i - 1, c] + x[i, c]",
    "y[i, c] = exp(-x[i, c] ** 2) * y[i - 1, c] + x[i, c]",
    "y[i, c] = tanh(W[c, b] * y[i - 1, b] + x[i, c])",
    "y[i, c] = sigmoid(x[i, c] * y[i - 1, c]) * x[i, c] + a[i]",
    "y[i, c] = x[i, c] - sum[j > i](x[i, b] * x[j, b] * y[j, c])",
    "y[i, c] = a[i] * (x[i, c] - sum[j < i](a[j] * x[i, b] * x[j, b] * y[j, c])) / (1 + a[i] ** 2)",
    "S[i, c, b] = a[i] * S[i - 1, c, b] + x[i, c] * x[i, b]\n    y[i, c] = S[i, c, b] * x[i, b]",
    "u[i, c] = x[i, c] + y[i - 1, c] * a[i]\n    y[i, c] = u[i, c] * x[i, c] + u[i - 2, c]",
    "z[i] = a[i] + z[i - 1] * x[i, 0]\n    y[i, c] = z[i] * x[i - 1, c] + z[i + 1]",
    "y[i, c] = maximum(x[i, c], y[i - 1, c] * a[i])",
])  # fmt: skip
def test_self_reference(equations: str) -> None:
    assert_gradient(f"def f(x[n, d], a[n], W[d, d]) -> y[n, d]:\n    {equations}\n", (1, 4))


@pytest.mark.parametrize("equation", [
    "y[i] = sum[i - w < j <= i](x[j] * z[i])",
    "y[i] = sum[j <= i, seg[i] == seg[j]](x[j] * z[i])",
    "y[i] = sum[j, i // 2 == j // 2 or j == 0](x[j] * z[i])",
    "y[i] = A[i, i] * x[i] + A[i, j] * A[j, i] * z[j]",
    "y[i] = x[i + 1] * z[i - 1] / (1 + x[i - 2] ** 2)",
    "y[i] = exp(x[i + 1]) * log(2 + z[i - 1] ** 2)",
    "y[i] = sum[a](c[a] * x[i - a] * z[i + a])",
    "y[i] = x[n - 1 - i] * x[0] + z[2 * i] * z[i // 2]",
    "y[i] = sum[j](x[j]) * sum[j](x[j] * z[j]) + A[i, 1]",
])  # fmt: skip
def test_reads_and_domains(equation: str) -> None:
    text = f"def f(x[n], z[n], seg[n], A[n, n], c[t], w=2) -> y[n]:\n    {equation} + x[i]\n"
    assert_gradient(text, (2, 5))


def test_several_outputs_that_read_each_other() -> None:
    assert_gradient("""
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e], z[n], t[]:
    s[i, j] = 1 + (q[i, c] * k[j, c]) ** 2
    z[i] = sum[j <= i](s[i, j])
    o[i, x] = sum[j <= i](s[i, j] * v[j, x]) / z[i]
    t[] = sum[x](o[i, x] * z[i])
""", (1, 4))  # fmt: skip


@pytest.mark.parametrize(
    "name", ["linear_attention", "scalar_gated", "normalised", "delta_rule", "attention"]
)
def test_the_gradient_of_a_gradient(name: str) -> None:
    text = (ROOT / "examples" / f"{name}.tc").read_text()
    gradient = tensorc.grad(text)
    second = assert_gradient(gradient, (3,))
    assert [t.name for t in second.inputs][: len(gradient.inputs)] == [t.name for t in gradient.inputs]
    assert second.outputs[-1].name == "grad_grad_o"


GATED = """
def f(q[n, d], k[n, d], v[n, e], g[n]) -> o[n, e]:
    S[i, c, x] = exp(g[i]) * S[i - 1, c, x] - k[i, c] * sum[y](k[i, y] * S[i - 1, y, x]) + k[i, c] * v[i, x]
    o[i, x] = q[i, c] * S[i, c, x]
"""
SEVERAL = """
def f(q[n, d], k[n, d], v[n, e], g[n, d], b[n, d]) -> o[n, e]:
    w[i, c, x] = k[i, c] * v[i, x]
    S[i, c, x] = exp(g[i, c]) * S[i - 1, c, x] - b[i, c] * sum[y](k[i, y] * S[i - 1, y, x]) + w[i, c, x]
    o[i, x] = q[i, c] * S[i - 1, c, x]
"""
PLAIN = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    S[i, c, x] = S[i - 1, c, x] - k[i, c] * sum[y](k[i, y] * S[i - 1, y, x]) + k[i, c] * v[i, x]
    o[i, x] = sum[c](q[i, c] * S[i - 1, c, x])
"""
FACTOR = PLAIN.replace("= S[i - 1", "= a[i] * S[i - 1").replace("v[n, e])", "v[n, e], a[n])")
BACKWARD = PLAIN.replace("i - 1", "i + 1")
BONUS = """
def f(q[n, d], k[n, d], v[n, e], g[n, d], u[d]) -> o[n, e]:
    S[i, c, x] = exp(g[i, c]) * S[i - 1, c, x] + k[i, c] * v[i, x]
    o[i, x] = sum[c](q[i, c] * (S[i - 1, c, x] + u[c] * k[i, c] * v[i, x]))
"""


RECURRENCES = {"gated": GATED, "plain": PLAIN, "factor": FACTOR, "backward": BACKWARD, "bonus u": BONUS}


@pytest.mark.parametrize("text", [*RECURRENCES.values(), SEVERAL], ids=[*RECURRENCES, "two writes"])
def test_recurrences_whose_write_reads_the_state(text: str) -> None:
    """What is written is named apart; indices are named like no tensor."""
    gradient = assert_gradient(text)
    assert str(tensorc.parse(str(gradient))) == str(gradient)


@pytest.mark.parametrize("text", RECURRENCES.values(), ids=RECURRENCES)
def test_their_gradients_chunk_by_chunk(text: str) -> None:
    assert tensorc.compile(tensorc.grad(text)).forms.exists("chunkwise")
