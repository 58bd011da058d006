"""Folds as steps: blockwise in a stream with running values, or all columns of a token at once.

All folds of one loop that run over the same columns, and do not need each other, share a stream; folds with
the same softmax weights share these. A fold of earlier columns reads them from a cache that the loop fills
as it goes; one of any columns reads whole inputs, or what an earlier loop has kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tensorc.ir import (
    Add,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Index,
    Read,
    Size,
    Where,
    free_indices,
    substitute,
)
from tensorc.passes.bounds import column_range, implied, kept_rows, reach
from tensorc.passes.emit import BODY, CONSTANT
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Folded, Shift, Stage, Weights
from tensorc.passes.terms import times
from tensorc.passes.tiles import Tiles, ordered, where
from tensorc.plan import (
    CACHED,
    PAST,
    ROW,
    Accumulate,
    Append,
    Columns,
    Fold,
    Load,
    LogSum,
    Ref,
    Running,
    State,
    Step,
    Stream,
    Update,
    Weigh,
    Why,
    last,
)

BLOCK = 256  # the columns of a block that orders are chosen for


@dataclass(slots=True)
class _Weighed:
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

    def addend(self, node: Folded, weighed: _Weighed | None) -> tuple[Ref, list[Expr]]:
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
        axes = _outer_first(ordered(out & _labels(items), self.columns), shared)
        return emitter.product(items, axes, self.why), later

    def _pair(self, factor: Expr) -> bool:
        """Whether a factor has a row and a column."""
        names = free_indices(factor)
        return len(names & ({TOKEN} | set(self.columns))) > 1

    def finished(self, node: Folded, total: Ref, weighed: _Weighed | None, later: list[Expr]) -> Ref:
        """The result of a sum from its running value."""
        labels = self.real._labels(node.out.axes)
        expr = _read(total)
        if weighed is not None:
            empty = Compare("==", _read(weighed.total), Const(0))  # then the sum is 0, too
            expr = Div(expr, Where(empty, Const(1), _read(weighed.total)))
        extra = frozenset(a for a in total.axes if a not in labels)
        if extra:  # features of the weights alone, summed with the factors that have them
            within = [factor for factor in later if free_indices(factor) & extra]
            later = [factor for factor in later if factor not in within]
            items = [self.real.emitter.pointwise(e, None, self.why) for e in (expr, *within)]
            kept = [a for a in labels if a in _labels(items)]
            expr = _read(self.real.emitter.product(items, kept, self.why))
        expr = times(expr, *later)
        missing = [a for a in labels if a not in free_indices(expr)]
        if missing:
            expr = Add((expr, *(times(Const(0), Index(a)) for a in missing)))
        return self.real.emitter.pointwise(expr, labels, self.why)


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
        self.weighed: dict[Weights, _Weighed] = {}
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

    def _part(self, node: Folded) -> tuple[Ref | None, _Weighed | None, list[Expr]]:
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
        step = Fold(emitter.fresh(kept), node.op, self.columns, (), _read(tile), self.why)
        reduced = emitter.add(step, [tile])
        return self._accumulate(reduced, node.op, None, kept), None, []

    def _weigh(self, weights: Weights) -> _Weighed:
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
            found = self.weighed[weights] = _Weighed(out, scale, top, total)
        return found

    def _result(self, node: Folded, value: Ref | None, weighed: _Weighed | None, later: list[Expr]) -> Ref:
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
        return self.real.emitter.pointwise(_spread(_read(value), labels), labels, self.why)


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
                return emitter.pointwise(_spread(_read(value), labels), labels, self.why)
            if node.op == "logsumexp":
                step: Step = LogSum(emitter.fresh(weighed.top.axes), weighed.top, weighed.total, self.why)
                value = emitter.add(step, [weighed.top, weighed.total], BODY)
                return emitter.pointwise(_spread(_read(value), labels), labels, self.why)
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
        step = Fold(emitter.fresh(kept), node.op, self.columns, (), _read(tile), self.why)
        value = emitter.add(step, [tile], BODY)
        return emitter.pointwise(_spread(_read(value), labels), labels, self.why)

    def _weigh(self, weights: Weights) -> _Weighed:
        emitter, mask = self.real.emitter, self.mask(weights.domain)
        scores = self.scores(weights, mask)
        kept = tuple(a for a in scores.axes if a not in self.columns)
        inputs = [scores] if mask is None else [scores, mask]
        body = _read(self.guarded(scores, mask, "max"))
        reduced = Fold(emitter.fresh(kept), "max", self.columns, (), body, self.why)
        top = emitter.add(reduced, inputs, BODY)
        step = Weigh(emitter.fresh(scores.axes), scores, self.columns, mask, top, None, self.why)
        out = emitter.add(step, [*inputs, top], BODY)
        return _Weighed(out, None, top, emitter.product([out], kept, self.why))


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


def _spread(expr: Expr, labels: list[str]) -> Expr:
    missing = [a for a in labels if a not in free_indices(expr)]
    return Add((expr, *(times(Const(0), Index(a)) for a in missing))) if missing else expr


def _read(ref: Ref) -> Expr:
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


def _labels(refs: list[Ref]) -> set[str]:
    return {a for r in refs for a in r.axes}


def _names(exprs: list[Expr]) -> set[str]:
    return set().union(*(free_indices(e) for e in exprs)) if exprs else set()
