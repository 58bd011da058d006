"""Row reductions over pairs of tokens that are not separable: streamed by blocks, cached token by token."""

from __future__ import annotations

import copy
import pickle
import re
import tracemalloc
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc.errors import FormError
from tests.agreement import check_forms

HAVE_TORCH = find_spec("torch") is not None

ATTENTION = """
def attention(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    p[i, j] = softmax[j <= i](q[i, c] * k[j, c] / sqrt(d))
    o[i, x] = p[i, j] * v[j, x]
"""
STREAMING = {
    "data beside a pair": "o[i, x] = sum[j <= i, seg[j] != 0](relu(q[i, c] * k[j, c]) * v[j, x])",
    "strict": "p[i, j] = softmax[j < i](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]",
    "window": (
        "p[i, j] = softmax[j, i - 3 < j <= i](q[i, c] * k[j, c] - (i - j) / 2); o[i, x] = p[i, j] * v[j, x]"
    ),
    "delayed window": (
        "p[i, j] = softmax[j, i - 5 <= j <= i - 2](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]"
    ),
    "strided": (
        "p[i, j] = softmax[j, j <= i, (i - j) % 2 == 0](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]"
    ),
    "documents": (
        "p[i, j] = softmax[j, j <= i, seg[i] == seg[j]](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]"
    ),
    "data": "p[i, j] = softmax[j, j <= i, seg[j] > 1](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]",
    "soft cap": "p[i, j] = softmax[j <= i](tanh(q[i, c] * k[j, c] / 9) * 9); o[i, x] = p[i, j] * v[j, x]",
    "forgetting": (
        "p[i, j] = softmax[j <= i](q[i, c] * k[j, c] + sum[j < u <= i](g[u])); o[i, x] = p[i, j] * v[j, x]"
    ),
    "both ends": (
        "p[i, j] = softmax[j <= i](q[i, c] * k[j, c] + sum[j <= u <= i](g[u])); o[i, x] = p[i, j] * v[j, x]"
    ),
    "open ends": (
        "p[i, j] = softmax[j <= i](q[i, c] * k[j, c] + sum[j < u < i](g[u])); o[i, x] = p[i, j] * v[j, x]"
    ),
    "features of a token": (
        "p[i, j] = softmax[j <= i](q[i, c] * (k[j, c] + k[j - 1, c])); "
        "o[i, x] = sigmoid(q[i, 0]) * p[i, j] * elu(v[j, x])"
    ),
    "two weights": (
        "p[i, j] = softmax[j <= i](q[i, c] * k[j, c]); "
        "r[i, j] = softmax[j < i](k[i, c] * k[j, c]); "
        "o[i, x] = (p[i, j] - 2 * r[i, j]) * v[j, x]"
    ),
    "weights squared": "p[i, j] = softmax[j <= i](q[i, c] * k[j, c]); o[i, x] = p[i, j] * p[i, j] * v[j, x]",
    "relu": "o[i, x] = sum[j <= i](relu(q[i, c] * k[j, c]) * v[j, x])",
    "ratio": (
        "s[i, j] = q[i, c] * k[j, c]; "
        "o[i, x] = sum[j <= i](exp(s[i, j]) * v[j, x]) / sum[j <= i](exp(s[i, j]))"
    ),
    "decay": "o[i, x] = sum[j <= i](exp(sum[j < u <= i](g[u])) * relu(q[i, c] * k[j, c]) * v[j, x])",
    "power decay": "o[i, x] = sum[j <= i](2 ** (i - j) * relu(q[i, c] * k[j, c]) * v[j, x])",
    "high power": "o[i, x] = sum[j <= i]((q[i, c] * k[j, c]) ** 9 * v[j, x])",
    "maximum": "m[i] = max[j <= i](q[i, c] * k[j, c]); o[i, x] = m[i] * v[i, x]",
    "minimum and product": (
        "m[i] = min[j < i](q[i, c] * k[j, c]); "
        "r[i] = prod[j, i - 3 < j < i](q[i, c] * k[j, c]); "
        "o[i, x] = where(i > 0, m[i], 0) * r[i] * v[i, x]"
    ),
    "mean and logarithm": (
        "l[i] = logsumexp[j <= i](q[i, c] * k[j, c]); "
        "m[i] = mean[j <= i](abs(q[i, c] * k[j, c])); "
        "o[i, x] = (l[i] + m[i]) * v[i, x]"
    ),
    "a scan below": "o[i, x] = sum[l <= j <= i](relu(q[i, c] * k[j, c]) * q[j, a] * k[l, a] * v[l, x])",
    "a stage before": (
        "a[i, c] = sum[j <= i](q[i, b] * k[j, b] * k[j, c]); "
        "p[i, j] = softmax[j <= i](a[i, c] * k[j, c]); "
        "o[i, x] = p[i, j] * v[j, x]"
    ),
    "a stage after": (
        "p[i, j] = softmax[j <= i](q[i, c] * k[j, c]); "
        "b[i, c] = p[i, j] * k[j, c]; "
        "o[i, x] = sum[j <= i](q[i, c] * b[j, c] * v[j, x])"
    ),
    "triples": (
        "p[i, j, l] = softmax[j, l, j <= i, l <= j](q[i, c] * k[j, c] * k[l, c]); "
        "o[i, x] = p[i, j, l] * v[j, x] * v[l, x]"
    ),
    "its own result": "o[i, x] = v[i, x] - sum[j < i](relu(q[i, c] * k[j, c]) * o[j, x])",
}
BLOCKWISE = {
    "reverse": "p[i, j] = softmax[j >= i](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]",
    "prefix": "p[i, j] = softmax[j, j <= i or j < 2](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]",
    "band": "p[i, j] = softmax[j, i - 2 <= j <= i + 3](q[i, c] * k[j, c]); o[i, x] = p[i, j] * v[j, x]",
    "columns of weights": "p[i, j] = softmax[j <= i](q[i, c] * k[j, c]); o[j, x] = p[i, j] * v[i, x]",
    "later data": (
        "r[i, c] = sum[j <= i](k[j, c]); "
        "p[i, j] = softmax[j >= i](q[i, c] * r[j, c]); "
        "o[i, x] = p[i, j] * v[j, x]"
    ),
    "fewer than the weights": (
        "p[i, j] = softmax[j](q[i, c] * k[j, c]); o[i, x] = sum[j < i](p[i, j] * v[j, x])"
    ),
    "everything": "z[] = sum[j <= i](relu(q[i, c] * k[j, c])); o[i, x] = z * v[i, x]",
}


