"""Memory of forward + backward at 65,536 tokens: each contender in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.figure import Figure, compared
from benchmarks.memory import MIB, peak_bytes
from benchmarks.speed_torch import SHAPE
from benchmarks.timing import Sample

NAMES = ("linear_attention", "hla2", "scalar_gated", "delta_rule")
CHUNK = 64


def excess(who: str, name: str, n: int) -> float:
    """MiB that one call and its backward pass need beside inputs, output and gradients."""
    import torch

    from benchmarks import handwritten_autograd
    from benchmarks.operators_torch import ours, tensors, trained

    by_hand = partial(getattr(handwritten_autograd, name), chunk=CHUNK)
    kernel = ours(name, "chunkwise") if who == "ours" else by_hand
    small = tensors(name, 256, grad=True)
    trained(kernel, small, torch.ones_like(small[2]))()  # imports, generated code
    given = tensors(name, n, grad=True)
    weights = torch.ones_like(given[2])
    call = trained(kernel, given, weights)
    before = peak_bytes()
    gradients = call()
    known = weights.nbytes + sum(g.nbytes for g in gradients)  # the output is as large as the weights
    return (peak_bytes() - before - known) / MIB


def memory(quick: bool) -> Iterator[Figure]:
    """All operators, ours beside autograd through the loop by hand."""
    if not find_spec("torch"):
        return
    n = 4096 if quick else 65536
    for name in NAMES[:1] if quick else NAMES:
        found = {}
        for who in ("ours", "hand"):
            run = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory_torch", who, name, str(n)],
                capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1],
            )  # fmt: skip
            found[who] = Sample((float(json.loads(run.stdout)),))
        what = f"{name}, forward + backward, n={n}, {SHAPE}: memory beside inputs, output and gradients"
        yield compared(
            "torch-memory", what, "MiB", found["ours"], found["hand"], bound=None,
            against=f"autograd through the chunk loop by hand, C={CHUNK}",
        )  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(excess(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
