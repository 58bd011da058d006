"""Generated functions over tokens: the recurrent form."""

from __future__ import annotations

from tensorc.backends.python_layout import tuple_text
from tensorc.backends.python_signature import HeadWriter
from tensorc.plan import Keep, Loop, State, Update


class TokenWriter(HeadWriter):
    """Writes `step`, `start`, and the function that takes a sequence token by token."""

    def recurrent(self) -> list[str]:
        """`step` for one token, `start` for the state before any, and the loop over a sequence."""
        (loop,) = self.plan.loops
        time = self.plan.time
        keywords = self._keywords(time)
        self._step(loop, keywords)
        self._start(loop, keywords)
        self._sequence(keywords)
        return self.lines

    def _step(self, loop: Loop, keywords: list[str]) -> None:
        printer = self.printer
        self._signature("step", ["state"], [*keywords, "position=0", f"compute={self.library.compute}"])
        self.line('"""One token: the outputs, and the states after it."""')
        at = len(self.lines)
        for text in self._solve(self.plan.time)[0]:
            self.line(text)
        self._batch(self.plan.time)
        states = [printer.state(state) for state in loop.states]
        if states:
            self.line(f"{tuple_text(states) if len(states) == 1 else ', '.join(states)} = state")
        printer.depth = 1
        self._before()
        printer.block((*loop.before, *loop.setup, *loop.body))
        updates = {s.state.value: s.addend for s in loop.body if isinstance(s, Update)}
        after = [self._after(s, printer._at(updates[s.name], s.axes)) for s in loop.states]
        kept = {s.tensor: self._kept(s, after) for s in loop.body if isinstance(s, Keep)}
        results = [kept[o.name] for o in self.program.outputs]
        self.line(f"return {tuple_text(results)}, {tuple_text(after)}")
        self._trim(at)
        self.line()
        self.line()

    def _before(self) -> None:
        """What stands before the steps of a token."""

    def _after(self, state: State, text: str) -> str:
        """A state as it is handed on."""
        return text

    def _kept(self, step: Keep, after: list[str]) -> str:
        """An output of its own: a copy of what is also a state or an input, or has not the whole batch."""
        made = self.printer.made[step.value.value]
        text = self.printer._at(step.value, step.axes)
        batch = self.printer.batch
        whole = batch.none or made.inputs & batch.full or made.inputs >= {i.name for i in self.program.inputs}
        if not whole:
            declared = next(o for o in self.program.outputs if o.name == step.tensor)
            rest = [self.printer.size(a) for a in declared.axes if a != self.plan.time]
            return self.library.broadcast(text, tuple_text(["*batch", *rest]), "compute")
        shared = not made.own or any(name.startswith(made.name) for name in after)
        return self.library.copy(text) if shared else text

    def _start(self, loop: Loop, keywords: list[str]) -> None:
        self._signature("start", [], [*keywords, f"compute={self.library.compute}"])
        self.line('"""The states before any token, for inputs of one token."""')
        at = len(self.lines)
        self._prepare(self.plan.time)
        self.line(f"return {self._zeros(loop)}")
        self._trim(at)
        self.line()
        self.line()

    def _sequence(self, keywords: list[str]) -> None:
        whole = self._keywords(None)
        self._signature(self.names.function, [], [*whole, "state=None", "position=0", "dtype=None"])
        self.line('"""A sequence, token by token."""')
        at = len(self.lines)
        self._prepare(None)
        self._dtypes()
        assert self.plan.time is not None
        time = self.printer.size(self.plan.time)
        passed = [f"{k}={k}" for k in (w.split("=")[0] for w in keywords)]
        self._signature_call(time, passed)
        self._trim(at)

    def _zeros(self, loop: Loop) -> str:
        """The states before any token."""
        return tuple_text(self._typed(s, self.library.zeros(self._state_shape(s.axes))) for s in loop.states)

    def _signature_call(self, time: str, passed: list[str]) -> None:
        arguments = []
        for declaration in self.program.inputs:
            name = self.names.tensor(declaration.name)
            if self.plan.time in declaration.axes:
                k = declaration.axes.index(self.plan.time) - len(declaration.axes)
                after = ", :" * (-k - 1)
                arguments.append(f"{name}[..., {'{t}'}{after}]")
            else:
                arguments.append(name)
            if declaration.name not in self.printer.given:
                self.line(f"{name} = {self.library.cast(name)}")
        (loop,) = self.plan.loops
        self.line("if state is None:")
        self.line(f"state = {self._zeros(loop)}", 2)
        for declaration in self.program.outputs:
            shape = tuple_text(["*batch", *map(self.printer.size, declaration.axes)])
            self._filled(self.names.tensor(declaration.name), shape)
        self.line(f"for t in range({time}):")
        call = ", ".join(
            [
                "state",
                *(a.replace("{t}", "t") for a in arguments),
                *passed,
                "position=position + t",
                "compute=compute",
            ]
        )
        assert self.plan.time is not None
        axes = [o.axes.index(self.plan.time) - len(o.axes) for o in self.program.outputs]
        names = [self.names.tensor(o.name) for o in self.program.outputs]
        self._turn(names, axes, f"step({call})")
        results = tuple_text(self.names.tensor(o.name) for o in self.program.outputs)
        self.line(f"return {results}, state")

    def _filled(self, name: str, shape: str) -> None:
        """An output that is filled row by row."""
        self.line(f"{name} = {self.library.empty(shape, 'dtype')}")

    def _turn(self, names: list[str], axes: list[int], call: str) -> None:
        """One token of the sequence: the rows of the outputs and the next state."""
        rows = [f"{name}[..., t{', :' * (-axis - 1)}]" for name, axis in zip(names, axes, strict=True)]
        self.line(f"{tuple_text(rows)}, state = {call}", 2)
