"""The factors of a pair of tokens: what a stage multiplies within a chunk, powers as they were written.

A state may be packed, but two tokens are not multiplied by way of it: the sum over packed products is the
power of one inner product, which costs far less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import TypeAlias

from tensorc.ir import Add, Const, Extent, Index, Mul
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Packed, Stage, Value
from tensorc.passes.windows import WindowReads
from tensorc.plan import COLUMN, ROW, Ref, Symmetric, Why

EVERY_ONE = Add((Const(1), Mul((Const(0), Index(TOKEN)))))  # the value 1 of every token
Side: TypeAlias = tuple[
    Ref, str | None, Mapping[str, str]
]  # a value of the graph, its token, its labels here


class PairFactors(WindowReads):
    """Takes the items and writes of stages as factors of two tokens of one chunk."""

    def pairs(self, node: Stage, unknown: str = "", column: str | None = COLUMN) -> list[Ref]:
        """What two tokens of one chunk are multiplied by, without factors that are 1, and without the
        `unknown` of a system; `column`: the label of other columns, or None for the token itself."""
        memory = self.graph.memories[node.state.value]
        inner = self.inner(node, memory)
        sides: list[Side] = [(r, self.token, {}) for r in node.items]
        sides += [(r, column, inner) for r in memory.writes if r.value != unknown]
        sides = [side for side in sides if not self._is_one(side[0])]
        refs = [self._side(ref, token, node.why).relabel(dict(names)) for ref, token, names in sides]
        copies = self._copies(sides, refs, self._labels(node.out.axes))
        found: list[Ref] = []
        for side, ref in zip(sides, refs, strict=True):
            label = next((a for a in ref.axes if a in copies), None)
            found += [ref] if label is None else self._vectors(side, copies[label])
        return found

    def _is_one(self, ref: Ref) -> bool:
        node = self.nodes.get(ref.value)
        return isinstance(node, Value) and node.expr == EVERY_ONE

    def _side(self, ref: Ref, token: str | None, why: Why) -> Ref:
        """A value at the row, at a column of the chunk, or at one before it."""
        return self.ref(ref, token) if token in (None, ROW, COLUMN) else self.at_columns(ref, token, why)

    # -- packed labels -----------------------------------------------------------------------------------

    def _copies(self, sides: Sequence[Side], refs: Sequence[Ref], out: Sequence[str]) -> dict[str, list[str]]:
        """The labels that are packed on every side, and the labels of their copies."""
        found: dict[str, list[str]] = {}
        taken = {a for r in refs for a in r.axes} | set(out)
        for label in dict.fromkeys(a for r in refs for a in r.axes if a not in out):
            extent = self.graph.extents.get(label)
            carriers = [side for side, ref in zip(sides, refs, strict=True) if label in ref.axes]
            if isinstance(extent, Symmetric) and len(carriers) > 1:
                if all(self._packed_under(side) == label for side in carriers):
                    found[label] = self._fresh_labels(label, extent, taken)
        return found

    def _packed_under(self, side: Side) -> str | None:
        """The label here of a value's own packed axis, if it is a packed value."""
        ref, _, names = side
        node = self.nodes.get(ref.value)
        if not isinstance(node, Packed):
            return None
        label = ref.axes[node.out.axes.index(node.label)]
        return names.get(label, label)

    def _fresh_labels(self, label: str, extent: Symmetric, taken: set[str]) -> list[str]:
        base = Extent(extent.coefficient, extent.names)
        stem = label.split("_")[0]
        names = (f"{stem[: max(1, len(stem) // extent.power)]}{k}" for k in count(1))
        free = (n for n in names if n not in taken and self.graph.extents.get(n, base) == base)
        found = [next(free) for _ in range(extent.power)]
        for name in found:
            self._label(name, base)
        taken.update(found)
        return found

    def _vectors(self, side: Side, copies: Sequence[str]) -> list[Ref]:
        """The copies of the vector that a packed value is the power of."""
        ref, token, names = side
        node = self.nodes[ref.value]
        assert isinstance(node, Packed)
        own = dict(zip(node.out.axes, ref.axes, strict=True))
        axes = tuple("" if a == node.last else own[a] for a in node.factor.axes)
        vector = self._side(Ref(node.factor.value, axes), token, node.why).relabel(dict(names))
        return [vector.relabel({"": copy}) for copy in copies]
