"""Self-reference, first-order recurrences and shifts: every form against the definition."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc
from tensorc.backends.reference import run

DELTA = """
def f(q[n, d], k[n, d], r[n, d], v[n, e], beta[n], g[n, d]) -> o[n, e]:
    D[i, j, c] = exp(sum[j < u <= i](g[u, c]))
    w[i, x] = beta[i] * (v[i, x] - sum[j < i](D[i, j, c] * r[i, c] * k[j, c] * w[j, x]))
    o[i, x] = sum[j <= i](D[i, j, c] * q[i, c] * k[j, c] * w[j, x])
"""
REVERSE = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    w[i, x] = v[i, x] - sum[j > i](k[i, c] * k[j, c] * w[j, x])
    o[i, x] = sum[j >= i](q[i, c] * k[j, c] * w[j, x])
"""
HEADS = """
def f(q[h, n, d], k[h, n, d], v[h, n, e]) -> o[h, n, e]:
    w[g, i, x] = v[g, i, x] - sum[j < i](k[g, i, c] * k[g, j, c] * w[g, j, x]) / 3
    o[g, i, x] = sum[j <= i](q[g, i, c] * k[g, j, c] * w[g, j, x])
"""
ALIASED = """
def f(q[n, d], k[n, d], v[n, e], beta[n]) -> o[n, e]:
    w[i, x] = v[i, x] - sum[j < i](k[i, c] * k[j, c] * u[j, x])
    u[i, x] = beta[i] * w[i, x] + v[i, x]
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * w[j, x])
"""
MUTUAL = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    w[i, x] = v[i, x] - sum[j < i](k[i, c] * k[j, c] * u[j, x])
    u[i, x] = v[i, x] / 2 - sum[j < i](q[i, c] * k[j, c] * w[j, x])
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * w[j, x])
"""
NONLINEAR = """
def f(k[n, d], v[n, e]) -> w[n, e]:
    w[i, x] = tanh(v[i, x] - sum[j < i](k[i, c] * k[j, c] * w[j, x]))
"""
NESTED = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    w[i, x] = v[i, x] - sum[u <= j < i](k[i, c] * k[j, c] * q[j, a] * q[u, a] * w[u, x])
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * w[j, x])
"""
GATED_STATE = """
def f(q[n, d], k[n, d], v[n, e], a[n, d]) -> o[n, e]:
    S[i, c, x] = a[i, c] * S[i - 1, c, x] + k[i, c] * v[i, x]
    o[i, x] = q[i, c] * S[i, c, x]
"""
LOG_GATED = """
def f(v[n, e], g[n]) -> s[n, e]:
    s[i, x] = exp(g[i]) * s[i - 1, x] - v[i, x] / 2
"""
BACKWARDS = """
def f(v[n, e], a[n]) -> s[n, e]:
    s[i, x] = s[i + 1, x] * a[i] + v[i, x]
"""
NETWORK = """
def f(x[n, d], W[d, d]) -> h[n, d]:
    h[i, c] = tanh(sum[b](W[c, b] * h[i - 1, b]) + x[i, c])
"""
SECOND_ORDER = """
def f(v[n, e]) -> s[n, e]:
    s[i, x] = s[i - 1, x] / 3 + s[i - 2, x] / 2 + v[i, x]
"""
SHIFTED = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j, j <= i](q[i, c] * k[j - 1, c] * v[j - 3, x])
"""
CONVOLVED = """
def f(q[n, d], k[n, d], v[n, e], w[t, d]) -> o[n, e]:
    m[i, c] = silu(sum[s](w[s, c] * k[i - s, c]))
    o[i, x] = sum[j <= i](q[i, c] * m[j, c] * v[j, x])
"""
LATER = """
def f(v[n, e]) -> o[n, e]:
    o[i, x] = v[i + 2, x] - v[i, x]
"""
OF_RESULT = """
def f(v[n, e]) -> o[n, e]:
    z[i, x] = sum[j <= i](v[j, x])
    o[i, x] = z[i - 2, x] * v[i, x]
