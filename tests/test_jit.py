"""The decorator: what is traced when, what is kept, what goes to the operator."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import threading
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tensorc.tracing as tc
from tensorc.decorator import Jit, jit
from tensorc.errors import LanguageError
from tensorc.grammar import parse
from tensorc.ir import Program

i, j, c, x = tc.indices("i j c x")
A, B = np.ones((3, 2)), np.full((3, 2), 2.0)


class Operator:
    """Stands in for the compiled operator: keeps what it was made from and called with."""

    def __init__(self, program: Program, options: dict[str, Any]) -> None:
        self.program = program
        self.options = options
        self.called: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.called.append((args, kwargs))
        return len(self.called)

    def report(self, **sizes: int) -> tuple[str, dict[str, int]]:
        return self.program.name, sizes


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Operator]]:
    made: list[Operator] = []

    def compile(program: Program, **options: Any) -> Operator:
        made.append(Operator(program, options))
        return made[-1]

    driver = ModuleType("tensorc.compiler")
    driver.compile = compile  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "tensorc.compiler", driver)
    yield made


def body(operator: Operator) -> str:
    return str(operator.program).splitlines()[-1].strip()


def test_a_call_traces_and_compiles_once(operators):
    runs = []

    @jit("q[n, d], k[n, d] -> s[n, n]", backend="torch", form="parallel")
    def scores(q, k):
        """Scores of all pairs."""
        runs.append(1)
        return (q[i, c] * k[j, c])[i, j]

    assert not runs and not operators
    assert scores(A, B) == 1 and scores(A, k=B) == 2 and scores(k=B, q=A) == 3
    assert len(runs) == len(operators) == 1
    assert operators[0].options == {"backend": "torch", "form": "parallel"}
    assert operators[0].program == parse(
        "def scores(q[n, d], k[n, d]) -> s[n, n]: s[i, j] = q[i, c] * k[j, c]"
    )
    for args, kwargs in operators[0].called:
        assert args[0] is A and args[1] is B and not kwargs


def test_metadata_is_kept():
    @jit("q[n, d] -> s[n, n]")
    def scores(q):
        """Scores of all pairs."""

    assert scores.__name__ == "scores" and scores.__doc__ == "Scores of all pairs."
    assert scores.__module__ == __name__ and scores.__wrapped__.__name__ == "scores"
    assert list(inspect.signature(scores).parameters) == ["q"]
    assert repr(scores) == "<tensorc.jit scores: q[n, d] -> s[n, n]>"
    assert repr(jit(scores.__wrapped__)) == "<tensorc.jit scores>"
    assert repr(jit("q[n], w=4 -> o[n]")(lambda q: q)) == "<tensorc.jit f: q[n], w=4 -> o[n]>"


def test_attributes_go_to_the_operator(operators):
    @jit("q[n, d] -> s[n, n]")
    def gram(q):
        return (q[i, c] * q[j, c])[i, j]

    assert gram.report(n=4) == ("gram", {"n": 4})
    assert gram.program is not None and len(operators) == 1
    gram(A)
    assert len(operators) == 1 and gram.compiled() is operators[0]
    with pytest.raises(AttributeError):
        gram.nothing  # noqa: B018
    with pytest.raises(AttributeError):
        gram._private  # noqa: B018
    assert not hasattr(gram, "__len__")


def test_the_program_needs_no_compiler():
    @jit("q[n, d] -> s[n, n]")
    def gram(q):
        return (q[i, c] * q[j, c])[i, j]

    assert isinstance(gram.program, Program)


def test_options_of_a_call_go_to_the_operator(operators):
    @jit("q[n] -> o[n]")
    def double(q):
        return (2 * q[i])[i]

    double(A, state="before")
    assert operators[0].called == [((A,), {"state": "before"})]


def test_inputs_are_passed_in_the_order_of_the_header(operators):
    @jit("k[n, d], q[n, d] -> s[n, n]")
    def scores(q, k):
        return (q[i, c] * k[j, c])[i, j]

    scores(A, B)
    assert operators[0].called[0][0][0] is B
    assert [t.name for t in operators[0].program.inputs] == ["k", "q"]


def test_constants_have_one_trace_for_each_value(operators):
    @jit("x[n] -> o[n]")
    def smooth(x, taps=2, *, weights=(1, 1, 1)):
        return sum(weights[t] * x[i - t] for t in range(taps))[i]

    smooth(A), smooth(A, 2), smooth(A, taps=np.int64(2)), smooth(A, weights=(1, 1, 1))
    assert len(operators) == 1
    assert body(operators[0]) == "o[i] = 0 + 1 * x[i - 0] + 1 * x[i - 1]"
    smooth(A, 3), smooth(A, weights=[1, 2, 3]), smooth(A, weights=(1, 2, 3))
    assert [body(o) for o in operators[1:]] == [
        "o[i] = 0 + 1 * x[i - 0] + 1 * x[i - 1] + 1 * x[i - 2]",
        "o[i] = 0 + 1 * x[i - 0] + 2 * x[i - 1]",
    ]
    assert smooth.compiled(taps=3) is operators[1]


def test_a_changed_list_is_another_value(operators):
    @jit("x[n] -> o[n]")
    def scaled(x, factors):
        return (factors[0] * x[i])[i]

    factors = [2]
    scaled(A, factors)
    factors[0] = 3
    scaled(A, factors)
    assert [body(o) for o in operators] == ["o[i] = 2 * x[i]", "o[i] = 3 * x[i]"]


def test_methods(operators):
    class Layer:
        def __init__(self, window: int) -> None:
            self.window = window

        @jit("q[n, d], k[n, d] -> s[n, n]")
        def scores(self, q, k):
            return tc.where(i - j < self.window, q[i, c] * k[j, c], 0)[i, j]

    one, two, same = Layer(1), Layer(2), Layer(1)
    one.scores(A, B), one.scores(A, k=B), two.scores(A, B), same.scores(A, B)
    assert [body(o) for o in operators] == [
        f"s[i, j] = where(i - j < {w}, q[i, c] * k[j, c], 0)" for w in (1, 2)
    ]
    assert len(operators[0].called) == 3
    assert one.scores.report() == ("scores", {})
    assert Layer.scores(two, A, B) == 2
    assert isinstance(Layer.scores, Jit)
    with pytest.raises(LanguageError, match="argument self of scores has no value"):
        Layer.scores.report()


def test_methods_do_not_keep_their_objects(operators):
    class Layer:
        factor = 2

        @jit("q[n] -> o[n]")
        def scaled(self, q):
            return (self.factor * q[i])[i]

    layer = Layer()
    layer.scaled(A)
    gone = weakref.ref(layer)
    jitted = Layer.__dict__["scaled"]
    assert len(jitted._operators) == 1
    del layer
    gc.collect()
    assert gone() is None and not jitted._operators
    for factor in range(3, 30):  # addresses are used again; traces are not
        layer = Layer()
        layer.factor = factor
        layer.scaled(A)
        assert body(operators[-1]) == f"o[i] = {factor} * q[i]"
        del layer


def test_static_and_class_methods(operators):
    class Layer:
        factor = 3

        @staticmethod
        @jit("q[n] -> o[n]")
        def static(q):
            return (2 * q[i])[i]

        @classmethod
        @jit("q[n] -> o[n]")
        def of_class(cls, q):
            return (cls.factor * q[i])[i]

    Layer.static(A), Layer().static(A), Layer.of_class(A), Layer().of_class(A)
    assert [body(o) for o in operators] == ["o[i] = 2 * q[i]", "o[i] = 3 * q[i]"]
    with pytest.raises(LanguageError, match="decorates a function"):
        jit("q[n] -> o[n]")(3)  # type: ignore[arg-type]


def test_sizes_with_a_number(operators):
    @jit("x[n], w=2 -> o[n]", sizes={"n": 8})
    def window(x, w):
        u = tc.indices("u")
        return tc.sum(x[u], (i - w < u) & (u <= i))[i]

    window(A), window(A, w=2), window(A, 5)
    assert [o.options["sizes"] for o in operators] == [{"n": 8}, {"n": 8, "w": 2}, {"n": 8, "w": 5}]
    assert body(operators[0]) == "o[i] = sum[i - w < u <= i](x[u])"
    assert operators[0].program.defaults == (("w", 2),)
    with pytest.raises(TypeError, match="w is a size of the header"):
        window(A, w=0.5)


def test_a_size_needs_no_parameter(operators):
    @jit("x[n], w=2 -> o[n]")
    def shifted(x):
        return x[i - tc.sizes("w")][i]

    shifted(A)
    assert body(operators[0]) == "o[i] = x[i - w]"


def test_a_parameter_with_the_name_of_a_size_is_the_size(operators):
    @jit("q[n, d] -> s[n, n]")
    def gram(q, d):
        return (q[i, c] * q[j, c] / d)[i, j]

    gram(A), gram(A, 3)
    assert [body(o) for o in operators] == [f"s[i, j] = q[i, c] * q[j, c] / {d}" for d in ("d", "3")]


def test_without_a_header(operators):
    @jit
    def scores(q, k, scale=1, mask=None):
        s = scale * q[i, c] * k[j, c]
        return (s if mask is None else s * mask[i, j])[i, j]

    scores(A, B), scores(A, B, 2), scores(A, B, mask=np.ones((3, 3)))
    assert [str(o.program).strip() for o in operators] == [
        "def scores(q[n, d], k[e, d]) -> o[n, e]:\n    o[i, j] = 1 * q[i, c] * k[j, c]",
        "def scores(q[n, d], k[e, d]) -> o[n, e]:\n    o[i, j] = 2 * q[i, c] * k[j, c]",
        "def scores(q[n, d], k[e, d], mask[n, e]) -> o[n, e]:\n"
        "    o[i, j] = 1 * q[i, c] * k[j, c] * mask[i, j]",
    ]
    assert [len(args) for o in operators for args, _ in o.called] == [2, 2, 3]


def test_numbers_without_a_default_are_inputs(operators):
    @jit(form="parallel")
    def scaled(q, g):
        return (g * q[i])[i]

    scaled(A, 0.5), scaled(A, 0.25)
    assert str(operators[0].program).startswith("def scaled(q[n], g[]) -> o[n]:")
    assert [args[1] for args, _ in operators[0].called] == [0.5, 0.25]


def test_lambdas_and_names(operators):
    double = jit("q[n] -> o[n]", name="double")(lambda q: (2 * q[i])[i])
    double(A)
    assert operators[0].program.name == "double" and operators[0].options == {}


def test_notebook_cells(operators):
    cell = (
        "import tensorc.tracing as tc\n"
        "from tensorc.decorator import jit\n"
        "@jit('q[n] -> o[n]')\n"
        "def double(q):\n"
        "    i = tc.indices('i')\n"
        "    s = (2 * q[i])[i]\n"
        "    return (s[i] + 1)[i]\n"
    )
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(cell, "<cell 3>", "exec"), space)
    space["double"](A)
    assert str(operators[0].program).splitlines()[1:3] == ["    s[i] = 2 * q[i]", "    o[i] = s[i] + 1"]
    broken = cell.replace("s[i] + 1", "s[j] + 1").replace("'i'", "'i j'").replace("i =", "i, j =")
    exec(compile(broken, "<cell 4>", "exec"), space)
    with pytest.raises(LanguageError, match="traced at <cell 4>:7"):
        space["double"](A)


def test_wrong_arguments(operators):
    @jit("q[n], k[n] -> o[n]")
    def product(q, k):
        return (q[i] * k[i])[i]

    with pytest.raises(TypeError, match="misses the argument k"):
        product(A)
    with pytest.raises(TypeError, match="too many positional arguments"):
        product(A, A, A)
    with pytest.raises(TypeError, match="multiple values"):
        product(A, q=A)
    assert not operators


def test_headers_are_checked_at_once():
    with pytest.raises(LanguageError, match="inputs of the header are incomplete here"):
        jit("q[n -> o[n]")
    with pytest.raises(LanguageError, match=r"names the input k, which is no parameter of f\(q\)"):
        jit("q[n], k[n] -> o[n]")(lambda q: q)
    with pytest.raises(LanguageError, match="w is 4 in the header and 5 among the parameters"):
        jit("q[n], w=4 -> o[n]")(lambda q, w=5: q)
    with pytest.raises(LanguageError, match="'two words' is no name for a program"):
        jit("q[n] -> o[n]", name="two words")(lambda q: q)
    with pytest.raises(LanguageError, match="A header is text"):
        jit(3)  # type: ignore[call-overload]


def test_an_error_in_a_trace_is_raised_each_time(operators):
    @jit("q[n] -> o[n]")
    def broken(q):
        return (q[i] * q[j])[i]

    for _ in range(2):
        with pytest.raises(LanguageError, match="j occurs once"):
            broken(A)
    assert not operators


@jit("a[n], b[n] -> o[n]")
def pair(a, b):
    return (a[i] + b[i])[i]


def test_copies_and_pickles_by_name():
    assert copy.deepcopy(pair) is pair and copy.copy(pair) is pair
    assert pickle.loads(pickle.dumps(pair)) is pair


def test_threads_share_traces(operators):
    @jit("q[n] -> o[n]")
    def scaled(q, factor):
        return (factor * q[i])[i]

    def work(number: int) -> None:
        for k in range(20):
            scaled(A, (number + k) % 5)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {body(o) for o in operators} == {f"o[i] = {k} * q[i]" for k in range(5)}
    assert len(scaled._operators) == 5


def test_public_names():
    import tensorc

    assert tensorc.jit is jit and tensorc.indices is tc.indices and tensorc.sum is tc.sum
    traced = tensorc.trace(lambda q: (2 * q[i])[i], "q[n] -> o[n]")
    assert traced == parse("def f(q[n]) -> o[n]: o[i] = 2 * q[i]")
