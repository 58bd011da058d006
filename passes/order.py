"""Contraction order: an exact dynamic program over subsets of operands, relations among them.

The cost of a tree is its multiply-adds, then the elements of its states. Contracting two parts costs the
product of the sizes of all their indices. One step is special: a scan relation R(read, write) meeting a
part that carries `write` but not `read`, when nothing else still needs `write`, costs one pass over that
part (nothing, where the part was itself just multiplied: a multiply-add each) and renames write to read.
Gates that vary cost another pass. An operand is first summed over the indices that only it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tensorc.passes.relation import Scan

LONG = 2**240  # a sequence so long that every term with fewer tokens is cheaper, whatever its features
STATE = 2**480  # multiply-adds count before the elements of states
EXACT_ALL = 8
EXACT_CONNECTED = 12
MEMBERS = 32  # larger products are not looked up among the known ones


@dataclass(frozen=True, slots=True)
class Operand:
    """A factor or relation of a contraction: its indices, and the scan if it is one."""

    indices: frozenset[str]
    scan: Scan | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """An operand, summed over the indices that nothing else has."""

    operand: int
    indices: frozenset[str]


@dataclass(frozen=True, slots=True)
class Join:
    """The product of two parts, summed over what is no longer needed."""

    left: Tree
    right: Tree
    indices: frozenset[str]


@dataclass(frozen=True, slots=True)
class Carry:
    """A scan applied to a part; `state` are the feature indices of its state."""

    part: Tree
    operand: int
    scan: Scan
    state: frozenset[str]
    indices: frozenset[str]


Tree: TypeAlias = Leaf | Join | Carry
Known: TypeAlias = Callable[[list[int], frozenset[str]], bool]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The best tree with its cost."""

    tree: Tree
    multiply_adds: int
    state: int


@dataclass(frozen=True, slots=True)
class Part:
    """Some operands contracted: the bits of the indices that are left, the cost so far, the tree, and the
    operands in it (not told of more than `MEMBERS`). `scan`: the part is a relation on its own."""

    mask: int
    cost: int
    tree: Tree
    operands: tuple[int, ...] | None
    scan: Scan | None = None

    @property
    def alone(self) -> bool:
        """Whether it is one operand."""
        return isinstance(self.tree, Leaf)


