"""Printing steps as NumPy statements.

Arrays have the leading batch axes first and one axis for each label after them; alignment inserts axes of
length 1. A value that is not used again is overwritten where its shape is known to hold the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tensorc.backends.numpy_expr import ExprPrinter, align, compared
from tensorc.backends.numpy_names import Names
from tensorc.ir import Add, Expr, Extent, Index, Mul, Node, Read, Size, walk
from tensorc.plan import (
    COLUMN,
    HERE,
    ROW,
    Contract,
    Fill,
    Fold,
    GateUse,
    Gather,
    Keep,
    Load,
    Map,
    Normalise,
    Plan,
    Recur,
    Ref,
    ScanTile,
    Step,
    Tile,
    Update,
)

FOLDS = {
    "sum": ("np.add", "0"),
    "prod": ("np.multiply", "1"),
    "max": ("np.maximum", "-np.inf"),
    "min": ("np.minimum", "np.inf"),
}


@dataclass(slots=True)
class Made:
    """What is known of a value: its variable, the inputs it depends on, and whether it may be overwritten."""

    name: str
    inputs: frozenset[str]
    own: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What is known of the leading batch dimensions when source is printed: the inputs that have all of
    them, and whether there are none."""

    full: frozenset[str] = frozenset()
    none: bool = False


ANY = Batch()


