"""Reads of a state in a window: of a ring with the rows of the last tokens, never of a difference of sums.

Token by token the rows of the ring are multiplied out. In chunks of C tokens the columns before the chunk
come in two parts: whole chunks that every row of the chunk sees, of which a sum is kept (see
`tensorc.plan.Slide`), and the columns before these, which some rows see: a band of pairs. Both cost the same
for any width.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorc.ir import Add, Compare, Expr, Extent, Index, Neg, reads, substitute
from tensorc.passes.emit import BODY
from tensorc.passes.realise import Realiser, rule
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Memory, Packed, Stage, Value
from tensorc.passes.tiles import where
from tensorc.plan import FAR, GateUse, Monomials, Ref, Slide, Tile, Why


class WindowReads(Realiser):
    """Values at columns before the tokens at hand, from a cache of their rows."""

    def inner(self, node: Stage, memory: Memory) -> dict[str, str]:
        """Labels of the writes for this read: state axes as the reader names them, the rest apart."""
        names = dict(zip(memory.axes, node.state.axes, strict=True))
        taken = set(names.values()) | {a for r in node.items for a in r.axes}
        result = dict(names)
        for axis in (a for r in memory.writes for a in r.axes if a != TOKEN):
            if axis not in result:
                label = axis
                while label in taken:
                    label += "'"
                taken.add(label)
                self._label(label, self.graph.extents[axis])
                result[axis] = label
        return result

    def _label(self, label: str, extent: Extent) -> None:
        """Make a label known to this loop and to the plan."""
        self.graph.extents.setdefault(label, extent)
        self.emitter.sizes[label] = extent.value(self.sizes)

    # -- columns -----------------------------------------------------------------------------------------

    def columns(self, label: str, width: Expr) -> str:
        """A label for the columns of a window, one for each width."""
        alike = {name: known for name, known in self.windows.items() if name.startswith(label)}
        name = next((n for n, known in alike.items() if known == width), f"{label}{len(alike)}")
        self.windows[name] = width
        self.emitter.sizes[name] = self.chunk
        return name

    def at_columns(self, ref: Ref, label: str, why: Why) -> Ref:
        """A graph value at the columns of a label."""
        if TOKEN not in ref.axes:
            return self.ref(ref)
        node = self.nodes.get(ref.value)
        axes = [] if node is None else [label if a == TOKEN else a for a in node.out.axes]
        names = dict(zip(axes, (label if a == TOKEN else a for a in ref.axes), strict=False))
        if isinstance(node, Packed):  # its rows are wide: they are made again
            lower, factor = (self.at_columns(r, label, why) for r in (node.lower, node.factor))
            parts = (node.first, node.last, node.label, node.power, node.weighted)
            step = Monomials(self.emitter.fresh(axes), lower, factor, *parts, why)
            return self.emitter.add(step, [lower, factor]).relabel(names)
        if isinstance(node, Value) and not reads(node.expr):
            here: Expr = substitute(node.expr, {TOKEN: Index(label)})
            return self.emitter.pointwise(here, axes, why).relabel(names)
        self.folds.why = why
        cache = self.folds.before(ref.value)
        rows = Ref(cache.value, (label, *(a for a in ref.axes if a != TOKEN)))
        return self.folds.rows(rows, label)

    def column_gates(self, memory: Memory, label: str, why: Why) -> list[GateUse]:
        """The gates of a state at columns."""
        uses = []
        for gate, log in memory.gates:
            ref = self.at_columns(gate, label, why)
            uses.append(GateUse(ref, log, True, label not in ref.axes))
        return uses

    def column_tile(self, part: str, label: str, gates: Sequence[GateUse], why: Why) -> list[Ref]:
        """The decays from each column to the last one, or through them all; none without gates."""
        if not gates:
            return []
        features = dict.fromkeys(a for use in gates for a in use.gate.axes if a != label)
        axes = ((label,) if part == "right" else ()) + tuple(features)
        step = Tile(self.emitter.fresh(axes), part, False, tuple(gates), label, label, None, why)
        return [self.emitter.add(step, [g.gate for g in gates], self.emitter.streaming)]

    def in_window(self, label: str, memory: Memory, why: Why) -> Ref:
        """1 where a column is less than the width before the row (or the token), else 0; in the direction in
        which the state is carried."""
        assert memory.within is not None
        late, early = (label, TOKEN) if memory.reverse else (TOKEN, label)
        distance, width = Add((Index(late), Neg(Index(early)))), memory.within
        mask = where((self.at_token(Compare("<", distance, width)),))
        return self.emitter.pointwise(mask, None, why)


class ChunkWindows(WindowReads):
    """Windows chunk by chunk."""

    def start(self) -> None:
        """A new loop: nothing is summed."""
        super().start()
        self.sums: dict[str, tuple[Ref, Ref | None]] = {}

    def whole_chunks(self, memory: Memory, why: Why) -> tuple[Ref, Ref | None]:
        """The sum over the whole chunks of a window, and the product of their gates, under the labels of
        the state."""
        if memory.name in self.sums:
            return self.sums[memory.name]
        assert memory.within is not None
        emitter, why = self.emitter, rule(why, "window: whole chunks, summed")
        label = self.columns(FAR, memory.within)
        emitter.open_stream()
        writes = [self.at_columns(r, label, why) for r in memory.writes]
        gates = self.column_gates(memory, label, why)
        writes += self.column_tile("right", label, gates, why)
        present = {a for r in writes for a in r.axes}
        addend = emitter.product(writes, [a for a in memory.axes if a in present], why)
        through = self.column_tile("through", label, gates, why)
        steps = emitter.close_stream()
        total = emitter.fresh(memory.axes)
        product = emitter.fresh(through[0].axes) if through else None
        gate = through[0] if through else None
        emitter.steps[BODY].append(Slide(total, product, label, memory.within, steps, addend, gate, why))
        for ref in (total, product):
            if ref is not None:
                emitter.provide(ref.value, None, BODY)
        self.sums[memory.name] = total, product
        return total, product

    def band(self, node: Stage, memory: Memory, pairs: Sequence[Ref], label: str, why: Why) -> list[Ref]:
        """The factors of pairs of a row and a column before the whole chunks, without the row's own decay."""
        names = dict(zip(memory.axes, node.state.axes, strict=True))
        gates = self.column_gates(memory, label, why)
        decays = self.column_tile("right", label, gates, why)
        product = self.whole_chunks(memory, why)[1]
        decays += [] if product is None else [product]
        return [*pairs, self.in_window(label, memory, why), *(d.relabel(names) for d in decays)]
