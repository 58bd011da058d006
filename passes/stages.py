"""The cut into stages: contraction trees become a graph of one-token values and states.

Between each scan and the next scan, or the output, the tree is cut at its smallest tensor. What the cut
leaves is a `Stage`: a state, the factors it is read with, and the features of the result. Everything is
independent of the form: the chunkwise, recurrent and whole-sequence realisations start from this graph.

All values here have at most one token axis, labelled `TOKEN` and standing first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tensorc.ir import Expr, Extent, Index, Node, Read, free_indices, rebuild, substitute, walk
from tensorc.passes.affine import lag_of
from tensorc.passes.chains import LinearTerm, NoScan
from tensorc.passes.order import LONG, Carry, Join, Leaf, Operand, Ordered, Tree, best_order
from tensorc.passes.records import Log, Rewrite
from tensorc.passes.relation import TOKEN, Gate, Reading, Scan
from tensorc.plan import Ref, Why


@dataclass(frozen=True, slots=True)
class Value:
    """A pointwise expression of one token (or of none); reads name values or tensors."""

    out: Ref
    expr: Expr
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Product:
    """A contraction of values of the same token."""

    out: Ref
    items: tuple[Ref, ...]
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Memory:
    """A state: what is written to it at each token, its gates, and the direction."""

    name: str
    axes: tuple[str, ...]
    writes: tuple[Ref, ...]
    gates: tuple[tuple[Ref, bool], ...]
    reverse: bool
    total: bool = False
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """out = the state, as its token sees it, times the items.
    A total is the state after the last token."""

    out: Ref
    state: Ref
    items: tuple[Ref, ...]
    reading: Reading
    why: Why = field(default=Why(), compare=False)


@dataclass(frozen=True, slots=True)
class Shift:
    """out = the source some tokens earlier (later, if `reverse`), 0 before the first: `lag` tokens, or as
    many as a label of the result counts. The state holds the rows that are still needed, `depth` first."""

    out: Ref
    source: Ref
    lag: int | str
    state: Ref
    reverse: bool
    why: Why = field(default=Why(), compare=False)


GraphNode: TypeAlias = Value | Product | Stage | Shift


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor of the program lives: the value, and for each declared axis its axis there."""

    value: str
    positions: tuple[int, ...]


@dataclass(slots=True)
class Graph:
    """The stage graph of a program: nodes in order, states by name, labels with their extents. `unknowns`
    are values that depend on themselves: equations that use their own results."""

    nodes: list[GraphNode] = field(default_factory=list)
    memories: dict[str, Memory] = field(default_factory=dict)
    extents: dict[str, Extent] = field(default_factory=dict)
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    unknowns: set[str] = field(default_factory=set)
    ascending: set[str] = field(default_factory=set)

    def read(self, tensor: str, labels: tuple[str, ...]) -> Ref:
        """A tensor of the program as a value: labels given in the order of its declaration."""
        source = self.tensors[tensor]
        axes = [""] * len(labels)
        for position, label in zip(source.positions, labels, strict=True):
            axes[position] = label
        return Ref(source.value, tuple(axes))


@dataclass(slots=True)
class _Open:
    """A scan on its way up the tree: the factors met so far and the places it may be cut."""

    carry: Carry
    state: Ref
    items: list[Ref]
    cuts: list[tuple[int, int, frozenset[str]]]


@dataclass(slots=True)
class _Closed:
    """Values of one token whose product is still to be taken."""

    items: list[Ref]


