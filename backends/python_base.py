"""What printing any step needs: variables, sizes, alignment, and when a value may be overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import factorial

from tensorc.backends.python_expr import ExprPrinter, align
from tensorc.backends.python_layout import bare
from tensorc.backends.python_library import Library
from tensorc.backends.python_names import Names
from tensorc.ir import Expr, Extent
from tensorc.plan import COLUMN, ROW, Keep, Plan, Ref, State, Step, Symmetric, Update

LONGEST_NAME = 16
EVERY = "*"  # as the equation at hand: steps say nothing of theirs


@dataclass(slots=True)
class Made:
    """What is known of a value: its variable, the inputs it depends on, whether it may be overwritten, and
    what it adds to the name of a product: nothing if `label` is None (a mask), no name at all if it is empty.
    """

    name: str
    inputs: frozenset[str]
    own: bool = False
    label: str | None = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is known of the leading batch dimensions when source is printed: the inputs that have all of
    them, whether there are none, and the inputs that have none where others have some. `overwrite` says
    that nothing records what is computed, as autograd does; `typed` inputs have the dtype of the arithmetic.
    """

    full: frozenset[str] = frozenset()
    none: bool = False
    free: frozenset[str] = frozenset()
    overwrite: bool = False
    typed: frozenset[str] = frozenset()


ANY = Batch()


