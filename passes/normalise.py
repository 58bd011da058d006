"""Normalisation: equations become sums of products of one-token factors and relations.

Every maximal sum of an equation becomes a definition of its own (a `Sum`); what stands around it is a
pointwise expression of one token (a `Map`). Inside a sum: products are taken apart, sums of pairs are
distributed (if `expand`), exp of a sum of one-token terms is a product of factors, gate sums between two
tokens are decays, conditions on two tokens are relations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations_with_replacement, product
from math import comb, factorial, prod

from tensorc.errors import Span
from tensorc.ir import (
    Add,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Extent,
    Index,
    Iverson,
    Mul,
    Neg,
    Node,
    Not,
    Pow,
    Program,
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
from tensorc.passes.affine import as_order, negated
from tensorc.passes.decays import Range, gate_of_difference, gate_range, of_one_token
from tensorc.passes.guards import strong
from tensorc.passes.records import Log
from tensorc.passes.refusals import Unexpanded, not_separable, row_reduction
from tensorc.passes.relation import Gate
from tensorc.passes.relation_dense import Dense
from tensorc.passes.relation_order import Order
from tensorc.passes.relation_segment import as_segment
from tensorc.passes.relation_window import as_window
from tensorc.passes.terms import (
    Definition,
    Map,
    Sum,
    Term,
    extents_of,
    fresh_name,
    has_reduction,
    multiply,
    rename_apart,
    times,
)

MONOMIALS = 64
DEGREE = 8


class Normaliser:
    """Normalises the equations of one program; `definitions` collects the results in order."""

    def __init__(
        self,
        time: Extent | None,
        expand: bool,
        names: Iterable[str],
        log: Log,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self.sources = sources or {}
        self.columns: frozenset[Extent] = frozenset()  # other axes that tokens meet in pairs
        self.source = ""
        self.time = time
        self.expand = expand
        self.names = set(names)
        self.log = log
        self.definitions: list[Definition] = []
        self.extents: dict[str, Extent] = {}
        self.taken: set[str] = set()
        self.target = ""
        self.span: Span | None = None
        self.known: dict[tuple[Expr, tuple[Bind, ...]], str] = {}

    # -- equations -------------------------------------------------------------------------------

    def equation(self, target: str, left: tuple[Bind, ...], body: Expr, span: Span | None) -> None:
        """Normalise one equation; its definitions are appended."""
        self.taken = {b.name for b in left} | {n.name for n in walk(body) if isinstance(n, Index)}
        free = {b.name for b in left}
        body = rename_apart(body, free)
        self.extents = extents_of(left, body)
        body = of_one_token(body, self.extents)  # type: ignore[assignment]
        self.taken |= set(self.extents)
        self.target, self.span = target, span
        self.source = self.sources.get(target, "")
        if isinstance(body, Reduce) and body.op == "sum":
            self.definitions.append(Sum(target, left, tuple(self.products(body)), span, self.source))
            return
        expr: Expr = strong(self.hoist(body))  # type: ignore[assignment]
        self.definitions.append(Map(target, left, expr, span, self.source))

    def hoist(self, expr: Node) -> Expr:
        """The expression with every maximal sum read from a definition of its own."""
        if isinstance(expr, Reduce) and expr.op == "mean":
            total = replace(expr, op="sum")
            count = rename_apart(replace(total, body=Const(1)), self.taken)
            self.extents |= extents_of((), count)
            return Div(self.hoist(total), self.hoist(count))
        if isinstance(expr, Reduce) and expr.op == "sum" or self._is_decay(expr):
            return self.lift_sum(expr)  # type: ignore[arg-type]
        if isinstance(expr, Reduce | Softmax):
            return self.dense_reduction(expr)
        return rebuild(expr, self.hoist)  # type: ignore[return-value]

    def dense_reduction(self, node: Reduce | Softmax) -> Expr:
        """A row reduction that is evaluated densely: its body is a definition over all its indices."""
        kind = node.op if isinstance(node, Reduce) else "softmax"
        over = node.binds if isinstance(node, Reduce) else node.over
        if self.expand and any(b.extent == self.time for b in over):
            reason, change = row_reduction(kind, [b.name for b in over if b.extent == self.time])
            self.log.refused("summary-first", reason, change, node.span or self.span)
        left = self.binds_of(frozenset(free_indices(node.body)))
        inner = node.body
        if has_reduction(inner):
            inner = self.define(Map, self.hoist(inner), left, inner)
        kept = replace(node, body=inner, domain=tuple(rebuild(c, self.hoist) for c in node.domain))
        if isinstance(node, Softmax):
            return kept
        return self.define(Map, kept, self.binds_of(free_indices(node)), node)

    def lift_sum(self, node: Expr) -> Expr:
        """A sum as a definition of its own; the same sum again is the same definition."""
        left = self.binds_of(free_indices(node))
        key = (self._canonical(node, left), left)
        if key in self.known:
            return Read(self.known[key], tuple(Index(b.name) for b in left))
        terms = tuple(self.products(node))
        read = self._append(lambda name: Sum(name, left, terms, node.span or self.span, self.source))
        self.known[key] = read.tensor
        return read

    def define(self, kind: type[Map], expr: Expr, left: tuple[Bind, ...], source: Node) -> Read:
        """A pointwise expression as a definition of its own."""
        value: Expr = strong(expr)  # type: ignore[assignment]
        return self._append(lambda name: kind(name, left, value, source.span or self.span, self.source))

    def _append(self, make: object) -> Read:
        name = fresh_name(f"{self.target}_1", self.names)
        definition = make(name)  # type: ignore[operator]
        self.definitions.append(definition)
        return Read(name, tuple(Index(b.name) for b in definition.left))

    def _canonical(self, node: Expr, left: tuple[Bind, ...]) -> Expr:
        """The expression with bound indices numbered, so that equal sums compare equal."""
        names = {b.name: Index(f"#{k}") for k, b in enumerate(left)}
        bound = [b.name for n in walk(node) if isinstance(n, Reduce) for b in n.binds]
        fixed = _rename_bound(node, {name: f"${k}" for k, name in enumerate(bound)})
        return substitute(fixed, names)  # type: ignore[return-value]

    def binds_of(self, indices: Iterable[str]) -> tuple[Bind, ...]:
        """Binds in a fixed order: token indices first, then features by name."""
        names = sorted(indices, key=lambda i: (self.extents[i] != self.time, i))
        return tuple(Bind(i, self.extents[i]) for i in names)

    # -- sums of products --------------------------------------------------------------------------

    def tokens(self, node: Node) -> frozenset[str]:
        """The free token indices of an expression."""
        if self.time is None:
            return frozenset()
        return frozenset(
            i for i in free_indices(node) if (e := self.extents.get(i)) == self.time or e in self.columns
        )

    def products(self, expr: Expr) -> list[Term]:
        """The expression as a sum of terms; what would be too many of them stays as it is."""
        try:
            return self._products(expr)
        except Unexpanded as problem:
            if not isinstance(expr, Reduce):
                return [self.opaque(expr, str(problem))]
            parts = [[Term(bound=expr.binds)], *(self.condition(c) for c in conjuncts(expr.domain))]
            return self._distribute([*parts, [self.opaque(expr.body, str(problem))]])

    def _products(self, expr: Expr) -> list[Term]:
        match expr:
            case Const():
                return [Term(expr)]
            case Neg(operand=operand):
                return [replace(t, scale=times(Const(-1), t.scale)) for t in self.products(operand)]
            case Mul(factors=factors):
                return self._distribute(self._factors(factors))
            case Reduce(op="sum", binds=binds, domain=domain, body=body):
                inner = [Term(bound=binds)]
                return self._distribute(
                    [inner, *[self.condition(c) for c in conjuncts(domain)], self.products(body)]
                )
            case Iverson(condition=condition):
                return self._distribute([self.condition(c) for c in conjuncts((condition,))])
            case Div(numerator=top, denominator=bottom) if len(self.tokens(bottom)) <= 1:
                whole = isinstance(top, Mul) or has_reduction(top) or has_reduction(bottom)
                if whole or len(self.tokens(expr)) > 1:
                    inverse = self.factor(Div(Const(1), self.value(bottom)))
                    return self._distribute([self.products(top), [inverse]])
            case Div(numerator=top, denominator=Mul(factors=factors)) if not has_reduction(expr.denominator):
                return self._distribute(
                    [self.products(top), *(self.products(Div(Const(1), f)) for f in factors)]
                )
            case Reduce(op="mean"):
                return [self.factor(self.value(expr))]
        found = self.decay(expr)
        if found is not None:
            return found
        if len(self.tokens(expr)) <= 1:
            return self.one_token(expr)
        return self.pair(expr)

    def _factors(self, factors: tuple[Expr, ...]) -> list[list[Term]]:
        """Each factor as a sum of terms. Beside a pair that cannot be separated nothing of the same pair
        needs to be: a sum of it stays one factor, evaluated as it is written."""
        made = {k: self.products(f) for k, f in enumerate(factors) if not isinstance(f, Add)}
        pairs = [self.tokens(f) for terms in made.values() for t in terms for f in t.factors]
        pairs = [pair for pair in pairs if len(pair) > 1] if self.expand else []
        for k, factor in enumerate(factors):
            if k not in made:
                here = self.tokens(factor)
                whole = len(here) > 1 and any(here <= pair for pair in pairs)
                made[k] = [self._as_written(factor)] if whole else self.products(factor)
        return [made[k] for k in range(len(factors))]

    def _as_written(self, expr: Expr) -> Term:
        """A pair as one factor, made by a definition of its own."""
        return Term(factors=(self.define(Map, self.hoist(expr), self.binds_of(free_indices(expr)), expr),))

    def one_token(self, expr: Expr) -> list[Term]:
        """An expression of one token: a factor as it stands, its inner sums as definitions."""
        if isinstance(expr, Add) and has_reduction(expr) and self._state_like(expr):
            return [t for part in expr.terms for t in self.products(part)]
        return [self.factor(self.value(expr))]

    def pair(self, expr: Expr) -> list[Term]:
        """An expression of a pair of tokens: expanded, or one factor that cannot be separated."""
        try:
            match expr:
                case Add(terms=terms) if self.expand:
                    expanded = [t for part in terms for t in self.products(part)]
                    self._did("expand", expr, f"is multiplied out: {len(expanded)} terms")
                    return expanded
                case Pow(base=base, exponent=Const(value=int(p))) if self.expand and p >= 1:
                    expanded = self._power(expr, base, p)
                    self._did("expand", expr, f"is multiplied out: {len(expanded)} monomials of degree {p}")
                    return expanded
                case Where(condition=condition, then=then, otherwise=otherwise) if self.expand:
                    holds = Mul((Iverson(condition), then))
                    fails = Mul((Iverson(Not(condition)), otherwise))
                    kept = [e for e, side in ((holds, then), (fails, otherwise)) if side != Const(0)]
                    return [t for e in kept for t in self.products(e)]
                case Call(function="exp", arguments=(argument,)):
                    separated = self._separate_exp(argument)
                    if separated is not None:
                        self._did("separate", expr, "is a product of factors of one token each")
                        return separated
        except Unexpanded as problem:
            return [self.opaque(expr, str(problem))]
        return [self.opaque(expr)]

    def _did(self, rule: str, expr: Expr, what: str) -> None:
        from tensorc.printing import print_expr

        self.log.did(rule, f"{print_expr(expr)} {what}", expr.span or self.span)

    def opaque(self, expr: Expr, past: str = "") -> Term:
        """A pair that cannot be separated: it stays a dense factor. `past`: the bound that it passes."""
        if len(self.tokens(expr)) <= 1:
            return self.factor(self.value(expr))
        if self.expand:
            known = isinstance(expr, Read) and any(r.rule == "summary-first" for r in self.log.refusals)
            if not known:  # what a tensor of pairs is made of was refused before
                reason, change = not_separable(expr, self.tokens(expr), past)
                self.log.refused("summary-first", reason, change, expr.span or self.span)
        if isinstance(expr, Read):
            return Term(factors=(expr,))
        return self._as_written(expr)

    def _power(self, expr: Expr, base: Expr, p: int) -> list[Term]:
        if p > DEGREE:
            raise Unexpanded(f"has degree {p}, past the bound of {DEGREE}")
        copies = []
        for _ in range(p):
            copy = rename_apart(base, self.taken)
            self.extents |= extents_of((), copy)
            copies.append(self.products(copy))
        return _monomials(copies)

    def _separate_exp(self, argument: Expr) -> list[Term] | None:
        """exp(a[i] + b[j] + decay(i, j)) as a product, if every term is of one token or a decay."""
        parts: list[list[Term]] = []
        groups: dict[frozenset[str], list[Expr]] = {}
        for part in _addends(argument):
            found = self.decay(Call("exp", (part,)))
            if found is not None:
                parts.append(found)
            elif len(self.tokens(part)) <= 1:
                groups.setdefault(self.tokens(part), []).append(part)
            else:
                return None
        for terms in groups.values():
            total = terms[0] if len(terms) == 1 else Add(tuple(terms))
            parts.append([self.factor(Call("exp", (self.value(total),)))])
        return self._distribute(parts)

    def factor(self, expr: Expr) -> Term:
        """One factor; an expression without indices is a scale."""
        return Term(expr) if not free_indices(expr) else Term(factors=(expr,))

    def value(self, expr: Expr) -> Expr:
        """The expression with its inner reductions lifted."""
        return strong(self.hoist(expr) if has_reduction(expr) else expr)  # type: ignore[return-value]

    def _state_like(self, expr: Expr) -> bool:
        features = [i for i in free_indices(expr) if self.extents[i] != self.time]
        sums = any(isinstance(n, Reduce) and any(b.extent == self.time for b in n.binds) for n in walk(expr))
        return sums and len(features) >= 2

    def _distribute(self, parts: list[list[Term]]) -> list[Term]:
        count = 1
        for part in parts:
            count *= max(1, len(part))
        if count > MONOMIALS:
            raise Unexpanded(f"has {count} monomials, past the bound of {MONOMIALS}")
        result = []
        for chosen in product(*parts):
            term = Term()
            for factor in chosen:
                term = multiply(term, factor)
            result.append(term)
        return result

    # -- relations -----------------------------------------------------------------------------------

    def condition(self, condition: Cond) -> list[Term]:
        """A condition of a domain: a relation between two tokens, or a factor of one."""
        if has_reduction(condition):
            condition = self.hoist(condition)  # type: ignore[assignment]
        pair = sorted(self.tokens(condition))
        if len(pair) <= 1:
            return (
                [Term(factors=(Iverson(condition),))]
                if free_indices(condition)
                else [Term(Iverson(condition))]
            )
        condition = negated(condition)
        order = as_order(condition)
        if order is not None and order[2] != "==":
            return [Term(relations=(Order(order[0], order[1], order[2] == "<"),))]
        if self.expand and isinstance(condition, Compare) and condition.op == "!=":
            same = as_order(replace(condition, op="=="))
            if same is not None:  # another token is an earlier or a later one
                return [Term(relations=(Order(a, b, True),)) for a, b in (same[:2], same[1::-1])]
        if len(pair) > 2:
            return [self.opaque(Iverson(condition))]
        segment = as_segment(condition)
        if segment is not None:
            return [Term(relations=(segment,))]
        from tensorc.printing import print_cond

        text = print_cond(condition)
        dense = as_window(condition, text) or Dense(pair[0], pair[1], condition, text=text)
        return [Term(relations=(dense,))]

    def _is_decay(self, expr: Node) -> bool:
        return isinstance(expr, Reduce | Call) and has_reduction(expr) and self._range(expr) is not None

    def _range(self, expr: Expr) -> Range | None:
        if self.time is None:
            return None
        return gate_range(expr, self.tokens) or gate_of_difference(expr, self.tokens)

    def decay(self, expr: Expr) -> list[Term] | None:
        """A product of gates between two tokens, as a relation."""
        found = self._range(expr)
        if found is None:
            return None
        gate = found.decayed.gate
        if has_reduction(gate.value):
            gate = Gate(self._lift_gate(gate.value), gate.log)
        decayed = replace(found.decayed, gate=gate)
        self._did("decay", expr, f"is a decay from {decayed.early} to {decayed.late}")
        relation = Dense(
            decayed.early,
            decayed.late,
            decay=decayed,
            factor=found.factor,
            scale=found.scale,
            only_strict=found.only_strict,
        )
        return [Term(relations=(relation,))]

    def _lift_gate(self, value: Expr) -> Expr:
        from tensorc.passes.relation import TOKEN

        name = fresh_name("u", self.taken)
        assert self.time is not None
        self.extents[name] = self.time
        inner = self.value(substitute(value, {TOKEN: Index(name)}))
        return substitute(inner, {name: Index(TOKEN)})


def _monomials(copies: list[list[Term]]) -> list[Term]:
    """The product of equal sums (their bound names differ): every monomial once, with how often it occurs."""
    count, p = len(copies[0]), len(copies)
    if comb(count + p - 1, p) > MONOMIALS:
        raise Unexpanded(f"has {comb(count + p - 1, p)} monomials, past the bound of {MONOMIALS}")
    result = []
    for chosen in combinations_with_replacement(range(count), p):
        term = Term(Const(factorial(p) // prod(factorial(chosen.count(k)) for k in set(chosen))))
        for copy, k in zip(copies, chosen, strict=True):
            term = multiply(term, copy[k])
        result.append(term)
    return result


def equation_texts(program: Program) -> dict[str, str]:
    """Every equation as it was written, for reports and comments."""
    from tensorc.printing import print_equation

    return {e.target: print_equation(e) for e in program.equations}


def _addends(expr: Expr) -> list[Expr]:
    match expr:
        case Add(terms=terms):
            return [a for t in terms for a in _addends(t)]
        case Neg(operand=operand):
            return [a.operand if isinstance(a, Neg) else Neg(a) for a in _addends(operand)]
    return [expr]


def _rename_bound(node: Node, names: dict[str, str]) -> Node:
    changed = rebuild(node, lambda c: _rename_bound(c, names))
    if isinstance(changed, Reduce):
        return replace(
            changed, binds=tuple(replace(b, name=names.get(b.name, b.name)) for b in changed.binds)
        )
    if isinstance(changed, Index):
        return replace(changed, name=names.get(changed.name, changed.name))
    return changed


def merge_masks(term: Term) -> Term:
    """Conditions of one token guard every factor of that token, so that what they exclude is never used."""
    guards = [f for f in term.factors if isinstance(f, Iverson) and len(free_indices(f)) > 0]
    if not guards:
        return term
    factors: list[Expr] = [f for f in term.factors if f not in guards]
    for guard in guards:
        scope = free_indices(guard)
        hit = [k for k, f in enumerate(factors) if scope <= free_indices(f)]
        for k in hit:
            factors[k] = Where(guard.condition, factors[k], Const(0))
        if not hit:
            factors.append(guard)
    return replace(term, factors=tuple(factors))
