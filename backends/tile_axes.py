"""The axes of a kernel: which labels are one axis, and what becomes of each.

A label names an axis within one step; values carry axes from step to step. Axes that are tied that way are
one. An axis that every result has, and over which nothing is summed, need not be in one program: it is cut
into tiles of the grid, or, where no matrix product runs along it, into single positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

from tensorc.backends.tile_io import tile_inputs, tile_outputs
from tensorc.backends.tile_kernel import Anchored, Fetch, Kernel, Lane, Over, Put, TileStep
from tensorc.ir import Extent
from tensorc.plan import (
    CACHED,
    COLUMN,
    PAST,
    ROW,
    Contract,
    Delay,
    Fold,
    Normalise,
    Ref,
    ScanTile,
    Solve,
    Stream,
    Tail,
    Update,
    Weigh,
)

Node = tuple[str, int]
LANE, GRID, TILES, SCALAR, EACH = "lane", "grid", "tiles", "scalar", "each"
TOKENS, COLUMNS = "tokens", "columns"
TOKEN_TILE = 16  # token by token there is little to do at once: more programs do it sooner
POINTS = (SCALAR, EACH)  # one position at a time: a tile has no axis for it


@dataclass(slots=True, eq=False)
class Axis:
    """One axis: its label where it was first seen, its extent, and its role: all positions in a tile
    ("lane"), a tile of the grid ("grid"), one position of it ("scalar"), tiles or positions one after the
    other ("tiles", "each"), the rows of the chunk ("tokens"), or the columns of a stream. `matrix`: a matrix
    product runs along it, which needs 16 positions; `shared`: all programs along it store the same state;
    `most`: the longest tile that is of use, if any is too long."""

    label: str
    extent: Extent | None
    role: str = LANE
    matrix: bool = False
    summed: bool = False
    mixed: bool = False  # a matrix product has it in one operand alone
    twice: bool = False  # one step has it under two labels
    point: bool = False  # programs take one position of it, or there is no kernel
    shared: bool = False
    most: int | None = None


@dataclass(slots=True)
class Axes:
    """The axes of the values of a kernel."""

    nodes: dict[Node, Axis]
    scopes: dict[int, Mapping[str, Axis]]
    all: list[Axis] = field(default_factory=list)
    results: list[list[Axis]] = field(default_factory=list)  # those of what the kernel stores

    def of(self, ref: Ref) -> list[Axis]:
        """The axes of a value, by position."""
        return [self.nodes[ref.value, k] for k in range(len(ref.axes))]


def flat(steps: Iterable[TileStep]) -> Iterator[TileStep]:
    """The steps, those of streams and loops after them."""
    for step in steps:
        yield step
        if isinstance(step, Stream | Over):
            yield from flat(step.steps)


def refs_of(step: TileStep) -> list[Ref]:
    """All values that a step names, with their labels."""
    refs = [*tile_inputs(step), *tile_outputs(step)]
    if isinstance(step, Stream):
        refs = [r.ref for r in step.running]
    elif isinstance(step, Update):
        refs.append(step.state)
    elif isinstance(step, Weigh) and step.top is not None:
        refs.append(step.top)
    return refs


def dot_labels(step: Contract) -> tuple[list[str], list[str], list[str], list[str]] | None:
    """The labels of a product with a sum: of the stack, the rows, what is summed, the columns."""
    if step.right is None:
        return None
    left, right, out = step.left.axes, step.right.axes, step.out.axes
    stack = [a for a in out if a in left and a in right]
    rows = [a for a in out if a in left and a not in right]
    inner = [a for a in left if a in right and a not in out]
    columns = [a for a in out if a in right and a not in left]
    return stack, rows, inner, columns


def dot_groups(step: Contract, scope: Mapping[str, Axis]) -> list[list[str]] | None:
    """`dot_labels` without labels that a tile has no axis for."""
    groups = dot_labels(step)
    return None if groups is None else [[a for a in g if scope[a].role not in POINTS] for g in groups]


def axes_of(
    kernel: Kernel,
    extents: Mapping[str, Extent],
    memory: Mapping[str, Sequence[Extent | None]],
    each: frozenset[Node] = frozenset(),
) -> Axes:
    """Find the axes of a kernel and give each its role. `memory` has the extents of tensors in memory; `each`
    are axes to take position by position."""
    steps = list(flat(kernel.steps))
    columns = {c.label for s in steps if isinstance(s, Stream) for c in s.columns}
    graph = nx.Graph()
    for state in (*kernel.given, *kernel.carried):
        graph.add_nodes_from((state.name, k) for k in range(len(state.axes)))
    scopes: dict[int, dict[str, Node | str]] = {}
    for step in steps:
        scope: dict[str, Node | str] = {}
        for ref in refs_of(step):
            for k, label in enumerate(ref.axes):
                node: Node | str = (ref.value, k)
                graph.add_node(node)
                special = _special(label, columns)
                if special:
                    graph.add_edge(node, special)
                graph.add_edge(node, scope.setdefault(label, special or node))
        scopes[id(step)] = scope
    found: dict[object, Axis] = {}
    ordered: list[Axis] = []
    labels = _first_labels(steps, kernel)
    known = _known(steps, scopes, extents, memory, labels)
    for part in nx.connected_components(graph):
        axis = _axis(part, labels, known, columns)
        axis.role = axis.role if each.isdisjoint(part) else EACH
        ordered.append(axis)
        found.update(dict.fromkeys(part, axis))
    position = {node: k for k, node in enumerate(labels)}
    ordered = [a for a in ordered if a.role in (LANE, EACH)]
    ordered.sort(
        key=lambda a: min((position[n] for n, x in found.items() if x is a and n in position), default=0)
    )
    resolved: dict[int, Mapping[str, Axis]] = {
        key: {a: found[n] for a, n in scope.items()} for key, scope in scopes.items()
    }
    nodes = {n: a for n, a in found.items() if isinstance(n, tuple)}
    axes = Axes(nodes, resolved, ordered)
    axes.results = _results(kernel, axes)
    _mark(steps, axes)
    _grid(kernel, axes)
    return axes


def _special(label: str, columns: set[str]) -> str:
    """The axis of tokens or columns that a label stands for, if it does."""
    if label in (ROW, COLUMN):
        return ROW
    return label if label in columns or label.startswith((CACHED, PAST)) else ""


def _first_labels(steps: list[TileStep], kernel: Kernel) -> dict[Node, str]:
    """A label for each axis of each value: a letter of the program where there is one."""
    labels: dict[Node, str] = {}
    for state in (*kernel.given, *kernel.carried):
        labels.update(((state.name, k), a) for k, a in enumerate(state.axes))
    for step in steps:
        for ref in refs_of(step):
            for k, label in enumerate(ref.axes):
                labels.setdefault((ref.value, k), label)
                if not labels[ref.value, k].isidentifier() and label.isidentifier():
                    labels[ref.value, k] = label
    return labels


def _known(
    steps: Iterable[TileStep],
    scopes: Mapping[int, Mapping[str, Node | str]],
    extents: Mapping[str, Extent],
    memory: Mapping[str, Sequence[Extent | None]],
    labels: Mapping[Node, str],
) -> dict[Node | str, Extent]:
    """The extents that labels, and the axes of tensors in memory, have."""
    found: dict[Node | str, Extent] = {n: extents[a] for n, a in labels.items() if a in extents}
    for step in steps:
        if isinstance(step, Fetch | Put):
            for subscript, extent in zip(step.subscripts, memory[step.tensor], strict=True):
                if isinstance(subscript, Lane) and extent is not None:
                    found.setdefault(scopes[id(step)][subscript.label], extent)
    return found


def _axis(
    part: Iterable[object],
    labels: Mapping[Node, str],
    extents: Mapping[Node | str, Extent],
    columns: set[str],
) -> Axis:
    names = {n for n in part if isinstance(n, str)}
    if ROW in names:
        return Axis(ROW, None, TOKENS)
    if names:
        label = min(names)
        return Axis(label, extents.get(label), COLUMNS)
    mine = [labels[n] for n in part if n in labels]  # type: ignore[index]
    label = min(mine, key=lambda a: (not a.isidentifier(), a.startswith("#"), len(a), a))
    known = [extents[n] for n in part if n in extents]  # type: ignore[index]
    return Axis(label, min(known, key=str) if known else None)


def _mark(steps: list[TileStep], axes: Axes) -> None:
    """What happens along each axis."""
    for step in steps:
        scope = axes.scopes[id(step)]
        for label in _summed(step):
            scope[label].summed = True
        names = [a for a in scope if scope[a].role == LANE]
        for k, label in enumerate(names):
            if any(scope[other] is scope[label] for other in names[:k]):
                scope[label].twice = True
        if isinstance(step, Anchored):
            scope[step.feature].matrix = scope[step.feature].mixed = True
        elif isinstance(step, Contract):
            groups = dot_groups(step, scope)
            if groups is None or not groups[2]:
                continue
            stack, rows, inner, columns = groups
            for label in (*rows, *columns):
                scope[label].mixed = True
            if rows and columns:
                many = stack and len(step.left.axes) + len(columns) > 4
                for label in inner[-1:] if many else (*rows, *inner, *columns):
                    scope[label].matrix = True
        elif isinstance(step, Solve | ScanTile):
            for ref in refs_of(step):
                for label in ref.axes:
                    scope[label].mixed = True
            if isinstance(step, Solve):
                for label in step.batch:
                    scope[label].point = True


def _summed(step: TileStep) -> Iterable[str]:
    match step:
        case Contract(out=out):
            return [a for r in tile_inputs(step) for a in r.axes if a not in out.axes]
        case Anchored(out=out, feature=feature):
            return () if feature in out.axes else (feature,)
        case Fold(over=over) | Normalise(over=over) | Weigh(over=over):
            return over
        case Delay(state=state) | Tail(state=state):  # its rows are moved along
            return state.axes[:1]
        case Fetch(out=out):
            return [a for r in tile_inputs(step) for a in r.axes if a not in out.axes]
    return ()


def _grid(kernel: Kernel, axes: Axes) -> None:
    """Axes that the grid runs over."""
    wide = widest(axes.results)
    results = wide if kernel.narrow else axes.results
    finals = [axes.of(Ref(s.name, s.axes)) for s in kernel.carried if kernel.finals]
    if kernel.order == "once":
        _narrow(kernel, axes)
    for axis in axes.all:
        if axis.role != LANE:
            continue
        everywhere = bool(results) and all(any(a is axis for a in r) for r in results)
        if everywhere and not axis.summed and not axis.twice:
            wanted = axis.point or not (axis.mixed or axis.matrix) and _several(axis, wide)
            axis.role = SCALAR if wanted else GRID
            axis.shared = any(all(a is not axis for a in own) for own in finals)
            axis.most = TOKEN_TILE if kernel.order == "tokens" and not axis.shared else None


def widest(results: list[list[Axis]]) -> list[list[Axis]]:
    """Results without those that have no axis that another lacks: several programs store the same there."""
    kept: list[list[Axis]] = []
    for own in sorted(results, key=len, reverse=True):
        if not any(all(any(a is b for b in wide) for a in own) for wide in kept):
            kept.append(own)
    return kept


def _results(kernel: Kernel, axes: Axes) -> list[list[Axis]]:
    """The axes of what a kernel stores; of its states where that is all."""
    puts = [s for s in kernel.steps if isinstance(s, Put)]
    if not puts:
        return [axes.of(Ref(s.name, s.axes)) for s in kernel.carried]
    return [axes.of(p.value) for p in puts]


def _narrow(kernel: Kernel, axes: Axes) -> None:
    """Without rows, tiles have two axes: of each operand of a product the last one that is its own, else the
    last two of the result."""
    for step in flat(kernel.steps):
        if not isinstance(step, Put):
            continue
        result = [a for a in axes.of(step.value) if not a.summed and not a.twice and a.role == LANE]
        products = [s for s in flat(kernel.steps) if isinstance(s, Contract)]
        groups = [dot_labels(s) for s in products]
        found = [
            [axes.scopes[id(s)][a] for a in labels]
            for s, g in zip(products, groups, strict=True)
            if g is not None and g[2]
            for labels in (g[1], g[3])
        ]
        kept = [own[-1] for own in found if own] or result[-2:]
        for axis in result:
            if not any(axis is k for k in kept):
                axis.role = SCALAR


def _several(axis: Axis, results: list[list[Axis]]) -> bool:
    """Whether a program has other axes to work along: one position at a time is not too little."""
    return all(sum(a is not axis and a.role in (LANE, TOKENS, GRID) for a in r) > 1 for r in results)
