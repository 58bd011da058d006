"""Printing what a kernel reads from memory and writes there: addresses, masks, tables, states of rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tensorc.backends.tile_axes import COLUMNS, POINTS
from tensorc.backends.tile_kernel import (
    Fetch,
    Lane,
    Listed,
    Place,
    Put,
    Row,
    Subscript,
    Weights,
)
from tensorc.backends.triton_base import TileBase
from tensorc.backends.triton_expr import spread
from tensorc.ir import Index, walk
from tensorc.plan import ROW, Ref


@dataclass(frozen=True, slots=True)
class Address:
    """Where a tile lies: the pointers; the conditions under which each element is there, and those for all
    at once; its rows in the order of the loop, where some may be before the first."""

    pointer: str
    masks: tuple[str, ...]
    whole: tuple[str, ...]
    early: str

    def mask(self, more: str = "") -> str:
        """The mask of what is there."""
        text = " & ".join([*self.masks, *([more] if more else [])])
        for condition in self.whole:
            text = f"tl.where({condition}, {text}, False)"
        return text


class MemoryPrinter(TileBase):
    """Prints `Fetch`, `Put` and `Weights`."""

    def address(self, tensor: str, subscripts: Sequence[Subscript], labels: Sequence[str]) -> Address:
        """Where a tile lies."""
        pointer, masks, early = [self.pointer(tensor)], list[str](), ""
        whole = list[str]()
        for k, subscript in enumerate(subscripts):
            stride = self.stride(tensor, k)
            match subscript:
                case Row(lag=lag):
                    it, row = self._rows(lag, labels)
                    pointer.append(f"{row} * {stride}")
                    masks += self._row_masks(lag, labels)
                    early = it if lag != 0 else ""
                case Lane(label=label):
                    pointer += self._lane(tensor, label, labels, self._outer(subscripts, k), stride)
                    axis = self.scope[label]
                    if axis.role not in POINTS:
                        masks.append(spread(self.mask(label), (label,), labels))
                    elif axis.shared and axis.extent is not None:
                        (whole if labels else masks).append(f"({self.at(label)} < {self.size(axis.extent)})")
                case Place(expr=expr, extent=extent):
                    text = self.printer.given(expr, labels)
                    place = f"tl.cast({text}, tl.int64)" if self._outer(subscripts, k) else f"({text})"
                    pointer.append(f"{place} * {stride}")
                    found = [f"({text} >= 0)", f"({text} < {self.size(extent)})"]
                    lanes = {n.name for n in walk(expr) if isinstance(n, Index)} & set(labels)
                    if lanes or not labels:
                        masks += found
                    else:
                        whole += found
                case Listed(label=label):
                    table = self.listed(subscript)
                    pointer.append(f"{spread(table, (label,), labels)} * {stride}")
                    masks.append(spread(self.mask(label), (label,), labels))
        return Address(" + ".join(pointer), tuple(masks), tuple(whole), early)

    def _lane(
        self, tensor: str, label: str, labels: Sequence[str], outer: bool, stride: str
    ) -> tuple[str, ...]:
        """How far positions are from the first, in 64 bits where 32 may be too few: `outer`: the axis is
        around that of the tokens."""
        if self.scope[label].role == COLUMNS:
            name = self.columns(label)
            start = f"{name}_start - cached_first" if tensor in self.cached else f"{name}_start"
            slot = spread(f"{name}_slot", (label,), self.lanes(labels))
            return f"tl.cast({start}, tl.int64) * {stride}", f"{slot} * {stride}"
        text = self.position(label, labels)
        return (f"tl.cast({text}, tl.int64) * {stride}" if outer else f"{text} * {stride}",)

    def _outer(self, subscripts: Sequence[Subscript], place: int) -> bool:
        """Whether tokens come after an axis; where tokens are features like others, whether anything does."""
        later = subscripts[place + 1 :]
        if self.kernel.order == "once":
            return bool(later)
        return any(isinstance(s, Row) or self._is_columns(s) for s in later)

    def _is_columns(self, subscript: Subscript) -> bool:
        return isinstance(subscript, Lane) and self.scope[subscript.label].role == COLUMNS

    def _rows(self, lag: int | str, labels: Sequence[str]) -> tuple[str, str]:
        """The place of rows in the order of the loop, and in memory."""
        it, row = (spread(name, (ROW,), labels) if ROW in labels else name for name in ("it", "row"))
        if lag == 0:
            return it, row
        back = self.position(lag, labels) if isinstance(lag, str) else str(lag)
        return f"({it} - {back})", f"({row} {'+' if self.kernel.reverse else '-'} {back})"

    def _row_masks(self, lag: int | str, labels: Sequence[str]) -> list[str]:
        masks = [spread("row_in", (ROW,), labels)] if ROW in labels else []
        if isinstance(lag, str) and self.scope[lag].role not in POINTS:
            masks.append(spread(self.mask(lag), (lag,), labels))
        return masks

    def _fetch(self, step: Fetch) -> None:
        labels = self.canonical(step.out)
        address = self.address(step.tensor, step.subscripts, labels)
        name = self.make(step.out, labels, labels, raw=True)
        early = address.early
        mask = address.mask(f"({early} >= 0)" if early else "")
        self.line(f"{name} = tl.load({address.pointer}{f', mask={mask}, other=0' if mask else ''})")
        if early and step.before:
            self._fetch_before(step, name, labels, address)

    def _fetch_before(self, step: Fetch, name: str, labels: Sequence[str], address: Address) -> None:
        """Rows before the first are the last ones of a state."""
        axes = self.state_axes(step.before)
        places = [f"batch * {_atom(self._after(axes))}"]
        places.append(_times(f"({self.depth_of(step.before)} + {address.early})", self._after(axes[1:])))
        for k, place in enumerate(step.order):
            subscript = step.subscripts[place]
            assert isinstance(subscript, Lane)
            places.append(_times(self.position(subscript.label, labels), self._after(axes[k + 2 :])))
        source = " + ".join([self.state_pointer(step.before, "in"), *places])
        loaded = f"tl.load({source}, mask={address.mask(f'({address.early} < 0)')}, other=0)"
        self.line(f"{name} = {name}.to(tl.float32) + {loaded}")
        self.made[step.out.value].raw = False

    def _after(self, labels: Sequence[str]) -> str:
        """How many elements one position spans: the product of the axes after it."""
        return " * ".join(self.size(self.extents[a]) for a in labels) or "1"

    def _weights(self, step: Weights) -> None:
        labels = list(step.out.axes)
        name = self.make(step.out, labels, labels)
        (label,) = labels
        table = self.table(label, step.power, "often")
        self.line(f"{name} = tl.load({table} + {self.at(label)}, mask={self.mask(label)}, other=0)")

    def listed(self, subscript: Listed) -> str:
        """The places of one element of each product."""
        table = self.table(subscript.label, subscript.power, f"place{subscript.element}")
        key = f"{table}:{self.at(subscript.label)}"
        if key not in self.places:
            name = self.variables.get(key) or self.free(f"{table}_at")
            self.places[key] = self.variables[key] = name
            label = subscript.label
            self.line(f"{name} = tl.load({table} + {self.at(label)}, mask={self.mask(label)}, other=0)")
        return self.places[key]

    def _put(self, step: Put) -> None:
        labels = self.canonical(Ref("", tuple(self._labels_of(step))))
        address = self.address(step.tensor, step.subscripts, labels)
        value, mask = self.tile(step.value, labels, given=True), address.mask()
        self.line(f"tl.store({address.pointer}, {value}{f', mask={mask}' if mask else ''})")

    def _labels_of(self, step: Put) -> list[str]:
        rows = [] if self.kernel.order == "tokens" else [ROW]
        return [
            a
            for s in step.subscripts
            for a in (rows if isinstance(s, Row) else [getattr(s, "label", "")])
            if a
        ]

    # -- what the writer of a kernel says ------------------------------------------------------------------

    cached: frozenset[str] = frozenset()

    def pointer(self, tensor: str) -> str:
        """The argument with a tensor's pointer."""
        raise NotImplementedError

    def stride(self, tensor: str, axis: int) -> str:
        """The argument with a stride of a tensor."""
        raise NotImplementedError

    def table(self, label: str, power: int, what: str) -> str:
        """The argument with a table of symmetric products."""
        raise NotImplementedError

    def state_pointer(self, state: str, which: str) -> str:
        """The argument with a state before the first row ("in"), after the last ("out"), or before each
        chunk ("all")."""
        raise NotImplementedError

    def state_axes(self, state: str) -> tuple[str, ...]:
        """The labels of a state of the plan."""
        return next(s.axes for s in self.plan.states if s.name == state)

    def depth_of(self, state: str) -> str:
        """How many rows a state of rows has."""
        return self.size(self.extents[self.state_axes(state)[0]])


def _times(text: str, factor: str) -> str:
    return text if factor == "1" else f"{text} * {_atom(factor)}"


def _atom(text: str) -> str:
    """A text that may stand beside an operator."""
    return text if re.fullmatch(r"[\w.]+|\([^()]*\)", text) else f"({text})"