class StageBuilder:
    """Builds the stage graph; equal values, products and states are made once."""

    def __init__(self, sizes: Mapping[str, int], time: Extent, log: Log | None = None) -> None:
        self.graph = Graph()
        self.log = log
        self.lead: set[str] = set()
        self.tokens: frozenset[str] = frozenset()
        self.sizes = sizes
        self.time = time
        self.known: dict[object, Ref] = {}
        self.counter = 0
        self.why = Why()
        self.orders: list[Ordered] = []

    # -- labels and values ---------------------------------------------------------------------------

    def labels(self, binds: Mapping[str, Extent], token: str) -> dict[str, str]:
        """A label for every index of an equation: a feature keeps its letter unless that stands for
        another extent elsewhere; token indices become `token`, or ~letter if that is empty."""
        result: dict[str, str] = {}
        for name, extent in binds.items():
            if extent == self.time:
                result[name] = token or f"~{name}"
                continue
            label, k = name, 2
            while self.graph.extents.get(label, extent) != extent or label in result.values():
                label, k = f"{name}_{k}", k + 1
            self.graph.extents[label] = extent
            result[name] = label
        return result

    def unknown(self, tensor: str) -> str:
        """The name of a value that depends on itself; `define_unknown` says what it is."""
        name = f"%{tensor}"
        self.graph.unknowns.add(name)
        return name

    def define_unknown(self, name: str, ref: Ref, left: tuple[str, ...], why: Why) -> None:
        """An unknown as the value that was made for its equation, axes as declared."""
        read = Read(self.alias(ref), tuple(Index(a) for a in ref.axes))
        self.graph.nodes.append(Value(Ref(name, left), read, why))

    def alias(self, ref: Ref) -> str:
        """A name under which expressions can read a value, axes in its own order."""
        self.graph.tensors.setdefault(ref.value, Tensor(ref.value, tuple(range(len(ref.axes)))))
        return ref.value

    def value(self, expr: Expr, why: Why) -> Ref:
        """The value of an expression of at most one token; indices must be labels already."""
        expr = self._shifted(expr, why)
        plain = self._plain(expr)
        if plain is not None:
            return plain
        axes = _index_order(expr)
        canonical = {f: Index(f"#{k}") for k, f in enumerate(axes) if f != TOKEN}
        extents = tuple(self.graph.extents[f] for f in axes if f != TOKEN)
        key = ("value", substitute(expr, canonical), extents)
        if key not in self.known:
            out = self._fresh("t", axes)
            self.graph.nodes.append(Value(out, expr, why))
            self.known[key] = out
        return Ref(self.known[key].value, axes)

    def _shifted(self, node: Expr, why: Why) -> Expr:
        """The expression with every read of another token replaced by a read of the shifted value."""

        def visit(part: Node) -> Node:
            part = rebuild(part, visit)
            found = self._shift_of(part) if isinstance(part, Read) else None
            if found is None:
                return part
            assert isinstance(part, Read)
            ref = self._shift(part, *found, why)
            return Read(self.alias(ref), tuple(Index(a) for a in ref.axes))

        return visit(node)  # type: ignore[return-value]

    def _shift_of(self, read: Read) -> tuple[int, int | str] | None:
        """(axis, lag) of a read of an earlier token, the lag negative for a later one."""
        for axis, subscript in enumerate(read.subscripts):
            found = lag_of(subscript, TOKEN)
            if found is not None and found != 0:
                return axis, found
        return None

    def _shift(self, read: Read, axis: int, lag: int | str, why: Why) -> Ref:
        parts = tuple(Index(TOKEN) if k == axis else s for k, s in enumerate(read.subscripts))
        source = self.value(replace(read, subscripts=parts), why)
        key = ("shift", source, lag)
        if key in self.known:
            return self.known[key]
        reverse = isinstance(lag, int) and lag < 0
        depth = Extent(abs(lag)) if isinstance(lag, int) else self.graph.extents[lag]
        rows = self.labels(
            {"rows": depth} | {a: self.graph.extents[a] for a in source.axes if a != TOKEN}, ""
        )
        features = tuple(a for a in source.axes if a != TOKEN)
        state = self._fresh("S", (rows["rows"], *features))
        labels = source.axes if isinstance(lag, int) else (*source.axes, lag)
        out = self._fresh("t", labels)
        count = abs(lag) if isinstance(lag, int) else lag
        self.graph.nodes.append(Shift(out, source, count, state, reverse, why))
        self._did("shift", f"rows of earlier tokens are kept: {self._sizes(state.axes)}")
        self.known[key] = out
        return out

    def _plain(self, expr: Expr) -> Ref | None:
        """A read that is a value as it stands: distinct bare indices on a tensor that is known."""
        if not isinstance(expr, Read) or expr.tensor not in self.graph.tensors:
            return None
        names = [s.name for s in expr.subscripts if isinstance(s, Index)]
        if len(names) != len(expr.subscripts) or len(set(names)) < len(names):
            return None
        if TOKEN in names:
            self.lead |= set(names[: names.index(TOKEN)])
        return self.graph.read(expr.tensor, tuple(names))

    def axes(self, labels: frozenset[str]) -> tuple[str, ...]:
        """An order for the axes of a value: labels that lead the inputs, then the token, then the rest."""
        return tuple(sorted(labels, key=lambda a: (a not in self.lead, a != TOKEN, a)))

    def _fresh(self, prefix: str, axes: tuple[str, ...]) -> Ref:
        self.counter += 1
        ref = Ref(f"%{prefix}{self.counter}", axes)
        self.graph.axes[ref.value] = axes
        return ref

    def product(self, items: list[Ref], out: frozenset[str]) -> Ref:
        """The contraction of values of one token, keeping the labels `out`."""
        if len(items) == 1 and set(items[0].axes) == out:
            return items[0]
        axes = self.axes(out)
        key = ("product", *_canonical(items, axes))
        if key in self.known:
            return Ref(self.known[key].value, axes)
        ref = self._fresh("t", axes)
        self.graph.nodes.append(Product(ref, tuple(items), self.why))
        self.known[key] = ref
        return ref

    # -- terms ---------------------------------------------------------------------------------------

    def term(self, linear: LinearTerm, left: frozenset[str], tokens: frozenset[str], why: Why) -> Ref | None:
        """The value of one linear term; None if it is its scale alone. All its indices are labels, `tokens`
        the token indices among them."""
        self.why, self.tokens = why, tokens
        factors, scans = linear.term.factors, linear.scans
        covered = frozenset().union(*(free_indices(f) for f in factors)) if factors else frozenset[str]()
        ones = [s.write for s in scans if s.write not in covered]
        operands = [Operand(frozenset(free_indices(f))) for f in factors]
        operands += [Operand(frozenset((o,))) for o in ones]
        operands += [Operand(frozenset((s.read, s.write)) | s.features, s) for s in scans]
        if not operands:
            return None
        present = frozenset().union(*(o.indices for o in operands))
        sizes = {i: self._size(i) for i in present}
        ordered = best_order(operands, left & present, sizes)
        self.orders.append(ordered)
        refs = [self._factor(f, why) for f in factors] + [self._ones(o) for o in ones]
        return self._finish(self._build(ordered.tree, refs), ordered.tree)

    def _size(self, name: str) -> int:
        return LONG if name in self.tokens else self.graph.extents[name].value(self.sizes)

    def _factor(self, factor: Node, why: Why) -> Ref:
        token = [i for i in free_indices(factor) if i in self.tokens]
        if len(token) > 1:
            raise NoScan(
                f"a factor of two tokens ({' and '.join(sorted(token))}) has no scan", "separate the pair"
            )
        here = substitute(factor, {t: Index(TOKEN) for t in token})
        ref = self.value(here, why)  # type: ignore[arg-type]
        return ref.relabel({TOKEN: token[0]}) if token else ref

    def _ones(self, token: str) -> Ref:
        from tensorc.ir import Add, Const, Mul

        one = Add((Const(1), Mul((Const(0), Index(TOKEN)))))
        return self.value(one, self.why).relabel({TOKEN: token})

    def _build(self, tree: Tree, refs: list[Ref]) -> _Open | _Closed:
        if isinstance(tree, Leaf):
            return self._vanish(_Closed([refs[tree.operand]]), tree.indices)
        if isinstance(tree, Carry):
            return self._carry(tree, refs)
        self._check(tree)
        left, right = self._build(tree.left, refs), self._build(tree.right, refs)
        if isinstance(left, _Open) and isinstance(right, _Open):
            # Two states meet: the one that is smaller where it is cut becomes a value.
            if _least(left)[0] <= _least(right)[0]:
                left = self._close(left)
            else:
                right = self._close(right)
        if isinstance(right, _Open):
            left, right = right, left
        assert isinstance(right, _Closed)
        if isinstance(left, _Open):
            left.items += right.items
            return self._onward(left, tree.indices)
        return self._vanish(_Closed(left.items + right.items), tree.indices)

    def _check(self, tree: Join) -> None:
        pair = tree.indices & self.tokens
        both = (tree.left.indices | tree.right.indices) & self.tokens
        if len(pair) > 1 or len(both) > 1:
            raise NoScan(
                f"tokens {' and '.join(sorted(both))} meet without a relation that scans",
                "relate them by an order such as j <= i",
            )

    def _vanish(self, closed: _Closed, kept: frozenset[str]) -> _Closed:
        """A token that is summed without a relation: a total over the whole sequence."""
        tokens = {a for ref in closed.items for a in ref.axes if a in self.tokens}
        gone = tokens - kept
        if not gone:
            return closed
        rest = [r for r in closed.items if not gone & set(r.axes)]
        writes = [r for r in closed.items if gone & set(r.axes)]
        outside = kept | {a for r in rest for a in r.axes}
        axes = self.axes(
            frozenset(a for r in writes for a in r.axes if a in outside and a not in self.tokens)
        )
        state = self._memory(writes, axes, (), False, total=True)
        out = self._fresh("t", axes)
        self.graph.nodes.append(Stage(out, state, (), Reading(False), self.why))
        return _Closed([out, *rest])

    def _carry(self, tree: Carry, refs: list[Ref]) -> _Open | _Closed:
        part = self._build(tree.part, refs)
        if isinstance(part, _Open):
            part = self._close(part)
        writes = part.items
        axes = self.axes(tree.state)
        state = self._memory(writes, axes, self._gates(tree.scan), tree.scan.reverse)
        opened = _Open(tree, state, [], [(self._width(tree.state), 0, tree.state | {tree.scan.read})])
        return opened if tree.state <= tree.indices else self._onward(opened, tree.indices)

    def _onward(self, opened: _Open, indices: frozenset[str]) -> _Open | _Closed:
        """A tensor further up from an open scan: a place to cut; the last one if the token is summed."""
        read = opened.carry.scan.read
        opened.cuts.append((self._width(indices), len(opened.items), indices | {read}))
        if read in indices:
            return opened
        return self._vanish(self._close(opened), indices)

    def _gates(self, scan: Scan) -> tuple[tuple[Ref, bool], ...]:
        return tuple((self.gate(r.gate), r.gate.log) for r in scan.gates)

    def gate(self, gate: Gate) -> Ref:
        """The value of a gate at each token."""
        return self.value(gate.value, self.why)

    def _memory(
        self,
        writes: list[Ref],
        axes: tuple[str, ...],
        gates: tuple[tuple[Ref, bool], ...],
        reverse: bool,
        total: bool = False,
    ) -> Ref:
        """The state with these writes and gates; one that exists already is shared."""
        tokens = {a: TOKEN for r in writes for a in r.axes if a in self.tokens}
        writes = [r.relabel(tokens) for r in writes]
        marks = tuple((_canonical([g], axes), log) for g, log in gates)
        key = (
            "memory",
            _canonical(writes, axes),
            marks,
            reverse,
            total,
            tuple(self.graph.extents[a] for a in axes),
        )
        for order in _orders_of(axes):
            again = (
                "memory",
                _canonical(writes, order),
                tuple((_canonical([g], order), log) for g, log in gates),
                reverse,
                total,
                tuple(self.graph.extents[a] for a in order),
            )
            if again in self.known:
                found = Ref(self.known[again].value, order)
                self._did("share", f"the state of {self._sizes(axes)} is shared with another read of it")
                return found
        ref = self._fresh("S", axes)
        self.graph.memories[ref.value] = Memory(
            ref.value, axes, tuple(writes), gates, reverse, total, self.why
        )
        self.known[key] = ref
        return ref

    def _did(self, rule: str, what: str) -> None:
        record = Rewrite(rule, what, self.why.line)
        if self.log is not None and record not in self.log.rewrites:
            self.log.rewrites.append(record)

    def _sizes(self, labels: Iterable[str]) -> str:
        """The extents of features as a product, for the records."""
        extents = [str(self.graph.extents[a]) for a in labels if a in self.graph.extents]
        return "·".join(extents) or "one number"

    def _close(self, opened: _Open) -> _Closed:
        """Cut at the smallest tensor on the way up: a stage, and the factors above the cut."""
        width, count, indices = _least(opened)
        read = opened.carry.scan.read
        state, cut = self._sizes(opened.state.axes), self._sizes(sorted(indices - {read}))
        self._did(
            "cut",
            f"a state of {state}, read as a value of {cut} a token"
            if count
            else f"a state of {state}, read as it is",
        )
        items = [r.relabel({read: TOKEN}) for r in opened.items[:count]]
        axes = self.axes(frozenset(TOKEN if i == read else i for i in indices))
        scan = opened.carry.scan
        key = ("stage", opened.state, tuple(items), axes, scan.reading)
        if key not in self.known:
            out = self._fresh("t", axes)
            self.graph.nodes.append(Stage(out, opened.state, tuple(items), scan.reading, self.why))
            self.known[key] = out
        out = self.known[key]
        return _Closed([out.relabel({TOKEN: read}), *opened.items[count:]])

    def _finish(self, built: _Open | _Closed, tree: Tree) -> Ref:
        closed = self._close(built) if isinstance(built, _Open) else built
        tokens = {a: TOKEN for r in closed.items for a in r.axes if a in self.tokens}
        out = frozenset(TOKEN if i in self.tokens else i for i in tree.indices)
        items = [r.relabel(tokens) for r in closed.items]
        return self.product(items, out)

    def _width(self, indices: frozenset[str]) -> int:
        width = 1
        for i in indices:
            if i not in self.tokens:
                width *= self._size(i)
        return width


