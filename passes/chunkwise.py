"""The chunkwise form: each stage split over chunks.

Within a chunk a stage is the quadratic form under its fine tile; from earlier chunks it is the state, the
decays anchored at the chunk's ends. A stage that reads nothing off its state (or so little that C×C pairs
cost more) is carried: every token's state in the chunk by an associative scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from tensorc.ir import Add, Bind, Const, Expr, Index, Read
from tensorc.passes.emit import BODY
from tensorc.passes.fold_blocks import BlockFolds
from tensorc.passes.folding import Folds
from tensorc.passes.pair_polynomials import PairPolynomials
from tensorc.passes.realise import rule
from tensorc.passes.relation import TOKEN
from tensorc.passes.solve import NotAffine, Row, System, cycles, system
from tensorc.passes.stage_graph import GraphNode, Memory, Stage, Value
from tensorc.passes.terms import ONE, counted, times
from tensorc.passes.windows import ChunkWindows
from tensorc.passes.written_sums import factors_of
from tensorc.plan import COLUMN, NEAR, ROW, GateUse, Plan, Ref, ScanTile, Solve, Step, Symmetric, Update, Why

ELEMENTWISE = 8  # an elementwise operation costs about this many multiply-adds of a matrix product


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A strict read of a state that a cycle writes: the written value as the memory has it and under its own
    labels, and what the unknown's equation calls the labels of the read."""

    read: Stage
    memory: Memory
    own: Ref
    written: Ref
    under: dict[str, str]


