"""Equations that use their own results: which axis they advance along, in which direction, in what order.

The direction is found from the numbers themselves: for every read of the group's tensors, the positions
that its domain lets it reach are enumerated and compared with the position that is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from tensorc.backends.reference_expressions import GIVEN, SUBSCRIPT, Evaluator
from tensorc.backends.reference_values import BLOCK, Value, align
from tensorc.errors import LanguageError
from tensorc.ir import (
    Bind,
    Cond,
    Equation,
    Index,
    Iverson,
    Mul,
    Node,
    Not,
    Read,
    Reduce,
    Softmax,
    Where,
    children,
    conjuncts,
    reads,
    walk,
)


@dataclass(frozen=True, slots=True)
class Advance:
    """How a group is evaluated: the axis of each tensor, the direction (1 or -1), the order at a position."""

    axes: dict[str, int]
    direction: int
    order: tuple[Equation, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """A read of one of the group's tensors, with the indices and the conditions around it."""

    equation: Equation
    read: Read
    binds: tuple[Bind, ...]
    conditions: tuple[Cond, ...]


def advance(evaluator: Evaluator, group: Sequence[Equation]) -> Advance:
    """Along which axis the equations of a cycle can be evaluated position by position.

    Raises `LanguageError` if along none: some position then needs itself.
    """
    names = {equation.target for equation in group}
    found = [use for equation in group for use in uses(equation, names)]
    ranges: dict[tuple[int, int, int], tuple[int, int] | None] = {}
    for axes in _candidates(group):
        lags = {}
        for number, use in enumerate(found):
            key = (number, axes[use.equation.target], axes[use.read.tensor])
            if key not in ranges:
                ranges[key] = lag_range(evaluator, use, *key[1:])
            if ranges[key] is not None:
                lags[number] = ranges[key]
        for direction in (1, -1):
            order = _order(group, found, lags, direction)
            if order is not None:
                return Advance(axes, direction, order)
    span = found[0].read.span
    raise LanguageError(
        f"{', '.join(sorted(names))}: a value needs itself. A tensor may use its own result only at "
        "strictly earlier positions of one axis (or throughout strictly later ones).",
        line=span.line if span else None,
        column=span.column if span else None,
        hint="write a domain such as j < i, or a shift such as i - 1",
    )


def _candidates(group: Sequence[Equation]) -> Iterator[dict[str, int]]:
    """Choices of one axis for each tensor, all of one extent; at most a few thousand."""
    extents = dict.fromkeys(bind.extent for bind in group[0].left)
    for extent in extents:
        options = [[at for at, b in enumerate(e.left) if b.extent == extent] for e in group]
        if prod(map(len, options)) <= 4096:
            for choice in product(*options):
                yield {e.target: at for e, at in zip(group, choice, strict=True)}


def _order(
    group: Sequence[Equation],
    found: Sequence[Use],
    lags: Mapping[int, tuple[int, int] | None],
    direction: int,
) -> tuple[Equation, ...] | None:
    """The equations in the order that they are evaluated at one position; None if there is none."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(equation.target for equation in group)
    for number, lag in lags.items():
        assert lag is not None
        nearest = lag[1] if direction == 1 else -lag[0]
        if nearest > 0:
            return None
        if nearest == 0:
            graph.add_edge(found[number].read.tensor, found[number].equation.target)
    if not networkx.is_directed_acyclic_graph(graph):
        return None
    by_name = {equation.target: equation for equation in group}
    return tuple(by_name[name] for name in networkx.topological_sort(graph))


def uses(equation: Equation, names: set[str]) -> Iterator[Use]:
    """Every read of the named tensors in an equation, with its context."""
    stack: list[tuple[Node, tuple[Bind, ...], tuple[Cond, ...]]] = [(equation.body, equation.left, ())]
    while stack:
        node, binds, conditions = stack.pop()
        match node:
            case Read() if node.tensor in names:
                yield Use(equation, node, binds, conditions)
            case Reduce(binds=more) | Softmax(over=more):
                binds = (*binds, *more)
                stack.append((node.body, binds, (*conditions, *node.domain)))
                stack.extend((condition, binds, conditions) for condition in node.domain)
                continue
            case Mul():
                conditions = (*conditions, *(f.condition for f in node.factors if isinstance(f, Iverson)))
            case Where():
                stack.append((node.condition, binds, conditions))
                stack.append((node.then, binds, (*conditions, node.condition)))
                stack.append((node.otherwise, binds, (*conditions, Not(node.condition))))
                continue
        stack.extend((child, binds, conditions) for child in children(node))


def lag_range(evaluator: Evaluator, use: Use, written: int, read: int) -> tuple[int, int] | None:
    """The least and the largest difference between the position read and the position written, over all
    that the conditions allow; None if nothing is read."""
    index = use.equation.left[written].name
    subscript = use.read.subscripts[read]
    length = evaluator.axes[use.read.tensor][read]
    scope = evaluator.ranges(use.binds)
    conditions = [(c, _indices(c) & scope.keys()) for c in conjuncts(use.conditions) if not reads(c)]
    relevant, before = {index} | _indices(subscript), 0
    while len(relevant) > before:  # conditions that share an index with those already there
        before = len(relevant)
        relevant |= {name for _, names in conditions if names & relevant for name in names}
    env = {name: positions for name, positions in scope.items() if name in relevant}
    if not all(len(positions) for positions in env.values()):
        return None
    blocks = [env]
    if prod(len(positions) for positions in env.values()) > BLOCK:
        blocks = [{**env, index: env[index][at : at + 1]} for at in range(len(env[index]))]
    found = []
    for block in blocks:
        target = evaluator.evaluate(subscript, block, SUBSCRIPT)
        masks = [evaluator.evaluate(c, block, GIVEN) for c, names in conditions if names & relevant]
        _, (own, other, *allowed) = align([Value((index,), block[index]), target, *masks])
        inside = (other >= 0) & (other < length)
        for mask in allowed:
            inside = inside & mask
        shape = np.broadcast_shapes(own.shape, inside.shape)
        lag = np.broadcast_to(other - own, shape)[np.broadcast_to(inside, shape)]
        if lag.size:
            found += [int(lag.min()), int(lag.max())]
    return (min(found), max(found)) if found else None


def _indices(node: Node) -> set[str]:
    return {part.name for part in walk(node) if isinstance(part, Index)}