def text(lines: str) -> str:
    names = ["q[n, d]", "k[n, d]", "v[n, e]"]
    names += [name for name in ("g[n]", "seg[n]") if re.search(rf"\b{name[:-3]}\[", lines)]
    body = "\n".join(f"    {line.strip()}" for line in lines.split(";"))
    return f"def f({', '.join(names)}) -> o[n, e]:\n{body}\n"


@pytest.mark.parametrize("name", STREAMING)
def test_every_form_equals_the_definition(name: str) -> None:
    operator = tensorc.compile(text(STREAMING[name]))
    result = operator.verify(time_limit=10)
    forms = {check.name for check in result.checks if check.exact and check.source}
    assert "recurrent" in forms
    if name != "its own result":
        assert {"chunkwise, chunk 4", "chunkwise, chunk 3"} <= forms
        assert {"prefill, then steps", "steps, then chunkwise"} <= forms
    assert result.causal["o"] is True or "no change was seen" in str(result.causal["o"])


@pytest.mark.parametrize("name", BLOCKWISE)
def test_what_is_not_causal_is_blockwise(name: str) -> None:
    operator = tensorc.compile(text(BLOCKWISE[name]))
    result = operator.verify(time_limit=10)
    found = {c.name for c in result.checks if c.exact and c.source}
    assert found >= {"chunkwise, chunk 4", "chunkwise, chunk 1"}
    with pytest.raises(FormError, match="No recurrent form"):
        tensorc.compile(text(BLOCKWISE[name]), form="recurrent")


