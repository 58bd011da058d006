"""The surface syntax tree: what both front ends (text and tracing) hand to lowering.

Expressions are the nodes of `tensorc.ir` with three additions that only exist before lowering: `Group`
(parentheses, which bound implicit sums), `Reduction` (indices not yet resolved) and `Name` (a bare
name: a size, an index or a scalar tensor, not yet known which). An `Iverson`, `Where` or domain holds
conditions; a number may stand first in `where`, and anywhere else that a condition is expected it is
an error of lowering (`Truth` may mark it, and changes nothing). A function's name and number of
arguments, and a reduction's name, are checked by lowering. Left-nested `Add` and `Mul` mean the same
as n-ary ones; a compound right operand counts as a group whether or not a `Group` stands around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tensorc.errors import Span
from tensorc.ir import Extent
from tensorc.ir import children as ir_children


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """(body), as written. Lowering uses it for implicit sums and then drops it."""

    body: Any
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Truth:
    """A number where a condition is expected; transparent."""

    body: Any
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Reduction:
    """R[names, conditions](body), R one of the reductions or softmax."""

    op: str
    names: tuple[Name, ...]
    conditions: tuple[Any, ...]
    body: Any
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Declaration:
    """NAME[size, ...] in a signature."""

    name: str
    axes: tuple[Extent, ...]
    span: Span | None = field(default=None, compare=False)
    axis_spans: tuple[Span | None, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Assignment:
    """NAME[left] = body."""

    target: str
    left: tuple[Name, ...]
    body: Any
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CallStatement:
    """NAME, ... = PROGRAM(NAME, ...)."""

    targets: tuple[Name, ...]
    program: str
    arguments: tuple[Name, ...]
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Definition:
    """One program as written. `inputs` and `parameters` (NAME=INT) in their order."""

    name: str
    inputs: tuple[Declaration, ...]
    parameters: tuple[tuple[Name, int], ...]
    outputs: tuple[Declaration, ...]
    statements: tuple[Assignment | CallStatement, ...]
    span: Span | None = field(default=None, compare=False)


def children(node: Any) -> tuple[Any, ...]:
    """The parts directly below a node of the surface tree, in the order they are written."""
    match node:
        case Group(body=body) | Truth(body=body):
            return (body,)
        case Reduction(names=names, conditions=conditions, body=body):
            return (*names, *conditions, body)
        case Name():
            return ()
    return ir_children(node)
