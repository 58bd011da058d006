"""Dtypes, the interface, and errors of the reference backend."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tensorc.backends.reference import evaluate, run
from tensorc.errors import LanguageError, ShapeError, TensorcError
from tensorc.grammar import parse
from tensorc.ir import (
    Add,
    Bind,
    Compare,
    Const,
    Equation,
    Expr,
    Index,
    Not,
    Program,
    Read,
    Reduce,
    TensorDecl,
    Where,
    extent,
)

INF, NAN = np.inf, np.nan


def call(text: str, *arguments: Any, **keywords: Any) -> Any:
    return run(parse(text), *(np.array(a) if isinstance(a, list) else a for a in arguments), **keywords)


def same_numbers(left: Any, right: Any) -> None:
    np.testing.assert_array_equal(np.asarray(left, float), np.asarray(right, float))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, object])
def test_the_dtype_of_the_inputs_stays(dtype: Any) -> None:
    x = np.arange(5).astype(dtype)
    assert call("def f(x[n]) -> o[n]:  o[i] = sum[j <= i](x[j] * x[i])", x).dtype == dtype


def test_rounding_happens_once() -> None:
    x = np.full(4096, 1, np.float16)
    assert call("def f(x[n]) -> z[]:  z[] = sum[i](x[i])", x) == 4096
    assert call("def f(x[n]) -> z[]:  z[] = sum[i](300 * x[i]) / 4096", x) == 300


def test_integers_and_booleans_compute_in_the_default() -> None:
    o = call("def f(x[n], m[n]) -> o[n]:  o[i] = x[i] / 2 + m[i] + m[i]", [1, 2], [True, False])
    assert o.dtype == np.float64
    same_numbers(o, [2.5, 1])


def test_scalars_never_promote() -> None:
    x = np.ones(2, np.float32)
    for scalar in (0.5, np.float64(0.5), np.array(0.5), np.full(2, 0.5)):
        text = "def f(x[n], g[]) -> o[n]:  o[i] = g * x[i]"
        assert call(text, x, scalar).dtype == np.float32
    assert call("def f(x[n], g[]) -> o[n]:  o[i] = g * x[i]", x.astype(int), 0.5).dtype == np.float64


def test_comparisons_use_the_values_as_given() -> None:
    ids = np.array([2**62, 2**62 + 1, 2**62 + 1])
    text = "def f(x[n], s[n]) -> o[n]:  o[i] = sum[s[i] == s[j]](x[j])"
    same_numbers(call(text, np.ones(3, np.float32), ids), [1, 2, 2])
    same_numbers(call(text, np.ones(3, np.float32), ids.astype(np.uint64) * 3), [1, 2, 2])
    fine = np.array([1.0, 1 + 1e-12, 1])
    same_numbers(call(text, np.ones(3, np.float32), fine), [2, 1, 2])
    text = "def f(x[n], s[n]) -> o[n]:  o[i] = sum[s[i] + s[i] <= 2 * s[j] + 200](x[j])"
    same_numbers(call(text, np.ones(2, np.float32), np.array([0, 255], np.uint8)), [2, 1])
    same_numbers(call(text, np.ones(2, np.float32), np.array([0, 255], np.uint8).astype(bool)), [2, 2])


def test_exact_inputs_stay_exact() -> None:
    x = np.array([Fraction(1, 3), 2, 10**30], dtype=object)
    o = call("def f(x[n]) -> o[n]:  o[i] = sum[j <= i](x[j]) / 7 + 0.1", x)
    tenth = Fraction(1, 10)
    assert list(o) == [Fraction(1, 21) + tenth, Fraction(1, 3) + tenth, Fraction(10**30 * 3 + 7, 21) + tenth]
    with pytest.raises(TensorcError, match="exp has no exact value"):
        call("def f(x[n]) -> o[n]:  o[i] = exp(x[i])", x)


def test_mixed_exact_and_float_inputs() -> None:
    o = call("def f(x[n], y[n]) -> o[n]:  o[i] = x[i] * y[i]", np.array([3, 4], object), [0.5, 0.25])
    assert o.dtype == object and list(o) == [Fraction(3, 2), 1]


def test_inputs_are_not_changed_and_outputs_are_fresh() -> None:
    x = np.arange(3.0)
    o = call("def f(x[n]) -> o[n]:  o[i] = x[i]", x)
    o[:] = 7
    same_numbers(x, [0, 1, 2])


# The interface.


def test_outputs_in_signature_order() -> None:
    o, z = call(
        """def f(x[n]) -> o[n], z[]:
        z[] = sum[i](x[i])
        o[i] = 2 * x[i]""",
        [1.0, 2.0],
    )
    assert isinstance(z, np.ndarray) and z.shape == () and z == 3
    same_numbers(o, [2, 4])


def test_sizes_and_keywords() -> None:
    text = "def f(x[n], w=2) -> o[n, m]:  o[i, t] = sum[j, i - w < j <= i](x[j]) + t"
    same_numbers(call(text, x=[1.0, 2.0], sizes={"m": 2}), [[1, 2], [3, 4]])
    same_numbers(call(text, [1.0, 2.0], sizes={"m": 1, "w": 1}), [[1], [2]])


def test_constants_outside_are_errors() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ShapeError, match="x is read at 3, outside its axis 1 of length 3 .line 1"):
        call("def f(x[n, d]) -> o[d]:  o[c] = x[3, c]", x)
    with pytest.raises(ShapeError, match="read at 3, outside its axis 2 of length 2"):
        call("def f(x[n, d]) -> o[n]:  o[i] = x[i, d + 1]", x)
    same_numbers(call("def f(x[n, d]) -> o[d]:  o[c] = x[n - 1, c]", x), [0, 0])
    assert call("def f(x[n, d]) -> o[n, d]:  o[i, c] = x[0, c]", np.zeros((0, 2))).shape == (0, 2)


def test_division_by_a_zero_size_in_a_subscript() -> None:
    with pytest.raises(ShapeError, match="divides by zero"):
        call("def f(x[n], w=0) -> o[n]:  o[i] = x[i // w]", np.zeros(3))


def test_shapes_are_checked_against_the_sizes() -> None:
    program = parse("def f(x[n]) -> o[n]:  o[i] = x[i]")
    with pytest.raises(ShapeError, match="x has shape"):
        evaluate(program, {"x": np.zeros(3)}, {"n": 4})


def test_too_large_for_the_definition() -> None:
    with pytest.raises(TensorcError, match="for small sizes"):
        call("def f(x[n]) -> o[n]:  o[i] = prod[j < u <= l <= i](x[u] + x[j] + x[l])", np.ones(200))


def test_a_value_that_needs_itself() -> None:
    n, i, j = extent("n"), Index("i"), Index("j")
    body = Reduce("sum", (Bind("j", n),), (Compare("<=", j, i),), Read("o", (j,)))
    program = Program(
        "f", (TensorDecl("x", (n,)),), (TensorDecl("o", (n,)),), (), (Equation("o", (Bind("i", n),), body),)
    )
    with pytest.raises(LanguageError, match="needs itself"):
        run(program, np.zeros(3))


def test_both_directions_at_once_are_an_error() -> None:
    n, i = extent("n"), Index("i")
    reads = (Read("x", (i,)), Read("o", (Add((i, Const(-1))),)), Read("o", (Add((i, Const(1))),)))
    program = Program(
        "f",
        (TensorDecl("x", (n,)),),
        (TensorDecl("o", (n,)),),
        (),
        (Equation("o", (Bind("i", n),), Add(reads)),),
    )
    with pytest.raises(LanguageError, match="strictly earlier"):
        run(program, np.zeros(3))


def by_hand(body: Expr, *inputs: TensorDecl) -> Program:
    """o[i] = body over one axis, for what the language writes differently or refuses."""
    n = extent("n")
    return Program("f", inputs, (TensorDecl("o", (n,)),), (), (Equation("o", (Bind("i", n),), body),))


def test_the_condition_of_where_bounds_both_branches() -> None:
    n, i, j = extent("n"), Index("i"), Index("j")
    x, later = Read("x", (i,)), Compare(">=", j, i)
    for branches in (Where(later, Const(0), Read("o", (j,))), Where(Not(later), Read("o", (j,)), Const(0))):
        program = by_hand(Add((x, Reduce("sum", (Bind("j", n),), (), branches))), TensorDecl("x", (n,)))
        same_numbers(run(program, np.ones(5)), [1, 2, 4, 8, 16])


def test_a_bound_name_may_hide_another() -> None:
    n, i, j = extent("n"), Index("i"), Index("j")
    inner = Reduce("sum", (Bind("j", n),), (Compare("<=", j, i),), Read("x", (j,)))
    program = by_hand(Reduce("sum", (Bind("j", n),), (Compare("<", j, i),), inner), TensorDecl("x", (n,)))
    same_numbers(run(program, np.array([1.0, 2.0, 3.0])), [0, 3, 12])


def test_an_axis_of_one_position_is_left_like_any_other() -> None:
    n, i = extent("n"), Index("i")
    before = Read("o", (Add((i, Const(-1))),))
    program = by_hand(Add((Read("y", (i,)), before)), TensorDecl("x", (n,)), TensorDecl("y", (extent(1),)))
    same_numbers(run(program, np.zeros(3), np.array([5.0])), [5, 5, 5])


def test_subscripts_do_not_wrap_around() -> None:
    for far in ("4611686018427387904 * 4", "65536 * 65536 * 65536 * 65536"):
        same_numbers(call(f"def f(x[n]) -> o[n]:  o[i] = x[i * {far}]", [1, 2, 3]), [1, 0, 0])
