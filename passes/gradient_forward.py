"""The program as differentiation wants it: what goes into a function that is not linear has a name.

Denominators, arguments of functions, bases of powers and the bodies of row reductions become equations of
their own where they hold a sum; a mean is a sum over a count; a softmax is exp(score - lse), with the
logarithm of its sum as an equation. Products and sums stay as they were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tensorc.ir import (
    Add,
    And,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Equation,
    Expr,
    Extent,
    FloorDiv,
    Index,
    Iverson,
    Mod,
    Mul,
    Neg,
    Node,
    Or,
    Pow,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    Where,
    conjuncts,
    free_indices,
    reads,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.adjoint_gates import decay_of, power_of_distance, scaled_inside
from tensorc.passes.adjoint_paths import bare
from tensorc.passes.gradient_names import Names, letters_of
from tensorc.passes.inline import dependency_order, is_recursive
from tensorc.passes.records import Log
from tensorc.passes.recurrences import as_decays
from tensorc.passes.terms import has_reduction, rename_apart, times

Scope = Mapping[str, Extent]


@dataclass(slots=True)
class Forward:
    """The prepared equations by name, the axes of every tensor, and which tensors are a softmax: its score
    and the conditions of its domain."""

    names: Names
    axes: dict[str, tuple[Extent, ...]]
    equations: dict[str, Equation] = field(default_factory=dict)
    softmaxes: dict[str, tuple[Expr, tuple[Cond, ...], tuple[Bind, ...]]] = field(default_factory=dict)
    known: dict[Expr, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def define(self, name: str, left: tuple[Bind, ...], body: Expr) -> None:
        """Add an equation."""
        self.axes[name] = tuple(b.extent for b in left)
        self.equations[name] = Equation(name, left, body)
        self.know(name)

    def know(self, name: str) -> None:
        """Remember what an equation's right-hand side is, so that it is not named again."""
        equation = self.equations[name]
        left = tuple(b.name for b in equation.left)
        key, order = canonical(equation.body, dict(zip(left, self.axes[name], strict=True)))
        if has_reduction(equation.body) and set(order) == set(left):
            self.known.setdefault(key, (name, tuple(str(order.index(n)) for n in left)))

    def named(self, expr: Expr, base: str, scope: Scope, first: tuple[str, ...] = ()) -> Read:
        """The value of an expression as a tensor: one that exists, or a new equation whose left side begins
        with the indices `first`."""
        key, order = canonical(expr, scope)
        if key not in self.known:
            left = tuple(Bind(n, scope[n]) for n in dict.fromkeys((*first, *order)))
            self.define(self.names.tensor(base), left, expr)
        name, positions = self.known[key]
        return Read(name, tuple(Index(order[int(p)]) for p in positions))

    def with_names(self, equation: Equation) -> Equation:
        """The equation with every part that has a name read by it."""

        def visit(node: Node, scope: Scope) -> Node:
            if isinstance(node, Reduce | Call | Add | Mul | Div) and has_reduction(node):
                key, order = canonical(node, scope)
                name, positions = self.known.get(key, (equation.target, ()))
                if name != equation.target and name in self.equations:
                    return Read(name, tuple(Index(order[int(p)]) for p in positions))
            return inside(node, scope)

        def inside(node: Node, scope: Scope) -> Node:
            if isinstance(node, Reduce):
                scope = {**scope, **{b.name: b.extent for b in node.binds}}
            return rebuild(node, lambda part: visit(part, scope))

        scope = {b.name: b.extent for b in equation.left}
        return replace(equation, body=inside(equation.body, scope))  # type: ignore[arg-type]


def canonical(expr: Expr, scope: Scope) -> tuple[Expr, list[str]]:
    """The expression with its indices numbered, and the free ones in their order."""
    free = free_indices(expr)
    order = [n for n in letters_of(expr) if n in free]
    marked = substitute(expr, {n: Index(f"#{k}") for k, n in enumerate(order)})
    extents = Mul((Const(0), *(Read(f"#{scope[n]}", (Index(f"#{k}"),)) for k, n in enumerate(order))))
    return Add((_numbered(marked), extents)), order


