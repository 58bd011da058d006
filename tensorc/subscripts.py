"""Constant subscripts: x[i, 5] wants six of the second axis. Which sizes do, is known at the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorc.errors import ShapeError
from tensorc.ir import (
    Add,
    Call,
    Const,
    Expr,
    Extent,
    FloorDiv,
    Index,
    Mod,
    Mul,
    Neg,
    Node,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    children,
    walk,
)


@dataclass(frozen=True, slots=True)
class Constant:
    """A subscript without an index: of which read, on which axis, and the ranges it is evaluated in."""

    read: Read
    axis: int
    extent: Extent
    ranges: tuple[Extent, ...]


def constant_subscripts(program: Program) -> tuple[Constant, ...]:
    """The constant subscripts of a program."""
    tensors = program.tensors()
    found = []
    pending: list[tuple[Node, tuple[Extent, ...]]] = [
        (e.body, tuple(bind.extent for bind in e.left)) for e in program.equations
    ]
    while pending:
        node, ranges = pending.pop()
        if isinstance(node, Reduce | Softmax):
            binds = node.binds if isinstance(node, Reduce) else node.over
            ranges += tuple(bind.extent for bind in binds)
        if isinstance(node, Read):
            axes = tensors[node.tensor].axes
            for axis, (subscript, extent) in enumerate(zip(node.subscripts, axes, strict=True)):
                if not any(isinstance(n, Index) for n in walk(subscript)):
                    found.append(Constant(node, axis, extent, ranges))
        pending += [(child, ranges) for child in children(node)]
    return tuple(found)


def check_constants(constants: tuple[Constant, ...], sizes: Mapping[str, int]) -> None:
    """Raise `ShapeError` for a constant subscript outside its axis, unless nothing evaluates it."""
    for constant in constants:
        if any(extent.value(sizes) == 0 for extent in constant.ranges):
            continue
        position = _value(constant.read.subscripts[constant.axis], sizes)
        length = constant.extent.value(sizes)
        if not 0 <= position < length:
            span = constant.read.span
            line = f" (line {span.line})" if span else ""
            raise ShapeError(
                f"{constant.read.tensor} is read at {position}, outside its axis {constant.axis + 1} "
                f"of length {length}{line}. Only an index may leave the axis: there it reads 0."
            )


def _value(expr: Expr, sizes: Mapping[str, int]) -> int:
    """An integer expression of sizes."""
    match expr:
        case Const(value=value):
            return int(value)
        case Size(name=name):
            return sizes[name]
        case Neg(operand=operand):
            return -_value(operand, sizes)
        case Add(terms=terms):
            return sum(_value(t, sizes) for t in terms)
        case Mul(factors=factors):
            product = 1
            for factor in factors:
                product *= _value(factor, sizes)
            return product
        case FloorDiv() | Mod():
            top, bottom = _value(expr.numerator, sizes), _value(expr.denominator, sizes)
            if bottom == 0:
                return 0
            return top // bottom if isinstance(expr, FloorDiv) else top % bottom
        case Call(function="maximum", arguments=parts):
            return max(_value(p, sizes) for p in parts)
        case Call(function="minimum", arguments=parts):
            return min(_value(p, sizes) for p in parts)
    raise TypeError(f"no subscript: {expr!r}")