"""
COMPARED = """
def f(v[n, e], s[n]) -> o[n, e]:
    o[i, x] = v[i, x] * [s[i] == s[i - 1]]
"""

# program, forms beside the parallel one, elements of the state at d = 3, e = 2, h = 2, t = 4
# Two writes a token, the second one after the first; every pair of a read and a write has its own state.
TWO_WRITES = """
def f(q[n, d], k[n, d], v[n, e], b[n], l[n, d], u[n, e], r[n], g[n]) -> o[n, e]:
    D[i, j] = exp(sum[j < m <= i](g[m]))
    both[i] = l[i, c] * k[i, c]
    w[i, x] = b[i] * (v[i, x] - sum[j < i](D[i, j] * k[i, c] * k[j, c] * w[j, x])
                      - sum[j < i](D[i, j] * k[i, c] * l[j, c] * z[j, x]))
    p[i, x] = sum[j < i](D[i, j] * l[i, c] * k[j, c] * w[j, x]) + both[i] * w[i, x]
    z[i, x] = r[i] * (u[i, x] - p[i, x] - sum[j < i](D[i, j] * l[i, c] * l[j, c] * z[j, x]))
    o[i, x] = sum[j <= i](D[i, j] * q[i, c] * k[j, c] * w[j, x]) + z[i, x]
"""
# The sum of two writes, and of one that is known, in one state.
ONE_STATE = """
def f(q[n, d], k[n, d], v[n, e], b[n], l[n, d], u[n, e], g[n]) -> o[n, e]:
    D[i, j] = exp(sum[j < m <= i](g[m]))
    a[i, c, x] = k[i, c] * w[i, x] + l[i, c] * z[i, x] + k[i, c] * u[i, x]
    w[i, x] = b[i] * (v[i, x] - sum[j < i](D[i, j] * k[i, c] * a[j, c, x]))
    z[i, x] = u[i, x] - sum[j < i](D[i, j] * l[i, c] * a[j, c, x]) - b[i] * w[i, x]
    o[i, x] = sum[j <= i](D[i, j] * q[i, c] * a[j, c, x])
"""
MUTUAL_HEADS = """
def f(k[n, h, d], v[n, h, e], l[n, h, d]) -> o[n, h, e]:
    w[i, a, x] = v[i, a, x] - sum[j < i](k[i, a, c] * k[j, a, c] * z[j, a, x])
    z[i, b, y] = v[i, b, y] - sum[j < i](l[i, b, c] * l[j, b, c] * w[j, b, y]) + 2 * w[i, b, y]
    o[i, a, x] = w[i, a, x] + z[i, a, x]
"""
MUTUAL_GATES = """
def f(k[n, d], v[n, e], l[n, d], a[n, e]) -> o[n, e]:
    w[i, x] = v[i, x] - sum[j < i](prod[j < m <= i](a[m, x]) * k[i, c] * k[j, c] * z[j, x])
    z[i, x] = v[i, x] - sum[j < i](l[i, c] * l[j, c] * w[j, x])
    o[i, x] = w[i, x] + z[i, x]
"""
MUTUAL_BACKWARDS = """
def f(k[n, d], v[n, e], l[n, d]) -> o[n, e]:
    w[i, x] = v[i, x] - sum[j > i](k[i, c] * k[j, c] * z[j, x])
    z[i, x] = v[i, x] - sum[j > i](l[i, c] * l[j, c] * w[j, x])
    o[i, x] = w[i, x] + z[i, x]
"""
# The features of an unknown are mixed: no triangular system of tokens alone.
MIXED = """
def f(k[n, d], v[n, e], l[n, d], A[e, e]) -> o[n, e]:
    w[i, x] = v[i, x] - sum[j < i](k[i, c] * k[j, c] * z[j, y]) * A[x, y]
    z[i, y] = v[i, y] - sum[j < i](l[i, c] * l[j, c] * w[j, x]) * A[x, y]
    o[i, x] = w[i, x]
