"""Difference constraints: x - y <= bound between indices, the bounds linear in the sizes.

What they imply is found as shortest paths. Everything is conservative: a bound that cannot be compared
for all sizes is not used, and what is not implied may still be true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import TypeAlias

from tensorc.polynomial import Polynomial

Form: TypeAlias = int | Polynomial  # a bound: a number, or one with symbols of at least 0
ZERO = "0"  # the node of position 0
MOST_EDGES = 8_000
WORK = 300_000


class TooLarge(Exception):
    """The analysis would take too long."""


def at_most_zero(form: Form) -> bool:
    """Whether a form is <= 0 whatever its symbols are, from 0 on.

    >>> w = Polynomial.symbol("w")
    >>> at_most_zero(3 + -2 * w), at_most_zero(-1 + -1 * w)
    (False, True)
    """
    return form <= 0 if isinstance(form, int) else all(c <= 0 for c in form.terms.values())


def tighter(form: Form, known: Form) -> bool:
    """Whether a bound is to be preferred: it is less, or it is a number and the two cannot be compared."""
    if form == known:
        return False
    if at_most_zero(plain(form + -1 * known)):
        return True
    return isinstance(form, int) and not isinstance(known, int) and not at_most_zero(plain(known + -1 * form))


def plain(form: Form) -> Form:
    """A form without sizes as the integer it is."""
    if isinstance(form, int) or any(form.terms.keys() - {()}):
        return form
    return int(form.terms.get((), 0))


@dataclass(slots=True)
class Budget:
    """Work left before the analysis gives up."""

    left: int = WORK

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise TooLarge


@dataclass(frozen=True, slots=True)
class Constraints:
    """A conjunction of x - y <= bound, and the shortest paths that were asked for."""

    edges: Mapping[tuple[str, str], Form] = field(default_factory=dict)
    paths: dict[str, dict[str, Form] | None] = field(default_factory=dict, compare=False)

    def with_edges(self, edges: Sequence[tuple[str, str, Form]]) -> Constraints:
        """These and more. Raises `TooLarge` for too many."""
        if not edges:
            return self
        if len(self.edges) + len(edges) > MOST_EDGES:
            raise TooLarge
        found = dict(self.edges)
        for x, y, bound in edges:
            if x == y:
                if not at_most_zero(bound + 1):
                    continue
            known = found.get((x, y))
            if known is None or tighter(plain(bound), known):
                found[x, y] = plain(bound)
        return Constraints(found)

    def from_node(self, source: str, budget: Budget) -> dict[str, Form] | None:
        """The least bound of x - source for every x that has one; None if the constraints contradict."""
        if source not in self.paths:
            self.paths[source] = self._from_node(source, budget)
        return self.paths[source]

    def _from_node(self, source: str, budget: Budget) -> dict[str, Form] | None:
        leaving: dict[str, list[tuple[str, Form]]] = {}
        for (x, y), bound in self.edges.items():
            if x == y:
                return None
            leaving.setdefault(y, []).append((x, bound))
        reached: dict[str, Form] = {source: 0}
        before: dict[str, str] = {}
        pending = [source]
        for _ in range(len(leaving) + 2):
            changed: dict[str, None] = {}
            for y in pending:
                for x, bound in leaving.get(y, ()):
                    budget.spend(1)
                    total = plain(reached[y] + bound)
                    if x == source:
                        if at_most_zero(total + 1):
                            return None
                    elif x not in reached or tighter(total, reached[x]):
                        reached[x], before[x] = total, y
                        changed[x] = None
            pending = list(changed)
        # Bounds that still fall after so many rounds go round a cycle: a contradiction if it is negative.
        return None if any(self._contradicts(node, before) for node in pending[:1]) else reached

    def _contradicts(self, node: str, before: Mapping[str, str]) -> bool:
        """Whether the cycle that leads to a node says that something is less than itself."""
        for _ in before:
            node = before.get(node, node)
        total: Form = 0
        start = node
        while node in before:
            total = plain(total + self.edges[node, before[node]])
            node = before[node]
            if node == start:
                return at_most_zero(total + 1)
        return False


@dataclass(slots=True)
class Linear:
    """A linear expression: coefficients of nodes, and a form."""

    nodes: dict[str, int]
    form: Form

    def plus(self, other: Linear, scale: int = 1) -> Linear:
        """The sum with a multiple of another."""
        nodes = dict(self.nodes)
        for node, value in other.nodes.items():
            nodes[node] = nodes.get(node, 0) + scale * value
        return Linear({n: c for n, c in nodes.items() if c}, plain(self.form + scale * other.form))

    def without(self, *nodes: str) -> Linear:
        """The expression less one of each of these nodes, in their sign."""
        rest = dict(self.nodes)
        for node in nodes:
            if node != ZERO:
                rest[node] -= 1 if rest[node] > 0 else -1
        return Linear({n: c for n, c in rest.items() if c}, self.form)


@dataclass(slots=True)
class Ranges:
    """The least and greatest value of nodes, None where unknown."""

    low: dict[str, Form | None] = field(default_factory=dict)
    high: dict[str, Form | None] = field(default_factory=dict)

    def least(self, linear: Linear) -> Form | None:
        """A lower bound of an expression."""
        total = linear.form
        for node, value in linear.nodes.items():
            end = self.low.get(node) if value > 0 else self.high.get(node)
            if end is None:
                return None
            total = plain(total + value * end)
        return total

    def greatest(self, linear: Linear) -> Form | None:
        """An upper bound of an expression."""
        least = self.least(Linear({n: -c for n, c in linear.nodes.items()}, -1 * linear.form))
        return None if least is None else plain(-1 * least)

    def at_most(self, linear: Linear, strict: bool) -> list[tuple[str, str, Form]]:
        """The constraints x - y <= bound that follow from an expression <= 0 (< 0 if strict)."""
        linear = _reduced(Linear(linear.nodes, plain(linear.form + 1) if strict else linear.form))
        above = [*(n for n, c in linear.nodes.items() if c > 0), ZERO]
        below = [*(n for n, c in linear.nodes.items() if c < 0), ZERO]
        found = []
        for x in above:
            for y in below:
                rest = self.least(linear.without(x, y)) if x != y or not linear.nodes else None
                if rest is not None:
                    found.append((x, y, plain(-1 * rest)))
        return found

    def equal(self, node: str, linear: Linear) -> list[tuple[str, str, Form]]:
        """The constraints that tie a node to the expression that it equals."""
        found: list[tuple[str, str, Form]] = []
        for x in [*(n for n, c in linear.nodes.items() if c > 0), ZERO]:
            rest = linear.without(x)
            high, low = self.greatest(rest), self.least(rest)
            if high is not None:
                found.append((node, x, high))
            if low is not None:
                found.append((x, node, plain(-1 * low)))
        return found


def _reduced(linear: Linear) -> Linear:
    """expression <= 0 with the coefficients divided by what they share: 2x - 2y <= 1 is x - y <= 0."""
    shared = gcd(*linear.nodes.values()) if linear.nodes else 1
    if shared <= 1 or not isinstance(linear.form, int):
        return linear
    return Linear({n: c // shared for n, c in linear.nodes.items()}, -((-linear.form) // shared))
