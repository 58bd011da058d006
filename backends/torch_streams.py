"""Streams and their caches on PyTorch: running values are replaced rather than raised in place, and where
autograd records, a cache with more rows is a new tensor."""

from __future__ import annotations

from tensorc.backends.numpy_caches import CacheWriter
from tensorc.backends.python_expr import align
from tensorc.backends.python_layout import tuple_text
from tensorc.backends.python_windows import WindowPrinter
from tensorc.plan import ROW, Accumulate, Append, Loop, Ref, State, Weigh


class TorchStreams(WindowPrinter):
    """Prints `Stream` steps and what stands in them."""

    rings = True

    def _append(self, step: Append) -> None:
        if self.library.in_place:
            super()._append(step)
            return
        state = self.made[step.state.value]
        self._use(step.state)
        self._use(step.rows)
        source = self.made[step.rows.value].name
        if step.given and step.rows.value in self.raw:
            source = self.given_name(step.rows.value, source)
        axes = step.state.axes[1:] if self.plan.form == "recurrent" else (ROW, *step.state.axes[1:])
        rows = align(source, step.rows, axes, bool(self.made[step.rows.value].inputs))
        axis = -len(step.state.axes)
        if self.plan.form == "recurrent":
            made = self._named(step.out, f"{state.name}_next", [step.state], state.label, own=False)
            rows = f"{rows}.unsqueeze({axis})"
        else:
            made = self.made[step.out.value] = state
        self.line(f"{made.name} = _extended({state.name}, {rows}, {axis})")

    def _accumulate(self, step: Accumulate) -> None:
        if self.library.in_place or step.op not in ("sum", "prod"):
            super()._accumulate(step)
            return
        running, axes = self.made[step.running.value].name, step.running.axes
        before = running
        if step.scale is not None:
            self._use(step.scale)
            before = f"{running} * {self._operand(step.scale, axes)}"
        self._use(step.addend)
        sign = "+" if step.op == "sum" else "*"
        self.line(f"{running} = {before} {sign} {self._operand(step.addend, axes)}")

    def _weigh(self, step: Weigh) -> None:
        at = len(self.lines)
        super()._weigh(step)
        if step.scale is None:
            return
        assert step.top is not None
        top = self.made[step.top.value].name
        kept = tuple(a for a in step.scores.axes if a not in step.over)
        first, call = self.lines[at].split(" = ", 1)
        self.lines[at] = f"{first}, {top} = {call}"
        if kept != step.top.axes:
            self.line(f"{top} = {align(top, Ref('', kept), step.top.axes)}")


class TorchCaches(CacheWriter):
    """States that grow, in generated functions."""

    def cache(self, state: State, number: int, position: str, time: str) -> str:
        """A cache at the start of a function over a whole sequence."""
        given = f"state and state[{number}]" if position != "0" else "None"
        axis, dtype = -len(state.axes), self.cache_dtype(state)
        if self.library.in_place:
            shape = self.cache_shape(state, f"{position} + {time}")
            return f"_room({given}, {position}, {shape}, {axis}, {dtype}, device)"
        return f"_state({given}, {self.cache_shape(state, position)}, {dtype}, device)"

    def caches(self, loop: Loop, number: int, streams: bool, time: str) -> None:
        """The caches of a loop, before it starts."""
        position = "position" if streams else "0"
        if self.printer.ring is not None:
            self.line(f"held = min(position, {self.printer.ring})")
            self.line("gone = position - held")
            position = "held"
        for k, state in enumerate(loop.states):
            if state.grows:
                name = self.printer.state(state)
                self.line(f"{name} = {self.cache(state, number + k, position, time)}")

    def latest(self, state: State, text: str, length: str) -> str:
        """A cache of so many rows as it is handed on: a ring without what no later token reads."""
        if not state.grows or self.printer.ring is None:
            return text
        return f"_latest({text}, {length}, {self.printer.ring}, {-len(state.axes)})"

    def empty_states(self, loop: Loop) -> str:
        """The states before any token."""
        parts = []
        for state in loop.states:
            shape = self.cache_shape(state, "0") if state.grows else self._state_shape(state.axes)
            dtype = self.cache_dtype(state) if state.grows else self._typed(state, "compute")
            parts.append(f"torch.zeros({shape}, dtype={dtype}, device=device)")
        return tuple_text(parts)
