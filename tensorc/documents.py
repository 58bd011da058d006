"""Calls on packed documents: `cu_seqlens`, the offsets where the documents of one sequence begin and end.

A call goes over the packed sequence once, with the program that keeps documents apart
(`passes/packed.py`). States belong to one document each, so calls that take or return them, and what one
pass cannot express, run with documents of one length beside one another as a batch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.binding import as_array, bind
from tensorc.errors import FormError, ShapeError, TensorcError
from tensorc.ir import Extent, TensorDecl
from tensorc.passes.packed import DOCUMENT, LENGTH, POSITION, packed
from tensorc.state import Layout, State

if TYPE_CHECKING:
    from tensorc.operator import Operator

Array = np.ndarray[Any, np.dtype[Any]]
States = tuple[State, ...]


def offsets(cu_seqlens: object, length: int, axis: str) -> Array:
    """The offsets as integers, checked: [0, len0, len0 + len1, ..., n].

    >>> offsets([0, 2, 2, 5], 5, "n")
    array([0, 2, 2, 5])

    Raises `ShapeError` for offsets that do not cover an axis of `length` tokens, `TensorcError` for what
    is no list of integers.
    """
    found = np.asarray(cu_seqlens.cpu() if hasattr(cu_seqlens, "cpu") else cu_seqlens)
    if found.dtype.kind not in "iu":
        raise TensorcError(f"cu_seqlens holds integers, the offsets of the documents; not {found.dtype}.")
    if found.ndim != 1 or not found.size:
        raise ShapeError(
            f"cu_seqlens has the shape {found.shape}; it is one row of offsets, one more than documents: "
            "[0, len0, len0 + len1, ..., n]."
        )
    found = found.astype(np.int64)
    if found[0] != 0:
        raise ShapeError(f"cu_seqlens starts at {found[0]}; the first document starts at 0.")
    falls = np.flatnonzero(found[1:] < found[:-1])
    if falls.size:
        at = int(falls[0])
        raise ShapeError(f"cu_seqlens decreases from {found[at]} to {found[at + 1]} at {at + 1}.")
    if found[-1] != length:
        raise ShapeError(f"cu_seqlens ends at {found[-1]}, but the axis {axis} has {length} tokens.")
    return found


def token_inputs(ends: Array, kinds: Sequence[str]) -> list[Array]:
    """For each token: the number of its document, its position there, the document's length."""
    lengths = np.diff(ends)
    found = {
        DOCUMENT: np.repeat(np.arange(len(lengths)), lengths),
        POSITION: np.arange(ends[-1]) - np.repeat(ends[:-1], lengths),
        LENGTH: np.repeat(lengths, lengths),
    }
    return [found[kind] for kind in kinds]


def call_documents(
    operator: Operator, named: dict[str, object], cu_seqlens: object, states: object, streaming: bool
) -> tuple[tuple[Any, ...], States]:
    """The outputs for packed documents; with `streaming`, also the state after each document."""
    time = operator.time
    if time is None:
        raise FormError(f"cu_seqlens needs the time axis of {operator.program.name}: compile(time='n').")
    names = [i.name for i in operator.program.inputs]
    bound = bind(operator.program, (), named, operator.sizes)
    ends = offsets(cu_seqlens, time.value(bound.sizes), str(time))
    before = _states(states, len(ends) - 1)
    if not streaming and before is None:
        whole = one_pass(operator)
        if whole is not None:
            one, added = whole
            found = one(*(named[n] for n in names), *token_inputs(ends, added))
            return found if isinstance(found, tuple) else (found,), ()
    return _Groups(operator, time, bound.batch, ends).run(named, before, streaming)


