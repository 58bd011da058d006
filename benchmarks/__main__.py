"""python -m benchmarks [--only GROUP]... [--quick] [--save NAME]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import (
    bounds_torch,
    calls_torch,
    crossover,
    folds,
    memory,
    memory_torch,
    results,
    speed,
    speed_torch,
    startup,
)
from benchmarks.figure import Figure

# Each page of figures with its groups, in the order in which they are measured.
PAGES = {
    "numpy": {
        "import": startup.import_time,
        "source": startup.source,
        "crossover": crossover.crossover,  # before the groups that keep freed memory
        "chunkwise": speed.chunkwise,
        "quadratic": speed.quadratic,
        "growth": speed.growth,
        "memory": memory.memory,
        "step": speed.step,
        "state": speed.state,
        "fold": folds.fold,
    },
    "torch": {
        "torch-overhead": calls_torch.overhead,
        "torch-step": calls_torch.step,
        "torch-memory": memory_torch.memory,
        "torch-bound": bounds_torch.bound,
        "torch-context": bounds_torch.context,
        "torch-forward": speed_torch.forward,
        "torch-backward": speed_torch.backward,
    },
}
GROUPS = {name: group for page in PAGES.values() for name, group in page.items()}


def chosen(only: list[str] | None) -> list[str]:
    """The groups that are asked for by their names or that of their page; without names, all.

    >>> chosen(["torch-step", "step"])
    ['step', 'torch-step']
    """
    wanted = set(only or PAGES)
    return [name for page, groups in PAGES.items() for name in groups if {page, name} & wanted]


def main() -> int:
    """Measure, print each group when it is done, and save every page that was measured in full, in README.md
    too; 1 if a bound was not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*PAGES, *GROUPS]
    parser.add_argument(
        "--only", action="append", choices=names, help="a page or a group, repeatable; without it, everything"
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--save", metavar="NAME", help="what was measured as results/NAME.json and .md")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    found: dict[str, list[Figure]] = {}
    for group in chosen(arguments.only):
        found[group] = list(GROUPS[group](arguments.quick))
        results.show(console, group, found[group])
    figures = [figure for group in found.values() for figure in group]
    folder = Path(__file__).with_name("results")
    if arguments.save:
        results.save(figures, folder / arguments.save)
    for page, groups in PAGES.items():
        if arguments.quick or not groups.keys() <= found.keys():
            continue
        mine = [figure for group in groups for figure in found[group]]
        if not mine:  # without PyTorch, its page stays as it is
            continue
        results.save(mine, folder / page)
        results.update_page(Path(__file__).parents[1] / "README.md", page, mine)
        console.print(f"saved {page}.md and .json in benchmarks/results")
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
