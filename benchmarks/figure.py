"""One measured figure: a number of ours, the yardstick's, and the bound that their ratio must keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.timing import Sample


@dataclass(frozen=True)
class Figure:
    """`ours` and `yardstick` are (median, minimum) in `unit`; `ratio` is of medians, `ratio_min` of minima.

    `value` is what the bound speaks of: the ratio of medians where there is a yardstick, else our median.
    Without a bound the figure is for information.
    """

    group: str
    what: str
    unit: str
    ours: tuple[float, float]
    bound: float | None
    yardstick: tuple[float, float] | None = None
    against: str = ""
    at_least: bool = False  # the bound is a lower one: a speed-up

    @property
    def ratio(self) -> float | None:
        return None if self.yardstick is None else self._ratio(0)

    @property
    def ratio_min(self) -> float | None:
        return None if self.yardstick is None else self._ratio(1)

    def _ratio(self, which: int) -> float:
        assert self.yardstick is not None
        ours, theirs = self.ours[which], self.yardstick[which]
        return theirs / ours if self.at_least else ours / theirs

    @property
    def value(self) -> float:
        return self.ours[0] if self.ratio is None else self.ratio

    @property
    def met(self) -> bool:
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def to_dict(self) -> dict[str, Any]:
        extra = {"ratio": self.ratio, "ratio_min": self.ratio_min, "value": self.value, "met": self.met}
        return {**asdict(self), **extra}


def numbers(sample: Sample, scale: float) -> tuple[float, float]:
    """(median, minimum) of a sample of seconds in another unit."""
    return sample.median * scale, sample.minimum * scale
