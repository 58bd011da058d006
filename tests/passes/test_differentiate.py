"""What a gradient program looks like: golden texts, its signature, names and errors.

`pytest --update-golden` writes the golden files.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import tensorc
from tensorc.backends.reference import run
from tests.gradients import assert_gradient

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
SHOWN = """linear_attention scalar_gated gated retention hla2 hla3 normalised based delta_rule
    gated_delta_rule attention alibi_window tensor_interaction""".split()


def names(program: tensorc.Program) -> tuple[list[str], list[str]]:
    """The inputs and the outputs."""
    return [t.name for t in program.inputs], [t.name for t in program.outputs]


@pytest.mark.parametrize("name", SHOWN)
def test_the_text(name: str, update_golden: bool) -> None:
    path, text = GOLDEN / f"{name}_grad.tc", str(tensorc.grad(ROOT / "examples" / f"{name}.tc"))
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "run pytest --update-golden and read the difference"


# -- the signature -----------------------------------------------------------------------------------------


def test_it_takes_what_compile_takes() -> None:
    path = ROOT / "examples" / "linear_attention.tc"
    gradient = tensorc.grad(path)
    assert gradient == tensorc.grad(path.read_text()) == tensorc.grad(str(path))
    assert gradient == tensorc.grad(tensorc.parse(path.read_text()))
    two = path.read_text() + "def other(x[n]) -> y[n]:\n    y[i] = 2 * x[i]\n"
    assert tensorc.grad(two, name="other").name == "other_grad"

    @tensorc.jit("x[n] -> y[n]")
    def doubled(x):  # type: ignore[no-untyped-def]
        (i,) = tensorc.indices("i")
        return (2 * x[i])[i]

    assert names(tensorc.grad(doubled)) == (["x", "grad_y"], ["grad_x"])
    with pytest.raises(tensorc.TensorcError, match="path, text or a Program, not int"):
        tensorc.grad(3)  # type: ignore[arg-type]


def test_inputs_and_outputs_stand_in_the_order_of_the_signature() -> None:
    text = (
        "def f(b[n], a[n], w=3) -> y[n], z[]:\n    z[] = a[i] * b[i]\n    y[i] = sum[i - w < j <= i](a[j])\n"
    )
    gradient = tensorc.grad(text)
    assert names(gradient) == (["b", "a", "grad_y", "grad_z"], ["grad_b", "grad_a"])
    assert gradient.defaults == (("w", 3),)


def test_inputs_that_are_only_compared_have_no_gradient() -> None:
    text = """
