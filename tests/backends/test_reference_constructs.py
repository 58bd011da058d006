"""Every construct of the language against plain loops: exactly on rationals, closely on floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorc.backends.reference import evaluate
from tensorc.exact import RATIONAL, random_inputs, same
from tensorc.grammar import parse
from tests.backends.definition_by_loops import by_loops

# Polynomials and other rational functions: object, float64 and the loops must agree exactly.
EXACT = {
    "copy": "def f(a[n, d]) -> o[n, d]:  o[i, c] = a[i, c]",
    "transpose": "def f(a[n, d]) -> o[d, n]:  o[c, i] = a[i, c]",
    "repeat": "def f(a[n]) -> o[n, n]:  o[i, j] = a[j]",
    "constant": "def f(a[n]) -> o[n]:  o[i] = 7",
    "scalar out": "def f(a[n], b[n]) -> z[]:  z[] = a[i] * b[i]",
    "scalar in": "def f(a[n], g[]) -> o[n]:  o[i] = a[i] * g + g[]",
    "scalars only": "def f(g[], h[]) -> z[]:  z[] = g * h - 2",
    "matmul": "def f(a[n, d], b[d, m]) -> o[n, m]:  o[i, j] = a[i, c] * b[c, j]",
    "diagonal": "def f(a[n, n]) -> o[n]:  o[i] = a[i, i]",
    "trace": "def f(a[n, n]) -> z[]:  z[] = sum[i](a[i, i])",
    "diagonal of three": "def f(a[n, n, n], b[n]) -> o[n]:  o[i] = a[i, j, i] * b[j]",
    "outer": "def f(a[n], b[m]) -> o[m, n]:  o[j, i] = a[i] * b[j]",
    "terms": "def f(a[n, d], b[n, d], e[n]) -> o[n]:  o[i] = a[i, c] * b[i, c] - e[i] + 3",
    "two sums, one letter": """def f(w[d, e], v[d, e], x[e]) -> o[d]:
        o[a] = (w[a, c] * x[c]) * (v[a, c] * x[c])""",
    "quotient of sums": """def f(a[n, d], b[n, d]) -> o[n]:
        o[i] = (a[i, c] * b[i, c]) / (1 + sum[c](b[i, c] ** 2))""",
    "fraction": "def f(a[n]) -> o[n]:  o[i] = 0.25 * a[i] + a[i] / 4",
    "index": "def f(a[n]) -> o[n]:  o[i] = a[i] * i - i",
    "size": "def f(a[n]) -> o[n]:  o[i] = a[i] * n + n",
    "parameter": "def f(a[n], w=3) -> o[n]:  o[i] = sum[j, i - w < j <= i](a[j])",
    "shift": "def f(a[n]) -> o[n]:  o[i] = a[i - 1] + 2 * a[i + 1]",
    "reverse": "def f(a[n]) -> o[n]:  o[i] = a[n - 1 - i]",
    "stride": "def f(a[n]) -> o[n]:  o[i] = a[2 * i] + a[i // 2]",
    "modulo": "def f(a[n]) -> o[n]:  o[i] = a[i % 2] + a[(i + 1) % 3]",
    "negative floor": "def f(a[n]) -> o[n]:  o[i] = a[(i - 3) // 2 + 2] + (i - 3) // 2 + (i - 3) % 2",
    "clamped": "def f(a[n]) -> o[n]:  o[i] = a[minimum(i + 2, n - 1)] + a[maximum(i - 2, 0)]",
    "convolution": "def f(a[n], w[m]) -> o[n]:  o[i] = sum[t](a[i - t] * w[t])",
    "grouped": "def f(q[g * r, n], k[g, n]) -> o[g * r, n]:  o[h, i] = q[h, i] * k[h // r, i]",
    "causal": "def f(a[n]) -> o[n]:  o[i] = sum[j <= i](a[j])",
    "strict": "def f(a[n]) -> o[n]:  o[i] = sum[j < i](a[j])",
    "later": "def f(a[n]) -> o[n]:  o[i] = sum[j > i](a[j])",
    "aligned at the end": "def f(a[n], b[m]) -> o[n]:  o[i] = sum[j <= i + m - n](b[j]) * a[i]",
    "chain": "def f(a[n], b[n]) -> o[n]:  o[i] = sum[u <= j < i](a[u] * b[j])",
    "counting": "def f(a[n]) -> o[n]:  o[i] = sum[j, j <= i](1)",
    "counting pairs": "def f(a[n]) -> o[n]:  o[i] = a[i] * sum[j, u, u < j, j <= i](1)",
    "counting others": "def f(a[n]) -> o[n]:  o[i] = sum[j, j != i](a[i])",
    "odd positions": "def f(a[n]) -> o[n]:  o[i] = sum[j <= i, j % 2 == 1](a[j])",
    "blocks": "def f(a[n]) -> o[n]:  o[i] = sum[j // 2 == i // 2](a[j])",
    "either": "def f(a[n]) -> o[n]:  o[i] = sum[j < 2 or j == i](a[j])",
    "not": "def f(a[n]) -> o[n]:  o[i] = sum[not (j < 2 or j > i)](a[j])",
    "and": "def f(a[n]) -> o[n]:  o[i] = sum[j <= i and j >= i - 1](a[j])",
    "unequal": "def f(a[n]) -> o[n]:  o[i] = sum[j != i](a[j])",
    "segments": "def f(a[n], seg[n]) -> o[n]:  o[i] = sum[j <= i, seg[i] == seg[j]](a[j])",
    "mask": "def f(a[n], m[n, n]) -> o[n]:  o[i] = sum[m[i, j] != 0](a[j])",
    "where mask": "def f(a[n], m[n]) -> o[n]:  o[i] = where(m[i], a[i], -a[i])",
    "where index": "def f(a[n]) -> o[n]:  o[i] = where(i % 2 == 0, a[i], 10)",
    "where data": "def f(a[n], b[n]) -> o[n]:  o[i] = where(a[i] < b[i], a[i], b[i])",
    "where safe": "def f(a[n]) -> o[n]:  o[i] = where(a[i] == 0, 1, 6 / a[i])",
    "iverson": "def f(a[n]) -> o[n, n]:  o[i, j] = [j <= i] * a[j] - [j == i]",
    "iverson safe": "def f(a[n]) -> o[n]:  o[i] = [a[i] != 0] * (6 / a[i])",
    "iverson in sum": "def f(a[n], b[n]) -> o[n]:  o[i] = sum[j]([j <= i] * a[j] * b[j])",
    "guarded quotients": "def f(a[n]) -> o[n]:  o[i] = sum[j <= i, a[j] != 0](6 / a[j])",
    "data comparison": "def f(a[n]) -> o[n]:  o[i] = sum[a[j] < a[i]](a[j] * a[i])",
    "data arithmetic": "def f(a[n], b[n]) -> o[n]:  o[i] = sum[a[j] + 1 <= 2 * b[i] - j](a[j])",
    "product": "def f(a[n]) -> o[n]:  o[i] = prod[j <= i](a[j])",
    "products of gates": "def f(a[n]) -> o[n, n]:  o[i, j] = prod[j < u <= i](a[u])",
    "decay of gates": "def f(a[n], x[n]) -> o[n]:  o[i] = sum[j <= i](prod[j < u <= i](a[u]) * x[j])",
    "constant decay": "def f(x[n], gamma[]) -> o[n]:  o[i] = sum[j <= i](gamma ** (i - j) * x[j])",
    "maximum": "def f(a[n]) -> o[n]:  o[i] = max[j <= i](a[j] * i)",
    "minimum": "def f(a[n, d]) -> o[n]:  o[i] = min[j <= i, c](a[j, c])",
    "mean": "def f(a[n]) -> o[n]:  o[i] = mean[j <= i](a[j])",
    "mean of two": "def f(a[n, d], b[n]) -> o[d]:  o[c] = mean[i](a[i, c] * b[i])",
    "empty sum": "def f(a[n]) -> o[n]:  o[i] = sum[j < 0](a[j]) + a[i]",
    "empty product": "def f(a[n]) -> o[n]:  o[i] = prod[j < i](a[j])",
    "sum of maxima": "def f(a[n, d]) -> o[n]:  o[i] = sum[j <= i](max[c](a[j, c]))",
    "nested sums": """def f(a[n, d], b[d]) -> o[n]:
        o[i] = sum[j <= i](sum[c](a[j, c] * b[c]) * (a[j, c] * b[c]))""",
    "functions": """def f(a[n], b[n]) -> o[n]:
        o[i] = abs(a[i]) + sign(b[i]) * relu(a[i]) - maximum(a[i], minimum(b[i], 1))""",
    "power": "def f(a[n, d], b[n, d]) -> o[n]:  o[i] = sum[j <= i]((a[i, c] * b[j, c]) ** 3)",
    "polynomial": "def f(a[n]) -> o[n]:  o[i] = 1 + a[i] + a[i] ** 2 / 2",
    "minus and signs": "def f(a[n], b[n]) -> o[n]:  o[i] = -a[i] - -b[i] - sum[j <= i](-a[j] * b[j])",
    "floor of data": "def f(a[n]) -> o[n]:  o[i] = a[i] // 2 + a[i] % 3",
    "two outputs": """def f(a[n]) -> o[n], z[]:
        z[] = sum[i](a[i])
        o[i] = a[i] * z""",
    "any order": """def f(a[n]) -> o[n]:
        o[i] = b[i] + c1[i]
        b[i] = c1[i] * 2
        c1[i] = a[i] + 1""",
    "pairs": """def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
        s[i, j] = q[i, c] * k[j, c]
        o[i, x] = sum[u <= j <= i](s[i, u] * s[j, u] * v[j, x])""",
    "state": """def f(a[n], k[n, d], v[n, e]) -> S[n, d, e]:
        S[i, c, x] = a[i] * S[i - 1, c, x] + k[i, c] * v[i, x]""",
    "fibonacci": "def f(a[n]) -> o[n]:  o[i] = o[i - 1] + o[i - 2] + a[i]",
    "backwards": "def f(a[n]) -> o[n]:  o[i] = 2 * o[i + 1] + a[i]",
    "triangular solve": "def f(k[n, d], v[n]) -> w[n]:  w[i] = v[i] - sum[j < i](k[i, c] * k[j, c] * w[j])",
    "backward solve": "def f(a[n, n], v[n]) -> w[n]:  w[i] = v[i] - sum[j > i](a[i, j] * w[j])",
    "solve through a chain": "def f(a[n], v[n]) -> w[n]:  w[i] = v[i] + sum[j < u <= i](a[u] * w[j])",
    "solve through a factor": "def f(a[n], v[n]) -> w[n]:  w[i] = v[i] + sum[j <= i]([j < i] * a[j] * w[j])",
    "mutual": """def f(a[n], b[n]) -> x[n], y[n]:
        x[i] = y[i - 1] * a[i] + 1
        y[i] = x[i] + b[i]""",
    "mutual in any order": """def f(a[n]) -> z[n]:
        z[i] = y[i] + a[i]
        x[i] = z[i - 1] + 1
        y[i] = x[i] * a[i]""",
    "second axis": "def f(a[d, n]) -> o[d, n]:  o[c, i] = a[c, i] + o[c, i - 1] * c",
    "one of two axes": "def f(a[n, n]) -> o[n, n]:  o[i, j] = a[i, j] + o[i, j - 1]",
    "lagged window": "def f(a[n], w=3) -> o[n]:  o[i] = a[i] + sum[j, i - w < j < i](o[j])",
    "two programs": """
        def g(a[n], b[n]) -> o[n], z[]:
            o[i] = a[i] * b[i]
            z[] = a[i] * b[i]
        def f(x[n]) -> y[n]:
            p, s = g(x, x)
            y[i] = p[i] - s""",
}

# Functions of floats: the loops use Python's math.
CLOSE = {
    "gated": "def f(g[n], x[n]) -> o[n]:  o[i] = sum[j <= i](exp(sum[j < u <= i](g[u])) * x[j])",
    "gate above": "def f(g[n]) -> o[n, n]:  o[i, j] = exp(sum[j < u <= i](g[u]))",
    "channel gates": """def f(q[n, d], k[n, d], g[n, d]) -> o[n]:
        o[i] = sum[j <= i](exp(sum[j < u <= i](g[u, c])) * q[i, c] * k[j, c])""",
    "softmax": """def f(q[n, d], k[m, d], v[m]) -> o[n]:
        p[i, j] = softmax[j](q[i, c] * k[j, c] / sqrt(d))
        o[i] = p[i, j] * v[j]""",
    "causal softmax": "def f(s[n, n]) -> p[n, n]:  p[i, j] = softmax[j <= i](s[i, j])",
    "windowed softmax": """def f(s[n, n], w=2) -> p[n, n]:
        p[i, j] = softmax[j, i - w < j <= i](s[i, j] - 0.5 * (i - j))""",
    "softmax of two": "def f(a[n, d, e]) -> p[n, d, e]:  p[i, c, x] = softmax[c, x, c <= i](a[i, c, x])",
    "softmax in a row": "def f(a[n, d]) -> p[n, d]:  p[i, c] = softmax[c](a[i, c]) * 2",
    "softmax of nothing": "def f(s[n, n]) -> p[n, n]:  p[i, j] = softmax[j, j < i](s[i, j])",
    "softmax outside": "def f(s[n]) -> p[n, n]:  p[i, j] = softmax[j](s[i + j])",
    "softmax of a constant": "def f(a[n]) -> p[n, n]:  p[i, j] = softmax[j, j <= i](a[i])",
    "logsumexp": "def f(s[n, n]) -> z[n]:  z[i] = logsumexp[j < i](s[i, j])",
    "softmax by logsumexp": """def f(s[n, n]) -> p[n, n]:
        z[i] = logsumexp[j](s[i, j])
        p[i, j] = exp(s[i, j] - z[i])""",
    "summed exponentials": "def f(a[n]) -> o[n]:  o[i] = log(sum[j <= i](exp(a[j])))",
    "normalised": """def f(q[n, d], k[n, d], v[n]) -> o[n]:
        s[i, j] = (elu(q[i, c]) + 1) * (elu(k[j, c]) + 1)
        o[i] = sum[j <= i](s[i, j] * v[j]) / sum[j <= i](s[i, j])""",
    "recurrent net": "def f(a[n]) -> h[n]:  h[i] = tanh(a[i] + 0.5 * h[i - 1])",
    "softmax of itself": "def f(s[n, n], a[n]) -> h[n]:  h[i] = a[i] + sum[j < i](exp(s[i, j]) * tanh(h[j]))",
    "softmax of the axis of a recurrence": "def f(a[n]) -> h[n]:  h[i] = a[i] + softmax[i](a[i]) * h[i - 1]",
    "real power": "def f(a[n]) -> o[n]:  o[i] = (abs(a[i]) + 1) ** 0.5",
    **{
        name: f"def f(a[n]) -> o[n]:  o[i] = {name}(a[i] / 3)"
        for name in "exp tanh sigmoid silu gelu relu elu softplus cos sin abs sign".split()
    },
    **{name: f"def f(a[n]) -> o[n]:  o[i] = {name}(a[i] ** 2 + 1)" for name in ("sqrt", "rsqrt", "log")},
}

SIZES: list[dict[str, int]] = [
    {"n": 0, "m": 2, "d": 2, "e": 1, "g": 2, "r": 1},
    {"n": 1, "m": 1, "d": 1, "e": 1, "g": 1, "r": 1},
    {"n": 3, "m": 2, "d": 0, "e": 2, "g": 1, "r": 3},
    {"n": 5, "m": 7, "d": 3, "e": 2, "g": 2, "r": 3},
]


def sized(program: Any, sizes: dict[str, int]) -> dict[str, int]:
    """The sizes a program has, its parameters at their defaults."""
    return {name: dict(program.defaults).get(name, sizes.get(name, 0)) for name in program.sizes()}


@pytest.mark.parametrize("name", EXACT)
def test_rational_constructs_equal_the_loops(name: str) -> None:
    program = parse(EXACT[name])
    for seed, numbers in enumerate(SIZES):
        sizes = sized(program, numbers)
        inputs = random_inputs(program, sizes, np.random.default_rng(seed))
        expected = by_loops(program, inputs, sizes)
        exact = evaluate(program, inputs, sizes, RATIONAL)
        floats = {k: v.astype(float) if v.dtype == object else v for k, v in inputs.items()}
        close = evaluate(program, floats, sizes)
        for output, array in expected.items():
            assert exact[output].shape == close[output].shape == array.shape
            assert same(exact[output], array).all(), (sizes, inputs)
            assert close[output].dtype == np.float64
            np.testing.assert_allclose(close[output], array.astype(float), rtol=1e-12)


@pytest.mark.parametrize("name", CLOSE)
def test_functions_equal_the_loops(name: str) -> None:
    program = parse(CLOSE[name])
    for seed, numbers in enumerate(SIZES):
        sizes = sized(program, numbers)
        rng = np.random.default_rng(seed)
        inputs = {t.name: rng.standard_normal([a.value(sizes) for a in t.axes]) for t in program.inputs}
        expected = by_loops(program, inputs, sizes)
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
            outputs = evaluate(program, {k: v.astype(dtype) for k, v in inputs.items()}, sizes)
            for output, array in expected.items():
                assert outputs[output].dtype == dtype
                np.testing.assert_allclose(
                    outputs[output], array.astype(float), rtol=tolerance, atol=tolerance
                )


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_leading_dimensions_broadcast(name: str) -> None:
    program = parse({**EXACT, **CLOSE}[name])
    sizes = sized(program, {"n": 4, "m": 3, "d": 2, "e": 2, "g": 2, "r": 2})
    rng = np.random.default_rng(0)
    shapes = [(2, 1), (3,), (), (1, 3)]
    inputs = {}
    for number, (tensor, array) in enumerate(random_inputs(program, sizes, rng, (2, 3)).items()):
        lead = (2, 3) if number == 0 else shapes[number % 4]
        picks = tuple(slice(0, k) for k in (1,) * (2 - len(lead)) + lead)
        array = array[picks].reshape(lead + array.shape[2:])
        inputs[tensor] = array.astype(float) if array.dtype == object else array
    outputs = evaluate(program, inputs, sizes)
    for at in np.ndindex(2, 3):
        single = {}
        for tensor, array in inputs.items():
            axes = len(program.tensors()[tensor].axes)
            whole = np.broadcast_to(array, (2, 3) + array.shape[array.ndim - axes :])
            single[tensor] = whole[at]
        alone = evaluate(program, single, sizes)
        for output, array in alone.items():
            np.testing.assert_allclose(outputs[output][at], array, rtol=1e-12, atol=1e-12)