class BasePrinter:
    """The state of printing one plan; `lines` collects statements at the current depth."""

    def __init__(self, plan: Plan, names: Names, library: Library, batch: Batch = ANY) -> None:
        self.plan, self.names, self.library, self.batch = plan, names, library, batch
        self.lead = "*batch"  # the batch axes of a shape
        self.lines: list[str] = []
        self.made: dict[str, Made] = {}
        self.uses: dict[str, int] = {}
        self.guarded = False  # whether masks of data leave values out
        self.sums: dict[str, tuple[int, str, str]] = {}  # the line of a sum in place, and its two terms
        self.raw: frozenset[str] = frozenset()
        self.given: frozenset[str] = frozenset()
        self.depth = 1
        self.reverse = False
        self.extents = dict(plan.extents)
        self.printer = ExprPrinter(library, self._name, self._position, self.size, self._batched)
        self.equation = ""
        self.numbers: dict[str, int] = {}  # the lines of the equations
        self.running: set[str] = set()
        self.spans: dict[str, tuple[str, str, str]] = {}  # of columns at hand: first, end, their positions
        self.skipping = ""  # the mask without which a block is skipped
        self.cast: set[str] = set()  # inputs that have the dtype of the computation from here on
        for output, ref in plan.outputs:
            if output not in plan.stored:
                names.values.setdefault(ref.value, names.tensor(output))
        self.nexts = _nexts(plan)
        self.finals = _finals(plan) | {value: f"{state}_next" for value, state in self.nexts.items()}

    def line(self, text: str) -> None:
        """One statement at the current depth."""
        self.lines.append("    " * self.depth + text)

    def size(self, extent: Extent) -> str:
        """An extent as Python: a product of size variables."""
        if isinstance(extent, Symmetric):
            base = self.size(Extent(extent.coefficient, extent.names))
            factors = [base, *(f"({base} + {k})" for k in range(1, extent.power))]
            return f"({' * '.join(factors)} // {factorial(extent.power)})"
        parts = [self.names.size(n) for n in extent.names]
        if extent.coefficient != 1 or not parts:
            parts.insert(0, str(extent.coefficient))
        return parts[0] if len(parts) == 1 else f"({' * '.join(parts)})"

    def integer(self, expr: Expr) -> str:
        """An integer expression of sizes and positions, as Python's integers."""
        raise NotImplementedError

    def windows(self) -> list[str]:
        """Statements before a loop with windows."""
        raise NotImplementedError

    def bands(self) -> list[str]:
        """Statements at the start of a chunk of such a loop."""
        raise NotImplementedError

    def _name(self, value: str, given: bool) -> str:
        made = self.made[value]
        return self.given_name(value, made.name) if given and value in self.raw else made.name

    def given_name(self, value: str, name: str) -> str:
        """The variable of a value as it was given, before it is cast."""
        return self.names.value(f"{value}:given", f"{name}_given")

    def _batched(self, value: str) -> bool:
        """Whether an operand needs its leading axes named where NumPy aligns axes from the last."""
        return not self.batch.none and bool(self.made[value].inputs)

    def _position(self, label: str) -> str:
        if label == ROW:
            return "rows"
        return self.library.positions(bare(self.size(self.extents[label])))

    def _length(self, label: str) -> str:
        return "length" if label in (ROW, COLUMN) else self.size(self.extents[label])

    def _new(self, out: Ref, inputs: Sequence[Ref], own: bool = True, prefix: str = "") -> Made:
        """A value that depends on others; its variable is named after them, with a prefix."""
        union = frozenset().union(*(self.made[r.value].inputs for r in inputs))
        label = self.nexts.get(out.value) or self._label(inputs)
        hint = self.finals.get(out.value, f"{prefix}{label}" if label else "")
        made = Made(self.names.value(out.value, hint), union, own, label)
        self.made[out.value] = made
        return made

    def _named(self, out: Ref, name: str, inputs: Sequence[Ref], label: str | None, own: bool = True) -> Made:
        """A value with a name of its own."""
        union = frozenset().union(*(self.made[r.value].inputs for r in inputs))
        made = Made(self.names.value(out.value, name), union, own, label)
        self.made[out.value] = made
        return made

    def state(self, state: State) -> str:
        """The variable of a state."""
        name = self.names.value(state.name)
        self.made[state.name] = Made(name, frozenset(self.plan.inputs), False, name)
        return name

    def _label(self, inputs: Iterable[Ref]) -> str:
        """The labels of values side by side, unless one has none or that would be long."""
        labels = [label for r in inputs if (label := self.made[r.value].label) is not None]
        joint = "_" if any(len(label) > 4 for label in labels) else ""
        joined = joint.join(labels)
        return joined if all(labels) and len(joined) <= LONGEST_NAME else ""

    def _use(self, ref: Ref) -> bool:
        """Count a use; whether it was the last one of a value that may be overwritten."""
        self.uses[ref.value] = self.uses.get(ref.value, 1) - 1
        made = self.made[ref.value]
        return self.library.in_place and made.own and self.uses[ref.value] == 0

    def _holds(self, mine: Made, others: Iterable[Made]) -> bool:
        """Whether the batch axes of a value are known to hold those of the others."""
        return bool(mine.inputs & self.batch.full) or all(o.inputs <= mine.inputs for o in others)

    def _at(self, ref: Ref, axes: Sequence[str]) -> str:
        return align(self.made[ref.value].name, ref, axes, bool(self.made[ref.value].inputs))

    def _operand(self, ref: Ref, axes: Sequence[str]) -> str:
        """As `_at`, for an operand of an elementwise operation: it may lack leading axes of length 1."""
        return align(self.made[ref.value].name, ref, axes, self._batched(ref.value))

    def comment(self, step: Step) -> None:
        """Say which equation the steps that follow compute, once for steps in a row."""
        why = step.why
        if why.equation and self.equation not in (why.equation, EVERY):
            self.equation = why.equation
            number = self.numbers.get(why.equation, why.line)
            line = f"line {number}: " if number else ""
            self.line(f"# {line}{why.equation}")


def _nexts(plan: Plan) -> dict[str, str]:
    """The values that are the next states of the recurrent form, by the name of the state."""
    updates = [s for loop in plan.loops for s in loop.body if isinstance(s, Update) and s.replace]
    return {update.addend.value: update.state.value.strip("%") for update in updates}


def target(step: Step) -> str:
    """The tensor whose equation a step computes."""
    return step.why.equation.partition("[")[0] or "x"


def _finals(plan: Plan) -> dict[str, str]:
    """The values that are outputs or kept, by the names they go under."""
    suffix = "_t" if plan.form == "recurrent" else "_c"
    keeps = [s for loop in plan.loops for s in loop.body if isinstance(s, Keep)]
    return {keep.value.value: keep.tensor.strip("%") + suffix for keep in keeps}
