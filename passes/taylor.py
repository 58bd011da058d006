"""Approximation: exp of a score by its Taylor polynomial, so that what was a softmax is a ratio of sums.

A score is an expression of several tokens that no sum of terms of one token each equals: q·k, but not
a[i] + b[j]. exp(score + rest) becomes polynomial(score) * exp(rest), softmax a ratio of the same weights,
logsumexp the logarithm of their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import factorial

from tensorc.errors import Span
from tensorc.ir import (
    Add,
    Approximation,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Equation,
    Expr,
    Extent,
    Index,
    Iverson,
    Mul,
    Neg,
    Node,
    Pow,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    TensorDecl,
    Where,
    conjuncts,
    free_indices,
    reads,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.inline import dependency_order, is_recursive
from tensorc.passes.terms import extents_of, fresh_name, rename_apart, times


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked for: the degree, the bound of the scores, and the token axis, if one is known."""

    degree: int
    bound: float
    time: Extent | None


def taylor(program: Program, settings: Settings) -> Program:
    """The program with exp of its scores replaced; the same program if there is none."""
    found = _Rewriter(program, settings).program()
    if not found.approximations and settings.time is not None:  # no score of two tokens: any score, then
        found = _Rewriter(program, replace(settings, time=None)).program()
    return found


class _Rewriter:
    """Rewrites the equations of one program; new equations stand before the one that needs them."""

    def __init__(self, program: Program, settings: Settings) -> None:
        self.source, self.settings = program, settings
        self.names = {*program.tensors(), *program.sizes()}
        for equation in program.equations:
            self.names |= {b.name for b in equation.left} | extents_of((), equation.body).keys()
        self.recursive = {
            e.target for group in dependency_order(program) if is_recursive(group) for e in group
        }
        self.equations: list[Equation] = []
        self.locals: list[TensorDecl] = []
        self.known: dict[Expr, Read] = {}
        self.records: list[Approximation] = []
        self.target = ""
        self.span: Span | None = None
        self.extents: dict[str, Extent] = {}

    def program(self) -> Program:
        """The program with its new equations, locals and records."""
        for equation in self.source.equations:
            self.target = equation.target
            body = equation.body
            if _ambiguous(equation):
                body = rename_apart(body, {b.name for b in equation.left})
            self.known.clear()
            self.extents = extents_of(equation.left, body)
            self.span = equation.span
            self.equations.append(replace(equation, body=self._visit(body, ())))
        if not self.records:
            return self.source
        equations = _needed(self.source, self.equations)
        declared = self.source.tensors() | {t.name: t for t in self.locals}
        outputs = {o.name for o in self.source.outputs}
        return replace(
            self.source,
            equations=equations,
            locals=tuple(declared[e.target] for e in equations if e.target not in outputs),
            approximations=(*self.source.approximations, *self.records),
            text=None,
        )

    # -- expressions ---------------------------------------------------------------------------------------

    def _visit(self, node: Node, domain: tuple[Cond, ...]) -> Expr:
        match node:
            case Softmax():
                return self._softmax(node)
            case Reduce(op="logsumexp", body=body):
                inside = (*domain, *node.domain)
                weight = self._weight(body, inside, node.span, any_score=True)
                if weight is not None:
                    return Call("log", (replace(node, op="sum", body=weight),), span=node.span)
            case Reduce():
                inside = (*domain, *node.domain)
                return rebuild(node, lambda c: self._visit(c, inside))
            case Call(function="exp", arguments=(argument,)):
                weight = self._weight(argument, domain, node.span, any_score=False)
                if weight is not None:
                    return weight
        return rebuild(node, lambda c: self._visit(c, domain))  # type: ignore[return-value]

    def _softmax(self, node: Softmax) -> Expr:
        """weights over their sum, 0 outside of the domain."""
        weight = self._weight(node.body, node.domain, node.span, any_score=True)
        if weight is None:
            return node
        over = {b.name for b in node.over}
        weight = self._local("w", weight)
        rows = [i for i in self.extents if i in free_indices(node) and i not in over]
        total: Expr = Reduce("sum", node.over, node.domain, weight)
        total = self._local("z", total, rows)
        if not _never_empty(node, {i: self.extents[i] for i in rows}):
            total = Where(Compare("==", total, Const(0)), Const(1), total)
        conditions = tuple(Iverson(c) for c in conjuncts(node.domain))
        return Div(times(*conditions, weight), total, span=node.span)

    def _weight(
        self, exponent: Expr, domain: tuple[Cond, ...], span: Span | None, any_score: bool
    ) -> Expr | None:
        """exp(exponent) with the polynomial of its scores; None if it has no score."""
        scores: list[Expr] = []
        rest: list[Expr] = []
        for part in _addends(self._looked_through(exponent)):
            (rest if self._separable(part, any_score) else scores).append(part)
        if not scores:
            return None
        whole = exponent if not rest else _total(scores)
        score = whole if isinstance(whole, Read) else self._local("s", whole)
        assert isinstance(score, Read)
        self._record(score, domain, span)
        polynomial = polynomial_of(score, self.settings.degree)
        return times(polynomial, Call("exp", (_total(rest),))) if rest else polynomial

    def _record(self, score: Read, domain: tuple[Cond, ...], span: Span | None) -> None:
        free = free_indices(score)
        known = tuple(c for c in conjuncts(domain) if free_indices(c) <= free)
        binds = tuple(Bind(i, self.extents[i]) for i in self.extents if i in free)
        line = (span or self.span).line if span or self.span else None  # type: ignore[union-attr]
        settings = self.settings
        made = Approximation("exp", settings.degree, settings.bound, score, binds, known, line)
        if made not in self.records:
            self.records.append(made)

    def _local(self, letter: str, expr: Expr, order: Sequence[str] = ()) -> Read:
        """A new equation, and the read of it; the one there is for what was met before."""
        if expr in self.known:
            return self.known[expr]
        names = order or [i for i in self.extents if i in free_indices(expr)]
        target = fresh_name(f"{self.target}_{letter}", self.names)
        left = tuple(Bind(i, self.extents[i]) for i in names)
        self.equations.append(Equation(target, left, expr, span=self.span))
        self.locals.append(TensorDecl(target, tuple(b.extent for b in left)))
        self.known[expr] = Read(target, tuple(Index(i) for i in names))
        return self.known[expr]

    # -- what is a score -------------------------------------------------------------------------------------

    def _looked_through(self, expr: Expr) -> Expr:
        """A tensor of the program as the sum that it is, so that its terms can be told apart."""
        if not isinstance(expr, Read) or expr.tensor in self.recursive:
            return expr
        equation = next((e for e in self.equations if e.target == expr.tensor), None)
        if equation is None or not all(isinstance(s, Index) for s in expr.subscripts):
            return expr
        if any(isinstance(n, Softmax | Reduce) and _keeps(n) for n in walk(equation.body)):
            return expr
        taken = set(self.extents) | set(self.names)
        marks = {b.name: Index(f"%{b.name}") for b in equation.left}
        into = {f"%{b.name}": s for b, s in zip(equation.left, expr.subscripts, strict=True)}
        body = substitute(rename_apart(substitute(equation.body, marks), taken), into)
        self.extents |= {k: v for k, v in extents_of((), body).items() if k not in self.extents}
        parts = _addends(body)
        mixed = {self._separable(p, True) for p in parts}
        return body if len(mixed) > 1 else expr if mixed == {False} else body

    def _separable(self, expr: Expr, any_score: bool) -> bool:
        """Whether exp of the expression is a product of factors of one token each, or none of it a score."""
        if not any_score and self.settings.time is not None:
            time = self.settings.time
            if sum(self.extents.get(i) == time for i in free_indices(expr)) < 2:
                return True
        return self._of_one(expr)

    def _of_one(self, expr: Expr) -> bool:
        """Whether an expression is a sum of terms, each covered by one tensor or by bare positions."""
        match expr:
            case Const() | Size() | Index():
                return True
            case Neg(operand=operand):
                return self._of_one(operand)
            case Add(terms=terms):
                return all(map(self._of_one, terms))
            case Div(numerator=top, denominator=bottom) if not free_indices(bottom):
                return self._of_one(top)
            case Reduce(op="sum", body=body):
                return self._of_one(body)
            case Read(tensor=tensor):
                inner = self._looked_through(expr)
                given = any(i.name == tensor for i in self.source.inputs) or len(expr.subscripts) < 2
                return given or (inner is not expr and self._of_one(inner))
            case Mul(factors=factors):
                moving = [f for f in factors if free_indices(f)]
                if len(moving) < 2:
                    return all(map(self._of_one, moving))
                widest = max(moving, key=lambda f: len(free_indices(f)))
                covered = all(free_indices(f) <= free_indices(widest) for f in moving)
                return covered and all(map(self._of_one, moving))
        free = free_indices(expr)
        return any(isinstance(n, Read) and free_indices(n) >= free and self._of_one(n) for n in walk(expr))


