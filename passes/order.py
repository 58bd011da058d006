"""Contraction order: an exact dynamic program over subsets of operands, relations among them.

The cost of a tree is its multiply-adds, then the elements of its states. Contracting two parts costs the
product of the sizes of all their indices. One step is special: a scan relation R(read, write) meeting a
part that carries `write` but not `read`, when nothing else still needs `write`, costs one pass over that
part (nothing, where the part was itself just multiplied: a multiply-add each) and renames write to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tensorc.passes.relation import Scan

LONG = 2**40  # a sequence so long that every term with fewer tokens is cheaper
STATE = 2**80  # multiply-adds count before the elements of states
EXACT_ALL = 8
EXACT_CONNECTED = 12


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


def best_order(
    operands: Sequence[Operand],
    output: frozenset[str],
    sizes: Mapping[str, int],
    scans: bool = True,
    known: Known | None = None,
) -> Ordered:
    """The cheapest tree. Subsets of operands whose result is `known` cost nothing. Up to `EXACT_ALL` operands over all trees, up to `EXACT_CONNECTED` over those
    that join connected parts; beyond, a greedy choice of the cheapest next join.

    >>> m = [Operand(frozenset("ab")), Operand(frozenset("bc")), Operand(frozenset("c"))]
    >>> best_order(m, frozenset("a"), {"a": 10, "b": 10, "c": 10}).multiply_adds
    200
    """
    search = _Search(operands, output, sizes, scans, known)
    count = len(operands)
    if count > EXACT_CONNECTED:
        tree, cost = search.greedy()
    else:
        tree, cost = search.exact(connected=count > EXACT_ALL)
    return Ordered(tree, cost // STATE, cost % STATE)


class _Search:
    def __init__(
        self,
        operands: Sequence[Operand],
        output: frozenset[str],
        sizes: Mapping[str, int],
        scans: bool,
        known: Known | None,
    ) -> None:
        names = sorted(frozenset().union(output, *(o.indices for o in operands)))
        self.bit = {name: 1 << k for k, name in enumerate(names)}
        self.names = names
        self.operands = operands
        self.masks = [self._mask(o.indices) for o in operands]
        self.output = self._mask(output)
        self.scans = [o.scan if scans else None for o in operands]
        self.width = {self.bit[name]: sizes[name] for name in names}
        self._sizes: dict[int, int] = {0: 1}
        self.known = known

    def _mask(self, indices: frozenset[str]) -> int:
        return sum(self.bit[i] for i in indices)

    def _set(self, mask: int) -> frozenset[str]:
        return frozenset(n for n in self.names if mask & self.bit[n])

    def size(self, mask: int) -> int:
        found = self._sizes.get(mask)
        if found is None:
            low = mask & -mask
            found = self._sizes[mask] = self.width[low] * self.size(mask ^ low)
        return found

    def needed(self, subset: int) -> int:
        """Indices that operands outside the subset, or the output, still need."""
        need = self.output
        for k, mask in enumerate(self.masks):
            if not subset >> k & 1:
                need |= mask
        return need

    def leaf(self, k: int) -> tuple[int, int]:
        """(kept indices, cost) of an operand on its own."""
        kept = self.masks[k] & self.needed(1 << k)
        summed = kept != self.masks[k]
        return kept, self.size(self.masks[k]) * STATE if summed and self.scans[k] is None else 0

    def carry(self, part: int, subset: int, k: int, need: int) -> tuple[int, int] | None:
        """(state indices, cost) of applying scan k to a part that keeps the indices `part`."""
        scan = self.scans[k]
        if scan is None:
            return None
        write, read = self.bit[scan.write], self.bit[scan.read]
        if not part & write or part & read or need & write:
            return None
        state = (part | self._mask(scan.features)) & ~write
        fused = subset & (subset - 1)  # more than one operand: the product was a multiply-add
        once = self.size(state | write)
        passes = (0 if fused else 1) + (1 if scan.gates else 0)
        return state, passes * once * STATE + self.size(state)

    def exact(self, connected: bool) -> tuple[Tree, int]:
        count = len(self.operands)
        full = (1 << count) - 1
        kept: dict[int, int] = {}
        cost: dict[int, int] = {}
        choice: dict[int, tuple[int, int] | None] = {}
        touching = self._components() if connected else None
        for k in range(count):
            kept[1 << k], cost[1 << k] = self.leaf(k)
            choice[1 << k] = None
        for subset in range(1, full + 1):
            if subset & (subset - 1) == 0:
                continue
            if touching is not None and subset != full and not _is_connected(subset, touching):
                continue
            self._best_split(subset, kept, cost, choice)
        return self._tree(full, kept, choice), cost[full]

    def _components(self) -> list[int]:
        return [
            sum(1 << b for b in range(len(self.masks)) if self.masks[a] & self.masks[b])
            for a in range(len(self.masks))
        ]

    def _best_split(
        self,
        subset: int,
        kept: dict[int, int],
        cost: dict[int, int],
        choice: dict[int, tuple[int, int] | None],
    ) -> None:
        need = self.needed(subset)
        best = None
        low = subset & -subset
        rest = subset ^ low
        part = rest
        while part:
            other = subset ^ part
            a, b = cost.get(part), cost.get(other)
            if a is not None and b is not None:
                total = a + b
                if best is None or total < best[0]:
                    total += self._join_cost(part, other, kept, need)
                    if best is None or total < best[0]:
                        best = (total, part, other)
            part = (part - 1) & rest
        if best is None:
            return
        choice[subset] = (best[1], best[2])
        union = 0
        for k in range(len(self.masks)):
            if subset >> k & 1:
                union |= self.masks[k]
        kept[subset] = union & need
        cost[subset] = 0 if self._is_known(subset, kept[subset]) else best[0]

    def _is_known(self, subset: int, kept: int) -> bool:
        if self.known is None:
            return False
        return self.known([k for k in range(len(self.masks)) if subset >> k & 1], self._set(kept))

    def _join_cost(self, part: int, other: int, kept: dict[int, int], need: int) -> int:
        for a, b in ((part, other), (other, part)):
            if b & (b - 1) == 0:
                found = self.carry(kept[a], a, b.bit_length() - 1, need)
                if found is not None:
                    return found[1]
        return self.size(kept[part] | kept[other]) * STATE

    def _tree(self, subset: int, kept: dict[int, int], choice: dict[int, tuple[int, int] | None]) -> Tree:
        split = choice[subset]
        if split is None:
            return Leaf(subset.bit_length() - 1, self._set(kept[subset]))
        return self._node(subset, split, kept, lambda s: self._tree(s, kept, choice))

    def _node(self, subset: int, split: tuple[int, int], kept: dict[int, int], tree: object) -> Tree:
        need = self.needed(subset)
        for a, b in (split, split[::-1]):
            if b & (b - 1) == 0:
                k = b.bit_length() - 1
                found = self.carry(kept[a], a, k, need)
                if found is not None:
                    scan = self.scans[k]
                    assert scan is not None
                    return Carry(tree(a), k, scan, self._set(found[0]), self._set(kept[subset]))  # type: ignore[operator]
        return Join(tree(split[0]), tree(split[1]), self._set(kept[subset]))  # type: ignore[operator]

    def greedy(self) -> tuple[Tree, int]:
        """The cheapest next join again and again; for more operands than the exact search takes."""
        kept: dict[int, int] = {}
        parts: dict[int, Tree] = {}
        total = 0
        for k in range(len(self.operands)):
            kept[1 << k], cost = self.leaf(k)
            parts[1 << k] = Leaf(k, self._set(kept[1 << k]))
            total += cost
        while len(parts) > 1:
            step = min(
                ((self._greedy_cost(a, b, kept), a, b) for a in parts for b in parts if a < b),
                key=lambda s: s[0],
            )
            _, a, b = step
            subset = a | b
            union = 0
            for k in range(len(self.masks)):
                if subset >> k & 1:
                    union |= self.masks[k]
            total += self._join_cost(a, b, kept, self.needed(subset))
            kept[subset] = union & self.needed(subset)
            parts[subset] = self._node(subset, (a, b), kept, parts.__getitem__)
            del parts[a], parts[b]
        (tree,) = parts.values()
        return tree, total

    def _greedy_cost(self, a: int, b: int, kept: dict[int, int]) -> tuple[int, int]:
        subset = a | b
        need = self.needed(subset)
        union = (kept[a] | kept[b]) & need
        shared = bool(kept[a] & kept[b])
        grown = self.size(union) - self.size(kept[a]) - self.size(kept[b])
        return (0 if shared else 1, self._join_cost(a, b, kept, need) // STATE + grown)


def _is_connected(subset: int, touching: list[int]) -> bool:
    seen = frontier = subset & -subset
    while frontier:
        reach = 0
        while frontier:
            low = frontier & -frontier
            reach |= touching[low.bit_length() - 1]
            frontier ^= low
        frontier = reach & subset & ~seen
        seen |= frontier
    return seen == subset
