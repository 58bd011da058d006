"""Printing the tiles of relations: masks, decays between positions, and scans inside a chunk."""

from __future__ import annotations

from tensorc.backends.python_base import BasePrinter, target
from tensorc.backends.python_expr import align
from tensorc.plan import COLUMN, ROW, GateUse, Ref, ScanTile, Solve, Tile


class TilePrinter(BasePrinter):
    """Prints `Tile` and `ScanTile` steps. Only differences of running logarithms are exponentiated."""

    def _tile(self, step: Tile) -> None:
        features = [a for a in step.out.axes if a not in (step.rows, step.columns)]
        for use in step.gates:
            self._use(use.gate)
        refs = [u.gate for u in step.gates]
        parts = [self._decay(use, step, features) for use in step.gates]
        name = {"left": "since_start", "right": "until_end", "through": "through"}.get(step.part, "decay")
        made = self._named(step.out, name if refs else "mask", refs, None, own=bool(refs))
        size = self._length(step.rows)
        pair = Ref("", (step.rows, step.columns))
        if not step.gates:
            parts.append(align(self.library.triangle(size, step.strict), pair, step.out.axes, False))
        if step.within is not None:
            band = self.library.band(size, self.integer(step.within))
            parts.append(align(band, pair, step.out.axes, False))
        self.line(f"{made.name} = {' * '.join(parts)}")

    def _mask(self, step: Tile, features: list[str]) -> str:
        size = self._length(step.rows)
        late = f"{self.library.positions(size)}[:, None{', None' * len(features)}]"
        early = self.library.positions(size) + (f"[:{', None' * len(features)}]" if features else "")
        return f"({early} {'<' if step.strict else '<='} {late})"

    def _sums(self, gate: Ref, log: bool, axis: int) -> str:
        """The variable with a gate's running sums, made once in a block."""
        label = self.made[gate.value].label
        sums = self.names.value(f"{gate.value}:sums:{axis}", f"{label}_sums" if label else "sums")
        if sums not in self.running:
            self.running.add(sums)
            self.line(f"{sums} = _decay({self.made[gate.value].name}, {log}, {axis})")
        return sums

    def _decay(self, use: GateUse, step: Tile, features: list[str]) -> str:
        """One gate's part of a tile."""
        gate = use.gate
        if use.constant:
            return self._constant_decay(use, step, features)
        axis = gate.axes.index(step.rows) - len(gate.axes)
        sums = self._sums(gate, use.log, axis)
        late = sums
        if not use.inclusive and step.part in ("fine", "left", "outside"):
            late = self.names.value(f"{gate.value}:before:{axis}", f"{sums}_before")
            if late not in self.running:
                self.running.add(late)
                self.line(f"{late} = _before({sums}, {axis})")
        if step.part == "left":
            return self._spread(f"_segment({late}, None, compute)", gate, step.out.axes)
        if step.part == "right":
            last = self.library.subscript(["...", *("-1:" if a == step.rows else ":" for a in gate.axes)])
            return self._spread(f"_segment(_at({sums}, {last}), {sums}, compute)", gate, step.out.axes)
        if step.part == "through":
            end = self.library.subscript(["...", *("-1" if a == step.rows else ":" for a in gate.axes)])
            own = tuple(a for a in gate.axes if a != step.rows)
            text = f"_segment(_at({sums}, {end}), None, compute)"
            return self._spread(text, Ref("", own), step.out.axes)
        return self._fine(gate, step, features, late, sums)

    def _fine(self, gate: Ref, step: Tile, features: list[str], late: str, early: str) -> str:
        """Pairs of positions: differences of the running sums, masked before they are exponentiated."""
        full = (step.rows, step.columns, *features)
        moved = (step.rows, *(f for f in features if f in gate.axes))
        if gate.axes != moved:
            positions = ", ".join(str(gate.axes.index(a)) for a in moved)
            late = f"tuple(None if p is None else _permute(p, {positions}) for p in {late})"
            early = f"tuple(None if p is None else _permute(p, {positions}) for p in {early})"
        up = self._subscript(moved, full, step.rows, step.rows)
        down = self._subscript(moved, full, step.rows, step.columns)
        future = self.library.future(self._length(step.rows), step.strict, len(features))
        text = f"_segment(_at({late}, {up}), _at({early}, {down}), compute, {future})"
        if step.part == "outside":
            text = self.library.where(self._mask(step, features), text, self.library.literal(1))
        return self._spread(text, Ref("", full), step.out.axes)

    def _subscript(self, axes: tuple[str, ...], full: tuple[str, ...], rows: str, place: str) -> str:
        """Where a gate's axes go in a tile: its rows at `place`, its features in order."""
        marks = [":" if a == place or (a in axes and a != rows) else "None" for a in full]
        return self.library.subscript(["...", *marks])

    def _spread(self, text: str, ref: Ref, axes: tuple[str, ...]) -> str:
        return align(text, Ref("", ref.axes), axes, True)

    def _constant_decay(self, use: GateUse, step: Tile, features: list[str]) -> str:
        """A gate that is the same at every token: powers of it."""
        mask = self._mask(step, features) if step.part in ("fine", "outside") else None
        length = self._length(step.rows)
        each = self.library.positions(length)
        pairs = f"({each}[:, None] - {each}{'' if use.inclusive else ' - 1'})"
        steps = {
            "left": self.library.positions(f"1, {length} + 1") if use.inclusive else each,
            "right": self.library.positions(f"{length} - 1, -1, -1"),
            "through": self.library.array(length),
        }.get(step.part, pairs)
        own = [a for a in step.out.axes if a in (step.rows, step.columns)]
        exponent = align(steps, Ref("", tuple(own)), step.out.axes, False)
        base = self._at(use.gate, step.out.axes)
        if mask is None:
            count = self.library.convert(exponent)
        else:
            count = self.library.convert(self.library.clipped(exponent))
        text = self._exp(f"{base} * {count}") if use.log else self.library.power(base, count)
        if mask is None:
            return text
        return self.library.where(mask, text, self.library.literal(int(step.part == "outside")))

    def _scantile(self, step: ScanTile) -> None:
        for ref in (step.writes, step.state, *(u.gate for u in step.gates)):
            self._use(ref)
        axis = -len(step.out.axes) + step.out.axes.index(ROW)
        gate = "None"
        if step.gates:
            gate = " * ".join(self._gate_value(u, step.out.axes) for u in step.gates)
        made = self._named(step.out, "states", [step.writes, step.state, *(u.gate for u in step.gates)], "")
        state = self._at(step.state, [a for a in step.out.axes if a != ROW])
        self.line(f"{made.name} = _scan({self._at(step.writes, step.out.axes)}, {gate}, {state}, {axis})")
        if step.strict:
            self._before_writes(made.name, state, step.out.axes)
            inclusive = [self._gate_value(u, step.out.axes) for u in step.gates if u.inclusive]
            if inclusive:
                self.line(f"{made.name} = {made.name} * {' * '.join(inclusive)}")

    def _before_writes(self, states: str, state: str, axes: tuple[str, ...]) -> None:
        """The states that strict readers see: each one position later, the one before the chunk first."""
        axis = -len(axes) + axes.index(ROW)
        cut = ", ".join(["...", *(":-1" if a == ROW else ":" for a in axes)])
        row = ", ".join(["...", *("None" if a == ROW else ":" for a in axes)])
        full = f"np.broadcast_to({state}[{row}], {states}[..., :1{', :' * (-axis - 1)}].shape)"
        self.line(f"{states} = np.concatenate([{full}, {states}[{cut}]], axis={axis})")

    def _solve(self, step: Solve) -> None:
        """One triangular system, its features as the columns of the right sides."""
        inputs = [*step.blocks, *step.rights]
        for ref in inputs:
            self._use(ref)
        batch, name = step.batch, target(step)
        rest = [a for a in step.rights[0].axes if a != ROW and a not in batch]
        matrix = [
            ["None" if block is None else self._at(block, [*batch, ROW, COLUMN]) for block in row]
            for row in step.matrix
        ]
        rights = [self._at(right, [*batch, ROW, *rest]) for right in step.rights]
        made = [self._named(out, f"{name}_c", inputs, name) for out in step.outs]
        found = Ref("", (*batch, ROW, *rest))
        if len(made) == 1:
            text = self._triangular(step, matrix[0][0], rights[0], len(rest))
            self.line(f"{made[0].name} = {align(text, found, step.outs[0].axes, True)}")
            return
        rows = ", ".join(f"[{', '.join(row)}]" for row in matrix)
        text = f"_system([{rows}], [{', '.join(rights)}], {len(rest)})"
        self.line(f"{', '.join(m.name for m in made)} = {text}")
        for out, one in zip(step.outs, made, strict=True):
            if out.axes != found.axes:
                self.line(f"{one.name} = {align(one.name, found, out.axes, True)}")

    def _triangular(self, step: Solve, matrix: str, right: str, features: int) -> str:
        """The unknown of one system."""
        return f"_triangular({matrix}, {right}, {features})"

    def _gate_value(self, use: GateUse, axes: tuple[str, ...]) -> str:
        text = self._at(use.gate, axes)
        return self._exp(text) if use.log else text

    def _exp(self, text: str) -> str:
        return self.library.functions["exp"].format(text)
