"""Generated PyTorch functions over whole sequences and tokens: what differs from other array libraries."""

from __future__ import annotations

from dataclasses import replace

from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.python_layout import tuple_text
from tensorc.backends.python_library import Library
from tensorc.backends.python_sequence import SequenceWriter
from tensorc.backends.python_signature import HeadWriter
from tensorc.backends.python_token import TokenWriter
from tensorc.backends.torch_fusion import masks_of
from tensorc.backends.torch_steps import TorchPrinter
from tensorc.backends.torch_streams import TorchCaches
from tensorc.ir import Extent, Program
from tensorc.plan import ROW, Keep, Load, Loop, Plan, State, Stream, Tile


class TorchHead(TorchCaches, HeadWriter):
    """The head of a function: the device beside dtypes and the batch shape."""

    printer: TorchPrinter
    printer_type = TorchPrinter
    droppable = ("batch", "device", "count")

    def _batch(self, without: Extent | None) -> None:
        full = next((i for i in self.program.inputs if i.name in self.printer.batch.full), None)
        if full is None:
            super()._batch(without)
        else:
            rank = sum(a != without for a in full.axes)
            self.line(f"batch = {self.names.tensor(full.name)}.shape{f'[:-{rank}]' if rank else ''}")
        inputs = ", ".join(self.names.tensor(i.name) for i in self.program.inputs)
        self.line(f"device = _device({inputs})")


class TorchTokens(TorchHead, TokenWriter):
    """`TokenWriter` for PyTorch: rows of outputs are joined at the end where nothing is overwritten."""

    def _filled(self, name: str, shape: str) -> None:
        if self.library.in_place:
            super()._filled(name, shape)
        else:
            self.line(f"{self.printer.rows_list(name)} = []")
            self._shapes[name] = shape

    def _turn(self, names: list[str], axes: list[int], call: str) -> None:
        if self.library.in_place:
            super()._turn(names, axes, call)
            return
        rows = {name: self.printer.rows_list(name) for name in names}
        self.line(f"results, state = {call}", 2)
        for k, (name, axis) in enumerate(zip(names, axes, strict=True)):
            self.line(f"{rows[name]}.append(results[{k}].unsqueeze({axis}))", 2)
        for name, axis in zip(names, axes, strict=True):
            self.line(f"{name} = _joined({rows[name]}, {axis}, {self._shapes[name]}, dtype, device)")

    def recurrent(self) -> list[str]:
        self._shapes: dict[str, str] = {}
        self.without = self.plan.time
        return super().recurrent()

    def _sequence(self, keywords: list[str]) -> None:
        self.without = None
        super()._sequence(keywords)

    def _zeros(self, loop: Loop) -> str:
        return self.empty_states(loop)

    def _before(self) -> None:
        if self.printer.ring is not None:
            self.line(f"held = min(position, {self.printer.ring})")

    def _after(self, state: State, text: str) -> str:
        return self.latest(state, text, "held + 1")


