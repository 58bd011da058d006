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


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table."""
    good = sum(not verdict(r) for r in rows)
    lines = [
        "# Kernels on targets",
        "",
        "Compiled ahead of time by `python -m benchmarks.triton_targets` at the configuration that is chosen "
        f"by default: {good} of {len(rows)} kernels spill nothing and fit shared memory. `d` features; "
        "registers and bytes of spilled ones are a thread's, bytes of shared memory a program's.",
        "",
        "| kernel | form | d | dtype | target | chunk | warps | registers | spilled | shared | |",
        "| --- | --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for r in rows:
        chunk = (r["blocks"] or {}).get("CHUNK", "")
        names = ("kernel", "form", "d", "dtype", "target"), ("warps", "registers", "spilled", "shared")
        cells = [*(r[k] for k in names[0]), chunk, *(r[k] for k in names[1]), verdict(r)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
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
        rows = json.loads(chosen.output.read_text(encoding="utf-8"))
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
            chosen.output.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
            chosen.output.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
