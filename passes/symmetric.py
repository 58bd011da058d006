"""Symmetric powers: a state that is the same under exchange of some of its axes is kept once.

(q·k)**p under a scan is a state of p copies of k, read with p copies of q. Of the d**p products of its
elements only C(d + p - 1, p) differ: they are kept packed, and the read counts each as often as it can be
arranged. A stage remembers how it was written: pairs of tokens within a chunk are multiplied as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeAlias

from tensorc.ir import Extent
from tensorc.passes.records import Log, Rewrite
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Graph, GraphNode, Memory, Packed, Product, Stage
from tensorc.plan import Ref, Symmetric, Why

Signature: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
HERE = "*"  # the label at hand, in a signature


def pack(graph: Graph, log: Log) -> None:
    """Pack every state of the graph that is symmetric, if all its reads are."""
    packer = _Packer(graph, log)
    for name in list(graph.memories):
        packer.memory(name)
    if packer.states:
        graph.nodes[:] = packer.nodes()


class _Packer:
    """Packs the states of one graph. `stages` are the nodes as they will be, by the value they make."""

    def __init__(self, graph: Graph, log: Log) -> None:
        self.graph, self.log = graph, log
        self.stages = {n.out.value: n for n in graph.nodes if isinstance(n, Stage)}
        self.states: set[str] = set()
        self.known: dict[object, Ref] = {}
        self.before: dict[str, list[GraphNode]] = {}  # what a stage needs that is new
        self.names = (f"%p{k}" for k in count(1))

    def memory(self, name: str) -> None:
        """Pack a state as often as it has symmetric axes left."""
        memory = self.graph.memories[name]
        stages = [s for s in self.stages.values() if s.state.value == name]
        if memory.total or not stages:
            return
        while (group := _group(self.graph, memory, stages)) is not None:
            memory, stages = self._packed(memory, stages, group)
            self.states.add(name)
        self.graph.memories[name] = memory
        self.stages |= {s.out.value: s for s in stages}

    def nodes(self) -> Iterator[GraphNode]:
        """All nodes, the new ones before the first stage that needs them."""
        made: set[str] = set()
        for node in list(self.graph.nodes):
            for new in self.before.get(node.out.value, ()):
                if new.out.value not in made:
                    made.add(new.out.value)
                    yield new
            yield self.stages.get(node.out.value, node) if isinstance(node, Stage) else node

    def _packed(
        self, memory: Memory, stages: list[Stage], group: tuple[str, ...]
    ) -> tuple[Memory, list[Stage]]:
        new: list[GraphNode] = []
        label = self._label(group, [memory.axes, *(s.state.axes for s in stages)])
        write = self._power(memory.writes, group, label, False, new, memory.why)
        packed = replace(
            memory,
            axes=(label, *(a for a in memory.axes if a not in group)),
            writes=(write, *(r for r in memory.writes if not set(group) & set(r.axes))),
            plain=memory.plain or memory,
        )
        extent = self.graph.extents[group[0]]
        text = f"products of {len(group)} of {extent} elements, each once: {self.graph.extents[label]}"
        record = Rewrite("pack", f"a state of {text} instead of {extent}**{len(group)}", memory.why.line)
        if record not in self.log.rewrites:
            self.log.rewrites.append(record)
        result = []
        for stage in stages:
            own = list(new)
            there = dict(zip(memory.axes, stage.state.axes, strict=True))
            copies = tuple(there[a] for a in group)
            item = self._power(stage.items, copies, label, True, own, stage.why)
            state = Ref(stage.state.value, tuple(there.get(a, a) for a in packed.axes))
            items = (item, *(r for r in stage.items if not set(copies) & set(r.axes)))
            self.before.setdefault(stage.out.value, []).extend(own)
            result.append(replace(stage, state=state, items=items, pair=stage.pair or stage))
        return packed, result

    def _label(self, group: tuple[str, ...], taken: Sequence[tuple[str, ...]]) -> str:
        """A label for the packed axis: the letter as often as it is multiplied."""
        extent = self.graph.extents[group[0]]
        wanted = Symmetric(extent.coefficient, extent.names, len(group))
        stem = (group[0].lstrip("~").split("_")[0] or "c") * len(group)
        used = {a for axes in taken for a in axes}
        names = (stem if k == 1 else f"{stem}_{k}" for k in count(1))
        label = next(n for n in names if n not in used and self.graph.extents.get(n, wanted) == wanted)
        self.graph.extents[label] = wanted
        return label

    def _power(
        self,
        items: Sequence[Ref],
        group: tuple[str, ...],
        label: str,
        weighted: bool,
        new: list[GraphNode],
        why: Why,
    ) -> Ref:
        """The products of as many elements of a vector as the group has labels, under `label`; the vector is
        what carries the first of them."""
        vector = self._vector([r for r in items if group[0] in r.axes], new, why)
        rest = tuple(a for a in vector.axes if a not in (group[0], TOKEN))
        token = (TOKEN,) if TOKEN in vector.axes else ()  # last, so that rows of tokens are gathered whole
        lower, first = vector, group[0]
        for power in range(2, len(group) + 1):
            whole = label if power == len(group) else self._label(group[:power], [vector.axes, (label,)])
            key = (_signature(vector.axes, group[0]), vector.value, power, weighted, whole)
            out = self.known.get(key)
            if out is None:
                out = Ref(next(self.names), (*rest, whole, *token))
                self.known[key] = out
                self.graph.axes[out.value] = out.axes
            last = group[power - 1]
            factor = vector.relabel({group[0]: last})
            new.append(Packed(out, lower, factor, first, last, whole, power, weighted, why))
            lower, first = out, whole
        return lower

    def _vector(self, items: list[Ref], new: list[GraphNode], why: Why) -> Ref:
        """The product of the values that carry one label."""
        if len(items) == 1:
            return items[0]
        key = ("product", tuple(items))
        if key not in self.known:
            axes = tuple(dict.fromkeys(a for r in items for a in r.axes))
            self.known[key] = Ref(next(self.names), axes)
            self.graph.axes[self.known[key].value] = axes
        new.append(Product(self.known[key], tuple(items), why))
        return self.known[key]


def _group(graph: Graph, memory: Memory, stages: Sequence[Stage]) -> tuple[str, ...] | None:
    """Axes of a state whose exchange changes neither the state nor any read of it: two or more, or None."""
    found: dict[tuple[Signature, Extent], list[str]] = {}
    gated = {a for gate, _ in memory.gates for a in gate.axes}
    for label in memory.axes:
        extent = graph.extents[label]
        signature = signature_of(memory.writes, label)
        hidden = any(value in graph.unknowns for value, _ in signature)
        if signature and label not in gated and not hidden and type(extent) is Extent:
            found.setdefault((signature, extent), []).append(label)
    for labels in found.values():
        group = tuple(labels)
        if len(group) > 1 and _apart(memory.writes, group) and all(_reads(memory, s, group) for s in stages):
            return group
    return None


def _reads(memory: Memory, stage: Stage, group: tuple[str, ...]) -> bool:
    """Whether a stage sums over the group with the same factors for each of its labels."""
    there = dict(zip(memory.axes, stage.state.axes, strict=True))
    copies = tuple(there[a] for a in group)
    signatures = {signature_of(stage.items, a) for a in copies}
    same = len(signatures) == 1 and signatures != {()}
    return (
        same
        and len(set(copies)) == len(copies)
        and not set(copies) & set(stage.out.axes)
        and _apart(stage.items, copies)
    )


def _apart(items: Sequence[Ref], group: tuple[str, ...]) -> bool:
    """Whether no value carries two labels of the group."""
    return all(sum(a in group for a in r.axes) <= 1 for r in items)


def signature_of(items: Sequence[Ref], label: str) -> Signature:
    """What carries a label, with the label itself unnamed: equal for labels that can be exchanged."""
    return tuple(sorted((r.value, _signature(r.axes, label)) for r in items if label in r.axes))


def _signature(axes: tuple[str, ...], label: str) -> tuple[str, ...]:
    return tuple(HERE if a == label else a for a in axes)
