"""Printing steps as NumPy statements.

Arrays have the leading batch axes first and one axis for each label after them; alignment inserts axes of
length 1. A value that is not used again is overwritten where its shape is known to hold the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tensorc.backends.numpy_base import Made
from tensorc.backends.numpy_contract import ContractPrinter
from tensorc.backends.numpy_expr import align, bare, compared, hazardous, may_alias
from tensorc.backends.numpy_tiles import TilePrinter
from tensorc.ir import Add, And, Cond, Const, Expr, Index, Mul, Node, Read, Size, Where
from tensorc.plan import (
    HERE,
    ROW,
    Fill,
    Fold,
    Gather,
    Keep,
    Load,
    Map,
    Normalise,
    Recur,
    Ref,
    Step,
    Update,
)
from tensorc.plan_io import expression_reads, step_inputs, step_outputs

FOLDS = {
    "sum": ("np.add", "0"),
    "prod": ("np.multiply", "1"),
    "max": ("np.maximum", "-np.inf"),
    "min": ("np.minimum", "np.inf"),
}


class StepPrinter(ContractPrinter, TilePrinter):
    """Prints the steps of one plan, each kind by its own method."""

    def block(self, steps: Sequence[Step], later: Sequence[Step] = ()) -> None:
        """Print steps; how often each value is used decides what is overwritten. What `later` blocks read
        is not."""
        self.running = set()
        for step in steps:
            repeat = 2 if isinstance(step, Recur) else 1  # a value of outside lives through every turn
            for ref in step_inputs(step) * repeat:
                self.uses[ref.value] = self.uses.get(ref.value, 0) + 1
        made = {ref.value for step in steps for ref in step_outputs(step)}
        for value in made & {ref.value for step in later for ref in step_inputs(step)}:
            self.uses[value] = self.uses.get(value, 0) + 1
        for step in steps:
            self.comment(step)
            getattr(self, f"_{type(step).__name__.lower()}")(step)

    def _load(self, step: Load) -> None:
        name = self.names.value(step.out.value)
        tensor = self.names.tensor(step.tensor)
        self.made[step.out.value] = Made(name, frozenset((step.tensor,)))
        rank = len(step.out.axes)
        rows = tensor
        if step.time is not None and self.plan.form == "chunkwise":
            rows = f"{tensor}[{self.rows(rank, step.time)}]"
        if self.plan.form == "recurrent" and step.time is not None:
            self.made[step.out.value] = Made(tensor, frozenset((step.tensor,)))
            if step.tensor in self.given:
                self.line(
                    f"{tensor}_given, {tensor} = {tensor}, np.asarray({tensor}).astype(compute, copy=False)"
                )
            return
        if step.out.value in self.raw:
            self.line(f"{name}_given = {rows}")
            rows = f"{name}_given"
        if name != tensor or rows != tensor or step.tensor in self.plan.inputs:
            self.line(f"{name} = {rows}.astype(compute, copy=False)")

    def rows(self, rank: int, axis: int) -> str:
        """The subscript that takes the rows of the current chunk."""
        after = [":"] * (rank - axis - 1)
        if self.reverse:
            return ", ".join(["...", "window", *after])
        return ", ".join(["...", "start:stop", *after])

    def _gather(self, step: Gather) -> None:
        self._use(step.source)
        source = self.made[step.source.value].name
        direct = self._slice(step)
        made = self._new(step.out, [step.source], own=False)
        if direct is not None:
            self.line(f"{made.name} = {source}[{direct}]")
            return
        parts = []
        for label, subscript in zip(step.source.axes, step.subscripts, strict=True):
            if label == ROW:
                parts.append(align("np.arange(length)", Ref("", (ROW,)), step.out.axes, False))
            else:
                parts.append(self.printer.given(subscript, step.out.axes))
        self.line(f"{made.name} = _read({source}, {', '.join(parts)})")

    def _slice(self, step: Gather) -> str | None:
        """Plain indices beside the position of a recursion: an ordinary subscript."""
        names = [s.name for s in step.subscripts if isinstance(s, Index)]
        scalar = [s for s in step.subscripts if s == Size(HERE)]
        if (
            len(names) + len(scalar) != len(step.subscripts)
            or tuple(names) != step.out.axes
            or len(set(names)) != len(names)
        ):
            return None
        return ", ".join(["...", *("t" if s == Size(HERE) else ":" for s in step.subscripts)])

    def _map(self, step: Map) -> None:
        refs = expression_reads(step.expr)
        last = [self._use(r) for r in refs]
        target = self._overwrite(step.expr, step.out, refs, last)
        if target is not None:
            return
        text = self.printer.value(step.expr, step.out.axes)
        made = self._new(step.out, refs)
        if not refs or set(step.out.axes) - {a for r in refs for a in r.axes}:
            shape = ", ".join(self._length(a) for a in step.out.axes)
            text = f"_spread({text}, ({shape},), compute)" if shape else f"np.asarray({text}, compute)"
        self._assign(made, "=", bare(text), step.expr)
        made.own = not may_alias(step.expr)

    def _assign(self, made: Made, sign: str, text: str, *nodes: Node) -> None:
        """An assignment; warnings of values that a choice or a domain then leaves out are not shown."""
        quiet = any(map(hazardous, nodes))
        if quiet:
            self.line('with np.errstate(all="ignore"):')
        self.depth += quiet
        self.line(f"{made.name} {sign} {text}")
        self.depth -= quiet

    def _overwrite(self, expr: Expr, out: Ref, refs: list[Ref], last: list[bool]) -> Made | None:
        """a + b or a * b written into a, where a is done with and holds the result."""
        parts = expr.terms if isinstance(expr, Add) else expr.factors if isinstance(expr, Mul) else ()
        if len(parts) != 2 or len(refs) != len([p for p in parts if isinstance(p, Read)]):
            return None
        sign = "+" if isinstance(expr, Add) else "*"
        reads = [
            (k, r) for k, (r, free) in enumerate(zip(refs, last, strict=True)) if free and r.axes == out.axes
        ]
        for k, ref in reads:
            others = [r for j, r in enumerate(refs) if j != k]
            made = self.made[ref.value]
            if any(r.value == ref.value for r in others):
                continue
            if self._holds(made, [self.made[r.value] for r in others]):
                other = next(p for p in parts if not (isinstance(p, Read) and p.tensor == ref.value))
                self._assign(made, f"{sign}=", self.printer.value(other, out.axes), other)
                self.made[out.value] = Made(made.name, made.inputs, True)
                return made
        return None

    def _fold(self, step: Fold) -> None:
        refs = [r for n in (step.body, *step.domain) for r in expression_reads(n)]
        for ref in refs:
            self._use(ref)
        full = (*step.out.axes, *step.over)
        body, mask, axis = self._folded(step.body, step.domain, full, len(step.over))
        made = self._new(step.out, refs)
        if step.op == "logsumexp":
            text = f"_logsumexp({body}, {mask}, {axis})"
        else:
            ufunc, start = FOLDS[step.op]
            text = f"_reduce({ufunc}, {body}, {mask}, {start}, {axis})"
        self._assign(made, "=", text, _chosen(step.domain, step.body))

    def _folded(
        self, body: Expr, domain: tuple[Node, ...], full: Sequence[str], count: int
    ) -> tuple[str, str, str]:
        shape = ", ".join(self._length(a) for a in full)
        text = self.printer.value(body, full)
        spread = f"_spread({text}, ({shape},), compute)"
        if {a for r in expression_reads(body) for a in r.axes} >= set(full):
            spread = text
        mask = " & ".join(self.printer.condition(c, full) for c in domain) or "True"  # type: ignore[arg-type]
        axis = tuple(range(-count, 0))
        return spread, mask, str(axis)

    def _normalise(self, step: Normalise) -> None:
        refs = [r for n in (step.body, *step.domain) for r in expression_reads(n)]
        for ref in refs:
            self._use(ref)
        full = (*(a for a in step.out.axes if a not in step.over), *step.over)
        body, mask, axis = self._folded(step.body, step.domain, full, len(step.over))
        made = self._new(step.out, refs)
        text = align(f"_softmax({body}, {mask}, {axis})", Ref("", full), step.out.axes, True)
        self._assign(made, "=", text, _chosen(step.domain, step.body))

    def _recur(self, step: Recur) -> None:
        for full in step.targets:
            made = self._new(full, [], own=False)
            made.inputs = frozenset(self.plan.inputs)
            shape = ", ".join(self._length(a) for a in full.axes)
            self.line(f"{made.name} = np.zeros(batch + ({shape},), compute)")
        size = self.size(step.extent)
        span = f"range({size})" if not step.reverse else f"reversed(range({size}))"
        self.line(f"for t in {span}:")
        self.depth += 1
        self.names.here = "t"
        self.block(step.steps)
        self.depth -= 1

    def _fill(self, step: Fill) -> None:
        self._use(step.row)
        target = self.made[step.target].name
        where = ", ".join(["...", *("t" if a == HERE else ":" for a in step.axes)])
        self.line(f"{target}[{where}] = {self._at(step.row, [a for a in step.axes if a != HERE])}")

    def _update(self, step: Update) -> None:
        state = self.made[step.state.value].name
        self._use(step.addend)
        if step.replace:
            return
        if step.through is not None:
            self._use(step.through)
            self.line(f"{state} *= {self._at(step.through, step.state.axes)}")
        self.line(f"{state} += {self._at(step.addend, step.state.axes)}")

    def _keep(self, step: Keep) -> None:
        self._use(step.value)
        tensor = self.names.tensor(step.tensor)
        value = self._at(step.value, step.axes)
        if self.plan.form == "recurrent":
            return
        where = self.rows(len(step.axes), step.axes.index(ROW))
        self.line(f"{tensor}[{where}] = {value}")


def _chosen(domain: Sequence[Cond], body: Expr) -> Expr:
    """What a fold evaluates: its body where the domain holds."""
    return Where(And(tuple(domain)), body, Const(0)) if domain else body


def given_values(steps: Iterable[Step]) -> frozenset[str]:
    """Values that conditions compare as they are given."""
    found: frozenset[str] = frozenset()
    for step in steps:
        if isinstance(step, Map):
            found |= compared(step.expr)
        elif isinstance(step, Fold | Normalise):
            found |= compared(step.body).union(*(compared(c) for c in step.domain))
        elif isinstance(step, Recur):
            found |= given_values(step.steps)
        elif isinstance(step, Gather):
            continue
    return found
