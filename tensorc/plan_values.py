"""What all steps of a plan speak of: values under labels, and where a step comes from."""

from __future__ import annotations

from dataclasses import dataclass

ROW = "@r"
COLUMN = "@w"
CACHED = "@k"  # columns that are tokens up to the row: those of a cache; others are named by their axis
PAST = "@p"  # the same before the row, token by token
NEAR = "@<n"  # columns of a window before the chunk, up to the whole chunks that are summed
FAR = "@<f"  # columns of one of those chunks
HERE = "@t"  # the position that a recursion fills: a number, not a label


@dataclass(frozen=True, slots=True)
class Ref:
    """A value with a label for each of its axes."""

    value: str
    axes: tuple[str, ...]

    def relabel(self, names: dict[str, str]) -> Ref:
        """The same value under other labels."""
        return Ref(self.value, tuple(names.get(a, a) for a in self.axes))


@dataclass(frozen=True, slots=True)
class Why:
    """Where a step comes from: the equation it computes, its line, and the rule that made it."""

    equation: str = ""
    rule: str = ""
    line: int | None = None


def first(label: str) -> str:
    """The name of a number: the first position of the tokens (or columns) at hand."""
    return f"{label}:first"


def last(label: str) -> str:
    """The name of a number: the last position of the tokens (or columns) at hand."""
    return f"{label}:last"
