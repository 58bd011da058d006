"""What the conditions around a place imply about the distance of two positions.

Conditions between indices are difference constraints (x - y <= c); the tightest bound that a set of
them implies is a shortest path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tensorc.ir import (
    Add,
    And,
    Compare,
    Const,
    Div,
    Index,
    Iverson,
    Mul,
    Neg,
    Not,
    Or,
    Size,
)

ZERO = ""  # the node of position 0
NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
Linear = dict[str, int]
Edges = dict[str, list[tuple[str, int]]]
LIMIT = 200_000


@dataclass(slots=True)
class Budget:
    """Steps left for following constraints; when they run out, nothing more is implied."""

    steps: int = LIMIT


@dataclass(slots=True)
class Scope:
    """The conditions that hold at a place: its own and those of the scopes around it."""

    parent: Scope | None = None
    facts: list[tuple[str, str, int]] = field(default_factory=list)  # (x, y, c): x - y <= c
    edges: tuple[Edges, Edges] | None = None

    def graphs(self) -> tuple[Edges, Edges]:
        """Edges y -> x of weight c for each fact, and the same edges reversed."""
        if self.edges is None:
            forward: Edges = {}
            backward: Edges = {}
            scope: Scope | None = self
            while scope is not None:
                for x, y, c in scope.facts:
                    forward.setdefault(y, []).append((x, c))
                    backward.setdefault(x, []).append((y, c))
                scope = scope.parent
            self.edges = forward, backward
        return self.edges


def upper_bounds(scope: Scope, index: str, budget: Budget) -> dict[str, int]:
    """For each x that the scope says something about: the largest that x - index can be."""
    return _shortest(scope.graphs()[0], index, budget, to_zero=True)


def lower_bounds(scope: Scope, index: str, budget: Budget) -> dict[str, int]:
    """For each x that the scope says something about: the smallest that x - index can be."""
    found = _shortest(scope.graphs()[1], index, budget, to_zero=False)
    return {name: -bound for name, bound in found.items()}


def _shortest(edges: Edges, start: str, budget: Budget, to_zero: bool) -> dict[str, int]:
    """Shortest distances from `start`, by relaxing until nothing changes or the budget is spent."""
    distance = {start: 0}
    queue = deque([start])
    while queue and budget.steps > 0:
        node = queue.popleft()
        out = edges.get(node, [])
        for other, weight in [*out, (ZERO, 0)] if to_zero and node != ZERO else out:
            budget.steps -= 1
            through = distance[node] + weight
            if through < distance.get(other, through + 1):
                distance[other] = through
                queue.append(other)
    return distance


def facts(condition: Any, negated: bool = False) -> Iterator[tuple[str, str, int]]:
    """The difference constraints (x - y <= c) that a condition implies."""
    match condition:
        case Compare():
            op = NEGATED[condition.op] if negated else condition.op
            yield from _comparison(op, condition.left, condition.right)
        case Not(part=part):
            yield from facts(part, not negated)
        case And(parts=parts) if not negated:
            for part in parts:
                yield from facts(part)
        case Or(parts=parts) if negated:
            for part in parts:
                yield from facts(part, True)


def _comparison(op: str, left: Any, right: Any) -> Iterator[tuple[str, str, int]]:
    if op in (">", ">="):
        left, right, op = right, left, "<" if op == ">" else "<="
    if op == "!=":
        return
    difference = linear(Add((left, Neg(right))))
    if difference is None:
        return
    if (fact := _difference(difference, 1 if op == "<" else 0)) is not None:
        yield fact
    if op == "==" and (fact := _difference({k: -v for k, v in difference.items()}, 0)) is not None:
        yield fact


def _difference(form: Linear, strict: int) -> tuple[str, str, int] | None:
    """form + strict <= 0 as x - y <= c."""
    plus = [name for name, value in form.items() if name != ZERO and value == 1]
    minus = [name for name, value in form.items() if name != ZERO and value == -1]
    symbols = sum(1 for name, value in form.items() if name != ZERO and value)
    if len(plus) > 1 or len(minus) > 1 or symbols != len(plus) + len(minus) or not symbols:
        return None
    x, y = plus[0] if plus else ZERO, minus[0] if minus else ZERO
    return x, y, -form.get(ZERO, 0) - strict


def linear(node: Any) -> Linear | None:
    """An expression as multiples of indices and sizes, the constant under `ZERO`; None if not linear."""
    form: Linear = {}
    stack = [(node, 1)]
    while stack:
        node, sign = stack.pop()
        match node:
            case Const(value=int() as value):
                form[ZERO] = form.get(ZERO, 0) + sign * value
            case Index(name=name) | Size(name=name):
                form[name] = form.get(name, 0) + sign
            case Neg(operand=operand):
                stack.append((operand, -sign))
            case Add(terms=terms):
                stack.extend((term, sign) for term in terms)
            case _:
                return None
    return form


def strong_conditions(node: Any) -> Iterable[Any]:
    """The conditions of the Iverson brackets that multiply everything else in a product."""
    stack, found = [node], []
    while stack:
        match stack.pop():
            case Mul(factors=factors):
                stack.extend(factors)
            case Div(numerator=numerator):
                stack.append(numerator)
            case Iverson(condition=condition):
                found.append(condition)
    return found
