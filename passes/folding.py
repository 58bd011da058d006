"""Folds as steps: what both ways to realise them share.

All folds of one loop that run over the same columns, and do not need each other, share a stream; folds with
the same softmax weights share these. A fold of earlier columns reads them from a cache that the loop fills
as it goes; one of any columns reads whole inputs, or what an earlier loop has kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tensorc.ir import Add, Call, Compare, Const, Div, Expr, Index, Read, Where, free_indices
from tensorc.passes.bounds import kept_rows, reach
from tensorc.passes.emit import BODY, CONSTANT
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Folded, Shift, Stage, Weights
from tensorc.passes.terms import times
from tensorc.passes.tiles import Tiles, ordered, where
from tensorc.plan import CACHED, ROW, Append, Load, Ref, State, Step, Update, Why

BLOCK = 256  # the columns of a block that orders are chosen for


@dataclass(slots=True)
class Weighed:
    """Weights of the columns at hand, with the largest score and the total of each row."""

    weights: Ref
    scale: Ref | None
    top: Ref
    total: Ref


class Folds(Tiles):
    """What both ways to realise folds share: caches, weights, and what is summed."""

    loop = 0  # how many were started

    def start(self) -> None:
        """A new loop: no cache, nothing known."""
        self.loop += 1
        self.caches: dict[tuple[str, bool], tuple[State, Ref]] = {}

    def build(self, node: Folded) -> None:
        """The steps of a fold: its value is bound in the loop."""
        raise NotImplementedError

    @property
    def states(self) -> tuple[State, ...]:
        """The caches of this loop; rings if no token reads further back than a number of tokens."""
        reach = self.reach()
        return tuple(replace(self.caches[key][0], reach=reach) for key in sorted(self.caches))

    def reach(self) -> Expr | None:
        """How far back any fold or window of the loop reads; None without a limit."""
        limits = [kept_rows(m.within) for m in self.real.part.memories if m.within is not None]
        for node in self.real.part.nodes:
            if not isinstance(node, Folded) or node.lag is None:
                continue
            domain = node.weights.domain if node.weights is not None else node.domain
            for label, _ in node.columns:
                limit = reach(domain, TOKEN, label)
                if limit is None:
                    return None
                limits.append(limit)
        found = limits[0] if limits else None
        for limit in limits[1:]:
            found = limit if found == limit else Call("maximum", (found, limit))  # type: ignore[arg-type]
        return found

    def updates(self) -> list[Step]:
        """The caches with the tokens at hand."""
        return [
            Update(Ref(state.name, state.axes), None, after, replace=True, why=state.why)
            for state, after in (self.caches[key] for key in sorted(self.caches))
        ]

    def cache(self, value: str, given: bool) -> tuple[State, Ref]:
        """The cache of a value's rows, and what it is after those of the tokens at hand."""
        if (value, given) not in self.caches:
            emitter = self.real.emitter
            own = self._own(value)
            source = self.real.ref(own)
            why = Why(self.why.equation, "cache: the rows that later tokens read", self.why.line)
            name = self._cache_name(value, given)
            axes = (CACHED, *self._features(value))
            wide = self.real.is_wide(value)
            state = State(name, axes, why, True, given, self._sources(value), wide=wide)
            emitter.provide(name, None, BODY)
            out = Ref(f"{name}+", axes)
            features = [a for a in own.axes if a != TOKEN]
            rows = source.relabel(dict(zip(features, axes[1:], strict=True)))
            emitter.provide(out.value, Append(out, Ref(name, axes), rows, given, why), BODY)
            self.caches[value, given] = (state, out)
        return self.caches[value, given]

    def before(self, value: str) -> Ref:
        """A cache as it is before the tokens at hand: their own values may depend on what is read of it."""
        name = self._cache_name(value, self.given)
        axes = (CACHED, *self._features(value))
        self.real.emitter.provide(name, None, BODY)
        self.real.later.append((value, self.given))
        return Ref(name, axes)

    def _cache_name(self, value: str, given: bool) -> str:
        """The state that caches a value: each loop has its own."""
        return f"%{value.strip('$%')}_cache{'_given' if given else ''}{self.loop if self.loop > 1 else ''}"

    def _own(self, value: str) -> Ref:
        """A value under labels of its own axes."""
        if value in self.real.inputs:
            axes = self.real.inputs[value].axes
            return Ref(value, tuple(TOKEN if a == self.real.time else f"#{k}" for k, a in enumerate(axes)))
        return self.real.nodes[value].out

    def _features(self, value: str) -> tuple[str, ...]:
        """Labels with extents for the features of a value."""
        if value not in self.real.inputs:
            return tuple(a for a in self.real.nodes[value].out.axes if a != TOKEN)
        found = []
        for k, extent in enumerate(self.real.inputs[value].axes):
            if extent != self.real.time:
                label = f"{value}.{k}"
                self.graph.extents[label] = extent
                self.real.emitter.sizes[label] = extent.value(self.real.sizes)
                found.append(label)
        return tuple(found)

    def _sources(self, value: str) -> tuple[str, ...]:
        """The inputs of the program that a value depends on."""
        from tensorc.passes.blockwise import node_inputs

        found: dict[str, None] = {}
        seen = {value}
        pending = [value]
        while pending:
            here = pending.pop()
            if here in self.real.inputs:
                found[here] = None
                continue
            if here in self.real.kept and here not in self.real.here:
                return tuple(self.real.inputs)  # what another loop kept has all batch axes
            if isinstance(self.real.nodes[here], Stage | Shift):  # states have all batch axes
                return tuple(self.real.inputs)
            for name in node_inputs(self.graph, self.real.nodes[here]):
                if name not in seen:
                    seen.add(name)
                    pending.append(name)
        return tuple(n for n in self.real.inputs if n in found)

    def whole(self, value: str) -> Ref:
        """A value over its whole axis: an input, what an earlier loop kept, or one without tokens."""
        emitter = self.real.emitter
        axes = self._own(value).axes
        if value in self.real.inputs or value in self.real.kept:
            tensor = value if value in self.real.inputs else self.real.kept[value].value
            name = f"${value.strip('$%')}_all{self.loop if self.loop > 1 else ''}"
            if name not in emitter.level:
                labels = tuple(f"#{k}" for k in range(len(axes)))
                emitter.provide(name, Load(Ref(name, labels), tensor, None), CONSTANT)
            return Ref(name, axes)
        return self.real.ref(self._own(value))

    # -- weights and sums ----------------------------------------------------------------------------------

    def scores(self, weights: Weights, mask: Ref | None) -> Ref:
        """The scores of the columns at hand, every row and column in full."""
        simple = self.simple(self.real.at_token(weights.score))
        labels = {*free_labels(simple), *self.columns, *(mask.axes if mask is not None else ())}
        labels |= {ROW} if self.real.token else set()
        return self.real.emitter.pointwise(simple, ordered(labels, self.columns), self.why)

    def addend(self, node: Folded, weighed: Weighed | None) -> tuple[Ref, list[Expr]]:
        """What the columns at hand add to a sum, and the factors of the row alone that can wait."""
        emitter = self.real.emitter
        out = {ROW if a == TOKEN else a for a in node.out.axes if a != TOKEN or self.real.token}
        items: list[Ref] = []
        later: list[Expr] = []
        if weighed is not None:
            items.append(self.guarded(weighed.weights, self.mask(node.domain), "sum"))
            out |= set(weighed.total.axes)
        masked = weighed is not None
        for factor in node.factors:
            here = self.real.at_token(factor)
            simple = self.simple(here)
            free = free_labels(simple)
            if not free & set(self.columns) and free <= out:
                later.append(here)
                continue
            item = emitter.pointwise(simple, None, self.why)
            if weighed is None and self._pair(factor):
                item, masked = self.guarded(item, self.mask(node.domain), "sum"), True
            items.append(item)
        if not masked and node.domain:
            condition = where(tuple(self.real.at_token(c) for c in node.domain))
            self.given = True
            items.append(emitter.pointwise(condition, None, self.why))
            self.given = False
        if not items:
            items.append(emitter.pointwise(Const(1), None, self.why))
        shared = set(items[0].axes) if masked or weighed is not None else set()
        axes = _outer_first(ordered(out & labels_of(items), self.columns), shared)
        return emitter.product(items, axes, self.why), later

    def _pair(self, factor: Expr) -> bool:
        """Whether a factor has a row and a column."""
        names = free_indices(factor)
        return len(names & ({TOKEN} | set(self.columns))) > 1

    def finished(self, node: Folded, total: Ref, weighed: Weighed | None, later: list[Expr]) -> Ref:
        """The result of a sum from its running value."""
        labels = self.real._labels(node.out.axes)
        expr = read_of(total)
        if weighed is not None:
            empty = Compare("==", read_of(weighed.total), Const(0))  # then the sum is 0, too
            expr = Div(expr, Where(empty, Const(1), read_of(weighed.total)))
        extra = frozenset(a for a in total.axes if a not in labels)
        if extra:  # features of the weights alone, summed with the factors that have them
            within = [factor for factor in later if free_indices(factor) & extra]
            later = [factor for factor in later if factor not in within]
            items = [self.real.emitter.pointwise(e, None, self.why) for e in (expr, *within)]
            kept = [a for a in labels if a in labels_of(items)]
            expr = read_of(self.real.emitter.product(items, kept, self.why))
        expr = times(expr, *later)
        missing = [a for a in labels if a not in free_indices(expr)]
        if missing:
            expr = Add((expr, *(times(Const(0), Index(a)) for a in missing)))
        return self.real.emitter.pointwise(expr, labels, self.why)


def spread(expr: Expr, labels: list[str]) -> Expr:
    missing = [a for a in labels if a not in free_indices(expr)]
    return Add((expr, *(times(Const(0), Index(a)) for a in missing))) if missing else expr


def read_of(ref: Ref) -> Expr:
    return Read(ref.value, tuple(Index(a) for a in ref.axes))


def _outer_first(labels: tuple[str, ...], shared: set[str]) -> tuple[str, ...]:
    """Labels with those of the tile first, the row the last of these: what the values have alone lies
    together."""
    mine = [a for a in labels if a in shared]
    row = [ROW] if ROW in labels and ROW not in shared else []
    return (*mine, *row, *(a for a in labels if a not in shared and a != ROW))


def free_labels(expr: Expr) -> set[str]:
    """The labels of an expression at the token of a form: token by token the token itself has none."""
    return set(free_indices(expr)) - {TOKEN}


def labels_of(refs: list[Ref]) -> set[str]:
    return {a for r in refs for a in r.axes}
