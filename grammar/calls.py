"""Calls of other programs: what they tell about the extents of axes.

Sizes of the callee are fitted to the axes of the arguments; further axes in front of the declared ones
broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from tensorc.grammar.names import Symbols, leading_rank
from tensorc.grammar.ranges import CallSizes, Key, Ranges, axis_key
from tensorc.grammar.syntax import CallStatement
from tensorc.ir import Extent, Program, TensorDecl, extent


@dataclass(slots=True)
class CallRanges(CallSizes):
    """The extents of one call: `("size", number, name)` is the class of a size of the callee."""

    symbols: Symbols
    statement: CallStatement
    number: int
    program: Program
    pending: list[tuple[Key, Extent, str]] = field(default_factory=list)
    defaults: dict[str, int] = field(default_factory=dict)

    def join(self, ranges: Ranges) -> None:
        """Join the axes of arguments and results with the sizes of the callee."""
        self.defaults = dict(self.program.defaults)
        leading = leading_rank(self.symbols, self.statement)
        statement, program = self.statement, self.program
        for argument, declared in zip(statement.arguments, program.inputs, strict=True):
            extra = self.symbols.tensors[argument.name].rank - len(declared.axes)
            self._fit(ranges, argument.name, declared, extra)
        for target, declared in zip(statement.targets, program.outputs, strict=True):
            self._fit(ranges, target.name, declared, leading)

    def _fit(self, ranges: Ranges, tensor: str, declared: TensorDecl, extra: int) -> None:
        for k in range(extra):
            lead = ("lead", self.number, extra - k)
            if not ranges.classes.join(lead, axis_key(tensor, k)):
                self._fail(ranges, lead, axis_key(tensor, k))
        for k, axis in enumerate(declared.axes):
            key = axis_key(tensor, extra + k)
            if len(axis.names) == 1 and axis.coefficient == 1:
                size = ("size", self.number, axis.names[0])
                if not ranges.classes.join(size, key):
                    self._fail(ranges, size, key)
            else:
                self.pending.append(
                    (key, axis, f"{declared.name} axis {k + 1} of {self.program.name} ({axis})")
                )

    def _fail(self, ranges: Ranges, a: Key, b: Key) -> NoReturn:
        self.symbols.source.fail(
            f"{ranges.classes.witness(a)} and {ranges.classes.witness(b)} must be equal in this call of "
            f"{self.program.name}.",
            self.statement.span,
            "If always equal, give them one name in the signature.",
        )

    def size(self, ranges: Ranges, name: str) -> Extent | None:
        return ranges.classes.extent(("size", self.number, name))

    def propagate(self, ranges: Ranges) -> bool:
        """Use products of sizes, then defaults, as far as they are known; whether anything was."""
        waiting, progress = [], False
        for key, axis, what in self.pending:
            unknown = [name for name in axis.names if self.size(ranges, name) is None]
            actual = ranges.classes.extent(key)
            known = product_of(axis, {n: e for n in axis.names if (e := self.size(ranges, n)) is not None})
            if not unknown:
                self._set(ranges, key, known, what)
            elif len(unknown) == 1 and actual is not None:
                self._divide(ranges, unknown[0], actual, known, what)
            else:
                waiting.append((key, axis, what))
                continue
            progress = True
        self.pending = waiting
        if not progress:
            for name in [n for n in self.defaults if self.size(ranges, n) is None]:
                value = self.defaults.pop(name)
                progress = ranges.classes.set(("size", self.number, name), Extent(value), f"{name}={value}")
        return progress

    def _set(self, ranges: Ranges, key: Key, value: Extent, what: str) -> None:
        if not ranges.classes.set(key, value, what):
            self.symbols.source.fail(
                f"{what} is {value} in this call, but {ranges.classes.witness(key)} is given.",
                self.statement.span,
                "Axes are equal only if they are declared by the same sizes.",
            )

    def _divide(self, ranges: Ranges, name: str, actual: Extent, known: Extent, what: str) -> None:
        quotient = _quotient(actual, known)
        if quotient is None:
            self.symbols.source.fail(
                f"{what} cannot be {actual}: {actual} is no multiple of {known}.",
                self.statement.span,
                f"Declare the argument's axis as a product with {known}.",
            )
        assert quotient is not None
        self._set(ranges, ("size", self.number, name), quotient, what)

    def finish(self, ranges: Ranges) -> None:
        for name in self.program.sizes():
            if self.size(ranges, name) is None:
                self.symbols.source.fail(
                    f"The arguments do not tell the size {name} of {self.program.name}.",
                    self.statement.span,
                    f"Give it a default in that signature, or an input with the axis {name}.",
                )


def product_of(axis: Extent, sizes: Mapping[str, Extent]) -> Extent:
    """The product of the sizes that are known."""
    factors: list[str | int] = [axis.coefficient]
    for name in axis.names:
        if name in sizes:
            factors += [sizes[name].coefficient, *sizes[name].names]
    return extent(*factors)


def _quotient(whole: Extent, part: Extent) -> Extent | None:
    names = list(whole.names)
    for name in part.names:
        if name not in names:
            return None
        names.remove(name)
    if not part.coefficient or whole.coefficient % part.coefficient:
        return None
    return Extent(whole.coefficient // part.coefficient, tuple(names))
