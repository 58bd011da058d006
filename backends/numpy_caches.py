"""NumPy functions with streams: caches as states, and the size of a block as an option."""

from __future__ import annotations

import re
from typing import Any

from tensorc.backends.python_layout import tuple_text
from tensorc.backends.python_sequence import SequenceWriter
from tensorc.backends.python_signature import HeadWriter
from tensorc.backends.python_steps import StepPrinter
from tensorc.backends.python_token import TokenWriter
from tensorc.backends.python_windows import WindowPrinter
from tensorc.ir import Extent
from tensorc.plan import Loop, State, Stream


class NumpyPrinter(WindowPrinter, StepPrinter):
    """Prints every kind of step for NumPy."""

    rings = True

    def block(self, *arguments, **keywords):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN003, ANN201
        """Print steps, each kind by its own method."""
        return StepPrinter.block(self, *arguments, **keywords)


class CacheWriter(HeadWriter):
    """What functions need for states that grow."""

    printer_type: type[StepPrinter] = NumpyPrinter
    printer: Any  # of this or another library, always with streams
    without: Extent | None = None  # the axis that inputs lack

    def cache_shape(self, state: State, rows: str) -> str:
        """The shape of a cache of so many rows."""
        features = [self.printer.size(self.printer.extents[a]) for a in state.axes[1:]]
        lead = self.printer.lead_of(frozenset(state.sources), self.without)
        return tuple_text([*lead, rows, *features])

    def cache_dtype(self, state: State) -> str:
        """The dtype of a cache: that of the input where it is kept as given."""
        if state.wide:
            return self.library.wide
        name = re.sub(r"_cache_given\d*$", "", state.name.strip("%"))
        kept = state.given and name in self.plan.inputs
        return f"{self.names.tensor(name)}.dtype" if kept else "compute"


class NumpySequence(SequenceWriter, CacheWriter):
    """Whole sequences: caches are filled in buffers made for all tokens of the call."""

    def _states(self, loop: Loop, number: int) -> None:
        plain = tuple(s for s in loop.states if not s.grows)
        if self.printer.ring is not None:
            self.line(f"held = min(position, {self.printer.ring})")
            self.line("gone = position - held")
        for k, state in enumerate(loop.states):
            if not state.grows:
                continue
            name = self.printer.state(state)
            assert self.plan.time is not None
            time = self.printer.size(self.plan.time)
            given, position = "None", "0"
            if self._streams():
                given, position = f"state and state[{number + k}]", "position"
                if self.printer.ring is not None:
                    position = "held"
            shape, dtype = self.cache_shape(state, f"{position} + {time}"), self.cache_dtype(state)
            self.line(f"{name} = _room({given}, {position}, {shape}, {-len(state.axes)}, {dtype})")
        if plain:
            for k, state in enumerate(loop.states):
                if state in plain:
                    super()._states(Loop(loop.reverse, (state,), (), (), ()), number + k)

    def _returned(self, state: State) -> str:
        name = self.names.value(state.name)
        if not state.grows:
            return name
        assert self.plan.time is not None
        if self.printer.ring is not None:
            time = self.printer.size(self.plan.time)
            return f"_latest({name}, held + {time}, {self.printer.ring}, {-len(state.axes)})"
        return f"_sealed({name}, position + {self.printer.size(self.plan.time)}, {-len(state.axes)})"

    def _options(self) -> list[str]:
        streams = any(isinstance(s, Stream) for loop in self.plan.loops for s in loop.body)
        return [f"block={self.plan.block}"] if streams else []


class NumpyToken(TokenWriter, CacheWriter):
    """One token after the other: caches grow by appending."""

    def recurrent(self) -> list[str]:
        self.without = self.plan.time
        return super().recurrent()

    def _before(self) -> None:
        if self.printer.ring is not None:
            self.line(f"held = min(position, {self.printer.ring})")

    def _after(self, state: State, text: str) -> str:
        if state.grows and self.printer.ring is not None:
            return f"_latest({text}, held + 1, {self.printer.ring}, {-len(state.axes)})"
        return text

    def _sequence(self, keywords: list[str]) -> None:
        self.without = None
        super()._sequence(keywords)

    def _zeros(self, loop: Loop) -> str:
        parts = []
        for state in loop.states:
            if state.grows:
                dtype = self.cache_dtype(state)
                parts.append(f"np.zeros({self.cache_shape(state, '0')}, {dtype})")
            else:
                parts.append(self._typed(state, self.library.zeros(self._state_shape(state.axes))))
        return tuple_text(parts)
