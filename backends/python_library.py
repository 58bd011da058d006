"""The words of an array library: all that differs between libraries in a statement of generated source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Library(Protocol):
    """How one array library says what every one can. Arguments and results are source text; `compute` in
    the generated source is the dtype of the arithmetic, `dtype` that of the outputs."""

    functions: Mapping[str, str]
    module: str  # the name it is imported under
    compute: str  # the dtype of the arithmetic by default
    typed_sizes: bool  # whether a size in an expression is a scalar of the library, not a number of Python
    in_place: bool  # whether a value that is done with may be overwritten
    quiet: str  # the head of a block that says nothing of values outside a function's domain, if needed

    def call(self, function: str, arguments: Sequence[str], plain: Sequence[bool], given: bool) -> str:
        """A function of the language. `plain` says which arguments are numbers of Python."""

    def cast(self, text: str) -> str:
        """In the dtype of the arithmetic: the same array if it has that."""

    def convert(self, text: str) -> str:
        """In the dtype of the arithmetic."""

    def scalar(self, text: str) -> str:
        """A number of Python as a scalar of the library, in the dtype of the arithmetic."""

    @property
    def wide(self) -> str:
        """float64, for what needs more digits than the rest."""

    def array(self, text: str) -> str:
        """An input that may be a number, as an array."""

    def whole(self, text: str) -> str:
        """A number or scalar as an array in the dtype of the arithmetic."""

    def positions(self, bounds: str) -> str:
        """The integers between bounds, as an array."""

    def indicator(self, mask: str, plain: bool) -> str:
        """A condition as 1 and 0."""

    def where(self, mask: str, then: str, otherwise: str, plain: bool = False) -> str:
        """A choice; `plain` if the condition is a number of Python."""

    def opposite(self, mask: str, plain: bool) -> str:
        """The negation of a condition."""

    def square(self, text: str) -> str:
        """An array times itself."""

    def power(self, base: str, exponent: str) -> str:
        """Elementwise power."""

    def clipped(self, text: str) -> str:
        """Integers, at least 0."""

    def quotient(self, top: str, bottom: str) -> str:
        """A quotient of positions and sizes where a condition compares it."""

    def summed(self, text: str, axes: Sequence[int]) -> str:
        """The sum over axes, counted from the end."""

    def reduced(self, op: str, body: str, mask: str, axis: str) -> str:
        """A row reduction over the last axes, where the mask holds."""

    def literal(self, value: int) -> str:
        """A number beside an array of the arithmetic's dtype."""

    def future(self, length: str, strict: bool, features: int) -> str:
        """Which columns of a tile are later than what a row may read, for `_segment`."""

    def zeros(self, shape: str) -> str:
        """Zeros in the dtype of the arithmetic."""

    def empty(self, shape: str, dtype: str) -> str:
        """An array to be filled."""

    def triangle(self, size: str, strict: bool) -> str:
        """1 where the column is not after the row (strictly before it), else 0."""

    def band(self, size: str, width: str) -> str:
        """1 where the row is less than the width after the column, else 0."""

    def broadcast(self, text: str, shape: str, dtype: str) -> str:
        """A copy of the whole shape in a dtype."""

    def rounded(self, text: str) -> str:
        """In the dtype of the outputs."""

    def spread(self, text: str, shape: str) -> str:
        """Over the last axes of a shape, in the dtype of the arithmetic."""

    def shapes(self, shapes: str) -> str:
        """The shape that shapes broadcast to."""

    def copy(self, text: str) -> str:
        """An array of its own."""

    def subscript(self, marks: Sequence[str]) -> str:
        """A subscript as a value: marks are ':', 'None', '...' and slices of numbers."""

    def first(self, op: str) -> str:
        """What a reduction starts from."""

    def begin(self, shape: str, op: str) -> str:
        """A running value of a reduction, before the first block."""

    def raised(self, op: str, running: str, addend: str) -> str:
        """A statement: a running maximum or minimum takes up an addend."""

    def nowhere(self, mask: str) -> str:
        """Whether a mask holds nowhere; false where that is not worth asking."""

    def sum_into(self, left: str, right: str, target: str) -> str | None:
        """A statement that writes a sum to a place in another array, if that is one operation."""
