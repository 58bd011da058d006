"""Approximation: what is replaced, how far off it is, and whether data keeps the bound."""

from __future__ import annotations

from math import exp
from pathlib import Path

import numpy as np
import pytest

import tensorc
from tensorc.approximation import as_dict, remainder
from tensorc.ir import Program

QKV = "q[n, d], k[n, d], v[n, e]"
CAUSAL = f"""
def attention({QKV}) -> o[n, e]:
    p[i, j] = softmax[j, j <= i](q[i, c] * k[j, c] / sqrt(d))
    o[i, x] = p[i, j] * v[j, x]
"""
PROGRAMS = {
    "causal": CAUSAL,
    "strict": CAUSAL.replace("<=", "<"),
    "cross": """
def cross(q[n, d], k[m, d], v[m, e]) -> o[n, e]:
    p[i, j] = softmax[j](q[i, c] * k[j, c])
    o[i, x] = p[i, j] * v[j, x]
""",
    "alibi": f"""
def alibi({QKV}, slope[]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c] / sqrt(d) - slope * (i - j)
    p[i, j] = softmax[j, j <= i](s[i, j])
    o[i, x] = p[i, j] * v[j, x]
""",
    "decayed": f"""
def decayed({QKV}, g[n]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    D[i, j] = exp(sum[j < u <= i](g[u]))
    o[i, x] = sum[j <= i](D[i, j] * exp(s[i, j]) * v[j, x]) / sum[j <= i](D[i, j] * exp(s[i, j]))
""",
    "forgetting": f"""
def forgetting({QKV}, g[n]) -> o[n, e]:
    p[i, j] = softmax[j, j <= i](q[i, c] * k[j, c] + sum[j < u <= i](g[u]))
    o[i, x] = p[i, j] * v[j, x]
""",
    "triple": """
def triple(q[n, d], k1[n, d], k2[n, d], v1[n, e], v2[n, e]) -> o[n, e]:
    p[i, j, l] = softmax[j, l, j <= i, l <= i](q[i, c] * k1[j, c] * k2[l, c])
    o[i, x] = p[i, j, l] * v1[j, x] * v2[l, x]
""",
    "grouped": """
def grouped(q[g * r, n, d], k[g, n, d], v[g, n, e]) -> o[g * r, n, e]:
    p[h, i, j] = softmax[j, j <= i](q[h, i, c] * k[h // r, j, c])
    o[h, i, x] = p[h, i, j] * v[h // r, j, x]
""",
    "total": "def total(q[n, d], k[n, d]) -> z[n]:\n    z[i] = logsumexp[j, j <= i](q[i, c] * k[j, c])\n",
}


def quadratic(name: str) -> Program:
    return tensorc.approximate(PROGRAMS[name], "exp", degree=2, bound=1.0)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_result_prints_and_parses_back(name: str) -> None:
    program = quadratic(name)
    assert tensorc.parse(str(program)) == program


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_form_equals_the_approximated_definition(name: str) -> None:
    tensorc.compile(quadratic(name)).verify(time_limit=5)


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n != "cross"])
def test_what_was_a_softmax_has_a_state_that_does_not_grow(name: str) -> None:
    operator = tensorc.compile(quadratic(name))
    states = {
        operator.report(n=n).to_dict()["forms"]["recurrent"]["state_elements"] for n in (512, 1024, 4096)
    }
    assert len(states) == 1


