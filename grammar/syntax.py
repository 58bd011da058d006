"""The surface syntax tree: what both front ends (text and tracing) hand to lowering.

Expressions are the nodes of `tensorc.ir` with three additions that only exist before lowering: `Group`
(parentheses, which bound implicit sums), `Reduction` (indices not yet resolved) and `Name` (a bare
name: a size, an index or a scalar tensor, not yet known which). An `Iverson`, `Where` or domain holds
conditions; `Truth` marks an expression that stands where a condition is expected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tensorc.errors import Span
from tensorc.ir import Extent


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
    """A number where a condition is expected; allowed first in `where`, otherwise an error."""

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
