"""Which positions along the time axis every tensor depends on: a summary for each, from its equation.

A `Dependence` of T[x, y] bounds the position p of one read of an input: p <= axis + bound for some of T's
axes, where relations between the axes (`guard`) allow the read at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from tensorc.conditions import Edges, Environment, Scope
from tensorc.differences import ZERO, Budget, Constraints, Form, at_most_zero, plain, tighter
from tensorc.ir import (
    Bind,
    Const,
    Div,
    Equation,
    Expr,
    Extent,
    Iverson,
    Mul,
    Node,
    Program,
    Read,
    Reduce,
    Softmax,
    Where,
    children,
    reads,
)

Axis: TypeAlias = int | str  # an axis of a tensor by number, or ZERO
Key = TypeVar("Key", Axis, tuple[Axis, Axis])
ROUNDS = 4
MOST = 48


@dataclass(frozen=True, slots=True)
class Origin:
    """The read at which a bound was lost, its position along the axis, and the index it should keep to."""

    read: Read
    position: Expr
    here: str | None


@dataclass(frozen=True, slots=True)
class Dependence:
    """A read: its position is at most axis + bound, for every axis in `upper`."""

    upper: Mapping[Axis, Form]
    guard: Mapping[tuple[Axis, Axis], Form] = field(default_factory=dict)
    origin: Origin | None = None

    def covers(self, other: Dependence) -> bool:
        """Whether this one allows every position that the other does."""
        return _weaker(self.upper, other.upper) and _weaker(self.guard, other.guard)


def _weaker(mine: Mapping[Key, Form], theirs: Mapping[Key, Form]) -> bool:
    return all(k in theirs and at_most_zero(plain(theirs[k] + -1 * bound)) for k, bound in mine.items())


@dataclass(slots=True)
class Summary:
    """What a tensor depends on, and the relations of its axes outside of which it is 0."""

    reads: list[Dependence] = field(default_factory=list)
    support: Mapping[tuple[Axis, Axis], Form] = field(default_factory=dict)

    def allows(self, found: Dependence) -> bool:
        """Whether a dependence says nothing new."""
        return any(known.covers(found) for known in self.reads)

    def add(self, found: Dependence) -> bool:
        """Add a dependence unless one covers it; whether it was added."""
        if self.allows(found):
            return False
        self.reads = [known for known in self.reads if not found.covers(known)]
        self.reads.append(found if len(self.reads) < MOST else Dependence({}, {}, found.origin))
        return True


class Analysis:
    """Summaries of all tensors of a program along one axis. Raises `TooLarge` past its budget."""

    def __init__(self, program: Program, time: Extent) -> None:
        self.program, self.time, self.budget = program, time, Budget()
        self.axes = frozenset(n for t in program.tensors().values() for a in t.axes for n in a.names)
        self.summaries: dict[str, Summary] = {}
        for tensor in program.inputs:
            axes = [k for k, axis in enumerate(tensor.axes) if axis == time]
            self.summaries[tensor.name] = Summary([Dependence({k: 0}) for k in axes])
        self.inputs = frozenset(self.summaries)
        for group in _groups(program):
            self._solve(group)

    def summary(self, tensor: str) -> Summary:
        """The summary of a tensor."""
        return self.summaries[tensor]

    def _solve(self, group: tuple[Equation, ...]) -> None:
        """Equations that use each other, until nothing new is found."""
        for equation in group:
            self.summaries[equation.target] = Summary()
        recursive = len(group) > 1 or group[0].target in reads(group[0].body)
        for round_ in range(ROUNDS if recursive else 1):
            changed = False
            for equation in group:
                summary = self.summaries[equation.target]
                visit = _Visit(self, equation)
                for found in visit.dependences():
                    if recursive and round_ == ROUNDS - 1 and not summary.allows(found):
                        found = replace(found, upper={})  # bounds that keep growing are none
                    changed |= summary.add(found)
                if not recursive:
                    summary.support = visit.support()
            if not changed:
                return


def _groups(program: Program) -> Iterator[tuple[Equation, ...]]:
    """Equations so that each follows what it reads; those that use each other stand together."""
    import networkx as nx

    from tensorc.graphs import program_graph

    equations = {e.target: e for e in program.equations}
    condensed = nx.condensation(program_graph(program))
    for node in nx.topological_sort(condensed):
        group = tuple(equations[t] for t in sorted(condensed.nodes[node]["members"]) if t in equations)
        if group:
            yield group


class _Visit:
    """One equation: its reads under the conditions around them."""

    def __init__(self, analysis: Analysis, equation: Equation) -> None:
        self.analysis, self.equation = analysis, equation
        self.scope = Scope(analysis.axes, analysis.budget)
        self.left: dict[str, Axis] = {}
        env: Environment = {}
        context = Constraints()
        for k, bind in enumerate(equation.left):
            env, context = self._bind(bind, env, context)
            self.left[env[bind.name]] = k
        self.env, self.context = env, context
        self.last = plain(self.scope.extent(analysis.time) + -1)
        tokens = [b.name for b in equation.left if b.extent == analysis.time]
        self.here = tokens[0] if tokens else None

    def dependences(self) -> Iterator[Dependence]:
        """Every read of an input along the time axis that the equation reaches."""
        yield from self.visit(self.equation.body, self.env, self.context)

    def support(self) -> Mapping[tuple[Axis, Axis], Form]:
        """The relations between the left indices outside of which the equation is 0."""
        edges = self.scope.support(self.equation.body, self.env, self._tensor_support)
        return self._guard(self.context.with_edges(edges)) or {}

    def _bind(self, bind: Bind, env: Environment, context: Constraints) -> tuple[Environment, Constraints]:
        node, edges = self.scope.fresh(bind)
        return {**env, bind.name: node}, context.with_edges(edges)

    # -- expressions -------------------------------------------------------------------------------------

    def visit(self, node: Node, env: Environment, context: Constraints) -> Iterator[Dependence]:
        """The dependences of an expression, where the conditions of the context hold."""
        self.analysis.budget.spend(10)
        match node:
            case Read():
                yield from self._read(node, env, context)
            case Reduce() | Softmax():
                yield from self._reduce(node, env, context)
            case Mul(factors=factors):
                yield from self._product(factors, env, context)
            case Div(numerator=top, denominator=bottom):
                yield from self._product((top, bottom), env, context, only=1)
            case Where(condition=condition, then=then, otherwise=otherwise):
                yield from self.visit(condition, env, context)
                for part, holds in ((then, True), (otherwise, False)):
                    for edges in self.scope.alternatives([condition], env, holds):
                        yield from self.visit(part, env, context.with_edges(edges))
            case _:
                for child in children(node):
                    yield from self.visit(child, env, context)

    def _reduce(self, node: Reduce | Softmax, env: Environment, context: Constraints) -> Iterator[Dependence]:
        """A body is evaluated where the domain holds. A softmax reads all of its row: its index inside is
        another than the one outside."""
        for bind in node.binds if isinstance(node, Reduce) else node.over:
            env, context = self._bind(bind, env, context)
        common = context.with_edges(self.scope.common(node.domain, env))
        for condition in node.domain:
            yield from self.visit(condition, env, common)
        for edges in self.scope.alternatives(node.domain, env, True):
            yield from self.visit(node.body, env, context.with_edges(edges))

    def _product(
        self, factors: tuple[Expr, ...], env: Environment, context: Constraints, only: int | None = None
    ) -> Iterator[Dependence]:
        """Where one factor is 0, the others do not matter (`only` the first ones may be relied on)."""
        scope, trusted = self.scope, factors[:only]
        conditions = [f.condition for f in trusted if isinstance(f, Iverson)]
        for factor in trusted:
            if not isinstance(factor, Iverson):
                context = context.with_edges(scope.support(factor, env, self._tensor_support))
        common = context.with_edges(scope.common(conditions, env))
        for condition in conditions:
            yield from self.visit(condition, env, common)
        rest = [f for f in factors if not isinstance(f, Iverson)]
        for edges in scope.alternatives(conditions, env, True):
            for factor in rest:
                yield from self.visit(factor, env, context.with_edges(edges))

    # -- reads -------------------------------------------------------------------------------------------

    def _tensor_support(self, read: Read, env: Environment) -> Edges:
        """Outside of which relations of its subscripts a tensor is 0."""
        summary = self.analysis.summaries.get(read.tensor)
        if summary is None or not summary.support:
            return []
        nodes, edges = self._subscripts(read, env)
        return [*edges, *((nodes[x], nodes[y], bound) for (x, y), bound in summary.support.items())]

    def _subscripts(self, read: Read, env: Environment) -> tuple[dict[Axis, str], Edges]:
        """A node for every axis of a read, tied to its subscript."""
        nodes: dict[Axis, str] = {ZERO: ZERO}
        edges: Edges = []
        for k, subscript in enumerate(read.subscripts):
            nodes[k], found = self.scope.position(subscript, env)
            edges += found
        return nodes, edges

    def _read(self, read: Read, env: Environment, context: Constraints) -> Iterator[Dependence]:
        summary = self.analysis.summaries.get(read.tensor)
        if summary is None or not summary.reads:
            return
        nodes, edges = self._subscripts(read, env)
        edges += [(nodes[x], nodes[y], bound) for (x, y), bound in summary.support.items()]
        base = context.with_edges(edges)
        for inner in summary.reads:
            found = base.with_edges([(nodes[x], nodes[y], b) for (x, y), b in inner.guard.items()])
            guard = self._guard(found)
            if guard is not None:
                reached = {nodes[axis]: bound for axis, bound in inner.upper.items()}
                yield Dependence(self._upper(found, reached), guard, self._origin(read, inner))

    def _upper(self, context: Constraints, reached: Mapping[str, Form]) -> dict[Axis, Form]:
        """The bounds of a position that is at most node + bound, for each node of `reached`, by the left
        indices; the last position bounds it anyway."""
        upper: dict[Axis, Form] = {}
        for node, axis in (*self.left.items(), (ZERO, ZERO)):
            paths = context.from_node(node, self.analysis.budget) or {}
            for middle, bound in reached.items():
                if middle in paths:
                    total = plain(paths[middle] + bound)
                    if total != self.last and (axis not in upper or tighter(total, upper[axis])):
                        upper[axis] = total
        return upper

    def _guard(self, context: Constraints) -> dict[tuple[Axis, Axis], Form] | None:
        """What the constraints say of the left indices beyond their ranges; None if they contradict."""
        found: dict[tuple[Axis, Axis], Form] = {}
        named: dict[str, Axis] = {**self.left, ZERO: ZERO}
        for y, mine in named.items():
            reached = context.from_node(y, self.analysis.budget)
            if reached is None:
                return None
            ranges = self.context.from_node(y, self.analysis.budget) or {}
            for x, other in named.items():
                if x != y and x in reached and reached[x] != ranges.get(x):
                    found[other, mine] = reached[x]
        return found

    def _origin(self, read: Read, inner: Dependence) -> Origin:
        """Where a bound is lost: here, if what is read keeps to its own token axes, else further in."""
        declared = self.analysis.program.tensors()[read.tensor].axes
        tokens = [k for k, axis in enumerate(declared) if axis == self.analysis.time]
        kept = any(k in inner.upper and at_most_zero(inner.upper[k]) for k in tokens)
        if inner.origin is not None and not kept:
            return inner.origin
        axis = next((k for k in tokens if k in inner.upper), tokens[0] if tokens else 0)
        position: Expr = read.subscripts[axis] if read.subscripts else Const(0)
        return Origin(read, position, self.here)


__all__ = ["Analysis", "Dependence", "Origin", "Summary"]
