"""Decays in every spelling, as the relation that they become."""

from __future__ import annotations

import pytest

from tensorc import parse
from tensorc.ir import extent
from tensorc.passes.chains import merge
from tensorc.passes.linear import definitions
from tensorc.passes.records import Log
from tensorc.passes.relation import TOKEN
from tensorc.passes.relation_order import Decay, Order
from tensorc.passes.terms import Sum, Term
from tensorc.printing import print_expr

INPUTS = "x[n], g[n], a[n], h[n, d], k[n, d], m[n], s[], w[d]"


def terms(factor: str, domain: str = "j <= i") -> tuple[Term, ...]:
    """The terms of sum[domain](factor · x[j])."""
    program = parse(f"def f({INPUTS}) -> o[n]:  o[i] = sum[{domain}, c]({factor} * k[j, c] * x[j])")
    found = definitions(program, extent("n"), True, Log())[-1]
    assert isinstance(found, Sum)
    return found.terms


def order(factor: str, domain: str = "j <= i") -> tuple[Order, Term]:
    """The one relation that the factor and the order make together, and the rest of the term."""
    (term,) = terms(factor, domain)
    merged = merge(term)
    assert merged is not None
    (relation,) = merged.relations
    assert isinstance(relation, Order)
    return relation, merged


def text(decay: Decay) -> str:
    return print_expr(decay.gate.at("t")).replace(TOKEN, "t")


@pytest.mark.parametrize(
    ("factor", "gate", "log"),
    (
        ("exp(sum[j < u <= i](g[u]))", "exp(g[t])", True),
        ("exp(-sum[j < u <= i](g[u]))", "exp(-1 * g[t])", True),
        ("exp(2 * sum[j < u <= i](g[u]))", "exp(2 * g[t])", True),
        ("exp(sum[j < u <= i](g[u]) / 2)", "exp(1 / 2 * g[t])", True),
        ("exp(-s * sum[j < u <= i](g[u]))", "exp(-s * g[t])", True),
        ("exp(w[c] * sum[j < u <= i](g[u]))", "exp(w[c] * g[t])", True),
        ("exp(sum[j < u <= i](-softplus(g[u]) + m[u]))", "exp(-softplus(g[t]) + m[t])", True),
        ("exp(sum[j < u <= i](log(sigmoid(g[u]))))", "exp(log(sigmoid(g[t])))", True),
        ("prod[j < u <= i](a[u])", "a[t]", False),
        ("prod[j < u <= i](1 - a[u] ** 2)", "1 - a[t] ** 2", False),
        ("prod[u > j, i >= u](a[u])", "a[t]", False),
        ("exp(sum[j < u <= i](h[u, c]))", "exp(h[t, c])", True),
        ("prod[j < u <= i](h[u, c] * a[u])", "h[t, c] * a[t]", False),
        ("s ** (i - j)", "s", False),
        ("s ** (2 * (i - j))", "s ** 2", False),
        ("w[c] ** (i - j)", "w[c]", False),
        ("0.5 ** (i - j)", "0.5", False),
        ("exp(-s * (i - j))", None, True),
        ("exp(s * (j - i))", None, True),
        ("exp((i - j) / -4)", None, True),
        ("prod[u, j < u <= i](s)", "s", False),
        ("exp(sum[u, j < u <= i](-s))", "exp(-s)", True),
    ),
)
def test_spellings(factor: str, gate: str | None, log: bool) -> None:
    relation, merged = order(factor)
    (decay,) = relation.decays
    assert (relation.early, relation.late) == ("j", "i") and decay.gate.log == log
    assert (decay.with_early, decay.with_late) == (False, True)
    assert decay.gate.constant == (TOKEN not in print_expr(decay.gate.value))
    if gate is not None:
        assert text(decay) == gate
    assert print_expr(merged.scale) == "1"


@pytest.mark.parametrize(
    ("ends", "early", "late"),
    (
        ("j < u <= i", False, True),
        ("j <= u < i", True, False),
        ("j < u < i", False, False),
        ("j <= u <= i", True, True),
    ),
)
@pytest.mark.parametrize("kind", ("exp(sum[{}](g[u]))", "prod[{}](a[u])"))
def test_ends(kind: str, ends: str, early: bool, late: bool) -> None:
    (decay,) = order(kind.format(ends))[0].decays
    assert (decay.with_early, decay.with_late) == (early, late)


def test_reversed() -> None:
    relation, _ = order("exp(sum[i < u <= j](g[u]))", "j >= i")
    assert (relation.early, relation.late) == ("i", "j") and len(relation.decays) == 1


def test_several_on_one_edge() -> None:
    relation, _ = order("exp(sum[j < u <= i](g[u])) * prod[j <= u < i](a[u]) * s ** (i - j)")
    assert len(relation.decays) == 3


def test_a_power_of_a_decay_is_several() -> None:
    relation, _ = order("prod[j < u <= i](a[u]) ** 2")
    assert len(relation.decays) == 2


def test_in_a_sum_inside_exp() -> None:
    """exp of gates plus terms of one token: a decay and factors."""
    relation, merged = order("exp(sum[j < u <= i](g[u]) + x[i] - m[j])")
    assert len(relation.decays) == 1
    assert len(merged.factors) == 4


def test_a_condition_guards_the_gate() -> None:
    (decay,) = order("prod[j < u <= i, m[u] != 0](a[u])")[0].decays
    assert text(decay) == "where(m[t] != 0, a[t], 1)"
    (logs,) = order("exp(sum[j < u <= i, m[u] != 0](g[u]))")[0].decays
    assert text(logs) == "exp(where(m[t] != 0, g[t], 0))"


@pytest.mark.parametrize(
    ("factor", "rest"), (("s ** (i - j + 1)", "s ** 1"), ("exp(-(i - j + 2))", "exp(-2)"))
)
def test_an_offset_is_a_scale(factor: str, rest: str) -> None:
    relation, merged = order(factor)
    assert len(relation.decays) == 1
    assert print_expr(merged.scale) in (rest, "exp(-1 * 2)")


def test_one_step_less_leaves_out_the_late_end() -> None:
    (decay,) = order("s ** (i - j - 1)", "j < i")[0].decays
    assert (decay.with_early, decay.with_late) == (False, False)


def test_one_step_less_needs_a_strict_order() -> None:
    """s ** -1 where i = j is no empty product."""
    (term,) = terms("s ** (i - j - 1)", "j <= i")
    merged = merge(term)
    assert merged is not None and len(merged.relations) == 2


@pytest.mark.parametrize(
    "factor",
    (
        "exp(sum[j < u <= i](g[u] * x[i]))",  # the gates depend on the end
        "exp(sum[j < u <= i](g[u]) * x[i])",
        "exp(sum[u <= i](g[u]))",  # no lower end: a factor of one token
        "exp(2 * g[j])",
        "s ** (i + j)",
        "a[j] ** (i - j)",
        "exp(-abs(i - j))",
    ),
)
def test_no_decays(factor: str) -> None:
    for term in terms(factor):
        for relation in term.relations:
            assert isinstance(relation, Order) and not relation.decays


def test_of_one_token() -> None:
    """prod[j <= u <= j] is the gate at j, prod[j < u <= j] is 1."""
    (term,) = terms("prod[j <= u <= j](a[u]) * prod[j < u <= j](g[u])")
    assert all(isinstance(r, Order) for r in term.relations)
    assert sorted(print_expr(f) for f in term.factors) == ["a[j]", "k[j, c]", "x[j]"]