class TorchSequences(TorchHead, SequenceWriter):
    """`SequenceWriter` for PyTorch: one batch axis in the chunkwise form."""

    def __init__(self, program: Program, plan: Plan, library: Library, batch: Batch = ANY) -> None:
        streams = any(isinstance(s, Stream) for loop in plan.loops for s in loop.body)
        flat = plan.form == "chunkwise" and not streams and not any(s.grows for s in plan.states)
        super().__init__(program, plan, library, replace(batch, none=False) if flat else batch)
        self.printer.flat = flat
        if flat:
            self.printer.lead = "count"
            self.printer.free = batch.free
        self._pending: dict[str, tuple[str, str]] = {}

    def _prepare(self, without: Extent | None) -> None:
        super()._prepare(without)
        if self.printer.flat:
            self.line("count = batch.numel()")
            for declaration in self.program.inputs:
                name, rank = self.names.tensor(declaration.name), len(declaration.axes)
                if declaration.name not in self.printer.free:
                    self.line(f"{name} = _flat({name}, batch, count, {rank})")

    def _options(self) -> list[str]:
        streams = any(isinstance(s, Stream) for loop in self.plan.loops for s in loop.body)
        return [f"block={self.plan.block}"] if streams else []

    def _states(self, loop: Loop, number: int) -> None:
        assert self.plan.time is not None
        self.caches(loop, number, self._streams(), self.printer.size(self.plan.time))
        for k, state in enumerate(loop.states):
            if not state.grows:
                super()._states(replace(loop, states=(state,)), number + k)

    def _returned(self, state: State) -> str:
        name = self.names.value(state.name)
        assert self.plan.time is not None
        if state.grows and self.printer.ring is not None:
            return self.latest(state, name, f"held + {self.printer.size(self.plan.time)}")
        if not state.grows or not self.library.in_place:
            return name
        return f"_sealed({name}, position + {self.printer.size(self.plan.time)}, {-len(state.axes)})"

    def _given_state(self, number: int, shape: str) -> str:
        if not self.printer.flat:
            return f"_state(state and state[{number}], {shape}, compute, device)"
        whole = shape.replace("count", "*batch", 1)
        return f"_state(state and state[{number}], {whole}, compute, device).reshape({shape})"

    def _loop(self, loop: Loop, after: object) -> None:
        cut = masks_of(self.plan)
        setup = tuple(s for s in loop.setup if not (isinstance(s, Tile) and s.out.value in cut))
        for step in loop.setup:
            if step not in setup:
                self.printer.block([step])
        super()._loop(replace(loop, setup=setup), after)  # type: ignore[arg-type]

    def _allocate(self, loop: Loop) -> None:
        super()._allocate(loop)
        for step in loop.body:  # views of all chunks at once: their gradients are joined at once, too
            if isinstance(step, Load) and step.time is not None:
                self._split(step.tensor, step.time - len(step.out.axes))
            elif isinstance(step, Keep) and self.library.in_place:
                self._split(step.tensor, step.axes.index(ROW) - len(step.axes))

    def _split(self, tensor: str, axis: int) -> None:
        name = self.names.tensor(tensor)
        line = f"{self.printer.chunks(name)} = {name}.split(chunk, {axis})"
        if line.strip() not in (text.strip() for text in self.lines):
            self.line(line)

    def _chunk(self, loop: Loop) -> None:
        """Rows in reverse are flipped where they are read: PyTorch has no negative steps."""
        self.printer.line("at = start // chunk")

    def _filled(self, name: str, shape: str, dtype: str) -> None:
        if self.library.in_place:
            super()._filled(name, shape, dtype)
        else:
            self.line(f"{self.printer.rows_list(name)} = []")
            self._pending[name] = shape, dtype

    def _after(self, loop: Loop) -> None:
        for step in loop.body:
            name = self.names.tensor(step.tensor) if isinstance(step, Keep) else ""
            if isinstance(step, Keep) and name in self._pending:
                shape, dtype = self._pending.pop(name)
                axis = step.axes.index(ROW) - len(step.axes)
                rows = self.printer.rows_list(name) + ("[::-1]" if loop.reverse else "")
                self.line(f"{name} = _joined({rows}, {axis}, {shape}, {dtype}, device)")

    def _return(self) -> None:
        if not self.printer.flat:
            super()._return()
            return
        results = [self._result(o.name) for o in self.program.outputs]
        states = [self._unflat(self.names.value(s.name), self._axes(s.axes)) for s in self.plan.states]
        self.line(f"return {tuple_text(results)}, {tuple_text(states if self._streams() else [])}")

    def _axes(self, axes: tuple[str, ...]) -> list[str]:
        return [self.printer.size(self.printer.extents[a]) for a in axes]

    def _unflat(self, text: str, sizes: list[str]) -> str:
        """A value with its own batch axes again."""
        return f"{text}.reshape({tuple_text(['*batch', *sizes])})"

    def _result(self, name: str) -> str:
        if not self.printer.flat:
            return super()._result(name)
        declared = next(o for o in self.program.outputs if o.name == name)
        sizes = list(map(self.printer.size, declared.axes))
        if name in self.plan.stored:
            return self._unflat(self.names.tensor(name), sizes)
        ref = dict(self.plan.outputs)[name]
        text = self.printer._at(ref, tuple(f"#{k}" for k in range(len(sizes))))
        shape = tuple_text(["count", *sizes])
        return self._unflat(self.library.broadcast(text, shape, "dtype"), sizes)
