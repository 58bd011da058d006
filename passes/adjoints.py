"""The walk from an equation's adjoint down to every tensor it reads, one rule for each kind of node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tensorc.errors import LanguageError
from tensorc.ir import (
    Add,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Equation,
    Expr,
    FloorDiv,
    Index,
    Iverson,
    Mod,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Read,
    Reduce,
    Where,
    children,
    free_indices,
    substitute,
)
from tensorc.passes.adjoint_gates import (
    Span,
    before,
    decay_of,
    follows,
    power_of_distance,
    span_of,
)
from tensorc.passes.adjoint_paths import Path
from tensorc.passes.derivatives import derivative, share_of_first
from tensorc.passes.gradient_forward import Forward, canonical
from tensorc.passes.gradient_names import letters_of
from tensorc.passes.terms import has_reduction

ONE = Const(1)
LONGEST = 20_000  # factors that a gradient may have
Step: TypeAlias = tuple[Expr, Path]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One read of a tensor, with the path to it."""

    tensor: str
    read: Read
    path: Path


@dataclass(frozen=True, slots=True)
class Rows:
    """Part of a flow: a path summed over all indices but `kept`, with a sign."""

    path: Path
    kept: tuple[str, ...]
    sign: int


@dataclass(slots=True)
class Flow:
    """What the pairs of tokens around a gate add to it: sums over one token of each pair, by the other."""

    name: str
    axes: tuple[Bind, ...]
    rows: list[Rows] = field(default_factory=list)


