"""Every program of the catalogue: its source is named, its forms agree with the definition at the sizes that
hurt, exactly and in floats, and cost what the table of golden values says; and the demo runs."""

from __future__ import annotations

import re
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import pytest

import tensorc
from tests.agreement import check_forms

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = sorted((ROOT / "examples").glob("*.tc"))
NAMES = [path.stem for path in PROGRAMS]
GOLDEN = Path(__file__).parent / "golden" / "catalogue.txt"
FORMS = ("parallel", "chunkwise", "recurrent")
SMALL = {"w": 4, "b": 4}  # defaults that are as long as the sequences of these tests
USUAL = {"n": 4096, "d": 64, "e": 64, "m": 64, "h": 64}  # the sizes of the table; others are 4
# Around a chunk and far from one; a stream is cut in the middle of each.
LENGTHS = ((0, 1, 2, 5), (17, 63), (64, 65), (129,))

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
    "hgrn": (lambda d, e: e, lambda d, e: 3 * e),
    "hgrn2": (lambda d, e: d * e, lambda d, e: 3 * d * e),
    "rwkv6": (lambda d, e: d * e, lambda d, e: 3 * d * e),
    "kimi_delta": (lambda d, e: d * e, lambda d, e: 5 * d * e),
    "comba": (lambda d, e: d * e, lambda d, e: 5 * d * e),
    "delta_product": (lambda d, e: d * e, None),
    "packed_linear": (lambda d, e: d * e + 1, None),
}


def path(name: str) -> Path:
    return ROOT / "examples" / f"{name}.tc"


def hidden(program: tensorc.Program) -> dict[str, int]:
    """Values of sizes that have a default, small."""
    return {name: SMALL.get(name, 3) for name, _ in program.defaults}


@pytest.mark.parametrize("name", NAMES)
def test_the_file_names_its_source_and_its_program(name: str) -> None:
    text = path(name).read_text()
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert re.search(r"\(.*\d{4}\)", "\n".join(comment)), "authors and year"
    assert re.search(r"arXiv \d{4}\.\d{4,5}", "\n".join(comment)), "an arXiv number"
    assert max(map(len, text.splitlines())) <= 110
    assert tensorc.parse(text).name == name


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_form_is_the_definition(name: str, lengths: tuple[int, ...]) -> None:
    text = path(name).read_text()
    program = tensorc.parse(text)
    if "n" not in program.sizes():
        lengths = (1,) if 1 in lengths else ()  # nothing of it grows
    refused = check_forms(text, lengths, seed=lengths[0] if lengths else 0, sizes=hidden(program))
    assert sorted({*FORMS} - {*refused}) == sorted(golden_forms(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_form_is_exact(name: str) -> None:
    operator = tensorc.compile(path(name))
    result = operator.verify(time_limit=1)
    assert result and result.evaluations > 0
    assert sorted({*FORMS} - {*result.refused}) == sorted(golden_forms(name))


@pytest.mark.parametrize("name", sorted(STATES))
@pytest.mark.parametrize(("d", "e"), [(64, 64), (16, 128)])
def test_the_state_is_as_small_as_promised(name: str, d: int, e: int) -> None:
    state, work = STATES[name]
    known = tensorc.parse(path(name).read_text()).sizes()
    sizes = {size: value for size, value in {"n": 4096, "d": d, "e": e}.items() if size in known}
    recurrent = tensorc.compile(path(name)).report(**sizes).to_dict()["forms"]["recurrent"]
    assert recurrent["state_elements"] <= state(d, e)
    if work is not None:  # two FLOPs a multiply-add; the rest of a token is of lower order
        assert recurrent["flops"] <= 2 * 4096 * (work(d, e) + 8 * (d + e))


def costs(name: str) -> list[str]:
    """What each form of a program costs at the usual sizes."""
    operator = tensorc.compile(path(name))
    defaults = dict(operator.program.defaults)
    sizes = {size: defaults.get(size, USUAL.get(size, 4)) for size in operator.program.sizes()}
    found = operator.report(**sizes).to_dict()["forms"]
    return [
        f"{name} {form} state_elements={found[form]['state_elements']} flops={found[form]['flops']}"
        for form in FORMS
        if form in found
    ]


def golden() -> dict[str, list[str]]:
    """The lines of the table by program."""
    lines = GOLDEN.read_text().splitlines() if GOLDEN.exists() else []
    return {name: [line for line in lines if line.split()[0] == name] for name in NAMES}


def golden_forms(name: str) -> list[str]:
    return [line.split()[1] for line in golden()[name]]


@pytest.mark.parametrize("name", NAMES)
def test_states_and_flops_are_those_of_the_table(name: str, update_golden: bool) -> None:
    table = golden()
    found = costs(name)
    if update_golden:
        table[name] = found
        GOLDEN.write_text("".join(f"{line}\n" for key in NAMES for line in table[key]))
    assert found == table[name]


def test_the_table_has_the_programs_and_no_others() -> None:
    assert {line.split()[0] for line in GOLDEN.read_text().splitlines()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_form_says_why(name: str) -> None:
    for form in {*FORMS} - {*golden_forms(name)}:
        with pytest.raises(tensorc.FormError, match=f"No {form} form of {name}: .{{20,}}"):
            tensorc.compile(path(name), form=form)


@pytest.mark.parametrize("name", ["tensor_attention", "mpo", "block_tensor_train", "row_column_attention"])
def test_no_step_is_quadratic_where_nothing_is_masked(name: str) -> None:
    program = tensorc.parse(path(name).read_text())
    sizes = {size: {"n": 4096, "d": 16, "e": 16, "h": 64, "w": 64}.get(size, 4) for size in program.sizes()}
    parallel = tensorc.compile(path(name)).report(**sizes).to_dict()["forms"]["parallel"]
    largest = max(prod(axis.value(sizes) for axis in t.axes) for t in (*program.inputs, *program.outputs))
    assert parallel["peak_elements"] < 40 * largest


def test_the_demo_runs(tmp_path: Path) -> None:
    demo = [sys.executable, str(ROOT / "examples" / "demo.py"), "--words", "2500"]
    run = subprocess.run(demo, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert "All forms agree." in run.stdout
    assert "2,500 tokens" in run.stdout
