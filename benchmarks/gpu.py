"""python -m benchmarks.gpu [--only NAME[,NAME]]... [--dry-run] [--seconds N]

Checks Triton kernels against the definition, then times them beside those of others. Needs a CUDA device.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tensorc
from benchmarks import gpu_table
from benchmarks.figure import alone, compared
from benchmarks.gpu_peers import PEERS, Peer
from benchmarks.gpu_rows import CHECKS, PASSES, ROWS, SHAPES, Rates, Row, Shape, chosen, work
from benchmarks.gpu_table import Line

RESULTS = Path(__file__).with_name("results") / "gpu"
ROUNDS, EACH = 21, 4.0  # samples of each contender, and seconds that they may take together
OURS = "ours"


def main(arguments: list[str] | None = None, stem: Path = RESULTS) -> int:
    """Check, measure, save, and print the table last; 1 where a kernel is wrong or a bound was not kept, 2
    without a device."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME[,NAME]",
        help=f"rows, each with the check of its program; {CHECKS}: those of the whole catalogue; a name of "
        f"examples/: that check. Rows: {', '.join(ROWS)}",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="list rows, shapes, FLOPs and bytes; measure nothing"
    )
    parser.add_argument("--seconds", type=float, default=420.0, help="begin nothing new after this time")
    given = parser.parse_args(arguments)
    try:
        names = chosen(given.only)
    except ValueError as error:
        parser.error(str(error))
    if given.dry_run:
        print(listing(names))
        return 0
    problem = no_device()
    if problem:
        print(problem, file=sys.stderr)
        return 2
    return run(names, time.monotonic() + given.seconds, stem)


def no_device() -> str:
    """Why nothing can be measured here, or nothing."""
    ask = "Use --dry-run to list what would be measured."
    for package in ("torch", "triton"):
        if not find_spec(package):
            return f'benchmarks.gpu needs {package}: pip install "tensorc[triton]". {ask}'
    import torch

    if not torch.cuda.is_available():
        return (
            f"benchmarks.gpu measures on a CUDA device, and PyTorch {torch.__version__} sees none here. {ask}"
        )
    return ""


def listing(names: list[str]) -> str:
    """Rows, shapes, and what a call is expected to do."""
    headings = ("program", "(B, T, H, D)", "pass", "GFLOP", "MB", "FLOP/byte", "peers")
    rows = []
    for row, shape, backward in cells(names):
        needed = work(row, shape, backward)
        peers = ", ".join(peer.name for peer in PEERS[row.name] if peer.trains or not backward)
        rows.append((
            row.name, str(shape), PASSES[backward], f"{needed.flops / 1e9:.1f}", f"{needed.bytes / 1e6:.1f}",
            f"{needed.flops / needed.bytes:.0f}", peers,
        ))  # fmt: skip
    return gpu_table.plain(headings, rows)


def cells(names: list[str]) -> Iterator[tuple[Row, Shape, bool]]:
    """What is timed, in order."""
    for name in names:
        if name in ROWS:
            yield from ((ROWS[name], shape, backward) for shape in SHAPES for backward in (False, True))


def run(names: list[str], end: float, stem: Path) -> int:
    """All of it, until the time is over; what was not reached is labelled."""
    from benchmarks.gpu_timing import measured_rates

    rates = measured_rates()
    machine = environment(rates)
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    checks = checked(names, end)
    lines: list[Line] = []
    for row, shape, backward in cells(names):
        if time.monotonic() > end:
            lines.append(Line(row.name, str(shape), PASSES[backward], "", note=gpu_table.LATE))
            continue
        new = timed(row, shape, backward, rates)
        print(*("  ".join(line.cells()) for line in new), sep="\n", flush=True)
        lines += new
    gpu_table.save(stem, machine, checks, lines)
    print(gpu_table.markdown(machine, checks, lines))
    bad = [c for c in checks if c["status"] in ("WRONG", "failed")]
    return 1 if bad or any(line.met is False for line in lines) else 0


def checked(names: list[str], end: float) -> list[dict[str, Any]]:
    """The verdicts on all programs of the catalogue, or on those of the rows."""
    from benchmarks.gpu_checks import catalogue, check, lines

    paths = [p for p in catalogue() if CHECKS in names or p.stem in names]
    found = []
    for path in paths:
        if time.monotonic() > end:
            late = {"status": gpu_table.LATE, "share": None, "note": ""}
            found.append({"program": path.stem, "dtype": "all", **late})
            continue
        verdicts = check(path, kernels, "cuda")
        print(*lines(verdicts), sep="\n", flush=True)
        found += [asdict(v) for v in verdicts]
    return found


def kernels(source: Path | str) -> Any:
    """A program on Triton."""
    return tensorc.compile(source, backend="triton")


def timed(
    row: Row, shape: Shape, backward: bool, rates: Rates, device: str = "cuda",
    compiled: Callable[..., Any] = kernels, measure: Any = None,
) -> list[Line]:  # fmt: skip
    """Ours beside all peers of a row. The fastest peer that computes the same bears the bound."""
    from benchmarks import gpu_timing

    place = (row.name, str(shape), PASSES[backward])
    inputs = list(gpu_timing.tensors(row, shape, device).values())
    own = Peer(OURS, cache(partial(compiled, row.source)), tokens_first=False)
    mine = gpu_timing.contender(own, inputs, None, backward)
    expected = gpu_timing.output(own, inputs) if mine.call else None
    others = {peer.name: gpu_timing.contender(peer, inputs, expected, backward) for peer in PEERS[row.name]}
    empty = [Line(*place, name, note=c.note) for name, c in others.items() if c.call is None]
    if mine.call is None:
        return [Line(*place, "", note=f"ours {mine.note}"), *empty]
    calls = {OURS: mine.call} | {name: c.call for name, c in others.items() if c.call}
    try:
        found, how = (measure or gpu_timing.side_by_side)(calls, ROUNDS, EACH)
    except Exception as error:  # out of memory, among others, with all of them there at once
        return [Line(*place, "", note=f"failed: {type(error).__name__}"), *empty]
    ours = found.pop(OURS)
    share = work(row, shape, backward).seconds(rates) / ours.median
    best = min((n for n in found if not others[n].note), key=lambda n: found[n].median, default=None)
    figures = {
        name: compared(
            row.name, "", "ms", ours, theirs, bound=row.bound if name == best else None, against=name,
            at_least=True,
        )
        for name, theirs in found.items()
    }  # fmt: skip
    measured = [
        Line.of(f, *place, roofline=share, timed=how, note=others[name].note) for name, f in figures.items()
    ]
    if not measured:
        measured = [Line.of(alone(row.name, "", "ms", ours, bound=None), *place, roofline=share, timed=how)]
    return measured + empty


def environment(rates: Rates) -> dict[str, Any]:
    """The device, what it does at best, and versions."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    return {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name(),
        "architecture": f"sm_{major}{minor}",
        "CUDA": torch.version.cuda,
        "python": platform.python_version(),
        **{name: installed(name) for name in ("tensorc", "torch", "triton", "fla-core", "numpy")},
        "copy GB/s": round(rates.bandwidth / 1e9),
        "matmul TFLOP/s": round(rates.matmul / 1e12),
    }


def installed(package: str) -> str:
    """The version of a package; without one, it may still be imported from its sources."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
