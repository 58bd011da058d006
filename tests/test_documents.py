"""`cu_seqlens`: packed documents give what each document gives alone, in every form, states included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc.documents import offsets, one_pass
from tensorc.ir import extent

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
N = extent("n")
SOFTMAX = "def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:\n    p[i, j] = softmax[{}](q[i, c] * k[j, c])\n"
PROGRAMS = {
    path.stem: path.read_text()
    for path in sorted(EXAMPLES.glob("*.tc"))
    if path.stem in ("linear_attention", "hla2", "gated", "based", "gated_delta_rule", "tensor_attention")
} | {
    "causal softmax": SOFTMAX.format("j, j <= i") + "    o[i, x] = p[i, j] * v[j, x]",
    "softmax": SOFTMAX.format("j") + "    o[i, x] = p[i, j] * v[j, x]",
    "short convolution": "def f(x[n, d], w[d, m]) -> y[n, d]:  y[i, c] = sum[t](w[c, t] * x[i - t, c])",
    "reversed": "def f(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[n - 1 - j, c] * x[j, c])",
    "centred": "def f(x[n, d]) -> y[n, d]:  y[i, c] = x[i, c] - mean[j](x[j, c])",
    "two outputs": "def f(x[n, d]) -> y[n], z[d]:\n    y[i] = i * x[i, 0]\n    z[c] = sum[j](x[j, c])",
}
IN_GROUPS = {"reversed", "two outputs"}  # what one pass cannot express
QUADRATIC = {"centred", "softmax", "tensor_attention"}  # what has no order beside the documents
OFFSETS = [[0, 5], [0, 1, 2, 2, 6], [0, 64, 64, 65, 200], [0, 0], [0]]


def operators(name: str) -> Iterator[tensorc.Operator]:
    for form in ("auto", "parallel", "chunkwise", "recurrent"):
        try:
            yield tensorc.compile(PROGRAMS[name], time="n", form=form)
        except tensorc.FormError:
            assert form in ("chunkwise", "recurrent")


def draw(program: tensorc.Program, n: int, lead: tuple[int, ...] = ()) -> list[Any]:
    rng = np.random.default_rng(n)
    sizes = {size: 3 for size in program.sizes()} | {"n": n, "e": 2}
    inputs = []
    for number, decl in enumerate(program.inputs):
        batch = lead if number % 2 == 0 else lead[1:]
        x = rng.normal(size=(*batch, *(a.value(sizes) for a in decl.axes))) / 2
        inputs.append(-np.abs(x) if decl.name == "g" else x)
    return inputs


def take(array: Any, decl: Any, where: Any) -> Any:
    """Tokens of a tensor along the time axis."""
    return np.take(array, where, axis=decl.axes.index(N) - len(decl.axes)) if N in decl.axes else array


def rows(program: tensorc.Program, inputs: list[Any], where: Any) -> list[Any]:
    """The inputs of one document, or of one token."""
    return [take(x, decl, where) for x, decl in zip(inputs, program.inputs, strict=True)]


def outputs(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning", "ignore:Mean of empty:RuntimeWarning")
@pytest.mark.parametrize("ends", OFFSETS, ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_documents_alone(name: str, ends: list[int]) -> None:
    for operator in operators(name):
        program = operator.program
        for lead in ((), (2, 3)):
            inputs = draw(program, ends[-1], lead)
            found = outputs(operator(*inputs, cu_seqlens=ends))
            for which, (a, b) in enumerate(zip(ends, ends[1:], strict=False)):
                alone = outputs(operator(*rows(program, inputs, range(a, b))))
                for decl, whole, part in zip(program.outputs, found, alone, strict=True):
                    mine = take(whole, decl, range(a, b)) if N in decl.axes else whole[which]
                    np.testing.assert_allclose(mine, part, rtol=1e-8, atol=1e-8, err_msg=operator.form)


@pytest.mark.parametrize("lead", [(), (2,)], ids=str)
@pytest.mark.parametrize("name", ["gated_delta_rule", "hla2", "based", "causal softmax"])
def test_states_are_one_of_each_document(name: str, lead: tuple[int, ...]) -> None:
    operator = tensorc.compile(PROGRAMS[name])
    ends, program = [0, 7, 7, 8, 15, 40], operator.program
    inputs = draw(program, ends[-1], lead)
    head, states = operator.prefill(*inputs, cu_seqlens=ends)
    again, after = operator.prefill(*inputs, cu_seqlens=np.array(ends, np.int32), state=states)
    np.testing.assert_array_equal(operator(*inputs, cu_seqlens=ends, state=list(states)), again)
    assert [s.position for s in states] == [7, 0, 1, 7, 25]
    for k, (a, b) in enumerate(zip(ends, ends[1:], strict=False)):
        mine = rows(program, inputs, range(a, b))
        one, state = operator.prefill(*mine)
        two, last = operator.prefill(*mine, state=state)
        assert state.layout == states[k].layout and last.position == after[k].position
        tensors = zip((*state.tensors, *last.tensors), (*states[k].tensors, *after[k].tensors), strict=True)
        for x, y in tensors:
            np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(head[..., a:b, :], one, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(again[..., a:b, :], two, rtol=1e-8, atol=1e-8)
        if b > a:  # a stream goes on from each of them
            token = rows(program, mine, -1)
            np.testing.assert_allclose(
                operator.step(states[k], *token)[0], operator.step(state, *token)[0], rtol=1e-8, atol=1e-8
            )


@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - IN_GROUPS - QUADRATIC))
def test_one_pass_in_the_forms_of_the_program(name: str) -> None:
    made = None
    for operator in operators(name):
        made = one_pass(operator)
        assert made is not None and made[0].form == operator.form, operator.form
    assert made is not None and made[0].verify(time_limit=0.5)


def test_the_reference_takes_documents() -> None:
    operator = tensorc.compile(PROGRAMS["hla2"], backend="reference")
    inputs = draw(operator.program, 6)
    found = operator(*inputs, cu_seqlens=[0, 2, 6])
    np.testing.assert_allclose(found[2:], operator(*rows(operator.program, inputs, range(2, 6))))


def test_a_decorated_function_and_keywords() -> None:
    @tensorc.jit("x[n, d] -> y[n, d]")
    def total(x: Any) -> Any:
        i, j, c = tensorc.indices("i j c")
        return tensorc.sum(x[j, c], j <= i)[i, c]

    x = np.ones((4, 1))
    assert total(x, cu_seqlens=[0, 1, 4])[:, 0].tolist() == [1, 1, 2, 3]
    assert tensorc.compile(total)(x=x, cu_seqlens=(0, 3, 4))[:, 0].tolist() == [1, 2, 3, 1]


def test_an_input_of_that_name_is_the_input() -> None:
    total = tensorc.compile("def f(cu_seqlens[n]) -> y[n]:  y[i] = sum[j <= i](cu_seqlens[j])")
    assert total(cu_seqlens=np.array([1.0, 2.0])).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([1, 4], tensorc.ShapeError, "starts at 1; the first document starts at 0"),
        ([0, 3], tensorc.ShapeError, "ends at 3, but the axis n has 4 tokens"),
        ([0, 3, 2, 4], tensorc.ShapeError, "decreases from 3 to 2 at 2"),
        ([], tensorc.TensorcError, "holds integers"),
        (np.zeros(0, int), tensorc.ShapeError, "one more than documents"),
        (np.zeros((1, 2), int), tensorc.ShapeError, r"shape \(1, 2\)"),
        ([0, 4.0], tensorc.TensorcError, "holds integers.*not float64"),
        ([False, True], tensorc.TensorcError, "not bool"),
        ("0, 4", tensorc.TensorcError, "holds integers"),
    ],
)
def test_offsets_that_are_none(given: Any, error: type[Exception], message: str) -> None:
    operator = tensorc.compile(PROGRAMS["linear_attention"])
    with pytest.raises(error, match=message):
        operator(*draw(operator.program, 4), cu_seqlens=given)


def test_misuse() -> None:
    operator = tensorc.compile(PROGRAMS["linear_attention"])
    inputs = draw(operator.program, 4)
    _, state = operator.prefill(*inputs)
    with pytest.raises(tensorc.TensorcError, match="a list of states"):
        operator(*inputs, cu_seqlens=[0, 4], state=state)
    with pytest.raises(tensorc.TensorcError, match="one state of each document: 2 of them"):
        operator(*inputs, cu_seqlens=[0, 1, 4], state=[state])
    with pytest.raises(tensorc.TensorcError, match="v is missing"):
        operator(*inputs[:2], cu_seqlens=[0, 4])
    with pytest.raises(tensorc.FormError, match="compile.time="):
        tensorc.compile(PROGRAMS["softmax"])(*inputs, cu_seqlens=[0, 4])
    with pytest.raises(tensorc.FormError, match="x has the axis 2 . n"):
        text = "def f(x[2 * n], y[n]) -> z[n]:  z[i] = y[i] + y[i - 1] + x[2 * i]"
        tensorc.compile(text)(np.ones(8), np.ones(4), cu_seqlens=[0, 4])
    assert offsets(np.array([0, 2], np.uint8), 2, "n").dtype == np.int64


def test_tensors_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    ends = [0, 3, 3, 10]
    given = torch.tensor(ends, dtype=torch.int32)
    for name in ("gated_delta_rule", "reversed"):
        program = tensorc.parse(PROGRAMS[name])
        inputs = draw(program, 10, (2,))
        wanted = tensorc.compile(program, time="n")(*inputs, cu_seqlens=ends)
        operator = tensorc.compile(program, backend="torch", time="n")
        tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
        found = operator(*tensors, cu_seqlens=given)
        np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-8, atol=1e-8)
        found.sum().backward()
        assert all(torch.isfinite(x.grad).all() for x in tensors)
    operator = tensorc.compile(PROGRAMS["gated_delta_rule"], backend="torch")
    tensors = [torch.tensor(x) for x in draw(operator.program, 10)]
    found, states = operator.prefill(*tensors, cu_seqlens=given)
    again, after = operator.prefill(*tensors, cu_seqlens=given, state=states)
    assert torch.allclose(found, operator(*tensors, cu_seqlens=given))
    alone, state = operator.prefill(*(x[3:] for x in tensors), state=states[2])
    assert torch.allclose(again[3:], alone) and torch.allclose(state.tensors[0], after[2].tensors[0])
