"""The table of figures on a GPU: lines, Markdown, and the JSON in which runs of some rows come together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure

HEADINGS = (
    "program", "(B, T, H, D)", "pass", "ours, ms", "of roofline", "peer", "theirs, ms", "ratio", "bound",
    "met", "remarks",
)  # fmt: skip
LATE = "not run: no time left"


@dataclass(frozen=True)
class Line:
    """Ours beside one peer; medians in milliseconds. What was not measured is None, and `note` says why.

    `roofline`: the least time that the device needs by our time. `ratio`: the peer's time by ours. `bound`:
    what the ratio of the fastest peer must reach. `timed`: by graphs or by events.
    """

    program: str
    shape: str
    passes: str
    peer: str
    ours: float | None = None
    theirs: float | None = None
    ratio: float | None = None
    bound: float | None = None
    roofline: float | None = None
    timed: str = ""
    note: str = ""

    @classmethod
    def of(cls, figure: Figure, program: str, shape: str, passes: str, **more: Any) -> Line:
        """A figure in ms as a line."""
        theirs = figure.yardstick[0] if figure.yardstick else None
        return cls(
            program, shape, passes, figure.against, figure.ours[0], theirs, figure.ratio, figure.bound, **more
        )

    @property
    def cell(self) -> tuple[str, str, str]:
        """What was timed: of one cell there are as many lines as peers."""
        return self.program, self.shape, self.passes

    @property
    def met(self) -> bool | None:
        return None if self.bound is None or self.ratio is None else self.ratio >= self.bound

    def cells(self) -> tuple[str, ...]:
        """One row of the table."""

        def number(value: float | None, form: str) -> str:
            return "" if value is None else format(value, form)

        remarks = "; ".join(part for part in (self.timed and f"by {self.timed}", self.note) if part)
        return (
            self.program, self.shape, self.passes, number(self.ours, ".4g"), number(self.roofline, ".0%"),
            self.peer, number(self.theirs, ".4g"), number(self.ratio, ".2f"),
            "" if self.bound is None else f">= {self.bound:g}",
            {True: "yes", False: "NO", None: ""}[self.met],
            remarks.replace("|", "/"),
        )  # fmt: skip


def markdown(machine: Mapping[str, Any], checks: Iterable[Mapping[str, Any]], lines: Iterable[Line]) -> str:
    """What the machine is, what was checked on it, and the table of times last."""
    named = ", ".join(f"{key} {value}" for key, value in machine.items())
    text = [
        f"Medians. {named}.",
        "",
        "| program | dtype | found | of what is allowed | remarks |",
        "|" + " --- |" * 5,
    ]
    for c in checks:
        share = "" if c["share"] is None else f"{c['share']:.2f}"
        text.append(
            f"| {c['program']} | {c['dtype']} | {c['status']} | {share} | {c['note'].replace('|', '/')} |"
        )
    text += ["", "| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    text += ["| " + " | ".join(line.cells()) + " |" for line in lines]
    return "\n".join(text) + "\n"


def merged(
    stem: Path, machine: Mapping[str, Any], checks: list[dict[str, Any]], lines: list[Line]
) -> tuple[list[dict[str, Any]], list[Line]]:
    """What was found now, after what an earlier run on the same machine found beyond it."""
    path = stem.with_suffix(".json")
    if not path.exists():
        return checks, lines
    old = json.loads(path.read_text(encoding="utf-8"))
    if _lasting(old["machine"]) != _lasting(machine):
        return checks, lines
    seen = {c["program"] for c in checks if c["status"] != LATE}
    here = {line.cell for line in lines if line.note != LATE}
    kept = [line for line in (Line(**known) for known in old["lines"]) if line.cell not in here]
    known = [c for c in old["checks"] if c["program"] not in seen]
    earlier, judged = {line.cell for line in kept}, {c["program"] for c in known}
    return (
        known + [c for c in checks if c["program"] not in judged],
        kept + [line for line in lines if line.cell not in earlier],
    )


def _lasting(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Without what differs from run to run."""
    return {
        key: value for key, value in machine.items() if key not in ("date", "copy GB/s", "matmul TFLOP/s")
    }


def save(stem: Path, machine: Mapping[str, Any], checks: list[dict[str, Any]], lines: list[Line]) -> None:
    """Write `stem`.json and `stem`.md, with earlier runs of other programs on the same machine."""
    checks, lines = merged(stem, machine, checks, lines)
    stem.parent.mkdir(parents=True, exist_ok=True)
    data = {"machine": dict(machine), "checks": checks, "lines": [asdict(line) for line in lines]}
    stem.with_suffix(".json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(machine, checks, lines), encoding="utf-8")


def plain(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Columns of text, aligned.

    >>> print(plain(["a", "b"], [["one", "2"]]))
    a    b
    one  2
    """
    table = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    return "\n".join(padded)
