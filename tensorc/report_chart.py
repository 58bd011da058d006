"""The time of each form against the length of the sequence: a chart with two logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log2, log10

from tensorc.model import plan_time
from tensorc.report import Report
from tensorc.report_facts import duration, time_axis

WIDTH, HEIGHT = 640.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 96.0, 22.0, 40.0
SHORTEST = 1e-9  # seconds


@dataclass(frozen=True, slots=True)
class Line:
    """A form: the points of its line, and where its name stands."""

    form: str
    points: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark at a place on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws."""

    name: str
    lines: Sequence[Line]
    lengths: Sequence[Tick]
    times: Sequence[Tick]
    crossings: Sequence[Tick]
    here: Tick | None
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def chart(report: Report) -> Chart | None:
    """The chart of a report; None without a time axis that is one size."""
    time = time_axis(report)
    if time is None or len(time.names) != 1 or time.value({time.names[0]: 1}) != 1:
        return None
    (name,) = time.names
    length = report.sizes[name]
    farthest = max([256, length, *(int(c["n"]) for c in report.crossover)])
    powers = ceil(log2(farthest)) + 1
    times = {
        form: [
            max(SHORTEST, plan_time(plan, {**report.sizes, name: 2**k}, report.rates, batch=report.batch))
            for k in range(powers + 1)
        ]
        for form, plan in report.plans.items()
    }
    low = floor(log10(min(map(min, times.values()))))
    high = max(low + 1, ceil(log10(max(map(max, times.values())))))

    def across(power: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * power / powers, 1)

    def up(seconds: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (log10(seconds) - low) / (high - low), 1)

    ends = _apart({form: up(found[-1]) for form, found in times.items()})
    every, decades = ceil(powers / 8), ceil((high - low) / 8)
    return Chart(
        name,
        [
            Line(
                form,
                " ".join(f"{across(k)},{up(s)}" for k, s in enumerate(found)),
                WIDTH - RIGHT + 6,
                ends[form],
            )
            for form, found in times.items()
        ],
        [Tick(across(k), _count(2**k)) for k in range(0, powers + 1, every)],
        [Tick(up(10.0**k), _round(10.0**k)) for k in range(low, high + 1, decades)],
        [Tick(across(log2(int(c["n"]))), f"{int(c['n']):,}") for c in report.crossover],
        Tick(across(log2(length)), f"{name} = {length:,}") if length else None,
    )


def _apart(ends: dict[str, float], gap: float = 14.0) -> dict[str, float]:
    """The heights of the names beside the lines, so that none covers another."""
    found: dict[str, float] = {}
    before = float("-inf")
    for form, y in sorted(ends.items(), key=lambda item: item[1]):
        before = found[form] = max(y, before + gap)
    return found


def _count(value: int) -> str:
    """1024 is 1K."""
    power = min(4, int(log2(value)) // 10)
    return f"{value >> 10 * power}{'KMGT'[power - 1] if power else ''}"


def _round(seconds: float) -> str:
    """A power of ten in seconds: 10 ms."""
    text = duration(seconds) if seconds >= 1e-6 else f"{seconds * 1e9:.0f} ns"
    return text.replace(".00", "").replace(".0", "")
