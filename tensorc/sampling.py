"""Small random exact inputs, drawn for the part that each tensor plays in a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from tensorc.ir import (
    Add,
    Call,
    Compare,
    Const,
    Div,
    Expr,
    Mul,
    Neg,
    Node,
    Pow,
    Program,
    Read,
    Reduce,
    children,
    reads,
)

# Gates may be anything: 0 ends a memory, -1 flips its sign, fractions fade it.
GATES: tuple[int | Fraction, ...] = (0, 1, -1, 1, 2, -2, Fraction(1, 2), Fraction(-1, 2), 1, 3)


def random_inputs(
    program: Program, sizes: Mapping[str, int], rng: np.random.Generator, batch: tuple[int, ...] = ()
) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Exact inputs for a program, by name, each of shape batch + its axes.

    Most tensors are ints in [-3, 3] (dtype object). Log gates are smaller; product gates hold 0, -1 and
    fractions too; a tensor that only conditions look at is int64 (segment ids do not decrease along the
    axis they are compared on) or, where it is only compared with 0, bool.
    """
    parts = roles(program)
    inputs = {}
    for decl in program.inputs:
        shape = batch + tuple(axis.value(sizes) for axis in decl.axes)
        role, axis = parts[decl.name]
        if role == "segment":
            inputs[decl.name] = np.cumsum(rng.integers(0, 2, shape), axis=axis - len(decl.axes))
        elif role == "flag":
            inputs[decl.name] = rng.integers(0, 2, shape).astype(bool)
        elif role == "data":
            inputs[decl.name] = rng.integers(-1, 4, shape)
        else:
            pool = {"gate": GATES, "log": range(-2, 2), "value": range(-3, 4)}[role]
            inputs[decl.name] = _draw(list(pool), rng, shape)
    return inputs


def roles(program: Program) -> dict[str, tuple[str, int]]:
    """The part each input plays: value, gate, log, segment, flag or data; for a segment also its axis."""
    found: dict[str, set[tuple[str, int]]] = {decl.name: set() for decl in program.inputs}
    for equation in program.equations:
        for tensor, role, axis in _occurrences(equation.body):
            if tensor in found:
                found[tensor].add((role, axis))
    return {name: _settle(seen) for name, seen in found.items()}


def _settle(seen: set[tuple[str, int]]) -> tuple[str, int]:
    """One role from those of all occurrences: a role of conditions or of exp holds only alone."""
    names = {role for role, _ in seen}
    if names == {"segment"}:
        return min(seen)
    if names <= {"segment", "flag", "data"} and names:
        return ("flag" if names == {"flag"} else "data", 0)
    if "gate" in names:
        return ("gate", 0)
    return ("log" if names == {"log"} else "value", 0)


def _occurrences(body: Expr) -> Iterator[tuple[str, str, int]]:
    """(tensor, role, axis) for every read, by what stands above it."""
    stack: list[tuple[Node, str]] = [(body, "value")]
    while stack:
        node, role = stack.pop()
        if isinstance(node, Read):
            yield node.tensor, role, 0
        elif isinstance(node, Compare):
            yield from _compared(node)
        elif isinstance(node, Pow):
            stack.append((node.base, "value" if isinstance(node.exponent, Const) else "gate"))
            stack.append((node.exponent, "value"))
        else:
            stack.extend((child, _below(node, child, role)) for child in children(node))


def _below(node: Node, child: Node, role: str) -> str:
    """The role of a child. Arguments of exp are log gates as long as they are only added up."""
    if isinstance(node, Call):
        return "log" if node.function == "exp" else "value"
    if isinstance(node, Reduce):
        return {"sum": role, "prod": "gate"}.get(node.op, "value")
    if isinstance(node, (Add, Neg)) or (role == "gate" and isinstance(node, (Mul, Div))):
        return role
    return "value"


def _compared(node: Compare) -> Iterator[tuple[str, str, int]]:
    """The reads of one comparison: ids compared across positions, flags compared with 0, other data."""
    left, right = node.left, node.right
    if isinstance(left, Read) and isinstance(right, Read) and left.tensor == right.tensor:
        pairs = enumerate(zip(left.subscripts, right.subscripts, strict=False))
        different = [axis for axis, (one, two) in pairs if one != two]
        if node.op == "==" and len(different) == 1:
            yield left.tensor, "segment", different[0]
            return
    for one, two in ((left, right), (right, left)):
        if isinstance(one, Read) and two == Const(0) and node.op in ("==", "!="):
            yield one.tensor, "flag", 0
            return
    for side in (left, right):
        for tensor in reads(side):
            yield tensor, "data", 0


def _draw(
    pool: list[int | Fraction], rng: np.random.Generator, shape: tuple[int, ...]
) -> np.ndarray[Any, np.dtype[Any]]:
    values = np.empty(len(pool), dtype=object)
    values[:] = pool
    return np.asarray(values[rng.integers(0, len(pool), shape)], dtype=object).reshape(shape)