@pytest.mark.parametrize(
    ("header", "lines"),
    [
        ("q[n, d], k[m, d], v[m, e]", "p[i, j] = softmax[j](q[i, c] * k[j, c] / sqrt(d))"),
        ("q[n, d], k[m, d], v[m, e]", "p[i, j] = softmax[j, j <= i + m - n](q[i, c] * elu(k[j, c]))"),
        ("q[n, d], k[n, d], v[n, e]", "p[i, j] = softmax[j](q[i, c] * k[j, c])"),
    ],
)
def test_attention_without_a_stream_is_blockwise(header: str, lines: str) -> None:
    program = f"def f({header}) -> o[n, e]:\n    {lines}\n    o[i, x] = p[i, j] * v[j, x]\n"
    operator = tensorc.compile(program)
    assert {c.name for c in operator.verify(time_limit=10).checks} >= {"chunkwise, chunk 4"}
    with pytest.raises(FormError, match="no time axis"):
        operator.init_state(np.zeros(2), np.zeros(2), np.zeros(2))
    rows = tensorc.compile(program, form="chunkwise")
    q, k, v = arrays(300, m=517 if "m" in header else 300)
    np.testing.assert_allclose(rows(q, k, v), tensorc.compile(program, form="parallel")(q, k, v), atol=1e-12)


def test_grouped_queries_cache_the_groups() -> None:
    operator = tensorc.compile(
        """
        def gqa(q[g * r, n, d], k[g, n, d], v[g, n, e]) -> o[g * r, n, e]:
            p[h, i, j] = softmax[j <= i](q[h, i, c] * k[h // r, j, c] / sqrt(d))
            o[h, i, x] = p[h, i, j] * v[h // r, j, x]
        """
    )
    assert operator.verify(time_limit=10).passed
    q, k, v = np.ones((6, 5, 4)), np.ones((2, 5, 4)), np.ones((2, 5, 3))
    _, state = operator.prefill(q, k, v)
    assert sorted(t.shape for t in state.tensors) == [(5, 2, 3), (5, 2, 4)]


# -- blocks ----------------------------------------------------------------------------------------------


def arrays(n: int, d: int = 4, e: int = 3, m: int | None = None, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    m = n if m is None else m
    return [rng.standard_normal(shape) for shape in ((n, d), (m, d), (m, e))]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 15, 16, 17, 31])