def _least(opened: _Open) -> tuple[int, int, frozenset[str]]:
    """The best cut: the smallest tensor, the lowest of equals, the state itself only if nothing equals it."""
    return min(opened.cuts, key=lambda cut: (cut[0], cut[1] == 0, cut[1]))


def _orders_of(axes: tuple[str, ...]) -> list[tuple[str, ...]]:
    from itertools import permutations

    return list(permutations(axes)) if len(axes) <= 4 else [axes]


def _canonical(items: list[Ref], axes: tuple[str, ...]) -> tuple[object, ...]:
    """A product's identity: values with labels numbered, those of the result first, in their order."""
    numbers: dict[str, int] = {a: k for k, a in enumerate(axes)}
    ordered = sorted(items, key=lambda r: (r.value, tuple(str(numbers.get(a, "")) for a in r.axes)))
    marked = tuple((r.value, tuple(numbers.setdefault(a, len(numbers)) for a in r.axes)) for r in ordered)
    return (len(axes), TOKEN in axes, marked)


def _index_order(expr: Node) -> tuple[str, ...]:
    """The free indices of an expression in the order they are met."""
    free = free_indices(expr)
    return tuple(dict.fromkeys(n.name for n in walk(expr) if isinstance(n, Index) and n.name in free))


__all__ = ["Graph", "GraphNode", "Memory", "Product", "Shift", "Stage", "StageBuilder", "Tensor", "Value"]
