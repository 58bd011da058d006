"""Differentiation: a program into the program of its gradient.

Every tensor X of a program that depends on an input has an adjoint grad_X: the derivative of
Σ grad_output · output by X. An equation contributes to the adjoint of everything it reads; the sum of the
contributions is an equation of the same language, with every relation transposed: what a token reads from
earlier ones, its adjoint gives to them. The gradient of a self-reference runs the other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import networkx as nx

from tensorc.errors import LanguageError
from tensorc.ir import (
    Add,
    Bind,
    Const,
    Equation,
    Expr,
    Extent,
    Index,
    Mul,
    Neg,
    Program,
    Read,
    TensorDecl,
    free_indices,
    reads,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.adjoint_paths import Path
from tensorc.passes.adjoint_rows import by_adjoint
from tensorc.passes.adjoint_subscripts import one_sum, turned
from tensorc.passes.adjoints import Contribution, Flow, Walker
from tensorc.passes.affine import affine
from tensorc.passes.gradient_forward import Forward, forward
from tensorc.passes.gradient_names import Names
from tensorc.passes.inline import dependency_order

LONGEST = 60_000  # nodes of a gradient program


def differentiate(program: Program) -> Program:
    """The gradient of a program: inputs those of the program, then grad_<output> for each; outputs
    grad_<input> for every input that the outputs depend on, in the order of the signature.

    Raises `LanguageError` if nothing has a derivative, or a name of the gradient is taken.

    >>> from tensorc.grammar import parse
    >>> print(differentiate(parse("def f(x[n]) -> y[]:  y[] = sum[i](x[i] ** 2)")), end="")
    def f_grad(x[n], grad_y[]) -> grad_x[n]:
        grad_x[i] = 2 * grad_y * x[i]
    """
    return _Gradient(program).program()


class _Gradient:
    def __init__(self, program: Program) -> None:
        self.seeds = {o.name: f"grad_{o.name}" for o in program.outputs}
        self.source = self._with_free_names(program)
        self.forward: Forward = forward(self.source)
        self.names = self.forward.names
        self.names.fixed |= {*self.seeds.values(), *(f"grad_{i.name}" for i in program.inputs)}
        self.walker = Walker(self.forward, active(self.source, self.forward))
        self.adjoints: dict[str, str] = {}
        self.order = self._walk()

    def _with_free_names(self, program: Program) -> Program:
        """The program with other names for its own tensors where the gradient needs theirs; an input or a
        size cannot take another name."""
        inputs = [i.name for i in program.inputs]
        wanted = [*inputs, *self.seeds.values(), *(f"grad_{i}" for i in inputs)]
        names = Names(program)
        fixed = {*inputs, *program.sizes(), *names.indices}
        for k, name in enumerate(wanted):
            if name in wanted[:k] or (k >= len(inputs) and name in fixed):
                raise LanguageError(
                    f"The gradient of {program.name} needs the name {name}, which is taken.",
                    hint=f"Give the {name} of the program another name.",
                )
        names.fixed |= set(wanted)
        others = [t for t in program.tensors() if t not in inputs]
        new = {t: names.tensor(t) for t in others if t in wanted}
        self.seeds = {new.get(o, o): seed for o, seed in self.seeds.items()}
        return renamed(program, new) if new else program

    # -- the walk --------------------------------------------------------------------------------------

    def _walk(self) -> list[str]:
        """Walk every equation that an output depends on; the tensors with an adjoint, as they are met."""
        inner = {t for e in self.forward.equations.values() for t in reads(e.body)}
        order: list[str] = []
        pending = [o.name for o in reversed(self.source.outputs)]
        for name in pending:
            self.adjoints[name] = self.seeds[name]
            if name in inner:
                self.adjoints[name] = self.names.tensor(f"grad_{name}")
        while pending:
            name = pending.pop()
            if name in order:
                continue
            order.append(name)
            if name not in self.forward.equations or name not in self.walker.active:
                continue
            before = set(self.walker.contributions)
            self.walker.walk(self.forward.equations[name], self._adjoint(name))
            pending += [t for t in reversed(list(self.walker.contributions)) if t not in before]
        return order

    def _adjoint(self, name: str) -> str:
        if name not in self.adjoints:
            fixed = any(i.name == name for i in self.source.inputs)
            self.adjoints[name] = f"grad_{name}" if fixed else self.names.tensor(f"grad_{name}")
        return self.adjoints[name]

    # -- the program -----------------------------------------------------------------------------------

    def program(self) -> Program:
        """The gradient as a program."""
        equations = {t: self.forward.with_names(e) for t, e in self.forward.equations.items()}
        for name in self.order:
            found = self.walker.contributions.get(name, [])
            if found:
                equation = self._sum(name, found)
                equations[equation.target] = equation
        for flow in self.walker.flows.values():
            equations[flow.name] = self._flow(flow)
        inputs = [*self.source.inputs, *(TensorDecl(self.seeds[o.name], o.axes) for o in self.source.outputs)]
        outputs = [
            TensorDecl(f"grad_{i.name}", i.axes)
            for i in self.source.inputs
            if self.walker.contributions.get(i.name)
        ]
        if not outputs:
            raise LanguageError(
                f"Nothing in {self.source.name} has a derivative: its outputs depend on no input smoothly.",
                hint="Conditions, sign and // have none.",
            )
        return _assembled(self.source, tuple(inputs), tuple(outputs), equations)

    def _left(self, name: str, found: list[Contribution]) -> list[str]:
        """The letters of an adjoint: those of the equation, or of the first read."""
        if name in self.forward.equations:
            return [b.name for b in self.forward.equations[name].left]
        axes = self.forward.axes[name]
        left: list[str] = []
        for extent, subscript in zip(axes, found[0].read.subscripts, strict=True):
            first = subscript.name if isinstance(subscript, Index) else ""
            left.append(self.names.letter(extent, left, first))
        return left

    def _sum(self, name: str, found: list[Contribution]) -> Equation:
        """The adjoint of a tensor: the sum of its contributions."""
        axes = self.forward.axes[name]
        left = self._left(name, found)
        used: dict[str, Extent] = {}
        marks = [f"%{n}" for n in left]
        names = dict(zip(marks, left, strict=True))
        paths = merged([turned(c.path, c.read, axes, marks) for c in found])
        terms = [self._total(p, names, used) for p in paths]
        if name in self.seeds:
            terms.insert(0, Read(self.seeds[name], tuple(Index(n) for n in left)))
        binds = tuple(Bind(n, e) for n, e in zip(left, axes, strict=True))
        return Equation(self._adjoint(name), binds, folded(added(terms)))

    def _total(self, path: Path, names: dict[str, str], used: dict[str, Extent]) -> Expr:
        """The path as a sum for the letters that `names` gives; the others are bound, and differ. In all
        terms of an equation a letter is an index over one extent: `used`."""
        taken = set(names.values())
        chosen = dict(names)
        for bind in path.binds:
            if bind.name not in chosen:
                others = {n for n, extent in used.items() if extent != bind.extent}
                chosen[bind.name] = self.names.letter(bind.extent, taken | others, bind.name)
                taken.add(chosen[bind.name])
                used[chosen[bind.name]] = bind.extent
        path = path.rename({old: Index(f"&{new}") for old, new in chosen.items()})
        path = path.rename({f"&{new}": Index(new) for new in chosen.values()})
        return path.total(names.values())

    def _flow(self, flow: Flow) -> Equation:
        left = [b.name for b in flow.axes]
        rows, terms = by_adjoint(flow, self.walker.contributions, self.seeds)
        parts: list[tuple[int, Expr]] = []
        used: dict[str, Extent] = {}
        for sign, read, kept in terms:
            grad = replace(read, tensor=self._adjoint(read.tensor))
            scope = tuple(
                Bind(s.name, e)
                for s, e in zip(read.subscripts, self.forward.axes[read.tensor], strict=True)
                if isinstance(s, Index)
            )
            names = dict(zip(kept, left, strict=True))
            parts.append((sign, self._total(Path(scope).times(read, grad), names, used)))
        for row in rows:
            parts.append((row.sign, self._total(row.path, dict(zip(row.kept, left, strict=True)), used)))
        total = added([e if sign > 0 else negative(e) for sign, e in parts])
        return Equation(flow.name, flow.axes, folded(total))


def renamed(program: Program, names: Mapping[str, str]) -> Program:
    """The program with tensors renamed."""

    def visit(node: Expr) -> Expr:
        node = rebuild(node, visit)
        return replace(node, tensor=names.get(node.tensor, node.tensor)) if isinstance(node, Read) else node

    def named(decls: tuple[TensorDecl, ...]) -> tuple[TensorDecl, ...]:
        return tuple(replace(d, name=names.get(d.name, d.name)) for d in decls)

    equations = (
        replace(e, target=names.get(e.target, e.target), body=visit(e.body)) for e in program.equations
    )
    return replace(
        program, outputs=named(program.outputs), locals=named(program.locals), equations=tuple(equations)
    )


def merged(paths: list[Path]) -> list[Path]:
    """The paths with equal ones counted."""
    found: dict[object, Path] = {}
    for path in paths:
        key = path.key()
        scale = found[key].scale if key in found else 0
        found[key] = replace(path, scale=scale + path.scale)
    return [p for p in found.values() if p.scale != 0] or [replace(paths[0], scale=0)]


def negative(expr: Expr) -> Expr:
    """Minus an expression."""
    return expr.operand if isinstance(expr, Neg) else Neg(expr)


def added(terms: Iterable[Expr]) -> Expr:
    """The sum of terms; one that is subtracted does not come first if another can."""
    found = sorted(terms, key=lambda t: isinstance(t, Neg))
    return found[0] if len(found) == 1 else Add(tuple(found))


def folded(expr: Expr) -> Expr:
    """The expression in the shape that its text has, sums of indices and integers in one piece:
    (i + 1) - 1 is i."""

    def visit(node: object) -> object:
        node = rebuild(node, visit)  # type: ignore[call-overload]
        if isinstance(node, Mul) and isinstance(node.factors[0], Mul):
            node = Mul((*node.factors[0].factors, *node.factors[1:]))
        if isinstance(node, Add) and isinstance(node.terms[0], Add):
            node = Add((*node.terms[0].terms, *node.terms[1:]))
        if not isinstance(node, Add) or affine(node) is None:
            return node
        parts = list(map(_operand, node.terms))
        many = sum(isinstance(t, Const) for t in parts) > 1 or any(isinstance(t, Add) for t in parts)
        return one_sum(list(node.terms)) if many else node

    return visit(expr)  # type: ignore[return-value]


def _operand(term: Expr) -> Expr:
    return term.operand if isinstance(term, Neg) else term


def active(program: Program, made: Forward) -> frozenset[str]:
    """The tensors that depend on an input."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(i.name for i in program.inputs)
    for equation in made.equations.values():
        graph.add_edges_from((t, equation.target) for t in reads(equation.body))
    found = {i.name for i in program.inputs}
    for i in program.inputs:
        found |= nx.descendants(graph, i.name)
    return frozenset(found)


