"""Values of pairs of tokens as templates, and what reading them takes.

A score s[i, j] that no equation separates is never a tensor: it is an expression, evaluated for one block
of rows and one of columns at a time. Here definitions become such expressions. Parts of one token in them
become values of their own, so that they are computed once for each token and not for each pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tensorc.ir import (
    Add,
    And,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Expr,
    Extent,
    Index,
    Iverson,
    Mul,
    Neg,
    Node,
    Pow,
    Read,
    Reduce,
    Softmax,
    Where,
    free_indices,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.affine import lag_of
from tensorc.passes.chains import NoScan, linear_terms
from tensorc.passes.records import Log
from tensorc.passes.relation import TOKEN, Decayed, Gate, Relation
from tensorc.passes.relation_dense import Dense
from tensorc.passes.relation_order import Order
from tensorc.passes.stage_graph import Graph, Pair
from tensorc.passes.terms import Definition, Map, Term, counted, scaled, times
from tensorc.plan import Why

if TYPE_CHECKING:
    from tensorc.passes.stages import StageBuilder

LARGEST = 4_000  # parts of a template, those of the pairs that it reads written out


def instantiate(graph: Graph, read: Read) -> Expr:
    """The expression of a pair under the labels of a read, bound labels apart from those."""
    pair = graph.pairs[read.tensor]
    names = dict(zip(pair.labels, read.subscripts, strict=True))
    incoming = {n for s in read.subscripts for n in free_indices(s)}
    expr: Expr = _apart(pair.expr, incoming, graph.extents)
    marks = {old: Index(f"%{old}") for old in names}
    return substitute(substitute(expr, marks), {f"%{old}": new for old, new in names.items()})


def _apart(node: Expr, taken: set[str], extents: dict[str, Extent]) -> Expr:
    """Bound labels that others have get new ones."""
    binds = [b for n in walk(node) if isinstance(n, Reduce) for b in n.binds if b.name in taken]
    for bind in binds:
        label = f"{bind.name}'"
        while label in taken or extents.get(label, bind.extent) != bind.extent:
            label += "'"
        extents[label] = bind.extent
        node = _renamed(node, bind.name, label)
    return node


def _renamed(node: Expr, old: str, new: str) -> Expr:
    def visit(part: Node) -> Node:
        part = rebuild(part, visit)
        if isinstance(part, Reduce):
            return replace(
                part, binds=tuple(replace(b, name=new) if b.name == old else b for b in part.binds)
            )
        return Index(new) if part == Index(old) else part

    return visit(node)  # type: ignore[return-value]


class PairBuilder:
    """Makes templates of definitions; `stages` makes the values of one token that they read."""

    def __init__(
        self, stages: StageBuilder, time: Extent, log: Log, columns: frozenset[Extent] = frozenset()
    ) -> None:
        self.stages, self.time, self.log, self.others = stages, time, log, columns
        self.graph = stages.graph
        self.written: dict[str, int] = {}  # of each pair, the parts of its template written out

    def is_pair(self, node: Node, tokens: frozenset[str]) -> bool:
        """Whether an expression has two tokens, or reads a pair."""
        return len(free_indices(node) & tokens) > 1 or any(
            isinstance(n, Read) and n.tensor in self.graph.pairs for n in walk(node)
        )

    def define(self, definition: Definition, why: Why) -> None:
        """A definition of two tokens or more as a template."""
        from tensorc.passes.linear import rename_all
        from tensorc.passes.terms import extents_of

        if isinstance(definition, Map):
            binds = {b.name: b.extent for b in definition.left} | extents_of((), definition.expr)
            names = self.labels(binds)
            tokens = self.tokens(names, binds)
            self._check(definition.expr, binds)
            expr = self.lifted(rename_all(definition.expr, names), tokens, why)
        else:
            bound = [b for t in definition.terms for b in t.bound]
            binds = {b.name: b.extent for b in (*definition.left, *bound)}
            names = self.labels(binds)
            tokens = self.tokens(names, binds)
            parts = [self._term(t, names, tokens, why) for t in definition.terms]
            expr = Const(0) if not parts else parts[0] if len(parts) == 1 else Add(tuple(parts))
        labels = tuple(names[b.name] for b in definition.left)
        self._bound(definition.target, expr)
        self.graph.pairs[definition.target] = Pair(labels, expr, why)
        self.log.did(
            "inline",
            f"{definition.target} is evaluated where it is read, a block of pairs at a time",
            definition.span,
        )

    def _bound(self, name: str, expr: Expr) -> None:
        """A template is written out in those that read it; raises `NoScan` where that gets too long."""
        parts = list(walk(expr))
        read = (n.tensor for n in parts if isinstance(n, Read))
        self.written[name] = len(parts) + sum(self.written.get(tensor, 0) for tensor in read)
        if self.written[name] > LARGEST:
            raise NoScan(
                f"{name} has {self.written[name]:,} parts once every pair that it reads is written out",
                "read a pair once, or use form='parallel'",
            )

    def tokens(self, names: Mapping[str, str], binds: Mapping[str, Extent]) -> frozenset[str]:
        """The labels of tokens."""
        return frozenset(names[n] for n, extent in binds.items() if self.is_token(extent))

    def is_token(self, extent: Extent) -> bool:
        """Whether an axis is that of the tokens, or one that they meet in pairs."""
        return extent == self.time or extent in self.others

    def labels(self, binds: Mapping[str, Extent]) -> dict[str, str]:
        """A label for every index: ~j for a token, ~m:j for a position of another axis m."""
        plain = {n: e for n, e in binds.items() if e not in self.others}
        names = self.stages.labels(plain, "")
        return names | {n: f"~{e}:{n}" for n, e in binds.items() if e in self.others}

    def _check(self, expr: Expr, binds: Mapping[str, Extent]) -> None:
        """A row reduction inside of a pair takes a third token."""
        for node in walk(expr):
            if isinstance(node, Reduce) and any(self.is_token(b.extent) for b in node.binds):
                raise NoScan(
                    f"{node.op} over a token for every pair of tokens takes three tokens at once",
                    "reduce over one token for each token, or use form='parallel'",
                )

    def _term(self, term: Term, names: Mapping[str, str], tokens: frozenset[str], why: Why) -> Expr:
        """One term of a sum as an expression: the sum over its features."""
        from tensorc.passes.normalise import merge_masks
        from tensorc.passes.terms import rename_term

        term = rename_term(merge_masks(term), names)
        inner = [b for b in term.bound if b.name in tokens]
        if inner:
            return self._between(term, inner, why)
        conditions, decays = self.relations(term.relations, why)
        factors = [self.lifted(f, tokens, why) for f in (*term.factors, *decays)]
        used = frozenset().union(*(free_indices(f) for f in factors)) if factors else frozenset[str]()
        scale = counted(term.scale, term.bound, used)
        summed = tuple(b for b in term.bound if b.name in used)
        body = times(*factors)
        whole: Expr = Reduce("sum", summed, (), body) if summed else body
        whole = times(nonempty(scale, term.bound), whole)
        return Where(_all(conditions), whole, Const(0)) if conditions else whole

    def _between(self, term: Term, inner: Sequence[Bind], why: Why) -> Expr:
        """The sum of one token's values over the tokens between two others: a difference of running sums."""
        (bind,) = inner if len(inner) == 1 else (None,)
        lower = [r for r in term.relations if isinstance(r, Order) and bind and r.late == bind.name]
        upper = [r for r in term.relations if isinstance(r, Order) and bind and r.early == bind.name]
        plain = bind is not None and not any(d for r in (*lower, *upper) for d in r.decays)
        own = bind is not None and all(
            {n for n in free_indices(f) if n.startswith("~")} <= {bind.name} for f in term.factors
        )
        if not (plain and own and len(lower) == len(upper) == 1 and len(term.relations) == 2):
            raise NoScan(
                "a sum over a token for every pair of tokens takes three tokens at once",
                "sum what lies between two tokens, as in sum[j < u <= i](g[u]), or use form='parallel'",
            )
        assert bind is not None
        early, late = lower[0].early, upper[0].late
        value = times(*term.factors)
        rest = tuple(b for b in term.bound if b.name != bind.name)
        if rest:
            raise NoScan(
                "a sum over a token and a feature for every pair of tokens is not taken apart",
                "name the sum over the feature in an equation of its own",
            )
        gate = substitute(value, {bind.name: Index(TOKEN)})
        difference = self.difference(gate, early, late, not lower[0].strict, not upper[0].strict, why)
        strict = lower[0].strict or upper[0].strict
        before = Compare("<" if strict else "<=", Index(early), Index(late))
        return times(nonempty(term.scale, term.bound), Where(before, difference, Const(0)))

    def difference(
        self, gate: Expr, early: str, late: str, with_early: bool, with_late: bool, why: Why
    ) -> Expr:
        """The sum of a gate (with `TOKEN`) over the tokens from early to late, ends as said."""
        self.stages.why = why
        running = self._running(gate, why)
        own = self.stages.value(gate, why)
        read = {
            end: Read(running[0], tuple(Index(end if a == TOKEN else a) for a in running[1]))
            for end in (early, late)
        }
        # After many tokens the sums are large and their difference is not: it is taken in float64.
        parts: list[Expr] = [Call("narrow", (Add((read[late], Neg(read[early]))),))]
        for end, there, sign in ((late, with_late, -1), (early, with_early, 1)):
            if there == (end == early):
                axes = tuple(Index(end if a == TOKEN else a) for a in own.axes)
                ends: Expr = Read(self.stages.alias(own), axes)
                parts.append(ends if sign > 0 else Neg(ends))
        return Add(tuple(parts))

    def _running(self, gate: Expr, why: Why) -> tuple[str, tuple[str, ...]]:
        """The name and axes of the running sum of a gate up to each token, its own included."""
        early, late = "~u", "~t"
        features = tuple(sorted(n for n in free_indices(gate) if n != TOKEN))
        body = Call("wide", (substitute(gate, {TOKEN: Index(early)}),))
        term = Term(factors=(body,), relations=(Order(early, late),), bound=(Bind(early, self.time),))
        (linear,) = linear_terms(term, frozenset((late,)), self.time, self.log, None)
        ref = self.stages.term(linear, frozenset((late, *features)), frozenset((early, late)), why)
        assert ref is not None
        ref = ref.relabel({late: TOKEN})
        return self.stages.alias(ref), ref.axes

    # -- relations ---------------------------------------------------------------------------------------

    def relations(self, relations: Iterable[Relation], why: Why) -> tuple[list[Cond], list[Expr]]:
        """Relations as conditions and as factors of a pair."""
        conditions: list[Cond] = []
        factors: list[Expr] = []
        for relation in relations:
            found, decays = relation.dense()
            conditions += found
            if isinstance(relation, Dense) and relation.factor is not None:
                factors.append(relation.factor)
                continue
            ordered = isinstance(relation, Order)
            factors += [self._decay(d, ordered, why) for d in decays]
        return conditions, factors

    def _decay(self, decay: Decayed, ordered: bool, why: Why) -> Expr:
        gate = decay.gate
        if gate.constant:
            return self._power(gate, decay)
        if not gate.log:
            raise NoScan(
                "a product of gates beside a pair that is not separable has no running sum",
                "write the gates as logarithms: exp(sum[j < u <= i](g[u]))",
            )
        strict = not (decay.with_early and decay.with_late)
        before = Compare("<" if strict else "<=", Index(decay.early), Index(decay.late))
        total = self.difference(gate.value, decay.early, decay.late, decay.with_early, decay.with_late, why)
        return Call("exp", (Where(before, total, Const(0)),))

    def _power(self, gate: Gate, decay: Decayed) -> Expr:
        """A constant gate to the power of the distance."""
        count = int(decay.with_early) + int(decay.with_late) - 1
        terms: tuple[Expr, ...] = (Index(decay.late), Neg(Index(decay.early)))
        distance = Add((*terms, Const(count)) if count else terms)
        steps = Call("maximum", (distance, Const(0)))
        return Call("exp", (Mul((gate.value, steps)),)) if gate.log else Pow(gate.value, steps)

    # -- parts of one token --------------------------------------------------------------------------------

    def lifted(self, node: Expr, tokens: frozenset[str], why: Why) -> Expr:
        """The expression with every part of one token read from a value of its own."""

        def visit(part: Node) -> Node:
            if isinstance(part, Compare):
                return rebuild(part, lambda c: self._compared(c, tokens))
            here = free_indices(part) & tokens
            if len(here) == 1 and not self.is_pair(part, tokens) and _computes(part, here, self.graph):
                (token,) = here
                if ":" in token:
                    return self._constant(part, token, why)
                ref = self.stages.value(substitute(part, {token: Index(TOKEN)}), why)  # type: ignore[arg-type]
                axes = tuple(Index(token if a == TOKEN else a) for a in ref.axes)
                return Read(self.stages.alias(ref), axes)
            return rebuild(part, visit)

        return visit(node)  # type: ignore[return-value]

    def _constant(self, part: Node, label: str, why: Why) -> Read:
        """A value of another axis than that of the tokens: made once, for all its positions."""
        extent = next(e for e in self.others if label.startswith(f"~{e}:"))
        name = self.stages.labels({label.rpartition(":")[2]: extent}, "").popitem()[1]
        ref = self.stages.value(substitute(part, {label: Index(name)}), why)  # type: ignore[arg-type]
        return Read(self.stages.alias(ref), tuple(Index(label if a == name else a) for a in ref.axes))

    def _compared(self, node: Node, tokens: frozenset[str]) -> Node:
        """Data in conditions is compared as it is given: only reads of tokens themselves are known then."""
        for read in walk(node):
            if isinstance(read, Read):
                for subscript in read.subscripts:
                    if free_indices(subscript) & tokens and not isinstance(subscript, Index):
                        raise NoScan(
                            "a condition on a pair compares data of another token than its two",
                            "compare data of the two tokens themselves",
                        )
        return node


def nonempty(scale: Expr, bound: Sequence[Bind]) -> Expr:
    """The scale of a sum; 1 where the sum is empty, whatever the scale is there: 1 / sqrt(0)."""
    sum_ = scaled(scale, Const(0), bound)
    return replace(sum_, then=scale, otherwise=Const(1)) if isinstance(sum_, Where) else scale


def _computes(node: Node, tokens: frozenset[str], graph: Graph) -> bool:
    """Whether an expression of one token is more than a read of it or of its position."""
    if isinstance(node, Cond | Iverson | Index | Reduce | Softmax):
        return False
    if isinstance(node, Read):
        return any(free_indices(s) & tokens and not isinstance(s, Index) for s in node.subscripts) and any(
            lag_of(s, t) not in (None, 0) for t in tokens for s in node.subscripts
        )
    return any(isinstance(n, Read | Call) for n in walk(node)) and not any(
        isinstance(n, Reduce | Softmax) for n in walk(node)
    )


def _all(conditions: Sequence[Cond]) -> Cond:
    return conditions[0] if len(conditions) == 1 else And(tuple(conditions))
