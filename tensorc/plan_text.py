"""Plans as text: numbered steps in the notation of the language.

Values have the names of the generated source: x7 for the seventh, S1 for a state, q for the rows of q.
Token labels become letters that no feature has, by preference i (reading) and j (writing).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tensorc.ir import Expr, Index, Node, Read, Size, children, rebuild
from tensorc.plan import (
    COLUMN,
    HERE,
    ROW,
    Accumulate,
    Contract,
    Delay,
    Fill,
    Fold,
    GateUse,
    Gather,
    Keep,
    Load,
    Loop,
    Map,
    Monomials,
    Normalise,
    Plan,
    Recur,
    Ref,
    ScanTile,
    Select,
    Slide,
    Solve,
    State,
    Step,
    Stream,
    Tail,
    Tile,
    Update,
)
from tensorc.plan_text_stream import stream_text
from tensorc.printing import print_cond, print_expr
from tensorc.semiring import SEMIRINGS

LETTERS = {ROW: "ipty", COLUMN: "jqsz", HERE: "t", "gate": "umlg"}


def print_plan(plan: Plan) -> str:
    """The plan as numbered steps, loop by loop.

    >>> from tensorc.ir import Add, Const, extent
    >>> x, y = Ref("$x", ("#0",)), Ref("$1", ("i",))
    >>> steps = (Load(x, "x", None), Map(y, Add((Read("$x", (Index("i"),)), Const(1)))))
    >>> plan = Plan("parallel", "f", None, ("x",), (("y", y),), (), steps, (), (), (("i", extent("n")),))
    >>> print(print_plan(plan))
    f, parallel form: x -> y
      1  load x
      2  x1[i] = x[i] + 1
    y is x1[i]
    """
    notation = Notation(plan)
    outputs = ", ".join(name for name, _ in plan.outputs)
    lines = [f"{plan.program}, {plan.form} form: {', '.join(plan.inputs)} -> {outputs}"]
    number = 1
    for k, loop in enumerate(plan.loops):
        parts = (("once", loop.before), ("for each length of a chunk", loop.setup))
        for title, steps in parts:
            if steps:
                lines.append(f"{title}:")
                lines += _numbered(notation, steps, number)
                number += len(steps)
        lines.append(f"{notation.loop(loop, k)}:")
        lines += _numbered(notation, loop.body, number)
        number += len(loop.body)
    if plan.loops and plan.epilogue:
        lines.append("then:")
    lines += _numbered(notation, plan.epilogue, number)
    for name, ref in plan.outputs:
        if name not in plan.stored:
            lines.append(f"{name} is {notation.ref(ref)}")
    return "\n".join(lines)


def _numbered(notation: Notation, steps: Sequence[Step], first: int) -> list[str]:
    lines = []
    for number, step in enumerate(steps, first):
        line = f"{number:3}  {notation.step(step)}"
        lines.append(f"{line:<54}  # {step.why.rule}" if step.why.rule else line)
        if isinstance(step, Recur | Stream | Slide):
            lines += [f"       {notation.step(inner)}" for inner in step.steps]
    return lines


class Notation:
    """Names and letters of one plan, and its steps as text."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        features = {label for label, _ in plan.extents}
        taken = {name for _, axes in plan.tensors for a in axes for name in a.names} | features
        self.tensors = {name for name, _ in plan.tensors}
        taken |= self.tensors
        self.letters: dict[str, str] = {}
        for label, choices in LETTERS.items():
            free = [c for c in choices if c not in taken]
            self.letters[label] = free[0] if free else f"{choices[0]}_{label.strip('@')}"
        # The labels under which a value was made: what '#1' stands for.
        self.made: dict[str, tuple[str, ...]] = {s.name: s.axes for s in plan.states}

    # -- values ----------------------------------------------------------------------------------------

    def value(self, name: str) -> str:
        """x7 for $7, S1 for %S1, q for $q."""
        plain, columns, _ = name.lstrip("$%").partition(":")
        plain = plain.replace("+", "" if columns else "_next") + ("_b" if columns else "")
        if not plain[:1].isdigit():
            return plain
        own = f"x{plain}"
        while own in self.tensors:
            own += "_"
        return own

    def label(self, label: str) -> str:
        """A label as a letter."""
        if "." in label:  # a feature of an input in a cache
            return str(dict(self.plan.extents)[label])
        return self.letters.get(label) or (self._column(label) if label.startswith("@") else label)

    def _column(self, label: str) -> str:
        """A letter for columns that no tensor or feature has."""
        taken = {*self.letters.values(), *(name for name, _ in self.plan.extents), *self.tensors}
        taken |= {name for _, axes in self.plan.tensors for a in axes for name in a.names}
        self.letters[label] = next((c for c in "jlqsz" if c not in taken), f"j_{label.strip('@')}")
        return self.letters[label]

    def ref(self, ref: Ref) -> str:
        """A value with its labels."""
        return self._indexed(ref.value, self._labels(ref))

    def _labels(self, ref: Ref) -> list[str]:
        known = self.made.get(ref.value, ref.axes)
        return [m if a.startswith("#") else a for a, m in zip(ref.axes, known, strict=True)]

    def state(self, state: State) -> str:
        """A state with its labels."""
        return self._indexed(state.name, state.axes)

    def _indexed(self, value: str, labels: Iterable[str]) -> str:
        listed = ", ".join(map(self.label, labels))
        return f"{self.value(value)}[{listed}]" if listed else self.value(value)

    def expr(self, node: Expr) -> str:
        """An expression with the names of this notation."""
        return print_expr(self._renamed(node))  # type: ignore[arg-type]

    def _renamed(self, node: Node) -> Node:
        match node:
            case Index(name=name):
                return Index(self.label(name))
            case Size(name=name) if name == HERE:
                return Index(self.label(HERE))
            case Size(name=name) if ":" in name:
                label, _, which = name.rpartition(":")
                return Index(f"{which}({self.label(label)})")
            case Read(tensor=tensor):
                changed = rebuild(node, self._renamed)
                assert isinstance(changed, Read)
                return Read(self.value(tensor), changed.subscripts)
        return rebuild(node, self._renamed) if children(node) else node

    # -- steps -----------------------------------------------------------------------------------------

    def step(self, step: Step) -> str:
        """One step as an equation."""
        for ref in _outputs(step):
            if not any(a.startswith("#") for a in ref.axes):
                self.made[ref.value] = ref.axes
        if isinstance(step, Select) and step.source.value in self.made:
            known = zip(step.out.axes, self.made[step.source.value], strict=True)
            self.made[step.out.value] = tuple(m if a.startswith("#") else a for a, m in known)
        text = self.right(step)
        match step:
            case Load():
                return text
            case Keep(tensor=tensor, value=value, axes=axes):
                named = dict(zip(value.axes, self._labels(value), strict=True))
                return f"{self._indexed(tensor, [named[a] for a in axes])} = {text}"
            case Update(state=state):
                return f"{self.ref(state)} {'=' if step.replace or step.through else '+='} {text}"
            case Fill(target=target, axes=axes):
                return f"{self._indexed(target, axes)} = {text}"
            case Recur() | Stream():
                return text
            case Accumulate(running=running):
                return f"{self.ref(running)} = {text}"
            case Solve(outs=outs):
                return "; ".join(f"{self.ref(out)} = {self._row(step, k)}" for k, out in enumerate(outs))
        return f"{self.ref(step.out)} = {text}"

    def right(self, step: Step) -> str:
        """The right-hand side of a step."""
        match step:
            case Load(tensor=tensor, time=time):
                part = ""
                if time is not None:
                    part = ", this token" if self.plan.form == "recurrent" else ", these rows"
                return f"load {self.value(tensor)}{part}"
            case Gather(source=source, subscripts=subscripts):
                listed = ", ".join(map(self.expr, subscripts))
                return f"{self.value(source.value)}[{listed}]"
            case Map(expr=expr):
                return self.expr(expr)
            case Contract():
                return self._contract(step)
            case Tile():
                return self._tile(step)
            case ScanTile():
                return self._scan(step)
            case Solve():
                return "; ".join(self._row(step, k) for k in range(len(step.outs)))
            case Delay():
                return self._delay(step)
            case Tail(source=source, state=state):
                return f"the last rows of {self.ref(state)}, {self.ref(source)}"
            case Monomials(lower=lower, factor=factor):
                count = "each as often as it can be arranged" if step.weighted else "each once"
                return f"products of {self.ref(lower)} * {self.ref(factor)}, {count}"
            case Fold() | Normalise():
                op = step.op if isinstance(step, Fold) else "softmax"
                conditions = [print_cond(self._renamed(c)) for c in step.domain]  # type: ignore[arg-type]
                domain = ", ".join([*map(self.label, step.over), *conditions])
                return f"{op}[{domain}]({self.expr(step.body)})"
            case Recur(extent=extent, reverse=reverse):
                here = self.label(HERE)
                span = f"{extent} - 1, ..., 0" if reverse else f"0, ..., {extent} - 1"
                return f"for {here} = {span}: fill {', '.join(map(self.ref, step.targets))}"
            case Fill(row=value) | Keep(value=value):
                return self.ref(value)
            case Update(state=state, through=through, addend=addend):
                decay = "" if through is None else f"{self.ref(through)} * {self.ref(state)} + "
                return decay + self.ref(addend)
        return stream_text(self, step)

    def _delay(self, step: Delay) -> str:
        """Rows that some tokens ago were written: from this chunk, or from the state before it."""
        lag = self.label(step.lag) if isinstance(step.lag, str) else str(step.lag)
        tokens = "token" if lag == "1" else "tokens"
        return f"{self.ref(step.source or step.state)}, {lag} {tokens} earlier"

    def _contract(self, step: Contract) -> str:
        refs = [step.left] if step.right is None else [step.left, step.right]
        semiring = SEMIRINGS[step.semiring]
        product = f" {semiring.combine} ".join(map(self.ref, refs))
        summed = [a for a in dict.fromkeys(a for r in refs for a in r.axes) if a not in step.out.axes]
        return f"{semiring.total}[{', '.join(map(self.label, summed))}]({product})" if summed else product

    def _row(self, step: Solve, k: int) -> str:
        """The equation of one unknown."""
        pairs = zip(step.matrix[k], step.outs, strict=True)
        terms = [
            f"sum[{self.label(COLUMN)}]({self.ref(block)} * {self.ref(out.relabel({ROW: COLUMN}))})"
            for block, out in pairs
            if block is not None
        ]
        return " + ".join([self.ref(step.rights[k]), *terms])

    def _tile(self, step: Tile) -> str:
        late, early = self.label(step.rows), self.label(step.columns)
        order = f"{early} {'<' if step.strict else '<='} {late}"
        if step.within is not None:
            order += f" and {late} - {early} < {self.expr(step.within)}"
        decays = [self._decay(use, step, late, early) for use in step.gates]
        if step.part == "outside":
            return f"where({order}, {' * '.join(decays)}, 1)"
        return " * ".join([f"[{order}]"] * (step.part == "fine") + decays)

    def _decay(self, use: GateUse, step: Tile, late: str, early: str) -> str:
        """The product of the gates over the part of the chunk that a tile covers."""
        upper, between = ("<=" if use.inclusive else "<"), self.letters["gate"]
        chunk = "chunk" if "C" in {n for _, a in self.plan.extents for n in a.names} else "C"
        if use.constant:
            power = {
                "left": f"{late} + 1" if use.inclusive else late,
                "right": f"{chunk} - 1 - {late}",
                "through": chunk,
            }.get(step.part, f"{late} - {early}" + ("" if use.inclusive else " - 1"))
            power = f"({power})" if " " in power else power
            gate = self.ref(use.gate)
            return f"exp({gate} * {power})" if use.log else f"{gate} ** {power}"
        ranges = {
            "left": f"{between} {upper} {late}",
            "right": f"{between} > {late}",
            "through": between,
        }.get(step.part, f"{early} < {between} {upper} {late}")
        gate = self.ref(use.gate.relabel({step.rows: "gate"}))
        return f"exp(sum[{ranges}]({gate}))" if use.log else f"prod[{ranges}]({gate})"

    def _scan(self, step: ScanTile) -> str:
        start = self.ref(step.state)
        writes = self.ref(step.writes.relabel({ROW: COLUMN}))
        row, column = self.label(ROW), self.label(COLUMN)
        order = f"{column} {'<' if step.strict else '<='} {row}"
        if not step.gates:
            return f"{start} + sum[{order}]({writes})"
        gates = " and ".join(self.ref(u.gate) for u in step.gates)
        return f"scan of {self.ref(step.writes)} from {start}, gated by {gates}"

    # -- loops -----------------------------------------------------------------------------------------

    def loop(self, loop: Loop, number: int) -> str:
        """What a loop runs over, and its states."""
        unit = "token" if self.plan.form == "recurrent" else f"chunk of {self.plan.chunk} tokens"
        backwards = ", backwards" if loop.reverse else ""
        states = ", ".join(map(self.state, loop.states))
        again = f" (pass {number + 1})" if len(self.plan.loops) > 1 else ""
        return f"for each {unit}{backwards}{again}" + (f", states {states}" if states else "")


def _outputs(step: Step) -> Sequence[Ref]:
    if isinstance(step, Recur):
        return step.targets
    if isinstance(step, Stream):
        return [r.ref for r in step.running]
    if isinstance(step, Solve):
        return step.outs
    if isinstance(step, Slide):
        return [step.out] if step.gates is None else [step.out, step.gates]
    return () if isinstance(step, Fill | Update | Keep | Accumulate) else (step.out,)


__all__ = ["Notation", "print_plan"]
