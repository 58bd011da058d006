"""Folds: sums and other reductions over pairs of tokens that no state summarises.

A term with a pair that cannot be separated keeps its columns: for each row, all of them are gone through,
a block at a time, with running values. Tokens that hang on one other token by a scan alone are summed
first, as stages. Softmax weights are never a value: where they meet what they weigh, exp(score − top) is
summed and divided by its total, so that one pass over the columns does both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tensorc.ir import (
    And,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Extent,
    Index,
    Mul,
    Neg,
    Node,
    Read,
    Reduce,
    Softmax,
    Where,
    conjuncts,
    free_indices,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.bounds import lag
from tensorc.passes.chains import LinearTerm, NoScan, linear_terms
from tensorc.passes.pairs import PairBuilder, instantiate
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Folded, Pair, Weights
from tensorc.passes.terms import Map, Term, counted, rename_term, scaled, times
from tensorc.plan import CACHED, Ref, Why


class FoldBuilder(PairBuilder):
    """Makes folds; their results are values of one token. With `bands` a window is a fold, too."""

    bands = False

    # -- sums of products ----------------------------------------------------------------------------------

    def needed(self, term: Term, outputs: frozenset[str]) -> bool:
        """Whether a term of a sum has a pair that is not separable."""
        tokens = self.own_tokens(term, outputs)
        return any(self.is_pair(f, tokens) for f in (term.scale, *term.factors))

    def own_tokens(self, term: Term, outputs: frozenset[str]) -> frozenset[str]:
        """The tokens of a term."""
        return outputs | {b.name for b in term.bound if self.is_token(b.extent)}

    def read(self, ref: Ref) -> Read:
        """A value as an expression of its own labels."""
        return Read(self.stages.alias(ref), tuple(Index(a) for a in ref.axes))

    def sum(self, term: Term, left: tuple[Bind, ...], labels: tuple[str, ...], why: Why) -> Expr:
        """One term of a sum as an expression of the labels of its left side."""
        binds = {b.name: b.extent for b in (*left, *term.bound)}
        names = self.labels(binds)
        tokens = self.tokens(names, binds)
        term = rename_term(term, names)
        kept = [names[b.name] for b in left]
        rows = [n for n in kept if n in tokens and ":" not in n]
        if len(rows) < sum(n in tokens for n in kept) or len(rows) > 1:
            raise NoScan("the result has two indices of pairs", "give it one token index")
        row = rows[0] if rows else self._row(term, tokens)
        term = self._peeled(term, row, frozenset(kept), tokens, why)
        conditions, decays = self.relations(term.relations, why)
        factors = [self.lifted(f, tokens, why) for f in (*term.factors, *decays)]
        columns = [b for b in term.bound if b.name in tokens and b.name != row]
        used = frozenset().union(*(free_indices(f) for f in (*factors, *conditions)), (row,))
        scale = counted(term.scale, term.bound, used)
        columns = [b for b in columns if b.name in used]
        out = frozenset(n for n in kept if n in used) - {row}
        ref = self.fold("sum", row, columns, tuple(factors), tuple(conditions), out, why)
        if not rows:
            ref = self._total(ref, row, why)
        back = {names[b.name]: label for b, label in zip(left, labels, strict=True)}
        ref = ref.relabel(back)
        read = Read(self.stages.alias(ref), tuple(Index(a) for a in ref.axes))
        return scaled(scale, read, term.bound)

    def _row(self, term: Term, tokens: frozenset[str]) -> str:
        """The row of a sum over all pairs: a token that comes after the others, so that fewer are skipped."""
        bound = [b.name for b in term.bound if b.name in tokens and ":" not in b.name]
        earlier = {r.early for r in term.relations}
        return next((n for n in bound if n not in earlier), bound[0])

    def _total(self, ref: Ref, row: str, why: Why) -> Ref:
        """The sum of a value over all rows."""
        factor = Read(self.stages.alias(ref), tuple(Index(row if a == TOKEN else a) for a in ref.axes))
        linear = LinearTerm(Term(factors=(factor,), bound=(Bind(row, self.time),)), ())
        left = frozenset(a for a in ref.axes if a != TOKEN)
        total = self.stages.term(linear, left, frozenset((row,)), why)
        assert total is not None
        return total

    def _peeled(self, term: Term, row: str, kept: frozenset[str], tokens: frozenset[str], why: Why) -> Term:
        """The term after every token that only a scan ties to one other token was summed."""
        changed = True
        while changed:
            changed = False
            for bind in term.bound:
                if bind.name not in tokens or bind.name == row or bind.extent != self.time:
                    continue
                found = self._peel(term, bind.name, kept, tokens, why)
                if found is not None:
                    term, changed = found, True
                    break
        return term

    def _peel(
        self, term: Term, token: str, kept: frozenset[str], tokens: frozenset[str], why: Why
    ) -> Term | None:
        mine = [f for f in term.factors if token in free_indices(f)]
        relations = [r for r in term.relations if token in r.pair]
        others = {n for r in relations for n in r.pair} - {token}
        if any(self.is_pair(f, tokens) for f in mine) or len(others) > 1:
            return None
        if self.bands and any(r.width is not None for r in relations):
            return None
        rest = [f for f in term.factors if f not in mine]
        features = {b.name for b in term.bound} - tokens
        outside = frozenset().union(kept, *(free_indices(f) for f in rest))
        outside |= frozenset().union(*(r.features for r in term.relations if r not in relations))
        used = frozenset().union(*(free_indices(f) for f in mine), *(r.features for r in relations)) - tokens
        shared = used & outside
        inner = used & features - shared
        bound = tuple(b for b in term.bound if b.name == token or b.name in inner)
        part = Term(factors=tuple(mine), relations=tuple(relations), bound=bound)
        try:
            linear = linear_terms(part, frozenset(others), self.time, self.log, None)
        except NoScan:
            return None
        sums: list[Expr] = []
        for one in linear:
            scale = counted(one.term.scale, one.term.bound, one.indices)
            ref = self.stages.term(one, frozenset(others) | shared, tokens, why)
            if ref is None:
                sums.append(scale)
                continue
            (there,) = others or {TOKEN}
            axes = tuple(Index(there if a == TOKEN else a) for a in ref.axes)
            sums.append(times(scale, Read(self.stages.alias(ref), axes)))
        from tensorc.ir import Add

        total: Expr = Const(0) if not sums else sums[0] if len(sums) == 1 else Add(tuple(sums))
        return replace(
            term,
            factors=(*rest, total),
            relations=tuple(r for r in term.relations if r not in relations),
            bound=tuple(b for b in term.bound if b not in bound),
        )

    # -- other reductions ----------------------------------------------------------------------------------

    def reduction(self, definition: Map, why: Why) -> Ref | None:
        """A definition that is one reduction over tokens: max, min, prod or logsumexp; None for any other."""
        node = definition.expr
        if not isinstance(node, Reduce) or not any(self.is_token(b.extent) for b in node.binds):
            return None
        binds = {b.name: b.extent for b in (*definition.left, *node.binds)}
        names = self.labels(binds)
        tokens = self.tokens(names, binds)
        from tensorc.passes.linear import rename_all

        renamed = rename_all(node, names)
        assert isinstance(renamed, Reduce)
        body = self.lifted(renamed.body, tokens, why)
        domain = tuple(conjuncts(renamed.domain))
        rows = [names[b.name] for b in definition.left if names[b.name] in tokens]
        columns = [b for b in renamed.binds if b.name in tokens]
        if any(":" in r for r in rows):
            name = definition.source.partition("[")[0]
            reason = f"{name} reduces over all rows, for each column of a pair"
            raise NoScan(reason, "use form='parallel'")
        row = rows[0] if rows else "~row"
        out = frozenset(names[b.name] for b in definition.left) - {row}
        if node.op != "logsumexp" or len(columns) < len(renamed.binds):
            features = tuple(b for b in renamed.binds if b.name not in tokens)
            if features:
                body = Reduce(node.op, features, (), body)
        if not rows:
            return None
        return self.fold(node.op, row, columns, (body,), domain, out, why)

    # -- folds ---------------------------------------------------------------------------------------------

    def fold(
        self,
        op: str,
        row: str,
        columns: Sequence[Bind],
        factors: tuple[Expr, ...],
        domain: tuple[Cond, ...],
        out: frozenset[str],
        why: Why,
    ) -> Ref:
        """A reduction of a product over columns, for each `row`; the result has the token and `out`."""
        weights = None
        if op == "sum":
            factors, weights = self._weighed(self._flat(factors), row, columns)
            factors = tuple(self._written(f, why) for f in factors)
            domain = (*domain, *_zero_outside(factors))
        elif op == "logsumexp":
            weights, factors = Weights(factors[0], domain), ()
        every = tuple(dict.fromkeys([*(weights.domain if weights else ()), *conjuncts(domain)]))
        # Weights need all columns of their own domain, also those that the sum leaves out.
        least = self._least_lag(weights.domain if weights else every, row, columns)
        names = {row: TOKEN}
        for k, bind in enumerate(columns):
            names[bind.name] = _label(bind.extent if least is None else None, k)
        to = {old: Index(new) for old, new in names.items()}
        factors = tuple(substitute(f, to) for f in factors)
        domain = tuple(substitute(c, to) for c in every if weights is None or c not in weights.domain)
        if weights is not None:
            here = tuple(conjuncts([substitute(c, to) for c in weights.domain]))
            weights = Weights(substitute(weights.score, to), here)
        labels = tuple((names[b.name], b.extent) for b in columns)
        rows, cached = self._read_by(factors, domain, weights, {names[b.name] for b in columns})
        key = ("fold", op, labels, factors, domain, weights, out)
        if key not in self.stages.known:
            ref = self.stages._fresh("t", self.stages.axes(out | {TOKEN}))
            node = Folded(ref, op, labels, factors, domain, weights, least, rows, cached, why)
            self.graph.nodes.append(node)
            self.stages.known[key] = ref
            self.stages.why = why
            what = "a block at a time" if least is None else "a block at a time; token by token, from a cache"
            self.stages._did("fold", f"{op} over pairs of tokens, {what}")
        return self.stages.known[key]

    def _least_lag(self, domain: Sequence[Cond], row: str, columns: Sequence[Bind]) -> int | None:
        """How far before the row all columns are at least, through other columns too; None if one may be
        later, or is of another axis."""
        if any(c.extent != self.time for c in columns):
            return None
        known = {row: 0}
        for _ in columns:
            for column in columns:
                found = [
                    known[other] + step
                    for other in known
                    if other != column.name and (step := lag(domain, other, column.name)) is not None
                ]
                if found:
                    known[column.name] = max(found)
        return min(known[c.name] for c in columns) if len(known) > len(columns) else None

    def _flat(self, factors: Iterable[Expr]) -> tuple[Expr, ...]:
        """The factors of a product, those of pairs that are products among them."""
        done: list[Expr] = []
        pending = list(factors)
        while pending:
            factor = pending.pop(0)
            match factor:
                case Mul(factors=parts):
                    pending = [*parts, *pending]
                case Neg(operand=operand):
                    pending = [Const(-1), operand, *pending]
                case Div(numerator=top, denominator=bottom) if top != Const(1):
                    pending = [top, Div(Const(1), bottom), *pending]
                case Read(tensor=tensor) if tensor in self.graph.pairs:
                    inner = self.graph.pairs[tensor].expr
                    product = isinstance(inner, Mul | Neg | Div | Softmax | Where) or (
                        isinstance(inner, Read) and inner.tensor in self.graph.pairs
                    )
                    if product:
                        pending = [instantiate(self.graph, factor), *pending]
                    else:
                        done.append(factor)
                case _:
                    done.append(factor)
        return tuple(done)

    def _weighed(
        self, factors: tuple[Expr, ...], row: str, columns: Sequence[Bind]
    ) -> tuple[tuple[Expr, ...], Weights | None]:
        """The softmax among the factors that runs over just these columns, taken out."""
        found = [k for k, f in enumerate(factors) if isinstance(f, Softmax) and self._runs(f, row, columns)]
        if len(found) != 1:
            return factors, None
        softmax = factors[found[0]]
        assert isinstance(softmax, Softmax)
        rest = factors[: found[0]] + factors[found[0] + 1 :]
        return rest, Weights(softmax.body, tuple(conjuncts(softmax.domain)))

    def _runs(self, softmax: Softmax, row: str, columns: Sequence[Bind]) -> bool:
        over = {b.name for b in softmax.over}
        free = {n for n in free_indices(softmax) if n.startswith("~")}
        return over == {c.name for c in columns} and free <= over | {row}

    def statistics(self, softmax: Softmax, why: Why) -> tuple[Read, Read]:
        """The largest score of a row and the sum of its weights, for softmax that is used as it stands."""
        over = {b.name for b in softmax.over}
        rows = sorted(n for n in free_indices(softmax) if n.startswith("~") and n not in over)
        columns = [b for b in softmax.over if b.name.startswith("~")]
        if len(columns) < len(over) or len(rows) > 1:
            raise NoScan("softmax over a token and a feature is not taken apart", "use form='parallel'")
        if not rows:
            raise NoScan("softmax over all tokens at once is used as it stands", "use form='parallel'")
        row = rows[0]
        features = frozenset(n for n in free_indices(softmax) if not n.startswith("~"))
        reads = []
        for op in ("top", "total"):
            domain = tuple(conjuncts(softmax.domain))
            ref = self._statistic(op, row, columns, softmax.body, domain, features, why)
            axes = tuple(Index(row if a == TOKEN else a) for a in ref.axes)
            reads.append(Read(self.stages.alias(ref), axes))
        return reads[0], reads[1]

    def _statistic(
        self,
        op: str,
        row: str,
        columns: Sequence[Bind],
        score: Expr,
        domain: tuple[Cond, ...],
        out: frozenset[str],
        why: Why,
    ) -> Ref:
        known = self._least_lag(domain, row, columns)
        names = {row: TOKEN} | {
            b.name: _label(b.extent if known is None else None, k) for k, b in enumerate(columns)
        }
        to = {old: Index(new) for old, new in names.items()}
        weights = Weights(substitute(score, to), tuple(substitute(c, to) for c in domain))
        labels = tuple((names[b.name], b.extent) for b in columns)
        key = ("fold", op, labels, (), (), weights, out)
        if key not in self.stages.known:
            rows, cached = self._read_by((), (), weights, {names[b.name] for b in columns})
            ref = self.stages._fresh("t", self.stages.axes(out | {TOKEN}))
            self.graph.nodes.append(Folded(ref, op, labels, (), (), weights, known, rows, cached, why))
            self.stages.known[key] = ref
        return self.stages.known[key]

    def normalised(self, softmax: Softmax, why: Why) -> Expr:
        """Softmax as an expression of its score and of the largest score and the total of its row."""
        top, total = self.statistics(softmax, why)
        holds = (*conjuncts(softmax.domain), Compare("!=", total, Const(0)))
        from tensorc.ir import Add

        weight = Call("exp", (Add((softmax.body, Neg(top))),))
        return Where(And(holds), Div(weight, total), Const(0))

    def _written(self, expr: Expr, why: Why) -> Expr:
        """The expression with every softmax over tokens that is used as it stands written out."""

        def visit(node: Node) -> Node:
            node = rebuild(node, visit)
            if isinstance(node, Softmax) and any(b.name.startswith("~") for b in node.over):
                return self.normalised(node, why)
            return node

        return visit(expr)  # type: ignore[return-value]

    def settled(self, name: str, why: Why) -> None:
        """A pair whose softmax is used as it stands: written out."""
        pair = self.graph.pairs[name]
        self.graph.pairs[name] = Pair(pair.labels, self._written(pair.expr, why), pair.why)

    def _read_by(
        self,
        factors: Iterable[Expr],
        domain: Iterable[Cond],
        weights: Weights | None,
        columns: set[str],
    ) -> tuple[tuple[str, ...], tuple[tuple[str, bool], ...]]:
        """The values that are read at the row, and at columns (whether as data that is compared)."""
        rows: dict[str, None] = {}
        cached: dict[tuple[str, bool], None] = {}
        # What a mask compares is cached as given; a factor reads values, whatever it does with them.
        pending: list[tuple[Node, bool]] = [(n, False) for n in factors] + [(c, True) for c in domain]
        if weights is not None:
            pending += [(weights.score, False), *((c, True) for c in weights.domain)]
        while pending:
            node, given = pending.pop()
            if isinstance(node, Softmax) and any(b.name in columns or b.name[0] in "~@" for b in node.over):
                raise NoScan("softmax of softmax weights", "name it in an equation of its own")
            if isinstance(node, Read) and node.tensor in self.graph.pairs:
                if any(isinstance(n, Softmax) for n in walk(self.graph.pairs[node.tensor].expr)):
                    self.settled(node.tensor, self.graph.pairs[node.tensor].why)
                if not all(isinstance(s, Index) for s in node.subscripts):
                    raise NoScan(
                        f"{node.tensor} is read beside the diagonal of its tokens",
                        "read a pair at its two tokens, and shift what it is made of",
                    )
                pending.append((instantiate(self.graph, node), given))
                continue
            if isinstance(node, Read):
                self._note(node, columns, given, rows, cached)
            from tensorc.ir import children

            pending += [(c, given) for c in children(node)]
        return tuple(rows), tuple(cached)

    def _note(
        self,
        read: Read,
        columns: set[str],
        given: bool,
        rows: dict[str, None],
        cached: dict[tuple[str, bool], None],
    ) -> None:
        value = self.graph.tensors[read.tensor].value
        here = {n for s in read.subscripts for n in free_indices(s)}
        if here & columns:
            cached[value, given] = None
        else:
            rows[value] = None


def _zero_outside(factors: Iterable[Expr]) -> list[Cond]:
    """Conditions on positions without which a factor is 0."""
    found: list[Cond] = []
    for factor in factors:
        if isinstance(factor, Where) and factor.otherwise == Const(0):
            conditions = conjuncts((factor.condition,))
            found += [c for c in conditions if not any(isinstance(n, Read) for n in walk(c))]
    return found


def _label(extent: Extent | None, k: int) -> str:
    """The label of the k-th columns: of a cache, or of a whole axis."""
    number = str(k + 1) if k else ""
    return f"{CACHED}{number}" if extent is None else f"@{extent}{number}".replace(" ", "")
