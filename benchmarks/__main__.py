"""python -m benchmarks [--only GROUP]... [--quick] [--save NAME]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import crossover, folds, memory, results, speed, speed_torch, startup
from benchmarks.figure import Figure

GROUPS = {
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
    "torch": speed_torch.torch,
}


def main() -> int:
    """Measure, print each group when it is done, and save a full run, in README.md too; 1 if a bound was
    not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=GROUPS, help="repeatable; without it, everything")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--save", metavar="NAME", help="results/NAME.json and .md; a full run saves 'numpy'")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    figures: list[Figure] = []
    for group in arguments.only or GROUPS:
        found = list(GROUPS[group](arguments.quick))
        results.show(console, group, found)
        figures += found
    name = arguments.save or (None if arguments.only or arguments.quick else "numpy")
    if name:
        stem = Path(__file__).with_name("results") / name
        results.save(figures, stem)
        if not (arguments.only or arguments.quick):
            results.update_page(Path(__file__).parents[1] / "README.md", figures)
        console.print(f"saved {stem.with_suffix('.md').name} and .json in benchmarks/results")
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
