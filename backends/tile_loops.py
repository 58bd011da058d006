"""Loops over tiles of the features that a kernel sums over: no program holds all of a wide axis.

A sum over such an axis is added up tile by tile; what has the axis lives within one pass of the loop, and is
computed again in another loop. Sums that are ready at the same time share a loop; what a loop does not change
is made before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tensorc.backends.tile_apart import parted
from tensorc.backends.tile_axes import (
    EACH,
    GRID,
    LANE,
    SCALAR,
    TILES,
    TOKENS,
    Axes,
    Axis,
    axes_of,
    flat,
    widest,
)
from tensorc.backends.tile_each import one_by_one
from tensorc.backends.tile_io import tile_inputs, tile_outputs
from tensorc.backends.tile_kernel import (
    Anchored,
    Fetch,
    Inverse,
    Kernel,
    Over,
    Put,
    Recall,
    Summed,
    TileStep,
    Weights,
)
from tensorc.ir import Extent
from tensorc.plan import COLUMN, ROW, Contract, Map, Ref, ScanTile, Solve, Stream, Tile, Update

EASY = Anchored | Contract | Fetch | Inverse | Map | Put | Recall | ScanTile | Solve | Tile | Update | Weights
LOOPS = (TILES, EACH)
LEAST = 16  # an axis of a known extent that is not longer is no loop


def placed(
    kernel: Kernel, extents: Mapping[str, Extent], memory: Mapping[str, Sequence[Extent | None]]
) -> tuple[Kernel, Axes]:
    """A kernel with its axes, as it is printed."""
    axes = axes_of(kernel, extents, memory)
    if not kernel.narrow:
        return settled(kernel), axes
    kernel, axes = parted(kernel, axes, lambda k: axes_of(k, extents, memory))
    each = one_by_one(kernel, axes)
    if each:
        axes = axes_of(kernel, extents, memory, each)
    return settled(looped(kernel, axes)), axes


def settled(kernel: Kernel) -> Kernel:
    """The kernel with states advanced as soon as nothing reads what they were: what is added to one need not
    be held while that for another is computed."""
    steps: list[TileStep] = [s for s in kernel.steps if not isinstance(s, Update)]
    updates = [s for s in kernel.steps if isinstance(s, Update)]
    for number, update in enumerate(updates):
        state, needs = update.state.value, {r.value for r in tile_inputs(update)}
        later = [r.value for u in updates[number + 1 :] for r in tile_inputs(u)]
        places = [
            k + 1
            for k, step in enumerate(steps)
            if any(r.value == state for r in tile_inputs(step))
            or any(r.value in needs for r in tile_outputs(step))
        ]
        steps.insert(len(steps) if state in later else max(places, default=0), update)
    return replace(kernel, steps=tuple(steps))


def result_features(kernel: Kernel) -> tuple[int, int] | None:
    """How many axes of features the widest result of a kernel has, and of how many of these the grid has no
    tiles; None where no result has the axes of all others."""
    memory: dict[str, list[Extent | None]] = {
        s.tensor: [None] * len(s.subscripts) for s in flat(kernel.steps) if isinstance(s, Fetch | Put)
    }
    _, axes = parted(kernel, axes_of(kernel, {}, memory), lambda k: axes_of(k, {}, memory))
    wide = widest(axes.results)
    if len(wide) > 1:
        return None
    own = [a for a in wide[0] if a.role != TOKENS] if wide else []
    return len(own), sum(a.role not in (GRID, SCALAR) for a in own)


def looped(kernel: Kernel, axes: Axes) -> Kernel:
    """The kernel with loops over the axes that allow it, which get the role TILES."""
    steps = list(_inverses(kernel.steps, axes))
    for axis in _loops(kernel, steps, axes):
        axis.role = TILES
    goals = [s for s in steps if isinstance(s, Put | Update)]
    while any(a.role in LOOPS for a in axes.all):
        found = Loops(steps, axes)
        try:
            return replace(kernel, steps=tuple(found.block(found.wanted(goals, set(), set()), set(), set())))
        except Whole as error:
            for axis in error.axes or [a for a in axes.all if a.role in LOOPS]:
                axis.role = LANE
    return kernel


def _inverses(steps: Iterable[TileStep], axes: Axes) -> Iterable[TileStep]:
    """The steps; a triangular system as two of them: no loop changes its inverse."""
    for step in steps:
        if isinstance(step, Solve):
            inverse = Inverse(Ref(f"{step.outs[0].value}:inverse", (ROW, COLUMN)), step)
            axes.scopes[id(inverse)] = axes.scopes[id(step)]
            for k, label in enumerate(inverse.out.axes):
                axes.nodes[inverse.out.value, k] = axes.scopes[id(step)][label]
            yield inverse
        yield step


def _loops(kernel: Kernel, steps: Sequence[TileStep], axes: Axes) -> list[Axis]:
    """The axes to take tile by tile."""
    held = [axes.of(Ref(s.name, s.axes)) for s in kernel.carried]
    whole = {id(a) for own in held for a in own}
    for step in steps:
        scope = axes.scopes[id(step)]
        if isinstance(step, Stream):
            whole |= {id(a) for s in flat([step]) for a in axes.scopes[id(s)].values()}
        elif not isinstance(step, EASY):
            whole |= {id(a) for a in scope.values()}
        elif isinstance(step, Fetch | Map):
            own = [id(scope[a]) for r in tile_outputs(step) for a in r.axes]
            whole |= {id(a) for a in scope.values()} - set(own)
    return [a for a in axes.all if a.role == LANE and not a.twice and id(a) not in whole and not _short(a)]


def _short(axis: Axis) -> bool:
    return axis.extent is None or (not axis.extent.names and axis.extent.coefficient <= LEAST)


class Whole(Exception):
    """Some axes must be whole: what has them is a sum over an axis that a loop around it runs over."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        super().__init__()
        self.axes = axes


