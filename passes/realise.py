"""From the stage graph to the plan of a form: what the chunkwise and recurrent forms share.

A `Realiser` walks the passes of the schedule. Graph values become steps of the current loop when they
are first needed; a value of an earlier loop is made again or loaded from where that loop kept it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from tensorc.ir import Call, Cond, Expr, Extent, Index, Node, Program, Read, Size, rebuild, substitute
from tensorc.passes.blockwise import Pass, node_inputs, schedule
from tensorc.passes.emit import BODY, CONSTANT, SETUP, Emitter
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import (
    Folded,
    Graph,
    GraphNode,
    Memory,
    Packed,
    Product,
    Shift,
    Stage,
    Tensor,
    Value,
)
from tensorc.plan import (
    COLUMN,
    HERE,
    NEAR,
    ROW,
    Delay,
    Keep,
    Load,
    Loop,
    Monomials,
    Plan,
    Ref,
    State,
    Step,
    Tail,
    Update,
    Why,
)
from tensorc.plan_io import step_inputs, step_outputs

if TYPE_CHECKING:
    from tensorc.passes.folding import Folds

Bound = tuple[str, tuple[int, ...]]


class Realiser(ABC):
    """Builds the plan of one form; subclasses say how a stage is read and its state advanced."""

    form: str
    token: str | None  # what the token axis is called in steps; None if it is not there

    def __init__(
        self, program: Program, graph: Graph, time: Extent, sizes: Mapping[str, int], chunk: int
    ) -> None:
        self.program, self.graph, self.time, self.sizes, self.chunk = program, graph, time, sizes, chunk
        self.schedule = schedule(graph)
        self.inputs = {i.name: i for i in program.inputs}
        self.nodes: dict[str, GraphNode] = {}
        for part in self.schedule.passes:
            self.nodes.update((n.out.value, n) for n in (*part.constants, *part.nodes))
        self.kept: dict[str, Ref] = {}
        self.final: dict[str, Bound] = {}
        self.bound: dict[str, Bound] = {}
        self.here: set[str] = set()
        self.counter = [0]
        self.part = Pass()
        self.windows: dict[str, Expr] = {}  # the widths of windows, by the labels of their columns
        self.reader: Folds | None = None
        self.later: list[tuple[str, bool]] = []

    def plan(self) -> Plan:
        """The plan of the form."""
        self._find_kept()
        loops: list[Loop] = []
        stored: list[str] = []
        epilogue: tuple[Step, ...] = ()
        for k, part in enumerate(self.schedule.passes):
            loop = self._loop(part, k, stored)
            if loop.body:
                loops.append(loop)
            else:
                epilogue += loop.before
        sizes = tuple(self.graph.extents.items())
        kept = tuple(self.kept.values())
        epilogue += tuple(self._passed_on())
        outputs = tuple((o.name, self._output(o.name)) for o in self.program.outputs)
        return Plan(
            form=self.form,
            program=self.program.name,
            time=self.time,
            inputs=tuple(self.inputs),
            outputs=outputs,
            loops=tuple(loops),
            epilogue=epilogue,
            kept=kept,
            stored=tuple(stored),
            extents=sizes,
            chunk=self.chunk,
            ascending=tuple(sorted(self.graph.ascending)),
            wide=tuple(whole.value for value, whole in self.kept.items() if self.is_wide(value)),
            windows=tuple((a, width) for a, width in self.windows.items() if a.startswith(NEAR)),
            tensors=tuple((t.name, t.axes) for t in (*self.program.inputs, *self.program.outputs)),
        )

    # -- values that cross loops -----------------------------------------------------------------------

    def _find_kept(self) -> None:
        for k, part in enumerate(self.schedule.passes):
            for node in (*part.constants, *part.nodes):
                if isinstance(node, Folded):
                    self._keep_columns(node)
                if not isinstance(node, Stage) or not self.graph.memories[node.state.value].total:
                    self._keep_for(node, k)
            for memory in part.memories:
                for ref in (*memory.writes, *(g for g, _ in memory.gates)):
                    self._keep_value(ref.value, k)

    def _keep_for(self, node: GraphNode, k: int) -> None:
        for value in node_inputs(self.graph, node):
            self._keep_value(value, k)

    def _keep_columns(self, node: Folded) -> None:
        """What a fold reads at columns after the row must be whole before it."""
        for value, _ in node.cached if node.lag is None else ():
            source = self.nodes.get(value)
            if source is not None and TOKEN in source.out.axes:
                self.kept[value] = Ref(f"{value}_kept", source.out.axes)

    def _keep_value(self, value: str, k: int) -> None:
        node = self.nodes.get(value)
        if node is None or TOKEN not in node.out.axes or self.schedule.first[value] == k:
            return
        if value in self.schedule.remade:
            self._keep_for(node, k)
        else:
            self.kept[value] = Ref(f"{value}_kept", node.out.axes)

    # -- loops -------------------------------------------------------------------------------------------

    def _loop(self, part: Pass, k: int, stored: list[str]) -> Loop:
        sizes = {label: extent.value(self.sizes) for label, extent in self.graph.extents.items()}
        self.emitter = Emitter(self._read, sizes | {ROW: self.chunk, COLUMN: self.chunk}, self.counter)
        self.bound = {}
        self.part, self.later = part, []
        self.start()
        for node in part.constants:
            self._make(node)
        shifts = [n for n in part.nodes if isinstance(n, Shift)]
        memories = [m for m in part.memories if m.within is None]  # of a window the writes are kept
        for state in (*(m.name for m in memories), *(s.state.value for s in shifts)):
            self.emitter.provide(state, None, BODY)
        self.here = {n.out.value for n in part.nodes}
        for node in part.nodes:
            self._bound(node.out.value)
        updates = [step for memory in memories for step in self.update(memory)]
        updates += [self._tail(shift) for shift in shifts]
        for value, given in self.later:
            self.folds.cache(value, given)
        updates += self.folds.updates()
        keeps = self._keeps(part, k, stored)
        steps = self._live(keeps + updates)
        states = tuple(State(m.name, m.axes, m.why, wide=self.is_wide_state(m)) for m in memories)
        states += tuple(State(s.state.value, s.state.axes, s.why) for s in shifts)
        states += self.folds.states
        body = (*steps[BODY], *keeps, *updates) if part.nodes or part.memories or keeps else ()
        return Loop(bool(part.reverse), states, tuple(steps[CONSTANT]), tuple(steps[SETUP]), body)

    def is_wide(self, value: str) -> bool:
        """Whether a value is float64, whatever the rest is."""
        node = self.nodes.get(value)
        if isinstance(node, Stage):
            return self.is_wide_state(self.graph.memories[node.state.value])
        return isinstance(node, Value) and isinstance(node.expr, Call) and node.expr.function == "wide"

    def is_wide_state(self, memory: Memory) -> bool:
        """Whether what is written to a state is float64."""
        return any(self.is_wide(r.value) for r in memory.writes)

    def start(self) -> None:
        """A new loop."""
        self.folds.start()

    def _live(self, ends: list[Step]) -> dict[int, list[Step]]:
        """The steps that something needs: the ends of the loop, later loops, or the outputs."""
        needed = {ref.value for step in ends for ref in step_inputs(step)}
        needed |= {value for value, _ in self.final.values()}
        kept: dict[int, list[Step]] = {}
        for level in (BODY, SETUP, CONSTANT):
            kept[level] = []
            for step in reversed(self.emitter.steps[level]):
                if any(ref.value in needed for ref in step_outputs(step)):
                    kept[level].insert(0, step)
                    needed |= {ref.value for ref in step_inputs(step)}
        return kept

    def _keeps(self, part: Pass, k: int, stored: list[str]) -> list[Step]:
        """Outputs and values for later loops that this loop has the rows of."""
        keeps: list[Step] = []
        here = {n.out.value for n in part.nodes}
        for declaration in self.program.outputs:
            tensor = self.graph.tensors[declaration.name]
            own = tensor.value in here or (tensor.value in self.inputs and k == 0)
            if own and self.time in declaration.axes:
                labels = tuple(
                    (self.token or TOKEN) if a == self.time else f"#{n}"
                    for n, a in enumerate(declaration.axes)
                )
                ref = self._read(declaration.name, labels)
                order = tuple(a for a in labels if a != TOKEN)
                keeps.append(Keep(declaration.name, ref, order))
                stored.append(declaration.name)
        for value, whole in self.kept.items():
            if value in here:
                ref = self.ref(self.nodes[value].out)
                keeps.append(Keep(whole.value, ref, tuple(self._labels(whole.axes))))
        return keeps

    def _passed_on(self) -> list[Load]:
        """The inputs without the time axis that are outputs as they are."""
        loads = []
        for output in self.program.outputs:
            source = self.graph.tensors[output.name].value
            if source in self.inputs and self.time not in output.axes and source not in self.final:
                labels = tuple(f"#{k}" for k in range(len(output.axes)))
                loads.append(Load(Ref(f"${source}_whole", labels), source, None))
                self.final[source] = (f"${source}_whole", tuple(range(len(labels))))
        return loads

    def _output(self, name: str) -> Ref:
        """An output that no loop stored: a value without the time axis."""
        tensor = self.graph.tensors[name]
        if tensor.value in self.final:
            value, order = self.final[tensor.value]
            axes = [""] * len(order)
            for k, position in enumerate(tensor.positions):
                axes[order.index(position)] = f"#{k}"
            return Ref(value, tuple(axes))
        return Ref(name, tuple(f"#{k}" for k in range(len(tensor.positions))))

    # -- nodes -------------------------------------------------------------------------------------------

    def _make(self, node: GraphNode) -> None:
        """Emit the steps of a node in the current loop."""
        made = self.solved(node)
        if made is not None:
            pass
        elif isinstance(node, Value):
            made = self.emitter.pointwise(self._here(node.expr), self._labels(node.out.axes), node.why)
        elif isinstance(node, Product):
            items = [self.ref(r) for r in node.items]
            made = self.emitter.product(items, self._labels(node.out.axes), node.why)
        elif isinstance(node, Packed):
            made = self._packed(node)
        elif isinstance(node, Shift):
            made = self._shift(node)
        elif isinstance(node, Folded):
            self.folds.build(node)
            return
        elif self.graph.memories[node.state.value].total:
            made = node.state
            self.emitter.provide(made.value, None, CONSTANT)
        else:
            made = self.stage(node, self.graph.memories[node.state.value])
        self.bind(node, made)

    def bind(self, node: GraphNode, made: Ref) -> None:
        """Note which step made a value."""
        labels = self._labels(node.out.axes)
        self.bound[node.out.value] = (made.value, tuple(labels.index(a) for a in made.axes))
        if TOKEN not in node.out.axes:
            self.final[node.out.value] = self.bound[node.out.value]

    def _packed(self, node: Packed) -> Ref:
        """The products of some elements of a value, each once."""
        lower, factor, labels = self.ref(node.lower), self.ref(node.factor), self._labels(node.out.axes)
        why = rule(node.why, "symmetric power: each product once")
        step = Monomials(
            self.emitter.fresh(labels),
            lower,
            factor,
            node.first,
            node.last,
            node.label,
            node.power,
            node.weighted,
            why,
        )
        return self.emitter.add(step, [lower, factor])

    def _shift(self, node: Shift) -> Ref:
        """Earlier rows: of the chunk, and of the state before it."""
        labels = self._labels(node.out.axes)
        why = rule(node.why, "shift: earlier rows")
        alone = self.token is None and isinstance(node.lag, int)
        source = None if alone else self.ref(node.source)
        step = Delay(self.emitter.fresh(labels), source, node.state, node.lag, why)
        return self.emitter.add(step, [node.state] if source is None else [source, node.state], BODY)

    def _tail(self, node: Shift) -> Step:
        why = rule(node.why, "shift: the rows that are still needed")
        step = Tail(self.emitter.fresh(node.state.axes), self.ref(node.source), node.state, why)
        tail = self.emitter.add(step, [step.source, step.state], BODY)
        return Update(node.state, None, tail, replace=True, why=why)

    def _here(self, expr: Expr) -> Expr:
        """An expression at the token of this form: a row of the chunk, or the one position there is."""
        if self.token:
            return substitute(expr, {TOKEN: Index(self.token)})

        def visit(node: Node) -> Node:
            if isinstance(node, Index) and node.name == TOKEN:
                return Size(HERE)
            if isinstance(node, Read):
                parts = tuple(s if s == Index(TOKEN) else visit(s) for s in node.subscripts)
                return replace(node, subscripts=parts)  # type: ignore[arg-type]
            return rebuild(node, visit)

        return visit(expr)  # type: ignore[return-value]

    @overload
    def at_token(self, node: Expr) -> Expr: ...
    @overload
    def at_token(self, node: Cond) -> Cond: ...
    def at_token(self, node: Any) -> Any:
        """An expression or condition of the token `TOKEN` as one of this form."""
        return self._here(node)

    def _labels(self, axes: tuple[str, ...]) -> list[str]:
        return [self.token if a == TOKEN else a for a in axes if a != TOKEN or self.token]  # type: ignore[misc]

    def ref(self, ref: Ref, token: str | None = None) -> Ref:
        """A graph value as a value of this loop, its token axis called `token` (by default the row)."""
        name = token or self.token
        labels = [name if a == TOKEN else a for a in ref.axes if a != TOKEN or name]
        value, order = self._bound(ref.value)
        return Ref(value, tuple(labels[k] for k in order))  # type: ignore[misc]

    def _bound(self, value: str) -> Bound:
        if value in self.bound:
            return self.bound[value]
        if value in self.inputs:
            self.bound[value] = self._load(
                value, tuple(a == self.time for a in self.inputs[value].axes), f"${value}"
            )
        elif value in self.final:
            self.emitter.provide(self.final[value][0], None, CONSTANT)
            self.bound[value] = self.final[value]
        elif value in self.kept and value not in self.here:
            whole = self.kept[value]
            self.bound[value] = self._load(
                whole.value, tuple(a == TOKEN for a in whole.axes), f"${value[1:]}"
            )
        else:
            self._make(self.nodes[value])
        return self.bound[value]

    def _load(self, tensor: str, is_time: tuple[bool, ...], name: str) -> Bound:
        time = is_time.index(True) if any(is_time) else None
        axes = tuple(f"#{k}" for k, t in enumerate(is_time) if not t or self.token)
        step = Load(Ref(name, axes), tensor, time)
        self.emitter.provide(name, step, CONSTANT if time is None else BODY)
        return name, tuple(range(len(axes)))

    def _read(self, tensor: str, labels: tuple[str, ...]) -> Ref:
        """A tensor of the program under labels in its declared order."""
        found = None if self.reader is None else self.reader.read(tensor, labels)
        if found is not None:
            return found
        source: Tensor = self.graph.tensors[tensor]
        storage = self.graph.read(tensor, labels).axes
        value, order = self._bound(source.value)
        here = [a for a in storage if a != TOKEN]
        return Ref(value, tuple(here[k] for k in order))

    @property
    @abstractmethod
    def folds(self) -> Folds:
        """How this form realises folds."""

    # -- what a form must say ------------------------------------------------------------------------------

    def solved(self, node: GraphNode) -> Ref | None:
        """A value that depends on itself, where the form must solve for it."""
        return None

    @abstractmethod
    def stage(self, node: Stage, memory: Memory) -> Ref:
        """The steps that read a state, and the value they make."""

    @abstractmethod
    def update(self, memory: Memory) -> list[Step]:
        """The steps that advance a state, after all reads of the loop."""


def rule(why: Why, text: str) -> Why:
    """The same origin under another rule."""
    return Why(why.equation, text, why.line)
