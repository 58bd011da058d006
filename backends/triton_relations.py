"""Printing the tiles of relations: masks, decays between positions, scans in a chunk, triangular systems.

Running sums of gates are logarithms to the base 2, beside counts of zeros and of negative gates; only their
differences are exponentiated, after the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from tensorc.backends.tile_axes import POINTS
from tensorc.backends.tile_kernel import Anchored, Inverse
from tensorc.backends.triton_expr import spread
from tensorc.backends.triton_steps import StepPrinter
from tensorc.plan import COLUMN, ROW, Delay, GateUse, Ref, ScanTile, Solve, Tail, Tile


@dataclass(slots=True)
class Inverted:
    """The matrix of a triangular system: the inverse of the block of each unknown on the diagonal (None: it
    is 1), the blocks by which later unknowns read earlier ones, and earlier ones later ones."""

    inverses: list[str | None]
    below: dict[tuple[int, int], str]
    above: dict[tuple[int, int], str]


class RelationPrinter(StepPrinter):
    """Prints `Tile`, `ScanTile` and `Solve`."""

    inverses: dict[tuple[tuple[Ref | None, ...], ...], Inverted]

    def _tile(self, step: Tile) -> None:
        if step.part == "outside":
            raise self.refuse("it has a decay without an order")
        if step.within is not None:
            raise self.refuse("it has a window")
        labels = self.canonical(step.out)
        if not step.gates:
            mask = self._order(step, labels)
            self.line(f"{self.make(step.out, labels)} = tl.where({mask}, 1.0, 0.0)")
            return
        parts = [
            self._constant(g, step, labels) if g.constant else self._gated(g, step, labels)
            for g in step.gates
        ]
        text = " * ".join(parts)
        covered = {a for g in step.gates for a in self.lanes(g.gate.axes)} | {step.rows, step.columns}
        if not set(labels) <= covered:
            text = self.broadcast(text, labels)
        known = all(self.made[g.gate.value].finite for g in step.gates)
        self.line(f"{self.make(step.out, labels, (), known)} = {text}")

    def _order(self, step: Tile, labels: Sequence[str]) -> str:
        """Which columns a row reads."""
        row, column = (spread("slot", (a,), labels) for a in (step.rows, step.columns))
        return f"({column} {'<' if step.strict else '<='} {row})"

    def _sums(self, use: GateUse) -> tuple[str, ...]:
        """The running sums of a gate, the counts of its zeros and, unless it is a logarithm, of negative
        gates: made once in a kernel."""
        gate = use.gate
        key = gate.value, use.log
        if key not in self.sums:
            labels = self._ordered(gate)
            inside = spread("row_in", (labels[0],), labels)
            name = self.free(f"{self.made[gate.value].name}_sums")
            names = (name, self.free(f"{name}_none")) + (() if use.log else (self.free(f"{name}_flips"),))
            kind = "_log_sums" if use.log else "_sums"
            self.line(f"{', '.join(names)} = {kind}({self.tile(gate, labels)}, {inside})")
            self.sums[key] = names
        return self.sums[key]

    def _ordered(self, gate: Ref) -> list[str]:
        """The labels of a gate, the token's first."""
        labels = self.lanes(gate.axes)
        return sorted(labels, key=lambda a: a not in (ROW, COLUMN))

    def _late(self, use: GateUse) -> tuple[str, ...]:
        """The running sums that a reading token sees: without its own gate, unless that is included."""
        sums = self._sums(use)
        if use.inclusive:
            return sums
        key = f"{use.gate.value}:before", use.log
        if key not in self.sums:
            labels = self._ordered(use.gate)
            names = tuple(self.free(f"{s}_before") for s in sums)
            kind = "_log_before" if use.log else "_before"
            inside = spread("row_in", (labels[0],), labels)
            self.line(
                f"{', '.join(names)} = {kind}({', '.join(sums)}, {self.tile(use.gate, labels)}, {inside})"
            )
            self.sums[key] = names
        return self.sums[key]

    def _gated(self, use: GateUse, step: Tile, labels: Sequence[str]) -> str:
        """One gate's part of a tile."""
        own = self._ordered(use.gate)
        token, features = own[0], own[1:]
        sums = self._sums(use)
        if step.part == "through":
            totals = [f"tl.sum({_zeroed(k, s, self._last(own))}, 0)" for k, s in enumerate(sums)]
            return self._exp2(totals, None, features, labels)
        if step.part == "left":
            return self._exp2(list(self._late(use)), None, [step.rows, *features], labels)
        if step.part == "right":
            rows = [step.rows, *features]
            totals = [f"tl.sum({_zeroed(k, s, self._last(own))}, 0)" for k, s in enumerate(sums)]
            late = [spread(t, features, rows) for t in totals]
            return self._exp2([f"{a} - {b}" for a, b in zip(late, sums, strict=True)], None, rows, labels)
        full = [a for a in labels if a in (step.rows, step.columns) or a in features]
        late = [spread(s, [step.rows, *features], full) for s in self._late(use)]
        early = [spread(s, [step.columns, *features], full) for s in sums]
        mask = self._order(step, full)
        assert token in (ROW, COLUMN)
        return self._exp2([f"{a} - {b}" for a, b in zip(late, early, strict=True)], mask, full, labels)

    def _last(self, own: Sequence[str]) -> str:
        """Where the last token of the chunk is, over the labels of a gate."""
        return spread("slot", (own[0],), own) + " == length - 1"

    def _exp2(self, parts: Sequence[str], mask: str | None, own: Sequence[str], labels: Sequence[str]) -> str:
        """The product of gates from their sums, zeros and flips, over more labels."""
        masks = [f"({parts[1]} == 0)"] + ([mask] if mask else [])
        text = f'tl.exp2(tl.where({" & ".join(masks)}, {parts[0]}, float("-inf")))'
        if len(parts) > 2:
            text = f"{text} * _parity({parts[2]})"
        return spread(f"({text})", own, labels)

    def _constant(self, use: GateUse, step: Tile, labels: Sequence[str]) -> str:
        """A gate that is the same at every token: powers of it."""
        one = "1" if use.inclusive else "0"
        row = spread("slot", (step.rows,), labels) if step.rows in labels else "slot"
        count = {"left": f"({row} + {one})", "right": f"(length - 1 - {row})", "through": "length"}.get(
            step.part, ""
        )
        mask = ""
        if not count:
            column = spread("slot", (step.columns,), labels)
            count = f"({row} - {column} - {1 - int(one)})"
            mask = self._order(step, labels)
        kind = "_log_power" if use.log else "_whole_power"
        gate = self.tile(use.gate, labels)
        text = f"{kind}({gate}, {count})"
        return f"tl.where({mask}, {text}, 0.0)" if mask else text

    def _anchored(self, step: Anchored) -> None:
        """A decay of single features, without its cube."""
        feature, rows, columns = step.feature, [ROW, step.feature], [COLUMN, step.feature]
        sums, late = self._sums(step.gate), self._late(step.gate)
        pairs = step.feature not in step.out.axes
        left = self._side(step.left, rows, [feature], late)
        right = self._side(step.right, columns, [COLUMN, feature] if pairs else [COLUMN], sums)
        common = f"{late[0]}, {sums[0]}, {late[1]}, {sums[1]}, CHUNK, {step.strict}, DOT, PRECISION"
        if pairs:
            text = f"_anchored_pairs({left}, {right}, {common})"
            if step.pairs is not None:
                text = f"{self.tile(step.pairs, [ROW, COLUMN])} * {text}"
            labels, zero = [ROW, COLUMN], [COLUMN]
        else:
            scores = "tl.full((CHUNK, CHUNK), 1.0, tl.float32)"
            if step.pairs is not None:
                scores = self.masked(step.pairs, [ROW, COLUMN], [COLUMN])
            text = f"{left} * _anchored_rows({scores}, {right}, {common})"
            labels, zero = rows, []
        finite = all(self.made[r.value].finite for r in step.reads)
        self.line(f"{self.make(step.out, labels, zero, finite)} = {text}")

    def _side(self, ref: Ref | None, labels: list[str], over: list[str], sums: tuple[str, ...]) -> str:
        """A factor over all of its positions, with the signs of the gates."""
        text = f"tl.full({self.shape(labels)}, 1.0, tl.float32)"
        if ref is not None:
            text = self.masked(ref, labels, [a for a in over if a in ref.axes])
            if set(self.labels(ref)) != set(labels):
                text = self.broadcast(text, labels)
        bare = [a for a in over if ref is None or a not in ref.axes]
        if bare:
            text = f"tl.where({self.inside(bare, labels)}, {text}, 0.0)"
        return text if len(sums) == 2 else f"({text}) * _parity({sums[2]})"

    # -- scans -------------------------------------------------------------------------------------------

    def _scantile(self, step: ScanTile) -> None:
        """The state of each token: gates times the one before, plus what is written."""
        labels = self.canonical(step.out)
        shape = self.shape(labels)
        rest = [a for a in labels if a != ROW]
        writes = f"tl.broadcast_to({self.masked(step.writes, labels, [])}, {shape})"
        state = spread(self.tile(step.state, rest), rest, labels) if rest else self.tile(step.state, ())
        name = self.make(step.out, labels, (), True)
        if not step.gates:
            self.line(f"{name} = tl.cumsum({writes}, 0) + {state}")
        else:
            gate = " * ".join(self._gate(g, labels) for g in step.gates)
            self.line(f"{name}_gate = tl.broadcast_to({gate}, {shape})")
            self.line(f"{name}_gate, {name} = tl.associative_scan(({name}_gate, {writes}), 0, _chain)")
            self.line(f"{name} = {name} + {name}_gate * {state}")
        if step.strict:
            width = " * ".join(self.length(self.scope[a]) for a in rest) or "1"
            flat = f"tl.reshape({name}, (CHUNK, {width}))"
            self.line(f"{name} = tl.reshape(_earlier({flat}, CHUNK, {width}), {shape})")
            first = f"({spread('slot', (ROW,), labels)} == 0)"
            self.line(f"{name} = tl.where({first}, {state}, {name})")
            inclusive = [self._gate(g, labels) for g in step.gates if g.inclusive]
            if inclusive:
                self.line(f"{name} = {name} * {' * '.join(inclusive)}")

    def _gate(self, use: GateUse, labels: Sequence[str]) -> str:
        text = self.tile(use.gate, labels)
        return f"tl.exp({text})" if use.log else f"({text})"

    # -- shifts token by token -----------------------------------------------------------------------------

    def _delay(self, step: Delay) -> None:
        """The row of a state that is so many tokens old."""
        if isinstance(step.lag, str):
            raise self.refuse("computed values of several earlier tokens are read, token by token")
        axes = self.labels(step.state)
        rows = f"{self.depth_of(step.state.value)} - {step.lag}"
        here = spread(f"({self.at(axes[0])} == {rows})", (axes[0],), axes)
        text = f"tl.sum(tl.where({here}, {self.tile(step.state, axes)}, 0.0), 0)"
        labels = axes[1:]
        self.line(f"{self.make(step.out, labels, labels)} = {text}")

    def _tail(self, step: Tail) -> None:
        """The rows of a state one token later, this token's row last."""
        axes = self.labels(step.state)
        row = (
            spread(self.tile(step.source, axes[1:]), axes[1:], axes)
            if axes[1:]
            else self.tile(step.source, ())
        )
        at, depth = self.at(axes[0]), self.depth_of(step.state.value)
        last = spread(f"({at} == {depth} - 1)", (axes[0],), axes)
        next_one = f"({at}[:, None] == {at}[None, :] - 1)"
        wide = f"{next_one}[:, :{', None' * len(axes[1:])}]"
        later = (
            f"tl.sum(tl.where({wide}, {self.tile(step.state, axes)}[None, :{', :' * len(axes[1:])}], 0.0), 1)"
        )
        zero = [a for a in axes[1:] if a in step.source.axes and a in self.zeros(step.source)]
        name = self.make(step.out, [a for a in step.out.axes if a in axes], [axes[0], *zero])
        self.line(f"{name} = tl.where({last}, {row}, {later})")

    # -- triangular systems --------------------------------------------------------------------------------

    def _solve(self, step: Solve) -> None:
        """Unknowns of a unit triangular system, from what `_inverted` made of its matrix: the right sides
        forward, then the unknowns backward."""
        if any(self.scope[a].role not in POINTS for a in step.batch):
            raise self.refuse("its triangular systems differ along an axis of features")
        rest = self.lanes([a for a in step.rights[0].axes if a != ROW and a not in step.batch])
        width = " * ".join(self.length(self.scope[a]) for a in rest) or "1"
        found = self.inverses.get(step.matrix) or self._inverted(step)
        finite = all(self.made[r.value].finite for r in step.rights)
        names = [self.make(out, [ROW, *rest], [], finite) for out in step.outs]
        count = range(len(names))
        for a, right in enumerate(step.rights):
            text = self._right(right, rest, width)
            self.line(f"{names[a]} = {text if len(names) > 1 else self._applied(found, a, text, width)}")
        for a in count if len(names) > 1 else ():
            self.line(f"{names[a]} = {self._applied(found, a, names[a], width)}")
            for c in count[a + 1 :]:
                if (c, a) in found.below:
                    self.line(f"{names[c]} += _solved({found.below[c, a]}, {names[a]}, {width})")
        for a in reversed(count):
            for c in count[a + 1 :]:
                if (a, c) in found.above:
                    self.line(f"{names[a]} += _solved({found.above[a, c]}, {names[c]}, {width})")
        shape = self.shape([ROW, *rest])
        for name in names if len(rest) != 1 else ():
            self.line(f"{name} = tl.reshape({name}, {shape})")

    def _applied(self, found: Inverted, number: int, text: str, width: str) -> str:
        inverse = found.inverses[number]
        return text if inverse is None else f"_solved({inverse}, {text}, {width})"

    def _inverse(self, step: Inverse) -> None:
        """The inverse alone, before a loop over the right sides."""
        self.inverses[step.solve.matrix] = self._inverted(step.solve)

    def _inverted(self, step: Solve) -> Inverted:
        """The matrix of a system with one unknown after the other eliminated: every block stays strictly
        triangular."""
        name = self.variable(f"{step.outs[0].value}:inverse")
        blocks = {
            (a, b): self._triangle(block)
            for a, row in enumerate(step.matrix)
            for b, block in enumerate(row)
            if block is not None
        }
        count = range(len(step.matrix))
        found = Inverted([None] * len(count), {}, {})
        for a in count:
            if (a, a) in blocks:
                found.inverses[a] = self._named(f"{name}{a or ''}", f"_inverse({blocks[a, a]}, CHUNK)")
            for c in count[a + 1 :]:
                if (c, a) in blocks:
                    found.below[c, a] = self._named(f"{name}_{c}{a}", blocks[c, a])
                if (a, c) in blocks:
                    text = self._applied(found, a, blocks[a, c], "CHUNK")
                    found.above[a, c] = self._named(f"{name}_{a}{c}", text)
            for c, d in product(count[a + 1 :], repeat=2):
                if (c, a) in found.below and (a, d) in found.above:
                    more = f"_solved({found.below[c, a]}, {found.above[a, d]}, CHUNK)"
                    old = blocks.get((c, d))
                    blocks[c, d] = self._named(f"{name}_{c}{d}{a}", f"{old} + {more}" if old else more)
        return found

    def _named(self, name: str, text: str) -> str:
        found = self.free(name)
        self.line(f"{found} = {text}")
        return found

    def _triangle(self, block: Ref) -> str:
        labels = [ROW, COLUMN]
        return self.masked(block, labels, labels)

    def _right(self, right: Ref, rest: Sequence[str], width: str) -> str:
        labels = [ROW, *rest]
        text = self.masked(right, labels, [ROW])
        if set(self.labels(right)) != set(labels):
            text = self.broadcast(text, labels)
        return text if len(rest) == 1 else f"tl.reshape({text}, (CHUNK, {width}))"


def _zeroed(part: int, text: str, last: str) -> str:
    """The last row of running sums, all others 0."""
    return f"tl.where({last}, {text}, {'0.0' if part == 0 else '0'})"
