"""From definitions to the stage graph: every definition becomes a value of one token, or says why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tensorc.ir import (
    Add,
    Bind,
    Const,
    Equation,
    Expr,
    Extent,
    Index,
    Mul,
    Node,
    Program,
    Read,
    Reduce,
    Softmax,
    free_indices,
    substitute,
    walk,
)
from tensorc.passes.affine import lag_of
from tensorc.passes.chains import LinearTerm, NoScan, apart_from_own, linear_terms
from tensorc.passes.columns import column_extents
from tensorc.passes.folds import FoldBuilder
from tensorc.passes.inline import dependency_order, inline, is_recursive
from tensorc.passes.normalise import Normaliser, equation_texts, merge_masks
from tensorc.passes.records import Log
from tensorc.passes.recurrences import as_decays
from tensorc.passes.recursion import recursion
from tensorc.passes.relation import TOKEN
from tensorc.passes.stage_graph import Graph, Tensor
from tensorc.passes.stages import StageBuilder
from tensorc.passes.terms import Definition, Map, Sum, Term, counted, extents_of, rename_term, scaled, times
from tensorc.plan import Ref, Why, span_line
from tensorc.printing import print_expr


class NotLinear(Exception):
    """A program that has no stage graph: the reason, what change would give it one, and the line."""

    def __init__(self, reason: str, change: str, line: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.change = change
        self.line = line


def definitions(program: Program, time: Extent | None, expand: bool, log: Log) -> list[Definition]:
    """The flat definitions of a program, in the order of their dependencies; equations that use each
    other's results in the order in which one position is computed."""
    inlined = inline(program, time, expand, log)
    normaliser = Normaliser(time, expand, program.tensors(), log, equation_texts(program))
    if expand and time is not None:
        normaliser.columns = column_extents(program, time)
    for group in dependency_order(inlined):
        order = recursion(group).order if is_recursive(group) else group
        for equation in order:
            normaliser.equation(equation.target, equation.left, equation.body, equation.span)
    return normaliser.definitions


def stage_graph(
    program: Program, time: Extent, sizes: Mapping[str, int], log: Log, bands: bool = False
) -> Graph:
    """The stage graph of a program; `NotLinear` if some relation cannot scan. With `bands` a window is a
    band of pairs, gone through column by column, instead of a sum that is kept: cheaper for narrow ones."""
    program = as_decays(program, time, log)
    builder = _GraphBuilder(program, time, sizes, log, bands)
    for group in dependency_order(program):
        if is_recursive(group):
            builder.groups.append({e.target for e in group})
            found = recursion(group)
            if found.extent != time:
                line = span_line(group[0].span)
                reason = f"{group[0].target} uses its own result along {found.extent}, not along {time}"
                raise NotLinear(reason, "use form='parallel'", line)
            for equation in group:
                builder.unknown(equation)
    return builder.build()


