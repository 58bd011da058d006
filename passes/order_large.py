"""Contraction orders of many operands: equal ones first, parts that hang together apart, then greedily."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from tensorc.passes.order import EXACT_ALL, EXACT_CONNECTED, STATE, Part, Search, bits

NEIGHBOURS = 8  # partners considered for a part and each of its indices
DYNAMIC = 18  # parts of a network without hyperedges that opt_einsum's dp is asked about


def many(search: Search, parts: Sequence[Part]) -> Part:
    """The tree for more parts than the exact search takes."""
    parts = multiply_equal(search, parts)
    if len(parts) <= EXACT_ALL:
        return search.exact(parts)
    return in_pairs(search, [_component(search, part) for part in components(parts)])


def _component(search: Search, parts: list[Part]) -> Part:
    if len(parts) <= EXACT_CONNECTED:
        return search.exact(parts, connected=len(parts) > EXACT_ALL)
    found = [greedy(search, parts)]
    if all(p.scan is None for p in parts):
        found += foreign(search, parts)
    return min(found, key=lambda p: p.cost)


def multiply_equal(search: Search, parts: Sequence[Part]) -> list[Part]:
    """Factors with the same indices multiplied, again and again: without relations that is never worse."""
    current = list(parts)
    while True:
        groups: dict[object, list[int]] = {}
        for k, part in enumerate(current):
            groups.setdefault(part.mask if part.scan is None else (k,), []).append(k)
        if len(groups) == len(current):
            return current
        need = _needs(search, current)
        merged = []
        for members in groups.values():
            chosen = [current[k] for k in members]
            merged.append(in_pairs(search, chosen, need(members)))
        current = merged


def _needs(search: Search, parts: Sequence[Part]) -> Callable[[Sequence[int]], int]:
    """For some of the parts: the indices that the others, or the output, need."""
    holders: dict[int, int] = {}
    for part in parts:
        for k in bits(part.mask):
            holders[k] = holders.get(k, 0) + 1

    def need(members: Sequence[int]) -> int:
        inside: dict[int, int] = {}
        for member in members:
            for k in bits(parts[member].mask):
                inside[k] = inside.get(k, 0) + 1
        return search.output | sum(1 << k for k, held in inside.items() if holders[k] > held)

    return need


def in_pairs(search: Search, parts: Sequence[Part], outside: int = 0) -> Part:
    """Parts joined two smallest at a time; all but the last join keep every index."""
    ticket = count()
    heap = [(search.size(p.mask), next(ticket), p) for p in parts]
    heapify(heap)
    while len(heap) > 1:
        first, second = heappop(heap)[2], heappop(heap)[2]
        need = search.output | outside if not heap else first.mask | second.mask
        joined = search.join(first, second, need)
        heappush(heap, (search.size(joined.mask), next(ticket), joined))
    return heap[0][2]


def components(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts, in groups that share no index."""
    group: dict[int, int] = {}  # index → representative part
    parent = list(range(len(parts)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for k, part in enumerate(parts):
        for bit in bits(part.mask):
            parent[root(k)] = root(group.setdefault(bit, k))
    found: dict[int, list[Part]] = {}
    for k, part in enumerate(parts):
        found.setdefault(root(k), []).append(part)
    return list(found.values())


class _Pool:
    """The parts that are not yet joined, and who holds each index."""

    def __init__(self, search: Search, parts: Iterable[Part]) -> None:
        self.search = search
        self.parts = dict(enumerate(parts))
        self.holders: dict[int, set[int]] = {}
        self.smallest: dict[int, list[tuple[int, int]]] = {}  # of each index, a heap of sizes and parts
        for k, part in self.parts.items():
            self._hold(k, part)
        self.ticket = count(len(self.parts))

    def _hold(self, k: int, part: Part) -> None:
        for bit in bits(part.mask):
            self.holders.setdefault(bit, set()).add(k)
            heappush(self.smallest.setdefault(bit, []), (self.search.size(part.mask), k))

    def need(self, a: int, b: int) -> int:
        """What is needed outside of two parts, of their indices."""
        pair = {a, b}
        found = 0
        for bit in bits(self.parts[a].mask | self.parts[b].mask):
            if not self.holders[bit] <= pair:
                found |= 1 << bit
        return found | self.search.output

    def score(self, a: int, b: int) -> int:
        """How good joining two parts is: multiply-adds, and how much the tensors grow."""
        one, two = self.parts[a], self.parts[b]
        need = self.need(a, b)
        size = self.search.size
        gone = sum(size(part.mask) for part in (one, two) if part.scan is None)  # a relation is no tensor
        grown = size((one.mask | two.mask) & need) - gone
        return self.search.step(one, two, need) // STATE + grown

    def join(self, a: int, b: int) -> int:
        """Replace two parts by their product."""
        joined = self.search.join(self.parts[a], self.parts[b], self.need(a, b))
        for k in (a, b):
            for bit in bits(self.parts.pop(k).mask):
                self.holders[bit].discard(k)
        new = next(self.ticket)
        self.parts[new] = joined
        self._hold(new, joined)
        return new

    def partners(self, k: int) -> set[int]:
        """Parts that share an index with a part, the smallest ones of each index."""
        found: set[int] = set()
        for bit in bits(self.parts[k].mask):
            heap = self.smallest[bit]
            first: list[tuple[int, int]] = []
            while heap and len(first) < NEIGHBOURS:
                entry = heappop(heap)
                if entry[1] in self.parts:
                    first.append(entry)
            for entry in first:
                heappush(heap, entry)
            found.update(j for _, j in first)
        return found - {k}


def greedy(search: Search, parts: Sequence[Part]) -> Part:
    """The join that looks best, again and again. The parts must hang together."""
    pool = _Pool(search, parts)
    heap = [(pool.score(a, b), a, b) for a in pool.parts for b in pool.partners(a)]
    heapify(heap)
    while len(pool.parts) > 1:
        a = b = -1
        while heap and (a not in pool.parts or b not in pool.parts):
            _, a, b = heappop(heap)
        if a not in pool.parts or b not in pool.parts:
            return in_pairs(search, list(pool.parts.values()))
        new = pool.join(a, b)
        for other in pool.partners(new):
            heappush(heap, (pool.score(new, other), new, other))
    (last,) = pool.parts.values()
    return last


def foreign(search: Search, parts: Sequence[Part]) -> list[Part]:
    """Orders that opt_einsum proposes, with the cost that they have here."""
    from opt_einsum.paths import dynamic_programming, greedy

    inputs = [frozenset(search.indices(p.mask)) for p in parts]
    union = 0
    for part in parts:
        union |= part.mask
    output = search.indices(union & search.output)
    sizes = {name: search.width[search.bit[name].bit_length() - 1] for name in search.names}
    paths = [greedy(list(inputs), output, sizes)]
    if len(parts) <= DYNAMIC and _is_network(parts, bits(union)):
        paths.append(dynamic_programming(list(inputs), output, sizes))
    return [_follow(search, parts, path) for path in paths]


def _is_network(parts: Sequence[Part], indices: Sequence[int]) -> bool:
    """Whether every index joins at most two parts, and there are few of them: then dp is quick."""
    return len(indices) <= 2 * len(parts) and all(sum(p.mask >> k & 1 for p in parts) <= 2 for k in indices)


def _follow(search: Search, parts: Sequence[Part], path: Iterable[Sequence[int]]) -> Part:
    """The tree of a path of opt_einsum: positions in the list of parts that are left."""
    pool = _Pool(search, parts)
    left = list(pool.parts)
    for step in path:
        chosen = [left.pop(k) for k in sorted(step, reverse=True)]
        new = chosen[0]
        for other in chosen[1:]:
            new = pool.join(new, other)
        left.append(new)
    (last,) = left
    return pool.parts[last]
