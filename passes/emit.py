"""Emission of steps: products in their best order, pointwise expressions, everything made once.

An `Emitter` collects steps by level: what never changes, what depends on the length of a chunk alone,
and what is made for every chunk. A step lands on the highest level of anything it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tensorc.factors import factored
from tensorc.ir import (
    Const,
    Expr,
    Index,
    Node,
    Read,
    Reduce,
    Softmax,
    free_indices,
    rebuild,
    walk,
)
from tensorc.passes.order import MEMBERS, Join, Leaf, Operand, Ordered, Tree, best_order, postorder
from tensorc.passes.relation import TOKEN
from tensorc.plan import (
    COLUMN,
    ROW,
    Contract,
    Fold,
    GateUse,
    Gather,
    Map,
    Normalise,
    Ref,
    Step,
    Tile,
    Why,
)

CONSTANT, SETUP, BODY, STREAM = 0, 1, 2, 3


class Emitter:
    """Collects the steps of one loop (or of the whole parallel form).

    `read(tensor, labels)` gives the value of a program's tensor, loading it (with `provide`) if needed.
    """

    def __init__(
        self,
        read: Callable[[str, tuple[str, ...]], Ref],
        sizes: Mapping[str, int],
        counter: list[int],
    ) -> None:
        self.read, self.sizes, self.counter = read, dict(sizes), counter
        self.steps: dict[int, list[Step]] = {CONSTANT: [], SETUP: [], BODY: []}
        self.level: dict[str, int] = {}
        self.known: dict[object, Ref] = {}
        self.products: dict[object, list[tuple[str, tuple[int, ...]]]] = {}
        self.flops = 0
        self.streaming = BODY  # the level of what varies with the columns at hand

    # -- steps -----------------------------------------------------------------------------------------

    def fresh(self, axes: Sequence[str]) -> Ref:
        """A new value."""
        self.counter[0] += 1
        return Ref(f"${self.counter[0]}", tuple(axes))

    def provide(self, value: str, step: Step | None, level: int) -> None:
        """Make a value known, with the step that loads it."""
        self.level[value] = level
        if step is not None:
            self.steps[level].append(step)

    def add(self, step: Step, inputs: Sequence[Ref], least: int = CONSTANT) -> Ref:
        """Append a step; an equal step that exists already gives its value instead."""
        made: Any = step
        out: Ref = made.out
        key = replace(made, out=Ref("", out.axes))
        if key in self.known:
            return self.known[key]
        level = max([least, *(self.level[r.value] for r in inputs)])
        self.level[out.value] = level
        self.steps[level].append(step)
        self.known[key] = out
        return out

    def open_stream(self) -> None:
        """From here on what depends on columns is made for every block of them."""
        self.streaming = STREAM
        self.steps[STREAM] = []

    @property
    def stream(self) -> list[Step]:
        """The steps of the open stream."""
        return self.steps[STREAM]

    def close_stream(self) -> tuple[Step, ...]:
        """The steps of the stream; what they made is not known outside."""
        self.streaming = BODY
        inside = {value for value, level in self.level.items() if level == STREAM}
        self.level = {value: level for value, level in self.level.items() if value not in inside}
        self.known = {key: ref for key, ref in self.known.items() if ref.value not in inside}
        for key, made in self.products.items():
            self.products[key] = [m for m in made if m[0] not in inside]
        return tuple(self.steps.pop(STREAM))

    # -- products --------------------------------------------------------------------------------------

    def product(self, items: Sequence[Ref], out: Sequence[str], why: Why) -> Ref:
        """The product of the items, summed over every label that is not in `out`, in the best order."""
        if not items:
            return self.pointwise(Const(1), (), why)
        tree = self.order(items, frozenset(out)).tree
        return self._emit(tree, list(items), why, tuple(out))

    def order(self, items: Sequence[Ref], out: frozenset[str]) -> Ordered:
        """The best order of a product, what is known already costing nothing."""
        operands = [Operand(frozenset(r.axes)) for r in items]
        sizes = {a: max(1, self.sizes[a]) for r in items for a in r.axes}

        def known(subset: list[int], kept: frozenset[str]) -> bool:
            return self._known([items[k] for k in subset], kept) is not None

        return best_order(operands, out, sizes, known=known if self.products else None)

    def _emit(self, tree: Tree, items: list[Ref], why: Why, wanted: tuple[str, ...]) -> Ref:
        """The steps of a tree; what is known already is not made again."""
        done: list[Ref] = []
        leaves = _leaves(tree)
        stack: list[tuple[Tree, bool]] = [(tree, False)]
        while stack:
            node, ready = stack.pop()
            if isinstance(node, Leaf):
                done.append(self._summed(items[node.operand], node.indices, why))
                continue
            assert isinstance(node, Join)
            members = [items[k] for k in leaves[id(node)]]
            if ready:
                right = done.pop()
                done.append(self._join(node, done.pop(), right, members, why, wanted if node is tree else ()))
                continue
            known = self._known(members, node.indices) if members else None
            if known is not None:
                done.append(self._summed(known, node.indices, why))
            else:
                stack += [(node, True), (node.right, False), (node.left, False)]
        return done.pop()

    def _summed(self, ref: Ref, kept: frozenset[str], why: Why) -> Ref:
        if set(ref.axes) == kept:
            return ref
        out = self.fresh([a for a in ref.axes if a in kept])
        return self.add(Contract(out, ref, None, why), [ref])

    def _join(
        self, tree: Join, left: Ref, right: Ref, members: list[Ref], why: Why, wanted: tuple[str, ...]
    ) -> Ref:
        axes = _result_axes(left, right, tree.indices)
        if set(wanted) == set(axes) and _natural(left, right, wanted):
            axes = wanted
        out = self.fresh(axes)
        result = self.add(Contract(out, left, right, why), [left, right])
        if not members:
            return result
        key, labels = _key(members)
        numbers = tuple(labels.index(a) for a in result.axes)
        self.products.setdefault(key, []).append((result.value, numbers))
        return result

    def _known(self, items: Sequence[Ref], kept: frozenset[str]) -> Ref | None:
        """A product made before: with the labels asked for, or with more, to be summed."""
        key, labels = _key(items)
        wider = None
        for value, numbers in self.products.get(key, ()):
            axes = tuple(labels[n] for n in numbers)
            if set(axes) == kept:
                return Ref(value, axes)
            if set(axes) > kept:
                wider = Ref(value, axes)
        return wider

    # -- pointwise -------------------------------------------------------------------------------------

    def pointwise(self, expr: Expr, axes: Sequence[str] | None, why: Why) -> Ref:
        """A pointwise expression; reads name tensors of the program, subscripts are labels."""
        inputs: list[Ref] = []
        lowered: Expr = factored(self._lower(expr, inputs, why))  # type: ignore[assignment]
        if isinstance(lowered, Read) and (
            axes is None or set(axes) == {_label(s) for s in lowered.subscripts}
        ):
            return Ref(lowered.tensor, tuple(_label(s) for s in lowered.subscripts))
        labels = tuple(axes) if axes is not None else _natural_order(lowered)
        return self.add(Map(self.fresh(labels), lowered, why), inputs, self._positions(lowered))

    def _lower(self, node: Node, inputs: list[Ref], why: Why) -> Node:
        if isinstance(node, Read):
            ref = self._read(node, why)
            inputs.append(ref)
            return Read(ref.value, tuple(Index(a) for a in ref.axes))
        if isinstance(node, Reduce | Softmax):
            ref = self._reduce(node, why)
            inputs.append(ref)
            return Read(ref.value, tuple(Index(a) for a in ref.axes))
        return rebuild(node, lambda c: self._lower(c, inputs, why))

    def _reduce(self, node: Reduce | Softmax, why: Why) -> Ref:
        inputs: list[Ref] = []
        body: Expr = self._lower(node.body, inputs, why)  # type: ignore[assignment]
        domain = tuple(self._lower(c, inputs, why) for c in node.domain)
        least = max([self._positions(body), *(self._positions(c) for c in domain)])
        labels = _order(body, *domain)
        if isinstance(node, Softmax):
            over = tuple(b.name for b in node.over)
            labels = labels + tuple(o for o in over if o not in labels)
            return self.add(Normalise(self.fresh(labels), over, domain, body, why), inputs, least)  # type: ignore[arg-type]
        over = tuple(b.name for b in node.binds)
        out = self.fresh([a for a in labels if a not in over])
        return self.add(Fold(out, node.op, over, domain, body, why), inputs, least)  # type: ignore[arg-type]

    def _read(self, node: Read, why: Why) -> Ref:
        labels = [s.name if isinstance(s, Index) else "" for s in node.subscripts]
        if node.tensor in self.level and node.tensor[0] in "$%":
            return Ref(node.tensor, tuple(labels))
        if all(labels) and len(set(labels)) == len(labels):
            return self.read(node.tensor, tuple(labels))
        # The token axis of the source stays as it is: its rows are those of the chunk already.
        by_axis = {
            s.name if isinstance(s, Index) and s.name.startswith(TOKEN) else f"${k}": s
            for k, s in enumerate(node.subscripts)
        }
        source = self.read(node.tensor, tuple(by_axis))
        subscripts = tuple(by_axis[a] for a in source.axes)
        out = self.fresh(_order(*subscripts))
        least = max([CONSTANT, *(self._positions(s) for s in subscripts)])
        return self.add(Gather(out, source, subscripts, (), why), [source], least)

    def _positions(self, node: Node) -> int:
        """Positions of tokens change with every chunk; bare labels inside reads do not count."""
        if isinstance(node, Read):
            return CONSTANT
        if isinstance(node, Index):
            columns = self.streaming if node.name.startswith(TOKEN) else CONSTANT
            return BODY if node.name in (ROW, COLUMN) else columns
        from tensorc.ir import children

        return max([CONSTANT, *(self._positions(c) for c in children(node))])

    def tile(
        self, part: str, strict: bool, gates: Sequence[GateUse], why: Why, within: Expr | None = None
    ) -> Ref | None:
        """A piece of a scan relation; None where it is 1 everywhere."""
        if part != "fine" and not gates:
            return None
        features: dict[str, None] = {}
        for use in gates:
            features.update((a, None) for a in use.gate.axes if a != ROW)
        axes = {"fine": (ROW, COLUMN), "left": (ROW,), "right": (ROW,), "through": ()}[part] + tuple(features)
        step = Tile(self.fresh(axes), part, strict, tuple(gates), within=within, why=why)
        return self.add(step, [g.gate for g in gates], SETUP)


def _label(subscript: Expr) -> str:
    assert isinstance(subscript, Index)
    return subscript.name


def _order(*nodes: Node) -> tuple[str, ...]:
    free = frozenset().union(*(free_indices(n) for n in nodes)) if nodes else frozenset[str]()
    met = [n.name for node in nodes for n in walk(node) if isinstance(n, Index) and n.name in free]
    return tuple(dict.fromkeys(met))


def _natural_order(node: Node) -> tuple[str, ...]:
    """The labels of an expression: as one of its values has them, if that has all, so that none is turned."""
    met = _order(node)
    for part in walk(node):
        if isinstance(part, Read):
            labels = tuple(s.name for s in part.subscripts if isinstance(s, Index))
            if len(labels) == len(met) and set(labels) == set(met):
                return labels
    return met


def _leaves(tree: Tree) -> dict[int, list[int]]:
    """The operands of every part of a tree, by the part's identity; none of those with many."""
    found: dict[int, list[int]] = {}
    for node in postorder(tree):
        if isinstance(node, Leaf):
            found[id(node)] = [node.operand]
        elif isinstance(node, Join):
            left, right = found[id(node.left)], found[id(node.right)]
            few = left and right and len(left) + len(right) <= MEMBERS
            found[id(node)] = left + right if few else []
    return found


