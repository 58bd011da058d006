"""A report as text of at most 100 columns: the program, its forms, the chosen order, what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from tensorc.cost import FIGURES, PlanCost
from tensorc.plan import Fill, Gather, Keep, Update
from tensorc.plan_text import Notation
from tensorc.printing import print_equation
from tensorc.report import Report
from tensorc.report_facts import (
    FIGURE_NAMES,
    FORMS_TITLE,
    RULES,
    STATES_TITLE,
    NumberedStep,
    Told,
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

WIDTH = 100


def report_text(report: Report) -> str:
    """The report as lines of at most 100 columns."""
    sections = (
        _program(report),
        _approximations(report),
        _forms(report),
        _choice(report),
        _order(report),
        _states(report),
        _refused(report),
    )
    text = "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines)
    return text.replace("~", " ")


def _paragraph(text: str, first: str = "", rest: str | None = None) -> list[str]:
    """Wrapped text; `first` starts it, `rest` the lines that follow."""
    return wrap(text, WIDTH, initial_indent=first, subsequent_indent=first if rest is None else rest)


# -- the program ---------------------------------------------------------------------------------------------


def _program(report: Report) -> Iterator[str]:
    program = report.program
    yield from _paragraph(heading(program), "", "    ")
    for equation in program.equations:
        line = equation.span.line if equation.span else ""
        yield from _paragraph(print_equation(equation), f"  {line:>3}  ", "         ")
    yield from _paragraph("at " + ", ".join(f"{n} = {v}" for n, v in report.sizes.items()), "       ")


def _approximations(report: Report) -> Iterator[str]:
    if report.program.approximations:
        yield "Approximated"
    for text in approximated(report.program):
        yield from _paragraph(text, "  ", "    ")


# -- the forms -----------------------------------------------------------------------------------------------


def _forms(report: Report) -> Iterator[str]:
    time = time_axis(report)
    tokens = time.value(report.sizes) if time is not None else 0
    yield f"Forms: {FORMS_TITLE.format(dtype=report.rates.dtype)}"
    head = f"{'':13}{'FLOPs':>9}{'a token' if tokens else '':>9}{'memory':>10}{'peak':>9}{'state':>9}"
    yield f"{head}{'time':>10}{'roofline':>10}"
    for name, cost in report.forms.items():
        mark = "*" if name == report.chosen else " "
        each = si(cost.flops / tokens) if tokens else ""
        chunk = f"  chunks of {cost.chunk}" if cost.chunk else ""
        yield (
            f"{mark} {name:11}{si(cost.flops):>9}{each:>9}{bytes_text(cost.bytes):>10}"
            f"{si(cost.peak_elements):>9}{exact(cost.state_elements):>9}{duration(cost.seconds):>10}{cost.roofline:>10.0%}{chunk}"
        )
    for name, cost in report.forms.items():
        yield ""
        for k, figure in enumerate(FIGURES):
            start = f"  {name if k == 0 else '':12}{FIGURE_NAMES[figure]:6}  "
            yield from _paragraph(cost.symbolic[figure].replace(" + ", " +~"), start, " " * len(start))


def _choice(report: Report) -> Iterator[str]:
    yield f"Chosen: {report.chosen}, {RULES.get(report.chosen, '')}".rstrip(", ")
    if cheapest(report):
        yield from _paragraph(cheapest(report), "  ")
    for text in causal_sentences(report):
        yield from _paragraph(text, "  ", "    ")


# -- the order -----------------------------------------------------------------------------------------------


def _order(report: Report) -> Iterator[str]:
    cost, plan = report.forms[report.chosen], report.plans[report.chosen]
    yield f"{'Order of the ' + report.chosen + ' form':72}{'FLOPs':>8}{'share':>8}{'FLOP/B':>9}"
    for block in order(cost, plan, Notation(plan)):
        yield from _paragraph(block.title, "  ", "    ")
        for group in block.groups:
            yield from _paragraph(group.title, "    ", "      ")
            for step in group.steps:
                yield from _step(step, cost)
    yield f"{'  total':72}{si(cost.flops):>8}{'':8}{three_digits(cost.intensity):>9}"


def _step(numbered: NumberedStep, cost: PlanCost) -> Iterator[str]:
    lines = wrap(numbered.text, 62, subsequent_indent="    ") or [""]
    step = numbered.cost
    share = step.flops / cost.flops if cost.flops else 0.0
    figures = ""
    if step.flops:
        figures = f"{si(step.flops):>8}{percent(share):>8}{three_digits(step.intensity):>9}"
    elif isinstance(step.step, Keep | Update | Fill | Gather):
        figures = f"{'-':>8}"
    yield f"{numbered.number:8}  {lines[0]:62}{figures}".rstrip()
    for line in lines[1:]:
        yield f"{'':10}{line}"


# -- states and refusals -------------------------------------------------------------------------------------


def _states(report: Report) -> Iterator[str]:
    """Every state of the stream with its size and what is added to it."""
    rows = state_rows(report)
    if not rows:
        return
    yield f"States: {STATES_TITLE}"
    first, second = (max(len(row[k]) for row in rows) for k in (0, 1))
    for name, elements, text in rows:
        start = f"  {name:{first}}  {elements:{second}}  "
        yield from _paragraph(text, start, " " * len(start))


def _refused(report: Report) -> Iterator[str]:
    for title, found in (("Refused", refused(report)), ("Rewritten", rewritten(report))):
        if found:
            yield title
        for told in found:
            yield from _told(told)


def _told(told: Told) -> Iterator[str]:
    where = f" (line {told.line})" if told.line else ""
    yield from _paragraph(f"{told.rules}{where}: {told.reason}", "  ", "    ")
    if told.instead:
        yield from _paragraph(f"Instead: {told.instead}", "    ", "      ")