def one_pass(operator: Operator) -> tuple[Operator, tuple[str, ...]] | None:
    """The operator of the packed program, and the inputs it takes beside the program's own; None where
    one pass cannot express it, or would lose the form in linear time."""
    assert operator.time is not None
    try:
        made = packed(operator.program, operator.time)
        found = operator.derived(made.program)
    except FormError:
        return None
    if operator.backend != "reference" and operator.form == "auto":
        if operator.forms.exists("chunkwise") and not found.forms.exists("chunkwise"):
            return None
    return found, made.added


def _states(states: object, documents: int) -> Sequence[State] | None:
    """The states before the documents: one of each."""
    if states is None:
        return None
    if isinstance(states, State) or not isinstance(states, Sequence):
        raise TensorcError("With cu_seqlens, state= takes one state of each document: a list of states.")
    if len(states) != documents or not all(isinstance(s, State) for s in states):
        raise TensorcError(
            f"state= takes one state of each document: {documents} of them, as prefill returns. "
            f"Given: {len(states)}."
        )
    return states


class _Groups:
    """Documents of one length (and one state shape) run beside one another, as a batch."""

    def __init__(self, operator: Operator, time: Extent, batch: tuple[int, ...], ends: Array) -> None:
        self.operator, self.time, self.batch, self.ends = operator, time, batch, ends
        program = operator.program
        for decl in (*program.inputs, *program.outputs):
            for axis in decl.axes:
                if axis != time and set(axis.names) & set(time.names):
                    raise FormError(
                        f"{decl.name} has the axis {axis}: documents are packed along {time} alone."
                    )

    def run(
        self, named: dict[str, object], before: Sequence[State] | None, streaming: bool
    ) -> tuple[tuple[Any, ...], States]:
        """The outputs in the order of the packed tokens, and the states in that of the documents."""
        program = self.operator.program
        groups = self._groups(before)
        outputs: list[Any] = [None] * len(program.outputs)
        after: list[State | None] = [None] * (len(self.ends) - 1)
        layout: Layout | None = None
        for which in groups or [np.empty(0, np.int64)]:
            rows = self._rows(which)
            inputs = [self._gather(named[d.name], d, rows) for d in program.inputs]
            found, state = self._call(inputs, self._stacked(before, which), streaming)
            for number, decl in enumerate(program.outputs):
                outputs[number] = self._scatter(outputs[number], found[number], decl, which, rows)
            if state is not None and which.size:
                layout = self._layout(named) if layout is None else layout
                for place, document in enumerate(which):
                    after[document] = _one(state, place, layout)
        return tuple(outputs), tuple(s for s in after if s is not None)

    def _groups(self, before: Sequence[State] | None) -> list[Array]:
        """The documents that run together."""
        found: dict[object, list[int]] = {}
        for document, length in enumerate(np.diff(self.ends).tolist()):
            state = None if before is None else before[document]
            key = (length,) if state is None else (length, state.position, state.layout)
            found.setdefault(key, []).append(document)
        return [np.array(documents) for documents in found.values()]

    def _call(
        self, inputs: list[Any], state: State | None, streaming: bool
    ) -> tuple[tuple[Any, ...], State | None]:
        call = self.operator.prefill if streaming else self.operator
        found = call(*inputs, state=state)
        outputs, after = found if streaming else (found, None)
        return outputs if isinstance(outputs, tuple) else (outputs,), after

    def _rows(self, which: Array) -> Array:
        """The tokens of these documents, which are of one length: a row for each."""
        length = int(np.diff(self.ends)[which[0]]) if which.size else 0
        return self.ends[which][:, None] + np.arange(length)

    def _gather(self, value: object, decl: TensorDecl, rows: Array) -> Any:
        """An input of these documents: a leading axis for the documents, before the batch."""
        times = self._times(decl)
        if not times:
            return value
        array = as_array(decl.name, value)
        lead = array.ndim - len(decl.axes)
        array = array.reshape((1,) * (len(self.batch) - lead) + tuple(array.shape))
        array = _move(array, times, range(len(times)))
        return _move(array[_index(rows, len(times), array)], range(1, 1 + len(times)), times)

    def _scatter(self, whole: Any, found: Any, decl: TensorDecl, which: Array, rows: Array) -> Any:
        """Put the results of these documents in place."""
        times = self._times(decl)
        if whole is None:
            lengths = {self.time: int(self.ends[-1])}
            sizes = zip(decl.axes, found.shape[found.ndim - len(decl.axes) :], strict=True)
            shape = self.batch + tuple(lengths.get(axis, size) for axis, size in sizes)
            whole = _zeros(found, shape if times else (len(self.ends) - 1, *shape))
        if not times:
            whole[which] = found
            return whole
        view = _move(whole, times, range(len(times)))
        view[_index(rows, len(times), whole)] = _move(found, times, range(1, 1 + len(times)))
        return whole

    def _stacked(self, before: Sequence[State] | None, which: Array) -> State | None:
        """The states of these documents as one, documents first, before the batch."""
        if before is None or not which.size:
            return None
        chosen = [before[k] for k in which]
        layout = chosen[0].layout
        tensors, shapes = [], []
        for shape, axes, *parts in zip(layout.shapes, layout.axes, *(s.tensors for s in chosen), strict=True):
            lead = (len(chosen), *(1 for _ in range(len(self.batch) + len(axes) - len(shape))))
            tensors.append(_stack(parts).reshape((*lead, *parts[0].shape)))
            shapes.append((*lead, *shape))
        return State(chosen[0].position, tuple(tensors), replace(layout, shapes=tuple(shapes)))

    def _layout(self, named: dict[str, object]) -> Layout:
        """The layout of the state of one document: that of a stream with these inputs."""
        token = []
        for decl in self.operator.program.inputs:
            value = named[decl.name]
            if self.time in decl.axes:
                array = as_array(decl.name, value)
                axis = array.ndim - len(decl.axes) + decl.axes.index(self.time)
                value = _zeros(array, tuple(array.shape[:axis] + array.shape[axis + 1 :]))
            token.append(value)
        return self.operator.init_state(*token).layout

    def _times(self, decl: TensorDecl) -> list[int]:
        """The time axes of a tensor, counted from the end."""
        return [k - len(decl.axes) for k, axis in enumerate(decl.axes) if axis == self.time]


