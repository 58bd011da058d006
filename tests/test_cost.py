"""Costs: polynomials, counts against the published ones, memory against NumPy, the time model."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import prod
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc
from tensorc.cost import FIGURES, best_chunk, crossover, plan_cost, plan_time
from tensorc.ir import Add as Sum
from tensorc.ir import Call, Const, Div, Index, Mul, Neg, Read, Size
from tensorc.model import CHUNKS
from tensorc.operations import operations
from tensorc.plan import Plan
from tensorc.polynomial import Polynomial
from tensorc.rates import DEFAULT, RATES, measure_rates

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
STREAMS = (
    "linear_attention normalised retention scalar_gated gated hla2 hla2_prefix ahla hla3 "
    "tensor_interaction triple"
).split()


def sizes_of(name: str, **given: int) -> dict[str, int]:
    program = tensorc.parse((EXAMPLES / f"{name}.tc").read_text())
    usual = {"n": 1024, "m": 1024, "d": 64, "e": 64, "w": 128} | given
    return {size: usual.get(size, 4) for size in program.sizes()}


@cache
def plan(name: str, form: str, **given: int) -> Plan:
    return tensorc.compile(EXAMPLES / f"{name}.tc", time="n").forms.plan(form, sizes_of(name, **given))


def forms(name: str) -> list[str]:
    found = tensorc.compile(EXAMPLES / f"{name}.tc", time="n").forms
    return [form for form in ("parallel", "chunkwise", "recurrent") if found.exists(form)]


# -- polynomials ---------------------------------------------------------------------------------------------

NAMES = ("n", "d", "C")
MONOMIALS = st.dictionaries(st.sampled_from(NAMES), st.integers(-2, 3).filter(bool), max_size=3)
COEFFICIENTS = st.fractions(-5, 5, max_denominator=6)
POLYNOMIALS = st.lists(st.tuples(MONOMIALS, COEFFICIENTS), max_size=4).map(
    lambda items: Polynomial({tuple(sorted(m.items())): c for m, c in items})
)
VALUES = st.fixed_dictionaries({name: st.integers(1, 9) for name in NAMES})


@given(POLYNOMIALS, POLYNOMIALS, VALUES)
def test_sums_and_products_have_the_values_of_sums_and_products(
    a: Polynomial, b: Polynomial, at: dict[str, int]
) -> None:
    assert (a + b).at(at) == a.at(at) + b.at(at)
    assert (a * b).at(at) == a.at(at) * b.at(at)
    assert (3 * a + Fraction(1, 2)).at(at) == 3 * a.at(at) + Fraction(1, 2)
    assert a * b == b * a and a + b == b + a and hash(a * b) == hash(b * a)


@given(POLYNOMIALS, VALUES)
def test_the_text_of_a_polynomial_is_its_value(a: Polynomial, at: dict[str, int]) -> None:
    assert value_of(a.text(), at) == a.at(at)


def value_of(text: str, sizes: dict[str, int]) -> Fraction:
    """A printed polynomial at these sizes."""
    total = Fraction(0)
    for term in text.replace(" - ", " + -").split(" + "):
        above, _, below = term.removeprefix("-").partition("/")
        sign = -1 if term.startswith("-") else 1
        total += sign * _product(above, sizes) / _product(below.strip("()"), sizes)
    return total


def _product(text: str, sizes: dict[str, int]) -> Fraction:
    powers = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
    value = Fraction(1)
    for factor in filter(None, text.split("·")):
        name = factor.rstrip("⁰¹²³⁴⁵⁶⁷⁸⁹")
        power = int(factor[len(name) :].translate(powers) or 1)
        value *= Fraction(int(name) if name.isdigit() else sizes[name]) ** power
    return value


def test_polynomials_print_by_degree_in_the_order_asked_for() -> None:
    n, d, c = map(Polynomial.symbol, NAMES)
    cost = n * d * Fraction(1, 2) + 16 * n * d * d + n * d * d * c.power(-1) + 3 + -1 * c
    assert cost.text(["n", "C", "d"]) == "16·n·d² + n·d²/C + n·d/2 - C + 3"
    assert cost.text(["d", "n"]) == "16·d²·n + d²·n/C + d·n/2 - C + 3"
    assert str(Polynomial({})) == "0" and str(Polynomial.constant(-2)) == "-2"
    assert str(3 * (2 * n * c * c).power(-1)) == "3/(2·n·C²)"
    with pytest.raises(ValueError, match="not a monomial"):
        (n + d).power(2)


# -- counts --------------------------------------------------------------------------------------------------

MULTIPLY_ADDS: dict[str, Callable[[int, int], int]] = {
    "linear_attention": lambda d, e: 2 * d * e,
    "hla2": lambda d, e: 2 * d * d + 2 * d * e,
    "hla2_prefix": lambda d, e: 2 * d * d + 2 * d * e,
    "ahla": lambda d, e: 4 * d * e,
    "hla3": lambda d, e: 2 * d * d + 4 * d * e,
    "tensor_interaction": lambda d, e: 3 * d * d,
}
STATES: dict[str, Callable[[int, int], int]] = {
    "linear_attention": lambda d, e: d * e,
    "normalised": lambda d, e: d * e + d,
    "retention": lambda d, e: d * e,
    "scalar_gated": lambda d, e: d * e,
    "gated": lambda d, e: d * e,
    "hla2": lambda d, e: d * d + d * e,
    "hla2_prefix": lambda d, e: d * d + d * e,
    "ahla": lambda d, e: 2 * d * e,
    "hla3": lambda d, e: d * d + 2 * d * e,
    "tensor_interaction": lambda d, e: d * d,
    "triple": lambda d, e: 2 * d * e,
}


@pytest.mark.parametrize("name", sorted(MULTIPLY_ADDS))
@pytest.mark.parametrize(("d", "e"), [(64, 64), (16, 48)])
def test_a_token_costs_the_published_multiply_adds(name: str, d: int, e: int) -> None:
    found = plan(name, "recurrent", d=d, e=e)
    cost = plan_cost(found, sizes_of(name, n=10, d=d, e=e))
    assert cost.flops == 10 * 2 * MULTIPLY_ADDS[name](d, e)


@pytest.mark.parametrize("name", sorted(STATES))
@pytest.mark.parametrize("form", ["chunkwise", "recurrent"])
@pytest.mark.parametrize(("d", "e"), [(64, 64), (16, 48)])
def test_the_state_is_the_published_one(name: str, form: str, d: int, e: int) -> None:
    cost = plan_cost(plan(name, form, d=d, e=e), sizes_of(name, d=d, e=e))
    assert cost.state_elements == STATES[name](d, e)


@pytest.mark.parametrize(("name", "factor"), [("linear_attention", 8), ("scalar_gated", 8), ("hla2", 16)])
def test_matrix_products_of_the_chunkwise_form(name: str, factor: int) -> None:
    """At C = d = e, 8·d² FLOPs a token and stage, and elementwise work of lower order."""
    cost = plan_cost(plan(name, "chunkwise"), sizes_of(name), chunk=64)
    products = sum(s.flops for s in cost.steps if s.kind == "product")
    assert products == 1024 * factor * 64 * 64
    assert products < cost.flops < 1.03 * products


@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.tc")))
def test_symbols_and_numbers_agree(name: str) -> None:
    """Where chunks are full, each polynomial has the value of its number."""
    for form in forms(name) if "n" in sizes_of(name) else ["parallel"]:
        found = plan(name, form) if "n" in sizes_of(name) else _plain(name)
        for chunk in (16, 64):
            cost = plan_cost(found, sizes_of(name), chunk)
            for figure in FIGURES:
                text = cost.symbolic[figure]
                assert value_of(text, sizes_of(name) | {"C": chunk}) == getattr(cost, figure), (form, figure)


def _plain(name: str) -> Plan:
    return tensorc.compile(EXAMPLES / f"{name}.tc").forms.plan("parallel", sizes_of(name))


def test_a_rest_counts_as_a_shorter_chunk() -> None:
    found = plan("scalar_gated", "chunkwise")
    parts = [plan_cost(found, sizes_of("scalar_gated", n=n), chunk=64).flops for n in (64, 36, 100, 0)]
    assert parts[0] + parts[1] == parts[2] and parts[3] == 0


def test_traffic_is_inputs_and_outputs_where_chunks_stay_in_cache() -> None:
    chunks, sizes = plan("hla2", "chunkwise"), sizes_of("hla2")
    single, double = (plan_cost(chunks, sizes, rates=rates).bytes for rates in RATES.values())
    assert single == 4 * 1024 * (64 * 4) and double == 2 * single
    assert plan_cost(plan("hla2", "parallel"), sizes).bytes > 20 * single


def test_steps_name_their_rule_line_and_equation() -> None:
    cost = plan_cost(plan("hla2", "chunkwise"), sizes_of("hla2"))
    assert sum(s.flops for s in cost.steps) == cost.flops
    work = [s for s in cost.steps if s.flops]
    assert {s.why.line for s in work} == {5}
    assert all(s.why.rule and s.why.equation.startswith("o[i, x]") for s in work)
    assert max(s.intensity for s in work) > 5


def test_a_size_that_is_missing() -> None:
    with pytest.raises(KeyError):
        plan_cost(plan("hla2", "chunkwise"), {"n": 64, "d": 8})


# -- operations of expressions -------------------------------------------------------------------------------


def test_operations_run_over_their_own_labels() -> None:
    i, x = Index("i"), Index("x")
    g, v = Read("g", (i,)), Read("v", (i, x))
    assert _work(Mul((Call("exp", (g,)), v))) == {("i", True): 1, ("ix", False): 1}
    assert _work(Sum((v, Neg(g)))) == {("ix", False): 1}
    assert _work(Sum((v, Mul((Const(0), x))))) == {}
    assert _work(Mul((Div(Const(1), Call("sqrt", (Size("d"),))), v))) == {("ix", False): 1}


def _work(expr: object) -> dict[tuple[str, bool], int]:
    return {("".join(sorted(o.labels)), o.special): o.count for o in operations(expr)}  # type: ignore[arg-type]


# -- memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear_attention", "hla2", "normalised", "hla3"])
@pytest.mark.parametrize("form", ["parallel", "chunkwise"])
def test_the_peak_is_what_numpy_allocates(name: str, form: str) -> None:
    """Within the buffers that the generated code reuses or keeps a little longer."""
    operator = tensorc.compile(EXAMPLES / f"{name}.tc", form=form)
    sizes = sizes_of(name, n=512)
    rng = np.random.default_rng(0)
    shapes = [[axis.value(sizes) for axis in tensor.axes] for tensor in operator.program.inputs]
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    operator(*arrays)
    tracemalloc.start()
    operator(*arrays)
    measured = tracemalloc.get_traced_memory()[1] / 4
    tracemalloc.stop()
    cost = plan_cost(operator.forms.plan(form, sizes), sizes)
    own = cost.peak_elements - sum(map(prod, shapes))
    assert 0.4 * own < measured < 2 * own


@pytest.mark.parametrize("name", STREAMS)
def test_a_longer_sequence_needs_only_longer_inputs_and_outputs(name: str) -> None:
    program = tensorc.parse((EXAMPLES / f"{name}.tc").read_text())
    short, long = sizes_of(name, n=1024), sizes_of(name, n=65536)
    for form in ("chunkwise", "recurrent"):
        peaks = [plan_cost(plan(name, form), sizes).peak_elements for sizes in (short, long)]
        tensors = (*program.inputs, *program.outputs)
        given = [sum(prod(a.value(sizes) for a in t.axes) for t in tensors) for sizes in (short, long)]
        assert peaks[1] - peaks[0] == given[1] - given[0]


# -- time ----------------------------------------------------------------------------------------------------


def test_the_model_is_deterministic_and_grows_with_the_work() -> None:
    found = plan("hla2", "chunkwise")
    times = [plan_time(found, sizes_of("hla2", n=n)) for n in (64, 1024, 1024, 16384)]
    assert times[0] < times[1] == times[2] < times[3]
    assert plan_time(found, sizes_of("hla2"), RATES["float64"]) > times[1]


def test_a_batch_shares_the_calls() -> None:
    found, sizes = plan("hla2", "recurrent"), sizes_of("hla2")
    one, eight = (plan_time(found, sizes, batch=batch) for batch in (1, 8))
    assert one < eight < 8 * one


def test_fine_tiles_of_channels_want_small_chunks() -> None:
    fine, plain = (best_chunk(plan(name, "chunkwise"), sizes_of(name)) for name in ("gated", "normalised"))
    assert fine < plain and {fine, plain} <= set(CHUNKS)


def test_crossovers_are_where_the_cheapest_form_changes() -> None:
    plans = {form: plan("hla2", form) for form in ("parallel", "chunkwise", "recurrent")}
    found = crossover(plans, sizes_of("hla2"))
    assert [c["to"] for c in found][-1] == "chunkwise"
    for change in found:
        before, after = str(change["from"]), str(change["to"])
        for n, cheaper in ((int(change["n"]) - 1, before), (int(change["n"]), after)):
            times = {form: plan_time(p, sizes_of("hla2", n=n)) for form, p in plans.items()}
            assert times[cheaper] == min(times.values())


def test_no_crossover_without_a_choice() -> None:
    assert crossover({"parallel": plan("hla2", "parallel")}, sizes_of("hla2")) == []
    assert crossover({"parallel": _plain("mpo"), "other": _plain("mpo")}, sizes_of("mpo")) == []
    assert crossover({}, {}) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5000), st.sampled_from(["chunkwise", "recurrent", "parallel"]))
def test_the_roofline_is_a_share(n: int, form: str) -> None:
    cost = plan_cost(plan("linear_attention", form), sizes_of("linear_attention", n=n))
    assert 0 < cost.roofline <= 1 and cost.seconds > 0


def test_rates_can_be_measured() -> None:
    start = perf_counter()
    rates = measure_rates()
    assert perf_counter() - start < 2
    assert (rates.dtype, rates.itemsize) == ("float32", 4)
    for field in ("matmul", "large", "elementwise", "function", "cache", "memory", "call"):
        assert getattr(DEFAULT, field) / 1000 < getattr(rates, field) < getattr(DEFAULT, field) * 1000
    with pytest.raises(ValueError, match="float16"):
        measure_rates("float16")