@dataclass(slots=True)
class Walker:
    """Walks equations; collects the contributions to every tensor, and the flows of gates. `active` are the
    tensors that depend on an input."""

    forward: Forward
    active: frozenset[str]
    contributions: dict[str, list[Contribution]] = field(default_factory=dict)
    flows: dict[object, Flow] = field(default_factory=dict)
    spent: int = 0

    def walk(self, equation: Equation, adjoint: str) -> None:
        """Add what the adjoint of an equation's result contributes to everything it reads."""
        here = tuple(Index(b.name) for b in equation.left)
        whole = Read(equation.target, here)
        path = Path(equation.left).times(Read(adjoint, here))
        softmax = self.forward.softmaxes.get(equation.target)
        if softmax is not None:
            self._through(self._softmax(whole, adjoint, path, *softmax))
            return
        self._through([(equation.body, path)], whole)

    def _through(self, steps: list[Step], whole: Read | None = None) -> None:
        stack = steps[::-1]
        while stack:
            node, path = stack.pop()
            if not self.depends(node):
                whole = None
                continue
            if isinstance(node, Read):
                self.spend(len(path.factors) + len(path.conditions))
                found = Contribution(node.tensor, node, path)
                self.contributions.setdefault(node.tensor, []).append(found)
            else:
                stack += reversed(list(RULES[type(node)](self, node, path, whole)))
            whole = None

    def spend(self, work: int) -> None:
        """Count factors that are written down. Raises `LanguageError` where they are too many to be read."""
        self.spent += work
        if self.spent > LONGEST:
            raise LanguageError(
                f"The gradient would be a sum of products of more than {LONGEST} factors in all.",
                hint="Give parts of long products names of their own.",
            )

    def depends(self, node: Expr | Cond) -> bool:
        """Whether the value of an expression depends on an input, subscripts and conditions aside."""
        stack: list[Any] = [node]
        while stack:
            part = stack.pop()
            if isinstance(part, Read):
                if part.tensor in self.active:
                    return True
            elif isinstance(part, Where):
                stack += [part.then, part.otherwise]
            elif isinstance(part, Reduce):
                stack.append(part.body)
            elif not isinstance(part, Iverson):
                stack.extend(children(part))
        return False

    def value(self, expr: Expr, path: Path, base: str = "t") -> Expr:
        """An expression as a factor: its sums are read from equations of their own."""
        if not has_reduction(expr):
            return expr
        scope = {b.name: b.extent for b in path.binds}
        span = decay_of(expr, scope)
        if span is not None:
            return self.forward.named(expr, "D", scope, (span.late, span.early))
        return self.forward.named(expr, base, scope)

    # -- row sums over a domain ------------------------------------------------------------------------

    def _softmax(
        self,
        whole: Read,
        adjoint: str,
        path: Path,
        score: Expr,
        domain: tuple[Cond, ...],
        over: tuple[Bind, ...],
    ) -> list[Step]:
        """p · (grad_p - sum of grad_p · p over the row)."""
        inside = path.where(domain).times(whole)
        rows = tuple(b for b in path.binds if b not in over)
        name = self.forward.names.tensor("delta")
        self.forward.define(name, rows, inside.total([b.name for b in rows]))
        delta = Read(name, tuple(Index(b.name) for b in rows))
        grad = Read(adjoint, whole.subscripts)
        return [(score, Path(path.binds).where(domain).times(whole, Add((grad, Neg(delta)))))]

    # -- gates between two tokens ----------------------------------------------------------------------

    def flow(self, key: object, axes: tuple[Bind, ...], *rows: Rows) -> Read:
        """The flow of a gate with these rows added to it."""
        if key not in self.flows:
            name = self.forward.names.tensor("flow")
            self.forward.axes[name] = tuple(b.extent for b in axes)
            self.flows[key] = Flow(name, axes)
        flow = self.flows[key]
        flow.rows += rows
        return Read(flow.name, tuple(Index(b.name) for b in axes))

    def through_log(self, span: Span, path: Path, kind: str) -> list[Step]:
        """The adjoint of a log gate: rows of later tokens minus columns of later tokens."""
        scope = path.extents()
        features = [n for n in _free(span) if n != span.u.name]
        path = path.where(_ordered(path, span))
        mark = {span.u.name: Index("%u")}
        extents = {n: scope[n].extent for n in features} | {"%u": span.u.extent}
        key, _ = canonical(substitute(span.body, mark), extents)
        marks = tuple(substitute(g, mark) for g in span.guards)
        rows = Rows(path, (span.late, *features), 1)
        columns = Rows(path, (span.early, *features), -1)
        ends = (not span.with_late, span.with_early)  # u < i, u < j
        steps: list[Step] = []
        parts: list[tuple[bool, tuple[Rows, ...]]] = [(ends[0], (rows,)), (ends[1], (columns,))]
        if ends[0] == ends[1]:
            parts = [(ends[0], (rows, columns))]
        for strict, here in parts:
            identity = (kind, key, marks, len(features), strict, len(parts))
            new = identity not in self.flows
            late = self.forward.names.letter(span.u.extent, {span.u.name, *scope}, "")
            late = here[0].kept[0] if here[0].kept[0] != span.u.name else late
            axes = (Bind(late, span.u.extent), *(scope[n] for n in features))
            read = self.flow(identity, axes, *here)
            if new:
                own = self.flows[identity].axes
                inside = Path((span.u, *own)).where((*span.guards, before(span.u.name, own[0].name, strict)))
                steps.append((span.body, inside.times(read)))
        return steps

    def through_product(self, span: Span, node: Reduce, path: Path) -> list[Step]:
        """The adjoint of a gate that is a factor: the product of the gates before it times that of the
        gates after it."""
        taken = {b.name for b in path.binds}
        t = self.forward.names.letter(span.u.extent, taken | {span.u.name})
        u = span.u.name
        inner = path.within((span.u,), span.guards)
        conditions = (before(span.early, u, not span.with_early), before(u, span.late, not span.with_late))
        inner = inner.where(conditions)
        for low, high, with_low, with_high in (
            (span.early, u, span.with_early, False),
            (u, span.late, False, span.with_late),
        ):
            domain = (before(low, t, not with_low), before(t, high, not with_high))
            guards = tuple(substitute(g, {u: Index(t)}) for g in span.guards)
            body = substitute(span.body, {u: Index(t)})
            gates = Reduce("prod", (Bind(t, span.u.extent),), (*domain, *guards), body)
            inner = inner.times(self.value(gates, inner, "D"))
        return [(span.body, inner)]


def _free(span: Span) -> list[str]:
    free = free_indices(span.body).union(*(free_indices(g) for g in span.guards))
    met = [*letters_of(span.body), *(n for g in span.guards for n in letters_of(g))]
    return [n for n in dict.fromkeys(met) if n in free]


def _ordered(path: Path, span: Span) -> tuple[Cond, ...]:
    """What must hold beside the path's conditions so that rows less columns count each pair rightly."""
    weak, strict = follows(path.conditions, span.early, span.late)
    if not span.with_early and not span.with_late:  # a token with itself has no gate
        return () if strict else (before(span.early, span.late, True),)
    if span.with_early and span.with_late:
        return () if weak else (before(span.early, span.late, False),)
    return () if weak else (before(span.early, span.late, True),)


# -- the rules -----------------------------------------------------------------------------------------------


