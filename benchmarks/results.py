"""Results as a table for the terminal, as JSON and as Markdown, with the machine and the versions named."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figure import Figure

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
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
    }


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
    lines = [f"Medians, minima in parentheses. {named}.", "", "| " + " | ".join(HEADINGS) + " |"]
    lines.append("|" + " --- |" * len(HEADINGS))
    lines += ["| " + " | ".join(cells(figure)) + " |" for figure in figures]
    return "\n".join(lines) + "\n"


def save(figures: list[Figure], stem: Path) -> None:
    """Write `stem`.json and `stem`.md."""
    machine = environment()
    data = {"machine": machine, "figures": [figure.to_dict() for figure in figures]}
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(data, indent=2) + "\n")
    stem.with_suffix(".md").write_text(markdown(figures, machine))


def update_page(page: Path, figures: list[Figure]) -> None:
    """Replace the table between the marks of a page; of the programs' compile times only the longest."""
    slowest = max((f for f in figures if f.group == "source"), key=lambda f: f.value, default=None)
    chosen = [f for f in figures if f.group != "source" or f is slowest]
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(chosen, environment())}{END}{after}")
