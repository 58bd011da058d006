"""Axes of features that a kernel goes through position by position.

Of several axes that one product sums over, a tile of one is enough. An axis that every step of a stream has
beside the others, such as the heads that share a key, only multiplies what a program holds: the stream is
run for each of its positions, and its running values go on from one to the next where they have not the axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorc.backends.tile_axes import LANE, Axes, Axis, Node, dot_labels, flat
from tensorc.backends.tile_io import tile_inputs, tile_outputs
from tensorc.backends.tile_kernel import Fetch, Kernel, Put, Recall, TileStep
from tensorc.plan import Accumulate, Contract, Guard, LogSum, Map, Region, Stream, Weigh

POINTWISE = Accumulate | Contract | Fetch | Guard | LogSum | Map | Put | Recall | Region | Stream | Weigh


def one_by_one(kernel: Kernel, axes: Axes) -> frozenset[Node]:
    """The axes to go through position by position, as nodes of values."""
    chosen = _summed_together(kernel.steps, axes) if kernel.order == "once" else _beside(kernel, axes)
    return frozenset(node for node, axis in axes.nodes.items() if any(axis is a for a in chosen))


def _summed_together(steps: Sequence[TileStep], axes: Axes) -> list[Axis]:
    """All but the last axis that the one product of a kernel sums over."""
    if not all(isinstance(s, Contract | Fetch | Put | Recall) for s in steps):
        return []
    products = [s for s in steps if isinstance(s, Contract)]
    groups = dot_labels(products[0]) if len(products) == 1 else None
    if groups is None:
        return []
    scope = axes.scopes[id(products[0])]
    return [scope[a] for a in groups[2][:-1] if scope[a].role == LANE and not scope[a].twice]


def _beside(kernel: Kernel, axes: Axes) -> list[Axis]:
    """Axes beside the others in every step of some streams."""
    streams = [s for s in kernel.steps if isinstance(s, Stream)]
    found = []
    for axis in axes.all:
        if axis.role != LANE or axis.twice or axis.extent is None or not streams:
            continue
        every = [s for s in flat(kernel.steps) if _has(axes.scopes[id(s)], axis)]
        if all(_apart(s, axes, axis) for s in every) and any(_stacked(s, axes, axis) for s in every):
            if all(_adds(s, axes, axis) for s in streams):
                found.append(axis)
    return found


def _has(scope: Mapping[str, Axis], axis: Axis) -> bool:
    return any(a is axis for a in scope.values())


def _stacked(step: TileStep, axes: Axes, axis: Axis) -> bool:
    """Whether a step is a stack of matrix products along an axis."""
    groups = dot_labels(step) if isinstance(step, Contract) else None
    scope = axes.scopes[id(step)]
    return groups is not None and bool(groups[2]) and any(scope[a] is axis for a in groups[0])


def _apart(step: TileStep, axes: Axes, axis: Axis) -> bool:
    """Whether a step can be done for one position of an axis alone."""
    scope = axes.scopes[id(step)]
    if not isinstance(step, POINTWISE):
        return False
    if isinstance(step, Contract):
        groups = dot_labels(step)
        sides = (groups[1], groups[3]) if groups is not None and groups[2] else ()
        return all(any(scope[a] is not axis for a in side) for side in sides if side)
    if isinstance(step, Fetch | Map | Region | LogSum):
        return any(scope[a] is axis for r in tile_outputs(step) for a in r.axes)
    if isinstance(step, Weigh):
        return any(scope[a] is not axis for a in step.over)
    return True


def _adds(stream: Stream, axes: Axes, axis: Axis) -> bool:
    """Whether all running values of a stream have an axis, or none has it and all that is summed over it is
    added to them."""
    scope = axes.scopes[id(stream)]
    running = [any(scope[a] is axis for a in r.ref.axes) for r in stream.running]
    if all(running) or not any(_has(axes.scopes[id(s)], axis) for s in flat([stream])):
        return True
    if any(running):
        return False
    sums = {
        s.out.value
        for s in stream.steps
        if isinstance(s, Contract)
        and _has(axes.scopes[id(s)], axis)
        and not any(axes.scopes[id(s)][a] is axis for a in s.out.axes)
    }
    readers = [s for s in stream.steps if any(r.value in sums for r in tile_inputs(s))]
    added = [s for s in stream.steps if isinstance(s, Accumulate)]
    return all(isinstance(s, Accumulate) and s.op == "sum" for s in readers) and all(
        s.addend.value in sums for s in added
    )
