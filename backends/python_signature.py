"""The head of a generated function: its signature, sizes from shapes, dtypes and the batch shape."""

from __future__ import annotations

import re

from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.python_expr import compared_inputs
from tensorc.backends.python_layout import tuple_text
from tensorc.backends.python_library import Library
from tensorc.backends.python_names import Names
from tensorc.backends.python_steps import StepPrinter, given_values
from tensorc.ir import Extent, Program
from tensorc.plan import Load, Plan, State
from tensorc.printing import print_equation


class HeadWriter:
    """Writes what every generated function starts with; `lines` collects the text of the module."""

    printer_type: type[StepPrinter] = StepPrinter
    droppable: tuple[str, ...] = ("batch",)  # variables of the head that only some functions use
    ends: tuple[str, ...] = ()  # of variables that come with others

    def __init__(self, program: Program, plan: Plan, library: Library, batch: Batch = ANY) -> None:
        self.program, self.plan, self.library = program, plan, library
        self.names = Names(program, self.ends)
        self.printer = self.printer_type(plan, self.names, library, batch)
        steps = [s for loop in plan.loops for s in (*loop.before, *loop.setup, *loop.body)]
        loaded = frozenset(s.out.value for s in (*steps, *plan.epilogue) if isinstance(s, Load))
        self.printer.raw = given_values([*steps, *plan.epilogue]) & loaded
        self.printer.given = compared_inputs(program)
        self.printer.numbers = {print_equation(e): e.span.line for e in program.equations if e.span}
        self.lines = self.printer.lines

    def line(self, text: str = "", depth: int = 1) -> None:
        self.lines.append("    " * depth + text if text else "")

    def _signature(self, function: str, first: list[str], keywords: list[str]) -> None:
        inputs = [self.names.tensor(i.name) for i in self.program.inputs]
        parts = [*first, *inputs]
        if keywords:
            parts += ["*", *keywords]
        self.line(f"def {function}({', '.join(parts)}):", 0)

    def _solve(self, without: Extent | None) -> tuple[list[str], list[str]]:
        """Statements that find the sizes, and the sizes that must be given by keyword."""
        known: set[str] = set()
        lines: list[str] = []
        products: list[tuple[Extent, str]] = []
        for declaration in self.program.inputs:
            axes = [a for a in declaration.axes if a != without]
            for k, axis in enumerate(axes):
                text = f"{self.names.tensor(declaration.name)}.shape[{k - len(axes)}]"
                if axis.coefficient == 1 and len(axis.names) == 1 and axis.names[0] not in known:
                    known.add(axis.names[0])
                    lines.append(f"{self.names.size(axis.names[0])} = {text}")
                elif len(axis.names) > 1 or axis.coefficient != 1:
                    products.append((axis, text))
        given = {name for name, _ in self.program.defaults}
        for axis, text in products * 2:
            unknown = [n for n in axis.names if n not in known and n not in given]
            if len(unknown) == 1:
                rest = [n for n in axis.names if n != unknown[0]]
                divisor = " * ".join([str(axis.coefficient), *(self.names.size(n) for n in rest)])
                lines.append(f"{self.names.size(unknown[0])} = {text} // ({divisor})")
                known.add(unknown[0])
        left = [
            n for n in self.program.sizes() if n not in known and (without is None or n not in without.names)
        ]
        return lines, left

    def _dtypes(self) -> None:
        inputs = [self.names.tensor(i.name) for i in self.program.inputs if i.axes]
        self.line(f"dtype, compute = _dtypes({', '.join(['dtype', *inputs])})")

    def _batch(self, without: Extent | None) -> None:
        shapes = []
        for declaration in self.program.inputs:
            rank = sum(a != without for a in declaration.axes)
            name = self.names.tensor(declaration.name)
            shapes.append(f"{name}.shape[:-{rank}]" if rank else f"{name}.shape")
        self.line(f"batch = {self.library.shapes(', '.join(shapes) or '()')}")

    def _prepare(self, without: Extent | None) -> None:
        for declaration in self.program.inputs:
            name = self.names.tensor(declaration.name)
            if not declaration.axes:
                self.line(f"{name} = {self.library.array(name)}")
        for text in self._solve(without)[0]:
            self.line(text)
        self._batch(without)

    def _trim(self, start: int) -> None:
        """Drop the sizes, the batch shape and the inputs that nothing uses, from the function that starts
        there."""
        names = {*map(self.names.size, self.program.sizes()), *self.droppable, *self.printer.cast}
        for at in reversed(range(start, len(self.lines))):
            name, sign, _ = self.lines[at].strip().partition(" = ")
            if sign and name in names:
                code = (line for line in self.lines[at + 1 :] if not line.lstrip().startswith("#"))
                if not any(re.search(rf"\b{name}\b", line) for line in code):
                    del self.lines[at]

    def _keywords(self, without: Extent | None) -> list[str]:
        defaults = dict(self.program.defaults)
        left = self._solve(without)[1]
        return [f"{self.names.size(n)}={defaults[n]}" if n in defaults else self.names.size(n) for n in left]

    def _typed(self, state: State, text: str) -> str:
        """What makes a state, in its dtype."""
        return text.replace("compute", self.library.wide) if state.wide else text

    def _state_shape(self, axes: tuple[str, ...]) -> str:
        parts = [self.printer.size(self.printer.extents[a]) for a in axes]
        return tuple_text([self.printer.lead, *parts]) if axes or self.printer.lead != "*batch" else "batch"