@pytest.mark.parametrize(("chunk", "block"), [(16, 16), (16, 5), (5, 16), (1, 1), (64, 64)])
@pytest.mark.parametrize("name", ["window", "documents", "prefix", "triples"])
def test_any_chunk_and_block(name: str, n: int, chunk: int, block: int) -> None:
    program = text({**STREAMING, **BLOCKWISE}[name])
    inputs = arrays(n)
    if name == "documents":
        inputs.append(np.sort(np.random.default_rng(1).integers(0, 3, n)))
    operator = tensorc.compile(program)
    function, _ = operator.forms.function("chunkwise", {"n": n, "d": 4, "e": 3})
    (found,), _ = function(*inputs, chunk=chunk, block=block)
    expected = tensorc.compile(program, backend="reference")(*inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


SCORES = ["q[i] * k[j]", "q[i] + k[j]", "tanh(q[i] * k[j])", "q[i] * k[j] - 0.1 * (i - j)", "k[j]"]


@pytest.mark.parametrize("score", SCORES)
def test_scores_without_features(score: str) -> None:
    head = "def f(q[n], k[n], v[n, e]) -> o[n, e]:\n    "
    for lines in (
        f"p[i, j] = softmax[j <= i]({score}); o[i, x] = p[i, j] * v[j, x]",
        f"p[i, j] = softmax[j, i - 3 < j <= i]({score}); o[i, x] = p[i, j] * v[j, x]",
        f"z[i] = logsumexp[j <= i]({score}); o[i, x] = z[i] * v[i, x]",
        f"z[i] = max[j <= i]({score}); o[i, x] = z[i] * v[i, x]",
    ):
        assert not check_forms(head + lines.replace("; ", "\n    "), (1, 7, 19))


HEADS = {
    "quotients": "softmax[j <= i](q[h, i, c] * k[h // r, j, c])",
    "remainders": "softmax[j <= i](q[h, i, c] * k[h % g, j, c])",
    "a window": "softmax[j, i - w < j <= i](q[h, i, c] * k[h // r, j, c])",
    "a window, backwards": "softmax[j, i - w < j <= i](3 * tanh(q[h, i, c] * k[g - 1 - h // r, j, c]))",
}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("name", HEADS)
def test_heads_read_at_computed_places_in_any_block(name: str, backend: str) -> None:
    """Columns of a block, and of a cache, are read where they lie in it."""
    if backend == "torch":
        pytest.importorskip("torch")
    program = tensorc.parse(
        f"""
        def f(q[g * r, n, d], k[g, n, d], v[g, n, e], w=5) -> o[g * r, n, e]:
            p[h, i, j] = {HEADS[name]}
            o[h, i, x] = p[h, i, j] * v[h // r, j, x]
        """
    )
    check_forms(str(program), (1, 12, 37), time="n", backend=backend)
    check_forms(str(tensorc.grad(program)), (1, 12, 37), time="n", backend=backend)
    if backend == "numpy":
        rng = np.random.default_rng(0)
        inputs = [rng.standard_normal(shape) for shape in ((4, 37, 3), (2, 37, 3), (2, 37, 2))]
        expected = tensorc.compile(program, backend="reference")(*inputs)
        operator = tensorc.compile(program, time="n")
        function, _ = operator.forms.function("chunkwise", {"n": 37, "d": 3, "e": 2, "g": 2, "r": 2, "w": 5})
        (found,), _ = function(*inputs, chunk=8, block=5)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_window_is_linear_in_the_length() -> None:
    operator = tensorc.compile(text(STREAMING["window"]))
    flops = [operator.report(n=n, d=8, e=8).to_dict()["forms"]["chunkwise"]["flops"] for n in (4096, 8192)]
    assert flops[1] == 2 * flops[0]


def test_peak_memory_is_linear_and_as_reported() -> None:
    n, d = 4096, 8
    inputs = [x.astype(np.float32) for x in arrays(n, d, d)]
    operator = tensorc.compile(ATTENTION, form="chunkwise")
    operator(*(x[:64] for x in inputs))
    tracemalloc.start()
    operator(*inputs)
    peak = tracemalloc.get_traced_memory()[1] / 4 + sum(x.size for x in inputs)
    tracemalloc.stop()
    reported = operator.report(n=n, d=d, e=d).to_dict()["forms"]["chunkwise"]["peak_elements"]
    assert peak < n * n / 32 and 0.9 < peak / reported < 1.1


# -- numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_large_scores_in_float32(form: str, scale: float) -> None:
    q, k, v = (x.astype(np.float32) for x in arrays(70))
    q *= np.float32(scale)
    gold = tensorc.compile(ATTENTION, backend="reference")(*(x.astype(np.float64) for x in (q, k, v)))
    ref = tensorc.compile(ATTENTION, backend="reference")(q, k, v)
    found = tensorc.compile(ATTENTION, form=form)(q, k, v)
    assert found.dtype == np.float32
    assert np.abs(found - gold).max() <= 2 * np.abs(ref - gold).max() + 1e-6


@pytest.mark.parametrize("form", ["chunkwise", "recurrent"])
def test_scores_of_minus_infinity(form: str) -> None:
    """Columns that data excludes; the first row has no other."""
    program = """
    def masked(q[n, d], k[n, d], v[n, e], b[n]) -> o[n, e]:
        p[i, j] = softmax[j <= i](q[i, c] * k[j, c] + b[j])
        o[i, x] = p[i, j] * v[j, x]
    """
    q, k, v = arrays(20)
    b = np.where(np.arange(20) % 3 == 0, -np.inf, 0.0)
    found = tensorc.compile(program, form=form)(q, k, v, b)
    expected = tensorc.compile(program, backend="reference")(q, k, v, b)
    assert np.isnan(expected[0]).all() and (found[0] == 0).all()
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-10)


def test_rows_without_columns_are_zero() -> None:
    found = tensorc.compile(text(STREAMING["strict"]), form="chunkwise")(*arrays(5))
    assert (found[0] == 0).all() and np.isfinite(found).all()


# -- states ----------------------------------------------------------------------------------------------


def test_pieces_and_steps_are_the_whole() -> None:
    inputs = arrays(40)
    operator = tensorc.compile(ATTENTION)
    expected = tensorc.compile(ATTENTION, form="parallel")(*inputs)
    parts, state = [], None
    for rows in (slice(0, 7), slice(7, 8), slice(8, 30)):
        part, state = operator.prefill(*(x[rows] for x in inputs), state=state)
        parts.append(part)
    for t in range(30, 36):
        part, state = operator.step(state, *(x[t] for x in inputs))
        parts.append(part[None])
    parts.append(operator(*(x[36:] for x in inputs), state=state))
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-10)
    assert state is not None and state.position == 36 and state.elements == 36 * (4 + 3)


