"""The chunkwise form: each stage split over chunks.

Within a chunk a stage is the quadratic form under its fine tile; from earlier chunks it is the state, the
decays anchored at the chunk's ends. A stage that reads nothing off its state (or so little that C×C pairs
cost more) is carried: every token's state in the chunk by an associative scan.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from tensorc.ir import Add, Const, Expr, Index, Read
from tensorc.passes.emit import BODY
from tensorc.passes.pair_polynomials import PairPolynomials
from tensorc.passes.realise import rule
from tensorc.passes.relation import TOKEN
from tensorc.passes.solve import NotAffine, System, cycles, system
from tensorc.passes.stage_graph import GraphNode, Memory, Stage, Value
from tensorc.passes.streaming import BlockFolds, Folds
from tensorc.passes.terms import times
from tensorc.plan import COLUMN, ROW, GateUse, Plan, Ref, ScanTile, Solve, Step, Update, Why

ELEMENTWISE = 8  # an elementwise operation costs about this many multiply-adds of a matrix product


class Chunkwise(PairPolynomials):
    """Realises the stage graph chunk by chunk."""

    form = "chunkwise"
    token = ROW

    @cached_property
    def folds(self) -> Folds:
        """How folds are realised."""
        return BlockFolds(self)

    def plan(self) -> Plan:
        self.systems: dict[str, System] = {}
        for cycle in cycles(self.graph, self.nodes):
            found = system(self.graph, self.nodes, cycle)
            self.systems[found.unknown.out.value] = found
        return super().plan()

    def solved(self, node: GraphNode) -> Ref | None:
        """The unknown of a linear system, all rows of the chunk at once; or a polynomial of scores."""
        found = self.systems.get(node.out.value)
        if found is None:
            return self.polynomial(node, node.why) if isinstance(node, Value) else None
        why = rule(node.why, "self-reference: one triangular system a chunk")
        matrix: list[Expr] = []
        right: list[Expr] = [] if found.constant == Const(0) else [self._here(found.constant)]
        for read, labels, factor in zip(found.reads, found.labels, found.factors, strict=True):
            names = {a: ROW if b == TOKEN else b for a, b in zip(read.out.axes, labels, strict=True)}
            kernel, earlier = self._parts(read, found.unknown.out.value, why)
            here = self._here(factor)
            matrix.append(times(here, _read(kernel.relabel(names))))
            right.append(times(here, _read(earlier.relabel(names))))
        return self._solve(node.out, matrix, right, why)

    def _solve(self, out: Ref, matrix: list[Expr], right: list[Expr], why: Why) -> Ref:
        labels = self._labels(out.axes)
        left = self.emitter.pointwise(_total(matrix), None, why)
        axes = [a for a in left.axes if a not in (ROW, COLUMN)] + [ROW, COLUMN]
        left = self.emitter.pointwise(_read(left), axes, why)
        given = self.emitter.pointwise(_total(right), labels, why)
        step = Solve(self.emitter.fresh(labels), left, given, why)
        return self.emitter.add(step, [left, given], BODY)

    def _parts(self, node: Stage, unknown: str, why: Why) -> tuple[Ref, Ref]:
        """A strict read of the unknown's state: the matrix that multiplies the unknown within the chunk, and
        what comes from earlier chunks."""
        memory = self.graph.memories[node.state.value]
        names = dict(zip(memory.axes, node.state.axes, strict=True))
        items = [self.ref(r) for r in node.items]
        (own,) = [r for r in memory.writes if r.value == unknown]
        inner = self.inner(node, memory)
        gates = [replace(g, gate=g.gate.relabel(names)) for g in self.gates(memory, node.reading.inclusive)]
        fine = self.emitter.tile("fine", True, gates, why)
        left = self.emitter.tile("left", True, gates, why)
        assert fine is not None
        factors = [*self.pairs(node, unknown), fine]
        through = {inner[a] for a in own.axes if a != TOKEN}
        out = self._labels(node.out.axes)
        if not through <= set(out):
            raise NotAffine("its features are mixed by the read of its own result")
        shared = [a for a in out if a in _all(factors) and a != ROW]
        kernel = self.emitter.product(factors, [*shared, ROW, COLUMN], why)
        before = [Ref(node.state.value, node.state.axes), *items, *([left] if left is not None else [])]
        return kernel, self.emitter.product(before, [a for a in out if a in _all(before)], why)

    def gates(self, memory: Memory, inclusive: tuple[bool, ...] | None = None) -> list[GateUse]:
        """The gates of a state as tiles use them."""
        uses = []
        for k, (gate, log) in enumerate(memory.gates):
            ref = self.ref(gate)
            uses.append(GateUse(ref, log, inclusive is None or inclusive[k], ROW not in ref.axes))
        return uses

    def stage(self, node: Stage, memory: Memory) -> Ref:
        items = [self.ref(r) for r in node.items]
        pairs = self.pairs(node)
        out = self._labels(node.out.axes)
        names = dict(zip(memory.axes, node.state.axes, strict=True))
        gates = self.gates(memory, node.reading.inclusive)
        relabelled = [replace(g, gate=g.gate.relabel(names)) for g in gates]
        state = Ref(node.state.value, node.state.axes)
        parts: list[Expr] = []
        for block in node.reading.split():
            text = "from the state" if block.earlier else "within the chunk"
            tile = self.emitter.tile(block.tile, node.reading.strict, relabelled, rule(node.why, text))
            factors = [state, *items] if block.earlier else [*pairs]
            factors += [tile] if tile is not None else []
            if not block.earlier and self._carried(items, factors, relabelled, out, node):
                return self._scan(node, memory, items, gates, names, out)
            kept = [a for a in out if a in _all(factors)]
            parts.append(_read(self.emitter.product(factors, kept, rule(node.why, text))))
        return self.emitter.pointwise(Add(tuple(parts)), out, rule(node.why, "sum of both"))

    def from_state(self, node: Stage, gates: list[GateUse]) -> Ref:
        why = rule(node.why, "from the state")
        left = self.emitter.tile("left", node.reading.strict, gates, why)
        factors = [Ref(node.state.value, node.state.axes), *(self.ref(r) for r in node.items)]
        factors += [left] if left is not None else []
        kept = [a for a in self._labels(node.out.axes) if a in _all(factors)]
        return self.emitter.product(factors, kept, why)

    def is_carried(self, node: Stage) -> bool:
        memory = self.graph.memories[node.state.value]
        items = [self.ref(r) for r in node.items]
        gates = self.gates(memory, node.reading.inclusive)
        out = self._labels(node.out.axes)
        return bool(items) and self._carried(items, self.pairs(node), gates, out, node)

    def _carried(
        self, items: list[Ref], pairs: list[Ref], gates: list[GateUse], out: list[str], node: Stage
    ) -> bool:
        """Whether a scan of every token's state is cheaper than `pairs` of tokens."""
        if not items:
            return True
        features = {a for g in gates for a in g.gate.axes if a != ROW}
        within = self._multiply_adds(pairs, out) * (2 if features else 1)
        state = Ref(node.state.value, node.state.axes)
        earlier = self._multiply_adds([state, *items], out)
        each = Ref("", (ROW, *node.state.axes))
        read = self._multiply_adds([each, *items], out)
        width = 1
        for axis in each.axes:
            width *= max(1, self.emitter.sizes[axis])
        passes = 3 if gates else 2
        return ELEMENTWISE * (passes * width + read) < within + earlier

    def _multiply_adds(self, refs: list[Ref], out: list[str]) -> int:
        present = _all(refs)
        return self.emitter.order(refs, frozenset(a for a in out if a in present)).multiply_adds

    def _scan(
        self,
        node: Stage,
        memory: Memory,
        items: list[Ref],
        gates: list[GateUse],
        names: dict[str, str],
        out: list[str],
    ) -> Ref:
        writes = [self.ref(r) for r in memory.writes]
        each = self.emitter.product(
            writes,
            [a for a in (ROW, *memory.axes) if a in _all(writes)],
            rule(node.why, "write of each token"),
        )
        axes = (ROW, *memory.axes)
        step = ScanTile(
            self.emitter.fresh(axes),
            each,
            Ref(memory.name, memory.axes),
            node.reading.strict,
            tuple(gates),
            why=rule(node.why, "carried: the state of each token by a scan"),
        )
        scanned = self.emitter.add(step, [each, step.state, *(g.gate for g in gates)], BODY)
        return self.emitter.product(
            [scanned.relabel(names), *items], out, rule(node.why, "read of each state")
        )

    def update(self, memory: Memory) -> list[Step]:
        gates = self.gates(memory)
        why = rule(memory.why, "state at the end of the chunk")
        writes = [self.ref(r, COLUMN) for r in memory.writes]
        right = self.emitter.tile("right", False, gates, why)
        if right is not None:
            writes.append(right.relabel({ROW: COLUMN}))
        addend = self.emitter.product(writes, [a for a in memory.axes if a in _all(writes)], why)
        through = self.emitter.tile("through", False, gates, why)
        return [Update(Ref(memory.name, memory.axes), through, addend, why=why)]


def _total(parts: list[Expr]) -> Expr:
    return Const(0) if not parts else parts[0] if len(parts) == 1 else Add(tuple(parts))


def _read(ref: Ref) -> Expr:
    return Read(ref.value, tuple(Index(a) for a in ref.axes))


def _all(refs: list[Ref]) -> set[str]:
    return {a for r in refs for a in r.axes}