def _assembled(
    source: Program,
    inputs: tuple[TensorDecl, ...],
    outputs: tuple[TensorDecl, ...],
    equations: dict[str, Equation],
) -> Program:
    """The equations that the outputs need, each after what it reads."""
    wanted = [o.name for o in outputs]
    equations = _without_aliases(equations, set(wanted))
    graph: nx.DiGraph[str] = nx.DiGraph()
    for target, equation in equations.items():
        graph.add_edges_from((target, t) for t in reads(equation.body) if t in equations)
    needed = set(wanted).union(*(nx.descendants(graph, o) for o in wanted if o in graph))
    kept = [e for t, e in equations.items() if t in needed]
    size = sum(1 for e in kept for _ in walk(e.body))
    if size > LONGEST:
        raise LanguageError(
            f"The gradient of {source.name} would have {size} operations.",
            hint="Give parts of long products names of their own.",
        )
    names = {t.name for t in (*inputs, *outputs)}
    locals_ = tuple(
        TensorDecl(e.target, tuple(b.extent for b in e.left)) for e in kept if e.target not in names
    )
    made = Program(f"{source.name}_grad", inputs, outputs, locals_, tuple(kept), source.defaults)
    ordered = [e for group in dependency_order(made) for e in group]
    rank = {e.target: k for k, e in enumerate(ordered)}
    locals_ = tuple(sorted(locals_, key=lambda t: rank[t.name]))
    return replace(made, equations=tuple(ordered), locals=locals_)


def _without_aliases(equations: dict[str, Equation], outputs: set[str]) -> dict[str, Equation]:
    """Equations that only read another tensor at their own indices disappear."""
    aliases: dict[str, tuple[tuple[str, ...], Read]] = {}
    for target, equation in equations.items():
        body = equation.body
        left = tuple(b.name for b in equation.left)
        if target in outputs or not isinstance(body, Read) or not target.startswith("grad_"):
            continue
        if all(isinstance(s, Index) for s in body.subscripts) and free_indices(body) == set(left):
            aliases[target] = (left, body)

    def visit(node: object) -> object:
        node = rebuild(node, visit)  # type: ignore[call-overload]
        while isinstance(node, Read) and node.tensor in aliases:
            left, body = aliases[node.tensor]
            node = substitute(body, dict(zip(left, node.subscripts, strict=True)))
        return node

    return {
        t: replace(e, body=visit(e.body))  # type: ignore[arg-type]
        for t, e in equations.items()
        if t not in aliases
    }
