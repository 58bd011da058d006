"""Misuse of an operator: every mistake is a TensorcError that says what was wrong and what to write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tests.backends.numpy_programs import assert_close

LINEAR = (
    "def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:\n    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])\n"
)
EVERYWHERE = "def g(q[n, d], k[n, d]) -> o[n, d]:\n    o[i, c] = sum[j](q[i, c] * k[j, c])\n"
LATER = "def g(x[n]) -> y[n]:\n    y[i] = sum[j >= i](x[j])\n"
TOTAL = "def g(x[n], w[d]) -> y[n], t[]:\n    y[i] = sum[j <= i](x[j])\n    t[] = sum[i](y[i])\n"
ATTENTION = """
def attention(q[n, d], k[m, d], v[m, e]) -> o[n, e]:
    p[i, j] = softmax[j](q[i, c] * k[j, c] / sqrt(d))
    o[i, x] = p[i, j] * v[j, x]
"""
GRID = "def g(x[n, m]) -> y[n, m]:\n    y[i, a] = sum[j <= i, b <= a](x[j, b])\n"

q = k = np.ones((6, 3))
v = np.ones((6, 2))
f = tensorc.compile(LINEAR)
state = f.init_state(q[0], k[0], v[0])
running = tensorc.compile("def h(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")


def compiled(text: str, **options: Any) -> tensorc.Operator:
    return tensorc.compile(text, **options)


TensorcError, ShapeError, FormError = tensorc.TensorcError, tensorc.ShapeError, tensorc.FormError
BackendError, LanguageError = tensorc.BackendError, tensorc.LanguageError
Case = tuple[type[Exception], str, Callable[[], object]]

CALLS: dict[str, Case] = {
    "too few": (TensorcError, "f takes 3 inputs (q, k, v): v is missing.", lambda: f(q, k)),
    "too many": (TensorcError, "f takes 3 inputs (q, k, v), but 4 were given.", lambda: f(q, k, v, v)),
    "unknown name": (TensorcError, "f has no input 'w' (there are: q, k, v).", lambda: f(q, k, w=v)),
    "twice": (TensorcError, "f got v twice: by position and by name.", lambda: f(q, k, v, v=v)),
    "none": (TensorcError, "v must be an array or a number, not NoneType.", lambda: f(q, k, None)),
    "text": (TensorcError, "v must be an array or a number, not str.", lambda: f(q, k, "abc")),
    "complex": (TensorcError, "v holds complex numbers", lambda: f(q, k, v + 1j)),
    "ragged": (TensorcError, "v is not a rectangular array", lambda: f(q, k, [[1], [2, 3]])),
    "lengths": (ShapeError, "n is 6 in q (6, 3) but 5 in k (5, 3).", lambda: f(q, k[:5], v)),
    "features": (ShapeError, "d is 3 in q (6, 3) but 2 in k (6, 2).", lambda: f(q, k[:, :2], v)),
    "rank": (ShapeError, "v has shape (2,), but v[n, e] has 2 axes.", lambda: f(q, k, v[0])),
    "batches": (
        ShapeError,
        "Leading 2 and 3 do not broadcast",
        lambda: f(np.ones((2, 6, 3)), np.ones((3, 6, 3)), v),
    ),
    "heads": (
        ShapeError,
        "grouped heads: q[g * r, n, d], k[g, n, d], k[h // r, j, c].",
        lambda: f(np.ones((8, 6, 3)), np.ones((2, 6, 3)), v),
    ),
    "a size as an input": (
        TensorcError,
        "n is a size of f, not an input: pass sizes={'n': ...} when compiling.",
        lambda: f(q, k, v, n=6),
    ),
    "another size": (
        ShapeError,
        "n is 6 in q (6, 3) but 5 in sizes=.",
        lambda: compiled(LINEAR, sizes={"n": 5})(q, k, v),
    ),
    "a missing size": (
        ShapeError,
        "m is on no axis of an input. Pass sizes={'m': ...}, or declare m=1",
        lambda: compiled("def f(x[n]) -> y[m]:  y[i] = sum[j](x[j])")(np.ones(3)),
    ),
    "a product": (
        ShapeError,
        "axis 1 (a * b) of x (6,) alone does not tell a. Pass sizes={'a': ..., 'b': ...}",
        lambda: compiled("def f(x[a * b]) -> y[a, b]:  y[i, j] = x[i * b + j]")(np.ones(6)),
    ),
    "a constant outside": (
        ShapeError,
        "x is read at 7, outside its axis 2 of length 3 (line 1).",
        lambda: compiled("def f(x[n, d]) -> y[n]:  y[i] = x[i, 7]")(q),
    ),
    "a constant of a size": (
        ShapeError,
        "x is read at -1, outside its axis 1 of length 3",
        lambda: compiled("def f(x[n], y[m]) -> z[n]:  z[i] = x[m - n] * y[0] * x[i]")(np.ones(3), np.ones(2)),
    ),
    "fractions": (
        BackendError,
        "The numpy backend computes in floats. For integers of any size and fractions, compile with "
        "backend='reference'.",
        lambda: running([10**30, 1]),
    ),
}

STATES: dict[str, Case] = {
    "a state by position": (
        TensorcError,
        "A state is passed by keyword: f(q, k, v, state=state).",
        lambda: f(q, k, v, state),
    ),
    "no state": (
        TensorcError,
        "state= takes a state: from init_state, prefill or step; not a str.",
        lambda: f(q, k, v, state="s"),
    ),
    "a masked array": (
        TensorcError,
        "q is a masked array, and no program reads its mask.",
        lambda: f(np.ma.array(q, mask=q > 0), k, v),
    ),
    "a size beyond every axis": (ShapeError, "no axis is that long", lambda: f.report(n=10**5000)),
    "a batch beyond every axis": (TensorcError, "1 or more", lambda: f.report(batch=10**400)),
    "no name": (LanguageError, "No program 3.", lambda: tensorc.compile(LINEAR, name=3)),
    "bare tensors": (TensorcError, "not a tuple.", lambda: f.prefill(q, k, v, state=state.tensors)),
    "forgotten in step": (
        TensorcError,
        "The first argument of step is a state, from init_state, prefill or step: "
        "o, state = f.step(state, q, k, v). Given: a ndarray.",
        lambda: f.step(q[0], k[0], v[0]),
    ),
    "nothing in step": (TensorcError, "Given: nothing.", lambda: f.step(None, q[0], k[0], v[0])),
    "a whole sequence in step": (
        TensorcError,
        "a step takes one token, without the axis n.",
        lambda: f.step(state, q, k, v),
    ),
    "too few in step": (TensorcError, "k, v are missing", lambda: f.step(state, q[0])),
    "other features": (
        TensorcError,
        "State S1[d, e] has the shape (3, 2); these inputs need (4, 2).",
        lambda: f.step(state, np.ones(4), np.ones(4), v[0]),
    ),
    "another dtype": (
        TensorcError,
        "The state is in float64; these inputs compute in float32. Cast the inputs",
        lambda: f.step(state, *(a[0].astype(np.float32) for a in (q, k, v))),
    ),
    "another batch": (
        TensorcError,
        "leading dimensions (2,), not ().",
        lambda: f.step(state, np.ones((2, 3)), k[0], v[0]),
    ),
    "another batch in prefill": (
        TensorcError,
        "leading dimensions (2,), not ().",
        lambda: f.prefill(np.stack([q, q]), k, v, state=state),
    ),
    "of another program": (
        TensorcError,
        "The state belongs to h (S1[]); these inputs need that of f (S1[d, e]).",
        lambda: f.prefill(q, k, v, state=running.init_state(1.0)),
    ),
}

FORMS: dict[str, Case] = {
    "diagnostic 15": (
        FormError,
        "No recurrent form of g: it has no time axis: o[i, c] reads k[j, c] for j > i (line 2). "
        "Bound j, e.g. j <= i, or use form='parallel'.",
        lambda: compiled(EVERYWHERE, form="recurrent"),
    ),
    "diagnostic 15 with a time axis": (
        FormError,
        "No recurrent form of g: o[i, c] reads k[j, c] for j > i (line 2). Bound j, e.g. j <= i,",
        lambda: compiled(EVERYWHERE, form="recurrent", time="n"),
    ),
    "step": (
        FormError,
        "o[i, c] reads k[j, c] for j > i (line 2)",
        lambda: compiled(EVERYWHERE).step(state, 1, 1),
    ),
    "prefill": (FormError, "reads k[j, c] for j > i", lambda: compiled(EVERYWHERE).prefill(q, k)),
    "init_state": (FormError, "reads k[j, c] for j > i", lambda: compiled(EVERYWHERE).init_state(1, 1)),
    "state=": (FormError, "reads k[j, c] for j > i", lambda: compiled(EVERYWHERE)(q, k, state=state)),
    "a reverse stream": (
        FormError,
        "No recurrent form of g: y[i] reads x[j] for j > i (line 2). Bound j, e.g. j <= i,",
        lambda: compiled(LATER, form="recurrent"),
    ),
    "prefill of a reverse stream": (
        FormError,
        "reads x[j] for j > i",
        lambda: compiled(LATER).prefill(v[:, 0]),
    ),
    "state= of a reverse stream": (
        FormError,
        "No recurrent form of g",
        lambda: compiled(LATER, form="chunkwise")(v[:, 0], state=state),
    ),
    "a shift ahead": (
        FormError,
        "y[i] reads x[i + 1] for i + 1 > i (line 1). Read earlier or use form='parallel'.",
        lambda: compiled("def g(x[n]) -> y[n]:  y[i] = x[i + 1]", form="recurrent"),
    ),
    "an output without time": (
        FormError,
        "No recurrent form of g: the output t has no axis n: it is a total over all tokens. Use form='chunk",
        lambda: compiled(TOTAL, form="recurrent"),
    ),
    "no time axis": (
        FormError,
        "No recurrent form of attention: it has no time axis: no positions of one axis are compared. Relate "
        "its indices, e.g. j <= i, or name the axis: compile(..., time='n').",
        lambda: compiled(ATTENTION, form="recurrent"),
    ),
    "several": (
        FormError,
        "No chunkwise form of g: n and m may each be the time axis. Choose: compile(..., time='n').",
        lambda: compiled(GRID, form="chunkwise"),
    ),
    "unknown form": (
        FormError,
        "No form 'chunk'. There are auto, parallel, chunkwise, recurrent.",
        lambda: compiled(LINEAR, form="chunk"),
    ),
    "unknown time": (
        FormError,
        "No size 't' for the time axis. The sizes are n, d, e.",
        lambda: compiled(LINEAR, time="t"),
    ),
    "a number for time": (FormError, "No size 3 for the time axis", lambda: compiled(LINEAR, time=3)),
    "prefill of the parallel form": (
        FormError,
        "The parallel form has no prefill. Use form='auto', 'chunkwise' or 'recurrent'.",
        lambda: compiled(LINEAR, form="parallel").prefill(q, k, v),
    ),
    "step of the parallel form": (
        FormError,
        "The parallel form has no step.",
        lambda: compiled(LINEAR, form="parallel").step(state, q[0], k[0], v[0]),
    ),
    "state= of the parallel form": (
        FormError,
        "The parallel form has no state.",
        lambda: compiled(LINEAR, form="parallel")(q, k, v, state=state),
    ),
}

BACKENDS: dict[str, Case] = {
    "unknown": (
        BackendError,
        "No backend 'jax'. There are numpy, torch, triton, reference.",
        lambda: compiled(LINEAR, backend="jax"),
    ),
    "device": (BackendError, "runs on the CPU, not on cuda.", lambda: compiled(LINEAR, device="cuda")),
    "form of the reference": (
        FormError,
        "The reference backend evaluates the definition; it has no chunkwise form.",
        lambda: compiled(LINEAR, backend="reference", form="chunkwise"),
    ),
    "step of the reference": (
        FormError,
        "The reference backend has no step; compile with backend='numpy'.",
        lambda: compiled(LINEAR, backend="reference").step(state, q[0], k[0], v[0]),
    ),
    "prefill of the reference": (
        FormError,
        "The reference backend has no prefill",
        lambda: compiled(LINEAR, backend="reference").prefill(q, k, v),
    ),
    "state= of the reference": (
        FormError,
        "The reference backend evaluates whole sequences; it takes no state.",
        lambda: compiled(LINEAR, backend="reference")(q, k, v, state=state),
    ),
    "source of the reference": (
        BackendError,
        "The reference backend has no source",
        lambda: compiled(LINEAR, backend="reference").source(),
    ),
}

SIZES: dict[str, Case] = {
    "unknown": (TensorcError, "sizes= has 'z', which is no size", lambda: compiled(LINEAR, sizes={"z": 3})),
    "negative": (
        ShapeError,
        "The size n must be an integer from 0, not -3.",
        lambda: compiled(LINEAR, sizes={"n": -3}),
    ),
    "text": (ShapeError, "must be an integer from 0, not '3'.", lambda: compiled(LINEAR, sizes={"n": "3"})),
    "a boolean": (
        ShapeError,
        "must be an integer from 0, not True.",
        lambda: compiled(LINEAR, sizes={"n": True}),
    ),
    "a list": (
        TensorcError,
        "sizes= maps names to integers, as in {'w': 64}; not list.",
        lambda: compiled(LINEAR, sizes=[3]),
    ),
    "unknown in source": (TensorcError, "'z', which is no size", lambda: f.source(z=3)),
    "negative in source": (ShapeError, "must be an integer from 0, not -1.", lambda: f.source(n=-1)),
    "unknown in report": (TensorcError, "'z', which is no size", lambda: f.report(z=3)),
}

SOURCES: dict[str, Case] = {
    "no file": (
        TensorcError,
        "Cannot read nothere.tc: No such file or directory.",
        lambda: compiled("nothere.tc"),
    ),
    "no path": (TensorcError, "Cannot read /no/where: No such", lambda: tensorc.compile(Path("/no/where"))),
    "a directory": (TensorcError, "Is a directory", lambda: tensorc.compile(Path(__file__).parent)),
    "no suffix": (
        TensorcError,
        "'examples/hla2' is neither the text of a program nor a path that ends in .tc.",
        lambda: compiled("examples/hla2"),
    ),
    "nothing": (LanguageError, "The text holds no program.", lambda: compiled("")),
    "a number": (
        TensorcError,
        "A program is a path, text or a Program, not int.",
        lambda: tensorc.compile(3),
    ),
    "a function": (TensorcError, "Put @tensorc.jit(header) above it.", lambda: tensorc.compile(lambda x: x)),
    "parse of a path": (
        TensorcError,
        "parse takes the text of a program, not",
        lambda: tensorc.parse(Path("f.tc")),
    ),
    "another name": (LanguageError, "No program zz.", lambda: compiled(LINEAR, name="zz")),
    "another name of a program": (
        LanguageError,
        "The program is f, not zz.",
        lambda: tensorc.compile(f.program, name="zz"),
    ),
}

ALL = {
    f"{group}: {name}": case
    for group, cases in [
        ("call", CALLS), ("state", STATES), ("form", FORMS), ("backend", BACKENDS), ("sizes", SIZES),
        ("source", SOURCES),
    ]
    for name, case in cases.items()
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_misuse(name: str) -> None:
    kind, message, misuse = ALL[name]
    with pytest.raises(kind, match=re.escape(message)) as caught:
        misuse()
    assert type(caught.value) is kind and issubclass(kind, TensorcError)
    text = str(caught.value)
    assert not re.search(r"%|\$|object at 0x|NotLinear", text), "names of the inside"
    assert kind is LanguageError or text.endswith((".", ")")), "a sentence"


def test_a_mistake_leaves_the_operator_as_it_was() -> None:
    before = f(q, k, v)
    for kind, message, misuse in [*CALLS.values(), *STATES.values()]:
        with pytest.raises(kind, match=re.escape(message)):
            misuse()
    np.testing.assert_array_equal(f(q, k, v), before)
    row, _ = f.step(state, q[0], k[0], v[0])
    np.testing.assert_array_equal(row, before[0])


@pytest.mark.parametrize("text", [LINEAR, EVERYWHERE, LATER, GRID, TOTAL, ATTENTION])
def test_a_form_is_refused_when_compiling_or_works(text: str) -> None:
    """What the program decides is not left to the call."""
    sizes = {"n": 4, "m": 4, "d": 2, "e": 2}
    program = tensorc.parse(text)
    inputs = [np.ones([axis.value(sizes) for axis in tensor.axes]) for tensor in program.inputs]
    expected = tensorc.compile(program, backend="reference")(*inputs)
    for form in ("parallel", "chunkwise", "recurrent"):
        try:
            call = tensorc.compile(program, form=form)
        except FormError as error:
            assert form != "parallel" and f"No {form} form of {program.name}: " in str(error)
        else:
            assert_close(call(*inputs), expected, 1e-12)
