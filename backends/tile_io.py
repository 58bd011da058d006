"""What each step of a kernel reads and makes."""

from __future__ import annotations

from collections.abc import Container, Sequence

from tensorc.backends.tile_kernel import (
    Anchored,
    Fetch,
    Inverse,
    Over,
    Put,
    Recall,
    Summed,
    TileStep,
    Weights,
)
from tensorc.ir import Index, Read, walk
from tensorc.plan import Ref, Stream
from tensorc.plan_io import step_inputs, step_outputs


def tile_inputs(step: TileStep) -> list[Ref]:
    """The values a step of a kernel reads."""
    if isinstance(step, Put):
        return [step.value]
    if isinstance(step, Fetch):
        return [Ref(r.tensor, tuple(s.name for s in r.subscripts if isinstance(s, Index)))
                for e in step.places for r in _reads(e)]  # fmt: skip
    if isinstance(step, Weights | Recall):
        return []
    if isinstance(step, Anchored):
        return step.reads
    if isinstance(step, Inverse):
        return list(step.solve.blocks)
    if isinstance(step, Summed):
        return tile_inputs(step.step)
    if isinstance(step, Stream | Over):
        own = {r.value for s in step.steps for r in tile_outputs(s)}
        own |= {r.ref.value for r in step.running} if isinstance(step, Stream) else set()
        return [r for s in step.steps for r in tile_inputs(s) if r.value not in own]
    return step_inputs(step)


def tile_outputs(step: TileStep) -> list[Ref]:
    """The values a step of a kernel makes."""
    if isinstance(step, Fetch | Weights | Recall | Anchored | Inverse):
        return [step.out]
    if isinstance(step, Summed):
        return tile_outputs(step.step)
    if isinstance(step, Over):
        return list(step.sums)
    return [] if isinstance(step, Put) else step_outputs(step)


def _reads(expr: object) -> list[Read]:
    return [n for n in walk(expr) if isinstance(n, Read)]  # type: ignore[arg-type]


def tile_tensors(step: TileStep) -> list[str]:
    """The tensors in memory that a step reads."""
    if isinstance(step, Stream):
        return [t for s in step.steps for t in tile_tensors(s)]
    return [step.tensor] if isinstance(step, Fetch) else []


def needed(steps: Sequence[TileStep], results: Container[str] = ()) -> tuple[TileStep, ...]:
    """The steps without those whose results nothing reads; `results` are read elsewhere."""
    read = {r.value for s in steps for r in tile_inputs(s)}

    def kept(step: TileStep) -> bool:
        outs = [r.value for r in tile_outputs(step)]
        return not outs or any(v in read or v in results for v in outs)

    found = tuple(s for s in steps if kept(s))
    return found if len(found) == len(steps) else needed(found, results)
