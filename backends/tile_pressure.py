"""What a kernel holds at once: the tiles that are alive at its widest step.

A tile lives from the step that makes it to the last one that reads it; the states that a kernel carries,
the running values of a stream and tiles that are the same for all chunks live as long as their loop. Sums of
gates are made once and kept. A product that is no matrix product is a tile of all its labels before it is
summed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable
from math import prod

from tensorc.backends.tile_axes import POINTS, Axes, Axis, dot_groups
from tensorc.backends.tile_io import tile_inputs, tile_outputs
from tensorc.backends.tile_kernel import Anchored, Fetch, Inverse, Kernel, Over, Put, Recall, Summed, TileStep
from tensorc.plan import Contract, GateUse, Normalise, Ref, ScanTile, Solve, Stream, Tile

Shape = tuple[Axis, ...]
Held = Counter[tuple[bool, Shape]]  # how many tiles of each shape, and whether in the inputs' own dtype


# Tiles that helpers of the kernels hold at once: for the inverse of a triangular matrix, whose blocks are
# merged in pairs; for a decay of single features, its exponents and both factors of a block.
SOLVING = 13
SIDES = 2  # of the right side of a system
ANCHORING = 9


class Lives:
    """When each value of a kernel is made and last read, in steps. `inputs` are the tensors, and the states
    in memory, that have the dtype of the caller's."""

    def __init__(self, kernel: Kernel, axes: Axes, inputs: Container[str]) -> None:
        self.axes, self.inputs = axes, inputs
        self.short: set[str] = set()
        self.loop, self.kept = kernel.order == "serial", [s.name for s in kernel.carried]
        self.spans: dict[str, list[int]] = {}
        self.shapes: dict[str, list[Shape]] = {}
        self.within: list[list[Shape]] = []
        self.inverted: set[object] = set()
        self.sums: set[str] = set()
        for state in (*kernel.carried, *kernel.given):
            self._make(Ref(state.name, state.axes))
        self._block(kernel.steps)
        end = len(self.within)
        for name in self.kept:
            self.spans[name] = [0, end]

    def _shape(self, ref: Ref) -> Shape:
        return tuple(a for a in self.axes.of(ref) if a.role not in POINTS)

    def _make(self, ref: Ref, copies: int = 1, name: str = "") -> None:
        at = len(self.within)
        self.spans.setdefault(name or ref.value, [at, at])[1] = at
        self.shapes.setdefault(name or ref.value, [self._shape(ref)] * copies)

    def _block(self, steps: Iterable[TileStep]) -> None:
        for step in steps:
            if isinstance(step, Summed):
                step = step.step
            if isinstance(step, Stream | Over):
                self._loop(step)
                continue
            for ref in tile_inputs(step):
                if ref.value in self.spans:
                    self.spans[ref.value][1] = len(self.within)
            if isinstance(step, Tile):
                for use in step.gates:
                    self._sums(use)
            elif isinstance(step, Anchored):
                self._sums(step.gate)
            for ref in tile_outputs(step):
                self._make(ref, len(step.solve.outs) ** 2 if isinstance(step, Inverse) else 1)
                if self.loop and isinstance(step, Tile) and all(use.constant for use in step.gates):
                    self.kept.append(ref.value)
                source = step.tensor if isinstance(step, Fetch) else ref.value
                if isinstance(step, Fetch | Recall) and source in self.inputs:
                    self.short.add(ref.value)
            self.within.append(self._passing(step))

    def _sums(self, use: GateUse) -> None:
        if not use.constant:
            self._make(use.gate, 2 if use.log else 3, f"{use.gate.value}:sums")

    def _loop(self, step: Stream | Over) -> None:
        """What is read in a loop lives until it ends, and so do running values."""
        first = len(self.within)
        running = [r.ref for r in step.running] if isinstance(step, Stream) else list(step.sums)
        for ref in running:
            self._make(ref)
        new = {r.value for r in running} - self.sums
        self.sums |= new
        self._block(step.steps)
        last = len(self.within)
        for span in self.spans.values():
            if span[0] < first <= span[1]:
                span[1] = last
        for ref in running:
            self.spans[ref.value][1] = last
        if isinstance(step, Over):
            self._end(name for name, span in list(self.spans.items()) if span[0] >= first)
        self.sums -= new

    def _end(self, names: Iterable[str]) -> None:
        """What a loop made ends with it; another loop may make it again."""
        for name in set(names) - self.sums:
            past = f"{name}:{len(self.within)}"
            self.spans[past], self.shapes[past] = self.spans.pop(name), self.shapes[name]
            if name in self.short:
                self.short.add(past)

    def _passing(self, step: TileStep) -> list[Shape]:
        """The tiles that a step makes for itself."""
        scope = self.axes.scopes[id(step)]
        match step:
            case Contract(right=Ref()):
                groups = dot_groups(step, scope)
                assert groups is not None
                _, rows, inner, columns = groups
                if inner and not (rows and columns):
                    return [tuple(scope[a] for g in groups for a in g)]
            case Solve(outs=outs) if step.matrix in self.inverted:
                return [self._shape(outs[0])] * SIDES * len(outs)
            case Inverse(solve=Solve(outs=outs, matrix=matrix)) | Solve(outs=outs, matrix=matrix):
                self.inverted.add(matrix)
                square = next(self._shape(b)[:2] for row in matrix for b in row if b is not None)
                sides = [] if isinstance(step, Inverse) else [self._shape(outs[0])] * SIDES * len(outs)
                return [square] * (SOLVING + len(outs) ** 2 - 1) + sides
            case Anchored(gate=use):
                return [self._shape(use.gate)] * ANCHORING
            case ScanTile(out=out) | Normalise(out=out):
                return [self._shape(out)] * 2
            case Put(value=value):
                return [self._shape(value)]
        return []

    def at(self, step: int) -> Held:
        """The tiles alive at a step."""
        found: Held = Counter((False, shape) for shape in self.within[step])
        for name, (first, last) in self.spans.items():
            if first <= step <= last:
                found.update((name in self.short, shape) for shape in self.shapes[name])
        return found


def held(kernel: Kernel, axes: Axes, inputs: Container[str], length: Callable[[Axis], int]) -> Held:
    """The tiles at the widest step, where axes have these lengths."""
    lives = Lives(kernel, axes, inputs)
    every = [lives.at(k) for k in range(len(lives.within))]
    return max(every, key=lambda h: _bytes(h, length), default=Counter())


def _bytes(tiles: Held, length: Callable[[Axis], int]) -> int:
    return sum(
        count * prod(map(length, shape)) * (2 if short else 4) for (short, shape), count in tiles.items()
    )


def spelled(tiles: Held, length: Callable[[Axis], str]) -> str:
    """Their bytes as an expression, in which `size` is that of an element of the inputs."""
    counts: dict[bool, Counter[tuple[str, ...]]] = {False: Counter(), True: Counter()}
    for (short, shape), count in tiles.items():
        if shape:
            counts[short][tuple(sorted(map(length, shape)))] += count
    parts = []
    for short, word in ((False, "4"), (True, "size")):
        shapes = sorted(counts[short].items())  # whatever the order of sets: the same text in every run
        terms = [" * ".join([*([str(n)] if n > 1 else []), *shape]) for shape, n in shapes]
        if terms:
            parts.append(f"{word} * ({' + '.join(terms)})")
    return " + ".join(parts) or "0"
