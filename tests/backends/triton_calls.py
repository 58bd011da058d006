"""What calls of Triton operators do beside the definition: run as `python -m tests.backends.triton_calls` in
a process with TRITON_INTERPRET=1. Prints the names of the checks that passed."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import torch

import tensorc
from tensorc.backends.python_base import Batch
from tensorc.triton_tuning import stored
from tests.backends import triton_guard
from tests.backends.triton_others import OTHERS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def operator(name: str, **options: Any) -> Any:
    """A program of the catalogue with small tiles."""
    form = options.pop("form", "auto")
    made = tensorc.compile(EXAMPLES / f"{name}.tc", form=form, backend="triton")
    made.options = {"chunk": 16, "columns": 16, "tile": 16} | options
    return made


def gold(name: str, *tensors: Any) -> Any:
    """What the PyTorch backend makes of the same numbers in float64."""
    return tensorc.compile(EXAMPLES / f"{name}.tc", backend="torch")(*(t.double() for t in tensors))


def draw(*shape: int) -> Any:
    return torch.randn(shape) / 2


def half() -> None:
    """float16 in and out, float32 between: the error is that of rounding the operands."""
    q, k, v = (draw(2, 35, 8).half() for _ in range(3))
    for name, split in product(("linear_attention", "sliding_window", "hla2"), (False, True)):
        found = operator(name, split=split)(q, k, v)
        assert found.dtype == torch.float16
        expected = gold(name, q, k, v)
        assert (found.double() - expected).abs().max() < 4e-3 * (1 + expected.abs().max())


def layouts() -> None:
    """Strides of any kind, expanded tensors, batch dimensions that some inputs lack."""
    q, k, v = draw(3, 2, 35, 8), draw(35, 8), draw(2, 35, 6)
    expected = gold("hla2", q, k, v)
    strided = q.transpose(0, 1).contiguous().transpose(0, 1)
    turned = v.mT.contiguous().mT
    for one, three in ((q, v), (strided, turned), (q[:, :1].expand_as(q), v)):
        wanted = expected if one is not q[:, :1] else gold("hla2", one, k, three)
        found = operator("hla2")(one, k, three)
        wanted = gold("hla2", one, k, three)
        assert (found.double() - wanted).abs().max() < 1e-5 * (1 + wanted.abs().max())


def in_place() -> None:
    """A step may write its states over the old ones; otherwise those stay."""
    q, k, v = draw(2, 9, 8), draw(2, 9, 8), draw(2, 9, 6)
    expected = gold("hla2", q, k, v)
    steady = operator("hla2")
    _, state = steady.prefill(q[:, :5], k[:, :5], v[:, :5])
    before = [t.clone() for t in state.tensors]
    row, after = steady.step(state, q[:, 5], k[:, 5], v[:, 5])
    assert all(torch.equal(a, b) for a, b in zip(before, state.tensors, strict=True))
    moving = operator("hla2", in_place=True)
    again, same = moving.step(state, q[:, 5], k[:, 5], v[:, 5])
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(state.tensors, same.tensors, strict=True))
    assert torch.equal(row, again)
    assert all(torch.equal(a, b) for a, b in zip(after.tensors, same.tensors, strict=True))
    assert (row.double() - expected[:, 5]).abs().max() < 1e-5 * (1 + expected.abs().max())


def shared() -> None:
    """Programs of a launch that store the same state: none reads what another has overwritten, and where
    there are no programs of that axis the state is stored still."""
    text = OTHERS["programs_that_share_a_state"]
    plain = tensorc.compile(text, backend="torch")
    for form, heads in product(("chunkwise", "recurrent"), (3, 0)):
        inputs = [draw(2, heads, 20), draw(2, 20, 5), draw(2, 20, 5), draw(2, 20, 6)]
        token = [x[..., 7] if k == 0 else x[:, 7] for k, x in enumerate(inputs)]
        _, expected = plain.prefill(*(x.double() for x in inputs))
        last, after = plain.step(expected, *(x.double() for x in token))
        for options in ({}, {"in_place": True, "tile": 4}, {"split": True}):
            made = tensorc.compile(text, form=form, backend="triton")
            made.options = {"chunk": 16} | options
            _, state = made.prefill(*inputs)
            assert (state.tensors[0] - expected.tensors[0]).abs().max() < 1e-5
            kept = state.tensors[0]
            found, state = made.step(state, *token)
            assert torch.allclose(found.double(), last, atol=1e-5)
            assert (state.tensors[0] - after.tensors[0]).abs().max() < 1e-5
            same = state.tensors[0].data_ptr() == kept.data_ptr()
            assert same == ("in_place" in options)


def alone() -> None:
    """One token, with states tile by tile: results and states are those of states held whole."""
    widths = {"d": 19, "e": 17, "n": 9, "h": 2, "r": 2, "m": 5, "w": 4}
    for name in "linear_attention hla2 power gated_delta_rule triple mamba2 delta_product".split():
        made = operator(name, form="recurrent", split=True)
        plain = tensorc.compile(EXAMPLES / f"{name}.tc", backend="torch", form="recurrent")
        sizes = dict(made.program.defaults) | widths
        inputs = [draw(2, *(a.value(sizes) for a in d.axes)) / 2 for d in made.program.inputs]
        axes = [1 + d.axes.index(made.time) if made.time in d.axes else None for d in made.program.inputs]

        def token(k: int, axes: Any = axes, inputs: Any = inputs) -> list[Any]:
            return [x if a is None else x.select(a, k) for x, a in zip(inputs, axes, strict=True)]

        state, expected = made.init_state(*token(0)), plain.init_state(*(x.double() for x in token(0)))
        for k in range(4):
            made.options = dict(made.options) | {"in_place": k > 1}
            found, state = made.step(state, *token(k))
            gold, expected = plain.step(expected, *(x.double() for x in token(k)))
            for a, b in zip([found, *state.tensors], [gold, *expected.tensors], strict=True):
                assert (a.double() - b).abs().max() < 1e-5 * (1 + b.abs().max()), name


def options() -> None:
    """Options that are set between calls hold for the next, and what is no option is refused."""
    q, k, v = draw(2, 20, 8), draw(2, 20, 8), draw(2, 20, 6)
    made = operator("linear_attention")
    first = made(q, k, v)
    kernels = []
    made.options = {"chunk": 32, "split": True}
    plain = made.forms.function
    made.forms.function = lambda *a: (kernels.append(a), plain(*a))[1]
    assert (made(q, k, v) - first).abs().max() < 1e-5 and kernels
    for wrong in ({"chunk": 17}, {"chunks": 16}, {"split": "yes"}, {"tile": 3}, {"precision": "fp8"}, None):
        try:
            made.options = wrong
        except tensorc.BackendError as error:
            assert "option" in str(error)
        else:
            raise AssertionError(f"{wrong} was taken")
    assert dict(made.options) == {"chunk": 32, "split": True}


def wide_chunks() -> None:
    """The chunk shapes no state, and triangular systems are right in all of them."""
    q, k, v, beta = draw(1, 70, 8), draw(1, 70, 8), draw(1, 70, 6), torch.rand(1, 70)
    expected = gold("delta_rule", q, k, v, beta)
    for chunk in (16, 32, 64, 128):
        found, state = operator("delta_rule", chunk=chunk).prefill(q, k, v, beta)
        assert state.tensors[0].shape == (1, 8, 6)
        assert (found.double() - expected).abs().max() < 1e-5 * (1 + expected.abs().max())


def strong_gates() -> None:
    """Decays of −20 a token, and log gates of −inf, in long chunks: no overflow, no NaN."""
    q, k, v = draw(1, 70, 8), draw(1, 70, 8), draw(1, 70, 6)
    g = -20 * torch.rand(1, 70, 8)
    g[:, 30:50] *= 0.001
    g[:, 40, :3] = -torch.inf
    for name, gates in (("gated", g), ("scalar_gated", g[..., 0])):
        expected = gold(name, q, k, v, gates)
        for options in ({"chunk": 64}, {"chunk": 32, "split": True}):
            found = operator(name, **options)(q, k, v, gates)
            assert (found.double() - expected).abs().max() < 1e-5 * (1 + expected.abs().max())


def refusals() -> None:
    """What cannot run says so."""
    x = torch.zeros(4, 2, dtype=torch.float64)
    try:
        operator("linear_attention")(x, x, x)
    except tensorc.BackendError as error:
        assert "float64" in str(error)
    else:
        raise AssertionError("float64 was taken")


def too_large() -> None:
    """What Triton says against a kernel is an error of this package."""
    text = tensorc.grad(OTHERS["one_over_what_is_not_there"])
    made = tensorc.compile(text, backend="triton")
    made.options = {"chunk": 16, "columns": 32, "tile": 16, "split": True}
    sizes = {"n": 20, "d": 19, "e": 17}
    inputs = [draw(*(a.value(sizes) for a in d.axes)) for d in text.inputs]
    try:
        made(*inputs)
    except tensorc.BackendError as error:
        assert "exceeds triton maximum tensor numel" in str(error)
    else:
        raise AssertionError("it fits now: take another program")


def packed() -> None:
    """Documents in one sequence."""
    q, k, v = draw(2, 40, 8), draw(2, 40, 8), draw(2, 40, 6)
    found = operator("linear_attention")(q, k, v, cu_seqlens=[0, 17, 17, 40])
    parts = [[x[:, a:b] for x in (q, k, v)] for a, b in ((0, 17), (17, 40))]
    expected = torch.cat([gold("linear_attention", *part) for part in parts], 1)
    assert (found.double() - expected).abs().max() < 1e-5 * (1 + expected.abs().max())


def tuning() -> None:
    """Options are measured, used, and kept under a key without the length."""
    q, k, v = draw(2, 20, 8), draw(2, 20, 8), draw(2, 20, 6)
    made = tensorc.compile(EXAMPLES / "linear_attention.tc", backend="triton")
    made.options = {"tile": 16}
    options = made.tune(q, k, v)
    assert options["tile"] == 16
    found, expected = made(q, k, v), gold("linear_attention", q, k, v)
    assert (found.double() - expected).abs().max() < 1e-5 * (1 + expected.abs().max())
    sizes, device = {"n": 20, "d": 8, "e": 6}, torch.device("cpu")
    float32 = Batch(typed=frozenset("qkv"))
    key = made.forms.key("chunkwise", sizes, float32, device)
    assert key == made.forms.key("chunkwise", sizes | {"n": 900}, float32, device)
    assert key != made.forms.key("chunkwise", sizes | {"d": 16}, float32, device)
    assert stored(key) is not None


def whole() -> None:
    """The parallel form, which has no chunks."""
    for n in (1, 20):
        q, k, v = draw(n, 8), draw(n, 8), draw(n, 6)
        found, expected = (
            operator("linear_attention", form="parallel")(q, k, v),
            gold("linear_attention", q, k, v),
        )
        assert (found.double() - expected).abs().max() < 1e-5 * (1 + expected.abs().max())


THREE = """
def f(q[n, d], k[n, d], v[n, e], l[n, d], u[n, e], p[n, d], t[n, e]) -> o[n, e]:
    w[i, x] = v[i, x] - sum[j < i](k[i, c] * (k[j, c] * w[j, x] + l[j, c] * z[j, x] + p[j, c] * y[j, x]))
    z[i, x] = u[i, x] - sum[j < i](l[i, c] * (k[j, c] * w[j, x] + p[j, c] * y[j, x]))
    y[i, x] = t[i, x] - sum[j < i](p[i, c] * l[j, c] * z[j, x]) - p[i, c] * k[i, c] * w[i, x]
    o[i, x] = sum[j <= i](q[i, c] * (k[j, c] * w[j, x] + l[j, c] * z[j, x] + p[j, c] * y[j, x]))