"""
TRANSPOSED = """
def f(k[n, d], v[n, e, e]) -> o[n, e, e]:
    w[i, x, y] = v[i, x, y] - sum[j < i](k[i, c] * k[j, c] * w[j, y, x]) / 4
    o[i, x, y] = w[i, x, y]
"""
# States as recurrences: what is written to them reads them.
STATE_DELTA = """
def f(q[n, d], k[n, d], v[n, e], b[n]) -> o[n, e]:
    S[i, c, x] = S[i - 1, c, x] + b[i] * k[i, c] * (v[i, x] - sum[a](k[i, a] * S[i - 1, a, x]))
    o[i, x] = q[i, c] * S[i, c, x]
"""
STATE_CHANNELS = """
def f(q[n, d], k[n, d], v[n, e], b[n], g[n, d]) -> o[n, e]:
    S[i, c, x] = (exp(g[i, c]) * S[i - 1, c, x] + b[i] * k[i, c] * v[i, x]
                  - b[i] * k[i, c] * sum[a](k[i, a] * exp(g[i, a]) * S[i - 1, a, x]))
    o[i, x] = q[i, c] * S[i, c, x]
"""
STATE_TWO_WRITES = """
def f(q[n, d], k[n, d], l[n, d], v[n, e], u[n, e], b[n]) -> o[n, e]:
    S[i, c, x] = (S[i - 1, c, x] + b[i] * k[i, c] * (v[i, x] - sum[a](k[i, a] * S[i - 1, a, x]))
                  + l[i, c] * (u[i, x] - sum[a](l[i, a] * S[i - 1, a, x])) / 2)
    o[i, x] = q[i, c] * S[i, c, x]
"""
STATE_BACKWARDS = """
def f(q[n, d], k[n, d], v[n, e], b[n]) -> o[n, e]:
    S[c, i, x] = (b[i] * (S[c, i + 1, x] - k[i, c] * sum[a](k[i, a] * S[a, i + 1, x]) / 2)
                  + k[i, c] * v[i, x])
    o[i, x] = q[i, c] * S[c, i, x]
