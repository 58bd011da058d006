"""Printing streams: blocks of columns with running values, and the caches that the columns come from."""

from __future__ import annotations

from collections.abc import Sequence

from tensorc.backends.python_base import BasePrinter, Made
from tensorc.backends.python_expr import align
from tensorc.backends.python_layout import tuple_text
from tensorc.ir import Add, Call, Const, Expr, Extent, Mul, Neg, Read, Size, walk
from tensorc.plan import (
    CACHED,
    FAR,
    NEAR,
    PAST,
    ROW,
    Accumulate,
    Append,
    Columns,
    Guard,
    Load,
    LogSum,
    Ref,
    Region,
    Select,
    State,
    Step,
    Stream,
    Weigh,
    first,
)
from tensorc.plan_io import step_inputs, step_outputs


class StreamPrinter(BasePrinter):
    """Prints `Stream` steps and what stands in them."""

    rings = False  # whether this library's functions give up the rows that no later token reads

    def block(self, steps: Sequence[Step], later: Sequence[Step] = ()) -> None:
        """Print steps, each kind by its own method."""
        raise NotImplementedError

    def state(self, state: State) -> str:
        name = super().state(state)
        if state.grows:
            self.made[state.name].inputs = frozenset(state.sources)
        return name

    @property
    def ring(self) -> str | None:
        """How many rows the caches hold at most, where they are rings: how many they have is `held`."""
        if not self.rings or not self.offset:
            return None
        found = next((s.reach for s in self.plan.states if s.reach is not None), None)
        return None if found is None else self.integer(found)

    # -- positions and sizes -------------------------------------------------------------------------------

    def _position(self, label: str) -> str:
        if label in self.spans:
            return self.spans[label][2]
        if label.startswith((CACHED, PAST)):
            if self.ring is not None:
                end = "position + 1" if label.startswith(CACHED) else "position"
                return self.library.positions(f"position - held, {end}")
            return self.library.positions(self._length(label))
        return super()._position(label)

    def _length(self, label: str) -> str:
        if label in self.spans:
            left, right, _ = self.spans[label]
            return f"{right} - {left}"
        if label.startswith((CACHED, PAST)) and self.ring is not None:
            return "held + 1" if label.startswith(CACHED) else "held"
        if label.startswith(CACHED):
            return "position + 1"
        return "position" if label.startswith(PAST) else super()._length(label)

    def size(self, extent: Extent) -> str:
        if len(extent.names) == 1 and ":" in extent.names[0]:
            return self._end(extent.names[0])
        return super().size(extent)

    def _end(self, name: str) -> str:
        """The first or last position of the rows or columns at hand."""
        label = name.rpartition(":")[0]
        if label != ROW and label not in self.spans:
            length = self._length(label)
            whole = length.removesuffix(" + 1") if length.endswith(" + 1") else f"{length} - 1"
            if self.ring is not None:
                return "(position - held)" if name == first(label) else f"(position - held + {whole})"
            return "0" if name == first(label) else whole
        if label != ROW:
            left, right, _ = self.spans[label]
            return left if name == first(label) else f"{right} - 1"
        if self.plan.form == "recurrent":
            return "position"
        return f"{self.offset}start" if name == first(ROW) else f"{self.offset}stop - 1"

    @property
    def offset(self) -> str:
        """What the rows of a chunk come after."""
        streams = len(self.plan.loops) == 1 and not self.plan.loops[0].reverse
        return "position + " if streams else ""

    @property
    def passed(self) -> str:
        """How many tokens the loop has gone through before the chunk."""
        if self.reverse:
            assert self.plan.time is not None
            return f"{self.size(self.plan.time)} - stop"
        return f"{self.offset}start"

    def integer(self, expr: Expr) -> str:
        """An integer expression of sizes and positions, as Python's integers."""
        match expr:
            case Const(value=value):
                return str(value)
            case Size(name=name):
                return self.size(Extent(1, (name,)))
            case Neg(operand=operand):
                inner = self.integer(operand)
                return f"-({inner})" if isinstance(operand, Add) else f"-{inner}"
            case Add(terms=terms):
                return self._added(terms)
            case Mul(factors=factors):
                return " * ".join(
                    f"({self.integer(f)})" if isinstance(f, Add | Size) else self.integer(f) for f in factors
                )
            case Call(function="maximum" | "minimum", arguments=parts):
                name = "max" if expr.function == "maximum" else "min"
                return f"{name}({', '.join(map(self.integer, parts))})"
        raise TypeError(f"no integer: {expr!r}")

    def _added(self, terms: Sequence[Expr]) -> str:
        """A sum; stop - 1 + 1 is stop."""
        number = sum(int(t.value) for t in terms if isinstance(t, Const))
        text = ""
        for term in terms:
            if isinstance(term, Const):
                continue
            part = self.integer(term)
            if part.endswith(" - 1") and number > 0:
                part, number = part.removesuffix(" - 1"), number - 1
            text += part if not text else f" - {part[1:]}" if part.startswith("-") else f" + {part}"
        if number or not text:
            sign = "+" if number >= 0 else "-"
            text = f"{text} {sign} {abs(number)}" if text else str(number)
        return text

    # -- streams -------------------------------------------------------------------------------------------

    def _stream(self, step: Stream) -> None:
        depends = self._depends(step)
        for running in step.running:
            inputs = frozenset(depends[running.ref.value]) & set(self.plan.inputs)
            if depends[running.ref.value] & {kept.value for kept in self.plan.kept}:
                inputs = frozenset(self.plan.inputs)  # what is kept has all batch axes
            name = {"max": "top", "min": "least", "prod": "product"}.get(running.op, "total")
            if len(running.ref.axes) > 1 and running.op == "sum" and running is step.running[-1]:
                name = "summed"
            made = Made(self.names.value(running.ref.value, name), inputs, False, name)
            self.made[running.ref.value] = made
            shape = tuple_text([*self.lead_of(inputs, None), *map(self._length, running.ref.axes)])
            self.line(f"{made.name} = {self.library.begin(shape, running.op)}")
        outer, depth = self.running, self.depth
        before, self.spans = self.spans, {}
        for columns in step.columns:
            self._head(columns)
        self.skipping = self._common(step, depends)
        self.block(step.steps)
        self.depth, self.running, self.spans = depth, outer, before
        for running in step.running:
            self.made[running.ref.value].own = True

    def _head(self, columns: Columns) -> None:
        """The loop over the blocks of some columns."""
        number = str(len(self.spans) + 1) if self.spans else ""
        left, right, array = (
            self.names.value(f"{columns.label}:{hint}", f"{hint}{number}")
            for hint in ("left", "right", "columns")
        )
        low = "0" if columns.low is None else f"max(0, {self.integer(columns.low)})"
        end = f"{self.offset}stop" if columns.extent is None else self.size(columns.extent)
        high = end if columns.high is None else self.integer(columns.high)
        if high != end:
            high = f"min({high}, {end})"
        stop = self.names.value(f"{columns.label}:end", "end") if not high.isidentifier() else high
        if stop != high:
            self.line(f"{stop} = {high}")
        self.line(f"for {left} in range({low}, {stop}, block):")
        self.depth += 1
        self.line(f"{right} = min({left} + block, {stop})")
        self.spans[columns.label] = (left, right, self.library.positions(f"{left}, {right}"))

    def _depends(self, step: Stream) -> dict[str, set[str]]:
        """The inputs and the masks that every value of a stream depends on."""
        found = {name: set(made.inputs) for name, made in self.made.items()}
        for running in step.running:
            found[running.ref.value] = set()
        for _ in range(2):
            for part in step.steps:
                mine = set().union(*(found.get(r.value, set()) for r in step_inputs(part)))
                if isinstance(part, Load):
                    mine |= {part.tensor}
                if isinstance(part, Region):
                    mine |= {part.out.value}
                targets = [r.value for r in step_outputs(part)]
                if isinstance(part, Accumulate):
                    targets = [part.running.value]
                if isinstance(part, Weigh) and part.top is not None:
                    targets.append(part.top.value)
                for name in targets:
                    found[name] = found.get(name, set()) | mine
        return found

    def _common(self, step: Stream, depends: dict[str, set[str]]) -> str:
        """The mask without which nothing of a block is needed, if it compares data."""
        for part in step.steps:
            if isinstance(part, Region) and any(isinstance(n, Read) for c in part.domain for n in walk(c)):
                if all(part.out.value in depends[r.ref.value] for r in step.running):
                    return part.out.value
        return ""

    def lead_of(self, inputs: frozenset[str], without: Extent | None) -> list[str]:
        """The batch axes that these inputs have together, as the start of a shape."""
        if self.batch.none:
            return []
        if not inputs:
            return []
        if inputs & self.batch.full or inputs >= set(self.plan.inputs):
            return [self.lead]
        declared = dict(self.plan.tensors)
        shapes = []
        for name in sorted(inputs):
            rank = sum(a != without for a in declared[name])
            shapes.append(f"{self.names.tensor(name)}.shape" + (f"[:-{rank}]" if rank else ""))
        return [f"*{shapes[0]}" if len(shapes) == 1 else f"*{self.library.shapes(', '.join(shapes))}"]

    # -- steps of a block ----------------------------------------------------------------------------------

    def _select(self, step: Select) -> None:
        source = self.made[step.source.value]
        self._use(step.source)
        name = source.name
        if step.out.value.endswith(":given") and step.source.value in self.raw:
            name = self.given_name(step.source.value, name)
        label = (source.label or "").removesuffix("_cache")
        if step.label in self.spans:
            left, right, _ = self.spans[step.label]
            axis = step.out.axes.index(step.label)
            after = ", :" * (len(step.out.axes) - axis - 1)
            made = Made(self.names.value(step.out.value, f"{label}_b"), source.inputs, False, label)
            gone = ""
            if self.ring is not None and step.label.startswith((CACHED, NEAR, FAR)):
                gone = " - gone"  # the first token of which the ring has the row
            self.line(f"{made.name} = {name}[..., {left}{gone}:{right}{gone}{after}]")
        elif step.label.startswith((CACHED, PAST)):
            made = Made(self.names.value(step.out.value, f"{label}_rows"), source.inputs, False, label)
            self.line(f"{made.name} = {self.library.array(name)}")
        else:
            made = Made(name, source.inputs, False, label)
        self.made[step.out.value] = made

    def _append(self, step: Append) -> None:
        state = self.made[step.state.value]
        self._use(step.state)
        self._use(step.rows)
        source = self.made[step.rows.value].name
        if step.given and step.rows.value in self.raw:
            source = self.given_name(step.rows.value, source)
        features = step.state.axes[1:]
        batched = bool(self.made[step.rows.value].inputs)
        if self.plan.form == "recurrent":
            row = align(source, step.rows, features, batched)
            name = self.names.value(step.out.value, f"{state.name}_next")
            made = Made(name, state.inputs, False, state.label)
            self.line(f"{made.name} = _append({state.name}, {row}, {-len(step.state.axes)})")
        else:
            rows = align(source, step.rows, (ROW, *features), batched)
            made = Made(state.name, state.inputs, False, state.label)
            after = ", :" * len(features)
            offset = self.offset if self.ring is None else "held + "
            span = f"{offset}start:{offset}stop"
            if self.reverse:  # in the order in which the loop goes through them
                assert self.plan.time is not None
                time = self.size(self.plan.time)
                span = f"{time} - stop:{time} - start"
            self.line(f"{state.name}[..., {span}{after}] = {rows}")
        self.made[step.out.value] = made

    def _region(self, step: Region) -> None:
        """Where all conditions hold; None where the ends of the block say that they do everywhere."""
        refs = step_inputs(step)
        for ref in refs:
            self._use(ref)
        made = self._named(step.out, "mask", refs, None, own=False)
        text = " & ".join(self.printer.condition(c, step.out.axes) for c in step.domain)
        if text.startswith("(") and len(step.domain) == 1:
            text = text[1:-1]
        if not step.out.axes:  # of a row alone, which may be a number
            text = self.library.array(text)
        if step.always is not None:
            test = self.printer.condition(step.always, ())
            text = f"None if {test[1:-1]} else {text}"
        self.line(f"{made.name} = {text}")
        if step.out.value == self.skipping and self.spans:
            known = "" if step.always is None else f"{made.name} is not None and "
            self.line(f"if {known}{self.library.nowhere(made.name)}:")
            self.line("    continue")

    def _guard(self, step: Guard) -> None:
        last_use = self._use(step.source)
        self._use(step.mask)
        source = self.made[step.source.value]
        own = last_use and self._holds(source, [self.made[step.mask.value]])
        mask = self._aligned_mask(step.mask, step.source.axes)
        made = self._new(step.out, [step.source, step.mask])
        self.line(f"{made.name} = _guard({source.name}, {mask}, {self.library.first(step.op)}, {own})")
        made.own = True if own else made.own

    def _aligned_mask(self, mask: Ref | None, axes: Sequence[str]) -> str:
        """A mask over the axes of a tile; None stays None."""
        if mask is None:
            return "None"
        name = self.made[mask.value].name
        order = [a for a in axes if a in mask.axes]
        if not order:
            return name
        batched = self._batched(mask.value)
        text = align(name, mask, axes if batched else list(axes)[axes.index(order[0]) :], batched)
        return text if text == name else f"None if {name} is None else {text}"

    def _weigh(self, step: Weigh) -> None:
        assert step.top is not None
        used = self._use(step.scores)
        for ref in (step.mask, step.top):
            if ref is not None:
                self._use(ref)
        scores = self.made[step.scores.value]
        axes = tuple(k - len(step.scores.axes) for k, a in enumerate(step.scores.axes) if a in step.over)
        axis = str(axes if len(axes) > 1 else axes[0])
        kept = [a for a in step.scores.axes if a not in step.over]
        top = self._at(step.top, kept)
        mask = self._aligned_mask(step.mask, step.scores.axes)
        inputs = [step.scores, *([step.mask] if step.mask is not None else [])]
        out = self._named(step.out, "weights", inputs, "")
        if step.scale is None:
            self.line(f"{out.name} = _weights({scores.name}, {mask}, {top}, {axis}, {used})")
            return
        scale = self._named(step.scale, "scale", [*inputs, step.top], None, own=False)
        self.line(f"{out.name}, {scale.name} = _weigh({scores.name}, {mask}, {top}, {axis}, {used})")

    def _accumulate(self, step: Accumulate) -> None:
        running = self.made[step.running.value].name
        axes = step.running.axes
        if step.scale is not None:
            self._use(step.scale)
            self.line(f"{running} *= {self._operand(step.scale, axes)}")
        self._use(step.addend)
        addend = self._operand(step.addend, axes)
        if step.op in ("sum", "prod"):
            self.line(f"{running} {'+' if step.op == 'sum' else '*'}= {addend}")
        else:
            self.line(self.library.raised(step.op, running, addend))

    def _logsum(self, step: LogSum) -> None:
        for ref in (step.top, step.total):
            self._use(ref)
        made = self._new(step.out, [step.top, step.total], prefix="log_")
        axes = step.out.axes
        self.line(f"{made.name} = _logsum({self._at(step.top, axes)}, {self._at(step.total, axes)})")
