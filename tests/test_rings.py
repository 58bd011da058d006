"""Windows keep a ring of rows: a state of constant size, the same however a sequence is cut."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc

WINDOWS = {
    "inclusive": "o[i, x] = sum[i - w < j <= i](q[i, c] * k[j, c] * v[j, x])",
    "strict": "o[i, x] = sum[i - w <= j < i](q[i, c] * k[j, c] * v[j, x])",
    "gap": "o[i, x] = sum[i - w < j < i - 2](q[i, c] * k[j, c] * v[j, x])",
    "normaliser": "o[i, x] = sum[i - w < j <= i](q[i, c] ** 2 * k[j, c] ** 2 * v[j, x])"
    " / (1 + sum[i - w < j <= i](q[i, c] ** 2 * k[j, c] ** 2))",
    "decay": "o[i, x] = sum[i - w < j <= i](0.9 ** (i - j) * q[i, c] * k[j, c] * v[j, x])",
    "softmax": "p[i, j] = softmax[j, i - w < j <= i](q[i, c] * k[j, c])\n    o[i, x] = p[i, j] * v[j, x]",
    "two widths": "o[i, x] = sum[i - w < j <= i](q[i, c] * k[j, c] * v[j, x])"
    " + sum[i - 3 < j <= i](k[j, c] * v[j, x] * q[i, c])",
    "second order": "z[i, x] = sum[i - w < j <= i](k[i, c] * k[j, c] * v[j, x])\n"
    "    o[i, x] = sum[i - w < j <= i](q[i, c] * k[j, c] * z[j, x])",
    "own result": "o[i, x] = v[i, x] - sum[i - w <= j < i](q[i, c] * k[j, c] * o[j, x])",
    "maximum": "m[i] = max[j, i - w < j <= i](k[j, c] * q[i, c])\n    o[i, x] = m[i] * v[i, x]",
}


def program(name: str) -> str:
    body = WINDOWS[name]
    return f"def f(q[n, d], k[n, d], v[n, e], w=5) -> o[n, e]:\n    {body}"


def inputs(n: int, batch: tuple[int, ...] = ()) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(n)
    return tuple(random.normal(size=(*batch, n, f)) / 2 for f in (3, 3, 2))


@pytest.mark.parametrize("width", [0, 1, 2, 5, 64])
@pytest.mark.parametrize("name", WINDOWS)
def test_every_form_is_the_definition(name: str, width: int) -> None:
    compiled = tensorc.compile(program(name), sizes={"w": width})
    compiled.verify()


@pytest.mark.parametrize("width", [1, 2, 5, 64])
@pytest.mark.parametrize("name", WINDOWS)
def test_a_sequence_cut_into_calls_and_tokens_is_the_whole(name: str, width: int) -> None:
    arrays = inputs(29, (2,))
    whole = tensorc.compile(program(name), backend="reference", sizes={"w": width})(*arrays)
    compiled = tensorc.compile(program(name), sizes={"w": width})
    state, parts = None, []
    for start, stop in ((0, 1), (1, 8), (8, 8), (8, 23)):
        o, state = compiled.prefill(*(a[..., start:stop, :] for a in arrays), state=state)
        parts.append(o)
    for t in range(23, 29):
        o, state = compiled.step(state, *(a[..., t, :] for a in arrays))
        parts.append(o[..., None, :])
    np.testing.assert_allclose(np.concatenate(parts, axis=-2), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", WINDOWS)
def test_the_state_stops_growing(name: str) -> None:
    compiled = tensorc.compile(program(name))
    arrays = inputs(40)
    _, state = compiled.prefill(*(a[:12] for a in arrays))
    shapes = [t.shape for t in state.tensors]
    for t in range(12, 40):
        _, state = compiled.step(state, *(a[t] for a in arrays))
        assert [x.shape for x in state.tensors] == shapes
    assert all(shape[0] <= 5 for shape in shapes)
    for tensor in state.tensors:
        rows = tensor.shape[-1]
        while tensor.base is not None:
            tensor = tensor.base
        assert tensor.size <= 16 * rows  # the memory behind it neither


def test_old_states_stay_valid() -> None:
    compiled = tensorc.compile(program("inclusive"))
    arrays = inputs(40)
    _, state = compiled.prefill(*(a[:20] for a in arrays))
    once = again = state
    for _ in range(2):
        results = []
        once = state
        for t in range(20, 40):
            o, after = compiled.step(once, *(a[t] for a in arrays))
            compiled.step(once, *(a[t] + 1 for a in arrays))  # another future of the same state
            results.append(o)
            once = after
        if again is not state:
            np.testing.assert_array_equal(again, np.stack(results))
        again = np.stack(results)


def test_reports_count_the_ring() -> None:
    compiled = tensorc.compile(program("inclusive"), sizes={"w": 128})
    for n in (4096, 65536):
        forms = compiled.report(n=n, d=64, e=32).to_dict()["forms"]
        assert forms["recurrent"]["state_elements"] == 127 * (64 + 32)
        assert forms["chunkwise"]["state_elements"] == 127 * (64 + 32)
        assert forms["recurrent"]["flops"] < 128 * n * 4 * (64 + 32)
    text = str(compiled.report(n=4096, d=64, e=32))
    assert "a ring: a row for each of the last w - 1 tokens" in " ".join(text.split())


def test_one_fold_without_a_limit_keeps_all_rows() -> None:
    source = (
        "def f(q[n, d], k[n, d], v[n, e], w=5) -> o[n, e], z[n]:\n"
        "    o[i, x] = sum[i - w < j <= i](q[i, c] * k[j, c] * v[j, x])\n"
        "    z[i] = max[j, j <= i](q[i, c] * k[j, c])"
    )
    compiled = tensorc.compile(source)
    compiled.verify()
    _, state = compiled.prefill(*inputs(19))
    assert {t.shape[0] for t in state.tensors} == {19}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_torch_keeps_the_same_ring(name: str, grad: bool) -> None:
    torch = pytest.importorskip("torch")
    arrays = inputs(20, (2,))
    whole = tensorc.compile(program(name), backend="reference")(*arrays)
    compiled = tensorc.compile(program(name), backend="torch")
    given = [torch.from_numpy(a).requires_grad_(grad) for a in arrays]
    state, parts = None, []
    for start, stop in ((0, 1), (1, 9), (9, 14)):
        o, state = compiled.prefill(*(a[:, start:stop] for a in given), state=state)
        parts.append(o)
    for t in range(14, 20):
        o, state = compiled.step(state, *(a[:, t] for a in given))
        parts.append(o[:, None])
    found = torch.cat(parts, 1).detach().numpy()
    np.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-9)
    assert all(t.shape[1] <= 5 for t in state.tensors)