def _key(items: Sequence[Ref]) -> tuple[object, list[str]]:
    """A product's identity up to the names of labels, and the labels by number."""
    numbers: dict[str, int] = {}
    ordered = sorted(items, key=lambda r: (r.value, r.axes))
    marked = tuple((r.value, tuple(numbers.setdefault(a, len(numbers)) for a in r.axes)) for r in ordered)
    return marked, list(numbers)


def _natural(left: Ref, right: Ref, wanted: tuple[str, ...]) -> bool:
    """Whether a product leaves its axes in this order without a transposition."""
    if not any(a in right.axes and a not in wanted for a in left.axes):
        return True  # elementwise: any order
    shared = [a for a in wanted if a in left.axes and a in right.axes]
    mine = [a for a in left.axes if a in wanted and a not in shared]
    theirs = [a for a in right.axes if a in wanted and a not in shared]
    return list(wanted) in ([*shared, *mine, *theirs], [*shared, *theirs, *mine])


def _result_axes(left: Ref, right: Ref, kept: frozenset[str]) -> tuple[str, ...]:
    """Axes as a matrix product leaves them: shared ones first, then the left's, then the right's."""
    shared = [a for a in left.axes if a in kept and a in right.axes]
    mine = [a for a in left.axes if a in kept and a not in right.axes]
    theirs = [a for a in right.axes if a in kept and a not in left.axes]
    if COLUMN in mine or ROW in theirs:
        mine, theirs = theirs, mine
    return tuple(shared + mine + theirs)