class Chunkwise(ChunkWindows, PairPolynomials):
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
            self.systems.update((row.unknown.out.value, found) for row in found.rows)
        return super().plan()

    def solved(self, node: GraphNode) -> Ref | None:
        """The unknown of a linear system, all rows of the chunk at once; or a polynomial of scores."""
        found = self.systems.get(node.out.value)
        if found is None:
            return self.polynomial(node, node.why) if isinstance(node, Value) else None
        why = rule(node.why, "self-reference: one triangular system a chunk")
        unknowns = [row.unknown.out.value for row in found.rows]
        frame = self._labels(found.rows[0].unknown.out.axes)
        matrix, rights, names = [], [], []
        for row in found.rows:
            own = self._labels(row.unknown.out.axes)
            if [self._extent(a) for a in own] != [self._extent(a) for a in frame]:
                raise NotAffine("its unknowns have different axes")
            to = dict(zip(own, frame, strict=True))
            blocks, right = self._blocks(row, unknowns, found, rule(row.unknown.why, why.rule))
            matrix.append(tuple(None if block is None else block.relabel(to) for block in blocks))
            rights.append(right.relabel(to))
            names.append({b: a for a, b in to.items()})
        outs = tuple(self.emitter.fresh(frame) for _ in found.rows)
        step = Solve(outs, tuple(matrix), tuple(rights), why)
        for out in outs:
            self.emitter.provide(out.value, None, BODY)
        self.emitter.steps[BODY].append(step)
        for row, out, back in zip(found.rows, outs, names, strict=True):
            self.bind(row.unknown, out.relabel(back))
        return outs[unknowns.index(node.out.value)].relabel(names[unknowns.index(node.out.value)])

    def _extent(self, label: str) -> object:
        return label if label == ROW else self.graph.extents[label]

    def _blocks(
        self, row: Row, unknowns: list[str], system: System, why: Why
    ) -> tuple[list[Ref | None], Ref]:
        """One unknown: the matrix of each unknown within the chunk, and all that is known before it."""
        matrix: list[list[Expr]] = [[] for _ in unknowns]
        right: list[Expr] = [] if row.constant == Const(0) else [self._here(row.constant)]
        own = row.unknown.out
        for read, labels, factor in zip(row.reads, row.labels, row.factors, strict=True):
            names = {a: ROW if b == TOKEN else b for a, b in zip(read.out.axes, labels, strict=True)}
            memory = self.graph.memories[read.state.value]
            (written,) = [r for r in memory.writes if r.value in system.writes]
            write, here = system.writes[written.value], self._here(factor)
            pairs = _Pairs(read, memory, written, write.value, names)
            for unknown, scale in write.terms:
                kernel = self._kernel(pairs, unknown, scale, own, why)
                matrix[unknowns.index(unknown.value)].append(times(here, _read(kernel)))
            right += [times(here, _read(part)) for part in self._known(pairs, write.constant, why)]
        blocks = [self._block(parts, why) if parts else None for parts in matrix]
        return blocks, self.emitter.pointwise(_total(right), self._labels(own.axes), why)

    def _block(self, parts: list[Expr], why: Why) -> Ref:
        block = self.emitter.pointwise(_total(parts), None, why)
        axes = [a for a in block.axes if a not in (ROW, COLUMN)] + [ROW, COLUMN]
        return self.emitter.pointwise(_read(block), axes, why)

    def _kernel(self, pairs: _Pairs, unknown: Ref, scale: Expr, target: Ref, why: Why) -> Ref:
        """The matrix that multiplies one unknown within the chunk, under the labels of the row `target`."""
        factors = self._within(pairs, scale, why)
        out = self._labels(pairs.read.out.axes)
        inner = self._inner_labels(pairs)
        through = [inner[a] for a in unknown.axes if a != TOKEN]
        reached = [pairs.under.get(a) if a in out else None for a in through]
        if reached != [a for a in target.axes if a != TOKEN]:
            raise NotAffine("its features are mixed by the read of its own result")
        shared = [a for a in out if a in _all(factors) and a != ROW]
        return self.emitter.product(factors, [*shared, ROW, COLUMN], why).relabel(pairs.under)

    def _known(self, pairs: _Pairs, constant: Expr, why: Why) -> list[Ref]:
        """What a strict read finds that no unknown has a part in: earlier chunks, and known writes."""
        node = pairs.read
        out = self._labels(node.out.axes)
        parts = self.earlier(node, pairs.memory, self._gates_of(pairs), why)
        if constant != Const(0):
            terms = constant.terms if isinstance(constant, Add) else (constant,)
            parts += [self._within(pairs, term, why) for term in terms]
        return [
            self.emitter.product(p, [a for a in out if a in _all(p)], why).relabel(pairs.under) for p in parts
        ]

    def _within(self, pairs: _Pairs, scale: Expr, why: Why) -> list[Ref]:
        """The factors of pairs of one chunk, with what the written value has beside the unknown."""
        fine = self.emitter.tile("fine", True, self._gates_of(pairs), why, pairs.memory.within)
        assert fine is not None
        factors = [*self.pairs(pairs.read, pairs.own.value), fine]
        names = self._inner_labels(pairs) | {ROW: COLUMN}
        for factor in factors_of(scale) if scale != ONE else ():
            factors.append(self.emitter.pointwise(self._here(factor), None, why).relabel(names))
        return [*factors, *self._repeated(pairs, factors, why)]

    def _repeated(self, pairs: _Pairs, factors: list[Ref], why: Why) -> list[Ref]:
        """The sizes of the labels that the written value has and the read sums, where no factor has them: a
        term of a sum need not have all of its labels."""
        present = _all(factors) | set(self._labels(pairs.read.out.axes))
        labels = (Bind(a, self.graph.extents[a]) for a in self._inner_labels(pairs).values())
        missing = [bind for bind in labels if bind.name not in present]
        if any(isinstance(bind.extent, Symmetric) for bind in missing):
            raise NotAffine("what it writes lacks a packed label that its read sums over")
        return [self.emitter.pointwise(counted(ONE, missing, ()), (), why)] if missing else []

    def _inner_labels(self, pairs: _Pairs) -> dict[str, str]:
        """Labels of the written value as the read of its state calls them."""
        inner = self.inner(pairs.read, pairs.memory)
        both = zip(pairs.written.axes, pairs.own.axes, strict=True)
        return {mine: inner[theirs] for mine, theirs in both if mine != TOKEN}

    def _gates_of(self, pairs: _Pairs) -> list[GateUse]:
        names = dict(zip(pairs.memory.axes, pairs.read.state.axes, strict=True))
        gates = self.gates(pairs.memory, pairs.read.reading.inclusive)
        return [replace(g, gate=g.gate.relabel(names)) for g in gates]

    def gates(self, memory: Memory, inclusive: tuple[bool, ...] | None = None) -> list[GateUse]:
        """The gates of a state as tiles use them."""
        uses = []
        for k, (gate, log) in enumerate(memory.gates):
            ref = self.ref(gate)
            uses.append(GateUse(ref, log, inclusive is None or inclusive[k], ROW not in ref.axes))
        return uses

    def stage(self, node: Stage, memory: Memory) -> Ref:
        items = [self.ref(r) for r in node.items]
        pairs = self.pair_terms(node)
        out = self._labels(node.out.axes)
        names = dict(zip(memory.axes, node.state.axes, strict=True))
        gates = self.gates(memory, node.reading.inclusive)
        relabelled = [replace(g, gate=g.gate.relabel(names)) for g in gates]
        parts: list[Expr] = []
        for block in node.reading.split():
            text = "from the state" if block.earlier else "within the chunk"
            why = rule(node.why, text)
            if block.earlier:
                terms = self.earlier(node, memory, relabelled, why)
            else:
                tile = self.emitter.tile(block.tile, node.reading.strict, relabelled, why, memory.within)
                assert tile is not None
                terms = [[*factors, tile] for factors in pairs]
                if self._carried(items, terms, relabelled, out, node):
                    return self._scan(node, memory, items, gates, names, out)
            for factors in terms:
                kept = [a for a in out if a in _all(factors)]
                parts.append(_read(self.emitter.product(factors, kept, why)))
        return self.emitter.pointwise(Add(tuple(parts)), out, rule(node.why, "sum of both"))

    def earlier(self, node: Stage, memory: Memory, gates: list[GateUse], why: Why) -> list[list[Ref]]:
        """What a stage reads of the tokens before the chunk: the factors of each term."""
        left = self.emitter.tile("left", node.reading.strict, gates, why)
        own = [self.ref(r) for r in node.items] + ([left] if left is not None else [])
        if memory.within is None:
            return [[Ref(node.state.value, node.state.axes), *own]]
        why = rule(why, "window: the band before the whole chunks")
        label = self.columns(NEAR, memory.within)
        pairs = self.pairs(node, column=label) + ([left] if left is not None else [])
        total = self.whole_chunks(memory, why)[0]
        names = dict(zip(memory.axes, node.state.axes, strict=True))
        return [[total.relabel(names), *own], self.band(node, memory, pairs, label, why)]

    def from_state(self, node: Stage, gates: list[GateUse]) -> Ref:
        why = rule(node.why, "from the state")
        (factors,) = self.earlier(node, self.graph.memories[node.state.value], gates, why)
        kept = [a for a in self._labels(node.out.axes) if a in _all(factors)]
        return self.emitter.product(factors, kept, why)

    def is_carried(self, node: Stage) -> bool:
        memory = self.graph.memories[node.state.value]
        items = [self.ref(r) for r in node.items]
        gates = self.gates(memory, node.reading.inclusive)
        out = self._labels(node.out.axes)
        return bool(items) and self._carried(items, self.pair_terms(node), gates, out, node)

    def _carried(
        self, items: list[Ref], pairs: list[list[Ref]], gates: list[GateUse], out: list[str], node: Stage
    ) -> bool:
        """Whether a scan of every token's state is cheaper than `pairs` of tokens: the factors of terms."""
        if self.graph.memories[node.state.value].within is not None:
            return False  # a window has no state to scan
        if not items:
            return True
        features = {a for g in gates for a in g.gate.axes if a != ROW}
        within = sum(self._multiply_adds(term, out) for term in pairs) * (2 if features else 1)
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
        right = self.emitter.tile("right", False, gates, why)
        late = [] if right is None else [right.relabel({ROW: COLUMN})]
        parts = []
        for factors in self.write_terms(memory):
            kept = [a for a in memory.axes if a in _all([*factors, *late])]
            parts.append(_read(self.emitter.product([*factors, *late], kept, why)))
        addend = self.emitter.pointwise(_total(parts), None, why)
        through = self.emitter.tile("through", False, gates, why)
        return [Update(Ref(memory.name, memory.axes), through, addend, why=why)]


def _total(parts: list[Expr]) -> Expr:
    return Const(0) if not parts else parts[0] if len(parts) == 1 else Add(tuple(parts))


def _read(ref: Ref) -> Expr:
    return Read(ref.value, tuple(Index(a) for a in ref.axes))


def _all(refs: list[Ref]) -> set[str]:
    return {a for r in refs for a in r.axes}
