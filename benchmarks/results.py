"""Results as a table for the terminal, as JSON and as Markdown, with the machine and the versions named."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import references
from benchmarks.figure import Figure

BEGIN, END = "<!-- figures: {} -->", "<!-- end of figures: {} -->"  # of a page, by its name
HEADINGS = ("", "ours", "by hand", "unit", "ratio", "of minima", "bound", "met")


def environment() -> dict[str, Any]:
    """Versions, processor, cores and threads."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":", 1)[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "blas": f"{blas['name']} {blas['version']}",
        **{name: version(name) for name in ("tensorc", "numpy", "networkx", "opt_einsum", "lark")},
        **_torch(),
    }


def _torch() -> dict[str, Any]:
    """Versions and threads of PyTorch, if a benchmark has loaded it."""
    if "torch" not in sys.modules:
        return {}
    found = {"torch": version("torch"), "torch threads": sys.modules["torch"].get_num_threads()}
    return found | ({"fla-core": version("fla-core")} if references.installed() else {})


def cells(figure: Figure) -> tuple[str, ...]:
    """One row: medians, with minima in parentheses."""

    def pair(values: tuple[float, float] | None) -> str:
        if values is None:
            return ""
        return f"{values[0]:.4g}" if values[0] == values[1] else f"{values[0]:.4g} ({values[1]:.4g})"

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    what = figure.what + (f" / {figure.against}" if figure.against else "")
    bound = "" if figure.bound is None else f"{'>=' if figure.at_least else '<='} {figure.bound:g}"
    met = "" if figure.bound is None else "yes" if figure.met else "NO"
    return (
        what, pair(figure.ours), pair(figure.yardstick), figure.unit,
        number(figure.ratio), number(figure.ratio_min), bound, met,
    )  # fmt: skip


def show(console: Console, group: str, figures: list[Figure]) -> None:
    """Print one group as a table."""
    table = Table(title=group, title_justify="left")
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if i == 0 else "right", overflow="fold")
    for figure in figures:
        table.add_row(*cells(figure), style=None if figure.met else "bold red")
    console.print(table)


def markdown(figures: list[Figure], machine: dict[str, Any]) -> str:
    """Figures as one Markdown table under a line that names the machine."""
    named = ", ".join(f"{key} {value}" for key, value in machine.items())
    return f"Medians, minima in parentheses. {named}.\n\n{_table(HEADINGS, map(cells, figures))}"


def summary(figures: list[Figure], machine: dict[str, Any], page: str) -> str:
    """The figures that have a bound, in short: medians alone. The rest is in the file of the page."""
    rows = []
    for figure in figures:
        what, ours, by_hand, unit, ratio, _, bound, met = cells(figure)
        if bound:
            numbers = (f"{text.partition(' ')[0]} {unit}" if text else "" for text in (ours, by_hand))
            rows.append((what, *numbers, ratio, bound, met))
    named = f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}"
    full = f"All figures, with minima and versions: [{page}.md](benchmarks/results/{page}.md)."
    table = _table(("medians", "ours", "by hand", "ratio", "bound", "met"), rows)
    return f"{full} {named}.\n\n{table}"


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def save(figures: list[Figure], stem: Path) -> None:
    """Write `stem`.json and `stem`.md."""
    machine = environment()
    data = {"machine": machine, "figures": [figure.to_dict() for figure in figures]}
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(data, indent=2) + "\n")
    stem.with_suffix(".md").write_text(markdown(figures, machine))


def update_page(path: Path, page: str, figures: list[Figure]) -> None:
    """Replace the table between the marks of a page by the figures with a bound; of the programs' compile
    times only the longest."""
    slowest = max((f for f in figures if f.group == "source"), key=lambda f: f.value, default=None)
    chosen = [f for f in figures if f.group != "source" or f is slowest]
    begin, end = BEGIN.format(page), END.format(page)
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path.name} has no place for the figures of {page}: {begin} and {end}")
    path.write_text(f"{before}{begin}\n{summary(chosen, environment(), page)}{end}{after}")
