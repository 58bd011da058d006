"""Equations as sums of products: what is taken apart, what stays, what is said of it."""

from __future__ import annotations

import pytest

from tensorc import parse
from tensorc.ir import Const, Iverson, Mul, Pow, Where, extent
from tensorc.passes.guards import guard_pairs, strong
from tensorc.passes.linear import definitions
from tensorc.passes.normalise import MONOMIALS, merge_masks
from tensorc.passes.records import Log
from tensorc.passes.relation_order import Order
from tensorc.passes.terms import Definition, Map, Sum
from tensorc.printing import print_expr

HEADER = "q[n, d], k[n, d], v[n, e], x[n], y[n], m[n], P[n, n], s[]"


def flat(body: str, expand: bool = True, left: str = "i", log: Log | None = None) -> list[Definition]:
    axes = {"i": "n", "x": "e", "c": "d"}
    output = ", ".join(axes[i] for i in left)
    program = parse(f"def f({HEADER}) -> o[{output}]:  o[{', '.join(left)}] = {body}")
    return definitions(program, extent("n"), expand, log or Log())


def one_sum(body: str, expand: bool = True) -> Sum:
    """The definition of an equation that is one sum."""
    found = flat(body, expand)[-1]
    assert isinstance(found, Sum)
    return found


def counts(body: str, expand: bool = True) -> list[tuple[int, int]]:
    """Factors and relations of every term."""
    return [(len(t.factors), len(t.relations)) for t in one_sum(body, expand).terms]


def refusals(body: str) -> list[str]:
    log = Log()
    flat(body, log=log)
    return [r.reason for r in log.refusals if r.rule == "summary-first"]


@pytest.mark.parametrize(
    ("body", "found"),
    (
        ("sum[j <= i](x[j] * y[i])", [(2, 1)]),
        ("sum[j <= i](sum[c](q[i, c] * k[j, c]) * x[j])", [(3, 1)]),
        ("sum[j <= i](x[j] * (1 + q[i, c] * k[j, c]))", [(1, 1), (3, 1)]),
        ("sum[j <= i]((x[i] + y[j]) * (x[j] - y[i]))", [(2, 1)] * 4),
        ("sum[j <= i](x[j] / y[i])", [(2, 1)]),
        ("sum[j <= i](x[j] / (y[i] * y[j]))", [(3, 1)]),
        ("sum[j <= i](exp(x[i] - y[j] + x[j]) * y[j])", [(3, 1)]),
        ("sum[j <= i](-(-x[j]))", [(1, 1)]),
        ("sum[j <= i, j < i, m[j] != 0](x[j])", [(2, 2)]),
        ("sum[j]([j <= i] * x[j])", [(1, 1)]),
        ("sum[j](where(j <= i, x[j], y[j]))", [(1, 1), (1, 1)]),
        ("sum[j](where(j <= i, x[j], 0))", [(1, 1)]),
        ("sum[j](where(m[j] > 0, x[j], y[j]) * y[i])", [(2, 0)]),
        ("sum[j, not (i < j)](x[j])", [(1, 1)]),
        ("sum[j, j != i](x[j])", [(1, 1), (1, 1)]),
        ("sum[j <= i]((elu(x[j]) + 1) * y[i])", [(2, 1)]),
    ),
)
def test_terms(body: str, found: list[tuple[int, int]]) -> None:
    assert counts(body) == found


def test_a_pair_is_expanded_only_where_asked() -> None:
    body = "sum[j <= i](x[j] * (1 + sum[c](q[i, c] * k[j, c])) ** 2)"
    assert len(one_sum(body, expand=True).terms) == 3
    assert len(one_sum(body, expand=False).terms) == 1


def test_every_monomial_of_a_power_once() -> None:
    """(1 + s) ** 5 has six monomials, with the binomial coefficients."""
    found = one_sum("sum[j <= i](x[j] * (1 + sum[c](q[i, c] * k[j, c])) ** 5)")
    assert [print_expr(t.scale) for t in found.terms] == ["1", "5", "10", "10", "5", "1"]
    assert [len(t.bound) for t in found.terms] == [1, 2, 3, 4, 5, 6]