def _add(walker: Walker, node: Add, path: Path, whole: Read | None) -> Iterator[Step]:
    return ((term, path) for term in node.terms)


def _neg(walker: Walker, node: Neg, path: Path, whole: Read | None) -> Iterator[Step]:
    yield node.operand, path.times(Const(-1))


def _mul(walker: Walker, node: Mul, path: Path, whole: Read | None) -> Iterator[Step]:
    active = [k for k, factor in enumerate(node.factors) if walker.depends(factor)]
    walker.spend(len(active) * len(node.factors))
    for k in active:
        others = [f for m, f in enumerate(node.factors) if m != k]
        yield node.factors[k], path.times(*(walker.value(f, path) for f in others))


def _div(walker: Walker, node: Div, path: Path, whole: Read | None) -> Iterator[Step]:
    bottom = walker.value(node.denominator, path, "den")
    yield node.numerator, path.over(bottom)
    if walker.depends(node.denominator):
        value = whole or Div(walker.value(node.numerator, path), bottom)
        yield node.denominator, path.times(Neg(value)).over(bottom)


def _mod(walker: Walker, node: Mod, path: Path, whole: Read | None) -> Iterator[Step]:
    yield node.numerator, path
    if walker.depends(node.denominator):
        top, bottom = walker.value(node.numerator, path), walker.value(node.denominator, path)
        yield node.denominator, path.times(Neg(FloorDiv(top, bottom)))


def _nothing(walker: Walker, node: Expr, path: Path, whole: Read | None) -> Iterator[Step]:
    return iter(())


def _pow(walker: Walker, node: Pow, path: Path, whole: Read | None) -> Iterator[Step]:
    base, exponent = walker.value(node.base, path, "s"), walker.value(node.exponent, path, "p")
    if walker.depends(node.exponent):
        yield node.exponent, path.times(whole or Pow(base, exponent), Call("log", (base,)))
    if not walker.depends(node.base):
        return
    scope = {b.name: b.extent for b in path.binds}
    distance = power_of_distance(node, scope)
    if isinstance(exponent, Const):
        yield node.base, _one_less(base, exponent, path)
    elif distance is not None and _nearby(path, *distance):
        yield from _constant_gate(walker, node.base, base, path, *distance)
    else:
        power = Mul((exponent, Pow(base, Add((exponent, Neg(ONE))))))
        yield node.base, path.times(Where(Compare("!=", exponent, Const(0)), power, Const(0)))


def _nearby(path: Path, late: str, early: str, a: int, k: int) -> bool:
    """Whether a (late - early) + k is never negative, for a reason that is seen."""
    weak, strict = follows(path.conditions, early, late)
    return (weak and k >= 0) or (strict and a == 1 and k == -1)


def _one_less(base: Expr, exponent: Const, path: Path) -> Path:
    power = exponent.value
    path = path.times(Const(power))
    if power in (0, 1):
        return path
    return path.times(base if power == 2 else Pow(base, Const(power - 1)))


def _constant_gate(
    walker: Walker, node: Expr, base: Expr, path: Path, late: str, early: str, a: int, k: int
) -> Iterator[Step]:
    """base ** (a (i - j) + k): the distance i - j is the number of tokens u with j < u <= i, so that the
    adjoint is a flow as for a gate of each token."""
    if k < 0:  # the earlier token is called j - 1
        extent = path.extents()[early]
        path = path.rename({early: Add((Index(early), Neg(ONE)))}).within((extent,))
        path = path.where((before(early, late, False), Compare(">=", Index(early), ONE)))
        k = 0
    distance = Add((Index(late), Neg(Index(early))))
    if k > 0:
        steps: Expr = distance if a == 1 else Mul((Const(a), distance))
        whole = Pow(base, steps if k == 1 else Add((steps, Const(k - 1))))
        yield node, path.times(Const(k), whole)
        inner = path.times(Const(a), whole)
    else:
        nearer = Add((Index(late), Neg(Index(early)), Neg(ONE)))
        inner = path.where((before(early, late, True),)).times(Const(a))
        powers = [Pow(base if a == 1 else Pow(base, Const(a)), nearer)]
        inner = inner.times(*powers, *([base if a == 2 else Pow(base, Const(a - 1))] if a > 1 else []))
    yield from counted(walker, node, inner, late, early, (node, a, k))