class Loops:
    """Puts steps into loops. `open`: the axes that loops around run over; `done`: the values made there."""

    def __init__(self, steps: Sequence[TileStep], axes: Axes) -> None:
        self.axes, self.order = axes, {id(s): k for k, s in enumerate(steps)}
        self.makers = {r.value: s for s in steps for r in tile_outputs(s)}
        self.by_id = {id(a): a for a in axes.all}

    def scope(self, step: TileStep) -> set[int]:
        """The loop axes that a step has."""
        if isinstance(step, Inverse):
            return set()
        every = [a for s in flat([_plain(step)]) for a in self.axes.scopes[id(s)].values()]
        return {id(a) for a in every if a.role in LOOPS}

    def free(self, step: TileStep) -> set[int]:
        """The loop axes that its results have."""
        inner = _plain(step)
        if isinstance(inner, Put | Update | Inverse):
            return set()
        found = self.axes.scopes[id(inner)]
        labels = {a for r in tile_outputs(inner) for a in r.axes}
        return {id(found[a]) for a in labels if found[a].role in LOOPS}

    def inputs(self, step: TileStep) -> list[TileStep]:
        """The steps that make what a step reads."""
        found = [self.makers[r.value] for r in tile_inputs(step) if r.value in self.makers]
        if isinstance(step, Solve):
            found.append(self.makers[f"{step.outs[0].value}:inverse"])
        return found

    def wanted(self, goals: Sequence[TileStep], open_: set[int], done: set[int]) -> list[TileStep]:
        """The goals and all that they need whose results have no axes but open ones, in order."""
        found: dict[int, TileStep] = {}
        pending = list(goals)
        seen: set[int] = set()
        while pending:
            step = pending.pop()
            if id(step) in seen or id(step) in done:
                continue
            seen.add(id(step))
            free = self.free(step)
            if not isinstance(step, Summed | Put) and (self.scope(step) - free) & open_:
                raise Whole([self.by_id[a] for a in free])
            if free <= open_:
                found[id(step)] = step
            pending += self.inputs(step)
        return sorted(found.values(), key=self._place)

    def _place(self, step: TileStep) -> int:
        return self.order[id(_plain(step))]

    def block(self, steps: Sequence[TileStep], open_: set[int], done: set[int]) -> list[TileStep]:
        """Steps whose results have open axes alone, in order, with loops where they need more."""
        result: list[TileStep] = []
        done = set(done)
        pending = list(steps)
        while pending:
            for step in list(pending):
                if self.scope(step) <= open_ and self._ready(step, pending):
                    result.append(step)
                    done.add(id(_plain(step)))
                    pending.remove(step)
            ready = [s for s in pending if self._ready(s, pending)]
            if ready:
                axis = self._choice(ready, open_)
                taken = [s for s in ready if axis in self.scope(s) - open_]
                result.append(self._loop(axis, taken, open_, done))
                done |= {id(_plain(s)) for s in taken}
                pending = [s for s in pending if not any(s is t for t in taken)]
        return result

    def _ready(self, step: TileStep, pending: Sequence[TileStep]) -> bool:
        """Whether nothing that is still to be done is needed first. States change last."""
        if isinstance(step, Update):
            return all(isinstance(s, Update) for s in pending)
        waiting = {id(_plain(s)) for s in pending if s is not step}
        seen: set[int] = set()
        stack = self.inputs(step)
        while stack:
            one = stack.pop()
            if id(one) in waiting:
                return False
            if id(one) not in seen:
                seen.add(id(one))
                stack += self.inputs(one)
        return True

    def _choice(self, ready: Sequence[TileStep], open_: set[int]) -> int:
        """The axis of the next loop: the one that most of the steps need."""
        counts: dict[int, int] = {}
        for step in ready:
            for axis in self.scope(step) - open_:
                counts[axis] = counts.get(axis, 0) + 1
        return max(counts, key=lambda a: counts[a])

    def _loop(self, axis: int, goals: Sequence[TileStep], open_: set[int], done: set[int]) -> Over:
        """A loop over the tiles of an axis that does some steps."""
        sums: list[Ref] = []
        inner: list[TileStep] = []
        for step in goals:
            if isinstance(step, Contract | Anchored | Stream):
                inner.append(self._summed(step))
                sums += tile_outputs(step)
            else:
                inner.append(step)
        more = open_ | {axis}
        within = self.wanted(inner, more, done)
        over = Over(self.by_id[axis].label, tuple(sums), tuple(self.block(within, more, done)))
        self.axes.scopes[id(over)] = {over.label: self.by_id[axis]}
        return over

    def _summed(self, step: Contract | Anchored | Stream) -> Summed:
        summed = Summed(step)
        self.axes.scopes[id(summed)] = self.axes.scopes[id(step)]
        return summed


def _plain(step: TileStep) -> TileStep:
    return step.step if isinstance(step, Summed) else step