def f(x[n], seg[n], unused[n], a[]) -> y[n]:
    y[i] = sum[j <= i, seg[i] == seg[j]](x[j]) + sign(a) * (a // 2)
"""
    gradient = assert_gradient(text)
    assert names(gradient) == (["x", "seg", "unused", "a", "grad_y"], ["grad_x"])


def test_a_program_without_a_derivative_is_an_error() -> None:
    with pytest.raises(tensorc.LanguageError, match="Nothing in f has a derivative") as caught:
        tensorc.grad("def f(x[n]) -> y[n]:  y[i] = sign(x[i])")
    assert "sign" in caught.value.hint


# -- names -------------------------------------------------------------------------------------------------


def test_tensors_between_make_way_for_the_names_of_the_gradient() -> None:
    gradient = assert_gradient(
        "def f(x[n]) -> y[n]:\n    grad_x[i] = x[i] ** 2\n    y[i] = grad_x[i] * x[i]\n"
    )
    assert names(gradient) == (["x", "grad_y"], ["grad_x"])


def test_an_output_may_be_called_like_a_gradient() -> None:
    gradient = assert_gradient("def f(x[n]) -> grad_x[n]:\n    grad_x[i] = x[i] ** 3\n")
    assert names(gradient) == (["x", "grad_grad_x"], ["grad_x"])


@pytest.mark.parametrize("text", [
    "def f(x[n], grad_y[n]) -> y[n]:  y[i] = x[i] * grad_y[i]",
    "def f(x[grad_x]) -> y[grad_x]:  y[i] = 2 * x[i]",
    "def f(x[n], grad_x[n]) -> y[n]:  y[i] = 2 * x[i] * grad_x[i]",
])  # fmt: skip
def test_names_that_cannot_change_are_an_error(text: str) -> None:
    with pytest.raises(tensorc.LanguageError, match="needs the name grad_., which is taken"):
        tensorc.grad(text)


def test_letters_differ_from_tensors_and_sizes() -> None:
    assert_gradient("""
def f(i[n], j[n, k], D[n], s[], t[]) -> u[n]:
    u[a] = s * tanh(sum[b <= a](exp(sum[b < c <= a](i[c])) * j[a, x] * j[b, x] * D[b])) / (1 + t * D[a] ** 2)
""")


# -- a reader's text -----------------------------------------------------------------------------------------


def body(text: str, target: str) -> str:
    """The equation of a tensor in the gradient of a program, as text."""
    lines = str(assert_gradient(text)).splitlines()
    return next(line.strip() for line in lines if line.strip().startswith(f"{target}["))


@pytest.mark.parametrize(("equation", "expected"), [
    ("y[i] = 3 * x[i]", "grad_x[i] = 3 * grad_y[i]"),
    ("y[i] = -x[i] / 2", "grad_x[i] = -(grad_y[i] / 2)"),
    ("y[i] = x[i] - x[i]", "grad_x[i] = 0 * grad_y[i]"),
    ("y[i] = x[i] * x[i]", "grad_x[i] = 2 * grad_y[i] * x[i]"),
    ("y[i] = x[i] ** 3", "grad_x[i] = 3 * grad_y[i] * x[i] ** 2"),
    ("y[i] = x[i - 2]", "grad_x[i] = grad_y[i + 2]"),
    ("y[i] = x[n - 1 - i]", "grad_x[i] = grad_y[n - i - 1]"),
    ("y[i] = sum[j < i](x[j])", "grad_x[j] = sum[j < i](grad_y[i])"),
    ("y[i] = [i > 2] * x[i]", "grad_x[i] = [i > 2] * grad_y[i]"),
    ("y[i] = where(i > 2, x[i], 1)", "grad_x[i] = [i > 2] * grad_y[i]"),
    ("y[i] = exp(2 * x[i])", "grad_x[i] = 2 * grad_y[i] * y[i]"),
    ("y[i] = x[0]", "grad_x[i] = sum[a]([i == 0] * grad_y[a])"),
])  # fmt: skip
def test_small_gradients_are_what_one_would_write(equation: str, expected: str) -> None:
    assert body(f"def f(x[n]) -> y[n]:\n    {equation}\n", "grad_x") == expected


def test_a_convolution_is_solved_for_the_token() -> None:
    text = "def f(w[t], x[n]) -> y[n]:\n    y[i] = sum[a](w[a] * x[i - a])\n"
    assert body(text, "grad_x") == "grad_x[i] = grad_y[i + a] * w[a]"
    assert body(text, "grad_w") == "grad_w[a] = grad_y[i] * x[i - a]"


def test_grouped_heads_sum_over_the_group() -> None:
    text = "def f(q[g * r, n], k[g, n], r=2) -> o[g * r, n]:\n    o[h, i] = q[h, i] * k[h // r, i]\n"
    assert body(text, "grad_k") == "grad_k[a, i] = sum[h // r == a](grad_o[h, i] * q[h, i])"


def test_rows_and_columns_of_an_axis_that_is_a_product() -> None:
    text = "def f(x[a * b], u[a], w[b]) -> y[a, b]:\n    y[i, j] = x[i * b + j] * u[i] * w[j]\n"
    assert body(text, "grad_x") == "grad_x[c] = grad_y[c // b, c % b] * u[c // b] * w[c % b]"


# -- bounds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("equation", [
    " * ".join(f"x[i - {k}]" for k in range(1000)),
    " * ".join(["sum[j <= i](x[j])"] * 300),
])  # fmt: skip
def test_products_of_too_many_factors_are_refused_at_once(equation: str) -> None:
    program = tensorc.parse(f"def f(x[n]) -> y[n]:\n    y[i] = {equation}\n")
    start = time.perf_counter()
    with pytest.raises(tensorc.LanguageError, match="more than 20000 factors") as caught:
        tensorc.grad(program)
    assert time.perf_counter() - start < 2
    assert "names of their own" in caught.value.hint


def test_long_programs_take_no_longer_than_they_are() -> None:
    many = "".join(f"    z{k}[i] = sum[j <= i](z{k - 1}[j] * z{k - 1}[i])\n" for k in range(1, 200))
    text = f"def f(x[n]) -> y[n]:\n    z0[i] = x[i]\n{many}    y[i] = z199[i]\n"
    program = tensorc.parse(text)
    start = time.perf_counter()
    assert len(tensorc.grad(program).equations) > 300
    assert time.perf_counter() - start < 2


# -- batches -------------------------------------------------------------------------------------------------


def test_leading_dimensions_that_an_input_lacks_are_summed_by_the_caller() -> None:
    program = tensorc.parse((ROOT / "examples" / "linear_attention.tc").read_text())
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(3, 5, 4)), rng.normal(size=(5, 2))
    weights = rng.normal(size=(2, 3, 5, 2))
    found = run(tensorc.grad(program), q, k, v, weights)
    assert [g.shape for g in found] == [(2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 2)]
    along = rng.normal(size=v.shape)
    step = 1e-4
    rate = (run(program, q, k, v + step * along) - run(program, q, k, v - step * along)) / (2 * step)
    np.testing.assert_allclose((found[2].sum((0, 1)) * along).sum(), (weights * rate).sum(), rtol=1e-8)