def counted(walker: Walker, node: Expr, path: Path, late: str, early: str, key: object) -> Iterator[Step]:
    """A path times the number of tokens u with j < u <= i."""
    scope = path.extents()
    features = [n for n in scope if n in free_indices(node)]
    extent = scope[late].extent
    axes = (scope[late], *(scope[n] for n in features))
    identity = ("count", key)
    new = identity not in walker.flows
    rows = (Rows(path, (late, *features), 1), Rows(path, (early, *features), -1))
    read = walker.flow(identity, axes, *rows)
    if new:
        u = walker.forward.names.letter(extent, {b.name for b in axes}, "u")
        yield node, Path((Bind(u, extent), *axes)).where((before(u, late, False),)).times(read)


def _call(walker: Walker, node: Call, path: Path, whole: Read | None) -> Iterator[Step]:
    if len(node.arguments) == 2:
        a, b = (walker.value(x, path, "s") for x in node.arguments)
        share = share_of_first(node.function, a, b)
        yield node.arguments[0], path.times(share)
        other = share_of_first(node.function, b, a)
        yield node.arguments[1], path.times(other)
        return
    (argument,) = node.arguments
    scope = {b.name: b.extent for b in path.binds}
    if decay_of(node, scope) is not None:
        yield argument, path.times(whole or walker.value(node, path))
        return
    x = walker.value(argument, path, "s")
    factor = derivative(node.function, x, whole or Call(node.function, (x,)))
    if factor is not None:
        yield argument, path.times(factor)


def _where(walker: Walker, node: Where, path: Path, whole: Read | None) -> Iterator[Step]:
    yield node.then, path.where((node.condition,))
    yield node.otherwise, path.where((Not(node.condition),))


def _reduce(walker: Walker, node: Reduce, path: Path, whole: Read | None) -> Iterator[Step]:
    scope = {b.name: b.extent for b in path.binds}
    span = span_of(node, scope)
    if span is not None:
        yield from _span(walker, node, span, path)
        return
    inner = path.within(node.binds, node.domain)
    if node.op == "sum":
        yield node.body, inner
        return
    if node.op == "prod":
        yield node.body, inner.times(_others(walker, node, inner))
        return
    value = whole or walker.value(node, path, "lse" if node.op == "logsumexp" else "top")
    body = walker.value(node.body, inner, "s")
    if node.op == "logsumexp":
        yield node.body, inner.times(Call("exp", (Add((body, Neg(value))),)))
        return
    same = Compare("==", body, value)
    ties = Reduce("sum", node.binds, (*node.domain, same), ONE)
    count = Call("maximum", (walker.value(ties, path, "ties"), ONE))  # of no elements, there is no gradient
    yield node.body, inner.where((same,)).over(count)


def _span(walker: Walker, node: Reduce, span: Span, path: Path) -> Iterator[Step]:
    if node.op == "sum":
        yield from walker.through_log(span, path, "log")
        return
    if isinstance(span.body, Call) and span.body.function in ("exp", "sigmoid"):  # never 0
        inner = path.times(walker.value(node, path))
        for body, gate in walker.through_log(span, inner, "factor"):
            assert isinstance(body, Call)
            (x,) = body.arguments
            yield x, gate if body.function == "exp" else gate.times(Add((ONE, Neg(body))))
        return
    yield from walker.through_product(span, node, path)


def _others(walker: Walker, node: Reduce, path: Path) -> Expr:
    """The product over all elements but one: of the same domain, an index of which differs."""
    taken = {b.name for b in path.binds}
    fresh = {}
    for bind in node.binds:
        fresh[bind.name] = walker.forward.names.letter(bind.extent, taken)
        taken.add(fresh[bind.name])
    to = {old: Index(new) for old, new in fresh.items()}
    differs = [Compare("!=", Index(new), Index(old)) for old, new in fresh.items()]
    domain = tuple(substitute(c, to) for c in node.domain)
    binds = tuple(Bind(fresh[b.name], b.extent) for b in node.binds)
    other = differs[0] if len(differs) == 1 else Or(tuple(differs))
    return walker.value(Reduce("prod", binds, (*domain, other), substitute(node.body, to)), path, "others")


RULES: dict[type, Callable[[Walker, Any, Path, Read | None], Iterator[Step]]] = {
    Add: _add,
    Neg: _neg,
    Mul: _mul,
    Div: _div,
    Mod: _mod,
    Pow: _pow,
    Call: _call,
    Where: _where,
    Reduce: _reduce,
    FloorDiv: _nothing,
    Iverson: _nothing,
}
