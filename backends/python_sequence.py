"""Generated functions over whole sequences: the parallel and the chunkwise form."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tensorc.backends.python_base import EVERY
from tensorc.backends.python_layout import tuple_text
from tensorc.backends.python_signature import HeadWriter
from tensorc.plan import ROW, Keep, Loop, Slide, State, Step


class SequenceWriter(HeadWriter):
    """Writes the function of a plan over whole sequences, loop by loop."""

    def whole(self) -> list[str]:
        """The parallel and chunkwise forms."""
        keywords = self._keywords(None)
        if self._streams():
            keywords += ["state=None", "position=0"]
        if self.plan.form == "chunkwise":
            keywords.append(f"chunk={self.plan.chunk}")
        keywords += self._options()
        self._signature(self.names.function, [], [*keywords, "dtype=None"])
        chunks = self.plan.form == "chunkwise"
        how = ", chunk by chunk: the outputs, and the states after it" if chunks else " at once"
        self.line(f'"""The whole sequence{how}."""')
        self._prepare(None)
        self._dtypes()
        for k, loop in enumerate(self.plan.loops):
            rest = self.plan.loops[k + 1 :]
            after = [s for other in rest for s in (*other.before, *other.setup, *other.body)]
            self._loop(loop, [*after, *self.plan.epilogue])
        self.printer.depth = 1
        self.printer.block(self.plan.epilogue)
        self._return()
        self._trim(0)
        return self.lines

    def _allocate(self, loop: Loop) -> None:
        """Outputs and kept values that this loop fills."""
        whole = {k.value: k for k in self.plan.kept}
        for step in loop.body:
            if isinstance(step, Keep):
                sizes = (self._extent_of(step, k) for k in range(len(step.axes)))
                shape = tuple_text([self.printer.lead, *sizes])
                dtype = "compute" if step.tensor in whole else "dtype"
                dtype = self.library.wide if step.tensor in self.plan.wide else dtype
                self._filled(self.names.tensor(step.tensor), shape, dtype)

    def _filled(self, name: str, shape: str, dtype: str) -> None:
        """What the loop fills, chunk by chunk."""
        self.line(f"{name} = {self.library.empty(shape, dtype)}")

    def _extent_of(self, step: object, k: int) -> str:
        axis = step.axes[k]  # type: ignore[attr-defined]
        if axis == ROW:
            assert self.plan.time is not None
            return self.printer.size(self.plan.time)
        if axis.startswith("#"):
            declared = next(o for o in self.program.outputs if o.name == step.tensor)  # type: ignore[attr-defined]
            return self.printer.size(declared.axes[k])
        return self.printer.size(self.printer.extents[axis])

    def _states(self, loop: Loop, number: int) -> None:
        for k, state in enumerate(loop.states):
            name = self.printer.state(state)
            shape = self._state_shape(state.axes)
            if not self._streams():
                self.line(f"{name} = {self._typed(state, self.library.zeros(shape))}")
            else:
                self.line(f"{name} = {self._typed(state, self._given_state(number + k, shape))}")

    def _given_state(self, number: int, shape: str) -> str:
        """A state to start from."""
        return f"_state(state and state[{number}], {shape}, compute)"

    def _loop(self, loop: Loop, after: Sequence[Step]) -> None:
        printer = self.printer
        printer.depth, printer.reverse = 1, loop.reverse
        printer.block(loop.before, [*loop.setup, *loop.body, *after])
        self._states(loop, 0)
        self._allocate(loop)
        assert self.plan.time is not None
        time = printer.size(self.plan.time)
        if loop.setup:
            self.line("known = None")
        windows = any(isinstance(s, Slide) for s in loop.body)
        for text in printer.windows() if windows else ():
            self.line(text)
        span = f"range(0, {time}, chunk)"
        self.line(f"for start in {f'reversed({span})' if loop.reverse else span}:")
        printer.depth = 2
        printer.line(f"stop = min(start + chunk, {time})")
        self._chunk(loop)
        for text in printer.bands() if windows else ():
            printer.line(text)
        at = len(self.lines)
        if loop.setup:
            printer.line("if length != known:")
            printer.depth = 3
            printer.line("known = length")
            printer.line("# masks and decays: the same for all chunks of this length")
            printer.equation = EVERY
            printer.block(loop.setup, loop.body)
            printer.depth = 2
        for made in printer.made.values():
            made.own = False  # the next chunk needs it again
        printer.equation = ""
        printer.block(loop.body)
        text = "\n".join(self.lines[at:])
        if re.search(r"\brows\b", text):
            first = "position + " if self._streams() else ""
            order = f"{first}start, {first}stop"
            if loop.reverse:
                order = "stop - 1, start - 1, -1"
            self.lines.insert(at, f"        rows = {self.library.positions(order)}")
        if re.search(r"\blength\b", text):
            self.lines.insert(at, "        length = stop - start")
        printer.depth = 1
        self._after(loop)

    def _chunk(self, loop: Loop) -> None:
        """What stands before the steps of a chunk."""
        if loop.reverse:
            self.printer.line("window = slice(stop - 1, start - 1 if start else None, -1)")

    def _after(self, loop: Loop) -> None:
        """What follows a loop."""

    def _streams(self) -> bool:
        """Whether the function continues from states and returns them: one loop from the start."""
        return len(self.plan.loops) == 1 and not self.plan.loops[0].reverse

    def _return(self) -> None:
        results = [self._result(o.name) for o in self.program.outputs]
        states = [self._returned(s) for s in self.plan.states]
        if self.plan.form == "chunkwise":
            self.line(f"return {tuple_text(results)}, {tuple_text(states if self._streams() else [])}")
        else:
            self.line(f"return {tuple_text(results)}")

    def _returned(self, state: State) -> str:
        """A state after the sequence."""
        return self.names.value(state.name)

    def _options(self) -> list[str]:
        """Further keywords of the function."""
        return []

    def _result(self, name: str) -> str:
        if name in self.plan.stored:
            return self.names.tensor(name)
        ref = dict(self.plan.outputs)[name]
        declared = next(o for o in self.program.outputs if o.name == name)
        axes = tuple(f"#{k}" for k in range(len(declared.axes)))
        text = self.printer._at(ref, axes)
        shape = tuple_text(["*batch", *map(self.printer.size, declared.axes)])
        if (
            self.printer.made[ref.value].inputs >= {i.name for i in self.program.inputs}
            and self.printer.made[ref.value].own
        ):
            return self.library.rounded(text)
        return self.library.broadcast(text, shape, "dtype")
