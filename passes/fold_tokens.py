"""Folds of a single token: all of its columns at once."""

from __future__ import annotations

from dataclasses import replace

from tensorc.ir import Cond, Index, substitute
from tensorc.passes.bounds import implied
from tensorc.passes.emit import BODY
from tensorc.passes.folding import BLOCK, Folds, Weighed, free_labels, read_of, spread
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Folded, Weights
from tensorc.passes.tiles import ordered
from tensorc.plan import CACHED, PAST, Fold, LogSum, Ref, Step, Weigh


class TokenFolds(Folds):
    """Folds of one token: all columns are one block, the cached ones and its own."""

    def build(self, node: Folded) -> None:
        """The steps of a fold for one token."""
        real, emitter = self.real, self.real.emitter
        self.why = replace(node.why, rule="fold: all columns of the token")
        past = node.lag is not None and node.lag > 0
        names = {label: label.replace(CACHED, PAST) for label, _ in node.columns} if past else {}
        node = _relabelled(node, names)
        self.past, self.lag = past, node.lag
        for value in node.rows:
            real._bound(value)
        self.columns = tuple(label for label, _ in node.columns)
        for label, extent in node.columns:
            emitter.sizes[label] = 2 * BLOCK
            if node.lag is None:
                self.graph.extents[label] = extent
        node = self._simpler(node)
        real.reader = self
        result = self._fold(node)
        real.reader = None
        self.columns = ()
        real.bind(node, result)

    def _simpler(self, node: Folded) -> Folded:
        """The fold without conditions that every column up to the token satisfies."""
        if node.lag is None:
            return node

        def kept(domain: tuple[Cond, ...]) -> tuple[Cond, ...]:
            return tuple(
                c for c in domain if not any(implied(c, TOKEN, column, self.past) for column in self.columns)
            )

        weights = node.weights and Weights(node.weights.score, kept(node.weights.domain))
        return replace(node, weights=weights, domain=kept(node.domain))

    def column(self, value: str, storage: tuple[str, ...], label: str) -> Ref:
        if self.lag is None or TOKEN not in self._own(value).axes:
            names = dict(zip(self._own(value).axes, storage, strict=True))
            return self.rows(self.whole(value).relabel(names), label)
        if self.past and (value, self.given) not in self.caches:
            state = self.before(value)
        elif self.past:
            found = self.caches[value, self.given][0]
            state = Ref(found.name, found.axes)
        else:
            state = self.cache(value, self.given)[1]
        return self.rows(Ref(state.value, (label, *(a for a in storage if a != label))), label)

    def _fold(self, node: Folded) -> Ref:
        emitter = self.real.emitter
        labels = self.real._labels(node.out.axes)
        if node.weights is not None:
            weighed = self._weigh(node.weights)
            if node.op in ("top", "total"):
                value = weighed.top if node.op == "top" else weighed.total
                return emitter.pointwise(spread(read_of(value), labels), labels, self.why)
            if node.op == "logsumexp":
                step: Step = LogSum(emitter.fresh(weighed.top.axes), weighed.top, weighed.total, self.why)
                value = emitter.add(step, [weighed.top, weighed.total], BODY)
                return emitter.pointwise(spread(read_of(value), labels), labels, self.why)
        if node.op == "sum":
            found = weighed if node.weights is not None else None
            added, later = self.addend(node, found)
            return self.finished(node, added, found, later)
        (factor,) = node.factors
        simple = self.simple(self.real.at_token(factor))
        full = ordered({*free_labels(simple), *self.columns}, self.columns)
        tile = emitter.pointwise(simple, full, self.why)
        tile = self.guarded(tile, self.mask(node.domain), node.op)
        kept = tuple(a for a in tile.axes if a not in self.columns)
        step = Fold(emitter.fresh(kept), node.op, self.columns, (), read_of(tile), self.why)
        value = emitter.add(step, [tile], BODY)
        return emitter.pointwise(spread(read_of(value), labels), labels, self.why)

    def _weigh(self, weights: Weights) -> Weighed:
        emitter, mask = self.real.emitter, self.mask(weights.domain)
        scores = self.scores(weights, mask)
        kept = tuple(a for a in scores.axes if a not in self.columns)
        inputs = [scores] if mask is None else [scores, mask]
        body = read_of(self.guarded(scores, mask, "max"))
        reduced = Fold(emitter.fresh(kept), "max", self.columns, (), body, self.why)
        top = emitter.add(reduced, inputs, BODY)
        step = Weigh(emitter.fresh(scores.axes), scores, self.columns, mask, top, None, self.why)
        out = emitter.add(step, [*inputs, top], BODY)
        return Weighed(out, None, top, emitter.product([out], kept, self.why))


def _relabelled(node: Folded, names: dict[str, str]) -> Folded:
    """A fold with other labels of its columns."""
    if not names:
        return node
    to = {old: Index(new) for old, new in names.items()}
    weights = node.weights and Weights(
        substitute(node.weights.score, to), tuple(substitute(c, to) for c in node.weights.domain)
    )
    return replace(
        node,
        columns=tuple((names[label], extent) for label, extent in node.columns),
        factors=tuple(substitute(f, to) for f in node.factors),
        domain=tuple(substitute(c, to) for c in node.domain),
        weights=weights,
    )
