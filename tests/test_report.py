"""Reports: golden text, the dictionary, what they say of forms that do not exist; plans as text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import tensorc
from tensorc.plan_text import print_plan
from tensorc.report import Refused, Report, build_report

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
GOLDEN = Path(__file__).parent / "golden" / "reports"
SIZES = {"n": 4096, "m": 4096, "d": 64, "e": 64, "w": 128}
TOLD = ("hla2", "scalar_gated", "normalised", "attention", "delta_rule")


def operator(name: str, **options: object) -> object:
    return tensorc.compile(EXAMPLES / f"{name}.tc", **options)


def report(name: str, **given: int) -> Report:
    program = tensorc.parse((EXAMPLES / f"{name}.tc").read_text())
    sizes = {size: (SIZES | given).get(size, 8) for size in program.sizes()}
    return tensorc.compile(program, time="n" if "n" in sizes else None).report(**sizes)


def check(path: Path, text: str, update: bool) -> None:
    if update:
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "run pytest --update-golden and read the difference"


@pytest.mark.parametrize("name", TOLD)
def test_the_text(name: str, update_golden: bool) -> None:
    check(GOLDEN / f"{name}.txt", f"{report(name)}\n", update_golden)


@pytest.mark.parametrize("form", ["parallel", "chunkwise", "recurrent"])
def test_the_plan_as_text(form: str, update_golden: bool) -> None:
    forms = tensorc.compile(EXAMPLES / "hla2.tc").forms
    plan = forms.plan(form, {"n": 4096, "d": 64, "e": 64})
    assert str(plan) == print_plan(plan)
    check(GOLDEN / f"hla2_{form}_plan.txt", f"{plan}\n", update_golden)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.tc")))
def test_every_report_fits_the_page_and_every_plan_prints(name: str) -> None:
    found = report(name)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 100
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert all(f"line {e.span.line}" in text or "inline" in text for e in found.program.equations if e.span)
    for plan in found.plans.values():
        printed = str(plan).splitlines()
        assert len(printed) > len(plan.epilogue) and not any("$" in line or "@" in line for line in printed)


# -- the dictionary ------------------------------------------------------------------------------------------

FORM_FIELDS = {"flops", "bytes", "peak_elements", "state_elements"}
STEP_FIELDS = {"equation": str, "kind": str, "flops": int, "bytes": int, "rule": str}


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.tc")))
def test_the_dictionary_has_everything_as_plain_values(name: str) -> None:
    data = report(name).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert {"program", "sizes", "chosen", "causal", "crossover", "refused", "forms"} <= data.keys()
    assert data["program"] == name and data["chosen"] in data["forms"]
    for form in data["forms"].values():
        assert all(type(form[field_]) is int for field_ in FORM_FIELDS)
        assert form["symbolic"].keys() == FORM_FIELDS
        assert sum(step["flops"] for step in form["steps"]) == form["flops"]
        for step in form["steps"]:
            assert all(type(step[key]) is kind for key, kind in STEP_FIELDS.items())
            assert step["line"] is None or step["line"] > 0
    for change in data["crossover"]:
        assert change.keys() == {"from", "to", "n"} and type(change["n"]) is int
    for refusal in data["refused"]:
        assert refusal.keys() == {"rule", "reason", "change", "line"} and refusal["reason"]


def test_sizes_forms_and_states_of_the_example_in_the_readme() -> None:
    data = report("hla2").to_dict()
    assert data["sizes"] == {"n": 4096, "d": 64, "e": 64}
    assert data["chosen"] == "chunkwise" and data["causal"] == {"o": True}
    assert data["forms"]["recurrent"]["state_elements"] == 64 * 64 + 64 * 64
    assert data["forms"]["recurrent"]["symbolic"]["flops"] == "4·n·d² + 4·n·d·e"
    assert data["forms"]["chunkwise"]["symbolic"]["state_elements"] == "d² + d·e"
    (first, *_) = data["crossover"]
    assert first["from"] != "chunkwise" and 1 < first["n"] < 4096


def test_a_short_sequence_is_quadratic() -> None:
    assert report("hla2", n=32).chosen == "parallel"
    assert report("hla2", n=65536).chosen == "chunkwise"


def test_a_form_that_does_not_exist_is_refused_with_the_reason() -> None:
    found = report("tensor_attention")
    assert "recurrent" not in found.forms
    (refusal,) = [r for r in found.refused if r.rule == "recurrent form"]
    assert "reads k[l, a] for l > i" in refusal.reason and "l <= i" in refusal.change
    text = str(found)
    assert "recurrent form" in text and "not causal, l: k[l, a] is read for l > i (line 4)" in text


def test_a_form_asked_for_is_the_one_reported() -> None:
    found = tensorc.compile(EXAMPLES / "hla2.tc", form="parallel").report(n=4096, d=64, e=64)
    assert found.chosen == "parallel" and "Order of the parallel form" in str(found)


# -- built by hand -------------------------------------------------------------------------------------------


@dataclass
class Records:
    rewrites: list[object] = field(default_factory=list)
    refusals: list[object] = field(default_factory=list)


def test_refusals_are_told_once_and_causality_may_be_given() -> None:
    operator = tensorc.compile(EXAMPLES / "hla2.tc")
    sizes = {"n": 64, "d": 8, "e": 8}
    plans = {"parallel": operator.forms.plan("parallel", sizes)}
    no = Refused("chunkwise form", "it was not asked for", "ask for it", 4)
    also = Refused("recurrent form", "it was not asked for", "ask for it", 4)
    found = build_report(
        operator.program, sizes, plans, "parallel", Records([], [no]), {"o": "j: told"}, [no, also]
    )
    assert found.refused == (no, also)
    assert found.to_dict()["causal"] == {"o": "j: told"}
    assert found.crossover == []
    text = str(found)
    assert "chunkwise form, recurrent form (line 4): it was not asked for." in text
    assert "Instead: ask for it." in text and "o is not causal, j: told." in text