class StepPrinter:
    """Prints the steps of one plan; `lines` collects them at the current indentation."""

    def __init__(self, plan: Plan, names: Names, batch: Batch = ANY) -> None:
        self.plan, self.names, self.batch = plan, names, batch
        self.lines: list[str] = []
        self.made: dict[str, Made] = {}
        self.uses: dict[str, int] = {}
        self.raw: frozenset[str] = frozenset()
        self.given: frozenset[str] = frozenset()
        self.depth = 1
        self.reverse = False
        self.extents = dict(plan.extents)
        self.printer = ExprPrinter(self._name, self._position, self.size, self._batched)
        self.comments: set[str] = set()
        self.running: set[str] = set()

    # -- text ------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """One statement at the current depth."""
        self.lines.append("    " * self.depth + text)

    def size(self, extent: Extent) -> str:
        """An extent as Python: a product of size variables."""
        parts = [self.names.size(n) for n in extent.names]
        if extent.coefficient != 1 or not parts:
            parts.insert(0, str(extent.coefficient))
        return parts[0] if len(parts) == 1 else f"({' * '.join(parts)})"

    def _name(self, value: str, given: bool) -> str:
        made = self.made[value]
        return f"{made.name}_given" if given and value in self.raw else made.name

    def _batched(self, value: str) -> bool:
        return bool(self.made[value].inputs)

    def _position(self, label: str) -> str:
        if label == ROW:
            return "rows"
        return f"np.arange({self.size(self.extents[label])})"

    def _length(self, label: str) -> str:
        return "length" if label in (ROW, COLUMN) else self.size(self.extents[label])

    def _new(self, out: Ref, inputs: Iterable[Ref], own: bool = True) -> Made:
        union = frozenset().union(*(self.made[r.value].inputs for r in inputs))
        made = Made(self.names.value(out.value), union, own)
        self.made[out.value] = made
        return made

    def _use(self, ref: Ref) -> bool:
        """Count a use; whether it was the last one of a value that may be overwritten."""
        self.uses[ref.value] = self.uses.get(ref.value, 1) - 1
        made = self.made[ref.value]
        return made.own and self.uses[ref.value] == 0

    def _holds(self, mine: Made, others: Iterable[Made]) -> bool:
        """Whether the batch axes of a value are known to hold those of the others."""
        return bool(mine.inputs & self.batch.full) or all(o.inputs <= mine.inputs for o in others)

    def _at(self, ref: Ref, axes: Sequence[str]) -> str:
        return align(self.made[ref.value].name, ref, axes, self._batched(ref.value))

    def comment(self, step: Step) -> None:
        """Say once which equation the steps that follow compute, and each rule of it once."""
        why = step.why
        if why.equation and why.equation not in self.comments:
            self.comments.add(why.equation)
            line = f"  (line {why.line})" if why.line else ""
            text = why.equation if len(why.equation) < 90 else why.equation[:87] + "..."
            self.line(f"# {text}{line}")

    # -- steps -----------------------------------------------------------------------------------------

    def block(self, steps: Sequence[Step]) -> None:
        """Print steps; how often each value is used decides what is overwritten."""
        self.running = set()
        for step in steps:
            for ref in step_inputs(step):
                self.uses[ref.value] = self.uses.get(ref.value, 0) + 1
        for step in steps:
            self.comment(step)
            getattr(self, f"_{type(step).__name__.lower()}")(step)

    def _load(self, step: Load) -> None:
        name = self.names.value(step.out.value)
        tensor = self.names.tensor(step.tensor)
        self.made[step.out.value] = Made(name, frozenset((step.tensor,)))
        rank = len(step.out.axes)
        rows = tensor
        if step.time is not None and self.plan.form == "chunkwise":
            rows = f"{tensor}[{self.rows(rank, step.time)}]"
        if self.plan.form == "recurrent" and step.time is not None:
            self.made[step.out.value] = Made(tensor, frozenset((step.tensor,)))
            if step.tensor in self.given:
                self.line(
                    f"{tensor}_given, {tensor} = {tensor}, np.asarray({tensor}).astype(compute, copy=False)"
                )
            return
        if step.out.value in self.raw:
            self.line(f"{name}_given = {rows}")
            rows = f"{name}_given"
        if name != tensor or rows != tensor or step.tensor in self.plan.inputs:
            self.line(f"{name} = {rows}.astype(compute, copy=False)")

    def rows(self, rank: int, axis: int) -> str:
        """The subscript that takes the rows of the current chunk."""
        after = [":"] * (rank - axis - 1)
        if self.reverse:
            return ", ".join(["...", "window", *after])
        return ", ".join(["...", "start:stop", *after])

    def _gather(self, step: Gather) -> None:
        self._use(step.source)
        source = self.made[step.source.value].name
        direct = self._slice(step)
        made = self._new(step.out, [step.source], own=False)
        if direct is not None:
            self.line(f"{made.name} = {source}[{direct}]")
            return
        parts = []
        for label, subscript in zip(step.source.axes, step.subscripts, strict=True):
            if label == ROW:
                parts.append(align("np.arange(length)", Ref("", (ROW,)), step.out.axes, False))
            else:
                parts.append(self.printer.given(subscript, step.out.axes))
        self.line(f"{made.name} = _read({source}, {', '.join(parts)})")

    def _slice(self, step: Gather) -> str | None:
        """Plain indices beside the position of a recursion: an ordinary subscript."""
        names = [s.name for s in step.subscripts if isinstance(s, Index)]
        scalar = [s for s in step.subscripts if s == Size(HERE)]
        if (
            len(names) + len(scalar) != len(step.subscripts)
            or tuple(names) != step.out.axes
            or len(set(names)) != len(names)
        ):
            return None
        return ", ".join(["...", *("t" if s == Size(HERE) else ":" for s in step.subscripts)])

    def _map(self, step: Map) -> None:
        refs = _reads(step.expr)
        last = [self._use(r) for r in refs]
        target = self._overwrite(step.expr, step.out, refs, last)
        if target is not None:
            return
        text = self.printer.value(step.expr, step.out.axes)
        made = self._new(step.out, refs)
        if not refs or set(step.out.axes) - {a for r in refs for a in r.axes}:
            shape = ", ".join(self._length(a) for a in step.out.axes)
            text = (
                f"np.asarray({text}).astype(compute)"
                if not step.out.axes
                else f"np.broadcast_to({text}, np.broadcast_shapes(np.shape({text}), ({shape},))).astype(compute)"
            )
        self.line(f"{made.name} = {text}")
        if isinstance(step.expr, Read):
            made.own = False

    def _overwrite(self, expr: Expr, out: Ref, refs: list[Ref], last: list[bool]) -> Made | None:
        """a + b or a * b written into a, where a is done with and holds the result."""
        parts = expr.terms if isinstance(expr, Add) else expr.factors if isinstance(expr, Mul) else ()
        if len(parts) != 2 or len(refs) != len([p for p in parts if isinstance(p, Read)]):
            return None
        sign = "+" if isinstance(expr, Add) else "*"
        reads = [
            (k, r) for k, (r, free) in enumerate(zip(refs, last, strict=True)) if free and r.axes == out.axes
        ]
        for k, ref in reads:
            others = [r for j, r in enumerate(refs) if j != k]
            made = self.made[ref.value]
            if any(r.value == ref.value for r in others):
                continue
            if self._holds(made, [self.made[r.value] for r in others]):
                other = next(p for p in parts if not (isinstance(p, Read) and p.tensor == ref.value))
                self.line(f"{made.name} {sign}= {self.printer.value(other, out.axes)}")
                self.made[out.value] = Made(made.name, made.inputs, True)
                return made
        return None

    # -- contractions ----------------------------------------------------------------------------------

    def _contract(self, step: Contract) -> None:
        left, right, out = step.left, step.right, step.out
        last_left = self._use(left)
        if right is None:
            made = self._new(out, [left])
            gone = tuple(k - len(left.axes) for k, a in enumerate(left.axes) if a not in out.axes)
            kept = tuple(a for a in left.axes if a in out.axes)
            text = (
                f"{self.made[left.value].name}.sum(axis={gone if len(gone) > 1 else gone[0]})"
                if gone
                else self.made[left.value].name
            )
            text = align(text, Ref("", kept), out.axes, True)
            self.line(f"{made.name} = {text}")
            made.own = bool(gone)
            return
        last_right = self._use(right)
        left, right = self._summed(left, right, out)
        inner = [a for a in left.axes if a in right.axes and a not in out.axes]
        if not inner:
            self._elementwise(left, right, out, last_left, last_right)
        else:
            self._matrix(left, right, out, inner)

    def _summed(self, left: Ref, right: Ref, out: Ref) -> tuple[Ref, Ref]:
        """Operands without the labels that only they have and the result does not need."""
        result = []
        for mine, other in ((left, right), (right, left)):
            alone = [a for a in mine.axes if a not in other.axes and a not in out.axes]
            if alone:
                axes = tuple(a for a in mine.axes if a not in alone)
                ref = Ref(f"{mine.value}:{','.join(alone)}", axes)
                made = self._new(ref, [mine])
                positions = tuple(mine.axes.index(a) - len(mine.axes) for a in alone)
                self.line(f"{made.name} = {self.made[mine.value].name}.sum(axis={positions})")
                mine = ref
            result.append(mine)
        return result[0], result[1]

    def _elementwise(self, left: Ref, right: Ref, out: Ref, last_left: bool, last_right: bool) -> None:
        for mine, other, last in ((left, right, last_left), (right, left, last_right)):
            made = self.made[mine.value]
            if (
                last
                and mine.axes == out.axes
                and mine.value != other.value
                and self._holds(made, [self.made[other.value]])
            ):
                self.line(f"{made.name} *= {self._at(other, out.axes)}")
                self.made[out.value] = Made(made.name, made.inputs, True)
                return
        text = f"{self._at(left, out.axes)} * {self._at(right, out.axes)}"
        made = self._new(out, [left, right])
        self.line(f"{made.name} = {text}")

    def _matrix(self, left: Ref, right: Ref, out: Ref, inner: list[str]) -> None:
        shared = [a for a in out.axes if a in left.axes and a in right.axes]
        mine = [a for a in out.axes if a in left.axes and a not in shared]
        theirs = [a for a in out.axes if a in right.axes and a not in shared]
        if [*shared, *theirs, *mine] == list(out.axes) and mine and theirs:
            left, right, mine, theirs = right, left, theirs, mine
        elif not mine:
            left, right, mine, theirs = right, left, theirs, mine
        # `mine` is not empty from here on unless both are.
        text = self._product(left, right, shared, mine, theirs, inner)
        made = self._new(out, [left, right])
        result = Ref("", (*shared, *mine, *theirs))
        if result.axes != out.axes:
            text = align(
                text if text.endswith(")") and text.startswith("_") else f"({text})", result, out.axes, True
            )
        self.line(f"{made.name} = {text}")

    def _product(
        self, left: Ref, right: Ref, shared: list[str], mine: list[str], theirs: list[str], inner: list[str]
    ) -> str:
        if mine and not theirs and len(mine) == len(inner) == 1 and left.axes == (*shared, *inner, *mine):
            # A row vector times the matrix as it lies in memory, rather than its transposition.
            vector = self._at_all(right, [*shared, *inner], shared)
            if self.batch.none and not shared:
                return f"{vector} @ {self.made[left.value].name}"
            return f"({vector}[..., None, :] @ {self.made[left.value].name})[..., 0, :]"
        a = self._at_all(left, [*shared, *mine, *inner], shared)
        b = self._at_all(right, [*shared, *inner, *theirs], shared)
        if len(mine) <= 1 and len(theirs) <= 1 and len(inner) == 1:
            if mine and theirs:
                return f"{a} @ {b}"
            if mine:
                return f"{a} @ {b}" if self.batch.none and not shared else f"({a} @ {b}[..., None])[..., 0]"
            return f"({a}[..., None, :] @ {b}[..., None])[..., 0, 0]"
        return f"_matmul({a}, {b}, {len(mine)}, {len(inner)}, {len(theirs)})"

    def _at_all(self, ref: Ref, axes: list[str], shared: list[str]) -> str:
        return align(self.made[ref.value].name, ref, axes, True)

    # -- relations -------------------------------------------------------------------------------------

    def _tile(self, step: Tile) -> None:
        features = [a for a in step.out.axes if a not in (step.rows, step.columns)]
        for use in step.gates:
            self._use(use.gate)
        refs = [u.gate for u in step.gates]
        parts = [self._decay(use, step, features) for use in step.gates]
        made = self._new(step.out, refs, own=bool(refs))
        size = self._length(step.rows)
        if not step.gates:
            text = f"np.tri({size}, {size}, {-1 if step.strict else 0}, dtype=compute)"
            self.line(
                f"{made.name} = {align(text, Ref('', (step.rows, step.columns)), step.out.axes, False)}"
            )
            return
        self.line(f"{made.name} = {' * '.join(parts)}")

    def _mask(self, step: Tile, features: list[str]) -> str:
        size = self._length(step.rows)
        late = f"np.arange({size})[:, None{', None' * len(features)}]"
        early = f"np.arange({size})[:{', None' * len(features)}]"
        return f"({early} {'<' if step.strict else '<='} {late})"

    def _sums(self, gate: Ref, log: bool, axis: int) -> str:
        """The variable with a gate's running sums, made once in a block."""
        sums = self.names.value(f"{gate.value}:sums:{axis}")
        if sums not in self.running:
            self.running.add(sums)
            self.line(f"{sums} = _decay({self.made[gate.value].name}, {log}, {axis})")
        return sums

    def _decay(self, use: GateUse, step: Tile, features: list[str]) -> str:
        """One gate's part of a tile."""
        gate = use.gate
        if use.constant:
            return self._constant_decay(use, step, features)
        axis = gate.axes.index(step.rows) - len(gate.axes)
        sums = self._sums(gate, use.log, axis)
        late = sums
        if not use.inclusive and step.part in ("fine", "left"):
            late = self.names.value(f"{gate.value}:before:{axis}")
            if late not in self.running:
                self.running.add(late)
                self.line(f"{late} = _before({sums}, {axis})")
        if step.part == "left":
            return self._spread(f"_segment({late}, None, compute)", gate, step.out.axes)
        if step.part == "right":
            last = ", ".join(
                ["...", *("slice(-1, None)" if a == step.rows else "slice(None)" for a in gate.axes)]
            )
            return self._spread(f"_segment(_at({sums}, ({last})), {sums}, compute)", gate, step.out.axes)
        if step.part == "through":
            end = ", ".join(["...", *("-1" if a == step.rows else "slice(None)" for a in gate.axes)])
            own = tuple(a for a in gate.axes if a != step.rows)
            return self._spread(f"_segment(_at({sums}, ({end})), None, compute)", Ref("", own), step.out.axes)
        return self._fine(gate, step, features, late, sums)

    def _fine(self, gate: Ref, step: Tile, features: list[str], late: str, early: str) -> str:
        """Pairs of positions: differences of the running sums, masked before they are exponentiated."""
        full = (step.rows, step.columns, *features)
        moved = (step.rows, *(f for f in features if f in gate.axes))
        if gate.axes != moved:
            positions = ", ".join(str(gate.axes.index(a)) for a in moved)
            late = f"tuple(None if p is None else _permute(p, {positions}) for p in {late})"
            early = f"tuple(None if p is None else _permute(p, {positions}) for p in {early})"
        up = self._subscript(moved, full, step.rows, step.rows)
        down = self._subscript(moved, full, step.rows, step.columns)
        future = f"_future({self._length(step.rows)}, {step.strict}, {len(features)}, compute)"
        text = f"_segment(_at({late}, {up}), _at({early}, {down}), compute, {future})"
        if step.part == "outside":
            text = f"np.where({self._mask(step, features)}, {text}, compute.type(1))"
        return self._spread(text, Ref("", full), step.out.axes)

    def _subscript(self, axes: tuple[str, ...], full: tuple[str, ...], rows: str, place: str) -> str:
        """Where a gate's axes go in a tile: its rows at `place`, its features in order."""
        marks = ["slice(None)" if a == place or (a in axes and a != rows) else "None" for a in full]
        return f"(..., {', '.join(marks)})"

    def _spread(self, text: str, ref: Ref, axes: tuple[str, ...]) -> str:
        return align(text, Ref("", ref.axes), axes, True)

    def _constant_decay(self, use: GateUse, step: Tile, features: list[str]) -> str:
        """A gate that is the same at every token: powers of it."""
        mask = self._mask(step, features) if step.part in ("fine", "outside") else None
        length = self._length(step.rows)
        back = 0 if use.inclusive else 1
        steps = {
            "left": f"np.arange(1 - {back}, {length} + 1 - {back})",
            "right": f"np.arange({length} - 1, -1, -1)",
            "through": f"np.asarray({length})",
            "fine": f"(np.arange({length})[:, None] - np.arange({length}) - {back})",
            "outside": f"(np.arange({length})[:, None] - np.arange({length}) - {back})",
        }[step.part]
        own = [a for a in step.out.axes if a in (step.rows, step.columns)]
        exponent = align(steps, Ref("", tuple(own)), step.out.axes, False)
        base = self._at(use.gate, step.out.axes)
        if mask is None:
            count = f"{exponent}.astype(compute)"
        else:
            count = f"np.maximum({exponent}, 0).astype(compute)"
        text = f"np.exp({base} * {count})" if use.log else f"np.power({base}, {count})"
        if step.part == "outside":
            return f"np.where({mask}, {text}, compute.type(1))"
        return text if mask is None else f"np.where({mask}, {text}, compute.type(0))"

    def _scantile(self, step: ScanTile) -> None:
        for ref in (step.writes, step.state, *(u.gate for u in step.gates)):
            self._use(ref)
        axis = -len(step.out.axes) + step.out.axes.index(ROW)
        gate = "None"
        if step.gates:
            gate = " * ".join(self._gate_value(u, step.out.axes) for u in step.gates)
        made = self._new(step.out, [step.writes, step.state, *(u.gate for u in step.gates)])
        state = self._at(step.state, [a for a in step.out.axes if a != ROW])
        self.line(f"{made.name} = _scan({self._at(step.writes, step.out.axes)}, {gate}, {state}, {axis})")
        if step.strict:
            cut = ", ".join(["...", *(":-1" if a == ROW else ":" for a in step.out.axes)])
            row = ", ".join(["...", *("None" if a == ROW else ":" for a in step.out.axes)])
            full = f"np.broadcast_to({state}[{row}], {made.name}[..., :1{', :' * (-axis - 1)}].shape)"
            self.line(f"{made.name} = np.concatenate([{full}, {made.name}[{cut}]], axis={axis})")
            inclusive = [self._gate_value(u, step.out.axes) for u in step.gates if u.inclusive]
            if inclusive:
                self.line(f"{made.name} = {made.name} * {' * '.join(inclusive)}")

    def _gate_value(self, use: GateUse, axes: tuple[str, ...]) -> str:
        text = self._at(use.gate, axes)
        return f"np.exp({text})" if use.log else text

    # -- reductions, recursion, state ------------------------------------------------------------------

    def _fold(self, step: Fold) -> None:
        refs = [r for n in (step.body, *step.domain) for r in _reads(n)]
        for ref in refs:
            self._use(ref)
        full = (*step.out.axes, *step.over)
        body, mask, axis = self._folded(step.body, step.domain, full, len(step.over))
        made = self._new(step.out, refs)
        if step.op == "logsumexp":
            self.line(f"{made.name} = _logsumexp({body}, {mask}, {axis})")
        else:
            ufunc, start = FOLDS[step.op]
            self.line(f"{made.name} = _reduce({ufunc}, {body}, {mask}, {start}, {axis})")

    def _folded(
        self, body: Expr, domain: tuple[Node, ...], full: Sequence[str], count: int
    ) -> tuple[str, str, str]:
        shape = ", ".join(self._length(a) for a in full)
        text = self.printer.value(body, full)
        spread = f"np.asarray({text}, compute)"
        spread = f"np.broadcast_to({spread}, np.broadcast_shapes(np.shape({spread}), ({shape},)))"
        if {a for r in _reads(body) for a in r.axes} >= set(full):
            spread = text
        mask = " & ".join(self.printer.condition(c, full) for c in domain) or "True"  # type: ignore[arg-type]
        axis = tuple(range(-count, 0))
        return spread, mask, str(axis)

    def _normalise(self, step: Normalise) -> None:
        refs = [r for n in (step.body, *step.domain) for r in _reads(n)]
        for ref in refs:
            self._use(ref)
        full = (*(a for a in step.out.axes if a not in step.over), *step.over)
        body, mask, axis = self._folded(step.body, step.domain, full, len(step.over))
        made = self._new(step.out, refs)
        text = align(f"_softmax({body}, {mask}, {axis})", Ref("", full), step.out.axes, True)
        self.line(f"{made.name} = {text}")

    def _recur(self, step: Recur) -> None:
        for full in step.targets:
            made = self._new(full, [], own=False)
            made.inputs = frozenset(self.plan.inputs)
            shape = ", ".join(self._length(a) for a in full.axes)
            self.line(f"{made.name} = np.zeros(batch + ({shape},), compute)")
        size = self.size(step.extent)
        span = f"range({size})" if not step.reverse else f"reversed(range({size}))"
        self.line(f"for t in {span}:")
        self.depth += 1
        self.names.here = "t"
        self.block(step.steps)
        self.depth -= 1

    def _fill(self, step: Fill) -> None:
        self._use(step.row)
        target = self.made[step.target].name
        where = ", ".join(["...", *("t" if a == HERE else ":" for a in step.axes)])
        self.line(f"{target}[{where}] = {self._at(step.row, [a for a in step.axes if a != HERE])}")

    def _update(self, step: Update) -> None:
        state = self.made[step.state.value].name
        self._use(step.addend)
        if step.replace:
            return
        if step.through is not None:
            self._use(step.through)
            self.line(f"{state} *= {self._at(step.through, step.state.axes)}")
        self.line(f"{state} += {self._at(step.addend, step.state.axes)}")

    def _keep(self, step: Keep) -> None:
        self._use(step.value)
        tensor = self.names.tensor(step.tensor)
        value = self._at(step.value, step.axes)
        if self.plan.form == "recurrent":
            return
        where = self.rows(len(step.axes), step.axes.index(ROW))
        self.line(f"{tensor}[{where}] = {value}")


