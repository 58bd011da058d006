"""Every program of the catalogue: its source is named, it parses, its forms agree, its state is as small
as promised; and the demo runs."""

from __future__ import annotations

import re
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = sorted((ROOT / "examples").glob("*.tc"))
NAMES = [path.stem for path in PROGRAMS]
SIZES = {"n": 9, "m": 7, "d": 4, "e": 3, "w": 4, "a": 2, "b": 3, "c": 2, "D": 2, "k": 2, "z": 3}

# Recurrent state elements at widths d and e; and multiply-adds of one token, written with both.
STATES: dict[str, Any] = {
    "linear_attention": (lambda d, e: d * e, lambda d, e: 2 * d * e),
    "normalised": (lambda d, e: d * e + d, None),
    "retention": (lambda d, e: d * e, None),
    "scalar_gated": (lambda d, e: d * e, None),
    "gated": (lambda d, e: d * e, None),
    "hla2_prefix": (lambda d, e: d * d + d * e, None),
    "hla2": (lambda d, e: d * d + d * e, lambda d, e: 2 * d * d + 2 * d * e),
    "ahla": (lambda d, e: 2 * d * e, lambda d, e: 4 * d * e),
    "hla3": (lambda d, e: d * d + 2 * d * e, lambda d, e: 2 * d * d + 4 * d * e),
    "tensor_interaction": (lambda d, e: d * d, None),
    "triple": (lambda d, e: 2 * d * e, None),
    "delta_rule": (lambda d, e: d * e, lambda d, e: 4 * d * e),
    "gated_delta_rule": (lambda d, e: d * e, None),
}
STREAMS = sorted({*STATES, "based", "power"})


def inputs(name: str, seed: int = 0, lead: tuple[int, ...] = ()) -> list[np.ndarray]:
    """Random float64 inputs of small sizes; decays and gates below one."""
    rng = np.random.default_rng(seed)
    program = tensorc.parse((ROOT / "examples" / f"{name}.tc").read_text())
    sizes = {size: SIZES.get(size, 2) for size in program.sizes()}
    arrays = []
    for tensor in program.inputs:
        shape = (*lead, *(axis.value(sizes) for axis in tensor.axes))
        array = rng.standard_normal(shape)
        if tensor.name in ("g", "gamma", "beta", "slope"):
            array = -np.abs(array) if tensor.name == "g" else 1 / (1 + np.exp(array))
        arrays.append(array)
    return arrays


def path(name: str) -> Path:
    return ROOT / "examples" / f"{name}.tc"


@pytest.mark.parametrize("name", NAMES)
def test_the_file_names_its_source_and_its_program(name: str) -> None:
    text = path(name).read_text()
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert re.search(r"\(.*\d{4}\)", "\n".join(comment)), "authors and year"
    assert re.search(r"arXiv \d{4}\.\d{4,5}", "\n".join(comment)), "an arXiv number"
    assert tensorc.parse(text).name == name


@pytest.mark.parametrize("name", NAMES)
def test_the_parallel_form_is_the_definition(name: str) -> None:
    arrays = inputs(name)
    reference = tensorc.compile(path(name), backend="reference")(*arrays)
    found = tensorc.compile(path(name), form="parallel")(*arrays)
    np.testing.assert_allclose(found, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["auto", "chunkwise", "recurrent"])
@pytest.mark.parametrize("name", STREAMS)
def test_streaming_forms_are_the_definition(name: str, form: str) -> None:
    arrays = inputs(name, lead=(2,))
    reference = tensorc.compile(path(name), backend="reference")(*arrays)
    found = tensorc.compile(path(name), form=form)(*arrays)
    np.testing.assert_allclose(found, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", STREAMS)
def test_a_prefix_and_single_steps_are_the_definition(name: str) -> None:
    arrays = inputs(name)
    program = tensorc.parse(path(name).read_text())
    operator = tensorc.compile(path(name))
    reference = tensorc.compile(path(name), backend="reference")(*arrays)
    timed = [any("n" in axis.names for axis in tensor.axes) for tensor in program.inputs]
    head, state = operator.prefill(*(x[:5] if t else x for x, t in zip(arrays, timed, strict=True)))
    rows = [head]
    for i in range(5, SIZES["n"]):
        row, state = operator.step(state, *(x[i] if t else x for x, t in zip(arrays, timed, strict=True)))
        rows.append(row[None])
    np.testing.assert_allclose(np.concatenate(rows), reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(STATES))
@pytest.mark.parametrize(("d", "e"), [(64, 64), (16, 128)])
def test_the_state_is_as_small_as_promised(name: str, d: int, e: int) -> None:
    state, work = STATES[name]
    sizes = {"n": 4096, "d": d} | ({} if name == "tensor_interaction" else {"e": e})
    recurrent = tensorc.compile(path(name)).report(**sizes).to_dict()["forms"]["recurrent"]
    assert recurrent["state_elements"] <= state(d, e)
    if work is not None:  # two FLOPs a multiply-add; the rest of a token is of lower order
        assert recurrent["flops"] <= 2 * 4096 * (work(d, e) + 8 * (d + e))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(STREAMS) - {"alibi_window"}))
def test_what_has_no_stream_says_so(name: str) -> None:
    with pytest.raises(tensorc.FormError, match="time"):
        tensorc.compile(path(name), form="recurrent")


@pytest.mark.parametrize("name", ["tensor_attention", "mpo", "block_tensor_train"])
def test_no_step_is_quadratic_where_nothing_is_masked(name: str) -> None:
    program = tensorc.parse(path(name).read_text())
    sizes = {size: {"n": 4096, "d": 16, "e": 16}.get(size, 4) for size in program.sizes()}
    parallel = tensorc.compile(path(name)).report(**sizes).to_dict()["forms"]["parallel"]
    largest = max(prod(axis.value(sizes) for axis in t.axes) for t in (*program.inputs, *program.outputs))
    assert parallel["peak_elements"] < 40 * largest


def test_the_demo_runs(tmp_path: Path) -> None:
    demo = [sys.executable, str(ROOT / "examples" / "demo.py"), "--words", "2500"]
    run = subprocess.run(demo, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert "All forms agree." in run.stdout
    assert "2,500 tokens" in run.stdout