def best_order(
    operands: Sequence[Operand],
    output: frozenset[str],
    sizes: Mapping[str, int],
    known: Known | None = None,
) -> Ordered:
    """The cheapest tree. Subsets of operands whose result is `known` cost nothing.

    Up to `EXACT_ALL` operands over all trees. Beyond, operands with the same indices are multiplied first,
    then up to `EXACT_CONNECTED` are searched over all trees that join connected parts; the rest is left to
    the best of several greedy orders.

    >>> m = [Operand(frozenset("ab")), Operand(frozenset("bc")), Operand(frozenset("c"))]
    >>> best_order(m, frozenset("a"), {"a": 10, "b": 10, "c": 10}).multiply_adds
    200
    """
    search = Search(operands, output, sizes, known)
    parts = search.leaves()
    if len(parts) > EXACT_ALL:
        from tensorc.passes.order_large import many

        best = many(search, parts)
    else:
        best = search.exact(parts)
    return Ordered(best.tree, best.cost // STATE, best.cost % STATE)


class Search:
    """One contraction: indices as bits, sizes of sets of indices, the cost of a step."""

    def __init__(
        self,
        operands: Sequence[Operand],
        output: frozenset[str],
        sizes: Mapping[str, int],
        known: Known | None,
    ) -> None:
        self.operands = operands
        self.names = sorted(output.union(*(o.indices for o in operands)))
        self.bit = {name: 1 << k for k, name in enumerate(self.names)}
        self.output = self.mask(output)
        self.width = [sizes[name] for name in self.names]
        self.known = known
        self._sizes: dict[int, int] = {}

    # -- sets of indices -----------------------------------------------------------------------------

    def mask(self, indices: Iterable[str]) -> int:
        """The bits of some indices."""
        return sum(self.bit[i] for i in indices)

    def indices(self, mask: int) -> frozenset[str]:
        """The indices of some bits."""
        return frozenset(self.names[k] for k in bits(mask))

    def size(self, mask: int) -> int:
        """The number of elements of a tensor with these indices."""
        found = self._sizes.get(mask)
        if found is None:
            found = 1
            for k in bits(mask):
                found *= self.width[k]
            self._sizes[mask] = found
        return found

    # -- steps ---------------------------------------------------------------------------------------

    def leaves(self) -> list[Part]:
        """Every operand, summed over what only it has; a relation stays whole."""
        masks = [self.mask(o.indices) for o in self.operands]
        seen = twice = 0
        for mask in masks:
            twice |= seen & mask
            seen |= mask
        parts = []
        for k, mask in enumerate(masks):
            scan = self.operands[k].scan
            kept = mask & (twice | self.output) if scan is None else mask
            cost = self.size(mask) * STATE if kept != mask else 0
            parts.append(Part(kept, cost, Leaf(k, self.indices(kept)), (k,), scan))
        return parts

    def carry(self, part: int, alone: bool, scan: Scan, need: int) -> tuple[int, int] | None:
        """(bits of the state, cost) of applying a scan to a part that keeps the bits `part`; None if that
        is not a scan. `alone`: the part is a single operand, so that no product makes the pass."""
        write, read = self.bit[scan.write], self.bit[scan.read]
        if not part & write or part & read or need & write:
            return None
        state = (part | self.mask(scan.features)) & ~write
        passes = (1 if alone else 0) + (1 if scan.gates else 0)
        return state, passes * self.size(state | write) * STATE + self.size(state)

    def step(self, a: Part, b: Part, need: int) -> int:
        """The cost of joining two parts, where `need` is needed outside of both."""
        for part, other in ((a, b), (b, a)):
            if other.scan is not None:
                found = self.carry(part.mask, part.alone, other.scan, need)
                if found is not None:
                    return found[1]
        return self.size(a.mask | b.mask) * STATE

    def join(self, a: Part, b: Part, need: int) -> Part:
        """Two parts contracted, where `need` is needed outside of both."""
        members = None
        if a.operands and b.operands and len(a.operands) + len(b.operands) <= MEMBERS:
            members = tuple(sorted(a.operands + b.operands))
        kept = (a.mask | b.mask) & need
        indices = self.indices(kept)
        tree, step = self._joined(a, b, need, indices)
        free = self.known is not None and members is not None and self.known(list(members), indices)
        return Part(kept, 0 if free else a.cost + b.cost + step, tree, members)

    def _joined(self, a: Part, b: Part, need: int, kept: frozenset[str]) -> tuple[Tree, int]:
        for part, other in ((a, b), (b, a)):
            if other.scan is not None:
                found = self.carry(part.mask, part.alone, other.scan, need)
                if found is not None:
                    state = self.indices(found[0])
                    assert isinstance(other.tree, Leaf)
                    return Carry(part.tree, other.tree.operand, other.scan, state, kept), found[1]
        return Join(a.tree, b.tree, kept), self.size(a.mask | b.mask) * STATE

    # -- the exact search ----------------------------------------------------------------------------

    def exact(self, parts: Sequence[Part], outside: int = 0, connected: bool = False) -> Part:
        """The cheapest tree of some parts; `outside` is needed by others. With `connected`, over the trees
        of connected parts (the parts must be connected)."""
        full = (1 << len(parts)) - 1
        union = [0] * (full + 1)
        for subset in range(1, full + 1):
            low = subset & -subset
            union[subset] = union[subset ^ low] | parts[low.bit_length() - 1].mask
        best: list[Part | None] = [None] * (full + 1)
        for k, part in enumerate(parts):
            best[1 << k] = part
        touching = _touching(parts) if connected else None
        for subset in range(1, full + 1):
            if subset & (subset - 1) == 0:
                continue
            if touching is None or is_connected(subset, touching):
                need = self.output | outside | union[full ^ subset]
                best[subset] = self._best_split(subset, best, need)
        found = best[full]
        assert found is not None
        return found

    def _best_split(self, subset: int, best: list[Part | None], need: int) -> Part | None:
        chosen: tuple[Part, Part] | None = None
        least = 0
        rest = subset & (subset - 1)  # one side holds the lowest part
        side = rest
        sizes = self._sizes
        while side:
            a, b = best[side], best[subset ^ side]
            side = (side - 1) & rest
            if a is None or b is None:
                continue
            total = a.cost + b.cost
            if chosen is not None and total >= least:
                continue
            if a.scan is None and b.scan is None:
                mask = a.mask | b.mask
                total += (sizes.get(mask) or self.size(mask)) * STATE
            else:
                total += self.step(a, b, need)
            if chosen is None or total < least:
                least, chosen = total, (a, b)
        return None if chosen is None else self.join(*chosen, need)


def postorder(tree: Tree) -> list[Tree]:
    """Every part of a tree, each after those it is made of, the left ones first. Trees of many operands
    are too deep for recursion."""
    found: list[Tree] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        found.append(node)
        if isinstance(node, Join):
            stack += [node.left, node.right]
        elif isinstance(node, Carry):
            stack.append(node.part)
    return found[::-1]


def bits(mask: int) -> list[int]:
    """The positions of the bits of a mask."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def _touching(parts: Sequence[Part]) -> list[int]:
    return [sum(1 << k for k, b in enumerate(parts) if a.mask & b.mask) for a in parts]


def is_connected(subset: int, touching: Sequence[int]) -> bool:
    """Whether the parts of a subset hang together; `touching[k]` are the parts that share an index with k."""
    seen = frontier = subset & -subset
    while frontier:
        reach = 0
        for k in bits(frontier):
            reach |= touching[k]
        frontier = reach & subset & ~seen
        seen |= frontier
    return seen == subset