def _numbered(expr: Node) -> Expr:
    """Bound indices numbered in the order of their reductions."""
    count = 0

    def visit(node: Node, names: dict[str, str]) -> Node:
        nonlocal count
        if isinstance(node, Index):
            return Index(names.get(node.name, node.name))
        if isinstance(node, Reduce):
            names = dict(names)
            for bind in node.binds:
                names[bind.name] = f"${count}"
                count += 1
            changed = rebuild(node, lambda c: visit(c, names))
            assert isinstance(changed, Reduce)
            return replace(changed, binds=tuple(replace(b, name=names[b.name]) for b in node.binds))
        return rebuild(node, lambda c: visit(c, names))

    return visit(expr, {})  # type: ignore[return-value]


def forward(program: Program) -> Forward:
    """The equations of a program, prepared."""
    program = _decays_inside(_with_decays(program))
    names = Names(program)
    made = Forward(names, {name: t.axes for name, t in program.tensors().items()})
    for group in dependency_order(program):
        recursive = is_recursive(group)
        for equation in group:
            members = frozenset(e.target for e in group) if recursive else frozenset()
            left = frozenset(b.name for b in equation.left)
            body = _Equation(made, equation.target, left, members).prepared(equation)
            made.equations[equation.target] = replace(equation, body=body)
            made.know(equation.target)
    return made


def _with_decays(program: Program) -> Program:
    """Recurrences whose gate is an exponential, as decays: their gates are log gates. So are those whose
    write reads the state: what is written becomes an equation of its own."""
    for equation in program.equations:
        if equation.target not in reads(equation.body):
            continue
        for bind in equation.left:
            alone = as_decays(replace(program, equations=(equation,)), bind.extent, Log())
            calls = [n for e in alone.equations for n in walk(e.body) if isinstance(n, Call)]
            logs = [n for n in calls if n.function == "exp" and isinstance(n.arguments[0], Reduce)]
            if len(alone.equations) > 1 or (alone.equations != (equation,) and logs):
                at = program.equations.index(equation)
                new = (replace(e, body=_merged(e.body)) for e in alone.equations)
                every = (*program.equations[:at], *new, *program.equations[at + 1 :])
                program = replace(alone, equations=every)
                break
    return program


def _merged(node: Node) -> Any:
    """Sums of products with a sum as one sum: no equation is made of the inner one, which a self-reference
    would go through; and -1 times a product as its negative."""
    node = rebuild(node, _merged)
    if isinstance(node, Mul) and node.factors[0] == Const(-1):
        return Neg(times(*node.factors[1:]))
    if isinstance(node, Reduce) and node.op == "sum" and isinstance(node.body, Mul):
        inner = [f for f in node.body.factors if isinstance(f, Reduce) and f.op == "sum"]
        if len(inner) == 1:
            body = times(*(inner[0].body if f is inner[0] else f for f in node.body.factors))
            binds, domain = (*node.binds, *inner[0].binds), (*node.domain, *inner[0].domain)
            return replace(node, binds=binds, domain=domain, body=body)
    return node


def _decays_inside(program: Program) -> Program:
    """Decays that are tensors of two tokens, in the equations that read them: there the order of the two
    tokens is known, and what else each product holds."""
    decays: dict[str, Equation] = {}
    for equation in program.equations:
        scope = {b.name: b.extent for b in equation.left}
        body = scaled_inside(equation.body, scope)
        if decay_of(body, scope) is not None or power_of_distance(body, scope) is not None:
            decays[equation.target] = equation
    for output in program.outputs:
        decays.pop(output.name, None)
    if not decays:
        return program
    return replace(program, equations=tuple(_inside(e, decays) for e in program.equations))


