"""Symmetric powers: a term that stays the same when some of its indices are exchanged is packed.

(q·k)**p multiplied out is a sum over p indices of p copies of q and of k. Of the d**p products of the
elements of q only C(d + p - 1, p) differ, and so for k: each side becomes one vector of these, and one of
them counts each as often as its elements can be arranged. What follows treats the packed index as any other:
states and further stages are packed with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import TypeAlias

from tensorc.ir import Extent
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Packed
from tensorc.passes.values import ValueBuilder
from tensorc.plan import Ref, Symmetric

Shape: TypeAlias = tuple[str, tuple[str, ...]]  # a value and its labels, the one at hand unnamed
HERE = "*"


class SymmetricBuilder(ValueBuilder):
    """Packs the factors of terms."""

    def packed(self, refs: list[Ref], output: frozenset[str], kept: frozenset[str]) -> list[Ref]:
        """The factors of a term with every group of exchangeable indices packed into one. `output`: the
        indices of the result; `kept`: others that cannot be packed."""
        while (group := self._group(refs, output | kept)) is not None:
            used = {a for r in refs for a in r.axes} | output | kept
            label = self._packed_label(group, used)
            extents = self.graph.extents
            power = f"{extents[group[0]]}**{len(group)}"
            self._did("pack", f"a power of degree {len(group)}: {extents[label]} products instead of {power}")
            vectors = [r for r in refs if group[0] in r.axes]
            weighted = next((r for r in vectors if output & set(r.axes)), vectors[0])
            powers = [self._power(r, group, label, r is weighted) for r in vectors]
            refs = [*powers, *(r for r in refs if not set(group) & set(r.axes))]
        return refs

    def _group(self, refs: Sequence[Ref], kept: frozenset[str]) -> tuple[str, ...] | None:
        """Indices whose exchange leaves the factors as they are: two or more that no factor has together."""
        found: dict[tuple[tuple[Shape, ...], Extent], list[str]] = {}
        for label in dict.fromkeys(a for r in refs for a in r.axes):
            extent = self.graph.extents.get(label)
            if label in kept or label in self.tokens or type(extent) is not Extent:
                continue
            vectors = [r for r in refs if label in r.axes]
            if len(vectors) > 1 and not any(r.value in self.graph.unknowns for r in vectors):
                shapes = tuple(sorted((r.value, _unnamed(r.axes, label)) for r in vectors))
                found.setdefault((shapes, extent), []).append(label)
        for labels in found.values():
            if len(labels) > 1 and all(sum(a in labels for a in r.axes) <= 1 for r in refs):
                return tuple(labels)
        return None

    def _packed_label(self, group: tuple[str, ...], used: Iterable[str]) -> str:
        """A label for the packed index: the letter as often as it is multiplied."""
        extents = self.graph.extents
        extent = extents[group[0]]
        wanted = Symmetric(extent.coefficient, extent.names, len(group))
        stem = (group[0].split("_")[0] or "c") * len(group)
        names = (stem if k == 1 else f"{stem}_{k}" for k in count(1))
        label = next(n for n in names if n not in used and extents.get(n, wanted) == wanted)
        extents[label] = wanted
        return label

    def _power(self, vector: Ref, group: tuple[str, ...], label: str, weighted: bool) -> Ref:
        """The products of as many elements of a vector as the group has indices, under `label`."""
        tokens = [a for a in vector.axes if a in self.tokens]
        own = vector.relabel(dict.fromkeys(tokens, TOKEN))
        rest = tuple(a for a in own.axes if a not in (group[0], TOKEN))
        lower, first = own, group[0]
        for power in range(2, len(group) + 1):
            whole = label if power == len(group) else self._packed_label(group[:power], {*own.axes, label})
            axes = (*rest, whole, *(TOKEN for _ in tokens))  # the token last: rows of it are gathered whole
            key = ("packed", own.value, _unnamed(own.axes, group[0]), power, weighted)
            if key not in self.known:
                self.known[key] = self._fresh("t", axes)
                factor, last = own.relabel({group[0]: group[power - 1]}), group[power - 1]
                node = Packed(self.known[key], lower, factor, first, last, whole, power, weighted, self.why)
                self.graph.nodes.append(node)
            lower, first = Ref(self.known[key].value, axes), whole
        return lower.relabel({TOKEN: tokens[0]}) if tokens else lower


def _unnamed(axes: tuple[str, ...], label: str) -> tuple[str, ...]:
    return tuple(HERE if a == label else a for a in axes)
