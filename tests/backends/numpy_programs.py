"""Programs and inputs for the tests of the NumPy backend: the catalogue, and what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tensorc

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = {path.stem: path.read_text() for path in sorted((ROOT / "examples").glob("*.tc"))}

MORE = {
    "heads": """
def heads(q[h, n, d], k[h, n, d], v[h, n, e], g[h, n]) -> o[h, n, e]:
    o[a, i, x] = sum[j <= i](exp(sum[j < u <= i](g[a, u])) * q[a, i, c] * k[a, j, c] * v[a, j, x])
""",
    "grouped": """
def grouped(q[g * r, n, d], k[g, n, d], v[g, n, e], r=2) -> o[g * r, n, e]:
    o[h, i, x] = sum[j <= i](q[h, i, c] * k[h // r, j, c] * v[h // r, j, x])
""",
    "channels_first": """
def channels_first(q[d, n], k[d, n], v[e, n]) -> o[e, n]:
    o[x, i] = sum[j <= i](q[c, i] * k[c, j] * v[x, j]) / sqrt(d)
""",
    "scalars": """
def scalars(x[n], a[], b[]) -> y[n]:
    y[i] = a * sum[j <= i](x[j]) + b
""",
    "two_outputs": """
def two_outputs(q[n, d], k[n, d], v[n, e]) -> o[n, e], z[n]:
    f[i, j] = (1 + q[i, c] ** 2) * (1 + k[j, c] ** 2)
    o[i, x] = sum[j <= i](f[i, j] * v[j, x]) / z[i]
    z[i] = sum[j <= i](f[i, j])
""",
    "with_total": """
def with_total(x[n, d], w[d, e]) -> y[n, e], t[e]:
    y[i, a] = sum[j <= i](x[j, c] * w[c, a])
    t[a] = y[i, a] * sum[c](x[i, c])
""",
    "normed": """
def normed(x[n, d]) -> y[n, d]:
    y[i, a] = x[i, a] / sqrt(1 + sum[j, c](x[j, c] ** 2))
""",
    "later": """
def later(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j >= i](q[i, c] * k[j, c] * v[j, x])
""",
    "both_ways": """
def both_ways(q[n, d], k[n, d], v[n, e], g[n]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    o[i, x] = sum[j < i](exp(sum[j < u <= i](g[u])) * s[i, j] * v[j, x]) + sum[j > i](s[i, j] * v[j, x])
""",
    "there_and_back": """
def there_and_back(x[n], y[n]) -> o[n]:
    z[j] = sum[u >= j](x[u])
    o[i] = sum[j <= i](z[j] * y[j])
""",
    "gated_recurrence": """
def gated_recurrence(f[n, d], c[n, d], o[n, d]) -> h[n, d]:
    h[i, x] = sigmoid(o[i, x]) * sum[j <= i](prod[j < u <= i](f[u, x]) * (1 - f[j, x]) * c[j, x])
""",
    "signed_gates": """
def signed_gates(q[n, d], k[n, d], v[n, e], a[n]) -> o[n, e]:
    o[i, x] = sum[j <= i](prod[j < u <= i](a[u]) * q[i, c] * k[j, c] * v[j, x])
""",
    "signed_channels": """
def signed_channels(q[n, d], k[n, d], v[n, e], a[n, d]) -> o[n, e]:
    o[i, x] = sum[j <= i](prod[j < u <= i](a[u, c]) * q[i, c] * k[j, c] * v[j, x])
""",
    "ends": """
def ends(x[n, d], a[n], g[n, d]) -> open[n, d], shut[n, d], left[n, d], strict[n, d]:
    open[i, c] = sum[j < i](prod[j < u < i](a[u]) * x[j, c])
    shut[i, c] = sum[j <= i](prod[j <= u <= i](a[u]) * x[j, c])
    left[i, c] = sum[j <= i](exp(sum[j <= u < i](g[u, c])) * x[j, c])
    strict[i, c] = sum[j < i](exp(sum[j < u <= i](g[u, c])) * x[j, c])
""",
    "rates": """
def rates(x[h, n, d], gamma[h], rate[d]) -> y[h, n, d]:
    y[a, i, c] = sum[j < i](gamma[a] ** (i - j) * exp(-abs(rate[c]) * (i - j)) * x[a, j, c])
""",
    "second_order_decayed": """
def second_order_decayed(q[n, d], k[n, d], v[n, e], g[n], a[n]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    D[i, j] = exp(sum[j < t <= i](g[t]))
    E[i, j] = prod[j < t <= i](a[t])
    o[i, x] = sum[u <= j <= i](D[i, j] * E[j, u] * s[i, u] * s[j, u] * v[j, x])
""",
    "kept": """
def kept(q[n, d], k[n, d], v[n, e], keep[n]) -> o[n, e]:
    o[i, x] = sum[j <= i, keep[j] != 0](q[i, c] * k[j, c] * v[j, x])
""",
    "chosen": """
def chosen(x[n], label[n]) -> y[n], z[n]:
    y[i] = sum[j <= i](where(label[j] > 1, x[j], -x[j]))
    z[i] = where(label[i] % 2 == 1, x[i] ** 2, 0)
""",
    "documents": """
def documents(q[n, d], k[n, d], v[n, e], seg[n]) -> o[n, e]:
    p[i, j] = softmax[j, j <= i, seg[i] == seg[j]](q[i, c] * k[j, c] / sqrt(d))
    o[i, x] = p[i, j] * v[j, x]
""",
    "positions": """
def positions(x[n, d]) -> y[n, d]:
    y[i, c] = sum[j <= i](x[j, c] * (j + 1)) / (i + 1) + cos(i / (c + 1))
""",
    "weights": """
def weights(x[n, d], W[d, e], b[e]) -> y[n, e]:
    h[i, a] = silu(x[i, c] * W[c, a] + b[a])
    y[i, a] = sum[j <= i](h[j, a] * h[i, a])
""",
    "shifted": """
def shifted(x[n, d], w[t]) -> y[n, d]:
    y[i, c] = sum[a](w[a] * x[i - a, c])
""",
    "windowed": """
def windowed(x[n, d], w=3) -> y[n, d]:
    y[i, c] = sum[i - w < j <= i](x[j, c]) / w
""",
    "filter": """
def filter(x[n, d], a[d]) -> y[n, d]:
    y[i, c] = tanh(a[c]) * y[i - 1, c] + x[i, c]
""",
    "backward_filter": """
def backward_filter(x[n]) -> y[n]:
    y[i] = x[i] - sum[j > i](0.5 ** (j - i) * y[j])
""",
    "folds": """
def folds(x[n, d]) -> hi[n], lo[n], m[n], l[n], p[n]:
    hi[i] = max[c](x[i, c])
    lo[i] = min[j <= i, c](x[j, c])
    m[i] = mean[c](x[i, c])
    l[i] = logsumexp[c](x[i, c])
    p[i] = prod[c](x[i, c])
""",
    "pairs": """
def pairs(q[n, d], k[m, d]) -> p[n, m]:
    p[i, j] = exp(-((q[i, c] * k[j, c]) ** 2)) + [j <= i]
""",
    "gate_functions": """
def gate_functions(q[n, d], k[n, d], v[n, e], g[n, d], t[d]) -> o[n, e]:
    r[i, c] = -softplus(g[i, c] + t[c])
    o[i, x] = sum[j <= i](exp(sum[j < u <= i](r[u, c])) * q[i, c] * k[j, c] * v[j, x])
""",
    "mixed_chain": """
def mixed_chain(x[n, d], y[n, d], z[n, d]) -> o[n, d]:
    o[i, c] = sum[j < i, u <= j, l >= 0, l < u](x[j, c] * y[u, c] * z[l, c])
""",
    "two_states": """
def two_states(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    b[i, a, x] = sum[j <= i](k[j, a] * v[j, x])
    c[i, a] = sum[j < i](k[j, a])
    o[i, x] = q[i, a] * b[i, a, x] * (1 + sum[f](q[i, f] * c[i, f]))
""",
    "blend": """
def blend(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x]) + 2 * v[i, x] - v[i, x] * sum[c](q[i, c] * k[i, c])
""",
}
PROGRAMS = CATALOGUE | MORE
SMALL = {"n": 23, "m": 11, "d": 5, "e": 3, "h": 2, "g": 2, "t": 3, "w": 4}
LOG_GATES = ("g", "slope")
GATES = ("gamma", "f", "beta")


@cache
def program(name: str) -> tensorc.Program:
    """A program of the catalogue or of `MORE`."""
    return tensorc.parse(PROGRAMS[name], name=name)


def sizes_of(name: str, sizes: Mapping[str, int] = {}) -> dict[str, int]:  # noqa: B006
    """All sizes of a program: those given, the defaults of its signature, then small ones."""
    found = program(name)
    known = SMALL | dict(found.defaults) | dict(sizes)
    return {size: known.get(size, 2 + k % 3) for k, size in enumerate(found.sizes())}


def inputs_of(
    name: str,
    sizes: Mapping[str, int] = {},  # noqa: B006
    batches: Sequence[tuple[int, ...]] = ((),),
    dtype: Any = np.float64,
    seed: int = 0,
) -> list[np.ndarray]:
    """Random inputs; the leading dimensions of `batches` go round. Logarithms of gates are negative, gates
    between 0 and 1; gates called `a` have zeros and both signs; conditions compare small integers."""
    random = np.random.default_rng(seed)
    known = sizes_of(name, sizes)
    arrays = []
    for k, tensor in enumerate(program(name).inputs):
        shape = (*batches[k % len(batches)], *(axis.value(known) for axis in tensor.axes))
        array = random.standard_normal(shape)
        if tensor.name in LOG_GATES:
            array = -np.abs(array)
        elif tensor.name in GATES:
            array = 1 / (1 + np.exp(-array))
        elif tensor.name == "a":
            array = np.where(random.random(shape) < 0.15, 0, array)
        elif tensor.name in ("keep", "label", "seg"):
            array = np.sort(random.integers(0, 4, shape), axis=-1)
            arrays.append(np.asarray(array > 1 if tensor.name == "keep" else array))
            continue
        arrays.append(np.asarray(array, dtype))
    return arrays


def forms_of(name: str) -> list[str]:
    """The forms that a program has."""
    operator = tensorc.compile(program(name))
    return [form for form in ("parallel", "chunkwise", "recurrent") if operator.forms.exists(form)]


def as_tuple(outputs: Any) -> tuple[np.ndarray, ...]:
    """The outputs as a tuple, also where there is one."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    """Equal shapes and dtypes, and the largest difference within a part of the largest value."""
    for one, two in zip(as_tuple(found), as_tuple(expected), strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        one, two = one.astype(np.float64), two.astype(np.float64)
        assert (np.isfinite(one) == np.isfinite(two)).all()
        finite = np.isfinite(two)
        assert np.array_equal(one[~finite], two[~finite], equal_nan=True)
        scale = np.abs(two[finite]).max(initial=1e-30)
        assert np.abs(one[finite] - two[finite]).max(initial=0) <= tolerance * scale