class _GraphBuilder:
    def __init__(
        self, program: Program, time: Extent, sizes: Mapping[str, int], log: Log, bands: bool
    ) -> None:
        self.program, self.time, self.log, self.bands = program, time, log, bands
        self.stages = StageBuilder(sizes, time, log)
        self.columns = column_extents(program, time)
        self.folds = FoldBuilder(self.stages, time, log, self.columns)
        self.folds.bands = bands
        self.axes: dict[str, tuple[Extent, ...]] = {}
        self.unknowns: dict[str, str] = {}
        self.groups: list[set[str]] = []  # the equations that use each other's results
        for declaration in program.inputs:
            if sum(a == time for a in declaration.axes) > 1:
                reason = f"the input {declaration.name} has the time axis twice: it is given for all pairs"
                change = "state what it says as a condition, e.g. j <= i or seg[i] == seg[j], or as a decay"
                raise NotLinear(reason, f"{change}, or use form='parallel'", span_line(declaration.span))
            positions = tuple(range(len(declaration.axes)))
            self.axes[declaration.name] = declaration.axes
            self.stages.graph.tensors[declaration.name] = Tensor(declaration.name, positions)

    def unknown(self, equation: Equation) -> None:
        """Let an equation be read before it is defined: it uses its own result."""
        self.axes[equation.target] = tuple(b.extent for b in equation.left)
        name = self.stages.unknown(equation.target)
        positions = tuple(range(len(equation.left)))
        self.stages.graph.tensors[equation.target] = Tensor(name, positions)
        self.unknowns[equation.target] = name

    def build(self) -> Graph:
        for definition in definitions(self.program, self.time, True, self.log):
            why = Why(definition.source, "", span_line(definition.span))
            try:
                self._define(definition, why)
            except NoScan as problem:
                raise NotLinear(problem.reason, problem.change, why.line) from None
        return self.stages.graph

    def _define(self, definition: Definition, why: Why) -> None:
        for expr in _expressions(definition):
            self._check_reads(expr, definition)
        tokens = [b.extent for b in definition.left if b.extent == self.time or b.extent in self.columns]
        if len(tokens) > 1 and self.time in tokens:
            if definition.target in {o.name for o in self.program.outputs} | self.unknowns.keys():
                raise self._two_tokens(definition)
            self.axes[definition.target] = tuple(b.extent for b in definition.left)
            self.folds.define(definition, why)
            return
        if isinstance(definition, Sum):
            ref, left = self._sum(definition, why)
        else:
            ref, left = self._map(definition, why)
        if definition.target in self.unknowns:
            self.stages.define_unknown(self.unknowns[definition.target], ref, left, why)
            return
        if not set(ref.axes) <= set(left):
            reason = f"{definition.target} reduces over all rows, for each column of a pair"
            raise NoScan(reason, "use form='parallel'")
        positions = tuple(ref.axes.index(a) for a in left)
        self.axes[definition.target] = tuple(b.extent for b in definition.left)
        self.stages.graph.tensors[definition.target] = Tensor(ref.value, positions)

    def _two_tokens(self, definition: Definition) -> NoScan:
        """Why a tensor of two tokens had to be made: something of a pair could not be taken apart."""
        if definition.target not in {o.name for o in self.program.outputs}:
            lines = [r for r in self.log.refusals if r.rule == "summary-first"]
            for refusal in sorted(lines, key=lambda r: r.line != span_line(definition.span)):
                return NoScan(refusal.reason, refusal.change)
        both = " and ".join(b.name for b in definition.left if b.extent == self.time)
        return NoScan(
            f"{definition.target} has two token indices ({both}): a tensor of all pairs of tokens",
            "give it one token index, and sum over the other one, or use form='parallel'",
        )

    def _check_reads(self, expr: Node, definition: Definition) -> None:
        """Along the time axis, a token is read itself or at a fixed distance."""
        bound = (
            definition.left if isinstance(definition, Map) else [b for t in definition.terms for b in t.bound]
        )
        binds = {b.name: b.extent for b in (*definition.left, *bound)} | extents_of((), expr)
        for node in walk(expr):
            if not isinstance(node, Read):
                continue
            if node.tensor in self.stages.graph.pairs and len(set(node.subscripts)) < len(node.subscripts):
                raise NoScan(
                    f"{print_expr(node)} reads a pair of tokens at its diagonal",
                    "write what it is for one token as an equation of its own",
                )
            for extent, subscript in zip(self.axes[node.tensor], node.subscripts, strict=True):
                if extent == self.time and not _is_near(subscript, binds, extent):
                    raise NoScan(
                        f"{print_expr(node)} reads the time axis, but not at a fixed distance",
                        "read the token itself, or one a number of tokens before it",
                    )

    def _map(self, definition: Map, why: Why) -> tuple[Ref, tuple[str, ...]]:
        folded = self.folds.reduction(definition, why)
        if folded is not None:
            left = self._left(definition.left)
            return self._spread(self.folds.read(folded), left, why), left
        self._check_pointwise(definition.expr)
        binds = {b.name: b.extent for b in definition.left} | extents_of((), definition.expr)
        names = self.stages.labels(binds, TOKEN)
        left = tuple(names[b.name] for b in definition.left)
        return self._spread(rename_all(definition.expr, names), left, why), left

    def _check_pointwise(self, expr: Node) -> None:
        for node in walk(expr):
            if isinstance(node, Reduce | Softmax):
                binds = node.binds if isinstance(node, Reduce) else node.over
                kind = node.op if isinstance(node, Reduce) else "softmax"
                if any(b.extent == self.time for b in binds):
                    raise NoScan(f"{kind} over a token index is not separable", "use form='parallel'")

    def _sum(self, definition: Sum, why: Why) -> tuple[Ref, tuple[str, ...]]:
        outputs = frozenset(b.name for b in definition.left if b.extent == self.time)
        parts: list[Expr] = []
        left = self._left(definition.left)
        for given in definition.terms:
            for term in self._strict(definition, given, outputs):
                chains = self._chains(merge_masks(term), outputs, definition)
                if chains is None:
                    parts.append(self.folds.sum(merge_masks(term), definition.left, left, why))
                    continue
                self._need_sorted(given)
                for linear in chains:
                    binds = {b.name: b.extent for b in (*definition.left, *linear.term.bound)}
                    parts.append(self._term(linear, definition.left, left, binds, why))
        total: Expr = Const(0) if not parts else parts[0] if len(parts) == 1 else Add(tuple(parts))
        return self._spread(total, left, why), left

    def _strict(self, definition: Sum, term: Term, outputs: frozenset[str]) -> list[Term]:
        """A term of a sum. Where equations that use each other read one up to their own token, what that
        token has is a term of its own: the state is read before its write."""
        own = next((g for g in self.groups if definition.source.partition("[")[0] in g), set[str]())
        read = [f for f in term.factors if isinstance(f, Read) and f.tensor in own]
        tokens = {s.name for f in read for s in f.subscripts if isinstance(s, Index)} - outputs
        return apart_from_own(term, tokens, outputs) if tokens else [term]

    def _chains(self, term: Term, outputs: frozenset[str], definition: Sum) -> Sequence[LinearTerm] | None:
        """The term as scans; None if it must go through the pairs of its tokens."""
        if self.folds.needed(term, outputs):
            return None
        if self.bands and len(self.folds.own_tokens(term, outputs)) > 1:
            if any(r.width is not None for r in term.relations):
                what = "is a band of pairs: at these sizes that costs less than sums of whole chunks"
                self.log.did("window", f"{definition.target} {what}", definition.span)
                return None
        try:
            return linear_terms(term, outputs, self.time, self.log, definition.span)
        except NoScan as problem:
            if len(self.folds.own_tokens(term, outputs)) < 2:
                raise
            self.log.refused("summary-first", problem.reason, problem.change, definition.span)
            return None

    def _need_sorted(self, term: Term) -> None:
        for tensor in sorted(t for r in term.relations for t in r.sorted_tensors()):
            if tensor not in {i.name for i in self.program.inputs}:
                reason = f"the ids {tensor} are computed: whether they ascend is not known before they are"
                raise NoScan(reason, f"pass {tensor} as an input, or use form='parallel'")
            self.stages.graph.ascending.add(tensor)

    def _left(self, left: tuple[Bind, ...]) -> tuple[str, ...]:
        names = self.stages.labels({b.name: b.extent for b in left}, TOKEN)
        return tuple(names[b.name] for b in left)

    def _term(
        self,
        linear: LinearTerm,
        left: tuple[Bind, ...],
        labels: tuple[str, ...],
        binds: Mapping[str, Extent],
        why: Why,
    ) -> Expr:
        """One linear term as an expression of the labels of the left side."""
        linear, known = self._own_unknown(linear, left, labels)
        names = self.stages.labels(binds, "")
        tokens = frozenset(names[i] for i, extent in binds.items() if extent == self.time)
        renamed = LinearTerm(rename_term(linear.term, names), tuple(s.rename(names) for s in linear.scans))
        used = renamed.indices
        scale = counted(linear.term.scale, renamed.term.bound, used)
        kept = frozenset(names[b.name] for b in left)
        ref = self.stages.term(renamed, kept, tokens, why)
        if ref is None:
            return times(scale, *known)
        back = {names[b.name]: label for b, label in zip(left, labels, strict=True)}
        ref = ref.relabel(back)
        read = times(Read(self.stages.alias(ref), tuple(Index(a) for a in ref.axes)), *known)
        return scaled(scale, read, [b for b in renamed.term.bound if b.extent != self.time])

    def _own_unknown(
        self, linear: LinearTerm, left: tuple[Bind, ...], labels: tuple[str, ...]
    ) -> tuple[LinearTerm, tuple[Expr, ...]]:
        """A term without the unknown of its own token that it is multiplied by, and that: it stays an
        expression, which a system can take apart."""
        names = {b.name: Index(label) for b, label in zip(left, labels, strict=True)}
        for factor in linear.term.factors:
            if not isinstance(factor, Read) or factor.tensor not in self.unknowns:
                continue
            if all(isinstance(s, Index) and s.name in names for s in factor.subscripts):
                rest = tuple(f for f in linear.term.factors if f is not factor)
                own: Expr = substitute(factor, names)
                return replace(linear, term=replace(linear.term, factors=rest)), (own,)
        return linear, ()

    def _spread(self, expr: Expr, left: tuple[str, ...], why: Why) -> Ref:
        """A value with exactly the labels of the left side; those missing on the right repeat it."""
        missing = [a for a in left if a not in free_indices(expr)]
        if missing:
            expr = Add((expr, *(Mul((Const(0), Index(a))) for a in missing)))
        return self.stages.value(expr, why)


def _is_near(subscript: Expr, binds: Mapping[str, Extent], extent: Extent) -> bool:
    tokens = [i for i in free_indices(subscript) if i == TOKEN or binds.get(i) == extent]
    return len(tokens) == 1 and lag_of(subscript, tokens[0]) is not None


def _expressions(definition: Definition) -> list[Node]:
    if isinstance(definition, Map):
        return [definition.expr]
    return [f for t in definition.terms for f in (t.scale, *t.factors)]


def rename_all(node: Node, names: Mapping[str, str]) -> Expr:
    """The expression with every index renamed, those of its reductions too."""
    from tensorc.ir import rebuild

    changed = rebuild(node, lambda c: rename_all(c, names))
    match changed:
        case Index(name=name):
            return replace(changed, name=names.get(name, name))
        case Reduce(binds=binds):
            return replace(changed, binds=tuple(replace(b, name=names.get(b.name, b.name)) for b in binds))
        case Softmax(over=over):
            return replace(changed, over=tuple(replace(b, name=names.get(b.name, b.name)) for b in over))
    return changed  # type: ignore[return-value]


__all__ = ["NotLinear", "definitions", "stage_graph"]
