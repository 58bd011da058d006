"""Printing windows: the columns before a chunk, and the sums over whole chunks of them."""

from __future__ import annotations

from tensorc.backends.python_base import Made
from tensorc.backends.python_expr import align
from tensorc.backends.python_layout import tuple_text
from tensorc.backends.python_stream import StreamPrinter
from tensorc.ir import Add, Expr
from tensorc.plan import Slide
from tensorc.plan_io import step_inputs


class WindowPrinter(StreamPrinter):
    """Prints `Slide` steps, and where the columns of windows lie."""

    def window_names(self) -> dict[str, tuple[str, str, str]]:
        """For the columns of every window: the variables of their first, of what is after the last, and of
        how many whole chunks follow them."""
        hints = ("near", "near_end", "whole")
        return {
            label: tuple(self.names.value(f"{label}:{hint}", hint) for hint in hints)  # type: ignore[misc]
            for label, _ in self.plan.windows
        }

    def windows(self) -> list[str]:
        """Statements before a loop: how many whole chunks of a window all rows of a chunk see."""
        widths = dict(self.plan.windows)
        names = self.window_names()
        return [
            f"{whole} = max(0, {self._whole(widths[a])} // chunk - 1)" for a, (_, _, whole) in names.items()
        ]

    def bands(self) -> list[str]:
        """Statements at the start of a chunk: the columns before its whole chunks that some row sees."""
        widths = dict(self.plan.windows)
        lines = []
        for label, (left, right, whole) in self.window_names().items():
            start = self.passed
            lines.append(f"{right} = max(0, {start} - {whole} * chunk)")
            lines.append(f"{left} = min({right}, max(0, {start} - {self._whole(widths[label])} + 1))")
            self.spans[label] = (left, right, self._between(left, right))
        return lines

    def _between(self, left: str, right: str) -> str:
        """The positions of the tokens that the loop goes through from one to before another."""
        if not self.reverse:
            return self.library.positions(f"{left}, {right}")
        assert self.plan.time is not None
        last = f"{self.size(self.plan.time)} - 1"
        return f"({last} - {self.library.positions(f'{left}, {right}')})"

    def _whole(self, width: Expr) -> str:
        text = self.integer(width)
        return f"({text})" if isinstance(width, Add) else text

    def _slide(self, step: Slide) -> None:
        """Every chunk is summed twice: from the last multiple of their number back, and from it on."""
        label = next(a for a, width in self.plan.windows if width == step.width)
        whole = self.window_names()[label][2]
        hints = ("turn", "sums", "ahead", "right", "left")
        turn, sums, ahead, right, left = (self.names.value(f"{step.out.value}:{h}", h) for h in hints)
        inputs = frozenset().union(*(self.made[r.value].inputs for r in step_inputs(step)))
        start = self.passed
        number = "start // chunk" if not self.reverse else f"-(({start}) // -chunk)"
        self.line(f"{turn} = {number} % max(1, {whole})")
        self.line(f"if not {turn}:")
        self.line(f"    {sums}, {ahead} = [{self._nothing(step, inputs)}], {self._nothing(step, inputs)}")
        span = f"{start}, max(0, {start} - (1 if {turn} else {whole}) * chunk), -chunk"
        self.line(f"for {right} in range({span}):")
        outer, depth, spans = self.running, self.depth, self.spans
        self.depth += 1
        self.line(f"{left} = max(0, {right} - chunk)")
        self.spans = spans | {step.label: (left, right, self._between(left, right))}
        self.block(step.steps)
        self._advance(step, turn, sums, ahead)
        self.depth, self.running, self.spans = depth, outer, spans
        for ref in (step.addend, step.through):
            if ref is not None:
                self.made[ref.value].own = False
        self._total(step, f"{sums}[min({whole} - {turn}, len({sums}) - 1)]", ahead, inputs)

    def _nothing(self, step: Slide, inputs: frozenset[str]) -> str:
        """The sum over no chunks; with the product of no gates."""
        lead = self.lead_of(inputs, None)
        zero = self.library.begin(tuple_text([*lead, *map(self._length, step.out.axes)]), "sum")
        if step.through is None:
            return zero
        one = self.library.begin(tuple_text([*lead, *map(self._length, step.through.axes)]), "prod")
        return f"({zero}, {one})"

    def _advance(self, step: Slide, turn: str, sums: str, ahead: str) -> None:
        """One more chunk: after those ahead, or before those that were summed last."""
        addend = self._at(step.addend, step.out.axes)
        if step.through is None:
            self.line(f"if {turn}:")
            self.line(f"    {ahead} = {ahead} + {addend}")
            self.line("else:")
            self.line(f"    {sums}.append({sums}[-1] + {addend})")
            return
        gate, own = self._at(step.through, step.out.axes), self.made[step.through.value].name
        total, product = (self.names.value(f"{step.out.value}:{h}", h) for h in ("total", "product"))
        self.line(f"{total}, {product} = {ahead} if {turn} else {sums}[-1]")
        self.line(f"if {turn}:")
        self.line(f"    {ahead} = {gate} * {total} + {addend}, {own} * {product}")
        self.line("else:")
        before = self._aligned(product, step)
        self.line(f"    {sums}.append(({total} + {before} * {addend}, {product} * {own}))")

    def _aligned(self, name: str, step: Slide) -> str:
        """The product of gates over the axes of the sum."""
        assert step.through is not None
        return align(name, step.through, step.out.axes, True)

    def _total(self, step: Slide, back: str, ahead: str, inputs: frozenset[str]) -> None:
        """What is summed of both, the chunks ahead last."""
        out = Made(self.names.value(step.out.value, "window"), inputs, True, "")
        self.made[step.out.value] = out
        if step.gates is None:
            self.line(f"{out.name} = {back} + {ahead}")
            return
        gates = Made(self.names.value(step.gates.value, "gates"), inputs, True, None)
        self.made[step.gates.value] = gates
        self.line(f"{out.name}, {gates.name} = {back}")
        self.line(f"{out.name} = {self._aligned(f'{ahead}[1]', step)} * {out.name} + {ahead}[0]")
        self.line(f"{gates.name} = {ahead}[1] * {gates.name}")
