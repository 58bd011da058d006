"""The contraction order, against other planners and against a search over all trees."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from random import Random

import opt_einsum
import pytest

import tensorc
from tensorc.ir import Index, Read
from tensorc.passes.order import LONG, Carry, Join, Leaf, Operand, Tree, best_order
from tensorc.passes.relation import TOKEN, Gate, Scan
from tensorc.passes.relation import Read as GateRead

Cost = tuple[int, int]  # multiply-adds, elements of states


@dataclass(frozen=True)
class Problem:
    """A contraction: operands, the indices of the result, the sizes."""

    operands: tuple[Operand, ...]
    output: frozenset[str]
    sizes: dict[str, int]

    def solve(self) -> tuple[Tree, Cost]:
        found = best_order(self.operands, self.output, self.sizes)
        return found.tree, (found.multiply_adds, found.state)


def random_contraction(seed: int, most: int = 8, letters: str = "abcdefg") -> Problem:
    """Random operands: scalars, hyperedges, repeated operands and parts that share nothing."""
    random = Random(seed)
    operands: list[Operand] = []
    for _ in range(random.randint(1, most)):
        if operands and random.random() < 0.15:
            operands.append(random.choice(operands))
        else:
            operands.append(Operand(frozenset(random.sample(letters, random.choice((0, 1, 2, 2, 3, 3, 4))))))
    present = sorted(frozenset().union(*(o.indices for o in operands)))
    output = frozenset(i for i in present if random.random() < 0.3)
    return Problem(tuple(operands), output, {i: random.choice((1, 2, 3, 5, 8, 30)) for i in present})


def random_scans(seed: int, most: int = 6) -> Problem:
    """Random factors of tokens and features, the tokens related by a tree of scans."""
    random = Random(seed)
    tokens = ["i", "j", "u", "l"][: random.randint(2, 4)]
    scans = []
    for k, token in enumerate(tokens[1:]):
        gate = Read("g", (Index(TOKEN), *([Index("b")] if random.random() < 0.5 else [])))
        gates = (GateRead(Gate(gate, True)),) if random.random() < 0.4 else ()
        scans.append(Scan(token, random.choice(tokens[: k + 1]), False, random.random() < 0.3, gates))
    count = max(1, random.randint(2, most) - len(scans))
    factors = []
    for k in range(count):
        held = {tokens[-1 - k]} if k < len(tokens) else {random.choice(tokens)}
        held |= set(random.sample("abx", random.randint(0, 2)))
        if random.random() < 0.1:
            held.add(random.choice(tokens))
        factors.append(Operand(frozenset(held)))
    written = [
        Operand(frozenset((s.write,))) for s in scans if not any(s.write in f.indices for f in factors)
    ]
    relations = [Operand(frozenset((s.read, s.write)) | s.features, s) for s in scans]
    operands = (*factors, *written, *relations)
    present = frozenset[str]().union(*(o.indices for o in operands))
    output = frozenset(i for i in "iax" if i in present and random.random() < 0.7)
    sizes = {i: LONG if i in tokens else random.choice((1, 2, 3, 8)) for i in present}
    return Problem(operands, output, sizes)


# -- the cost of a tree, written again ------------------------------------------------------------------

Shape = int | tuple["Shape", "Shape"]


def all_trees(leaves: Sequence[int]) -> Iterator[Shape]:
    """Every binary tree over the leaves, each once."""
    if len(leaves) == 1:
        yield leaves[0]
        return
    first, rest = leaves[0], leaves[1:]
    for chosen in range(2 ** len(rest) - 1):
        with_first = [first, *(x for k, x in enumerate(rest) if chosen >> k & 1)]
        others = [x for k, x in enumerate(rest) if not chosen >> k & 1]
        for left in all_trees(with_first):
            for right in all_trees(others):
                yield left, right


def members(shape: Shape) -> frozenset[int]:
    return frozenset((shape,)) if isinstance(shape, int) else members(shape[0]) | members(shape[1])


def cost_of(problem: Problem, shape: Shape) -> tuple[frozenset[str], Cost]:
    """The indices of a tree's result and its cost, by the rules alone."""
    inside = members(shape)
    outside = [o for k, o in enumerate(problem.operands) if k not in inside]
    need = problem.output.union(*(o.indices for o in outside))

    def size(indices: frozenset[str]) -> int:
        return prod(problem.sizes[i] for i in indices)

    if isinstance(shape, int):
        operand = problem.operands[shape]
        if operand.scan is not None or operand.indices <= need:
            return operand.indices, (0, 0)
        return operand.indices & need, (size(operand.indices), 0)
    (left, (adds, state)), (right, (more, other)) = (cost_of(problem, side) for side in shape)
    adds, state = adds + more, state + other
    for part, relation, held in ((shape[0], shape[1], left), (shape[1], shape[0], right)):
        scan = problem.operands[relation].scan if isinstance(relation, int) else None
        if scan is None or scan.write not in held or scan.read in held or scan.write in need:
            continue
        kept = (held | scan.features) - {scan.write}
        passes = isinstance(part, int) + bool(scan.gates)
        return (kept | {scan.read}) & need, (adds + passes * size(kept | {scan.write}), state + size(kept))
    return (left | right) & need, (adds + size(left | right), state)


