"""Numbers: strong gates, long sequences, memory that is not initialised, values that are not finite, and
what may never stand in a generated source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc
from tensorc.ir import Program, extent
from tests.agreement import check_forms

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.tc"))
FORMS = ("parallel", "chunkwise", "recurrent")
N = extent("n")
GATED = ("gated", "scalar_gated", "rwkv6", "gated_slot_attention", "hgrn2")
GATED_SOLVES = ("gated_delta_rule", "kimi_delta", "comba", "rwkv7")
TOLERANCE, ABSOLUTE = 1.0, 2e-6  # times the error of the definition; of the largest value

Arrays = list[Any]


def operators(name: str, **options: Any) -> Iterator[tensorc.Operator]:
    """The program in each of its forms."""
    for form in FORMS:
        try:
            yield tensorc.compile(EXAMPLES / f"{name}.tc", form=form, **options)
        except tensorc.FormError:
            assert form != "parallel"


def gated_inputs(program: Program, n: int, gate: float, seed: int) -> Arrays:
    """Inputs in float32, a third of the gates as strong as said, the others weak."""
    rng = np.random.default_rng(seed)
    sizes = {"n": n, "d": 8, "e": 6, "m": 5}
    found = []
    for decl in program.inputs:
        shape = tuple(axis.value(sizes) for axis in decl.axes)
        x = rng.normal(size=shape) / (3 if decl.name in ("k", "z") else 1)
        if decl.name in ("a", "beta", "b", "r") and decl.axes != (N, extent("d")):
            x = rng.random(shape)
        if decl.name == "g":
            x = np.where(rng.random(shape) < 0.3, gate, -rng.random(shape))
        if decl.name == "f":
            x = np.where(rng.random(shape) < 0.3, np.exp(gate), rng.random(shape))
        found.append(x.astype(np.float32))
    return found


def close(found: Any, gold: Any, ref: Any, what: str) -> None:
    """|test - gold| <= (1 + tol) · |ref - gold| + atol, in the largest elements."""
    scale = np.abs(gold).max(initial=1)
    error, allowed = np.abs(found - gold).max(initial=0), np.abs(ref - gold).max(initial=0)
    assert error <= (1 + TOLERANCE) * allowed + ABSOLUTE * scale, (what, error, allowed, scale)


@pytest.mark.parametrize("gate", [-20.0, -100.0, -1000.0, -1e30, -np.inf])
@pytest.mark.parametrize("name", [*GATED, *GATED_SOLVES])
def test_strong_gates(name: str, gate: float) -> None:
    program = tensorc.parse((EXAMPLES / f"{name}.tc").read_text())
    definition = tensorc.compile(program, backend="reference")
    for n in (5, 64, 97):
        inputs = gated_inputs(program, n, gate, seed=n)
        gold = definition(*(x.astype(np.float64) for x in inputs))
        ref = definition(*inputs)
        assert np.isfinite(gold).all()
        for operator in operators(name):
            with np.errstate(all="raise", under="ignore"):
                close(operator(*inputs), gold, ref, f"{operator.form} at n={n}")


@pytest.mark.parametrize(
    "name", ["gated", "scalar_gated", "retention", "gated_delta_rule", "hla2", "normalised"]
)
def test_a_hundred_thousand_tokens(name: str) -> None:
    n, d = 100_000, 4
    rng = np.random.default_rng(0)
    program = tensorc.parse((EXAMPLES / f"{name}.tc").read_text())
    sizes = {"n": n, "d": d, "e": d}
    inputs = []
    for decl in program.inputs:
        x = rng.normal(size=tuple(axis.value(sizes) for axis in decl.axes))
        if decl.name == "g":
            x = np.where(rng.random(x.shape) < 0.001, -20.0, -np.abs(x) / 100)
        x = x / 2 if decl.name == "k" else np.asarray(0.999) if decl.name == "gamma" else x
        inputs.append((1 / (1 + np.exp(x)) if decl.name == "beta" else x).astype(np.float32))
    step = tensorc.compile(program, form="recurrent")  # the definition's own order of additions
    gold, ref = step(*(x.astype(np.float64) for x in inputs)), step(*inputs)
    found = tensorc.compile(program, form="chunkwise")(*inputs)
    assert found.dtype == np.float32 and np.isfinite(gold).all()
    close(found, gold, ref, "chunkwise")


# -- memory that is not initialised ------------------------------------------------------------------------


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is not initialised holds NaN."""
    empty, empty_like = np.empty, np.empty_like

    def fill(array: Any) -> Any:
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return array

    monkeypatch.setattr(np, "empty", lambda *a, **k: fill(empty(*a, **k)))
    monkeypatch.setattr(np, "empty_like", lambda *a, **k: fill(empty_like(*a, **k)))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_no_memory_is_read_before_it_is_written(name: str) -> None:
    text = (EXAMPLES / f"{name}.tc").read_text()
    small = {size: 4 for size, _ in tensorc.parse(text).defaults}
    check_forms(text, (3, 70), seed=1, sizes=small)


