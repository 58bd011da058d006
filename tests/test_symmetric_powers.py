"""Powers of scores: states packed to one number for each product, polynomials evaluated once in a chunk."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

import tensorc
from tensorc.execute_monomials import places
from tensorc.plan import Contract, Map, Monomials, Symmetric
from tensorc.polynomial import Polynomial

QKV = "q[n, d], k[n, d], v[n, e]"
SCORE = "    s[i, j] = q[i, c] * k[j, c]\n"


def causal(weight: str, more: str = SCORE, inputs: str = QKV) -> str:
    return f"def f({inputs}) -> o[n, e]:\n{more}    o[i, x] = sum[j <= i]({weight} * v[j, x])\n"


POLYNOMIAL = "(1 + s[i, j] + s[i, j] ** 2 / 2)"
# name -> (program, elements of the state at d=8, e=4)
PROGRAMS: dict[str, tuple[str, int]] = {
    "square": (causal("s[i, j] ** 2"), comb(9, 2) * 4),
    "cube": (causal("s[i, j] ** 3"), comb(10, 3) * 4),
    "fourth": (causal("s[i, j] ** 4"), comb(11, 4) * 4),
    "product": (causal("s[i, j] * s[i, j]"), comb(9, 2) * 4),
    "strict": (causal("s[i, j] ** 2").replace("<=", "<"), comb(9, 2) * 4),
    "polynomial": (causal(POLYNOMIAL), (1 + 8 + comb(9, 2)) * 4),
    "ratio": (
        f"def f({QKV}) -> o[n, e]:\n{SCORE}    w[i, j] = {POLYNOMIAL}\n"
        "    o[i, x] = sum[j <= i](w[i, j] * v[j, x]) / sum[j <= i](w[i, j])\n",
        (1 + 8 + comb(9, 2)) * 5,
    ),
    "scaled": (causal("(1 + s[i, j] / sqrt(d)) ** 3"), (1 + 8 + comb(9, 2) + comb(10, 3)) * 4),
    "decayed": (causal("gamma ** (i - j) * s[i, j] ** 2", inputs=f"{QKV}, gamma[]"), comb(9, 2) * 4),
    "gated": (
        causal(f"exp(sum[j < u <= i](g[u])) * {POLYNOMIAL}", inputs=f"{QKV}, g[n]"),
        (1 + 8 + comb(9, 2)) * 4,
    ),
    "gated outputs": (
        causal("exp(sum[j < u <= i](g[u, x])) * s[i, j] ** 2", inputs=f"{QKV}, g[n, e]"),
        comb(9, 2) * 4,
    ),
    "gated channels": (  # each of the d**2 products decays in its own way
        causal("sum[c](exp(sum[j < u <= i](g[u, c])) * q[i, c] * k[j, c]) ** 2", "", f"{QKV}, g[n, d]"),
        8 * 8 * 4,
    ),
    "weighted": (causal("(q[i, c] * k[j, c] * g[c]) ** 2", "", f"{QKV}, g[d]"), comb(9, 2) * 4),
    "two scores": (
        causal("s[i, j] ** 2 * (r[i, b] * l[j, b]) ** 2", inputs=f"{QKV}, r[n, d], l[n, d]"),
        comb(9, 2) ** 2 * 4,
    ),
    "different scores": (causal("s[i, j] * (r[i, b] * k[j, b])", inputs=f"{QKV}, r[n, d]"), 8 * 8 * 4),
    "second order": (
        f"def f({QKV}) -> o[n, e]:\n{SCORE}"
        "    o[i, x] = sum[u <= j <= i](s[i, u] ** 2 * s[j, u] * v[j, x])\n",
        comb(9, 2) * 8 + comb(9, 2) * 4,
    ),
    "triple": (
        "def f(q[n, d], k[n, d], l[n, d], v[n, e], w[n, e]) -> o[n, e]:\n"
        "    s[i, j, m] = q[i, c] * k[j, c] * l[m, c]\n"
        "    o[i, x] = sum[j <= i, m <= i](s[i, j, m] ** 2 * v[j, x] * w[m, x])\n",
        2 * comb(9, 2) * 4,
    ),
    "self-reference": (
        f"def f({QKV}, beta[n]) -> o[n, e]:\n"
        "    w[i, x] = beta[i] * (v[i, x] - sum[j < i]((k[i, c] * k[j, c]) ** 2 * w[j, x]))\n"
        "    o[i, x] = sum[j <= i]((q[i, c] * k[j, c]) ** 2 * w[j, x])\n",
        comb(9, 2) * 4,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_form_equals_the_definition(name: str) -> None:
    tensorc.compile(PROGRAMS[name][0]).verify(time_limit=3)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_state_has_each_product_once(name: str) -> None:
    text, elements = PROGRAMS[name]
    forms = tensorc.compile(text).report(n=256, d=8, e=4).to_dict()["forms"]
    assert forms["recurrent"]["state_elements"] == forms["chunkwise"]["state_elements"] == elements


def test_segments_and_heads() -> None:
    inside = "def f(q[n, h, d], k[n, h, d], v[n, h, e], seg[n]) -> o[n, h, e]:\n"
    inside += "    s[i, j, z] = q[i, z, c] * k[j, z, c]\n"
    inside += "    o[i, z, x] = sum[j <= i, seg[i] == seg[j]]((s[i, j, z] + s[i, j, z] ** 2) * v[j, z, x])\n"
    tensorc.compile(inside).verify(time_limit=4)
    grouped = "def f(q[g * r, n, d], k[g, n, d], v[g, n, e]) -> o[g * r, n, e]:\n"
    grouped += "    o[h, i, x] = sum[j <= i](sum[c](q[h, i, c] * k[h // r, j, c]) ** 2 * v[h // r, j, x])\n"
    tensorc.compile(grouped).verify(time_limit=4)


def test_later_tokens_have_a_packed_state_too() -> None:
    operator = tensorc.compile(causal("s[i, j] ** 2").replace("<=", ">="))
    operator.verify(time_limit=3)
    forms = operator.report(n=256, d=8, e=4).to_dict()["forms"]
    assert forms["chunkwise"]["state_elements"] == comb(9, 2) * 4


def test_one_tile_of_scores_and_one_polynomial_of_it_in_a_chunk() -> None:
    """Numerator and denominator share the scores, the polynomial and its mask."""
    operator = tensorc.compile(PROGRAMS["ratio"][0], form="chunkwise")
    body = operator.forms.plan("chunkwise", operator.forms.example_sizes({"d": 16})).loops[0].body
    pairs = {"@r", "@w"}
    tiles = [s for s in body if isinstance(s, Contract | Map) and set(s.out.axes) == pairs]
    assert [type(s) for s in tiles] == [Contract, Map, Contract]  # the scores, the polynomial, the mask
    assert sum(isinstance(s, Monomials) for s in body) == 2  # of q and of k, for both sums


def test_degrees_share_what_lower_ones_have_made() -> None:
    operator = tensorc.compile(causal("(s[i, j] ** 2 + s[i, j] ** 3)"), form="chunkwise")
    body = operator.forms.plan("chunkwise", operator.forms.example_sizes({"d": 8})).loops[0].body
    assert sorted(s.power for s in body if isinstance(s, Monomials)) == [2, 2, 3, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_floats_of_any_batch(dtype: type, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    q, k, v = (rng.standard_normal((*shape, 150, width)).astype(dtype) / 2 for width in (5, 5, 3))
    scores = np.tril((q @ k.swapaxes(-1, -2)).astype(np.float64)) ** 3
    wanted = scores @ v.astype(np.float64)
    tolerance = 1e-4 if dtype is np.float32 else 1e-10
    operator = tensorc.compile(PROGRAMS["cube"][0])
    for form in ("chunkwise", "recurrent", "parallel"):
        found = tensorc.compile(PROGRAMS["cube"][0], form=form)(q, k, v)
        assert np.allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())
    head, state = operator.prefill(q[..., :70, :], k[..., :70, :], v[..., :70, :])
    after = operator(q[..., 70:, :], k[..., 70:, :], v[..., 70:, :], state=state)
    both = np.concatenate([head, after], axis=-2)
    assert np.allclose(both, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("size", range(5))
@pytest.mark.parametrize("power", range(1, 5))
def test_the_packed_axis_counts_its_places(size: int, power: int) -> None:
    extent = Symmetric(1, ("d",), power)
    assert extent.value({"d": size}) == len(places(size, power))
    assert Polynomial.of(extent).at({"d": size}) == len(places(size, power))


def test_the_report_says_what_was_packed() -> None:
    report = tensorc.compile(PROGRAMS["square"][0]).report(n=256, d=8, e=4)
    assert "pack (line 3): a power of degree 2: C(d + 1, 2) products instead of d**2." in str(report)


def test_the_choice_of_a_form_depends_on_the_batch() -> None:
    operator = tensorc.compile(PROGRAMS["ratio"][0])
    lengths = {}
    for batch in (1, 8):
        report = operator.report(n=2048, d=16, e=64, batch=batch)
        assert report.to_dict()["batch"] == batch
        (change,) = report.to_dict()["crossover"]
        assert (change["from"], change["to"]) == ("parallel", "chunkwise")
        lengths[batch] = change["n"]
    assert lengths[8] < lengths[1] < 2 * 16 * 17  # where n**2 pairs cost as much as n states, about
    assert "for a batch of 8" in str(operator.report(n=2048, d=16, e=64, batch=8))


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "8"])
def test_a_batch_is_a_count(batch: object) -> None:
    with pytest.raises(tensorc.TensorcError, match="batch= is how many"):
        tensorc.compile(PROGRAMS["square"][0]).report(batch=batch)  # type: ignore[arg-type]
