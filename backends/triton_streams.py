"""Printing streams: loops over blocks of columns, with running values."""

from __future__ import annotations

from collections.abc import Sequence

from tensorc.backends.triton_expr import spread
from tensorc.backends.triton_relations import RelationPrinter
from tensorc.backends.triton_steps import STARTS
from tensorc.ir import Add, Call, Const, Expr, Mul, Neg, Size
from tensorc.plan import CACHED, Accumulate, Columns, Guard, LogSum, Ref, Region, Stream, Weigh


class StreamPrinter(RelationPrinter):
    """Prints `Stream` and the steps that stand in one."""

    def _stream(self, step: Stream) -> None:
        for running in step.running:
            name = self.make(running.ref, self.canonical(running.ref), (), False)
            self.line(self.filled(running.ref, STARTS[running.op], name))
        self._columns_of(step)

    def streamed(self, step: Stream) -> None:
        for running in step.running:
            self.make(running.ref, self.canonical(running.ref), (), False)
        self._columns_of(step)

    def _columns_of(self, step: Stream) -> None:
        """The loops over blocks of columns."""
        scope, depth = self.scope, self.depth
        for columns in step.columns:
            self._head(columns)
        kept = dict(self.sums)
        self.block(step.steps)
        self.depth, self.sums, self.scope = depth, kept, scope

    def _head(self, columns: Columns) -> None:
        """The loop over blocks of some columns."""
        name = self.columns(columns.label)
        cached = columns.label.startswith(CACHED)
        start = "cached_first" if cached else "0"
        end = "last + 1" if columns.extent is None else self.size(columns.extent)
        if columns.low is not None:
            self.line(f"{name}_low = tl.maximum({start}, {self.integer(columns.low)})")
            start = f"{name}_low"
        if columns.high is not None:
            self.line(f"{name}_high = tl.minimum({end}, {self.integer(columns.high)})")
            end = f"{name}_high"
        self.line(f"for {name}_start in range({start}, {end}, COLUMNS):")
        self.depth += 1
        self.line(f"{name}_slot = tl.arange(0, COLUMNS)")
        self.line(f"{name}_at = {name}_start + {name}_slot")
        self.line(f"{name}_in = {name}_at < {end}")

    def integer(self, expr: Expr) -> str:
        """An integer of sizes and of the ends of the rows at hand."""
        match expr:
            case Const(value=value):
                return str(value)
            case Size(name=name):
                return self.size_name(name)
            case Neg(operand=operand):
                return f"-({self.integer(operand)})"
            case Add(terms=terms):
                return " + ".join(f"({self.integer(t)})" for t in terms)
            case Mul(factors=factors):
                return " * ".join(f"({self.integer(f)})" for f in factors)
            case Call(function="maximum" | "minimum", arguments=parts):
                return f"tl.{expr.function}({', '.join(map(self.integer, parts))})"
        raise TypeError(f"no integer: {expr!r}")

    def _region(self, step: Region) -> None:
        labels = self.canonical(step.out)
        text = " & ".join(self.printer.condition(c, labels) for c in step.domain)
        self.line(f"{self.make(step.out, labels)} = {text}")

    def _mask(self, mask: Ref | None, labels: Sequence[str], over: Sequence[str]) -> str:
        """Where a mask holds and the columns are there."""
        parts = [self.tile(mask, labels, given=True)] if mask is not None else []
        return " & ".join([*parts, *([self.inside(over, labels)] if over else [])])

    def _guard(self, step: Guard) -> None:
        labels = self.canonical(step.out)
        mask = self._mask(step.mask, labels, ())
        text = f"tl.where({mask}, {self.tile(step.source, labels)}, {STARTS[step.op]})"
        zero = self.zeros(step.source) if step.op == "sum" else []
        finite = self.made[step.source.value].finite and step.op in ("sum", "prod")
        self.line(f"{self.make(step.out, labels, zero, finite)} = {text}")

    def _weigh(self, step: Weigh) -> None:
        assert step.top is not None
        labels = self.canonical(step.scores)
        over = self.lanes(step.over)
        kept = [a for a in labels if a not in over]
        labels = [*kept, *over]
        mask = self._mask(step.mask, labels, over)
        scores = f'tl.where({mask}, {self.tile(step.scores, labels)}, float("-inf"))'
        top = self.tile(step.top, kept)
        name = self.make(step.out, labels, over, True)
        if step.scale is None:
            self.line(f"{name} = tl.exp({scores} - {spread(f'_finite({top})', kept, labels)})")
            return
        raised = self.free(f"{name}_top")
        self.line(f"{name} = {scores}")
        highest = name
        for place in reversed(range(len(kept), len(labels))):
            highest = f"tl.max({highest}, {place})"
        self.line(f"{raised} = tl.maximum({top}, {highest})")
        self.line(f"{name} = tl.exp({name} - {spread(f'_finite({raised})', kept, labels)})")
        scale = self.make(step.scale, [a for a in kept], (), True)
        self.line(f"{scale} = tl.exp({top} - _finite({raised}))")
        self.line(f"{self.made[step.top.value].name} = {raised}")

    def _accumulate(self, step: Accumulate) -> None:
        name = self.made[step.running.value].name
        labels = self.labels(step.running)
        addend = self.tile(step.addend, labels)
        old = name if step.scale is None else f"{name} * {self.tile(step.scale, labels)}"
        text = {
            "sum": f"{old} + {addend}",
            "prod": f"{old} * {addend}",
            "max": f"tl.maximum({old}, {addend})",
            "min": f"tl.minimum({old}, {addend})",
        }[step.op]
        self.line(f"{name} = {text}")

    def _logsum(self, step: LogSum) -> None:
        labels = self.canonical(step.out)
        top, total = (self.tile(r, labels) for r in (step.top, step.total))
        self.line(f"{self.make(step.out, labels, (), False)} = tl.log({total}) + _finite({top})")
