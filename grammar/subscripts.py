"""What may stand on an axis: integer expressions of indices, sizes and integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from tensorc.errors import ShapeError, Span
from tensorc.grammar.names import Symbol
from tensorc.grammar.show import show
from tensorc.grammar.syntax import Group, Name, Truth
from tensorc.grammar.words import WordErrors
from tensorc.ir import (
    Add,
    Call,
    Const,
    Div,
    Extent,
    FloorDiv,
    Index,
    Mod,
    Mul,
    Neg,
    Read,
    Size,
    extent,
)

if TYPE_CHECKING:
    from tensorc.grammar.resolve import Resolved

INTEGER = (Const, Name, Add, Mul, Neg, FloorDiv, Mod, Call, Read, Group)


class Subscripts(WordErrors):
    """The part of resolving that deals with what stands inside the [ ] of a read."""

    out: Resolved

    def index(self, node: Name) -> Index:
        raise NotImplementedError

    def axis(self, symbol: Symbol, axis: int, node: Any) -> Any:
        """What stands on one axis of a read, with the facts that it tells about ranges."""
        from tensorc.grammar.resolve import AxisUse

        span = getattr(node, "span", None)
        result = self.subscript(node)
        if isinstance(result, Index):
            self.out.uses.append(AxisUse(result.name, symbol.name, axis, span))
        elif isinstance(result, Size):
            self.out.size_reads.append((result, symbol.name, axis))
            if symbol.axes is not None:
                self.check_size(result, symbol.axes[axis])
        value = constant(result)
        if value is not None:
            check_constant(symbol, axis, value, span)
        return result

    def check_size(self, size: Size, axis: Extent) -> None:
        """A size on the axis it is the size of lies outside: an index was meant."""
        if axis == extent(size.name):
            self.symbols.expect_index(Name(size.name, size.span))

    def subscript(self, node: Any) -> Any:
        match node:
            case Group(body=body) | Truth(body=body):
                return self.subscript(body)
            case Const(value=value):
                if not isinstance(value, int):
                    self.fail(node, "Positions are integers.")
                return node
            case Name(name=name):
                if name in self.symbols.sizes:
                    return Size(name, span=node.span)
                if name in self.symbols.tensors and not self.symbols.tensors[name].rank:
                    self.fail_data(Read(name, (), span=node.span))
                self.check_bare_word(node)
                return self.index(node)
            case Read():
                self.fail_data(node)
            case Neg(operand=operand):
                return Neg(self.subscript(operand), span=node.span)
            case Add() | Mul() | FloorDiv() | Mod():
                return self.integers(node)
            case Call(function="maximum" | "minimum", arguments=(left, right)):
                return Call(node.function, (self.subscript(left), self.subscript(right)), span=node.span)
            case Div():
                self.fail(node, "Integer division is written //; it rounds down.")
        self.fail(node, "An axis is indexed with + - * // % minimum maximum of indices, sizes and integers.")

    def integers(self, node: Any) -> Any:
        """A left-nested chain of operators, without recursion along the chain."""
        chain = []
        while isinstance(node, (Add, Mul, FloorDiv, Mod)):
            chain.append(node)
            node = (
                node.terms[0] if isinstance(node, Add)
                else node.factors[0] if isinstance(node, Mul)
                else node.numerator
            )  # fmt: skip
        result = self.subscript(node)
        for link in reversed(chain):
            if isinstance(link, (FloorDiv, Mod)):
                divisor = self.subscript(link.denominator)
                if constant(divisor) == 0:
                    self.source.fail(
                        "This divides by 0.", link.span, "Divide by a positive integer or a size."
                    )
                result = type(link)(result, divisor, span=link.span)
            elif isinstance(link, Add):
                result = flat_add((result, *(self.subscript(t) for t in link.terms[1:])), link.span)
            else:
                result = flat_mul((result, *(self.subscript(f) for f in link.factors[1:])), link.span)
        return result

    def fail_data(self, node: Read) -> NoReturn:
        self.source.fail(
            f"{node.tensor} holds data; an axis is indexed by indices, sizes and integers.",
            node.span,
            "Gather before the call.",
        )

    def fail(self, node: Any, hint: str) -> NoReturn:
        shown = show(self.source, node)
        self.source.fail(f"`{shown}` cannot index an axis.", getattr(node, "span", None), hint)


def flat_add(terms: tuple[Any, ...], span: Span | None) -> Add:
    """An `Add` whose first term is not one."""
    if isinstance(terms[0], Add):
        terms = (*terms[0].terms, *terms[1:])
    return Add(terms, span=span)


def flat_mul(factors: tuple[Any, ...], span: Span | None) -> Mul:
    """A `Mul` whose first factor is not one."""
    if isinstance(factors[0], Mul):
        factors = (*factors[0].factors, *factors[1:])
    return Mul(factors, span=span)


def constant(node: Any) -> int | None:
    """The value of a subscript of integers alone; None for any other, and past 2**63."""
    if isinstance(node, Const):
        return int(node.value)
    if isinstance(node, (Index, Size, Read)):
        return None
    parts = [constant(p) for p in _parts(node)]
    values = [p for p in parts if p is not None]
    if len(values) != len(parts):
        return None
    match node:
        case Neg():
            return -values[0]
        case Add():
            return sum(values)
        case FloorDiv():
            return values[0] // values[1] if values[1] else None
        case Mod():
            return values[0] % values[1] if values[1] else None
        case Call(function=function):
            return max(values) if function == "maximum" else min(values)
    result = 1
    for value in values:
        result *= value
        if abs(result) >= 2**63:
            return None
    return result


def _parts(node: Any) -> tuple[Any, ...]:
    match node:
        case Neg(operand=operand):
            return (operand,)
        case Add(terms=parts) | Mul(factors=parts) | Call(arguments=parts):
            return parts
    return (node.numerator, node.denominator)


def check_constant(symbol: Symbol, axis: int, value: int, span: Span | None) -> None:
    """Refuse a constant position that is outside the axis for certain."""
    axes = symbol.axes
    size = axes[axis].coefficient if axes is not None and not axes[axis].names else None
    if value >= 0 and (size is None or value < size):
        return
    line = f" (line {span.line})" if span else ""
    last = "" if size is None else f" to {size - 1}"
    raise ShapeError(
        f"{symbol.shown()} is read at {value} on axis {axis + 1}{line}, which is outside it: positions "
        f"count from 0{last}, and the last one of n is n - 1."
    )