"""
STATE_TANH = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    S[i, c, x] = S[i - 1, c, x] + k[i, c] * tanh(v[i, x] - sum[a](k[i, a] * S[i - 1, a, x]))
    o[i, x] = q[i, c] * S[i, c, x]
"""
VECTOR_STATE = """
def f(x[n, d], u[n, d], a[n]) -> h[n, d]:
    h[i, c] = a[i] * h[i - 1, c] - u[i, c] * sum[b](u[i, b] * h[i - 1, b]) / 3 + x[i, c]
"""
RESET = """
def f(q[n, d], k[n, d], v[n, e], r[n]) -> o[n, e]:
    S[i, c, x] = where(r[i] > 0, 0, S[i - 1, c, x]) + k[i, c] * v[i, x]
    o[i, x] = q[i, c] * S[i, c, x]
"""
# The second equation reads what the first one writes at the same token.
OWN_TOKEN = """
def f(q[n, d], k[n, d], r[n, d], v[n, e], b[n], g[n, d]) -> o[n, e]:
    D[i, j, c] = exp(sum[j < t <= i](g[t, c]))
    w[i, x] = b[i] * (v[i, x] - sum[j < i](D[i, j, c] * r[i, c] * k[j, c] * z[j, x]))
    z[i, x] = v[i, x] - sum[j <= i](D[i, j, c] * k[i, c] * k[j, c] * w[j, x]) / 4
    o[i, x] = sum[j <= i](D[i, j, c] * q[i, c] * k[j, c] * (w[j, x] + z[j, x]))
"""
PROGRAMS = {
    "delta as a state": (STATE_DELTA, ("chunkwise", "recurrent"), 3 * 2),
    "channels as a state": (STATE_CHANNELS, ("chunkwise", "recurrent"), 3 * 2),
    "two writes of a state": (STATE_TWO_WRITES, ("chunkwise", "recurrent"), 3 * 2),
    "a state backwards": (STATE_BACKWARDS, ("chunkwise",), None),
    "a state by a function": (STATE_TANH, ("recurrent",), 3 * 2),
    "a vector as a state": (VECTOR_STATE, ("chunkwise", "recurrent"), 3),
    "reset": (RESET, ("chunkwise", "recurrent"), 3 * 2),
    "own token": (OWN_TOKEN, ("chunkwise", "recurrent"), 3 * 3 * 2),
    "delta": (DELTA, ("chunkwise", "recurrent"), 3 * 2),
    "reverse": (REVERSE, ("chunkwise",), None),
    "heads": (HEADS, ("chunkwise", "recurrent"), 2 * 3 * 2),
    "aliased": (ALIASED, ("chunkwise", "recurrent"), 2 * 3 * 2),
    "mutual": (MUTUAL, ("chunkwise", "recurrent"), 2 * 3 * 2),
    "two writes": (TWO_WRITES, ("chunkwise", "recurrent"), 2 * 3 * 2),
    "one state of two writes": (ONE_STATE, ("chunkwise", "recurrent"), 3 * 2),
    "mutual heads": (MUTUAL_HEADS, ("chunkwise", "recurrent"), 2 * 2 * 3 * 2),
    "mutual gates": (MUTUAL_GATES, ("chunkwise", "recurrent"), 2 * 3 * 2),
    "mutual backwards": (MUTUAL_BACKWARDS, ("chunkwise",), None),
    "mixed": (MIXED, ("recurrent",), 2 * 3 * 2),
    "transposed": (TRANSPOSED, ("recurrent",), 3 * 2 * 2),
    "nonlinear": (NONLINEAR, ("recurrent",), 3 * 2),
    "nested": (NESTED, ("recurrent",), 3 * (3 * 2)),
    "gated state": (GATED_STATE, ("chunkwise", "recurrent"), 3 * 2),
    "log gated": (LOG_GATED, ("chunkwise", "recurrent"), 2),
    "backwards": (BACKWARDS, ("chunkwise",), None),
    "network": (NETWORK, ("recurrent",), 3),
    "second order": (SECOND_ORDER, ("recurrent",), 2 + 2 * 2),
    "shifted": (SHIFTED, ("chunkwise", "recurrent"), 3 * 2 + 3 + 3 * 2),
    "convolved": (CONVOLVED, ("chunkwise", "recurrent"), 3 * 2 + 4 * 3),
    "later": (LATER, ("chunkwise",), None),
    "of a result": (OF_RESULT, ("chunkwise", "recurrent"), 2 + 2 * 2),
    "compared": (COMPARED, ("chunkwise", "recurrent"), 1),
}
SIZES = {"d": 3, "e": 2, "h": 2, "t": 4}


def inputs(program: tensorc.Program, n: int, batch: tuple[int, ...] = ()) -> list[np.ndarray]:
    rng = np.random.default_rng(n)
    arrays = []
    for declaration in program.inputs:
        shape = [a.value({**SIZES, "n": n}) for a in declaration.axes]
        array = rng.normal(size=(*batch, *shape)) / 2
        if declaration.name == "g":
            array = -np.abs(array)
        arrays.append(np.round(array) if declaration.name == "s" else array)
    return arrays


@pytest.mark.parametrize("n", [0, 1, 3, 63, 64, 65, 131])
@pytest.mark.parametrize("name", PROGRAMS)
def test_forms_equal_the_definition(name: str, n: int) -> None:
    text, forms, _ = PROGRAMS[name]
    program = tensorc.parse(text)
    arrays = inputs(program, n, (2,))
    expected = run(program, *arrays)
    for form in ("parallel", *forms):
        found = tensorc.compile(program, form=form)(*arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=form)


