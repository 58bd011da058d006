"""Backward passes on PyTorch: gradient programs, and autograd through the source, against the definition."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tests.backends.numpy_programs import CATALOGUE, PROGRAMS, as_tuple, inputs_of, program

torch = pytest.importorskip("torch")

from tests.backends.test_torch import tensors  # noqa: E402

SMALL = {"n": 5, "m": 4, "d": 2, "e": 2, "w": 3}
FORMS = ("parallel", "chunkwise", "recurrent")


@cache
def operator(name: str, form: str = "auto", prefer: str = "program") -> Any:
    made = tensorc.compile(program(name), backend="torch", form=form)
    made.gradients.prefer = prefer
    return made


def recorded(name: str, batches: Any = ((),), sizes: Any = SMALL) -> list[Any]:
    return tensors(inputs_of(name, sizes, batches), grad=True)


def by_program(output: Any) -> bool:
    return type(output.grad_fn).__name__ == "RecordedBackward"


def gradients(f: Any, given: list[Any], seed: int = 0) -> list[Any]:
    """The gradients of a weighted sum of the outputs by the inputs that need one; 0 where there is none."""
    outputs = as_tuple(f(*given))
    random = np.random.default_rng(seed)
    weights = [torch.from_numpy(random.standard_normal(tuple(o.shape))).to(o.dtype) for o in outputs]
    by = [t for t in given if t.requires_grad]
    found = torch.autograd.grad(outputs, by, weights, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(by, found, strict=True)]


def assert_equal(one: list[Any], two: list[Any], tolerance: float = 1e-9) -> None:
    for a, b in zip(one, two, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert (a - b).abs().max() <= tolerance * (1 + b.abs().max())


# -- against numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOGUE)
def test_gradients_are_slopes_of_the_catalogue(name: str) -> None:
    f = operator(name)
    given = recorded(name)
    if name == "cosformer":  # keep its denominators from 0
        given = [t.detach().abs().requires_grad_() for t in given]
    fast = all(t.dim() for t in given)  # PyTorch's fast mode takes no scalars
    assert torch.autograd.gradcheck(f, given, fast_mode=fast)


@pytest.mark.parametrize("prefer", ["program", "source"])
@pytest.mark.parametrize("form", ["parallel", "chunkwise"])
@pytest.mark.parametrize("name", ["signed_gates", "second_order_decayed", "ends"])
def test_gates_that_are_zero_have_gradients(name: str, form: str, prefer: str) -> None:
    """Also by autograd through running logarithms, which have none of a zero."""
    given = recorded(name, sizes={"n": 7, "d": 2, "e": 2})
    assert any((t == 0).any() for t in given)
    f = operator(name, form, prefer)
    if prefer == "source":
        assert not by_program(as_tuple(f(*given))[0])
    assert torch.autograd.gradcheck(f, given)


OTHERS = [n for n in PROGRAMS if n not in CATALOGUE]


@pytest.mark.parametrize("name", [*OTHERS, "delta_rule", "gated", "hla2"])
def test_programs_and_autograd_agree(name: str) -> None:
    """With batch dimensions that some inputs lack, in every form."""
    given = recorded(name, [(2,), ()], {"n": 7, "m": 4, "d": 2, "e": 2})
    for form in FORMS:
        if operator(name).forms.exists(form):
            blocks = operator(name).forms.exists("chunkwise")
            other = operator(name, "chunkwise" if blocks else form, "source")
            assert_equal(gradients(operator(name, form), given), gradients(other, given))


def test_through_the_definition() -> None:
    """Autograd through the equations as anyone would write them, with masks."""
    q, k, v, g = recorded("scalar_gated", [(3,), (1,)], {"n": 70, "d": 4, "e": 3})
    f = operator("scalar_gated", "chunkwise")
    total = g.cumsum(-1)
    later = torch.ones(70, 70).triu(1) == 1
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(later, -torch.inf)
    expected = (q @ k.mT * decay.exp()) @ v
    weights = torch.randn_like(expected)
    one = torch.autograd.grad(f(q, k, v, g), (q, k, v, g), weights)
    two = torch.autograd.grad(expected, (q, k, v, g), weights)
    assert_equal(list(one), list(two))


# -- what is computed and kept -----------------------------------------------------------------------------


def test_only_what_is_needed_is_computed() -> None:
    f = tensorc.compile(program("gated_delta_rule"), backend="torch", form="chunkwise")
    f.gradients.prefer = "program"
    given = recorded("gated_delta_rule")
    whole = gradients(f, given)
    q, k, v, beta, g = (t.detach() for t in given)
    v.requires_grad_()
    assert_equal(gradients(f, [q, k, v, beta, g]), [whole[2]])
    made = f.gradients.find({}, (True,), (False, False, True, False, False))
    assert [o.name for o in made.operator.program.outputs] == ["grad_v"]
    assert "grad_q" not in str(made.operator.program) and made.places == (None, None, 0, None, None)
    assert not f(q, k, v.detach(), beta, g).requires_grad


def test_outputs_that_lead_nowhere_cost_nothing() -> None:
    f = tensorc.compile(program("two_outputs"), backend="torch", form="chunkwise")
    f.gradients.prefer = "program"
    given = recorded("two_outputs")
    o, z = f(*given)
    weights = torch.randn_like(z)
    one = torch.autograd.grad(z, given, weights, allow_unused=True)
    assert one[2] is None
    (key,) = [k for k in f.gradients._found if k[0] == (False, True)]
    made = f.gradients._found[key].operator.program
    assert "grad_z" in [i.name for i in made.inputs] and "grad_o" not in [i.name for i in made.inputs]


def test_inputs_alone_are_kept() -> None:
    """n·d·e numbers would be 8 MiB here; what a backward pass keeps are the inputs, 768 KiB."""
    n, d = 2048, 32
    f = operator("linear_attention", "chunkwise")
    q, k, v = (torch.randn(n, d, requires_grad=True) for _ in range(3))
    kept: list[Any] = []

    def keep(t: Any) -> Any:
        kept.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = f(q, k, v)
    assert {t.data_ptr() for t in kept} == {t.data_ptr() for t in (q, k, v)}
    assert out.requires_grad


def test_memory_of_long_sequences() -> None:
    """Forward and backward at 65,536 tokens: the gradients, and hardly more beside the inputs."""
    from torch.profiler import ProfilerActivity, profile

    n, d = 65536, 16
    f = operator("linear_attention", "chunkwise")
    q, k, v = (torch.randn(n, d, requires_grad=True) for _ in range(3))
    f(q[:128], k[:128], v[:128]).sum().backward()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as measured:
        torch.autograd.grad(f(q, k, v).sum(), (q, k, v))
    size = peak = 0
    for event in sorted(measured.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            size += event.nbytes()
            peak = max(peak, size)
    whole = n * d * 4
    assert 3 * whole <= peak <= 4 * whole, peak / whole  # the states of all tokens would be 16


def test_nothing_holds_on_to_a_call() -> None:
    f = operator("linear_attention", "chunkwise")
    q, k, v = recorded("linear_attention")
    out = f(q, k, v)
    alive = weakref.ref(out.grad_fn)
    del out
    gc.collect()
    assert alive() is None


# -- twice, and through states -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear_attention", "gated", "delta_rule", "normalised", "signed_gates"])
@pytest.mark.parametrize("form", ["parallel", "chunkwise"])
def test_gradients_have_gradients(name: str, form: str) -> None:
    given = recorded(name, sizes={"n": 3, "d": 2, "e": 2})
    assert torch.autograd.gradgradcheck(operator(name, form), given, fast_mode=True)


@pytest.mark.parametrize("name", ["linear_attention", "gated_delta_rule", "hla2", "retention"])
@pytest.mark.parametrize("prefer", ["program", "source"])
def test_sequences_in_pieces(name: str, prefer: str) -> None:
    """Gradients flow through states from piece to piece; detached, they stop there."""
    f = operator(name, "auto", prefer)
    given = recorded(name, [(2,), (2,)], {"n": 9, "d": 2, "e": 2})
    places = [i.axes.index(f.time) - len(i.axes) if f.time in i.axes else None for i in f.program.inputs]

    def piece(start: int, stop: int) -> list[Any]:
        return [
            t if p is None else t.narrow(p, start, stop - start) for t, p in zip(given, places, strict=True)
        ]

    def whole(*_: Any) -> Any:
        one, state = f.prefill(*piece(0, 4))
        assert by_program(one) == by_program(state.tensors[0]) == (prefer == "program")
        two, state = f.prefill(*piece(4, 7), state=state)
        return torch.cat([one, two, f(*piece(7, 9), state=state)], -2)

    assert_equal(gradients(whole, given), gradients(operator(name, "auto", "source"), given))

    one, state = f.prefill(*piece(0, 4))
    cut = state._replace(tensors=tuple(t.detach().requires_grad_() for t in state.tensors))
    later = f(*piece(4, 9), state=cut).sum()
    back = torch.autograd.grad(later, cut.tensors, retain_graph=True)
    (through,) = torch.autograd.grad(state.tensors, given[1], back)
    full = torch.autograd.grad(f(*given)[..., 4:, :].sum(), given[1])[0]
    assert_equal([through[..., :4, :]], [full[..., :4, :]])


# -- which is used, and what users see ---------------------------------------------------------------------


def test_what_has_no_program_is_said() -> None:
    f = tensorc.compile(program("attention"), backend="torch", form="chunkwise")
    f.gradients.prefer = "program"
    given = recorded("attention")
    assert not by_program(f(*given))
    assert "by autograd through the chunkwise source: No chunkwise form of attention_grad" in f.backward()
    assert "gradient program" in {r["rule"] for r in f.report().to_dict()["refused"]}
    whole = tensorc.compile(program("attention"), backend="torch")
    assert "source: it would need all pairs of tokens" in whole.backward()
    linear = operator("linear_attention")
    assert linear.backward(n=4096) == "by the gradient program, chunkwise"
    assert "gradient program" not in {r["rule"] for r in linear.report().to_dict()["refused"]}


def test_a_recurrent_form_keeps_no_states() -> None:
    f = operator("linear_attention", "recurrent", "auto")
    given = recorded("linear_attention")
    assert by_program(f(*given))
    assert_equal(gradients(f, given), gradients(operator("linear_attention", "recurrent", "source"), given))


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["linear_attention", "scalar_gated", "delta_rule"])
def test_dtypes(name: str, kind: str) -> None:
    """Gradients have the dtype of their input, and are as near as its digits allow."""
    given = recorded(name, [(2,), ()], {"n": 70, "d": 4, "e": 4})
    given = [t.detach() * 0.5 for t in given]
    low = [t.to(getattr(torch, kind)).requires_grad_() for t in given]
    exact = [t.detach().double().requires_grad_() for t in low]
    found = gradients(operator(name, "chunkwise"), low)
    assert {g.dtype for g in found} == {getattr(torch, kind)}
    tolerance = {"float32": 1e-5, "bfloat16": 4e-2, "float16": 5e-3}[kind]
    for one, two in zip(found, gradients(operator(name, "chunkwise"), exact), strict=True):
        assert (one.double() - two).abs().max() <= tolerance * two.abs().max()


def test_layouts_and_numbers() -> None:
    q, k, v, gamma = recorded("retention", [(2,), (2,)])
    f = operator("retention", "chunkwise")
    expected = gradients(f, [q, k, v, gamma])
    turned = [t.detach().mT.contiguous().mT.requires_grad_() for t in (q, k, v)]
    assert_equal(gradients(f, [*turned, gamma]), expected)
    wide = q.detach()[:1].requires_grad_()
    out = f(wide.expand(2, -1, -1), k, v, gamma)
    (grad,) = torch.autograd.grad(out.sum(), wide)  # the weights of a sum are expanded, too
    (other,) = torch.autograd.grad(f(wide, k, v, gamma).sum(), wide)
    assert_equal([grad], [other])
    given = gamma.detach().flatten()[0].item()
    assert f(q, k, v, given).requires_grad


def test_empty_sequences_have_gradients() -> None:
    f = operator("delta_rule", "chunkwise", "auto")
    given = recorded("delta_rule", sizes={"n": 0})
    assert [g.shape for g in gradients(f, given)] == [t.shape for t in given]


def test_equal_calls_have_equal_results() -> None:
    f = operator("gated_delta_rule", "chunkwise")
    given = recorded("gated_delta_rule", [(2,), ()])
    first = gradients(f, given)
    assert all(torch.equal(a, b) for _ in range(3) for a, b in zip(first, gradients(f, given), strict=True))


def test_functional_transforms() -> None:
    f = operator("linear_attention", "chunkwise")
    q, k, v = (t.detach() for t in recorded("linear_attention"))
    found = torch.func.grad(lambda q: f(q, k, v).sum())(q)
    q.requires_grad_()
    assert_equal([found], list(torch.autograd.grad(f(q, k, v).sum(), q)))


KERNELS = """
import os
os.environ["TRITON_INTERPRET"] = "1"
import tensorc, torch

