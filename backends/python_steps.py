"""Printing steps as statements of Python.

Arrays have the leading batch axes first and one axis for each label after them; alignment inserts axes of
length 1. A value that is not used again is overwritten where its shape is known to hold the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tensorc.backends.python_base import Made, target
from tensorc.backends.python_contract import ContractPrinter
from tensorc.backends.python_expr import align, compared, hazardous, may_alias, may_warn
from tensorc.backends.python_layout import bare, tuple_text
from tensorc.backends.python_monomials import MonomialPrinter
from tensorc.backends.python_tiles import TilePrinter
from tensorc.errors import BackendError
from tensorc.ir import Add, And, Call, Cond, Const, Expr, Index, Mul, Node, Read, Size, Where, walk
from tensorc.plan import (
    HERE,
    ROW,
    Append,
    Delay,
    Fill,
    Fold,
    Gather,
    Guard,
    Keep,
    Load,
    Map,
    Normalise,
    Recur,
    Ref,
    Region,
    Select,
    Slide,
    Step,
    Stream,
    Tail,
    Update,
)
from tensorc.plan_io import expression_reads, step_inputs, step_outputs


class StepPrinter(ContractPrinter, TilePrinter, MonomialPrinter):
    """Prints the steps of one plan, each kind by its own method."""

    def block(self, steps: Sequence[Step], later: Sequence[Step] = ()) -> None:
        """Print steps; how often each value is used decides what is overwritten. What `later` blocks read
        is not, nor is an output."""
        self.running = set()
        for step in steps:
            repeat = (
                2 if isinstance(step, Recur | Stream | Slide) else 1
            )  # values of outside live through every turn
            for ref in self.reads(step) * repeat:
                self.uses[ref.value] = self.uses.get(ref.value, 0) + 1
        made = {ref.value for step in steps for ref in self.makes(step)}
        needed = {ref.value for step in later for ref in step_inputs(step)}
        for value in made & (needed | {ref.value for _, ref in self.plan.outputs}):
            self.uses[value] = self.uses.get(value, 0) + 1
        self.guarded = self.guarded or _guards(steps)
        for step in sorted(steps, key=lambda step: not isinstance(step, Load)):  # reads come first
            if not isinstance(step, Load | Keep | Update | Append):
                self.comment(step)
            self.print(step)

    def reads(self, step: Step) -> list[Ref]:
        """The values that a step reads, once for each time."""
        return step_inputs(step)

    def makes(self, step: Step) -> list[Ref]:
        """The values that a step makes."""
        return step_outputs(step)

    def print(self, step: Step) -> None:
        """Print one step. Raises `BackendError` for a kind without a method."""
        method = getattr(self, f"_{type(step).__name__.lower()}", None)
        if method is None:
            raise BackendError(f"There is no source for {type(step).__name__} steps in this backend.")
        method(step)

    def _load(self, step: Load) -> None:
        tensor = self.names.tensor(step.tensor)
        label = step.tensor.strip("%")
        rows = tensor
        name = tensor
        if step.time is not None and self.plan.form == "chunkwise":
            rows = self.rows_of(tensor, len(step.out.axes), step.time)
            name = self.names.value(step.out.value, f"{label}_c")
        self.made[step.out.value] = Made(name, frozenset((step.tensor,)), False, label)
        recurrent = self.plan.form == "recurrent"
        if name == tensor and (tensor in self.cast or (recurrent and step.tensor not in self.given)):
            return  # cast before
        self.cast.add(name)
        if step.out.value in self.raw:
            given = self.given_name(step.out.value, name)
            self.line(f"{given} = {rows}")
            rows = given
        if recurrent:
            rows = self.library.array(rows)
        if step.tensor in self.plan.inputs and step.tensor not in self.batch.typed:
            rows = self.library.cast(rows)
        self.line(f"{name} = {rows}")

    def rows_of(self, tensor: str, rank: int, axis: int) -> str:
        """The rows of a tensor in the current chunk."""
        return f"{tensor}[{self.rows(rank, axis)}]"

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
        label = self.made[step.source.value].label or ""
        made = self._named(step.out, f"{label}_t" if direct else f"{label}_at", [step.source], label, False)
        if direct is not None:
            self.line(f"{made.name} = {source}[{direct}]")
            return
        parts = []
        for label, subscript in zip(step.source.axes, step.subscripts, strict=True):
            if label.startswith("@"):  # the rows or columns at hand, wherever they begin
                here = self.library.positions(self._length(label))
                parts.append(align(here, Ref("", (label,)), step.out.axes, False))
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
        made = self._new(step.out, list(dict.fromkeys(refs)), prefix=_function(step.expr))
        if not refs or set(step.out.axes) - {a for r in refs for a in r.axes}:
            shape = tuple_text(self._length(a) for a in step.out.axes)
            wide = self.library.spread(bare(text), shape)
            text = wide if step.out.axes else self.library.whole(text)
        self._assign(made, "=", bare(text), step.expr)
        made.own = not may_alias(step.expr)

    def _assign(self, made: Made, sign: str, text: str, *nodes: Node) -> None:
        """An assignment; warnings of values that a choice or a domain then leaves out are not shown."""
        risky = may_warn if self.guarded else hazardous
        quiet = bool(self.library.quiet) and any(map(risky, nodes))
        if quiet:
            self.line(self.library.quiet)
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
                text = self.printer.value(other, out.axes)
                self._assign(made, f"{sign}=", text, other)
                if sign == "+" and self.uses.get(out.value) == 1 and not hazardous(other):
                    self.sums[out.value] = len(self.lines) - 1, made.name, text
                self.made[out.value] = Made(
                    made.name, made.inputs, True, self.nexts.get(out.value, made.label)
                )
                return made
        return None

    def _fold(self, step: Fold) -> None:
        refs = [r for n in (step.body, *step.domain) for r in expression_reads(n)]
        for ref in refs:
            self._use(ref)
        full = (*step.out.axes, *step.over)
        body, mask, axis = self._folded(step.body, step.domain, full, len(step.over))
        made = self._new(step.out, list(dict.fromkeys(refs)), prefix=f"{step.op}_")
        text = self.library.reduced(step.op, body, mask, axis)
        self._assign(made, "=", text, _chosen(step.domain, step.body))

    def _folded(
        self, body: Expr, domain: tuple[Node, ...], full: Sequence[str], count: int
    ) -> tuple[str, str, str]:
        text = self.printer.value(body, full)
        spread = self.library.spread(bare(text), tuple_text(self._length(a) for a in full))
        if {a for r in expression_reads(body) for a in r.axes} >= set(full):
            spread = text
        mask = " & ".join(self.printer.condition(c, full) for c in domain) or "True"  # type: ignore[arg-type]
        axis = tuple(range(-count, 0))
        return bare(spread), bare(mask), str(axis if count > 1 else -1)

    def _normalise(self, step: Normalise) -> None:
        refs = [r for n in (step.body, *step.domain) for r in expression_reads(n)]
        for ref in refs:
            self._use(ref)
        full = (*(a for a in step.out.axes if a not in step.over), *step.over)
        body, mask, axis = self._folded(step.body, step.domain, full, len(step.over))
        made = self._named(step.out, target(step), refs, target(step))
        text = align(f"_softmax({body}, {mask}, {axis})", Ref("", full), step.out.axes, True)
        self._assign(made, "=", text, _chosen(step.domain, step.body))

    def _recur(self, step: Recur) -> None:
        names = {s.target: target(s) for s in step.steps if isinstance(s, Fill)}
        for full in step.targets:
            name = names[full.value]
            made = self._named(full, name, [], name, own=False)
            made.inputs = frozenset(self.plan.inputs)
            shape = tuple_text([self.lead, *(self._length(a) for a in full.axes)])
            self.line(f"{made.name} = {self.library.zeros(shape)}")
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

    def _delay(self, step: Delay) -> None:
        if step.source is None:
            self._use(step.state)
            made = self._new(step.out, [step.state], own=False)
            row = ", ".join(["...", "0", *(":" for _ in step.state.axes[1:])])
            text = f"{self.made[step.state.value].name}[{row}]"
            self.line(f"{made.name} = {align(text, Ref('', step.state.axes[1:]), step.out.axes)}")
            return
        rows, axis = self._rows(step.source, step.state)
        self._use(step.state)
        made = self._new(step.out, [step.source, step.state])
        lag = "None" if isinstance(step.lag, str) else str(step.lag)
        text = f"_delayed({self.made[step.state.value].name}, {rows}, {lag}, {axis})"
        labels = (ROW, *step.state.axes[1:], *([step.lag] if isinstance(step.lag, str) else []))
        if ROW not in step.source.axes:
            text = f"{text}[..., 0{', :' * (len(labels) - 1)}]"
            labels = labels[1:]
        self.line(f"{made.name} = {align(text, Ref('', labels), step.out.axes)}")

    def _tail(self, step: Tail) -> None:
        rows, axis = self._rows(step.source, step.state)
        self._use(step.state)
        made = self._new(step.out, [step.source, step.state])
        state = self.made[step.state.value].name
        self.line(f"{made.name} = _tail({state}, {rows}, {axis}, {state}.shape[{axis}])")

    def _rows(self, source: Ref, state: Ref) -> tuple[str, int]:
        """The rows that follow a state's, their axis first as in the state; that axis."""
        self._use(source)
        return self._at(source, [ROW, *state.axes[1:]]), -len(state.axes)

    def _update(self, step: Update) -> None:
        state = self.made[step.state.value].name
        self._use(step.addend)
        if step.replace:
            if self.plan.form != "recurrent" and state != self.made[step.addend.value].name:
                self.line(f"{state} = {self._at(step.addend, step.state.axes)}")
            return
        if step.through is not None:
            self._use(step.through)
            self.line(f"{state} *= {self._at(step.through, step.state.axes)}")
        self.line(f"{state} += {self._at(step.addend, step.state.axes)}")

    def _keep(self, step: Keep) -> None:
        last = self._use(step.value)
        tensor = self.names.tensor(step.tensor)
        value = self._at(step.value, step.axes)
        if self.plan.form == "recurrent":
            return
        rows = f"{tensor}[{self.rows(len(step.axes), step.axes.index(ROW))}]"
        if last and step.value.axes == step.axes and step.value.value in self.sums:
            line, left, right = self.sums[step.value.value]
            into = self.library.sum_into(left, right, rows)
            if into is not None:  # the last sum writes what is kept
                self.lines[line] = "    " * self.depth + into
                return
        self.line(f"{rows} = {value}")


def _guards(steps: Iterable[Step]) -> bool:
    """Whether a mask that data decides leaves values out: what they are made of is computed all the same."""
    inside = [s for step in steps for s in (step.steps if isinstance(step, Stream) else (step,))]
    guarded = any(isinstance(s, Guard) for s in inside)
    return guarded and any(isinstance(s, Region) and step_inputs(s) for s in inside)


def _function(expr: Expr) -> str:
    """The first function of an expression, to name its result after."""
    return next((f"{n.function}_" for n in walk(expr) if isinstance(n, Call)), "")


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
        elif isinstance(step, Recur | Stream | Slide):
            found |= given_values(step.steps)
        elif isinstance(step, Region):
            found |= frozenset().union(*(compared(c) for c in step.domain))
        elif isinstance(step, Select) and step.out.value.endswith(":given"):
            found |= {step.source.value}
        elif isinstance(step, Append) and step.given:
            found |= {step.rows.value}
        elif isinstance(step, Gather):
            continue
    return found