def test_a_power_past_the_bound_is_a_pair_that_stays() -> None:
    assert "is not separable" in refusals("sum[j <= i](x[j] * sum[c](q[i, c] * k[j, c]) ** 9)")[0]
    wide = " + ".join(f"x[i] * y[j] ** {k}" for k in range(MONOMIALS + 1))
    (reason,) = refusals(f"sum[j <= i](({wide}) * x[j])")
    assert "is not separable" in reason and len(reason) < 160


@pytest.mark.parametrize(
    ("body", "kind"),
    (
        ("sum[j <= i](relu(sum[c](q[i, c] * k[j, c])) * x[j])", "relu of a pair (i and j)"),
        ("sum[j <= i](cos(s * (i - j)) * x[j])", "cos of a pair (i and j)"),
        ("sum[j <= i](exp(sum[c](q[i, c] * k[j, c])) * x[j])", "exp of a pair (i and j)"),
        ("sum[j <= i](P[i, j] * x[j])", "P is a tensor of two tokens (i and j)"),
        ("sum[j](softmax[j, j <= i](x[j] * y[i]) * x[j])", "softmax over j"),
        ("max[j <= i](x[j])", "max over j"),
    ),
)
def test_what_cannot_be_taken_apart(body: str, kind: str) -> None:
    assert any(kind in reason for reason in refusals(body)), refusals(body)


def test_the_same_sum_twice_is_one_definition() -> None:
    body = "sum[j <= i](x[j] * y[i]) / (1 + abs(sum[u <= i](x[u] * y[i])))"
    found = flat(body)
    assert [type(d) for d in found] == [Sum, Map]


def test_a_mean_is_a_sum_over_a_count() -> None:
    found = flat("mean[j < i](x[j] * y[i])")
    assert [type(d) for d in found] == [Sum, Sum, Map]


def test_sums_inside_a_function_are_definitions_of_their_own() -> None:
    found = flat("tanh(sum[j <= i](x[j])) * x[i]")
    assert [type(d) for d in found] == [Sum, Map]


# -- guards ----------------------------------------------------------------------------------------------


def test_a_strong_zero() -> None:
    """[m > 0] · x / m is 0, not 0 / 0, where m is 0."""
    (term,) = one_sum("sum[j <= i]([m[j] > 0] * x[j] / m[j])").terms
    factors = merge_masks(term).factors
    assert factors and all(isinstance(f, Where) and f.otherwise == Const(0) for f in factors)
    found = flat("[m[i] > 0] * x[i] / m[i]")[-1]
    assert isinstance(found, Map) and isinstance(found.expr, Where)


def test_strong_leaves_the_rest_alone() -> None:
    plain = parse("def f(x[n]) -> y[n]:  y[i] = exp(x[i]) * (1 + x[i])").equations[0].body
    assert strong(plain) == plain


def test_pairs_are_guarded_by_every_order_that_follows() -> None:
    (term,) = one_sum("sum[u < j, j <= i](log(i - u) * x[u] * y[j])", expand=False).terms
    guarded = guard_pairs(term)
    (pair,) = [f for f in guarded.factors if isinstance(f, Where)]
    assert print_expr(pair).startswith("where(u < i, ")
    assert len(guarded.relations) == 2


def test_an_order_that_guards_is_not_applied_again() -> None:
    (term,) = one_sum("sum[j < i](x[j] / (i - j))", expand=False).terms
    guarded = guard_pairs(term)
    assert guarded.relations == () and any(isinstance(f, Where) for f in guarded.factors)


def test_a_term_without_pairs_is_as_it_was() -> None:
    (term,) = one_sum("sum[j <= i](x[j] * y[i])").terms
    assert guard_pairs(term) == term
    assert term.relations == (Order("j", "i"),)


def test_nested_products_and_negations_are_strong() -> None:
    body = parse("def f(x[n], m[n]) -> y[n]:  y[i] = -(2 * ([m[i] > 0] * x[i])) / m[i]").equations[0].body
    found = strong(body)
    assert isinstance(found, Where)
    assert not any(isinstance(part, Iverson) for part in (found.then, found.otherwise))
    assert not isinstance(found.then, Mul | Pow)