def test_the_state_is_packed_and_shared() -> None:
    d, e = 16, 64
    operator = tensorc.compile(quadratic("causal"))
    recurrent = operator.report(n=4096, d=d, e=e).to_dict()["forms"]["recurrent"]
    assert recurrent["state_elements"] == (1 + d + d * (d + 1) // 2) * (e + 1)


def test_biases_and_decays_stay_as_they_are() -> None:
    assert "exp(-(slope * (i - j)))" in str(quadratic("alibi"))
    assert "D[i, j] = exp(sum[j < u <= i](g[u]))" in str(quadratic("decayed"))
    assert "exp(sum[j < u <= i](g[u]))" in str(quadratic("forgetting"))


@pytest.mark.parametrize("name", ["causal", "strict", "triple", "alibi"])
def test_it_is_close_to_the_program_within_the_remainder(name: str) -> None:
    rng = np.random.default_rng(5)
    program = tensorc.approximate(PROGRAMS[name], degree=4, bound=0.5)
    exact = tensorc.compile(PROGRAMS[name], backend="reference")
    shapes = {decl.name: (8,) * len(decl.axes) for decl in program.inputs}
    inputs = [rng.uniform(0, 0.2, shape) for shape in shapes.values()]
    close = tensorc.compile(program)
    assert close.check_bounds(*inputs) <= 0.5
    relative = remainder(program.approximations[0]).relative
    # Weights are off by at most (1 + r) / (1 - r), values are positive.
    allowed = (1 + relative) / (1 - relative) - 1 + 1e-12
    wanted = exact(*inputs)
    assert np.all(np.abs(close(*inputs) - wanted) <= allowed * np.abs(wanted))


@pytest.mark.parametrize("degree", range(9))
@pytest.mark.parametrize("bound", [0.1, 1.0, 5.0])
def test_the_remainder_is_the_largest_distance(degree: int, bound: float) -> None:
    program = tensorc.approximate("def f(q[n, d], k[n, d]) -> o[n]:\n o[i] = sum[j](exp(q[i, c] * k[j, c]))",
                                  degree=degree, bound=bound)  # fmt: skip
    found = remainder(program.approximations[0])
    scores = np.linspace(-bound, bound, 2001)
    polynomial = sum(scores**k / np.prod(np.arange(1, k + 1)) for k in range(degree + 1))
    difference = np.abs(np.exp(scores) - polynomial)
    assert found.absolute == pytest.approx(difference.max(), rel=1e-6, abs=1e-14)
    assert found.relative == pytest.approx((difference / np.exp(scores)).max(), rel=1e-6, abs=1e-14)


def test_the_report_tells_function_degree_bound_and_remainder() -> None:
    program = quadratic("causal")
    report = tensorc.compile(program).report(n=512, d=8, e=8)
    (found,) = report.to_dict()["approximations"]
    assert found == as_dict(program.approximations[0])
    assert (found["function"], found["degree"], found["bound"], found["line"]) == ("exp", 2, 1.0, 3)
    assert found["absolute"] == pytest.approx(exp(1) - 2.5)
    assert found["relative"] == pytest.approx(exp(1) * 0.5 - 1)
    assert "exp of p_s[i, j] (line 3) by a polynomial" in str(report)
    assert tensorc.compile(CAUSAL).report().to_dict()["approximations"] == []


def test_one_score_in_two_places_is_one_approximation() -> None:
    assert len(quadratic("decayed").approximations) == 1


def test_a_path_and_a_traced_function_are_programs() -> None:
    path = Path(__file__).parents[1] / "examples" / "attention.tc"
    assert tensorc.approximate(path, degree=2, bound=1.0) == tensorc.approximate(str(path), degree=2, bound=1)

    @tensorc.jit("q[n, d], k[n, d], v[n, e] -> o[n, e]")
    def traced(q, k, v):  # type: ignore[no-untyped-def]
        i, j, c, x = tensorc.indices("i j c x")
        p = tensorc.softmax(q[i, c] * k[j, c], j, j <= i)[i, j]
        return tensorc.sum(p[i, j] * v[j, x], j)[i, x]

    assert tensorc.approximate(traced, degree=2, bound=1.0).approximations


# -- bounds of one's data --------------------------------------------------------------------------------


def test_check_bounds_gives_the_largest_score() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.uniform(-0.3, 0.3, (2, 700, 8)) for _ in range(3))
    operator = tensorc.compile(quadratic("causal"))
    scores = np.abs(np.tril(q @ k.swapaxes(-1, -2)) / np.sqrt(8))
    assert operator.check_bounds(q, k, v) == pytest.approx(scores.max(), rel=1e-12)


def test_check_bounds_names_the_score_and_its_place() -> None:
    q, k, v = (np.zeros((3, 2000, 4)) for _ in range(3))
    q[2, 1500, 0], k[2, 1400, 0] = 3.0, -2.0
    q[1, 1, 1], k[1, 1, 1] = 2.0, 2.0  # beyond too, but not the largest
    operator = tensorc.compile(quadratic("causal"))
    with pytest.raises(
        tensorc.TensorcError, match=r"p_s\[i, j\] \(line 3\) is 3 in .* i = 1500, j = 1400 of batch"
    ):
        operator.check_bounds(q, k, v)


