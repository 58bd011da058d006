"""Which sizes a program is verified at: small ones, of different kinds, that nobody has to wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from tensorc.ir import (
    Compare,
    Const,
    Extent,
    FloorDiv,
    Mod,
    Node,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    children,
    walk,
)
from tensorc.passes.streams import streams

LENGTHS = (5, 1, 3, 0, 4, 9)  # of the time axis, and around a chunk of 4; failures are shrunk later
FEATURES = (2, 3, 1)
ALONE = (5, 1, 3, 2, 4, 2)  # of the sizes of a program without a time axis
FARTHEST = 64  # tokens between two that a number in a program relates
MOST_WORK = 200_000  # multiplications of one evaluation


@dataclass(frozen=True, slots=True)
class Trial:
    """The value of every size, and whether the inputs have batch dimensions."""

    sizes: dict[str, int]
    batched: bool = False

    def __str__(self) -> str:
        text = ", ".join(f"{name}={value}" for name, value in self.sizes.items())
        return (text or "no sizes") + (" in batches" if self.batched else "")


class Work:
    """About how many multiplications the definition takes at given sizes."""

    def __init__(self, program: Program) -> None:
        found = {tuple(sorted(extents, key=str)) for extents in _ranges(program)}
        found |= {decl.axes for decl in program.tensors().values()}
        self._products = [_factors(extents) for extents in found]

    def at(self, sizes: Mapping[str, int]) -> int:
        """The work at these sizes."""
        return sum(number * prod(sizes[name] for name in names) for number, names in self._products)


def _factors(extents: tuple[Extent, ...]) -> tuple[int, tuple[str, ...]]:
    names = tuple(name for extent in extents for name in extent.names)
    return prod(extent.coefficient for extent in extents), names


def _ranges(program: Program) -> Iterator[tuple[Extent, ...]]:
    """For every reduction and every equation, the extents of all indices that are open in it."""
    for equation in program.equations:
        start = {b.name: b.extent for b in equation.left}
        stack = [(equation.body, start)]
        yield tuple(start.values())
        while stack:
            node, open_ = stack.pop()
            if isinstance(node, Reduce | Softmax):
                binds = node.binds if isinstance(node, Reduce) else node.over
                open_ = open_ | {b.name: b.extent for b in binds}
                yield tuple(open_.values())
            stack.extend((child, open_) for child in children(node))  # type: ignore[misc]


def trials(
    program: Program, time: Extent | None, given: Mapping[str, int], claim: Program | None = None
) -> list[Trial]:
    """The sizes to try, in order. `given` are those that the operator was compiled with; `claim` is a
    program that is compared with this one.

    >>> from tensorc.compiler import parse
    >>> from tensorc.ir import extent
    >>> program = parse("def f(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])")
    >>> print(*trials(program, extent("n"), {}), sep="; ")
    n=5, d=2; n=1, d=3; n=3, d=1; n=0, d=2; n=4, d=3 in batches; n=9, d=2; n=3, d=0
    """
    names = program.sizes()
    lengths = time.names if time is not None else ()
    work = Work(program)
    plans = [_assign(names, lengths, k) for k in range(len(LENGTHS))]
    features = [n for n in names if n not in lengths]
    least = least_sizes(program)
    reach = _reach(program)
    if claim is not None:
        least |= {n: max(v, least.get(n, 0)) for n, v in least_sizes(claim).items()}
        reach = max(reach, _reach(claim))
    if max(LENGTHS if lengths else ALONE) - 2 < reach <= FARTHEST:
        long = lengths or tuple(dict.fromkeys(n for extent in streams(program) for n in extent.names))
        plans.append(plans[0] | {n: reach + 2 for n in long or names})
    plans += [{n: 0 if n == zero else 2 if n in features else 3 for n in names} for zero in features[:4]]
    fixed = dict(program.defaults) | dict(given)
    if fixed:
        plans += [plans[k] | {n: v for n, v in fixed.items() if n in names} for k in (0, 2)]
    found: dict[tuple[object, ...], Trial] = {}
    for k, plan in enumerate(plans):
        batched = k == 4
        plan = {name: max(value, least.get(name, 0)) for name, value in plan.items()}
        small = fit(work, plan, MOST_WORK // 6 if batched else MOST_WORK)
        if small is not None:
            found.setdefault(tuple(small.items()), Trial(small, batched))
    return list(found.values())


def _assign(names: tuple[str, ...], lengths: tuple[str, ...], turn: int) -> dict[str, int]:
    """The sizes of one turn: the time axis takes the lengths one after the other, features small values.
    Without a time axis, every size takes small values in turn."""
    sizes = {}
    for place, name in enumerate(names):
        if name in lengths:
            sizes[name] = LENGTHS[turn]
        elif lengths:
            sizes[name] = FEATURES[(place + turn % 5 - 1) % len(FEATURES)]
        else:
            sizes[name] = ALONE[(place + turn) % len(ALONE)]
    return sizes


def _reach(program: Program) -> int:
    """The largest integer in a comparison or a subscript: shorter sequences never come to what it says."""
    found = [0]
    stack: list[tuple[Node, bool]] = [(equation.body, False) for equation in program.equations]
    while stack:
        node, inside = stack.pop()
        value = node.value if isinstance(node, Const) else None
        if inside and isinstance(value, int) and abs(value) <= FARTHEST:
            found.append(abs(value))
        inside = inside or isinstance(node, Compare | Read | FloorDiv | Mod)
        stack.extend((child, inside) for child in children(node))
    return max(found)


def least_sizes(program: Program) -> dict[str, int]:
    """Sizes that constant subscripts need: x[i, 5] wants 6 of the second axis; and those that divide."""
    axes = {name: decl.axes for name, decl in program.tensors().items()}
    found: dict[str, int] = {}
    for equation in program.equations:
        for node in walk(equation.body):
            if isinstance(node, FloorDiv | Mod):
                for part in walk(node.denominator):
                    if isinstance(part, Size):
                        found[part.name] = max(found.get(part.name, 0), 1)
            if isinstance(node, Read):
                for axis, subscript in zip(axes[node.tensor], node.subscripts, strict=True):
                    if isinstance(subscript, Const) and len(axis.names) == 1 and axis.coefficient == 1:
                        wanted = int(subscript.value) + 1
                        found[axis.names[0]] = max(found.get(axis.names[0], 0), wanted)
    return found


def fit(work: Work, sizes: Mapping[str, int], most: int) -> dict[str, int] | None:
    """Sizes that are small enough, the largest made smaller first; None if even ones are too much."""
    small = dict(sizes)
    for _ in range(8 * len(small) if len(small) <= 64 else 0):
        if work.at(small) <= most:
            return small
        largest = max(small, key=lambda name: (small[name], name))
        small[largest] = max(1, small[largest] // 2)
    small = {name: min(value, 1) for name, value in small.items()}
    return small if work.at(small) <= most else None
