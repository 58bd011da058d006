"""One operator called in turn with inputs of all kinds: what it remembers of one call serves no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorc

GATED = """
def f(q[n, d], k[n, d], v[n, e], g[n], s[]) -> o[n, e]:
    o[i, x] = s * sum[j <= i](exp(sum[j < u <= i](g[u])) * q[i, c] * k[j, c] * v[j, x])
"""
SOFTMAX = """
def f(q[n, d], k[n, d], v[n, e], keep[n], s[]) -> o[n, e]:
    p[i, j] = softmax[j <= i, keep[j] != 0](s * q[i, c] * k[j, c])
    o[i, x] = p[i, j] * v[j, x]
"""
BATCHES: tuple[tuple[int, ...], ...] = ((), (), (1,), (2,), (3, 1), (3, 2))
KINDS = ("float32", "float64", "float64", "int64")


def inputs(program: Any, rng: np.random.Generator) -> list[Any]:
    """Small sizes that come back, batches that broadcast, mixed dtypes, strides of all kinds."""
    sizes = {"n": int(rng.choice([1, 2, 6, 70])), "d": int(rng.choice([1, 3])), "e": 2}
    found = []
    for decl in program.inputs:
        batch = BATCHES[rng.integers(len(BATCHES))]
        x = rng.integers(-2, 2, batch + tuple(a.value(sizes) for a in decl.axes))
        x = (-abs(x) if decl.name == "g" else x).astype(KINDS[rng.integers(len(KINDS))])
        found.append(x.T.copy().T if rng.integers(2) else x)
    return found


def rows(arrays: list[Any], program: Any, where: object) -> list[Any]:
    return [
        a[(..., where, *[slice(None)] * (len(d.axes) - 1))] if d.axes else a
        for a, d in zip(arrays, program.inputs, strict=True)
    ]


def close(found: Any, gold: Any) -> None:
    found = np.asarray(found.detach() if hasattr(found, "detach") else found)
    tolerance = 1e-4 if found.dtype == np.float32 else 1e-10
    assert found.shape == gold.shape
    assert np.allclose(found, gold, tolerance, tolerance)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("text", [GATED, SOFTMAX], ids=["gated", "softmax"])
@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent", "auto"])
def test_any_calls_in_any_order(text: str, backend: str, form: str) -> None:
    torch = pytest.importorskip("torch") if backend == "torch" else None
    operator = tensorc.compile(text, backend=backend, form=form)
    program, rng = operator.program, np.random.default_rng(0)
    for turn in range(60):
        arrays = inputs(program, rng)
        if all(a.dtype == np.int64 for a, d in zip(arrays, program.inputs, strict=True) if d.axes):
            continue
        gold = tensorc.compile(program, backend="reference")(*arrays).astype(np.float64)
        given = arrays
        if torch is not None:
            given = [torch.tensor(a) for a in arrays]
            grad = [t.requires_grad_(turn % 3 == 0 and t.is_floating_point()) for t in given]
            assert len(grad) == 5
        close(operator(*given), gold)
        if form == "parallel":
            continue
        cut = len(gold[..., 0]) if gold.ndim == 2 else gold.shape[-2]
        cut = cut // 2
        if cut:
            found, state = operator.prefill(*rows(given, program, slice(0, cut)))
            close(found, gold[..., :cut, :])
            found, state = operator.step(state, *rows(given, program, cut))
            close(found, gold[..., cut, :])


def test_a_state_of_another_backend_is_refused() -> None:
    torch = pytest.importorskip("torch")
    text = "def f(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])"
    one, two = tensorc.compile(text), tensorc.compile(text, backend="torch")
    _, state = one.prefill(np.ones((3, 2)))
    x = torch.ones(2, dtype=torch.float64)
    with pytest.raises(tensorc.TensorcError, match="of another backend: it holds a ndarray"):
        two.step(state, x)
    with pytest.raises(tensorc.TensorcError, match="of another backend"):
        two(torch.ones(3, 2, dtype=torch.float64), state=state)
    _, state = two.prefill(torch.ones(3, 2, dtype=torch.float64))
    with pytest.raises(tensorc.TensorcError, match="of another backend: it holds a Tensor"):
        one.step(state, np.ones(2))