@pytest.mark.parametrize("name", [n for n, (_, forms, _) in PROGRAMS.items() if "recurrent" in forms])
def test_streams_equal_the_whole(name: str) -> None:
    text, _, elements = PROGRAMS[name]
    program = tensorc.parse(text)
    arrays = inputs(program, 21)
    expected = run(program, *arrays)
    operator = tensorc.compile(program)
    axes = [next((k for k, a in enumerate(d.axes) if str(a) == "n"), None) for d in program.inputs]

    def part(rows: slice | int) -> list[np.ndarray]:
        return [
            x if k is None else x[(slice(None),) * k + (rows,)] for x, k in zip(arrays, axes, strict=True)
        ]

    axis = [str(a) for a in program.outputs[0].axes].index("n")
    head, state = operator.prefill(*part(slice(0, 9)))
    np.testing.assert_allclose(head, np.take(expected, range(9), axis), rtol=1e-9, atol=1e-9)
    assert state.elements == elements
    for t in range(9, 15):
        before = [x.copy() for x in state.tensors]
        row, after = operator.step(state, *part(t))
        np.testing.assert_allclose(row, np.take(expected, t, axis), rtol=1e-9, atol=1e-9)
        for old, kept in zip(before, state.tensors, strict=True):
            np.testing.assert_array_equal(old, kept)
        state = after
    rest = operator(*part(slice(15, 21)), state=state)
    np.testing.assert_allclose(rest, np.take(expected, range(15, 21), axis), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n, (_, forms, _) in PROGRAMS.items() if "chunkwise" not in forms])
def test_what_is_no_linear_system_says_so(name: str) -> None:
    with pytest.raises(tensorc.FormError, match="uses? (its|their) own result"):
        tensorc.compile(PROGRAMS[name][0], form="chunkwise")


@pytest.mark.parametrize("name", [n for n, (_, forms, _) in PROGRAMS.items() if "recurrent" not in forms])
def test_what_reads_later_tokens_has_no_recurrent_form(name: str) -> None:
    with pytest.raises(tensorc.FormError, match="form of f: .* reads"):
        tensorc.compile(PROGRAMS[name][0], form="recurrent")


@pytest.mark.parametrize("name", PROGRAMS)
def test_exactly(name: str) -> None:
    assert tensorc.compile(PROGRAMS[name][0]).verify(time_limit=2)


def test_strong_gates_do_not_overflow() -> None:
    program = tensorc.parse(LOG_GATED)
    v, g = np.ones((300, 2), np.float32), np.full(300, -20.0, np.float32)
    g[::7] = 0
    found = tensorc.compile(program, form="chunkwise")(v, g)
    np.testing.assert_allclose(found, run(program, v, g), rtol=1e-5)


@pytest.mark.parametrize("lag", [5, 9, 20])
def test_a_term_from_far_back_is_found(lag: int) -> None:
    """Sequences are long enough for every number in either text."""
    claim = f"def r(x[n]) -> y[n]:  y[i] = y[i - 1] + x[i] + x[i - {lag}]"
    found = tensorc.disagreement(claim, "def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    assert found is not None and found.sizes == {"n": lag + 1}
    window = f"def f(x[n]) -> y[n]:  y[i] = sum[i - {lag} < j <= i](x[j])"
    assert tensorc.disagreement("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])", window) is not None
    assert {"n": lag + 2} in tensorc.compile(window).verify().sizes or lag + 2 <= 9


def test_programs_that_are_never_compared_do_not_agree() -> None:
    """Results that are undefined everywhere are no agreement."""
    with pytest.raises(tensorc.TensorcError, match="were never compared"):
        tensorc.disagreement(
            "def r(x[n]) -> y[n]:  y[i] = log(-1 - x[i] * x[i])",
            "def f(x[n]) -> y[n]:  y[i] = 1 / (0 * x[i])",
        )
    with pytest.raises(tensorc.TensorcError, match="not NoneType"):
        tensorc.disagreement(None, "def f(x[n]) -> y[n]:  y[i] = x[i]")