# -- values that are not finite ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("name", ["linear_attention", "gated", "hla2", "delta_rule", "retention", "hgrn"])
def test_a_later_token_that_is_not_finite(name: str) -> None:
    """Token by token nothing of it is seen before; in chunks, nothing before its chunk."""
    program = tensorc.parse((EXAMPLES / f"{name}.tc").read_text())
    inputs = gated_inputs(program, 300, -1.0, seed=0)
    for bad in (np.nan, np.inf):
        spoilt = [x.copy() for x in inputs]
        for x, decl in zip(spoilt, program.inputs, strict=True):
            if N in decl.axes:
                x[299] = bad
        for operator in operators(name):
            whole, clean = operator(*spoilt), operator(*inputs)
            first = {"recurrent": 299, "chunkwise": 128, "parallel": 0}[operator.form]
            np.testing.assert_array_equal(whole[:first], clean[:first])
            assert not np.isfinite(whole[299]).all()


# -- what no source may hold -------------------------------------------------------------------------------


def names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def calls(node: ast.AST, *functions: str) -> Iterator[ast.Call]:
    """Calls of np.exp and the like below a node."""
    for n in ast.walk(node):
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr in functions:
            yield n


def running_sums(function: ast.FunctionDef) -> set[str]:
    """Names that hold running sums of gates, or what is made of them other than a difference of two."""
    found: set[str] = set()
    for _ in range(3):
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                value = node.value
                named = names_in(value)
                sums = any(True for _ in calls(value, "cumsum", "cumulative_sum")) or "_decay" in named
                if sums or (named & found and "_segment" not in named and not is_difference(value, found)):
                    found |= {n for target in node.targets for n in names_in(target)}
    return found


def is_difference(value: ast.AST, sums: set[str]) -> bool:
    """Whether one running sum is subtracted from another somewhere."""
    for n in ast.walk(value):
        if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Sub):
            if names_in(n.left) & sums and names_in(n.right) & sums:
                return True
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "subtract":
            return True
    return False


def factorised(source: str) -> list[str]:
    """Places where the exponential of a running sum is turned around: exp(-G), 1 / exp(G)."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        sums = running_sums(function)
        for node in ast.walk(function):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                if any(names_in(call) & sums for call in calls(node.right, "exp", "exp2")):
                    found.append(ast.unparse(node))
        for call in calls(function, "exp", "exp2"):
            for node in ast.walk(call):
                if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and names_in(node) & sums:
                    found.append(ast.unparse(call))
    return found


def test_the_check_finds_a_factorisation() -> None:
    naive = "def f(q, k, g):\n    G = np.cumsum(g)\n    H = G * 1\n    return {} @ v\n"
    assert factorised(naive.format("(q * np.exp(G)) @ (k * np.exp(-H)).T"))
    assert factorised(naive.format("(q * np.exp(G)) @ (k / np.exp(H)).T"))
    assert not factorised(naive.format("np.exp(G[:, None] - G)"))


@pytest.mark.parametrize("name", NAMES)
def test_no_source_divides_decays(name: str) -> None:
    for operator in operators(name):
        source = operator.source()
        assert factorised(source) == []


def test_a_decay_beside_a_score_is_exact_after_many_strong_gates() -> None:
    """Running sums of gates are float64: after 3000 tokens they are 30,000 times their differences."""
    operator = tensorc.compile("examples/forgetting_attention.tc", form="chunkwise")
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((3000, 4)).astype(np.float32) for _ in range(3))
    g = -20 * rng.random(3000).astype(np.float32)
    gold = operator(*(x.astype(np.float64) for x in (q, k, v, g)))
    found, state = operator.prefill(q[:2990], k[:2990], v[:2990], g[:2990])
    rows = []
    for t in range(2990, 3000):
        row, state = operator.step(state, q[t], k[t], v[t], g[t])
        rows.append(row)
    assert found.dtype == rows[0].dtype == np.float32
    np.testing.assert_allclose(np.concatenate([found, rows]), gold, rtol=2e-5, atol=2e-6)
