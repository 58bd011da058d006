"""Parts of the evaluation of one node: reads, quotients, and products inside sums taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorc.backends.reference_values import Env, Value, align, keep
from tensorc.errors import ShapeError
from tensorc.ir import Bind, Cond, Const, Div, Expr, Iverson, Mul, Neg, Read, Reduce
from tensorc.numbers import Array, Numbers


def gather(array: Array, lengths: Sequence[int], subscripts: Sequence[Value]) -> Value:
    """array[..., subscripts], and 0 where one is outside its axis."""
    indices, positions = align(subscripts)
    shape = np.broadcast_shapes(*(p.shape for p in positions), (1,) * len(indices))
    inside: Any = np.ones(shape, bool)
    clipped: list[Any] = []
    for position, length in zip(positions, lengths, strict=True):
        if position.dtype.kind == "f" and not np.isfinite(position).all():
            raise ShapeError("A subscript divides by zero.")
        inside = inside & np.asarray((position >= 0) & (position < length), bool)
        clipped.append(np.minimum(np.maximum(position, 0), max(length - 1, 0)).astype(np.int64))
    if 0 in lengths:
        batch = array.shape[: array.ndim - len(lengths)]
        return Value(indices, np.zeros(batch + shape, array.dtype))
    picked = array[tuple([..., *clipped])]
    if inside.all():
        return Value(indices, picked)
    return Value(indices, np.where(inside, picked, np.zeros((), array.dtype)))


def divide(numbers: Numbers, numerator: Value, denominator: Value) -> Value:
    """The quotient; a strong zero divided by anything is a strong zero."""
    indices, arrays = align([numerator, denominator])
    return keep(Value(indices, numbers.divide(*arrays)), numerator.support)


def outside(numbers: Numbers, denominator: Value, bound: Sequence[str]) -> bool:
    """Whether a sum may be divided once instead of in each term: the same for all, and never 0 (an empty
    sum is 0, also over 0)."""
    array = denominator.array
    return not set(denominator.indices) & {*bound} and numbers.finite(array) and bool((array != 0).all())


def merge_sums(node: Reduce, env: Env) -> tuple[list[Bind], list[Cond], Expr]:
    """A sum directly inside a sum is one sum over all indices, unless a name would hide another."""
    binds, domain, body = list(node.binds), list(node.domain), node.body
    while isinstance(body, Reduce) and body.op == "sum":
        taken = {*env, *(bind.name for bind in binds)}
        if any(bind.name in taken for bind in body.binds):
            break
        binds += body.binds
        domain += body.domain
        body = body.body
    return binds, domain, body


def product_parts(body: Expr) -> tuple[bool, list[Expr], list[Cond], list[Expr]]:
    """A product taken apart: whether it is negated, factors, conditions [..] and denominators."""
    negative, factors, conditions, divisors = False, list[Expr](), list[Cond](), list[Expr]()
    stack = [body]
    while stack:
        match stack.pop():
            case Mul(factors=parts):
                stack.extend(reversed(parts))
            case Neg(operand=operand):
                negative = not negative
                stack.append(operand)
            case Div(numerator=numerator, denominator=denominator):
                stack.append(numerator)
                divisors.append(denominator)
            case Iverson(condition=condition):
                conditions.append(condition)
            case other:
                factors.append(other)
    return negative, factors or [Const(1)], conditions, divisors


def check_constant(node: Read, number: int, position: int, length: int) -> None:
    """A constant subscript outside its axis is a mistake, not a zero."""
    if not 0 <= position < length:
        line = f" (line {node.span.line})" if node.span else ""
        raise ShapeError(
            f"{node.tensor} is read at {position}, outside its axis {number + 1} of length {length}{line}. "
            "Only an index may leave the axis: there it reads 0."
        )