def test_what_the_domain_excludes_is_not_checked() -> None:
    q, k, v = (np.zeros((50, 4)) for _ in range(3))
    q[10, 0], k[20, 0] = 9.0, 9.0
    assert tensorc.compile(quadratic("causal")).check_bounds(q, k, v) == 0.0
    with pytest.raises(tensorc.TensorcError, match="i = 10, j = 20"):
        program = tensorc.approximate(CAUSAL.replace("j, j <= i", "j"), degree=2, bound=1.0)
        tensorc.compile(program).check_bounds(q, k, v)


def test_a_score_that_is_no_number_is_beyond_every_bound() -> None:
    q, k, v = (np.zeros((5, 4)) for _ in range(3))
    q[3, 0] = np.nan
    with pytest.raises(tensorc.TensorcError, match="is nan"):
        tensorc.compile(quadratic("causal")).check_bounds(q, k, v)


def test_empty_inputs_keep_every_bound() -> None:
    operator = tensorc.compile(quadratic("causal"))
    assert operator.check_bounds(np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 2))) == 0.0


def test_a_triple_score_is_checked_in_blocks() -> None:
    rng = np.random.default_rng(1)
    inputs = [rng.uniform(-0.5, 0.5, (60, 3)) for _ in range(5)]
    q, k1, k2 = inputs[:3]
    scores = np.abs(np.einsum("ic,jc,lc->ijl", q, k1, k2))
    i, j, m = np.ogrid[:60, :60, :60]
    largest = scores[(j <= i) & (m <= i)].max()
    assert tensorc.compile(quadratic("triple")).check_bounds(*inputs) == pytest.approx(largest, rel=1e-12)


def test_nothing_approximated_has_no_bounds() -> None:
    with pytest.raises(tensorc.TensorcError, match="Nothing in attention is approximated"):
        tensorc.compile(CAUSAL).check_bounds(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))


# -- misuse ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": "tanh"}, "No polynomial for 'tanh'"),
        ({"degree": -1}, "0, 1, 2, ...; not -1"),
        ({"degree": 2.0}, "not 2.0"),
        ({"degree": True}, "not True"),
        ({"degree": 9}, "beyond 8, the largest power"),
        ({"bound": 0}, "above 0 and up to 100; not 0"),
        ({"bound": -1.0}, "not -1.0"),
        ({"bound": float("inf")}, "not inf"),
        ({"bound": float("nan")}, "not nan"),
        ({"bound": "1"}, "not '1'"),
        ({"degree": 3, "bound": 2.0}, "degree=3 is odd: the polynomial is -0.333 at a score of -2"),
        ({"degree": 1, "bound": 1.0}, "a bound below 1"),
    ],
)
def test_misuse_says_what_to_write(arguments: dict[str, object], message: str) -> None:
    given = {"function": "exp", "degree": 2, "bound": 1.0} | arguments
    with pytest.raises(tensorc.TensorcError) as caught:
        tensorc.approximate(CAUSAL, **given)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_an_odd_degree_is_fine_where_the_weights_stay_positive() -> None:
    assert tensorc.approximate(CAUSAL, degree=3, bound=1.5).approximations


def test_an_odd_degree_is_fine_where_nothing_is_divided() -> None:
    text = f"def f({QKV}) -> o[n, e]:\n    o[i, x] = sum[j <= i](exp(q[i, c] * k[j, c]) * v[j, x])\n"
    assert tensorc.approximate(text, degree=3, bound=5.0).approximations


@pytest.mark.parametrize(
    "body",
    [
        "sum[j <= i](exp(q[i, c]) * exp(k[j, c]) * v[j, x])",
        "sum[j <= i](exp(q[i, 0] + k[j, 0]) * v[j, x])",
        "sum[j <= i](q[i, c] * k[j, c] * v[j, x])",
    ],
)
def test_a_program_without_exp_of_a_score_says_so(body: str) -> None:
    with pytest.raises(tensorc.TensorcError, match="f has no exp of a score"):
        tensorc.approximate(f"def f({QKV}) -> o[n, e]:\n    o[i, x] = {body}\n", degree=2, bound=1.0)
