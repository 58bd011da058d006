"""The value of every size name, from the lengths of axes, given values and defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorc.errors import ShapeError, TensorcError
from tensorc.ir import Extent

LONGEST_AXIS = 2**63 - 1  # what NumPy can count


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis that is a product or a number: whose it is, and how long."""

    tensor: str
    shape: tuple[int, ...]
    number: int
    extent: Extent
    length: int

    def __str__(self) -> str:
        return f"axis {self.number} ({self.extent}) of {self.tensor} {shape_text(self.shape)}"


class SizeSolver:
    """Collects the lengths of declared axes (`axis`), then resolves every name (`solve`)."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.origin: dict[str, str] = {}
        self._products: list[_Axis] = []

    def axis(self, tensor: str, shape: tuple[int, ...], number: int, extent: Extent, length: int) -> None:
        """Axis `number` (from 1, leading dimensions aside) of a tensor has this length. Plain axes are
        settled here; raises `ShapeError` where two disagree."""
        if extent.coefficient != 1 or len(extent.names) != 1:
            self._products.append(_Axis(tensor, shape, number, extent, length))
            return
        name = extent.names[0]
        place = f"in {tensor} {shape_text(shape)}"
        if self.known.setdefault(name, length) != length:
            raise ShapeError(f"{name} is {self.known[name]} {self.origin[name]} but {length} {place}.")
        self.origin.setdefault(name, place)

    def solve(
        self, wanted: Sequence[str], given: Mapping[str, int], defaults: Mapping[str, int]
    ) -> dict[str, int]:
        """Every wanted name with its value: axes first, then `given`, then the defaults.

        Raises `ShapeError` where values disagree, a product does not divide, or a name has no value.
        """
        self._products_with_one_unknown()
        for name, value in given.items():
            if self.known.setdefault(name, value) != value:
                raise ShapeError(f"{name} is {self.known[name]} {self.origin[name]} but {value} in sizes=.")
            self.origin.setdefault(name, "in sizes=")
        self._products_with_one_unknown()
        for name, value in defaults.items():
            if name not in self.known:
                self.known[name], self.origin[name] = value, "by default"
        self._products_with_one_unknown()
        self._check_products()
        missing = [name for name in wanted if name not in self.known]
        if missing:
            raise ShapeError(self._unresolved(missing))
        order = [*wanted, *(name for name in given if name not in wanted)]
        return {name: self.known[name] for name in order}

    def _products_with_one_unknown(self) -> None:
        """Divide until nothing new comes out. A product of 0 with a factor 0 says nothing."""
        progress = True
        while progress:
            progress = False
            for axis in self._products:
                unknown = {name for name in axis.extent.names if name not in self.known}
                if len(unknown) != 1:
                    continue
                name = unknown.pop()
                rest = Extent(axis.extent.coefficient, tuple(n for n in axis.extent.names if n != name))
                factor = rest.value(self.known)
                if factor == 0 and axis.length == 0:
                    continue
                quotient, remainder = divmod(axis.length, factor) if factor else (0, 1)
                root = _exact_root(quotient, axis.extent.names.count(name))
                if remainder or root is None:
                    raise ShapeError(
                        f"{axis} is {axis.length}, not a multiple of {rest} = {factor}{self._why(rest)}."
                        if remainder
                        else f"{axis} is {axis.length}, but no {name} gives that."
                    )
                self.known[name] = root
                self.origin[name] = f"by {axis}"
                progress = True

    def _check_products(self) -> None:
        for axis in self._products:
            if all(name in self.known for name in axis.extent.names):
                value = axis.extent.value(self.known)
                if value != axis.length:
                    raise ShapeError(f"{axis} is {axis.length}, not {value}{self._why(axis.extent)}.")

    def _why(self, extent: Extent) -> str:
        """Where the values of the names came from: ` (g is 2 in k (2, 8))`."""
        names = dict.fromkeys(extent.names)
        facts = "; ".join(f"{name} is {self.known[name]} {self.origin[name]}" for name in names)
        return f" ({facts})" if facts else ""

    def _unresolved(self, missing: Sequence[str]) -> str:
        name = missing[0]
        products = [axis for axis in self._products if name in axis.extent.names]
        if products:
            why = f"{products[0]} alone does not tell {name}"
        else:
            why = f"{name} is on no axis of an input"
        values = ", ".join(f"{n!r}: ..." for n in missing)
        return f"{why}. Pass sizes={{{values}}}, or declare {name}=1 (its default) in the signature."


def check_sizes(sizes: Mapping[str, Any], names: Collection[str]) -> dict[str, int]:
    """The values of `sizes=` as ints. Raises `TensorcError` for an unknown name or a value that is no
    length."""
    checked = {}
    for name, value in sizes.items():
        if name not in names:
            raise TensorcError(f"sizes= has {name!r}, which is no size{close_to(name, names)}")
        try:
            number = -1 if isinstance(value, bool) else value.__index__()
        except AttributeError:
            number = -1
        if number < 0:
            raise ShapeError(f"The size {name} must be an integer from 0, not {value!r}.")
        if number > LONGEST_AXIS:
            raise ShapeError(f"The size {name} is 2**63 or more; no axis is that long.")
        checked[name] = number
    return checked


def close_to(name: object, names: Collection[str]) -> str:
    """How an error about an unknown name ends: `; did you mean k?`, or the names there are."""
    from difflib import get_close_matches

    close = get_close_matches(str(name), names, 1, 0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f" (there are: {', '.join(names)})." if names else "."


def shape_text(shape: Sequence[int]) -> str:
    """A shape as Python writes it, whatever kind of sequence it is."""
    return str(tuple(int(length) for length in shape))


def _exact_root(value: int, power: int) -> int | None:
    """The integer whose power is the value, if there is one."""
    if power == 1:
        return value
    root = round(value ** (1 / power))
    return root if root**power == value else None