def test_branches_of_one_state_do_not_meet() -> None:
    """The first step takes the space behind the rows, the second copies them."""
    operator = tensorc.compile(ATTENTION)
    past, a, b = arrays(20), arrays(3, seed=1), arrays(3, seed=2)
    _, state = operator.prefill(*past)
    kept = [t.copy() for t in state.tensors]
    branches = []
    for tail in (a, b, a):
        after, parts = state, []
        for t in range(3):
            part, after = operator.step(after, *(x[t] for x in tail))
            parts.append(part)
        branches.append(np.stack(parts))
    whole = tensorc.compile(ATTENTION, form="parallel")
    for tail, found in zip((a, b, a), branches, strict=True):
        expected = whole(*(np.concatenate(pair) for pair in zip(past, tail, strict=True)))[20:]
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert all((old == now).all() for old, now in zip(kept, state.tensors, strict=True))


def test_appending_is_in_place_while_there_is_room() -> None:
    operator = tensorc.compile(ATTENTION)
    inputs = arrays(40)
    state = operator.init_state(*(x[0] for x in inputs))
    assert [t.shape for t in state.tensors] == [(0, 4), (0, 3)]
    moves, before = 0, None
    for t in range(40):
        _, state = operator.step(state, *(x[t] for x in inputs))
        address = state.tensors[0].__array_interface__["data"][0]
        moves += address != before
        before = address
    assert moves == 3  # room for 16, 32 and 64 rows