def _inside(equation: Equation, decays: Mapping[str, Equation]) -> Equation:
    taken = {n.name for n in walk(equation.body) if isinstance(n, Index)} | {b.name for b in equation.left}

    def visit(node: Node) -> Node:
        node = rebuild(node, visit)
        if not isinstance(node, Read) or node.tensor not in decays or node.tensor == equation.target:
            return node
        if not all(isinstance(s, Index) for s in node.subscripts):
            return node
        source = decays[node.tensor]
        marks = {b.name: Index(f"%{b.name}") for b in source.left}
        body = rename_apart(substitute(source.body, marks), set(taken))
        into = {f"%{b.name}": s for b, s in zip(source.left, node.subscripts, strict=True)}
        return substitute(body, into)  # type: ignore[no-any-return]

    return replace(equation, body=visit(equation.body))  # type: ignore[arg-type]


@dataclass(slots=True)
class _Equation:
    """Prepares one equation. In one that uses itself (with the tensors of `members`), only what has all
    indices of the left side may become an equation: elsewhere it would read later positions."""

    made: Forward
    target: str
    left: frozenset[str]
    members: frozenset[str]

    def prepared(self, equation: Equation) -> Expr:
        """The right-hand side with names in it."""
        scope = {b.name: b.extent for b in equation.left}
        body = equation.body
        if isinstance(body, Softmax):
            return self._softmax(body, scope, self.target)
        if isinstance(body, Reduce) and body.op in ("logsumexp", "max", "min"):
            inner = scope | {b.name: b.extent for b in body.binds}
            return replace(
                body,
                body=self._simple(self._visit(body.body, inner), "s", inner),
                domain=tuple(self._condition(c, inner) for c in body.domain),
            )
        return self._visit(body, scope, whole=True)

    def _visit(self, node: Expr, scope: dict[str, Extent], whole: bool = False) -> Expr:
        match node:
            case Reduce():
                return self._reduce(node, scope)
            case Softmax():
                return self._nested_softmax(node, scope)
            case Call():
                return self._call(node, scope)
            case Div():
                top = self._visit(node.numerator, scope)
                bottom = self._simple(self._visit(node.denominator, scope), "den", scope)
                ratio = Div(top, bottom, span=node.span)
                divides = reads(bottom) and has_reduction(top)
                return self._simple(ratio, "ratio", scope) if divides and not whole else ratio
            case Pow():
                base = self._simple(self._visit(node.base, scope), "s", scope)
                power = Pow(base, self._simple(self._visit(node.exponent, scope), "p", scope), span=node.span)
                return power
            case FloorDiv() | Mod():
                top = self._simple(self._visit(node.numerator, scope), "s", scope)
                return replace(
                    node,
                    numerator=top,
                    denominator=self._simple(self._visit(node.denominator, scope), "s", scope),
                )
            case Where(condition=condition):
                return Where(
                    self._condition(condition, scope),
                    self._visit(node.then, scope),
                    self._visit(node.otherwise, scope),
                    span=node.span,
                )
            case Iverson(condition=condition):
                return replace(node, condition=self._condition(condition, scope))
            case Read():
                return node
        return rebuild(node, lambda child: self._visit(child, scope))

    def _reduce(self, node: Reduce, scope: dict[str, Extent]) -> Expr:
        inner = scope | {b.name: b.extent for b in node.binds}
        domain = tuple(self._condition(c, inner) for c in node.domain)
        body = self._visit(node.body, inner)
        if node.op == "sum":
            return replace(node, domain=domain, body=body)
        if node.op == "mean":
            count = self._count(replace(node, op="sum", domain=domain, body=Const(1)), scope)
            return Div(replace(node, op="sum", domain=domain, body=body), count)
        body = self._simple(body, "gate" if node.op == "prod" else "s", inner)
        reduced = replace(node, domain=domain, body=body)
        if node.op == "prod":
            return reduced
        return self._simple(reduced, "lse" if node.op == "logsumexp" else "top", scope)

    def _count(self, node: Reduce, scope: dict[str, Extent]) -> Expr:
        """How many elements a mean is over; 1 for none, since its gradient then goes to nothing."""
        if node.domain:
            node = replace(node, domain=(*node.domain, *self._ranges(node, scope)))
            return self._simple(Call("maximum", (node, Const(1))), "count", scope)
        factors: list[Expr] = []
        for bind in node.binds:
            factors += [Const(bind.extent.coefficient)] if bind.extent.coefficient != 1 else []
            factors += [Size(n) for n in bind.extent.names]
        return Const(1) if not factors else factors[0] if len(factors) == 1 else Mul(tuple(factors))

    def _ranges(self, node: Reduce, scope: Scope) -> list[Cond]:
        """For each index that nothing gives a range, on no axis: a condition that always holds."""
        compared = [c for c in conjuncts(node.domain) if isinstance(c, Compare)]
        pairs = [
            (c.left, c.right) for c in compared if isinstance(c.left, Index) and isinstance(c.right, Index)
        ]
        found: list[Cond] = []
        for bind in node.binds:
            own = Index(bind.name)
            other = next((Index(n) for n, extent in scope.items() if extent == bind.extent), None)
            if other is not None and not any(own in pair for pair in pairs):
                found.append(Or((Compare("<=", own, other), Compare(">", own, other))))
        return found

    def _nested_softmax(self, node: Softmax, scope: dict[str, Extent]) -> Expr:
        if self.members & reads(node):
            return self._softmax(node, scope, "")
        name = self.made.names.tensor("p")
        order = [n for n in letters_of(node) if n in free_indices(node)]
        left = tuple(Bind(n, scope[n]) for n in order)
        body = self._softmax(node, scope, name)
        self.made.define(name, left, body)
        return Read(name, tuple(Index(n) for n in order))

    def _softmax(self, node: Softmax, scope: dict[str, Extent], target: str) -> Expr:
        """exp(score - lse) in its domain."""
        score = self._simple(self._visit(node.body, scope), "s", scope)
        domain = tuple(self._condition(c, scope) for c in node.domain)
        total = Reduce("logsumexp", node.over, domain, score, span=node.span)
        outside = {n: e for n, e in scope.items() if n not in {b.name for b in node.over}}
        lse = self._simple(total, "lse", outside)
        weight: Expr = Call("exp", (Add((score, Neg(lse))),), span=node.span)
        if target and not isinstance(lse, Reduce):
            self.made.softmaxes[target] = (score, domain, node.over)
        if domain:
            weight = Mul((Iverson(And(domain) if len(domain) > 1 else domain[0]), weight))
        return weight

    def _call(self, node: Call, scope: dict[str, Extent]) -> Expr:
        node = scaled_inside(node, scope)  # type: ignore[assignment]
        if decay_of(node, scope) is not None:
            inner = node.arguments[0]
            assert isinstance(inner, Reduce)
            return replace(node, arguments=(self._reduce(inner, scope),))
        arguments = tuple(self._simple(self._visit(a, scope), "s", scope) for a in node.arguments)
        return replace(node, arguments=arguments)

    def _condition(self, condition: Cond, scope: dict[str, Extent]) -> Cond:
        condition = bare(condition)
        if isinstance(condition, Compare):
            return replace(
                condition,
                left=self._simple(self._visit(condition.left, scope), "s", scope),
                right=self._simple(self._visit(condition.right, scope), "s", scope),
            )
        return rebuild(condition, lambda part: self._condition(part, scope))

    def _simple(self, expr: Expr, base: str, scope: Scope) -> Expr:
        """The expression, as a tensor of its own if it holds a reduction."""
        if not has_reduction(expr):
            return expr
        if self.members & reads(expr) and free_indices(expr) - self.left:
            return expr
        return self.made.named(expr, base, scope)
