"""A report as text of at most 100 columns: the program, its forms, the chosen order, what was refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import wrap

from tensorc.approximation import as_dict
from tensorc.cost import FIGURES, PlanCost, StepCost
from tensorc.ir import TensorDecl
from tensorc.plan import Fill, Gather, Keep, Load, Plan, Step, Update
from tensorc.plan_text import Notation
from tensorc.polynomial import Polynomial
from tensorc.printing import print_equation, print_rows
from tensorc.report import Report
from tensorc.runs import AFTER, BEFORE, BODY, SETUP, Place

WIDTH = 100
NAMES = {"flops": "FLOPs", "bytes": "bytes", "peak_elements": "peak", "state_elements": "state"}
RULES = {
    "chunkwise": "chunk by chunk",
    "recurrent": "token by token",
    "parallel": "the whole sequence at once",
}


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


def si(value: float) -> str:
    """A count with three digits: 4,096 is 4.10 K, 270012416 is 270 M.

    >>> si(0), si(640), si(4096), si(270012416), si(2.5e12)
    ('0', '640', '4.10 K', '270 M', '2.50 T')
    """
    if value < 999.5:
        return f"{value:.0f}"
    power = 1
    while value >= 999.5 * 1000**power and power < 8:
        power += 1
    return f"{_three(value / 1000**power)} {' KMGTPEZY'[power]}"


def _three(value: float) -> str:
    """Three digits: 1.23, 12.3, 123, 1,234."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Seconds with their unit.

    >>> duration(0.0000123), duration(0.0123), duration(12.3)
    ('12.3 us', '12.3 ms', '12.3 s')
    """
    unit, scale = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s), ("us", 1e-6))
    return f"{_three(seconds / scale)} {unit}"


# -- the program ---------------------------------------------------------------------------------------------


def _program(report: Report) -> Iterator[str]:
    program = report.program
    inputs = ", ".join([*map(_signature, program.inputs), *(f"{n}={v}" for n, v in program.defaults)])
    outputs = ", ".join(map(_signature, program.outputs))
    yield from _paragraph(f"{program.name}({inputs}) -> {outputs}", "", "    ")
    for equation in program.equations:
        line = equation.span.line if equation.span else ""
        yield from _paragraph(print_equation(equation), f"  {line:>3}  ", "         ")
    yield from _paragraph("at " + ", ".join(f"{n} = {v}" for n, v in report.sizes.items()), "       ")


def _signature(tensor: TensorDecl) -> str:
    return f"{tensor.name}[{', '.join(map(str, tensor.axes))}]"


def _approximations(report: Report) -> Iterator[str]:
    """What was replaced on request, and how far it may be off."""
    if report.program.approximations:
        yield "Approximated"
    for approximation in report.program.approximations:
        found = as_dict(approximation)
        where = f" (line {found['line']})" if found["line"] else ""
        text = (
            f"{found['function']} of {found['score']}{where} by a polynomial ({found['polynomial']}), off by "
            f"at most {found['absolute']:.3g}, relatively {found['relative']:.3g}, "
            f"for scores from -{found['bound']:g} to {found['bound']:g}."
        )
        yield from _paragraph(text, "  ", "    ")


# -- the forms -----------------------------------------------------------------------------------------------


def _forms(report: Report) -> Iterator[str]:
    time = next((p.time for p in report.plans.values() if p.time is not None), None)
    tokens = time.value(report.sizes) if time is not None else 0
    dtype = report.rates.dtype
    yield f"Forms: one batch element in {dtype}, 2 FLOPs a multiply-add; time and roofline by the model"
    head = f"{'':13}{'FLOPs':>9}{'a token' if tokens else '':>9}{'memory':>10}{'peak':>9}{'state':>9}"
    yield f"{head}{'time':>10}{'roofline':>10}"
    for name, cost in report.forms.items():
        mark = "*" if name == report.chosen else " "
        each = si(cost.flops / tokens) if tokens else ""
        chunk = f"  chunks of {cost.chunk}" if cost.chunk else ""
        yield (
            f"{mark} {name:11}{si(cost.flops):>9}{each:>9}{_bytes(cost.bytes):>10}{si(cost.peak_elements):>9}"
            f"{cost.state_elements:>9,}{duration(cost.seconds):>10}{cost.roofline:>10.0%}{chunk}"
        )
    for name, cost in report.forms.items():
        yield ""
        for k, figure in enumerate(FIGURES):
            start = f"  {name if k == 0 else '':12}{NAMES[figure]:6}  "
            yield from _paragraph(cost.symbolic[figure].replace(" + ", " +~"), start, " " * len(start))


def _bytes(value: float) -> str:
    text = si(value)
    return f"{text}B" if " " in text else f"{text} B"


def _choice(report: Report) -> Iterator[str]:
    yield f"Chosen: {report.chosen}, {RULES.get(report.chosen, '')}".rstrip(", ")
    time = next((p.time for p in report.plans.values() if p.time is not None), None)
    if report.crossover:
        first = report.crossover[0]
        many = f" for a batch of {report.batch}" if report.batch > 1 else ""
        text = f"Cheapest as {time} grows{many}: {first['from']}"
        text += "".join(f", from {time} = {c['n']:,} {c['to']}" for c in report.crossover)
        yield from _paragraph(text + ".", "  ")
    elif len(report.forms) > 1 and time is not None:
        yield f"  The cheapest at every {time}."
    for output, answer in report.causal.items():
        text = "causal: no later token changes it" if answer is True else f"not causal, {answer}"
        yield from _paragraph(f"{output} is {text}.", "  ", "    ")


# -- the order -----------------------------------------------------------------------------------------------


def _order(report: Report) -> Iterator[str]:
    cost, plan = report.forms[report.chosen], report.plans[report.chosen]
    notation = Notation(plan)
    texts = [(step, notation.step(step.step)) for step in cost.steps]
    yield f"{'Order of the ' + report.chosen + ' form':72}{'FLOPs':>8}{'share':>8}{'FLOP/B':>9}"
    number = 0
    for place, block in groupby(texts, key=lambda item: item[0].place):
        items = list(block)
        yield from _paragraph(_place(place, [s for s, _ in items], plan, notation), "  ", "    ")
        shown = [item for item in items if not isinstance(item[0].step, Load)]
        line: int | None = None
        for why, group in groupby(shown, key=lambda item: _why(item[0])):
            yield from _paragraph(_origin(why, line), "    ", "      ")
            line = why[0] or line
            for step, text in group:
                number += 1
                yield from _step(number, step, text, cost)
    yield f"{'  total':72}{si(cost.flops):>8}{'':8}{_three(cost.intensity):>9}"


def _place(place: Place, steps: Sequence[StepCost], plan: Plan, notation: Notation) -> str:
    """The heading of a block: how often it runs, what it reads, its states."""
    text = {BEFORE: "once", SETUP: "for each length of a chunk", AFTER: "once"}.get(place.part, "")
    if place.part == BODY:
        loop, often = plan.loops[place.loop], f"{steps[0].runs:,}"
        text = f"{often} tokens" if plan.form == "recurrent" else f"{often} chunks of {plan.chunk} tokens"
        text += ", backwards" if loop.reverse else ""
        if loop.states:
            text += f", states {', '.join(map(notation.state, loop.states))}"
    loads = dict.fromkeys(notation.value(s.step.tensor) for s in steps if isinstance(s.step, Load))
    return text + (f", reads {', '.join(loads)}" if loads else "")


def _why(step: StepCost) -> tuple[int | None, str]:
    """Where a step comes from: its line and rule."""
    if isinstance(step.step, Keep):
        return None, "stored"
    return step.why.line, step.why.rule


def _origin(why: tuple[int | None, str], before: int | None) -> str:
    """The heading of the steps that one rule made; the line where it changes."""
    line = f"line {why[0]}" if why[0] and (why[0] != before or not why[1]) else ""
    return ": ".join(part for part in (line, why[1]) if part)


def _step(number: int, step: StepCost, text: str, cost: PlanCost) -> Iterator[str]:
    lines = wrap(text, 62, subsequent_indent="    ") or [""]
    share = step.flops / cost.flops if cost.flops else 0.0
    figures = ""
    if step.flops:
        figures = f"{si(step.flops):>8}{_percent(share):>8}{_three(step.intensity):>9}"
    elif isinstance(step.step, Keep | Update | Fill | Gather):
        figures = f"{'-':>8}"
    yield f"{number:8}  {lines[0]:62}{figures}".rstrip()
    for line in lines[1:]:
        yield f"{'':10}{line}"


def _percent(share: float) -> str:
    return "< 1%" if share < 0.005 else f"{share:.0%}"


# -- states and refusals -------------------------------------------------------------------------------------


def _states(report: Report) -> Iterator[str]:
    """Every state of the stream with its size and what is added to it."""
    plan = next((report.plans[f] for f in ("chunkwise", "recurrent") if f in report.plans), None)
    if plan is None or not plan.states:
        return
    notation = Notation(plan)
    added = _added(plan, notation)
    yield "States: what the chunkwise and recurrent forms carry from token to token"
    extents = dict(plan.extents)
    rows = []
    for state in plan.states:
        size = Polynomial.constant(1)
        for axis in state.axes[state.grows :]:
            size = size * Polynomial.of(extents[axis])
        text = "grows: a row for every token" if state.grows else added.get(state.name, "")
        if state.reach is not None:
            text = f"a ring: a row for each of the last {print_rows(state.reach)} tokens"
        elif state.grows and plan.time is not None:
            size = Polynomial.of(plan.time) * size
        rows.append((notation.state(state), size.text(list(report.sizes)), text))
    first, second = (max(len(row[k]) for row in rows) for k in (0, 1))
    for name, elements, text in rows:
        start = f"  {name:{first}}  {elements:{second}}  "
        yield from _paragraph(text or "-", start, " " * len(start))


def _added(plan: Plan, notation: Notation) -> dict[str, str]:
    """What is written to each state in a run of its loop."""
    made: dict[str, Step] = {}
    found: dict[str, str] = {}
    for loop in plan.loops:
        for step in (*loop.before, *loop.setup, *loop.body):
            notation.step(step)
            if isinstance(step, Update):
                source = made.get(step.addend.value)
                right = notation.ref(step.addend) if source is None else notation.right(source)
                decay = "" if step.through is None else f"decays by {notation.ref(step.through)}, "
                found[step.state.value] = f"{decay}takes {right}"
            elif not isinstance(step, Load | Keep) and hasattr(step, "out"):
                made[step.out.value] = step
    return found


def _refused(report: Report) -> Iterator[str]:
    if report.refused:
        yield "Refused"
    rules: dict[tuple[str, str, int | None], list[str]] = {}
    for refusal in report.refused:
        known = rules.setdefault((refusal.reason, refusal.change, refusal.line), [])
        if refusal.rule not in known:
            known.append(refusal.rule)
    for (reason, change, line), names in rules.items():
        where = f" (line {line})" if line else ""
        yield from _paragraph(f"{', '.join(names)}{where}: {_sentence(reason)}", "  ", "    ")
        if change:
            yield from _paragraph(f"Instead: {_sentence(change)}", "    ", "      ")
    if report.rewrites:
        yield "Rewritten"
    for rewrite in report.rewrites:
        where = f" (line {rewrite.line})" if rewrite.line else ""
        yield from _paragraph(f"{rewrite.rule}{where}: {_sentence(rewrite.what)}", "  ", "    ")


def _sentence(text: str) -> str:
    return text if text.endswith((".", ")")) else f"{text}."
