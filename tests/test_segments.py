"""Documents packed in one sequence: the state resets where a segment starts, in every form."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc
from tensorc.backends.reference import run
from tests.agreement import check_forms

PROGRAMS = {
    "first order": (
        "o[i, x] = sum[j <= i, seg[i] == seg[j]](q[i, c] * k[j, c] * v[j, x])",
        3 * 2 + 1,
    ),
    "strict": ("o[i, x] = sum[j < i, seg[j] == seg[i]](q[i, c] * k[j, c] * v[j, x])", 3 * 2 + 1),
    "chain": (
        "o[i, x] = sum[u <= j <= i, seg[i] == seg[u]](q[i, c] * k[u, c] * q[j, a] * k[u, a] * v[j, x])",
        3 * 3 + 3 * 2 + 1,
    ),
    "decay": (
        "o[i, x] = sum[j <= i, seg[i] == seg[j]](0.5 ** (i - j) * q[i, c] * k[j, c] * v[j, x])",
        3 * 2 + 1,
    ),
    "delta": (
        "w[i, x] = v[i, x] - sum[j < i, seg[j] == seg[i]](k[i, c] * k[j, c] * w[j, x]) / 3\n"
        "    o[i, x] = sum[j <= i, seg[i] == seg[j]](q[i, c] * k[j, c] * w[j, x])",
        3 * 2 + 1,
    ),
}


def program(name: str) -> tensorc.Program:
    head = "def f(q[n, d], k[n, d], v[n, e], seg[n]) -> o[n, e]:\n    "
    return tensorc.parse(head + PROGRAMS[name][0])


def inputs(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(n)
    q, k, v = rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    return [q, k, v, np.sort(rng.integers(0, 5, n))]


@pytest.mark.parametrize("n", [0, 1, 5, 64, 130])
@pytest.mark.parametrize("name", PROGRAMS)
def test_forms_equal_the_definition(name: str, n: int) -> None:
    parsed, arrays = program(name), inputs(n)
    expected = run(parsed, *arrays)
    for form in ("parallel", "chunkwise", "recurrent"):
        found = tensorc.compile(parsed, form=form)(*arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=form)


@pytest.mark.parametrize("name", PROGRAMS)
def test_packed_documents_are_the_documents_alone(name: str) -> None:
    arrays = inputs(90)
    operator = tensorc.compile(program(name), form="chunkwise")
    whole = operator(*arrays)
    for segment in np.unique(arrays[3]):
        rows = arrays[3] == segment
        alone = operator(*(x[rows] for x in arrays))
        np.testing.assert_allclose(whole[rows], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PROGRAMS)
def test_streams(name: str) -> None:
    arrays = inputs(40)
    operator = tensorc.compile(program(name))
    expected = run(program(name), *arrays)
    _, state = operator.prefill(*(x[:17] for x in arrays))
    assert state.elements == PROGRAMS[name][1]
    for t in range(17, 40):
        row, state = operator.step(state, *(x[t] for x in arrays))
        np.testing.assert_allclose(row, expected[t], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PROGRAMS)
def test_exactly(name: str) -> None:
    assert tensorc.compile(program(name)).verify(time_limit=2)


def test_ids_that_decrease() -> None:
    arrays = inputs(30)
    arrays[3] = arrays[3][::-1]
    parsed = program("first order")
    with pytest.raises(tensorc.TensorcError, match="seg decrease along n"):
        tensorc.compile(parsed, form="chunkwise")(*arrays)
    found = tensorc.compile(parsed, form="parallel")(*arrays)
    np.testing.assert_allclose(found, run(parsed, *arrays), rtol=1e-9, atol=1e-9)


def test_without_an_order_it_is_a_mask() -> None:
    head = "def f(k[n, d], seg[n]) -> o[n, d]:\n"
    text = head + "    o[i, c] = sum[j, seg[i] == seg[j]](k[j, c])"
    with pytest.raises(tensorc.FormError, match="reads seg.j. for j > i"):
        tensorc.compile(text, form="recurrent")
    arrays = [np.arange(6.0).reshape(3, 2), np.array([1, 0, 1])]
    for form in ("parallel", "chunkwise"):
        found = tensorc.compile(text, form=form)(*arrays)
        np.testing.assert_allclose(found, [[4, 6], [2, 3], [4, 6]])


def test_beside_an_index_that_is_another() -> None:
    text = "def f(a[n], seg[n]) -> o[n]:  o[i] = sum[0 <= i - j < 1, u < j, seg[j] == seg[u]](a[j] * a[u])"
    assert tensorc.compile(text).verify(time_limit=2)


def test_ids_of_heads_keep_the_heads() -> None:
    """A sum over one segment, of a factor without heads, is one of each head, where a fold takes the rest."""
    check_forms(
        """
def f(A[h, n], seg[h, n], r[n], E[d]) -> out[h, n, d]:
    m1[m, i, a] = sum[j >= i](A[m, j])
    out[m, i, a] = sum[
        u, j > i - 3, j <= i, u <= i, l < u, seg[m, u] == seg[m, l]
    ](m1[m, u, a] * m1[m, j, a] * r[l] * E[a])
""",
        (7, 33),
        time="n",
    )