def as_shape(tree: Tree) -> Shape:
    match tree:
        case Leaf(operand=operand):
            return operand
        case Join(left=left, right=right):
            return as_shape(left), as_shape(right)
        case Carry(part=part, operand=operand):
            return as_shape(part), operand


def check_tree(problem: Problem, tree: Tree, cost: Cost) -> None:
    """The tree holds every operand once, keeps just what is needed, and costs what it says."""
    shape = as_shape(tree)
    assert sorted(_leaves(shape)) == list(range(len(problem.operands)))
    assert cost_of(problem, shape) == (problem.output, cost)
    assert tree.indices == problem.output


def _leaves(shape: Shape) -> list[int]:
    return [shape] if isinstance(shape, int) else [x for side in shape for x in _leaves(side)]


def path_cost(problem: Problem, path: Sequence[Sequence[int]]) -> int:
    """The multiply-adds of a path as other planners write it: positions in the list of what is left."""
    left: list[Shape] = list(range(len(problem.operands)))
    for step in path:
        chosen = [left.pop(k) for k in sorted(step, reverse=True)]
        joined = chosen[0]
        for other in chosen[1:]:
            joined = (joined, other)
        left.append(joined)
    (shape,) = left
    return cost_of(problem, shape)[1][0]


# -- contractions without relations ----------------------------------------------------------------------


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_never_above_other_planners(start: int) -> None:
    import cotengra

    for seed in range(start, start + 40):
        problem = random_contraction(seed)
        tree, cost = problem.solve()
        check_tree(problem, tree, cost)
        inputs = [frozenset(o.indices) for o in problem.operands]
        paths = [
            opt_einsum.paths.greedy(list(inputs), problem.output, problem.sizes),
            opt_einsum.paths.dynamic_programming(list(inputs), problem.output, problem.sizes),
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optional partitioners that are not installed
            for optimizer in ("optimal", "auto-hq", "greedy"):
                found = cotengra.array_contract_tree(
                    [tuple(sorted(i)) for i in inputs],
                    tuple(sorted(problem.output)),
                    problem.sizes,
                    optimize=optimizer,
                )
                paths.append(found.get_path())
        for path in paths:
            assert cost[0] <= path_cost(problem, path), (seed, path)


def test_contractions_equal_a_search_over_all_trees() -> None:
    for seed in range(1000, 1060):
        problem = random_contraction(seed, most=6)
        tree, cost = problem.solve()
        check_tree(problem, tree, cost)
        every = all_trees(range(len(problem.operands)))
        assert cost == min(cost_of(problem, shape)[1] for shape in every), seed


# -- terms with relations ------------------------------------------------------------------------------


@pytest.mark.parametrize("start", range(0, 160, 40))
def test_scans_equal_a_search_over_all_trees(start: int) -> None:
    for seed in range(start, start + 40):
        problem = random_scans(seed)
        tree, cost = problem.solve()
        check_tree(problem, tree, cost)
        every = all_trees(range(len(problem.operands)))
        assert cost == min(cost_of(problem, shape)[1] for shape in every), seed


def test_linear_attention_scans_before_it_reads() -> None:
    """q · scan(k ⊗ v): the state d·e, two multiply-adds for each of its elements."""
    scan = Scan("j", "i", False, False)
    operands = [Operand(frozenset(i)) for i in ("ic", "jc", "jx")] + [Operand(frozenset("ij"), scan)]
    found = best_order(operands, frozenset("ix"), {"i": LONG, "j": LONG, "c": 64, "x": 32})
    assert (found.multiply_adds, found.state) == (2 * LONG * 64 * 32, 64 * 32)


def test_short_sequences_stay_quadratic() -> None:
    scan = Scan("j", "i", False, False)
    operands = [Operand(frozenset(i)) for i in ("ic", "jc", "jx")] + [Operand(frozenset("ij"), scan)]
    found = best_order(operands, frozenset("ix"), {"i": 8, "j": 8, "c": 64, "x": 64})
    assert found.multiply_adds < 2 * 8 * 64 * 64 and found.state == 0


# -- many operands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", (10, 12, 16, 40))
def test_many_operands(most: int) -> None:
    for seed in range(20):
        problem = random_contraction(seed, most=most, letters="abcdefghijklmnop")
        check_tree(problem, *problem.solve())


def test_parts_that_share_nothing() -> None:
    """Nine to twelve operands in three and more components, scalars and repeated ones among them."""
    for count in range(9, 14):
        names = ("ab", "bc", "d", "de", "", "f", "fg", "f", "", "h", "hk", "l", "lm")[:count]
        operands = tuple(Operand(frozenset(n)) for n in names)
        problem = Problem(
            operands, frozenset("adf") & frozenset("".join(names)), dict.fromkeys("abcdefghklm", 3)
        )
        check_tree(problem, *problem.solve())


def test_never_above_greedy_beyond_twelve() -> None:
    """Networks without hyperedges, where the path of opt_einsum is one of the candidates."""
    for seed in range(12):
        random = Random(seed)
        held: list[set[str]] = [set() for _ in range(random.randint(13, 16))]
        names = [f"e{k}" for k in range(len(held) + random.randint(0, 6))]
        for k, name in enumerate(names):
            held[k % len(held)].add(name)
            held[random.randrange(len(held))].add(name)
        operands = tuple(Operand(frozenset(h)) for h in held)
        problem = Problem(operands, frozenset(names[:1]), {n: random.randint(2, 6) for n in names})
        tree, cost = problem.solve()
        check_tree(problem, tree, cost)
        inputs = [frozenset(h) for h in held]
        path = opt_einsum.paths.greedy(inputs, problem.output, problem.sizes)
        assert cost[0] <= path_cost(problem, path)


def test_scans_among_many_factors() -> None:
    """Factors of the same indices are multiplied first; the scan is still a scan."""
    scan = Scan("j", "i", False, False)
    names = ["ic", "jc", "jx", *["j"] * 20, *["i"] * 10, *["jc"] * 5]
    operands = (*(Operand(frozenset(n)) for n in names), Operand(frozenset("ij"), scan))
    problem = Problem(operands, frozenset("ix"), {"i": LONG, "j": LONG, "c": 8, "x": 4})
    tree, cost = problem.solve()
    check_tree(problem, tree, cost)
    assert cost[1] == 8 * 4 and cost[0] < LONG * LONG


def timed(problem: Problem) -> float:
    started = time.process_time()
    tree, _ = problem.solve()
    elapsed = time.process_time() - started
    assert tree.indices == problem.output
    return elapsed


def test_twelve_operands_quickly() -> None:
    dense = tuple(Operand(frozenset(("i", f"c{k}", f"c{k + 1}"))) for k in range(12))
    sizes = {"i": LONG} | {f"c{k}": 3 for k in range(13)}
    assert timed(Problem(dense, frozenset("i"), sizes)) < 2


@pytest.mark.parametrize(
    "names",
    (
        [("i",)] * 1000,
        [(f"c{k}", f"c{k + 1}") for k in range(1000)],
        [("i", f"c{k}", f"c{k + 1}") for k in range(1000)],
        [(f"c{k}",) for k in range(1000)],
        [("i", f"c{k % 40}") for k in range(1000)],
        [(f"c{k % 50}", f"c{k * 7 % 50}", f"c{k * 11 % 50}") for k in range(1000)],
    ),
    ids=("equal", "chain", "comb", "apart", "star", "tangle"),
)
def test_a_thousand_operands_within_a_second(names: list[tuple[str, ...]]) -> None:
    operands = tuple(Operand(frozenset(n)) for n in names)
    sizes = dict.fromkeys(sorted({i for n in names for i in n}), 3)
    assert timed(Problem(operands, frozenset(), sizes)) < 1


def test_relations_among_many_operands_stay_whole() -> None:
    """A relation is joined with what it carries alone, also where trees are searched greedily."""
    operator = tensorc.compile(
        """
def f(q[n, d], k[n, d], v[n, e], A[n], B[n], z[n, e], P[n, d]) -> o[n, d]:
    m[i, a, x] = sum[j, b, i < j, u < i](q[i, a] * k[i, b] * 0.5 ** (j - i) * A[j] * v[u, x] * q[u, b])
    o[i, a] = sum[u, y, j <= i, i - 5 <= l < i](
        B[u] * A[j] * A[l] * prod[j < t < i](P[t, a]) * m[u, a, y] * z[i, y])
"""
    )
    assert operator.forms.why_not("chunkwise") is None
