"""Registers, spills and shared memory of the catalogue's Triton kernels: no GPU is needed.

`python -m benchmarks.triton_targets` compiles every kernel of every program and gradient for the targets and
writes `results/triton_targets.json` and `.md`; `--only gated hla2_grad` replaces the rows of some programs,
`--target sm_90` takes some targets. `tests/backends/test_triton_targets.py` compares a part with the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tensorc
from tensorc.errors import BackendError
from tensorc.triton_targets import DTYPES, SHARED, usages

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TARGETS = ("sm_80", "sm_90", "gfx942")
SIZES = {"n": 4096, "g": 2, "r": 4, "h": 4}
WIDTHS = {"sliding_window": 128, "alibi_window": 128, "window_linear": 128}  # others are short convolutions
SLOTS = {"gated_slot_attention": 64}  # elsewhere m is the length of a memory


def names() -> list[str]:
    """The programs of the catalogue, and their gradients."""
    found = [path.stem for path in sorted((ROOT / "examples").glob("*.tc"))]
    return [*found, *(f"{name}_grad" for name in found)]


def operator(name: str, d: int) -> tuple[Any, dict[str, int]]:
    """A program or `NAME_grad` with d features, and its sizes."""
    stem = name.removesuffix("_grad")
    path = ROOT / "examples" / f"{stem}.tc"
    program = tensorc.grad(path) if name.endswith("_grad") else tensorc.compile(path).program
    sizes = SIZES | {"d": d, "e": d, "w": WIDTHS.get(stem, 4), "m": SLOTS.get(stem, 512)}
    sizes = {size: value for size, value in sizes.items() if size in program.sizes()}
    defaults = {size: value for size, value in sizes.items() if size in dict(program.defaults)}
    return tensorc.compile(program, backend="triton", sizes=defaults or None), sizes


def measure(
    name: str, d: int, targets: Sequence[str], dtypes: Sequence[str] = DTYPES
) -> Iterable[dict[str, Any]]:
    """The rows of one program."""
    for one in usages([operator(name, d)], targets, dtypes):
        yield {"program": name, "d": d, **asdict(one)}


def verdict(row: Mapping[str, Any]) -> str:
    """What is wrong with a row, if anything."""
    if row["problem"]:
        return str(row["problem"]).splitlines()[0][:120]
    if row["shared"] > SHARED[row["target"]]:
        return "shared memory"
    return "spills" if row["spilled"] else ""


def load(path: Path) -> list[dict[str, Any]]:
    """The rows of a table."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def save(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of a table, and what is to be read of it."""
    lines = ",\n".join(json.dumps([*row.values()]) for row in rows)
    columns = json.dumps([*rows[0]] if rows else [])
    path.write_text(f'{{"columns": {columns}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


def cell(row: Mapping[str, Any] | None) -> str:
    """What one kernel needs on a target."""
    if row is None:
        return ""
    chunk = (row["blocks"] or {}).get("CHUNK", "")
    note = f" **{row['spilled']} spilled**" if verdict(row) == "spills" else f" {verdict(row)}"
    return f"{chunk}/{row['warps']}: {row['registers']}, {row['shared'] / 1024:.3g}{note}".strip()


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table: a line for each kernel."""
    good = sum(not verdict(r) for r in rows)
    kinds = list(dict.fromkeys((r["target"], r["dtype"]) for r in rows))
    titles = ["kernel", "form", "d", *(f"{target} {dtype}" for target, dtype in kinds)]
    lines = [
        "# Kernels on targets",
        "",
        "Compiled ahead of time by `python -m benchmarks.triton_targets` at the configuration that is chosen "
        f"by default: {good} of {len(rows)} kernels spill nothing and fit shared memory. `d` features. Cells "
        "are chunk / warps: registers a thread, KiB of shared memory a program, and bytes of registers that "
        "a thread spills. A cell is empty where another kernel is chosen.",
        "",
        f"| {' | '.join(titles)} |",
        f"| --- | --- | ---: |{' --- |' * len(kinds)}",
    ]
    found: dict[tuple[str, str, int], dict[tuple[str, str], Mapping[str, Any]]] = {}
    for r in rows:
        found.setdefault((r["kernel"], r["form"], r["d"]), {})[r["target"], r["dtype"]] = r
    for (kernel, form, d), own in found.items():
        lines.append(f"| {' | '.join([kernel, form, str(d), *(cell(own.get(k)) for k in kinds)])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--target", nargs="*", default=TARGETS, metavar="T")
    parser.add_argument("--dtype", nargs="*", default=DTYPES, metavar="T")
    parser.add_argument("--features", nargs="*", type=int, default=[64], metavar="D")
    parser.add_argument("--output", type=Path, default=RESULTS / "triton_targets.json")
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if chosen.only and chosen.output.exists():
        rows = load(chosen.output)
    order = names()
    for d in chosen.features:
        for name in chosen.only or order:
            start = time.monotonic()
            try:
                found = list(measure(name, d, chosen.target, chosen.dtype))
            except BackendError as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                continue
            bad = [f"{r['kernel']} {r['dtype']} {r['target']}: {verdict(r)}" for r in found if verdict(r)]
            seconds = time.monotonic() - start
            print(f"{name} d={d}: {len(found)} compiled in {seconds:.0f} s", *bad, sep="\n    ", flush=True)
            rows = [r for r in rows if (r["program"], r["d"]) != (name, d)] + found
            rows.sort(key=lambda r: (order.index(r["program"]), r["d"]))
            save(chosen.output, rows)


if __name__ == "__main__":
    main()
