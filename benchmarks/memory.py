"""Peak memory of a million tokens: each contender in a process of its own, above inputs and output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure, alone
from benchmarks.operators import BY_HAND, WIDTH, inputs, ours
from benchmarks.timing import Sample

MIB = 2**20


def peak_bytes() -> int:
    """The most memory this process ever held.

    Linux hands the parent's peak down to a child in `ru_maxrss`; the high-water mark of the address
    space is the child's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def excess(who: str, name: str, n: int) -> float:
    """MiB that one call needs beside its inputs and its output."""
    if who == "ours":
        call = ours(name, "chunkwise")
    else:
        kernel = BY_HAND[name]

        def call(*arrays: object) -> object:
            return kernel(*(x[None] for x in arrays), chunk=64)  # type: ignore[index]

    call(*inputs(name, 256, heads=None))  # imports, generated code
    arrays = inputs(name, n, heads=None)
    before = peak_bytes()
    output = call(*arrays)
    return (peak_bytes() - before - np.asarray(output).nbytes) / MIB


def memory(quick: bool) -> Iterator[Figure]:
    """One head, a million tokens, chunkwise; the bound is on our own excess."""
    n = 2**17 if quick else 10**6
    for name in BY_HAND:
        found = {}
        for who in ("ours", "hand"):
            run = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", who, name, str(n)],
                capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1],
            )  # fmt: skip
            found[who] = float(json.loads(run.stdout))
        what = f"{name}, n={n}, one head, d=e={WIDTH}: beside inputs and output (by hand {found['hand']:.1f})"
        yield alone("memory", what, "MiB", Sample((found["ours"],)), bound=64)


if __name__ == "__main__":
    print(json.dumps(excess(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
