"""What printing any step of a kernel needs: tiles, their axes and where they are 0, positions and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorc.backends.python_names import Names
from tensorc.backends.tile_axes import COLUMNS, POINTS, TOKENS, Axis
from tensorc.backends.tile_kernel import Kernel, TileStep
from tensorc.backends.tile_loops import placed
from tensorc.backends.triton_expr import ExprPrinter, spread
from tensorc.errors import BackendError
from tensorc.ir import Extent
from tensorc.plan import CACHED, HERE, PAST, ROW, Plan, Ref, Symmetric, first, last


@dataclass(slots=True)
class Made:
    """A value in a kernel: its variable, which of its axes the tile has in which order (single positions of
    the grid are none), the axes beyond whose end it is 0, whether it is finite there, whether it has the
    dtype that it has in memory, whether it comes from a matrix product."""

    name: str
    places: tuple[int, ...]
    zero: frozenset[int] = frozenset()
    finite: bool = True
    raw: bool = False
    product: bool = False


class TileBase:
    """The state of printing one kernel; `lines` collects statements at the current depth."""

    inverses: dict[Any, Any]

    def __init__(
        self,
        plan: Plan,
        kernel: Kernel,
        names: Names,
        memory: Mapping[str, Sequence[Extent | None]],
    ) -> None:
        self.plan, self.names = plan, names
        self.extents = dict(plan.extents)
        self.kernel, self.axes = placed(kernel, self.extents, memory)
        self.lines: list[str] = []
        self.depth = 1
        self.made: dict[str, Made] = {}
        self.scope: Mapping[str, Axis] = {}
        self.words: dict[int, str] = {}
        self.sums: dict[tuple[str, bool], tuple[str, ...]] = {}
        self.places: dict[str, str] = {}
        self.inverses = {}
        self.local = set(names.taken)
        self.variables: dict[str, str] = {}
        self.printer = ExprPrinter(self.tile, self.position, self.size_name)
        self.equation = ""
        self.column_names: dict[str, str] = {}
        for axis in self.axes.all:
            self.words[id(axis)] = self.free(axis.label if axis.label.isidentifier() else self._word(axis))

    def _word(self, axis: Axis) -> str:
        names = axis.extent.names if axis.extent is not None else ()
        return f"{names[0]}_axis" if len(names) == 1 else "axis"

    def free(self, name: str) -> str:
        """A variable that nothing has yet."""
        clean = "".join(c if c.isalnum() and c.isascii() or c == "_" else "_" for c in name.strip("$%@"))
        clean = f"x{clean}" if not clean or clean[0].isdigit() else clean
        clean = f"v{clean}" if clean.startswith("_") else clean
        found, k = clean, 2
        ends = ("", "_at", "_in", "_start", "_tile", "_block", "_slot", "_low", "_high")
        while any(f"{found}{end}" in self.local for end in ends):
            found, k = f"{clean}_{k}", k + 1
        self.local.add(found)
        return found

    def variable(self, value: str) -> str:
        """The variable of a value: its number in the plan, or the name of what it holds."""
        if value not in self.variables:
            plain = value.lstrip("$%")
            if value.startswith("$") and plain[:1].isdigit():
                plain = f"x{plain}"
            elif value.startswith("$"):
                plain = f"{plain}_c"
            self.variables[value] = self.free(plain.replace(":", "_").replace("+", "_next"))
        return self.variables[value]

    def line(self, text: str) -> None:
        """One statement at the current depth."""
        self.lines.append("    " * self.depth + text)

    def comment(self, step: object) -> None:
        """Say which equation the steps that follow compute, once for steps in a row."""
        why = getattr(step, "why", None)
        if why is not None and why.equation and why.equation != self.equation:
            self.equation = why.equation
            self.line(f"# {f'line {why.line}: ' if why.line else ''}{why.equation}")

    def refuse(self, reason: str) -> BackendError:
        """The error for what no kernel can do."""
        return BackendError(
            f"{self.plan.program} has no Triton kernel: {reason}. Compile with backend='torch'."
        )

    # -- sizes -------------------------------------------------------------------------------------------

    def size(self, extent: Extent) -> str:
        """An extent as an integer of the kernel."""
        if isinstance(extent, Symmetric):
            base = self.size(Extent(extent.coefficient, extent.names))
            factors = " * ".join([base, *(f"({base} + {k})" for k in range(1, extent.power))])
            product = 1
            for k in range(2, extent.power + 1):
                product *= k
            return f"({factors} // {product})"
        parts = [self.size_name(n) for n in extent.names]
        if extent.coefficient != 1 or not parts:
            parts.insert(0, str(extent.coefficient))
        return parts[0] if len(parts) == 1 else f"({' * '.join(parts)})"

    def size_name(self, name: str) -> str:
        """A size of the program; the position at hand; the ends of the rows or columns at hand."""
        if name == HERE:
            return "(position + it)"
        if name == first(ROW):
            return "first" if self.kernel.order != "tokens" else "(position + it)"
        if name == last(ROW):
            return "last" if self.kernel.order != "tokens" else "(position + it)"
        if ":" in name:
            raise self.refuse("the ends of columns are read where no stream is")
        return self.names.size(name)

    def length(self, axis: Axis) -> str:
        """How many positions of an axis a tile has."""
        if axis.role == TOKENS:
            return "CHUNK"
        return "COLUMNS" if axis.role == COLUMNS else f"{self.words[id(axis)]}_block"

    # -- tiles -------------------------------------------------------------------------------------------

    def enter(self, step: TileStep) -> None:
        """Take the labels of a step for those of its axes."""
        self.scope = self.axes.scopes[id(step)]

    def lanes(self, labels: Sequence[str]) -> list[str]:
        """The labels that tiles have an axis for."""
        return [a for a in labels if self.scope[a].role not in POINTS]

    def canonical(self, ref: Ref) -> list[str]:
        """The labels of a new tile: rows first, then columns, then features."""

        def rank(label: str) -> int:
            if label == ROW:
                return 0
            return 1 if self.scope[label].role in (TOKENS, COLUMNS) else 2

        return sorted(self.lanes(ref.axes), key=rank)

    def make(
        self,
        out: Ref,
        labels: Sequence[str],
        zero: Sequence[str] = (),
        finite: bool = True,
        raw: bool = False,
        name: str = "",
    ) -> str:
        """Declare a value that has these labels in this order; its variable."""
        places = tuple(out.axes.index(a) for a in labels)
        known = frozenset(k for k, a in enumerate(out.axes) if a in zero)
        made = Made(name or self.variable(out.value), places, known, finite, raw)
        self.made[out.value] = made
        return made.name

    def labels(self, ref: Ref) -> list[str]:
        """The labels of a value's tile, in its order."""
        return [ref.axes[k] for k in self.made[ref.value].places]

    def zeros(self, ref: Ref) -> list[str]:
        """The labels beyond whose end a value is 0."""
        return [ref.axes[k] for k in self.made[ref.value].zero]

    def tile(self, ref: Ref, axes: Sequence[str], given: bool = False) -> str:
        """A value over some axes."""
        made = self.made[ref.value]
        name = made.name if given or not made.raw else f"{made.name}.to(tl.float32)"
        return spread(name, self.labels(ref), self.lanes(axes))

    def masked(self, ref: Ref, axes: Sequence[str], over: Sequence[str], given: bool = False) -> str:
        """A value that is 0 beyond the end of the labels `over`."""
        text = self.tile(ref, axes, given)
        dirty = [a for a in over if a not in self.zeros(ref) and self.scope[a].role not in POINTS]
        if not dirty:
            return text
        return f"tl.where({self.inside(dirty, axes)}, {text}, 0.0)"

    def inside(self, labels: Sequence[str], axes: Sequence[str]) -> str:
        """Where positions under these labels are there."""
        masks = [spread(self.mask(a), (a,), self.lanes(axes)) for a in labels]
        return " & ".join(masks)

    # -- positions ---------------------------------------------------------------------------------------

    def mask(self, label: str) -> str:
        """Which positions of a label are there."""
        axis = self.scope[label]
        if axis.role == TOKENS:
            return "row_in"
        if axis.role == COLUMNS:
            return f"{self.columns(label)}_in"
        return f"{self.words[id(axis)]}_in"

    def columns(self, label: str) -> str:
        """What the columns of a stream are called."""
        axis = self.scope.get(label)
        label = label if axis is None or axis.role != COLUMNS else axis.label
        if label not in self.column_names:
            kind = "cached" if label.startswith((CACHED, PAST)) else "column"
            self.column_names[label] = self.free(kind) if kind in self.column_names.values() else kind
        return self.column_names[label]

    def at(self, label: str) -> str:
        """The variable with the positions of a label."""
        axis = self.scope[label]
        if axis.role == TOKENS:
            return "at"
        if axis.role == COLUMNS:
            return f"{self.columns(label)}_at"
        return f"{self.words[id(axis)]}_at"

    def position(self, label: str, axes: Sequence[str]) -> str:
        """The positions of a label, spread over axes."""
        if label == HERE:
            return "(position + it)"
        if self.scope[label].role in POINTS:
            return self.at(label)
        return spread(self.at(label), (label,), self.lanes(axes))
