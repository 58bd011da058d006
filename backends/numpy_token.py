"""Generated functions over tokens: the recurrent form."""

from __future__ import annotations

import re

from tensorc.backends.numpy_signature import HeadWriter
from tensorc.plan import Keep, Loop, Ref, Update


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
        self._signature("step", ["state"], [*keywords, "position=0", "compute=np.float32"])
        self.line('"""One token: the outputs, and the states after it."""')
        at = len(self.lines)
        states = []
        for state in loop.states:
            made = printer._new(Ref(state.name, state.axes), [], own=False)
            made.inputs = frozenset(i.name for i in self.program.inputs)
            states.append(made.name)
        if states:
            self.line(f"{', '.join(states)}, = state")
        printer.depth = 1
        printer.block((*loop.before, *loop.setup, *loop.body))
        updates = {s.state.value: s.addend for s in loop.body if isinstance(s, Update)}
        after = [printer._at(updates[s.name], s.axes) for s in loop.states]
        kept = {s.tensor: self._kept(s, after) for s in loop.body if isinstance(s, Keep)}
        results = [kept[o.name] for o in self.program.outputs]
        self.line(f"return ({', '.join(results)},), ({''.join(f'{a}, ' for a in after)})")
        text = "\n".join(self.lines[at:])
        sizes, _ = self._solve(self.plan.time)
        used = [s for s in sizes if re.search(rf"\b{re.escape(s.split(' = ')[0])}\b", text)]
        self.lines[at:at] = ["    " + s for s in used]
        self.line()
        self.line()

    def _kept(self, step: Keep, after: list[str]) -> str:
        """An output of its own: a copy of what is also a state or an input."""
        made = self.printer.made[step.value.value]
        text = self.printer._at(step.value, step.axes)
        shared = not made.own or any(name.startswith(made.name) for name in after)
        return f"{text}.copy()" if shared else text

    def _start(self, loop: Loop, keywords: list[str]) -> None:
        self._signature("start", [], [*keywords, "compute=np.float32"])
        self.line('"""The states before any token, for inputs of one token."""')
        self._prepare(self.plan.time)
        zeros = [f"np.zeros({self._state_shape(s.axes)}, compute), " for s in loop.states]
        self.line(f"return ({''.join(zeros)})")
        self.line()
        self.line()

    def _sequence(self, keywords: list[str]) -> None:
        whole = self._keywords(None)
        self._signature(self.names.function, [], [*whole, "state=None", "position=0", "dtype=None"])
        self.line('"""A sequence, token by token."""')
        self._prepare(None)
        self._dtypes()
        assert self.plan.time is not None
        time = self.printer.size(self.plan.time)
        passed = [f"{k}={k}" for k in (w.split("=")[0] for w in keywords)]
        self._signature_call(time, passed)

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
                self.line(f"{name} = {name}.astype(compute, copy=False)")
        (loop,) = self.plan.loops
        first = ", ".join(f"np.zeros({self._state_shape(s.axes)}, compute)" for s in loop.states)
        self.line(f"state = ({first}{',' if first else ''}) if state is None else state")
        for declaration in self.program.outputs:
            shape = "".join(f"{self.printer.size(a)}, " for a in declaration.axes)
            self.line(f"{self.names.tensor(declaration.name)} = np.empty(batch + ({shape}), dtype)")
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
        self.line(f"results, state = step({call})", 2)
        for k, declaration in enumerate(self.program.outputs):
            axis = declaration.axes.index(self.plan.time) - len(declaration.axes)
            where = "..., t" + ", :" * (-axis - 1)
            self.line(f"{self.names.tensor(declaration.name)}[{where}] = results[{k}]", 2)
        results = ", ".join(self.names.tensor(o.name) for o in self.program.outputs)
        self.line(f"return ({results},), state")
