"""One axis of features that is two: read once for each.

In sum k[j, c] k[j, d] both features are those of k, and in S[c, x] = sum k[j, c] (k[j, f] q[i, f]) the one of
the result is summed over as well. What costs little (reads of memory, maps and products of them) is done
again for each, so that the grid, or a loop, can have tiles of one and the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from tensorc.backends.tile_axes import LANE, Axes, Axis, flat
from tensorc.backends.tile_io import needed, tile_inputs, tile_outputs
from tensorc.backends.tile_kernel import Fetch, Kernel, TileStep, Weights
from tensorc.ir import Index, Node, Read, rebuild
from tensorc.plan import Contract, Map, Ref, Stream


def renamed(part: Any, change: Callable[[Ref], Ref]) -> Any:
    """A step with its references changed, those in expressions too."""
    if isinstance(part, Ref):
        return change(part)
    if isinstance(part, Read):
        labels = tuple(s.name for s in part.subscripts if isinstance(s, Index))
        return replace(part, tensor=change(Ref(part.tensor, labels)).value)
    if isinstance(part, Node):
        return rebuild(part, lambda inner: renamed(inner, change))
    if isinstance(part, tuple):
        return tuple(renamed(p, change) for p in part)
    if is_dataclass(part) and not isinstance(part, type):
        found = {f.name: renamed(getattr(part, f.name), change) for f in fields(part) if f.name != "why"}
        return replace(part, **found)
    return part


class Parting:
    """Reads light values once for each use of some axes; `name` gives the value that a use reads."""

    def __init__(
        self, kernel: Kernel, axes: Axes, shared: Sequence[Axis], name: Callable[[str], str]
    ) -> None:
        self.axes, self.shared, self.name = axes, shared, name
        self.light: dict[str, TileStep] = {}
        for step in kernel.steps:
            if isinstance(step, Fetch | Weights | Map | Contract) and not self._heavy(step):
                self.light.update((r.value, step) for r in tile_outputs(step))
        self.made: set[str] = set()
        self.uses = 0
        self.steps: list[TileStep] = []
        for step in kernel.steps:
            self._take(step)

    def _heavy(self, step: TileStep) -> bool:
        labels = {a for r in tile_outputs(step) for a in r.axes}
        inputs = tile_inputs(step)
        return any(r.value not in self.light or not labels.issuperset(r.axes) for r in inputs)

    def _take(self, step: TileStep) -> None:
        """Add a step, after what it reads."""
        outs = {r.value for r in tile_outputs(step)}
        if isinstance(step, Stream) or (outs and outs <= self.light.keys()):
            self.steps.append(step)
        else:
            self.steps.append(renamed(step, lambda ref: ref if ref.value in outs else self._parted(ref)))

    def _parted(self, ref: Ref) -> Ref:
        """The value for this use."""
        step = self.light.get(ref.value)
        if step is None or not self._is_shared(ref):
            return ref
        self.uses += 1
        use = f"{ref.value}~{self.uses}"
        name = self.name(use)
        (out,) = tile_outputs(step)
        again = renamed(step, lambda inner: Ref(name, inner.axes) if inner.value == out.value
                        else Ref(self._parted(inner).value, inner.axes))  # fmt: skip
        if name not in self.made:
            self.made.add(name)
            self.steps.append(again)
        return Ref(name, ref.axes)

    def _is_shared(self, ref: Ref) -> bool:
        own = [self.axes.nodes.get((ref.value, k)) for k in range(len(ref.axes))]
        return any(a is b for a in own for b in self.shared)


def parted(kernel: Kernel, axes: Axes, again: Callable[[Kernel], Axes]) -> tuple[Kernel, Axes]:
    """The kernel with light values read apart where that makes one axis two; `again` finds the axes of a
    kernel."""
    results = [a for own in axes.results for a in own]
    shared = [
        a for a in axes.all if a.role == LANE and (a.twice or a.summed and any(a is r for r in results))
    ]
    if not shared:
        return kernel, axes
    each = Parting(kernel, axes, shared, lambda use: use)
    if not each.uses:
        return kernel, axes
    alone = replace(kernel, steps=needed(each.steps))
    names = _names(alone, again(alone))
    found = Parting(kernel, axes, shared, lambda use: names.get(use, use))
    kernel = replace(kernel, steps=needed(found.steps))
    return kernel, again(kernel)


def _names(kernel: Kernel, axes: Axes) -> dict[str, str]:
    """What each use of a light value is to be called: as another one of which it has the axes. Axes that are
    summed over are one where no step has both."""
    meets = [{id(a) for a in axes.scopes[id(s)].values()} for s in flat(kernel.steps)]
    kinds: dict[int, int] = {}
    joint: list[list[int]] = []
    for axis in axes.all:
        home = None
        if axis.summed and not axis.twice:
            home = next((g for g in joint if not any(id(axis) in m and m & set(g) for m in meets)), None)
        if home is None:
            joint.append([])
            home = joint[-1] if axis.summed else [id(axis)]
        home.append(id(axis))
        kinds[id(axis)] = home[0]
    first: dict[tuple[object, ...], str] = {}
    found = {}
    for step in kernel.steps:
        for ref in tile_outputs(step):
            if "~" in ref.value:
                own = (kinds.get(id(a), id(a)) for a in axes.of(ref))
                key = (ref.value.partition("~")[0], *own)
                found[ref.value] = first.setdefault(key, ref.value)
    return found
