"""Generated PyTorch source: all forms of all programs against the definition, dtypes, layouts, gradients."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from functools import cache, partial
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tests.backends.numpy_programs import (
    PROGRAMS,
    as_tuple,
    forms_of,
    inputs_of,
    program,
    sizes_of,
)

torch = pytest.importorskip("torch")

from tensorc.backends.python_base import Batch  # noqa: E402
from tensorc.backends.python_names import Names  # noqa: E402
from tensorc.backends.torch_source import torch_source  # noqa: E402

SOME = (
    "linear_attention hla2 normalised gated retention delta_rule gated_delta_rule triple kept chosen ends "
    "both_ways gated_recurrence grouped scalars weights alibi_window documents"
).split()
LINEAR = PROGRAMS["linear_attention"]


@cache
def operator(name: str, form: str) -> Any:
    return tensorc.compile(program(name), backend="torch", form=form)


@cache
def definition(name: str) -> Any:
    return tensorc.compile(program(name), backend="reference")


def tensors(arrays: list[np.ndarray], grad: bool = False) -> list[Any]:
    made = [torch.tensor(a[()]) if a.ndim == 0 else torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]
    return [t.requires_grad_() if grad and t.is_floating_point() else t for t in made]


def assert_near(found: Any, expected: Any, tolerance: float) -> None:
    """Equal shapes, and the largest difference within a part of the largest value."""
    for one, two in zip(as_tuple(found), as_tuple(expected), strict=True):
        assert tuple(one.shape) == two.shape
        values, two = one.detach().double().numpy(), two.astype(np.float64)
        finite = np.isfinite(two)
        assert np.array_equal(values[~finite], two[~finite], equal_nan=True)
        scale = np.abs(two[finite]).max(initial=1e-30)
        assert np.abs(values[finite] - two[finite]).max(initial=0) <= tolerance * scale


CASES: list[tuple[dict[str, int], list[tuple[int, ...]]]] = [
    ({"n": 70, "m": 70}, [(2,), ()]),
    ({"n": 1, "m": 1}, [(3, 1), (2,)]),
    ({"n": 0, "m": 0}, [()]),
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_form_is_the_definition(name: str) -> None:
    for sizes, batches in CASES:
        inputs = inputs_of(name, sizes, batches)
        with np.errstate(all="ignore"):
            expected = definition(name)(*inputs)
        for form in forms_of(name):
            for grad in (False, True):
                given = tensors(inputs, grad)
                for _ in range(2):  # the second call goes straight to the function
                    assert_near(operator(name, form)(*given), expected, 1e-9)
                assert all(np.array_equal(a, t.detach().numpy()) for a, t in zip(inputs, given, strict=True))


@pytest.mark.parametrize("name", PROGRAMS)
def test_prefixes_and_tokens_go_on(name: str) -> None:
    f = operator(name, "auto")
    if not f.forms.streams():
        pytest.skip("no stream")
    inputs = inputs_of(name, {"n": 9}, [(2,), (1,)])
    with np.errstate(all="ignore"):
        expected = as_tuple(definition(name)(*inputs))
    given = tensors(inputs)
    axes = [d.axes.index(f.time) - len(d.axes) if f.time in d.axes else None for d in f.program.inputs]
    prefix = [t if k is None else t.narrow(k, 0, 4) for t, k in zip(given, axes, strict=True)]
    out, state = f.prefill(*prefix)
    rows = [[row] for row in as_tuple(out)]
    ends = [d.axes.index(f.time) - len(d.axes) for d in f.program.outputs]
    for i in range(4, 9):
        before = state.clone()
        token = [t if k is None else t.select(k, i) for t, k in zip(given, axes, strict=True)]
        out, after = f.step(state, *token)
        assert all(torch.equal(a, b) for a, b in zip(state.tensors, before.tensors, strict=True))
        for row, part, axis in zip(rows, as_tuple(out), ends, strict=True):
            row.append(part.unsqueeze(axis))
        state = after
    assert state.position == 9
    found = tuple(torch.cat(row, axis) for row, axis in zip(rows, ends, strict=True))
    assert_near(found, expected, 1e-9)


# -- dtypes, layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
def test_dtypes_are_followed(name: str, kind: str) -> None:
    dtype = getattr(torch, kind)
    given = [t.to(dtype) if t.is_floating_point() else t for t in tensors(inputs_of(name, {"n": 20}))]
    exact = [t.double().numpy() if t.is_floating_point() else t.numpy() for t in given]
    expected = definition(name)(*exact)
    for form in forms_of(name):
        f = operator(name, form)
        found = as_tuple(f(*given))
        assert {o.dtype for o in found} == {dtype}
        assert_near(found, expected, {"float32": 2e-5, "bfloat16": 2e-2, "float16": 3e-3}[kind])
        if form != "parallel" and f.forms.streams():
            _, state = f.prefill(*given)
            assert {t.dtype for t in state.tensors if t.is_floating_point()} <= {torch.float32}


def test_dtypes_promote_and_numbers_do_not() -> None:
    q, k, v, gamma = tensors(inputs_of("retention", {"n": 5}))
    f = operator("retention", "auto")
    assert f(q.float(), k, v, gamma).dtype == torch.float64
    assert f(q.half(), k.bfloat16(), v.half(), gamma).dtype == torch.float32
    assert f(q.half(), k.half(), v.half(), 0.5).dtype == torch.float16
    assert f(q.float(), k.float(), v.float(), gamma).dtype == torch.float32  # a scalar promotes nothing
    assert f(q.tolist(), k.tolist(), v.numpy(), 0.5).dtype == torch.float64


@pytest.mark.parametrize("name", SOME)
def test_layouts(name: str) -> None:
    inputs = inputs_of(name, {"n": 19}, [(2,), ()])
    expected = definition(name)(*inputs)
    plain = inputs_of(name, {"n": 19})
    alone = definition(name)(*plain)

    def strided(t: Any) -> Any:
        wide = torch.zeros([2 * n + 1 for n in t.shape], dtype=t.dtype)
        view = wide[tuple(slice(1, None, 2) for _ in t.shape)]
        return view.copy_(t) if t.dim() else t

    for form in forms_of(name):
        f = operator(name, form)
        assert_near(f(*map(strided, tensors(inputs))), expected, 1e-9)
        turned = [t.mT.contiguous().mT if t.dim() > 1 else t for t in tensors(inputs)]
        assert_near(f(*turned), expected, 1e-9)
        wide = [t.expand(3, *t.shape) for t in tensors(plain)]
        assert all(o.shape[0] == 3 for o in as_tuple(f(*wide)))
        assert_near(tuple(o[1] for o in as_tuple(f(*wide))), alone, 1e-9)


@pytest.mark.parametrize("name", SOME)
def test_outputs_are_new(name: str) -> None:
    for form in forms_of(name):
        given = tensors(inputs_of(name, {"n": 5}, [(2,), (1,)]))
        copies = [t.clone() for t in given]
        for out in as_tuple(operator(name, form)(*given)):
            if out.is_floating_point():
                out.mul_(0).add_(7)
        assert all(torch.equal(a, b) for a, b in zip(given, copies, strict=True))


# -- gradients through the source --------------------------------------------------------------------------

GRADIENTS = (
    "linear_attention hla2 normalised gated scalar_gated retention delta_rule gated_delta_rule triple "
    "gated_recurrence both_ways grouped weights ends alibi_window attention"
).split()


def first(function: Any, options: dict[str, Any], *inputs: Any) -> Any:
    """The outputs of a function that returns states, too."""
    return function(*inputs, **options)[0]


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_the_source(name: str) -> None:
    found, sizes = program(name), {"n": 5, "d": 2, "e": 2}
    given = tensors(inputs_of(name, sizes), grad=True)
    forms = operator(name, "auto").forms
    for form in forms_of(name):
        namespace: dict[str, Any] = {}
        exec(torch_source(found, forms.plan(form, sizes_of(name, sizes))), namespace)
        run = namespace[Names(found).function]
        outputs = (
            run if form == "parallel" else partial(first, run, {"chunk": 2} if form == "chunkwise" else {})
        )
        assert torch.autograd.gradcheck(outputs, given, fast_mode=True)


def test_states_carry_gradients() -> None:
    f = operator("delta_rule", "auto")
    q, k, v, beta = tensors(inputs_of("delta_rule", {"n": 8}), grad=True)
    o, state = f.prefill(q[:5], k[:5], v[:5], beta[:5])
    rest = f(q[5:], k[5:], v[5:], beta[5:], state=state)
    (one,) = torch.autograd.grad(rest.sum(), v, retain_graph=True)
    (two,) = torch.autograd.grad(f(q, k, v, beta)[5:].sum(), v)
    assert torch.allclose(one, two) and one[:5].abs().sum() > 0
    row, _ = f.step(state, q[5], k[5], v[5], beta[5])
    assert row.requires_grad


def test_only_calls_that_are_recorded_keep_what_autograd_needs() -> None:
    f = operator("linear_attention", "chunkwise")
    given = tensors(inputs_of("linear_attention", {"n": 5}), grad=True)
    assert f(*given).requires_grad
    with torch.no_grad():
        assert not f(*given).requires_grad
    with torch.inference_mode():
        found = f(*given)
    assert torch.equal(found, f(*given))


# -- the source --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_source_imports_torch_alone(name: str, overwrite: bool) -> None:
    forms = operator(name, "auto").forms
    for form in forms_of(name):
        text = torch_source(program(name), forms.plan(form, sizes_of(name)), Batch(overwrite=overwrite))
        assert set(re.findall(r"^import (\w+)", text, re.M)) <= {"torch", "math"}
        assert not re.search(r"\bnp\.|tensorc\.", text.replace("generated by tensorc.", ""))


def test_it_runs_where_there_is_no_tensorc(tmp_path: Path) -> None:
    text = operator("gated_delta_rule", "chunkwise").source(n=100, d=4, e=3)
    code = text + (
        "\nimport sys\nsys.modules['tensorc'] = None\n"
        "x = torch.ones(2, 70, 4).requires_grad_()\n"
        "(o,), _ = gated_delta_rule(x, x, x[..., :3], x[..., 0] / 2, -x[..., 0])\n"
        "o.sum().backward()\nprint(tuple(o.shape), bool(x.grad.isfinite().all()))\n"
    )
    (tmp_path / "alone.py").write_text(code)
    command = [sys.executable, "-I", str(tmp_path / "alone.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path)
    assert done.stdout.strip() == "(2, 70, 3) True"


def test_a_step_that_is_not_known_is_named() -> None:
    from tensorc.backends.torch_library import FUNCTIONAL
    from tensorc.backends.torch_sequence import TorchSequences

    class Unheard:
        pass

    plan = operator("linear_attention", "parallel").forms.plan("parallel", sizes_of("linear_attention"))
    writer = TorchSequences(program("linear_attention"), plan, FUNCTIONAL)
    with pytest.raises(tensorc.BackendError, match="Unheard"):
        writer.printer.print(Unheard())  # type: ignore[arg-type]


# -- the operator ------------------------------------------------------------------------------------------


def test_jit_on_functions_and_modules() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(4, 4)

        @tensorc.jit("q[n, d], k[n, d], v[n, e] -> o[n, e]", backend="torch")
        def mix(self, q: Any, k: Any, v: Any) -> Any:
            i, j, c, x = tensorc.indices("i j c x")
            return tensorc.sum(q[i, c] * k[j, c] * v[j, x], j <= i)[i, x]

        def forward(self, x: Any) -> Any:
            y = self.inner(x)
            return self.mix(y, y, k_to(x))

    def k_to(x: Any) -> Any:
        return x

    layer, x = Layer(), torch.randn(2, 7, 4)
    y = layer.inner(x)
    expected = torch.tril(y @ y.mT) @ x
    assert torch.allclose(layer(x), expected, atol=1e-5)
    layer(x).sum().backward()
    assert layer.inner.weight.grad is not None


def test_operators_are_copied_and_pickled() -> None:
    f = tensorc.compile(LINEAR, backend="torch", form="chunkwise", device="cpu")
    given = tensors(inputs_of("linear_attention"))
    for again in (copy.deepcopy(f), pickle.loads(pickle.dumps(f))):
        assert torch.equal(again(*given), f(*given))
        assert (again.backend, again.form, again.device) == ("torch", "chunkwise", torch.device("cpu"))


def test_autocast_leaves_the_dtypes_alone() -> None:
    given = [t.float() for t in tensors(inputs_of("linear_attention"))]
    f = operator("linear_attention", "chunkwise")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = f(*given)
    assert torch.equal(found, f(*given))


def test_verify_runs_this_source() -> None:
    result = tensorc.compile(LINEAR, backend="torch").verify()
    assert result.passed and result.backends == ("torch",) and all(c.source for c in result.checks)


def test_a_source_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorc.verify_torch as module

    def wrong(*arguments: Any) -> str:
        return torch_source(*arguments).replace(".tril(", ".triu(").replace(".tril_(", ".triu_(")

    monkeypatch.setattr(module, "torch_source", wrong)
    with pytest.raises(tensorc.VerificationError):
        tensorc.compile(LINEAR, backend="torch").verify()


def test_misuse_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = tensors(inputs_of("linear_attention"))
    f = operator("linear_attention", "auto")
    with pytest.raises(tensorc.ShapeError, match=r"k is on meta, but q is on cpu"):
        f(q, k.to("meta"), v)
    with pytest.raises(tensorc.TensorcError, match="complex"):
        f(q.to(torch.complex64), k, v)
    with pytest.raises(tensorc.ShapeError, match="d is 5 in q"):
        f(q, k[:, :2], v)
    _, state = f.prefill(q, k, v)
    with pytest.raises(tensorc.TensorcError, match="state=state"):
        f(q, k, v, state)
    with pytest.raises(tensorc.TensorcError, match="float64"):
        f.step(state, q[0].float(), k[0].float(), v[0].float())
    with pytest.raises(tensorc.BackendError, match="device"):
        tensorc.compile(LINEAR, backend="torch", device="nowhere")
    find = util.find_spec
    monkeypatch.setattr("tensorc.compiler.find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(tensorc.BackendError, match="not installed"):
        tensorc.compile(LINEAR, backend="torch")


@pytest.mark.parametrize("name", ["linear_attention", "scalar_gated", "delta_rule", "attention"])
def test_tensors_without_data(name: str) -> None:
    """On the meta device, which finds out shapes."""
    operator = tensorc.compile(program(name), backend="torch")
    sizes = operator.forms.example_sizes({"n": 70})
    shapes = [[axis.value(sizes) for axis in decl.axes] for decl in operator.program.inputs]
    given = [torch.empty(shape, device="meta", requires_grad=True) for shape in shapes]
    found = operator(*given)
    shape = tuple(axis.value(sizes) for axis in operator.program.outputs[0].axes)
    assert (found.device.type, tuple(found.shape)) == ("meta", shape)
    found.sum().backward()
    assert [t.grad.shape for t in given] == [t.shape for t in given]
