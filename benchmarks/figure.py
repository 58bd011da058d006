"""One measured figure: a number of ours, the yardstick's, and the bound that their ratio must keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.timing import Sample


@dataclass(frozen=True)
class Figure:
    """`ours` and `yardstick` are (median, minimum) in `unit`.

    `ratio` is the median over the rounds of ours by the yardstick's (for a speed-up the other way round),
    each measured within one round, so that what else the machine does touches both; `ratio_min` that of
    the minima. The bound speaks of the ratio where there is a yardstick, else of our median. Without a
    bound the figure is for information.
    """

    group: str
    what: str
    unit: str
    ours: tuple[float, float]
    bound: float | None
    yardstick: tuple[float, float] | None = None
    ratio: float | None = None
    ratio_min: float | None = None
    against: str = ""
    at_least: bool = False  # the bound is a lower one: a speed-up

    @property
    def value(self) -> float:
        return self.ours[0] if self.ratio is None else self.ratio

    @property
    def met(self) -> bool:
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "value": self.value, "met": self.met}


def alone(group: str, what: str, unit: str, ours: Sample, *, bound: float | None) -> Figure:
    """A figure without a yardstick."""
    return Figure(group, what, unit, numbers(ours, unit), bound)


def compared(
    group: str, what: str, unit: str, ours: Sample, theirs: Sample, *,
    bound: float | None, against: str, at_least: bool = False,
) -> Figure:  # fmt: skip
    """A figure beside its yardstick, both measured in the same rounds."""
    pairs = zip(ours.seconds, theirs.seconds, strict=True)
    ratios = [theirs_ / ours_ if at_least else ours_ / theirs_ for ours_, theirs_ in pairs]
    least = theirs.minimum / ours.minimum if at_least else ours.minimum / theirs.minimum
    return Figure(
        group, what, unit, numbers(ours, unit), bound, numbers(theirs, unit), median(ratios), least,
        against, at_least,
    )  # fmt: skip


def numbers(sample: Sample, unit: str) -> tuple[float, float]:
    """(median, minimum) of a sample: of seconds in ms or us, of anything else as it is."""
    scale = {"ms": 1e3, "us": 1e6}.get(unit, 1.0)
    return sample.median * scale, sample.minimum * scale
