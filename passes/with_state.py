"""A program with its states as tensors: they come in, and go out after the last token.

The stage graph of a program says what its states are: what each token writes, with which gates, and how each
stage reads them. Written out as equations, with the state before the first token as one more term of every
read, that is a program of the same language, so that its gradient is one as well: the gradient by the state
before, given the gradient by the state after, is what truncated backpropagation through time passes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tensorc.ir import (
    Add,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
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
    TensorDecl,
    Where,
    free_indices,
    reads,
    rebuild,
    substitute,
)
from tensorc.passes.adjoint_gates import before
from tensorc.passes.adjoint_paths import Path
from tensorc.passes.gradient_names import Names
from tensorc.passes.inline import dependency_order
from tensorc.passes.linear import NotLinear
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Graph, Memory, Product, Shift, Stage, Value
from tensorc.plan import Ref


def with_state(program: Program, graph: Graph, time: Extent, states: Iterable[str]) -> Program:
    """The program of a stage graph with its states, in the order of `states`, as further inputs
    `state_<n>` and outputs `next_state_<n>`.

    Raises `NotLinear` for a state that grows, or one that has no equation.
    """
    return _Writer(program, graph, time).program(list(states))


@dataclass(slots=True)
class _Writer:
    """Writes the nodes of a stage graph as equations."""

    source: Program
    graph: Graph
    time: Extent
    names: Names = field(init=False)
    tensors: dict[str, str] = field(default_factory=dict)  # values of the graph and what they are called
    letters: dict[str, str] = field(default_factory=dict)  # labels and the indices they become
    states: dict[str, str] = field(default_factory=dict)
    equations: list[Equation] = field(default_factory=list)
    i: str = ""
    j: str = ""
    u: str = ""

    def __post_init__(self) -> None:
        self.names = Names(self.source)
        self.i, self.j, self.u = self._tokens()
        for label, extent in self.graph.extents.items():
            taken = {self.i, self.j, self.u, *self.letters.values()}
            self.letters[label] = self.names.letter(extent, taken, label if label.isidentifier() else "")
        self.letters[TOKEN] = self.i
        self.tensors = {i.name: i.name for i in self.source.inputs}
        own = [t for t in self.source.tensors() if t in self.graph.tensors]
        for name in own:
            tensor = self.graph.tensors[name]
            if tensor.positions == tuple(range(len(tensor.positions))):
                self.tensors.setdefault(tensor.value, name)

    def _tokens(self) -> list[str]:
        found: list[str] = []
        for first in ("i", "j", "u"):
            others = {n for e, ns in self.names.letters.items() if e != self.time for n in ns}
            found.append(self.names.letter(self.time, {*found, *others}, first))
        return found

    def program(self, states: list[str]) -> Program:
        """The whole program."""
        memories = self.graph.memories
        shifts = {n.state.value: n for n in self.graph.nodes if isinstance(n, Shift)}
        if any(s not in memories and s not in shifts for s in states):
            raise NotLinear("a state grows with the tokens", "pass all tokens at once", None)
        axes = {s: memories[s].axes if s in memories else shifts[s].state.axes for s in states}
        inputs, outputs = list(self.source.inputs), list(self.source.outputs)
        for number, state in enumerate(states, 1):
            self.states[state] = self.names.tensor(f"state_{number}")
            extents = tuple(self.graph.extents[a] for a in axes[state])
            inputs.append(TensorDecl(self.states[state], extents))
            outputs.append(TensorDecl(self.names.tensor(f"next_state_{number}"), extents))
        for node in self.graph.nodes:
            self._node(node)
        for output in self.source.outputs:
            tensor = self.graph.tensors[output.name]
            if self.tensors[tensor.value] == output.name:
                continue
            left = tuple(Bind(n, e) for n, e in zip(self._left(output.axes), output.axes, strict=True))
            value = self.graph.read(output.name, tuple(b.name for b in left))
            read = Read(self.tensors[tensor.value], tuple(Index(a) for a in value.axes))
            self.equations.append(Equation(output.name, left, read))
        for state, output in zip(states, outputs[len(self.source.outputs) :], strict=True):
            body = self._last(memories[state]) if state in memories else self._rows(shifts[state])
            left = self._binds(axes[state])
            self.equations.append(Equation(output.name, left, body))
        return self._ordered(inputs, outputs)

    def _ordered(self, inputs: list[TensorDecl], outputs: list[TensorDecl]) -> Program:
        known = {t.name for t in (*inputs, *outputs)}
        self._spread_shifts(known)
        needed, pending = set[str](), [o.name for o in outputs]
        by_name = {e.target: e for e in self.equations}
        while pending:
            name = pending.pop()
            if name not in needed and name in by_name:
                needed.add(name)
                pending += reads(by_name[name].body)
        kept = [e for e in self.equations if e.target in needed]
        own = tuple(
            TensorDecl(e.target, tuple(b.extent for b in e.left)) for e in kept if e.target not in known
        )
        name = f"{self.source.name}_with_state"
        made = Program(name, tuple(inputs), tuple(outputs), own, tuple(kept), self.source.defaults)
        ordered = [e for group in dependency_order(made) for e in group]
        rank = {e.target: k for k, e in enumerate(ordered)}
        own = tuple(sorted(own, key=lambda t: rank[t.name]))
        return replace(made, equations=tuple(ordered), locals=own)

    def _spread_shifts(self, known: set[str]) -> None:
        """Rows at every distance stand where they are read: as a tensor, the distance would be an axis."""
        moved = {
            self.tensors[n.out.value]: n
            for n in self.graph.nodes
            if isinstance(n, Shift) and isinstance(n.lag, str) and self.tensors[n.out.value] not in known
        }
        bodies = {e.target: e for e in self.equations if e.target in moved}

        def visit(node: Expr) -> Expr:
            node = rebuild(node, visit)
            if not isinstance(node, Read) or node.tensor not in bodies:
                return node
            source = bodies[node.tensor]
            return substitute(
                source.body, {b.name: s for b, s in zip(source.left, node.subscripts, strict=True)}
            )

        self.equations = [replace(e, body=visit(e.body)) for e in self.equations]

    def _left(self, axes: tuple[Extent, ...]) -> list[str]:
        found: list[str] = []
        for extent in axes:
            found.append(self.i if extent == self.time else self.names.letter(extent, [*found, self.i]))
        return found

    def _binds(self, labels: Iterable[str]) -> tuple[Bind, ...]:
        return tuple(Bind(self.letters[a], self.graph.extents.get(a, self.time)) for a in labels)

    # -- nodes -----------------------------------------------------------------------------------------

    def _node(self, node: object) -> None:
        if not isinstance(node, Value | Product | Stage | Shift):
            raise NotLinear("a state is packed, or grows with the tokens", "pass all tokens at once", None)
        out = node.out
        match node:
            case Value():
                body = self._expr(self._without_position(node.expr))
            case Product():
                body = self._product([self._read(r) for r in node.items], out.axes)
            case Stage():
                body = self._stage(node)
            case Shift():
                body = self._shift(node)
        self.equations.append(Equation(self._called(out.value), self._binds(out.axes), body))

    def _without_position(self, expr: Expr) -> Expr:
        """The expression without what only repeats it for every token, 0 · i."""

        def visit(node: Node) -> Node:
            if isinstance(node, Read):
                return node
            if isinstance(node, Index) and node.name == TOKEN:
                reason = "the position is a number in it, which goes on from the state"
                raise NotLinear(reason, "pass the position as an input", None)
            if isinstance(node, Add):
                terms = tuple(t for t in node.terms if not _is_nothing(t))
                node = Add(terms) if len(terms) > 1 else terms[0] if terms else Const(0)
                return rebuild(node, visit) if isinstance(node, Add) else visit(node)
            return rebuild(node, visit)

        return visit(expr)  # type: ignore[return-value]

    def _expr(self, expr: Expr) -> Expr:
        def visit(node: Node) -> Node:
            node = rebuild(node, visit)
            if isinstance(node, Index):
                return Index(self.letters.get(node.name, node.name))
            if isinstance(node, Reduce):
                binds = tuple(replace(b, name=self.letters.get(b.name, b.name)) for b in node.binds)
                return replace(node, binds=binds)
            if isinstance(node, Read) and node.tensor in self.graph.tensors:
                tensor = self.graph.tensors[node.tensor]
                parts: list[Expr] = [Const(0)] * len(node.subscripts)
                for position, part in zip(tensor.positions, node.subscripts, strict=True):
                    parts[position] = part
                return Read(self._called(tensor.value), tuple(parts))
            return node

        return visit(expr)  # type: ignore[return-value]

    def _called(self, value: str) -> str:
        """The name of a value; one that is defined by itself is named before it is written."""
        if value not in self.tensors:
            self.tensors[value] = self.names.tensor("z")
        return self.tensors[value]

    def _read(self, ref: Ref, names: Mapping[str, str] | None = None) -> Expr:
        letters = {**self.letters, **(names or {})}
        return Read(self._called(ref.value), tuple(Index(letters[a]) for a in ref.axes))

    def _product(self, factors: list[Expr], axes: Iterable[str], more: tuple[Bind, ...] = ()) -> Expr:
        """The product summed over everything but the axes."""
        kept = [self.letters[a] for a in axes]
        extents = {self.letters[a]: e for a, e in self.graph.extents.items()} | {self.i: self.time}
        extents |= {b.name: b.extent for b in more}
        free = {n for f in factors for n in free_indices(f)} | set(kept)
        return Path(tuple(Bind(n, extents[n]) for n in sorted(free))).times(*factors).total(kept)

    # -- states ----------------------------------------------------------------------------------------

    def _stage(self, node: Stage) -> Expr:
        memory = self.graph.memories[node.state.value]
        if memory.reverse or memory.total:
            raise NotLinear("values are carried from later tokens to earlier ones", "bound the index", None)
        labels = dict(zip(memory.axes, node.state.axes, strict=True))
        items = [self._read(r) for r in node.items]
        own = tuple(node.reading.inclusive) or (True,) * len(memory.gates)
        writes, more = self._writes(memory, labels, node)
        extents = self._binds(a for a in node.out.axes)
        near = [
            self._between(g, log, labels, inclusive)
            for (g, log), inclusive in zip(memory.gates, own, strict=True)
        ]
        order = before(self.j, self.i, node.reading.strict)
        scope = self._scope([*items, *writes, *near], more)
        path = Path(scope).where((order,)).times(*near, *items, *writes)
        first = [
            self._since(g, log, labels, inclusive)
            for (g, log), inclusive in zip(memory.gates, own, strict=True)
        ]
        state = Read(self.states[memory.name], tuple(Index(self.letters[a]) for a in node.state.axes))
        start = Path(self._scope([*items, *first, state], ())).times(*first, *items, state)
        kept = [b.name for b in extents]
        return Add((path.total(kept), start.total(kept)))

    def _scope(self, exprs: list[Expr], more: tuple[Bind, ...]) -> tuple[Bind, ...]:
        extents = {self.letters[a]: e for a, e in self.graph.extents.items()}
        extents |= {self.i: self.time, self.j: self.time} | {b.name: b.extent for b in more}
        free = sorted({n for e in exprs for n in free_indices(e)})
        return tuple(Bind(n, extents[n]) for n in free)

    def _writes(
        self, memory: Memory, labels: Mapping[str, str], node: Stage | None
    ) -> tuple[list[Expr], tuple[Bind, ...]]:
        """What each token writes, read at j; indices that the write sums are its own."""
        names = {TOKEN: self.j} | {a: self.letters[b] for a, b in labels.items()}
        items = node.items if node is not None else ()
        taken = {*names.values(), self.i, self.u, *(self.letters[a] for r in items for a in r.axes)}
        more = []
        for ref in memory.writes:
            for axis in ref.axes:
                if axis not in names:
                    extent = self.graph.extents[axis]
                    names[axis] = self.names.letter(extent, taken, self.letters[axis])
                    taken.add(names[axis])
                    more.append(Bind(names[axis], extent))
        return [self._read(r, names) for r in memory.writes], tuple(more)

    def _gate(self, ref: Ref, labels: Mapping[str, str]) -> Expr:
        names = {TOKEN: self.u} | {a: self.letters[b] for a, b in labels.items()}
        return self._read(ref, names)

    def _between(self, ref: Ref, log: bool, labels: Mapping[str, str], inclusive: bool) -> Expr:
        """The gates after j and up to i."""
        domain = before(self.j, self.u, True), before(self.u, self.i, not inclusive)
        steps = Add((Index(self.i), Neg(Index(self.j)), *([] if inclusive else [Neg(Const(1))])))
        return self._gates(ref, log, labels, domain, steps)

    def _first(self, ref: Ref, labels: Mapping[str, str], inclusive: bool) -> Expr:
        """The product of the gates of all tokens up to i, as a decay from token 0."""
        start = Compare("==", Index(self.j), Const(0))
        domain = before(self.j, self.u, inclusive), before(self.u, self.i, not inclusive)
        gates = Reduce("prod", (Bind(self.u, self.time),), domain, self._gate(ref, labels))
        own = (substitute(self._gate(ref, labels), {self.u: Index(self.j)}),) if inclusive else ()
        bind = (Bind(self.j, self.time),)
        return Reduce("sum", bind, (before(self.j, self.i, False),), Mul((Iverson(start), gates, *own)))

    def _rest(self, ref: Ref, labels: Mapping[str, str]) -> Expr:
        """The product of the gates of all tokens after j, as a decay to the last token."""
        end = Compare("==", Index(self.i), Add((Size(self.time.names[0]), Neg(Const(1)))))
        domain = before(self.j, self.u, True), before(self.u, self.i, False)
        gates = Reduce("prod", (Bind(self.u, self.time),), domain, self._gate(ref, labels))
        bind = (Bind(self.i, self.time),)
        return Reduce("sum", bind, (before(self.j, self.i, False),), Mul((Iverson(end), gates)))

    def _all(self, ref: Ref, labels: Mapping[str, str]) -> Expr:
        """The product of all gates."""
        start = Compare("==", Index(self.j), Const(0))
        own = substitute(self._gate(ref, labels), {self.u: Index(self.j)})
        whole = Reduce("sum", (Bind(self.j, self.time),), (start,), Mul((own, self._rest(ref, labels))))
        return Where(Compare(">", Size(self.time.names[0]), Const(0)), whole, Const(1))

    def _since(self, ref: Ref, log: bool, labels: Mapping[str, str], inclusive: bool) -> Expr:
        """The gates of all tokens up to i."""
        steps = Add((Index(self.i), Const(1))) if inclusive else Index(self.i)
        if not log and TOKEN in ref.axes:
            return self._first(ref, labels, inclusive)
        return self._gates(ref, log, labels, (before(self.u, self.i, not inclusive),), steps)

    def _gates(
        self, ref: Ref, log: bool, labels: Mapping[str, str], domain: tuple[Cond, ...], steps: Expr
    ) -> Expr:
        gate = self._gate(ref, labels)
        if TOKEN not in ref.axes:
            return Call("exp", (Mul((gate, steps)),)) if log else Pow(gate, steps)
        bind = (Bind(self.u, self.time),)
        return (
            Call("exp", (Reduce("sum", bind, domain, gate),)) if log else Reduce("prod", bind, domain, gate)
        )

    def _last(self, memory: Memory) -> Expr:
        """The state after the last token."""
        labels = {a: a for a in memory.axes}
        writes, more = self._writes(memory, labels, None)
        number: Expr = Size(self.time.names[0])
        later = Add((number, Neg(Index(self.j)), Neg(Const(1))))
        domain = (before(self.j, self.u, True),)
        after, through = list[Expr](), list[Expr]()
        for gate, log in memory.gates:
            own = not log and TOKEN in gate.axes
            after.append(self._rest(gate, labels) if own else self._gates(gate, log, labels, domain, later))
            through.append(self._all(gate, labels) if own else self._gates(gate, log, labels, (), number))
        state = Read(self.states[memory.name], tuple(Index(self.letters[a]) for a in memory.axes))
        kept = [self.letters[a] for a in memory.axes]
        path = Path(self._scope([*writes, *after], more)).times(*after, *writes)
        start = Path(self._scope([*through, state], ())).times(*through, state)
        return Add((path.total(kept), start.total(kept)))

    # -- shifts ----------------------------------------------------------------------------------------

    def _shift(self, node: Shift) -> Expr:
        """Earlier rows: of this sequence, or of those before it."""
        lag: Expr = Const(node.lag) if isinstance(node.lag, int) else Index(self.letters[node.lag])
        here = substitute(self._read(node.source), {self.i: Add((Index(self.i), Neg(lag)))})
        label, features = node.state.axes[0], tuple(Index(self.letters[a]) for a in node.state.axes[1:])
        extent = self.graph.extents[label]
        if isinstance(node.lag, int):  # row i of the state is `lag` tokens before token i
            row = Index(self.letters[label])
            state: Expr = Read(self.states[node.state.value], (row, *features))
            state = Reduce("sum", (Bind(row.name, extent),), (Compare("==", row, Index(self.i)),), state)
        else:
            place = Add((Index(self.i), _number(extent), Neg(lag)))
            state = Read(self.states[node.state.value], (place, *features))
        return Add((here, state))

    def _rows(self, node: Shift) -> Expr:
        """The last rows: of this sequence, and of those before it where it is shorter."""
        row, depth = Index(self.letters[node.state.axes[0]]), _number(self.graph.extents[node.state.axes[0]])
        number = Size(self.time.names[0])
        last = Add((row, number, Neg(depth)))
        here = substitute(self._read(node.source), {self.i: last})
        features = tuple(Index(self.letters[a]) for a in node.state.axes[1:])
        return Add((here, Read(self.states[node.state.value], (Add((row, number)), *features))))


def _is_nothing(term: Expr) -> bool:
    return isinstance(term, Mul) and term.factors[0] == Const(0) and isinstance(term.factors[-1], Index)


def _number(extent: Extent) -> Expr:
    factors: list[Expr] = [Const(extent.coefficient)] if extent.coefficient != 1 or not extent.names else []
    factors += [Size(n) for n in extent.names]
    return factors[0] if len(factors) == 1 else Mul(tuple(factors))
