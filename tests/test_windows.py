"""Windows as sums of whole chunks: every form, width, chunk and direction against the definition."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc
from tensorc.backends.reference import run
from tensorc.forms import Forms
from tensorc.passes.pipeline import Log, NotLinear
from tests.agreement import check_forms

HEAD = "def f(q[n, d], k[n, d], v[n, e], g[n], G[n, d], a[n], b[n], seg[n], w=5) -> o[n, e]:\n"
SUM = "o[i, x] = sum[{domain}]({decay} * q[i, c] * k[j, c] * v[j, x])"


def _sum(domain: str, decay: str = "1") -> str:
    return HEAD + "    " + SUM.format(domain=domain, decay=decay)


PROGRAMS = {
    "plain": _sum("i - w < j <= i"),
    "strict": _sum("i - w <= j < i"),
    "log gates": _sum("i - w < j <= i", "exp(sum[j < u <= i](g[u]))"),
    "channels": _sum("i - w < j <= i", "exp(sum[j < u <= i](G[u, c]))"),
    "products": _sum("i - w < j <= i", "prod[j < u <= i](a[u])"),
    "products, ends apart": _sum("i - w < j <= i", "prod[j < u < i](a[u])"),
    "both ends": _sum("i - w < j < i", "prod[j <= u <= i](a[u])"),
    "constant": _sum("i - w < j <= i", "0.9 ** (i - j)"),
    "segments": _sum("i - w < j <= i, seg[i] == seg[j]"),
    "two windows": _sum("i - w < j <= i, i - 7 < j"),
    "later": _sum("i <= j < i + w", "exp(sum[i <= u < j](g[u]))"),
    "counts": HEAD + "    o[i, x] = sum[j, i - w < j <= i](1) * v[i, x] + sum[i - w < j <= i](j * v[j, x])",
    "positions": HEAD + "    o[i, x] = sum[j, i - w < j <= i](0.5 ** (i - j) * j) * v[i, x]",
    "gates of their own features": "def f(b[n], R[d, e], h[d], g[n, e], w=5) -> o[n]:\n"
    "    o[i] = sum[x, c, i - w < j <= i](exp(sum[j < u <= i](g[u, x])) * h[c] ** (i - j) * b[j] * R[c, x])",
    "a feature of gates alone": "def f(b[n], h[d], w=5) -> o[n]:\n"
    "    o[i] = sum[c, i - w < j <= i](h[c] ** (i - j) * b[j])",
    "ratio": HEAD + "    s[i, j] = (q[i, c] ** 2) * (1 + k[j, c] ** 2)\n"
    "    o[i, x] = sum[i - w < j <= i](s[i, j] * v[j, x]) / (1 + sum[i - w < j <= i](s[i, j]))",
    "polynomial": HEAD + "    s[i, j] = q[i, c] * k[j, c]\n"
    "    o[i, x] = sum[i - w < j <= i]((1 + s[i, j] + s[i, j] ** 2 / 2) * v[j, x])",
    "third power": HEAD + "    o[i, x] = sum[i - w < j <= i]((q[j, c] * k[i, c]) ** 3 * v[j, x])",
    "of a window": HEAD + "    s[i, j] = q[i, c] * k[j, c]\n"
    "    o[i, x] = sum[j - w < u <= j, i - w - 1 < j <= i](s[i, u] * s[j, u] * v[j, x])",
    "own result": HEAD
    + "    y[i, x] = b[i] * (v[i, x] - 0.1 * sum[i - w < j < i](k[i, c] * k[j, c] * y[j, x]))\n"
    "    o[i, x] = sum[i - w < j <= i](q[i, c] * k[j, c] * y[j, x])",
    "own result, gated": HEAD + "    D[i, j] = exp(sum[j < u <= i](g[u]))\n"
    "    y[i, x] = b[i] * (v[i, x] - 0.1 * sum[i - w < j < i](D[i, j] * k[i, c] * k[j, c] * y[j, x]))\n"
    "    o[i, x] = sum[i - w < j <= i](D[i, j] * q[i, c] * k[j, c] * y[j, x])",
    "beside a softmax": HEAD + "    p[i, j] = softmax[j, j <= i](q[i, c] * k[j, c])\n"
    "    o[i, x] = sum[i - w < j <= i](q[i, c] * k[j, c] * v[j, x]) + p[i, j] * v[j, x]",
}


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window is gone through as a band of pairs, however narrow."""
    stages = Forms._stages

    def without(self: Forms, sizes: dict[str, int], bands: bool) -> object:
        return (NotLinear("not here", "", None), Log()) if bands else stages(self, sizes, bands)

    monkeypatch.setattr(Forms, "_stages", without)


def _kinds(operator: tensorc.Operator, **sizes: int) -> set[str]:
    plan = operator.forms.plan("chunkwise", operator.forms.example_sizes(sizes))
    return {type(step).__name__ for loop in plan.loops for step in loop.body}