torch.manual_seed(0)
f, g = (tensorc.compile("examples/linear_attention.tc", backend=b) for b in ("triton", "torch"))
given = [torch.randn(2, 20, 16, requires_grad=True) for _ in range(3)]
weights = torch.randn(2, 20, 16)

def streamed(f):
    one, state = f.prefill(*(t[:, :9] for t in given))
    two, state = f.prefill(*(t[:, 9:19] for t in given), state=state)
    three, state = f.step(state, *(t[:, 19] for t in given))
    return torch.cat([one, two, three.unsqueeze(1)], 1)

def once(out):
    return torch.autograd.grad(out, given, weights, create_graph=True)

def twice(f):
    return torch.autograd.grad(sum((t**2).sum() for t in once(f(*given))), given)

assert type(f(*given).grad_fn).__name__ == "RecordedBackward", f.backward()
expected = once(g(*given))
for one, two in [(once(f(*given)), expected), (once(streamed(f)), expected), (twice(f), twice(g))]:
    assert all((a - b).abs().max() <= 1e-5 * b.abs().max() for a, b in zip(one, two))
print(f.backward(n=64, d=16, e=16))
"""


def test_kernels_have_gradient_programs() -> None:
    """Autograd cannot follow kernels: gradients, of states and of gradients too, are kernels themselves."""
    pytest.importorskip("triton")
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", KERNELS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root)
    assert done.stdout.strip() == "by the gradient program, chunkwise", done.stderr


@pytest.mark.parametrize(
    "sum_", ["0.5 * sum[j < i](tanh(k[i] * k[j])", "0.2 * sum[i - w < j < i](k[i] * k[j]"]
)
def test_results_of_their_own_through_pairs(sum_: str) -> None:
    """Their adjoints come from later tokens, by pairs: there is a gradient all the same."""
    text = f"def f(k[n], v[n], w=7) -> o[n]:  o[i] = v[i] - {sum_} * o[j])"
    f = tensorc.compile(text, backend="torch", time="n")
    assert torch.autograd.gradcheck(f, [torch.randn(23).double().requires_grad_() for _ in range(2)])


def test_the_largest_of_computed_values_is_not_looked_for_twice() -> None:
    """Scores that are computed again may differ in their last bits from the largest."""
    text = "def f(q[n, d], k[n, d]) -> a[n]:  a[i] = max[j <= i](q[i, c] * k[j, c])"
    f = tensorc.compile(text, backend="torch")
    assert "computed again" in f.backward(n=64, d=4)
    q, k = (torch.randn(65, 4).double().requires_grad_() for _ in range(2))
    found = torch.autograd.grad(f(q, k).sum(), (q, k))
    scores = (q @ k.T).masked_fill(torch.ones(65, 65).triu(1).bool(), -torch.inf)
    assert_equal(list(found), list(torch.autograd.grad(scores.amax(1).sum(), (q, k))))


@pytest.mark.parametrize("form", FORMS)
def test_nothing_has_gradients_through_windows_of_gates(form: str) -> None:
    text = """
def f(k[n, d], v[n, e], a[n], w=5) -> o[n, e]:
    o[i, x] = sum[i - w < j <= i](prod[j < u <= i](a[u]) * k[i, c] * k[j, c] * v[j, x])
"""
    given = [torch.zeros(shape, requires_grad=True) for shape in ((0, 3), (0, 2), (0,))]
    tensorc.compile(text, backend="torch", form=form)(*given).sum().backward()
    assert [t.grad.shape for t in given] == [t.shape for t in given]


def test_choices_that_there_are_not() -> None:
    path = Path(__file__).resolve().parents[1] / "examples" / "linear_attention.tc"
    f = tensorc.compile(path, backend="torch")
    with pytest.raises(tensorc.TensorcError, match="choices are 'auto', 'program', 'source'"):
        f.gradients.prefer = "fastest"
    assert f.gradients.prefer == "auto"
