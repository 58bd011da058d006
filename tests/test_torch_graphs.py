"""Operators in graphs of PyTorch: torch.compile, torch.export, and the checks of torch.library."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tensorc
from tests.backends.numpy_programs import as_tuple, inputs_of, program

torch = pytest.importorskip("torch")

from tests.backends.test_torch import assert_near, definition, tensors  # noqa: E402

PROGRAMS = (
    "linear_attention hla2 normalised scalar_gated retention delta_rule attention grouped scalars "
    "two_outputs with_total documents"
).split()


@pytest.fixture(autouse=True)
def fresh() -> Any:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def operator(name: str, form: str = "auto") -> Any:
    return tensorc.compile(program(name), backend="torch", form=form)


def compiled(function: Any, **options: Any) -> Any:
    return torch.compile(function, fullgraph=True, **{"backend": "aot_eager", **options})


def graph_call(f: Any, given: list[Any]) -> Any:
    return compiled(lambda *x: f(*x))(*given)


class Calls(torch.nn.Module):
    def __init__(self, f: Any) -> None:
        super().__init__()
        self.f = f

    def forward(self, *given: Any) -> Any:
        return self.f(*given)


# -- torch.compile -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_calls_and_gradients(name: str) -> None:
    f, inputs = operator(name), inputs_of(name, {"n": 9}, [(2,), ()])
    given = tensors(inputs, grad=True)
    found = graph_call(f, given)
    assert_near(found, definition(name)(*inputs), 1e-9)
    by = [t for t in given if t.requires_grad]

    def pulled(outputs: Any) -> Any:
        total = sum((o**2).sum() for o in as_tuple(outputs) if o.requires_grad)
        return torch.autograd.grad(total, by, allow_unused=True)

    for one, two in zip(pulled(found), pulled(f(*given)), strict=True):
        one, two = (torch.zeros(()) if g is None else g for g in (one, two))
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-9)


def test_a_new_length_compiles_nothing() -> None:
    f = operator("delta_rule")
    step = compiled(lambda *x: f(*x).sum(), dynamic=True)
    sources = set[int]()
    for n in (70, 71, 200, 129):
        given = tensors(inputs_of("delta_rule", {"n": n}), grad=True)
        with torch._dynamo.config.patch(error_on_recompile=n != 70):
            step(*given).backward()
        sources.add(len(f.forms._functions))
    assert len(sources) == 1


def test_inductor() -> None:
    f = operator("linear_attention")
    q, k, v = (t.float().requires_grad_() for t in tensors(inputs_of("linear_attention", {"n": 70})))
    run = torch.compile(lambda q, k, v: f(torch.relu(q), k, v) * 2, fullgraph=True)
    expected = f(torch.relu(q), k, v) * 2
    assert torch.allclose(run(q, k, v), expected, atol=1e-4)
    (one,) = torch.autograd.grad(run(q, k, v).sum(), q)
    (two,) = torch.autograd.grad(expected.sum(), q)
    assert torch.allclose(one, two, atol=1e-3)


def test_numbers_keywords_and_mistakes() -> None:
    f = operator("retention")
    q, k, v, _ = tensors(inputs_of("retention", {"n": 7}))
    assert torch.allclose(compiled(lambda q, k, v: f(q, k, gamma=0.5, v=v))(q, k, v), f(q, k, v, 0.5))
    assert compiled(lambda q, k, v: f(q, k, v, 0.5))(q.half(), k.half(), v.half()).dtype == torch.float16
    with pytest.raises(Exception, match="each once"):
        compiled(lambda q, k: f(q, k, 0.5))(q, k)
    with pytest.raises(Exception, match="d is 5 in q"):
        compiled(lambda q, k, v: f(q, k, v, 0.5))(q, k[:, :2], v)
    with pytest.raises(Exception, match="packed documents outside"):
        compiled(lambda q, k, v: f(q, k, v, 0.5, cu_seqlens=[0, 7]))(q, k, v)


def test_states_in_compiled_code() -> None:
    f = operator("gated_delta_rule")
    given = tensors(inputs_of("gated_delta_rule", {"n": 12}, [(2,)]), grad=True)
    rows = [i.axes.index(f.time) - len(i.axes) for i in f.program.inputs]

    def streamed(*given: Any) -> Any:
        def part(start: int, stop: int) -> list[Any]:
            return [t.narrow(r, start, stop - start) for t, r in zip(given, rows, strict=True)]

        one, state = f.prefill(*part(0, 6))
        two, state = f.prefill(*part(6, 11), state=state)
        three, state = f.step(state, *(t.select(r, 11) for t, r in zip(given, rows, strict=True)))
        return torch.cat([one, two, three.unsqueeze(-2)], -2), state

    (found, state), expected = compiled(streamed)(*given), f(*given)
    assert torch.allclose(found, expected) and state.position == 12
    one = torch.autograd.grad(found.sum(), given)
    two = torch.autograd.grad(expected.sum(), given)
    assert all(torch.allclose(a, b) for a, b in zip(one, two, strict=True))
    with torch.no_grad():  # goes on in eager mode
        token = [t.detach().select(r, 0) for t, r in zip(given, rows, strict=True)]
        _, after = f.prefill(*given)
        assert torch.allclose(f.step(state, *token)[0], f.step(after, *token)[0])
        assert state.layout == after.layout


def test_caches_do_not_compile() -> None:
    f = operator("alibi")
    given = tensors(inputs_of("alibi", {"n": 5}))
    with pytest.raises(Exception, match="call prefill and step outside"):
        compiled(lambda *x: f.prefill(*x)[0])(*given)


def test_autocast_leaves_the_dtypes_alone() -> None:
    f = operator("linear_attention")
    q, k, v = (t.float() for t in tensors(inputs_of("linear_attention", {"n": 9})))
    expected = f(q, k, v)

    def run(q: Any, k: Any, v: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return f(q, k, v), f(q @ q.mT, torch.ones_like(q @ q.mT), v)

    one, two = compiled(run)(q, k, v)
    assert torch.equal(one, expected) and two.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        low = q @ k.mT
        assert f(low, low, low).dtype == torch.bfloat16


# -- functions written in Python ---------------------------------------------------------------------------


@tensorc.jit("q[n, d], k[n, d], v[n, e] -> o[n, e]", backend="torch")
def linear(q: Any, k: Any, v: Any, power: int = 1) -> Any:
    i, j, c, x = tensorc.indices("i j c x")
    s = (q[i, c] * k[j, c])[i, j]
    return tensorc.sum(s[i, j] ** power * v[j, x], j <= i)[i, x]


class Layer(torch.nn.Module):
    def __init__(self, power: int) -> None:
        super().__init__()
        self.inner, self.power = torch.nn.Linear(4, 4), power

    @tensorc.jit("q[n, d], k[n, d], v[n, e] -> o[n, e]", backend="torch")
    def mix(self, q: Any, k: Any, v: Any) -> Any:
        i, j, c, x = tensorc.indices("i j c x")
        s = (q[i, c] * k[j, c])[i, j]
        return tensorc.sum(s[i, j] ** self.power * v[j, x], j <= i)[i, x]

    def forward(self, x: Any) -> Any:
        y = self.inner(x)
        return self.mix(y, y, v=x)


def test_jit_under_compile() -> None:
    q, k, v = (torch.randn(2, 7, 4, requires_grad=True) for _ in range(3))
    squared = torch.tril(q @ k.mT) ** 2 @ v
    assert torch.allclose(compiled(lambda q, k, v: linear(q, k, v, power=2))(q, k, v), squared, atol=1e-4)
    assert torch.allclose(compiled(lambda *x: linear(*x))(q, k, v), torch.tril(q @ k.mT) @ v, atol=1e-4)
    operator = linear.compiled(power=2)
    assert torch.allclose(operator(q, k, v), squared, atol=1e-4)
    assert "def linear" in linear.source(n=8, d=4, e=4) and "linear" in str(linear.report(n=8, d=4, e=4))
    _, state = linear.prefill(q, k, v)
    assert linear.step(state, q[:, 0], k[:, 0], v[:, 0])[1].position == 8


@pytest.mark.parametrize("first", ["eager", "compiled"])
def test_jit_on_methods_under_compile(first: str) -> None:
    x = torch.randn(2, 7, 4)
    model = torch.nn.Sequential(Layer(1), Layer(2))
    expected = model(x) if first == "eager" else None
    found = compiled(model)(x)
    expected = model(x) if expected is None else expected
    assert torch.allclose(found, expected, atol=1e-4)
    (one,) = torch.autograd.grad(found.sum(), model[0].inner.weight)
    (two,) = torch.autograd.grad(expected.sum(), model[0].inner.weight)
    assert torch.allclose(one, two, rtol=1e-3, atol=1e-3)


def test_states_of_a_jitted_function_under_compile_are_explained() -> None:
    q, k, v = (torch.randn(7, 4) for _ in range(3))
    _, state = linear.prefill(q, k, v)
    with pytest.raises(Exception, match=r"f = linear\.compiled\(\)"):
        compiled(lambda q, k, v: linear(q, k, v, state=state))(q, k, v)


# -- torch.export, torch.library ---------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
def test_export_with_lengths_that_vary(strict: bool) -> None:
    f = operator("scalar_gated")
    length = torch.export.Dim("n", min=2, max=100_000)
    given = tensors(inputs_of("scalar_gated", {"n": 9}))
    shapes = (({0: length},) * 4,)
    exported = torch.export.export(Calls(f), tuple(given), dynamic_shapes=shapes, strict=strict)
    targets = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert "tensorc.call.default" in targets
    longer = tensors(inputs_of("scalar_gated", {"n": 200}))
    assert torch.equal(exported.module()(*longer), f(*longer))


def test_exported_programs_run_elsewhere(tmp_path: Path) -> None:
    """The graph says all there is to know: another process loads it and runs."""
    given = tensors(inputs_of("delta_rule", {"n": 9}))
    f = operator("delta_rule")
    torch.export.save(torch.export.export(Calls(f), tuple(given)), tmp_path / "f.pt2")
    torch.save([given, f(*given)], tmp_path / "data.pt")
    code = (
        "import torch, tensorc.torch_custom\n"
        f"given, expected = torch.load({str(tmp_path / 'data.pt')!r})\n"
        f"f = torch.export.load({str(tmp_path / 'f.pt2')!r}).module()\n"
        "print(torch.equal(f(*given), expected))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize("name", ["linear_attention", "normalised", "delta_rule", "two_outputs", "documents"])
def test_the_operations_are_sound(name: str) -> None:
    f = operator(name)
    given = tensors(inputs_of(name, {"n": 5}, [(2,), ()]), grad=True)
    call, vjp = torch.ops.tensorc.call.default, torch.ops.tensorc.vjp.default
    torch.library.opcheck(call, (f.text, given, None))
    if f.forms.streams() and name != "documents":
        torch.library.opcheck(call, (f.text, given, 0))
    outputs = as_tuple(f(*given))
    plain, needs = [t.detach() for t in given], [t.requires_grad for t in given]
    weights = [torch.randn_like(o) for o in outputs]
    torch.library.opcheck(vjp, (f.text, plain, weights, [True] * len(outputs), needs, None))


def test_strides_do_not_matter() -> None:
    f = operator("linear_attention")
    q, k, v = tensors(inputs_of("linear_attention", {"n": 9}))
    wide = [q.mT.contiguous().mT, k.expand(3, *k.shape), v[None]]
    found = graph_call(f, wide)
    assert found.shape == (3, *v.shape) and torch.allclose(found[2], f(q, k, v))
    torch.library.opcheck(torch.ops.tensorc.call.default, (f.text, wide, None))


def test_pickled_operators_are_the_same_operation() -> None:
    f = operator("linear_attention")
    buffer = io.BytesIO()
    torch.save(f, buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=False).text == f.text