def test_copies_and_pickles_of_a_state() -> None:
    operator = tensorc.compile(ATTENTION)
    inputs = arrays(9)
    _, state = operator.prefill(*(x[:8] for x in inputs))
    token = [x[8] for x in inputs]
    expected, _ = operator.step(state, *token)
    for other in (state.clone(), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        np.testing.assert_array_equal(operator.step(other, *token)[0], expected)


def test_a_cache_has_the_batch_of_what_it_holds() -> None:
    operator = tensorc.compile(ATTENTION)
    q, k, v = arrays(12)
    queries = np.stack([q, 2 * q, 3 * q])
    out, state = operator.prefill(queries, k, v)
    assert out.shape == (3, 12, 3) and [t.shape for t in state.tensors] == [(12, 4), (12, 3)]
    after, _ = operator.step(state, queries[:, 0], k[0], v[0])
    assert after.shape == (3, 3)


def test_ids_of_documents_stay_integers() -> None:
    operator = tensorc.compile(text(STREAMING["documents"]))
    inputs = [x.astype(np.float32) for x in arrays(6)]
    ids = np.array([2**40, 2**40, 2**40 + 1, 2**40 + 1, 2**40 + 1, 2**40 + 2])
    expected = tensorc.compile(text(STREAMING["documents"]), form="parallel")(*inputs, ids)
    state = operator.init_state(*(x[0] for x in inputs), ids[0])
    for t in range(6):
        found, state = operator.step(state, *(x[t] for x in inputs), ids[t])
        np.testing.assert_allclose(found, expected[t], rtol=1e-5)


def test_the_report_says_that_the_state_grows() -> None:
    report = tensorc.compile(ATTENTION).report(n=1000, d=8, e=4)
    assert "grows: a row for every token" in str(report)
    forms = report.to_dict()["forms"]
    assert forms["recurrent"]["state_elements"] == forms["chunkwise"]["state_elements"] == 12000
    refused = [r for r in report.to_dict()["refused"] if r["rule"] == "summary-first"]
    assert refused and all(r["change"] and r["line"] for r in refused)


def test_a_decay_per_channel_of_a_token_that_is_summed_first() -> None:
    body = "o[i, a] = sum[i - 5 < j <= i, u < j](A[u] * r[a] ** (j - u) * k[j])"
    text = f"def f(A[n], r[d], k[n]) -> o[n, d]: {body}"
    for form in ("chunkwise", "recurrent"):
        assert tensorc.compile(text, form=form).verify(time_limit=3)


def test_the_diagonal_of_a_pair_is_refused() -> None:
    text = """def f(q[n, d], k[n, d]) -> o[n]:
    p[i, j] = softmax[j <= i](q[i, c] * k[j, c])
    o[i] = p[i, i]
"""
    with pytest.raises(tensorc.FormError, match="at its diagonal"):
        tensorc.compile(text, form="recurrent")
    assert tensorc.compile(text).verify(time_limit=3)


@pytest.mark.parametrize(
    "body",
    [
        # the pair of a token with itself has no b: it counts once for each
        "o[i, a] = sum[j, l, b, j <= i, i // 3 == l // 3]"
        "(r[b] ** (i - j) * prod[j < t < i](p[t]) * k[j] * k[l] * r[a])",
        # two loops with caches of their own, one of them a ring
        "m[i, j] = softmax[j, i - 5 < j <= i](k[i] * k[j])\n"
        "    o[i, a] = sum[j, u, l, j < i, u < j](m[u, j] * p[l] * k[u] * r[a]) + m[i, j] * k[j]",
    ],
)
def test_folds_of_several_tokens(body: str) -> None:
    check_forms(f"def f(p[n], r[d], k[n]) -> o[n, d]:\n    {body}", (5, 17), time="n")


def test_a_cache_of_what_another_loop_kept_has_all_batch_axes() -> None:
    text = """def f(q[n, d], k[n, d], z[n], p[n]) -> o[n]:
    m[i, j] = softmax[j, j // 3 <= i // 3](q[i, a] * k[j, a])
    o[i] = sum[u, j, l, b, j < i, l < i](z[u] * k[l, b] * m[l, i] * p[j])
"""
    rng = np.random.default_rng(0)
    q, k, z, p = (rng.normal(size=s) for s in ((2, 1, 9, 3), (9, 3), (3, 9), (2, 3, 9)))
    found = tensorc.compile(text, time="n", form="chunkwise")(q, k, z, p)
    np.testing.assert_allclose(found, tensorc.compile(text, backend="reference")(q, k, z, p), rtol=1e-9)


@pytest.mark.parametrize(
    "output",
    [
        "o[h, n, e]:\n    o[a, i, x] = sum[b, j](W[a, b] * p[b, i, j] * v[a, j, x])",
        "o[h, n, e]:\n    o[a, i, x] = sum[b, j](W[a, b] * p[b, i, j] * v[b, j, x])",
        "o[h, n, e]:\n    o[a, i, x] = sum[b, j](g[i, a] * g[i, b] * W[a, b] * p[b, i, j] * v[a, j, x])",
        "o[n, e]:\n    o[i, x] = sum[b, j](g[i, b] * p[b, i, j] * v[b, j, x])",
    ],
)
def test_weights_of_several_heads_are_mixed(output: str) -> None:
    """A factor that has the head of the weights alone is multiplied before that is summed over."""
    inputs = "q[h, n, d], k[h, n, d], v[h, n, e], W[h, h], g[n, h]"
    scores = "p[b, i, j] = softmax[j, j <= i](q[b, i, c] * k[b, j, c])"
    header, body = output.split(":\n")
    refused = check_forms(f"def f({inputs}) -> {header}:\n    {scores}\n{body}\n", (5, 17), time="n")
    assert not refused


def test_softmax_over_two_axes_of_a_memory() -> None:
    """Both are columns, block by block: what is read at them is selected along both."""
    text = """
    def f(q[n, d], k[m, h, d], v[m, h, e]) -> o[n, e]:
        o[i, x] = softmax[j, a](q[i, c] * k[j, a, c]) * v[j, a, x]
    """
    for m, h in ((4, 2), (70, 65), (1, 0)):
        check_forms(text, (1, 5, 70), features={"m": m, "h": h})


def test_a_pair_beside_a_window_and_without_one() -> None:
    """Where a window has all columns, what it leaves of a pair is a copy: it may be overwritten."""
    text = """
    def f(k[h, n], l[n], m[n]) -> a[n], b[n]:
        p[i, j] = tanh(m[i] * m[j]) * [j <= i]
        w[s, i, j] = sigmoid(m[i] * k[s, j]) * [i - 3 < j] * [j <= i]
        a[i] = sum[s, j](w[s, i, j] * p[i, j] * l[j])
        b[i] = sum[j](p[i, j] * l[j])
    """
    for backend in ("numpy", "torch") if HAVE_TORCH else ("numpy",):
        check_forms(text, (1, 5, 17), time="n", backend=backend)


def test_softmax_over_all_pairs() -> None:
    """There is no row whose columns it runs over: only the parallel form has it."""
    text = """
    def f(q[n]) -> o[n]:
        p[i, j] = softmax[i, j](q[i] * q[j])
        o[i] = p[i, j] * q[j]
    """
    refused = check_forms(text, (1, 5, 70))
    assert set(refused) == {"chunkwise", "recurrent"}