def _reads(node: Node) -> list[Ref]:
    return [
        Ref(n.tensor, tuple(s.name for s in n.subscripts))  # type: ignore[union-attr]
        for n in walk(node)
        if isinstance(n, Read)
    ]


def step_inputs(step: Step) -> list[Ref]:
    """The values a step reads, once for each time."""
    match step:
        case Gather(source=source):
            return [source]
        case Map(expr=expr):
            return _reads(expr)
        case Contract(left=left, right=right):
            return [left] if right is None else [left, right]
        case Tile(gates=gates):
            return [g.gate for g in gates]
        case ScanTile():
            return [step.writes, step.state, *(g.gate for g in step.gates)]
        case Fold() | Normalise():
            return [r for n in (step.body, *step.domain) for r in _reads(n)]
        case Fill(row=row):
            return [row]
        case Update():
            return [step.addend] if step.through is None else [step.through, step.addend]
        case Keep(value=value):
            return [value]
        case Recur(steps=steps):
            return [r for s in steps for r in step_inputs(s)] * 2
    return []


def given_values(steps: Iterable[Step]) -> frozenset[str]:
    """Values that conditions compare as they are given."""
    found: frozenset[str] = frozenset()
    for step in steps:
        if isinstance(step, Map):
            found |= compared(step.expr)
        elif isinstance(step, Fold | Normalise):
            found |= compared(step.body).union(*(compared(c) for c in step.domain))
        elif isinstance(step, Recur):
            found |= given_values(step.steps)
        elif isinstance(step, Gather):
            continue
    return found