"""
TWO = """
def f(q[n, d], k[m, h, d], v[m, h, e]) -> o[n, e]:
    o[i, x] = softmax[j, a](q[i, c] * k[j, a, c]) * v[j, a, x]
"""
FEATURES = """
def f(q[n, d, e], k[n, d], v[n, e]) -> o[n]:
    p[i, a, b] = softmax[a, b](q[i, a, b])
    o[i] = sum[j <= i](p[i, a, b] * k[j, a] * v[j, b])
"""
DECAYS = """
def f(A[n], v[n, e], G[n, d]) -> o[n, e]:
    D[j, u, c] = exp(2 * sum[u < t <= j](G[t, c]))
    o[i, x] = sum[u, l, c, j, j >= i, u < j, l <= u](A[l] * A[j] * D[j, u, c] * v[u, x])
"""
WAVES = """
def f(v[n, e], t[]) -> o[n, e]:
    o[i, x] = cos(t) * sum[j <= i](sin(2.5) * cos(t * 1000 * (j % 3)) * v[j, x])
"""


def unlisted() -> None:
    """Three unknowns a token, of which one meets another at other tokens alone; softmax over two axes of
    columns, and of features; decays with no factor beside them; cosines of large numbers."""
    unknowns = [draw(40, width) * 0.6 for width in (8, 8, 5, 8, 5, 8, 5)]
    columns = [draw(20, 8), draw(18, 3, 8), draw(18, 3, 5)]
    features = [draw(20, 5, 6), draw(20, 5), draw(20, 6)]
    waves = [draw(40, 5), torch.tensor(60.0)]
    decays = [draw(19), draw(19, 16), -draw(19, 17).abs()]
    cases = ((THREE, unknowns), (TWO, columns), (FEATURES, features), (DECAYS, decays), (WAVES, waves))
    for text, inputs in cases:
        expected = tensorc.compile(text, backend="torch")(*(x.double() for x in inputs))
        for split in (False, True):
            made = tensorc.compile(text, backend="triton")
            made.options = {"chunk": 16, "columns": 16, "split": split}
            assert (made(*inputs).double() - expected).abs().max() < 1e-5 * (1 + expected.abs().max())


def main() -> None:
    torch.manual_seed(0)
    triton_guard.install()
    for check in (
        half,
        layouts,
        in_place,
        shared,
        alone,
        options,
        wide_chunks,
        strong_gates,
        refusals,
        too_large,
        packed,
        tuning,
        whole,
        unlisted,
    ):
        check()
        print(check.__name__, flush=True)


if __name__ == "__main__":
    main()
