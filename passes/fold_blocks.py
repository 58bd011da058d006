"""Folds blockwise: in a stream with running values."""

from __future__ import annotations

from dataclasses import replace

from tensorc.ir import Add, Const, Expr, Size, free_indices
from tensorc.passes.bounds import column_range
from tensorc.passes.emit import BODY
from tensorc.passes.folding import BLOCK, Folds, Weighed, free_labels, read_of, spread
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Folded, Weights
from tensorc.passes.tiles import ordered
from tensorc.plan import ROW, Accumulate, Columns, Fold, LogSum, Ref, Running, Stream, Weigh, last


class BlockFolds(Folds):
    """Folds of a chunk of rows: streams over blocks of columns."""

    def start(self) -> None:
        super().start()
        self.depths: dict[str, int] = {}

    def build(self, node: Folded) -> None:
        """The stream of a fold, and of all others that can share it."""
        real, emitter = self.real, self.real.emitter
        group = self._group(node)
        self.why = replace(node.why, rule="fold: blocks of columns with running values")
        for one in group:
            for value in one.rows:
                real._bound(value)
            for value, given in one.cached:
                if one.lag is not None and self._is_token(value):
                    self.cache(value, given)
                else:
                    self.whole(value)
        self.columns = tuple(label for label, _ in node.columns)
        for label, extent in node.columns:
            emitter.sizes[label] = BLOCK
            if node.lag is None:
                self.graph.extents[label] = extent
        emitter.open_stream()
        self.running: list[Running] = []
        self.weighed: dict[Weights, Weighed] = {}
        self.lag = node.lag
        real.reader = self
        parts = [self._part(one) for one in group]
        real.reader = None
        steps = emitter.close_stream()
        stream = Stream(self._columns(node), tuple(self.running), steps, self.why)
        for running in self.running:
            emitter.provide(running.ref.value, None, BODY)
        emitter.steps[BODY].append(stream)
        self.columns = ()
        for one, (summed, weighed, later) in zip(group, parts, strict=True):
            real.bind(one, self._result(one, summed, weighed, later))

    def _is_token(self, value: str) -> bool:
        return TOKEN in self._own(value).axes

    def column(self, value: str, storage: tuple[str, ...], label: str) -> Ref:
        if self.lag is None or not self._is_token(value):
            names = dict(zip(self._own(value).axes, storage, strict=True))
            return self.rows(self.whole(value).relabel(names), label)
        _, after = self.cache(value, self.given)
        return self.rows(Ref(after.value, (label, *(a for a in storage if a != label))), label)

    def _group(self, node: Folded) -> list[Folded]:
        """The folds that can share the stream of one."""
        depth = self._depth()
        here = [n for n in self.real.part.nodes if isinstance(n, Folded)]
        return [
            n
            for n in here
            if n.stream == node.stream
            and depth[n.out.value] == depth[node.out.value]
            and n.out.value not in self.real.bound
        ]

    def _depth(self) -> dict[str, int]:
        """How many folds stand before each value of the program."""
        from tensorc.passes.blockwise import node_inputs

        if not self.depths:
            for name, node in self.real.nodes.items():
                before = max((self.depths.get(v, 0) for v in node_inputs(self.graph, node)), default=0)
                self.depths[name] = before + isinstance(node, Folded)
        return self.depths

    def _columns(self, node: Folded) -> tuple[Columns, ...]:
        """The labels of a stream and the columns that its rows may need."""
        domain = [self.real.at_token(c) for c in (node.weights.domain if node.weights else node.domain)]
        found = []
        for label, extent in node.columns:
            span = column_range(domain, ROW, label)
            if node.lag is None:
                found.append(Columns(label, span.low, span.high, extent))
            else:
                high = span.high or Add((Size(last(ROW)), Const(1)))
                found.append(Columns(label, span.low, high, None))
        return tuple(found)

    def _run(self, op: str, axes: tuple[str, ...]) -> Ref:
        """A new running value."""
        ref = self.real.emitter.fresh(axes)
        self.running.append(Running(ref, op))
        self.real.emitter.provide(ref.value, None, BODY)
        return ref

    def _accumulate(self, addend: Ref, op: str, scale: Ref | None, axes: tuple[str, ...]) -> Ref:
        running = self._run(op, axes)
        step = Accumulate(running, addend, op, scale, self.why)
        self.real.emitter.stream.append(step)
        return running

    def _part(self, node: Folded) -> tuple[Ref | None, Weighed | None, list[Expr]]:
        """The steps of one fold in the stream: its running value."""
        emitter = self.real.emitter
        weighed = self._weigh(node.weights) if node.weights is not None else None
        if node.op in ("top", "total", "logsumexp"):
            return None, weighed, []
        if node.op == "sum":
            added, later = self.addend(node, weighed)
            axes = set(self.real._labels(node.out.axes)) - _names(later) | set(added.axes) | {ROW}
            wanted = (*added.axes, *(a for a in ordered(axes, self.columns) if a not in added.axes))
            value = self._accumulate(added, "sum", weighed.scale if weighed else None, wanted)
            return value, weighed, later
        (factor,) = node.factors
        simple = self.simple(self.real.at_token(factor))
        labels = ordered({*free_labels(simple), ROW, *self.columns}, self.columns)
        tile = emitter.pointwise(simple, labels, self.why)
        tile = self.guarded(tile, self.mask(node.domain), node.op)
        kept = tuple(a for a in tile.axes if a not in self.columns)
        step = Fold(emitter.fresh(kept), node.op, self.columns, (), read_of(tile), self.why)
        reduced = emitter.add(step, [tile])
        return self._accumulate(reduced, node.op, None, kept), None, []

    def _weigh(self, weights: Weights) -> Weighed:
        found = self.weighed.get(weights)
        if found is None:
            emitter, mask = self.real.emitter, self.mask(weights.domain)
            scores = self.scores(weights, mask)
            kept = tuple(a for a in scores.axes if a not in self.columns)
            top = self._run("max", kept)
            out, scale = emitter.fresh(scores.axes), emitter.fresh(kept)
            emitter.stream.append(Weigh(out, scores, self.columns, mask, top, scale, self.why))
            for ref in (out, scale):
                emitter.level[ref.value] = emitter.streaming
            added = emitter.product([out], kept, self.why)
            total = self._accumulate(added, "sum", scale, kept)
            found = self.weighed[weights] = Weighed(out, scale, top, total)
        return found

    def _result(self, node: Folded, value: Ref | None, weighed: Weighed | None, later: list[Expr]) -> Ref:
        labels = self.real._labels(node.out.axes)
        if node.op == "sum":
            assert value is not None
            return self.finished(node, value, weighed, later)
        if node.op in ("top", "total", "logsumexp"):
            assert weighed is not None
            value = weighed.total if node.op == "total" else weighed.top
            if node.op == "logsumexp":
                step = LogSum(self.real.emitter.fresh(weighed.top.axes), weighed.top, weighed.total, self.why)
                value = self.real.emitter.add(step, [weighed.top, weighed.total], BODY)
        assert value is not None
        return self.real.emitter.pointwise(spread(read_of(value), labels), labels, self.why)


def _names(exprs: list[Expr]) -> set[str]:
    return set().union(*(free_indices(e) for e in exprs)) if exprs else set()
