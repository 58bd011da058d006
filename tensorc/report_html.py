"""A report as HTML: one file with its pictures, which loads nothing and runs no scripts.

The text of a program is untrusted; the template escapes all that it prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from tensorc.cost import FIGURES, PlanCost
from tensorc.plan import Recur, Slide, Stream
from tensorc.plan_text import Notation
from tensorc.printing import print_equation
from tensorc.report import Report
from tensorc.report_chart import chart
from tensorc.report_facts import (
    FIGURE_NAMES,
    FORMS_TITLE,
    RULES,
    STATES_TITLE,
    NumberedStep,
    approximated,
    bytes_text,
    causal_sentences,
    cheapest,
    duration,
    exact,
    heading,
    order,
    percent,
    refused,
    rewritten,
    si,
    state_rows,
    three_digits,
    time_axis,
)
from tensorc.report_graph import Graph, draw_plan, draw_program

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "report.html.jinja"


@dataclass(frozen=True, slots=True)
class Row:
    """A form in the table of forms, as text, and its costs as polynomials by name."""

    name: str
    chosen: bool
    cells: Sequence[str]
    chunk: int | None
    symbolic: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Form:
    """The order of a form and its drawing."""

    name: str
    chosen: bool
    blocks: Sequence[tuple[str, Sequence[tuple[str, Sequence[Mapping[str, object]]]]]]
    graph: Graph
    flops: str
    intensity: str


def report_page(report: Report) -> str:
    """The report as a page of its own."""
    return _page(report, whole=True)


def report_fragment(report: Report) -> str:
    """The report as an element for a page, such as a notebook; its styles hold inside it alone."""
    return _page(report, whole=False)


def _page(report: Report, whole: bool) -> str:
    return _template().render(_facts(report), whole=whole).lstrip()


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("tensorc").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text)


def _facts(report: Report) -> dict[str, object]:
    """All that the template prints."""
    time = time_axis(report)
    tokens = time.value(report.sizes) if time is not None else 0
    lines: dict[int | None, str] = {}
    equations = []
    for equation in report.program.equations:
        line = equation.span.line if equation.span else None
        equations.append(
            (line, lines.setdefault(line, equation.target) == equation.target, print_equation(equation))
        )
    return {
        "key": "r" + sha256(str(report).encode()).hexdigest()[:8],
        "name": report.program.name,
        "heading": heading(report.program),
        "equations": equations,
        "lines": [line for line in lines if line],
        "sizes": [f"{n} = {v:,}" for n, v in report.sizes.items()],
        "approximated": list(approximated(report.program)),
        "forms_title": FORMS_TITLE.format(dtype=report.rates.dtype),
        "tokens": tokens,
        "figures": [(figure, FIGURE_NAMES[figure]) for figure in FIGURES],
        "rows": [_row(report, name, cost, tokens) for name, cost in report.forms.items()],
        "chosen": report.chosen,
        "how": RULES.get(report.chosen, ""),
        "cheapest": cheapest(report),
        "causal": list(causal_sentences(report)),
        "chart": chart(report),
        "program_graph": draw_program(report.program),
        "forms": [_form(report, name) for name in sorted(report.forms, key=lambda n: n != report.chosen)],
        "states_title": STATES_TITLE,
        "states": state_rows(report),
        "told": [("Refused", refused(report)), ("Rewritten", rewritten(report))],
    }


def _row(report: Report, name: str, cost: PlanCost, tokens: int) -> Row:
    cells = [
        si(cost.flops),
        *([si(cost.flops / tokens)] if tokens else []),
        bytes_text(cost.bytes),
        si(cost.peak_elements),
        exact(cost.state_elements),
        duration(cost.seconds),
        f"{cost.roofline:.0%}",
    ]
    return Row(name, name == report.chosen, cells, cost.chunk, cost.symbolic)


def _form(report: Report, name: str) -> Form:
    cost, plan = report.forms[name], report.plans[name]
    notation = Notation(plan)
    blocks = order(cost, plan, notation)
    return Form(
        name,
        name == report.chosen,
        [
            (b.title, [(g.title, [_step(s, cost, notation) for s in g.steps]) for g in b.groups])
            for b in blocks
        ],
        draw_plan(plan, blocks, cost.flops),
        si(cost.flops),
        three_digits(cost.intensity),
    )


def _step(step: NumberedStep, cost: PlanCost, notation: Notation) -> dict[str, object]:
    """A step as the row of a table; `inner` are the steps of a recursion or of the blocks of a stream."""
    found, what = step.cost, step.cost.step
    share = found.flops / cost.flops if cost.flops else 0.0
    return {
        "number": step.number,
        "text": step.text,
        "inner": [notation.step(s) for s in what.steps] if isinstance(what, Recur | Slide | Stream) else [],
        "kind": found.kind,
        "flops": si(found.flops) if found.flops else "",
        "symbolic": found.symbolic,
        "bytes": bytes_text(found.bytes) if found.bytes else "",
        "share": percent(share) if found.flops else "",
        "part": f"{100 * share:.1f}",
        "intensity": three_digits(found.intensity) if found.flops else "",
    }
