"""Making values of the stage graph: equal values, products and states are made once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tensorc.ir import Expr, Extent, Index, Node, Read, free_indices, rebuild, substitute, walk
from tensorc.passes.affine import lag_of
from tensorc.passes.chains import NoScan
from tensorc.passes.order import Ordered
from tensorc.passes.records import Log, Rewrite
from tensorc.passes.relation import TOKEN, Gate
from tensorc.passes.stage_graph import Graph, Memory, Product, Shift, Tensor, Value
from tensorc.plan import Ref, Why


class ValueBuilder:
    """Builds the nodes of a stage graph; `known` remembers what was made."""

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
        if str(lag).removeprefix("+") in source.axes:
            reason = f"{lag} counts tokens and is an axis of what is read".removeprefix("+")
            raise NoScan(reason, "read the axis under another index in an equation before")
        key = ("shift", source.value, source.axes.index(TOKEN), lag)  # of a label, with its sign
        if key in self.known:
            counted = (lag.removeprefix("+"),) if isinstance(lag, str) else ()
            return Ref(self.known[key].value, (*source.axes, *counted))
        reverse = lag.startswith("+") if isinstance(lag, str) else lag < 0
        lag = lag.removeprefix("+") if isinstance(lag, str) else lag
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
        within: Expr | None = None,
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
            within,
            tuple(self.graph.extents[a] for a in axes),
        )
        for order in _orders_of(axes):
            again = (
                "memory",
                _canonical(writes, order),
                tuple((_canonical([g], order), log) for g, log in gates),
                reverse,
                total,
                within,
                tuple(self.graph.extents[a] for a in order),
            )
            if again in self.known:
                found = Ref(self.known[again].value, order)
                self._did("share", f"the state of {self._sizes(axes)} is shared with another read of it")
                return found
        ref = self._fresh("S", axes)
        self.graph.memories[ref.value] = Memory(
            ref.value, axes, tuple(writes), gates, reverse, total, within, self.why
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
