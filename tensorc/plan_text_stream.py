"""The steps of a stream as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.plan import (
    Accumulate,
    Append,
    Columns,
    Guard,
    LogSum,
    Region,
    Select,
    Slide,
    Step,
    Stream,
    Weigh,
)
from tensorc.printing import print_cond

if TYPE_CHECKING:
    from tensorc.plan_text import Notation

SIGNS = {"sum": "+", "prod": "*"}


def stream_text(notation: Notation, step: Step) -> str:
    """The right-hand side of a step of `plan_stream`."""
    match step:
        case Append(state=state, rows=rows):
            return f"{notation.value(state.value)}, then {notation.ref(rows)}"
        case Select(source=source):
            return f"{notation.value(source.value)}, these columns"
        case Region(domain=domain):
            return f"[{' and '.join(print_cond(notation._renamed(c)) for c in domain)}]"  # type: ignore[arg-type]
        case Guard(source=source, mask=mask, op=op):
            start = {"sum": "0", "prod": "1", "max": "-inf", "min": "inf"}[op]
            return f"where({notation.ref(mask)}, {notation.ref(source)}, {start})"
        case Weigh():
            return _weigh(notation, step)
        case Accumulate(running=running, addend=addend, op=op, scale=scale):
            old = notation.ref(running)
            old = old if scale is None else f"{old} * {notation.ref(scale)}"
            new = notation.ref(addend)
            return f"{old} {SIGNS[op]} {new}" if op in SIGNS else f"{op}imum({old}, {new})"
        case LogSum(top=top, total=total):
            return f"{notation.ref(top)} + log({notation.ref(total)})"
        case Slide():
            return _slide(notation, step)
        case Stream():
            return _stream(notation, step)
    raise TypeError(f"a step of an unknown kind: {step!r}")


def _weigh(notation: Notation, step: Weigh) -> str:
    mask = f" where {notation.ref(step.mask)}" if step.mask is not None else ""
    assert step.top is not None
    rise = f", {notation.ref(step.scale)} as the top rises" if step.scale is not None else ""
    return f"exp({notation.ref(step.scores)} - {notation.ref(step.top)}){mask}{rise}"


def _stream(notation: Notation, step: Stream) -> str:
    spans = ", ".join(_span(notation, c) for c in step.columns)
    running = ", ".join(notation.ref(r.ref) for r in step.running)
    return f"for blocks of {spans}: running {running}"


def _slide(notation: Notation, step: Slide) -> str:
    width = notation.expr(step.width)
    gate = "" if step.through is None else f"{notation.ref(step.through)} * it + "
    return f"over the whole chunks of the {width} tokens: {gate}{notation.ref(step.addend)}"


def _span(notation: Notation, columns: Columns) -> str:
    """The columns that the rows at hand need."""
    low = "" if columns.low is None else f"{notation.expr(columns.low)} <= "
    end = notation.expr(columns.high) if columns.high is not None else str(columns.extent)
    return f"columns {low}{notation.label(columns.label)} < {end}"