def _inputs(program: tensorc.Program, sizes: dict[str, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    found = []
    for decl in program.inputs:
        shape = tuple(a.value(sizes) for a in decl.axes)
        array = rng.normal(size=shape)
        if decl.name == "seg":
            array = np.sort(rng.integers(0, 4, shape))
        elif decl.name in ("g", "G"):
            array = -np.abs(array)
        elif decl.name == "a":
            array *= rng.random(shape) > 0.2
        found.append(array)
    return found


@pytest.mark.usefixtures("sums")
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_form_is_the_definition(name: str) -> None:
    text = PROGRAMS[name]
    operator = tensorc.compile(text, time="n")
    assert "Slide" in _kinds(operator)
    operator.verify(time_limit=1.5)
    check_forms(text, (5, 17, 40), time="n")


@pytest.mark.usefixtures("sums")
@pytest.mark.parametrize("name", PROGRAMS)
def test_widths_and_chunks(name: str) -> None:
    """Widths of no, one and several whole chunks, and what is left over; the last chunk is shorter."""
    program = tensorc.parse(PROGRAMS[name])
    sizes = {"n": 37, "d": 3, "e": 2}
    inputs = _inputs(program, sizes)
    for width in (0, 1, 2, 3, 7, 12, 20, 100):
        gold = run(program, *inputs, sizes={"w": width})
        operator = tensorc.compile(program, time="n", sizes={"w": width})
        known = operator.forms.example_sizes({}) | sizes | {"w": width}
        function, _ = operator.forms.function("chunkwise", known)
        for chunk in (1, 2, 3, 5, 8, 64):
            (found,), _ = function(*inputs, chunk=chunk)
            np.testing.assert_allclose(found, gold, rtol=1e-8, atol=1e-9, err_msg=f"{width=} {chunk=}")


@pytest.mark.usefixtures("sums")
@pytest.mark.parametrize("name", ["plain", "log gates", "products", "own result, gated", "polynomial"])
def test_states_go_from_form_to_form(name: str) -> None:
    """A prefix in chunks, tokens, and again chunks, all from rings of w - 1 rows."""
    program = tensorc.parse(PROGRAMS[name])
    inputs = _inputs(program, {"n": 60, "d": 3, "e": 2})
    for width in (1, 4, 23):
        whole = tensorc.compile(program, time="n", sizes={"w": width}, form="parallel")(*inputs)
        operator = tensorc.compile(program, time="n", sizes={"w": width}, form="chunkwise")
        found, state = operator.prefill(*(x[:31] for x in inputs))
        parts = [found]
        for at in range(31, 35):
            row, state = operator.step(state, *(x[at] for x in inputs))
            parts.append(row[None])
        found, state = operator.prefill(*(x[35:] for x in inputs), state=state)
        np.testing.assert_allclose(np.concatenate([*parts, found]), whole, rtol=1e-8, atol=1e-9)


@pytest.mark.usefixtures("sums")
@pytest.mark.parametrize("name", ["plain", "channels", "constant", "later", "ratio", "own result"])
def test_gradients_are_sums_of_windows(name: str) -> None:
    program = tensorc.grad(PROGRAMS[name])
    operator = tensorc.compile(program, time="n")
    assert "Slide" in _kinds(operator)
    check_forms(str(program), (17, 40), time="n", sizes={"w": 7})


@pytest.mark.usefixtures("sums")
@pytest.mark.parametrize("name", ["plain", "channels", "products", "segments", "own result, gated", "later"])
def test_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    inputs = _inputs(tensorc.parse(PROGRAMS[name]), {"n": 200, "d": 3, "e": 2})
    grads = []
    for form in ("chunkwise", "parallel"):
        operator = tensorc.compile(PROGRAMS[name], backend="torch", time="n", sizes={"w": 70}, form=form)
        tensors = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        out = operator(*tensors)
        gold = tensorc.compile(PROGRAMS[name], time="n", sizes={"w": 70}, form="parallel")(*inputs)
        np.testing.assert_allclose(out.detach().numpy(), gold, rtol=1e-8, atol=1e-9)
        with torch.no_grad():
            np.testing.assert_allclose(operator(*tensors).numpy(), gold, rtol=1e-8, atol=1e-9)
        out.square().sum().backward()
        grads.append([t.grad for t in tensors])
    for mine, other in zip(*grads, strict=True):
        if other is not None:
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


def test_the_cost_does_not_grow_with_the_width() -> None:
    flops, chosen = [], []
    for width in (16, 1024, 4096):
        operator = tensorc.compile(PROGRAMS["plain"], time="n", sizes={"w": width})
        sizes = {"n": 16384, "d": 64, "e": 64, "w": width}
        flops.append(operator.report(**sizes).to_dict()["forms"]["chunkwise"]["flops"])
        chosen.append(_kinds(operator, d=64, e=64) & {"Slide", "Stream"})
    assert chosen == [{"Stream"}, {"Slide"}, {"Slide"}]
    assert flops[2] < 1.1 * flops[1]


def test_nothing_is_taken_away_again() -> None:
    """What a window has left behind is gone without a trace, however large it was."""
    operator = tensorc.compile(PROGRAMS["plain"], time="n", sizes={"w": 256}, form="chunkwise")
    inputs = [x.astype(np.float32) for x in _inputs(operator.program, {"n": 1500, "d": 8, "e": 8})]
    before = operator(*inputs)[600:]
    inputs[2][:300] *= 1e30
    np.testing.assert_array_equal(operator(*inputs)[600:], before)


def test_a_token_before_the_window_may_be_nan() -> None:
    operator = tensorc.compile(PROGRAMS["plain"], time="n", sizes={"w": 256}, form="chunkwise")
    inputs = _inputs(operator.program, {"n": 1000, "d": 8, "e": 8})
    inputs[2][100] = np.nan
    assert np.isfinite(operator(*inputs)[100 + 256 + 128 :]).all()


def test_a_window_beside_a_path_is_a_band() -> None:
    text = _sum("u <= j <= i, i - w < u", "k[u, c]")
    operator = tensorc.compile(text, time="n")
    assert "Slide" not in _kinds(operator)
    operator.verify(time_limit=1.5)
