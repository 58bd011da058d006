"""Self-reference: a cycle of definitions must go through earlier (or throughout later) positions.

Every tensor of a cycle gets one axis, all of one extent, so that each read within the cycle is at an
earlier position of that axis or at the same one, and the reads at the same position alone make no
cycle. Likewise with later for earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from tensorc.grammar.bounds import (
    ZERO,
    Budget,
    Scope,
    facts,
    linear,
    lower_bounds,
    strong_conditions,
    upper_bounds,
)
from tensorc.grammar.cycle_errors import fail_cycle
from tensorc.grammar.source import Source
from tensorc.grammar.streams import SAME, STRICT, Relation, Relations, solve
from tensorc.ir import Div, Equation, Extent, Mul, Program, Read, Reduce, Softmax, children, reads


@dataclass(slots=True)
class Use:
    """A read within a cycle. `earlier` and `later` give, for pairs of axes (of the target, of the tensor
    read), SAME where the position read is never on the other side, STRICT where it is never the same."""

    equation: Equation
    read: Read
    scope: Scope
    earlier: Relation = field(default_factory=dict)
    later: Relation = field(default_factory=dict)


def check_cycles(source: Source, program: Program) -> None:
    """Refuse definitions that need themselves at one position, or at positions on both sides.

    Raises `LanguageError`, pointing at a read that is not strictly on one side.
    """
    equations = {equation.target: equation for equation in program.equations}
    needs = {t: sorted(reads(e.body) & equations.keys()) for t, e in equations.items()}
    if _is_acyclic(needs):
        return
    tensors, budget = program.tensors(), Budget()
    for component in _cycles(needs):
        bounds = _Bounds(budget)
        uses = [use for t in component for use in _uses(equations[t], set(component))]
        for use in uses:
            bounds.relate(use, tensors[use.read.tensor].axes)
        if not any(solve(component, relations) for relations in _directions(uses)):
            fail_cycle(source, component, uses)


def _is_acyclic(needs: dict[str, list[str]]) -> bool:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError:
        return False
    return True


def _cycles(needs: dict[str, list[str]]) -> list[list[str]]:
    """The sets of tensors that need each other, in the order of the program."""
    import networkx as nx

    graph = nx.DiGraph([(t, u) for t, below in needs.items() for u in below])
    found: dict[int, list[str]] = {}
    number = {t: k for k, c in enumerate(nx.strongly_connected_components(graph)) for t in c}
    for tensor in needs:
        if tensor in number:
            found.setdefault(number[tensor], []).append(tensor)
    return [c for c in found.values() if len(c) > 1 or graph.has_edge(c[0], c[0])]


def _uses(equation: Equation, component: set[str]) -> Iterator[Use]:
    """The reads of a cycle's tensors in an equation, with the conditions that hold around each."""
    stack: list[tuple[Any, Scope]] = [(equation.body, Scope())]
    while stack:
        node, scope = stack.pop()
        if isinstance(node, Read):
            if node.tensor in component:
                yield Use(equation, node, scope)
            continue
        below = children(node)
        if isinstance(node, (Reduce, Softmax)):
            stack.extend((condition, scope) for condition in node.domain)
            scope, below = _inner(scope, node.domain), (node.body,)
        elif isinstance(node, (Mul, Div)):
            scope = _inner(scope, strong_conditions(node))
        stack.extend((child, scope) for child in reversed(below))


def _inner(scope: Scope, conditions: Iterable[Any]) -> Scope:
    found = [fact for condition in conditions for fact in facts(condition)]
    return Scope(scope, found) if found else scope


class _Bounds:
    """Distances between positions, each computed once for a scope and an index."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.known: dict[tuple[int, str], tuple[dict[str, int], dict[str, int]]] = {}

    def around(self, scope: Scope, index: str) -> tuple[dict[str, int], dict[str, int]]:
        """The largest and the smallest x - index for every x that the scope relates to it."""
        key = (id(scope), index)
        if key not in self.known:
            self.known[key] = (
                upper_bounds(scope, index, self.budget),
                lower_bounds(scope, index, self.budget),
            )
        return self.known[key]

    def relate(self, use: Use, axes: tuple[Extent, ...]) -> None:
        """Fill in the relations of a use."""
        places: dict[str, list[tuple[int, int]]] = {}
        for b, subscript in enumerate(use.read.subscripts):
            if (place := _place(subscript)) is not None:
                places.setdefault(place[0], []).append((b, place[1]))
        for a, bind in enumerate(use.equation.left):
            largest, smallest = self.around(use.scope, bind.name)
            for name, bound in largest.items():
                for b, shift in places.get(name, ()):
                    if bound + shift <= 0 and axes[b] == bind.extent:
                        use.earlier[a, b] = STRICT if bound + shift < 0 else SAME
            for name, bound in smallest.items():
                for b, shift in places.get(name, ()):
                    if bound + shift >= 0 and axes[b] == bind.extent:
                        use.later[a, b] = STRICT if bound + shift > 0 else SAME


def _place(subscript: Any) -> tuple[str, int] | None:
    """A subscript as index + integer; the index is `ZERO` for an integer alone."""
    form = linear(subscript)
    if form is None:
        return None
    shift = form.pop(ZERO, 0)
    symbols = [(name, value) for name, value in form.items() if value]
    if not symbols:
        return ZERO, shift
    return (symbols[0][0], shift) if len(symbols) == 1 and symbols[0][1] == 1 else None


def _directions(uses: list[Use]) -> Iterator[Relations]:
    """For each direction: by pair of tensors, the pairs of axes that suit all reads."""
    for direction in ("earlier", "later"):
        relations: Relations = {}
        for use in uses:
            pair, found = (use.equation.target, use.read.tensor), getattr(use, direction)
            known = relations.get(pair)
            relations[pair] = (
                dict(found) if known is None else {k: min(known[k], found[k]) for k in known.keys() & found}
            )
        yield relations
