"""The recurrent form: one token after the other, each state advanced by its write."""

from __future__ import annotations

from functools import cached_property

from tensorc.ir import Add, Call, Compare, Const, Expr, Index, Iverson, Mul, Read
from tensorc.passes.bounds import kept_rows
from tensorc.passes.fold_tokens import TokenFolds
from tensorc.passes.folding import Folds
from tensorc.passes.pair_factors import PairFactors
from tensorc.passes.realise import rule
from tensorc.passes.stage_graph import Memory, Stage
from tensorc.passes.terms import times
from tensorc.plan import PAST, Ref, Step, Update, Why


class Recurrent(PairFactors):
    """Realises the stage graph for one token; the token axis is gone from every value."""

    form = "recurrent"
    token = None

    @cached_property
    def folds(self) -> Folds:
        """How folds are realised."""
        return TokenFolds(self)

    def _gate(self, memory: Memory, k: int, names: dict[str, str]) -> Expr:
        gate, log = memory.gates[k]
        ref = self.ref(gate).relabel(names)
        read = Read(ref.value, tuple(Index(a) for a in ref.axes))
        return Call("exp", (read,)) if log else read

    def advanced(self, memory: Memory) -> Ref:
        """The state after the write of this token."""
        why = rule(memory.why, "state after the token")
        writes = [self.ref(r) for r in memory.writes]
        present = {a for r in writes for a in r.axes}
        addend = self.emitter.product(writes, [a for a in memory.axes if a in present], why)
        state = Ref(memory.name, memory.axes)
        gates = [self._gate(memory, k, {}) for k in range(len(memory.gates))]
        old: Expr = _read(state)
        decayed = Mul((*gates, old)) if gates else old
        return self.emitter.pointwise(Add((decayed, _read(addend))), memory.axes, why)

    def stage(self, node: Stage, memory: Memory) -> Ref:
        if memory.within is not None:
            return self._windowed(node, memory, memory.within)
        names = dict(zip(memory.axes, node.state.axes, strict=True))
        items = [self.ref(r) for r in node.items]
        when, own = node.reading.step()
        if when == "before":
            source = Ref(memory.name, memory.axes).relabel(names)
            gates = [self._gate(memory, k, names) for k in own]
            if gates:
                expr = gates[0] if len(gates) == 1 else Mul(tuple(gates))
                items = [self.emitter.pointwise(expr, None, node.why), *items]
        else:
            source = self.advanced(memory).relabel(names)
        return self.emitter.product(
            [source, *items], self._labels(node.out.axes), rule(node.why, "read of the state")
        )

    def _windowed(self, node: Stage, memory: Memory, width: Expr) -> Ref:
        """Of a window: the rows of the ring, each with its decay, and the token's own write."""
        names = dict(zip(memory.axes, node.state.axes, strict=True))
        why = rule(node.why, "window: the rows of the last tokens")
        label = self.columns(PAST, width)
        when, own = node.reading.step()
        after = range(len(memory.gates)) if when == "after" else own
        known = len(self.later)
        factors = self.pairs(node, column=label)
        decays = self.column_tile("right", label, self.column_gates(memory, label, why), why)
        factors += [d.relabel(names) for d in decays]
        gates = [self._gate(memory, k, names) for k in after]
        factors += [self.emitter.pointwise(g, None, why) for g in gates]
        ring = len(self.later) > known and self.folds.reach() == kept_rows(width)
        if not ring or not any(label in r.axes for r in factors):
            factors.append(self.in_window(label, memory, why))
        out = self._labels(node.out.axes)
        total = [self._product(factors, out, why)]
        if when == "after":
            pairs = self.pairs(node, column=None)
            written = {a for r in memory.writes for a in r.axes}
            gone = {names[a] for a in memory.axes if a not in written} - set(out)
            gone -= {a for r in node.items for a in r.axes}
            for label in sorted(gone):  # only gates have it: as often as there are of them
                pairs.append(self.emitter.pointwise(spread_of(label), (label,), why))
            mine = self._product(pairs, out, why)
            inside = Iverson(Compare("<", Const(0), width))
            total.append(mine if isinstance(width, Const) and width.value > 0 else times(inside, mine))
        return self.emitter.pointwise(Add(tuple(total)), out, why)

    def _product(self, factors: list[Ref], out: list[str], why: Why) -> Expr:
        present = {a for r in factors for a in r.axes}
        return _read(self.emitter.product(factors, [a for a in out if a in present], why))

    def update(self, memory: Memory) -> list[Step]:
        new = self.advanced(memory)
        return [
            Update(Ref(memory.name, memory.axes), None, new, replace=True, why=rule(memory.why, "next state"))
        ]


def _read(ref: Ref) -> Expr:
    return Read(ref.value, tuple(Index(a) for a in ref.axes))


def spread_of(label: str) -> Expr:
    """1 for each position of a label."""
    return Add((Const(1), Mul((Const(0), Index(label)))))
