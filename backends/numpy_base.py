"""What printing any step needs: variables, sizes, alignment, and when a value may be overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tensorc.backends.numpy_expr import ExprPrinter, align
from tensorc.backends.numpy_names import Names
from tensorc.ir import Extent
from tensorc.plan import COLUMN, ROW, Plan, Ref, Step


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


class BasePrinter:
    """The state of printing one plan; `lines` collects statements at the current depth."""

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
