"""What the language adds to a program that leaves it out: implicit sums, and the indices of a domain.

Printing omits only what lowering restores exactly; this is the test for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorc.ir import (
    Cond,
    Div,
    Expr,
    FloorDiv,
    Index,
    Mod,
    Mul,
    Node,
    Read,
    Reduce,
    Softmax,
    children,
    walk,
)

PRODUCTS = (Mul, Div, FloorDiv, Mod)


@dataclass(frozen=True, slots=True)
class Letters:
    """`first`: the free indices, in order of first occurrence. `taken`: those that would not reach a sum
    around the node if they were not bound: a smaller group, or the domain of a reduction, takes them."""

    first: dict[str, None]
    taken: frozenset[str]


@dataclass(slots=True)
class Rules:
    """The rules for one equation; `on_axis` are its indices that stand bare on an axis."""

    on_axis: set[str]
    known: dict[int, tuple[Node, Letters]] = field(default_factory=dict)

    def listed(self, node: Reduce) -> list[str]:
        """The bare names that a domain needs so that it binds exactly `binds`, in that order."""
        binds = [b.name for b in node.binds]
        mentioned = [n for n in self.first(*node.domain) if n in set(binds)]
        nested = any(isinstance(n, (Reduce, Softmax)) for c in node.domain for n in walk(c))
        if mentioned == binds and stands_bare(node).issuperset(binds) and not nested:
            return []
        return binds

    def is_implied(self, node: Reduce) -> bool:
        """Whether the implicit-sum rule puts back exactly this sum around its body."""
        if node.op != "sum" or node.domain or not isinstance(node.body, PRODUCTS):
            return False
        binds = [b.name for b in node.binds]
        parts = [self.letters(part) for part in factors(node.body)]
        if not self.on_axis.issuperset(binds) or any(not part.taken.isdisjoint(binds) for part in parts):
            return False
        counts = {name: sum(name in part.first for part in parts) for name in binds}
        order = [name for name in self.first(*factors(node.body)) if name in counts]
        return all(count > 1 for count in counts.values()) and order == binds

    def first(self, *nodes: Node) -> list[str]:
        """Free indices in the order of first occurrence."""
        found: dict[str, None] = {}
        for node in nodes:
            found.update(self.letters(node).first)
        return list(found)

    def letters(self, node: Node) -> Letters:
        """The letters of a node, computed once."""
        known = self.known.get(id(node))
        if known is None:
            known = self.known[id(node)] = (node, self._letters(node))
        return known[1]

    def _letters(self, node: Node) -> Letters:
        if isinstance(node, Index):
            return Letters({node.name: None}, frozenset())
        below = list(map(self.letters, children(node)))
        first: dict[str, None] = {}
        taken: set[str] = set()
        if isinstance(node, Softmax):
            first.update(dict.fromkeys(b.name for b in node.over))
        for part in below:
            first.update(part.first)
            taken |= part.taken
        match node:
            case Read():
                taken.clear()
            case Softmax(over=over):
                taken.difference_update(b.name for b in over)
            case Reduce(binds=binds):
                bound = {b.name for b in binds}
                taken |= {name for part in below[:-1] for name in part.first}
                taken -= bound
                first = {name: None for name in first if name not in bound}
            case Mul() | Div() | FloorDiv() | Mod():
                taken |= self._repeated(node)
        return Letters(first, frozenset(taken))

    def _repeated(self, node: Expr) -> set[str]:
        """The letters that two factors of a product hold."""
        seen: set[str] = set()
        repeated: set[str] = set()
        for factor in factors(node):
            names = self.letters(factor).first.keys()
            repeated |= seen & names
            seen |= names
        return repeated


def factors(node: Expr) -> list[Expr]:
    """The factors of a term, in order: along its left-nested chain of * / // %."""
    found: list[Expr] = []
    while True:
        if isinstance(node, Mul):
            found.extend(reversed(node.factors[1:]))
            node = node.factors[0]
        elif isinstance(node, (Div, FloorDiv, Mod)):
            found.append(node.denominator)
            node = node.numerator
        else:
            return [node, *reversed(found)]


def stands_bare(node: Expr | Cond) -> set[str]:
    """The indices that stand bare on an axis of some tensor."""
    return {s.name for n in walk(node) if isinstance(n, Read) for s in n.subscripts if isinstance(s, Index)}
