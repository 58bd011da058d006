"""What a report says as text and as HTML alike: figures with units, headings, states, refusals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tensorc.approximation import as_dict
from tensorc.cost import PlanCost, StepCost
from tensorc.ir import Extent, Program, TensorDecl
from tensorc.plan import Keep, Load, Plan, Step, Update
from tensorc.plan_text import Notation
from tensorc.polynomial import Polynomial
from tensorc.printing import print_rows
from tensorc.report import Report
from tensorc.runs import AFTER, BEFORE, BODY, SETUP, Place

FIGURE_NAMES = {"flops": "FLOPs", "bytes": "bytes", "peak_elements": "peak", "state_elements": "state"}
FORMS_TITLE = "one batch element in {dtype}, 2 FLOPs a multiply-add; time and roofline by the model"
STATES_TITLE = "what the chunkwise and recurrent forms carry from token to token"
RULES = {
    "chunkwise": "chunk by chunk",
    "recurrent": "token by token",
    "parallel": "the whole sequence at once",
}


# -- figures -------------------------------------------------------------------------------------------------


def si(value: float) -> str:
    """A count with three digits: 4,096 is 4.10 K, 270012416 is 270 M.

    >>> si(0), si(640), si(4096), si(270012416), si(2.5e12), si(1e30)
    ('0', '640', '4.10 K', '270 M', '2.50 T', '1.00e+30')
    """
    if value < 999.5:
        return f"{value:.0f}"
    power = 1
    while value >= 999.5 * 1000**power:
        power += 1
    prefixes = "KMGTPEZY"
    return (
        f"{value:.2e}"
        if power > len(prefixes)
        else f"{three_digits(value / 1000**power)} {prefixes[power - 1]}"
    )


def three_digits(value: float) -> str:
    """Three digits: 1.23, 12.3, 123, 1,234, 1.23e+08."""
    if value >= 1e6:
        return f"{value:.2e}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def exact(value: int) -> str:
    """A count with all its digits, unless those are many.

    >>> exact(8192), exact(16777216)
    ('8,192', '16.8 M')
    """
    text = f"{value:,}"
    return text if len(text) <= 8 else si(value)


def duration(seconds: float) -> str:
    """Seconds with their unit.

    >>> duration(0.0000123), duration(0.0123), duration(12.3)
    ('12.3 us', '12.3 ms', '12.3 s')
    """
    unit, scale = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s), ("us", 1e-6))
    return f"{three_digits(seconds / scale)} {unit}"


def bytes_text(value: float) -> str:
    """Bytes with three digits: 4.19 MB."""
    text = si(value)
    return f"{text}B" if " " in text else f"{text} B"


def percent(share: float) -> str:
    """A share of the whole: 12%, < 1%."""
    return "< 1%" if share < 0.005 else f"{share:.0%}"


def sentence(text: str) -> str:
    """The text with its full stop."""
    return text if text.endswith((".", ")")) else f"{text}."


# -- the program and the choice ------------------------------------------------------------------------------


def heading(program: Program) -> str:
    """f(q[n, d], w=8) -> o[n, d]"""
    inputs = ", ".join([*map(signature, program.inputs), *(f"{n}={v}" for n, v in program.defaults)])
    return f"{program.name}({inputs}) -> {', '.join(map(signature, program.outputs))}"


def signature(tensor: TensorDecl) -> str:
    """q[n, d]"""
    return f"{tensor.name}[{', '.join(map(str, tensor.axes))}]"


def time_axis(report: Report) -> Extent | None:
    """The time axis, if there is one."""
    return next((p.time for p in report.plans.values() if p.time is not None), None)


def approximated(program: Program) -> Iterator[str]:
    """What was replaced on request, and how far it may be off."""
    for approximation in program.approximations:
        found = as_dict(approximation)
        where = f" (line {found['line']})" if found["line"] else ""
        yield (
            f"{found['function']} of {found['score']}{where} by a polynomial ({found['polynomial']}), off by "
            f"at most {found['absolute']:.3g}, relatively {found['relative']:.3g}, "
            f"for scores from -{found['bound']:g} to {found['bound']:g}."
        )


def cheapest(report: Report) -> str:
    """Which form is the cheapest at which length; empty where there is nothing to choose."""
    time = time_axis(report)
    if report.crossover:
        many = f" for a batch of {report.batch}" if report.batch > 1 else ""
        text = f"Cheapest as {time} grows{many}: {report.crossover[0]['from']}"
        return text + "".join(f", from {time} = {c['n']:,} {c['to']}" for c in report.crossover) + "."
    return f"The cheapest at every {time}." if len(report.forms) > 1 and time is not None else ""


def causal_sentences(report: Report) -> Iterator[str]:
    """For each output whether a later token changes it."""
    for output, answer in report.causal.items():
        text = "causal: no later token changes it" if answer is True else f"not causal, {answer}"
        yield f"{output} is {text}."


# -- the order of a form -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NumberedStep:
    """A step with its number in the report and its text."""

    number: int
    cost: StepCost
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """The steps that one rule made of one line, under their heading."""

    title: str
    steps: tuple[NumberedStep, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """What runs equally often, under its heading."""

    title: str
    groups: tuple[Group, ...]


def order(cost: PlanCost, plan: Plan, notation: Notation) -> list[Block]:
    """The steps of a form as they run. Loading has no number: the heading of the block tells it."""
    texts = [(step, notation.step(step.step)) for step in cost.steps]
    number, found = 0, []
    for place, items in groupby(texts, key=lambda item: item[0].place):
        block = list(items)
        shown = [item for item in block if not isinstance(item[0].step, Load)]
        line: int | None = None
        groups = []
        for why, group in groupby(shown, key=lambda item: _origin(item[0])):
            title = _origin_title(why, line)
            line = why[0] or line
            steps = [NumberedStep(k, *item) for k, item in enumerate(group, number + 1)]
            number += len(steps)
            groups.append(Group(title, tuple(steps)))
        found.append(Block(_place_title(place, [s for s, _ in block], plan, notation), tuple(groups)))
    return found


def _place_title(place: Place, steps: Sequence[StepCost], plan: Plan, notation: Notation) -> str:
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


def _origin(step: StepCost) -> tuple[int | None, str]:
    """Where a step comes from: its line and rule."""
    if isinstance(step.step, Keep):
        return None, "stored"
    return step.why.line, step.why.rule


def _origin_title(why: tuple[int | None, str], before: int | None) -> str:
    """The heading of the steps that one rule made; the line where it changes."""
    line = f"line {why[0]}" if why[0] and (why[0] != before or not why[1]) else ""
    return ": ".join(part for part in (line, why[1]) if part)


# -- states and refusals -------------------------------------------------------------------------------------


def state_rows(report: Report) -> list[tuple[str, str, str]]:
    """Every state of the stream: with its labels, its size, and what is added to it."""
    plan = next((report.plans[f] for f in ("chunkwise", "recurrent") if f in report.plans), None)
    if plan is None:
        return []
    notation = Notation(plan)
    added = _added(plan, notation)
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
        rows.append((notation.state(state), size.text(list(report.sizes)), text or "-"))
    return rows


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


@dataclass(frozen=True, slots=True)
class Told:
    """What several rules refused for one reason, or what one rule rewrote."""

    rules: str
    line: int | None
    reason: str
    instead: str = ""


def refused(report: Report) -> list[Told]:
    """Every refusal once, with all the rules it holds for."""
    rules: dict[tuple[str, str, int | None], list[str]] = {}
    for refusal in report.refused:
        known = rules.setdefault((refusal.reason, refusal.change, refusal.line), [])
        if refusal.rule not in known:
            known.append(refusal.rule)
    return [
        Told(", ".join(names), line, sentence(reason), sentence(change) if change else "")
        for (reason, change, line), names in rules.items()
    ]


def rewritten(report: Report) -> list[Told]:
    """Every rule that was applied."""
    return [Told(r.rule, r.line, sentence(r.what)) for r in report.rewrites]
