"""The cut into stages: contraction trees become a graph of one-token values and states.

Between each scan and the next scan, or the output, the tree is cut at its smallest tensor. What the cut
leaves is a `Stage`: a state, the factors it is read with, and the features of the result. Everything is
independent of the form: the chunkwise, recurrent and whole-sequence realisations start from this graph.

All values here have at most one token axis, labelled `TOKEN` and standing first.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorc.ir import Index, Node, free_indices, substitute
from tensorc.passes.chains import LinearTerm, NoScan
from tensorc.passes.order import LONG, Carry, Join, Leaf, Operand, Tree, best_order, postorder
from tensorc.passes.relation import TOKEN, Reading, Scan
from tensorc.passes.stage_graph import Stage
from tensorc.passes.symmetric import SymmetricBuilder
from tensorc.plan import Ref, Why


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


class StageBuilder(SymmetricBuilder):
    """Cuts the contraction trees of terms into stages."""

    def term(self, linear: LinearTerm, left: frozenset[str], tokens: frozenset[str], why: Why) -> Ref | None:
        """The value of one linear term; None if it is its scale alone. All its indices are labels, `tokens`
        the token indices among them."""
        self.why, self.tokens = why, tokens
        factors, scans = linear.term.factors, linear.scans
        covered = frozenset().union(*(free_indices(f) for f in factors)) if factors else frozenset[str]()
        ones = [s.write for s in scans if s.write not in covered]
        gated = frozenset().union(*(s.features for s in scans))
        refs = self.packed([self._factor(f, why) for f in factors], left, gated)
        refs += [self._ones(o) for o in ones]
        operands = [Operand(frozenset(r.axes)) for r in refs]
        operands += [Operand(frozenset((s.read, s.write)) | s.features, s) for s in scans]
        if not operands:
            return None
        present = frozenset().union(*(o.indices for o in operands))
        sizes = {i: self._size(i) for i in present}
        ordered = best_order(operands, left & present, sizes)
        self.orders.append(ordered)
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
        done: list[_Open | _Closed] = []
        for node in postorder(tree):
            if isinstance(node, Leaf):
                done.append(self._vanish(_Closed([refs[node.operand]]), node.indices))
            elif isinstance(node, Carry):
                done.append(self._carry(node, done.pop()))
            else:
                right = done.pop()
                done.append(self._join(node, done.pop(), right))
        return done.pop()

    def _join(self, tree: Join, left: _Open | _Closed, right: _Open | _Closed) -> _Open | _Closed:
        self._check(tree)
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

    def _carry(self, tree: Carry, part: _Open | _Closed) -> _Open | _Closed:
        if isinstance(part, _Open):
            part = self._close(part)
        writes = part.items
        axes = self.axes(tree.state)
        scan = tree.scan
        if scan.within is not None:
            self._did("window", "whole chunks are summed: the cost does not grow with the width")
        state = self._memory(writes, axes, self._gates(scan), scan.reverse, within=scan.within)
        opened = _Open(tree, state, [], [(self._width(tree.state), 0, tree.state | {tree.scan.read})])
        whole = tree.state <= tree.indices and tree.scan.read in tree.indices
        return opened if whole else self._onward(opened, tree.indices)

    def _onward(self, opened: _Open, indices: frozenset[str]) -> _Open | _Closed:
        """A tensor further up from an open scan: a place to cut; the last one if the token is summed."""
        read = opened.carry.scan.read
        opened.cuts.append((self._width(indices), len(opened.items), indices | {read}))
        if read in indices:
            return opened
        return self._vanish(self._close(opened), indices)

    def _gates(self, scan: Scan) -> tuple[tuple[Ref, bool], ...]:
        return tuple((self.gate(r.gate), r.gate.log) for r in scan.gates)

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