def _ambiguous(equation: Equation) -> bool:
    """Whether one index name stands for two extents."""
    found = {b.name: {b.extent} for b in equation.left}
    for node in walk(equation.body):
        binds = node.binds if isinstance(node, Reduce) else node.over if isinstance(node, Softmax) else ()
        for bind in binds:
            found.setdefault(bind.name, set()).add(bind.extent)
    return any(len(extents) > 1 for extents in found.values())


def _needed(source: Program, equations: Sequence[Equation]) -> tuple[Equation, ...]:
    """The equations without those that the outputs needed before, but need no longer."""

    def reached(all_equations: Sequence[Equation]) -> set[str]:
        bodies = {e.target: reads(e.body) for e in all_equations}
        found: set[str] = set()
        pending = [o.name for o in source.outputs]
        while pending:
            target = pending.pop()
            if target not in found:
                found.add(target)
                pending += bodies.get(target, ())
        return found

    gone = reached(source.equations) - reached(equations)
    return tuple(e for e in equations if e.target not in gone)


def polynomial_of(score: Expr, degree: int) -> Expr:
    """1 + s + s**2 / 2 + ...: the Taylor polynomial of exp at 0."""
    terms: list[Expr] = [Const(1)]
    for power in range(1, degree + 1):
        raised = score if power == 1 else Pow(score, Const(power))
        terms.append(raised if power == 1 else Div(raised, Const(factorial(power))))
    return terms[0] if len(terms) == 1 else Add(tuple(terms))


def _addends(expr: Expr) -> list[Expr]:
    match expr:
        case Add(terms=terms):
            return [a for t in terms for a in _addends(t)]
        case Neg(operand=Add(terms=terms)):
            return [Neg(a) for t in terms for a in _addends(t)]
    return [expr]


def _total(parts: Sequence[Expr]) -> Expr:
    return parts[0] if len(parts) == 1 else Add(tuple(parts))


def _keeps(node: Softmax | Reduce) -> bool:
    return isinstance(node, Softmax) or node.op not in ("sum", "prod")


def _never_empty(node: Softmax, rows: dict[str, Extent]) -> bool:
    """Whether every row has a position at which the domain holds: its own, on an axis it shares."""
    own: dict[str, Expr] = {}
    for bind in node.over:
        row = next((name for name, extent in rows.items() if extent == bind.extent), None)
        if row is None:
            return False
        own[bind.name] = Index(row)
    for condition in conjuncts(node.domain):
        here = substitute(condition, own)
        if not (isinstance(here, Compare) and here.op in ("<=", ">=", "==") and here.left == here.right):
            return False
    return True


__all__ = ["Settings", "polynomial_of", "taylor"]