def _index(rows: Array, axes: int, like: Any) -> tuple[Any, ...]:
    """The subscripts of some leading axes, documents first: each axis runs over the document's tokens."""
    documents, length = rows.shape
    parts = [
        rows.reshape((documents, *(length if a == axis else 1 for a in range(axes)))) for axis in range(axes)
    ]
    if _is_tensor(like):
        as_tensor = sys.modules["torch"].as_tensor
        return tuple(as_tensor(part, device=like.device) for part in parts)
    return tuple(parts)


# What NumPy arrays and the tensors of PyTorch call differently; torch itself is not imported here.


def _is_tensor(array: Any) -> bool:
    return "torch" in sys.modules and isinstance(array, sys.modules["torch"].Tensor)


def _move(array: Any, source: Sequence[int], target: Sequence[int]) -> Any:
    """Axes in other places."""
    if _is_tensor(array):
        return array.movedim(tuple(source), tuple(target))
    return np.moveaxis(array, source, target)


def _zeros(like: Any, shape: tuple[int, ...]) -> Any:
    return like.new_zeros(shape) if _is_tensor(like) else np.zeros(shape, like.dtype)


def _stack(parts: Sequence[Any]) -> Any:
    return sys.modules["torch"].stack(parts) if _is_tensor(parts[0]) else np.stack(parts)


def _one(state: State, place: int, layout: Layout) -> State:
    """The state of one document. A cache has the leading dimensions of its input alone."""
    shapes = [len(shape) for shape in layout.shapes]
    tensors = [t[place] for t in state.tensors]
    own = tuple(t.reshape(t.shape[t.ndim - axes :]) for t, axes in zip(tensors, shapes, strict=True))
    return State(state.position, own, layout)
