"""The parallel form: the whole sequence at once, relations as masks, orders chosen for the sizes at hand.

It exists for every program. Equations that use their own results are filled position by position.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from tensorc.ir import (
    Add,
    Bind,
    Compare,
    Const,
    Equation,
    Expr,
    Extent,
    Index,
    Iverson,
    Mul,
    Program,
    Read,
    Reduce,
    Size,
    free_indices,
    substitute,
)
from tensorc.passes.chains import NoScan, merge
from tensorc.passes.emit import BODY, CONSTANT, Emitter
from tensorc.passes.guards import guard_pairs
from tensorc.passes.inline import dependency_order, inline, is_recursive
from tensorc.passes.linear import rename_all
from tensorc.passes.normalise import Normaliser, equation_texts, merge_masks
from tensorc.passes.records import Log
from tensorc.passes.recursion import recursion
from tensorc.passes.relation import TOKEN, Decayed, Relation, as_factor
from tensorc.passes.relation_order import Order
from tensorc.passes.terms import Map as MapDefinition
from tensorc.passes.terms import Sum, Term, counted, extents_of, rename_term, scaled, times
from tensorc.plan import HERE, Fill, GateUse, Load, Plan, Recur, Ref, Tile, Why, span_line


class Parallel:
    """Builds the parallel plan of a program for given sizes."""

    def __init__(
        self, program: Program, time: Extent | None, sizes: Mapping[str, int], expand: bool, log: Log
    ) -> None:
        self.program, self.time, self.sizes, self.expand, self.log = program, time, sizes, expand, log
        self.extents: dict[str, Extent] = {}
        self.inputs = {i.name: i for i in program.inputs}
        # tensor -> (value, for each declared axis its axis in storage)
        self.values: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.emitter = Emitter(self._read, {}, [0])
        self.outer = self.emitter

    def plan(self) -> Plan:
        program = inline(self.program, self.time, self.expand, self.log)
        self.sources = equation_texts(self.program)
        normaliser = Normaliser(self.time, self.expand, program.tensors(), self.log, self.sources)
        for group in dependency_order(program):
            if is_recursive(group):
                self._recur(group)
                continue
            start = len(normaliser.definitions)
            for equation in group:
                normaliser.equation(equation.target, equation.left, equation.body, equation.span)
            for definition in normaliser.definitions[start:]:
                ref, left = self._define(definition)
                self._bind(definition.target, ref, left)
        outputs = tuple((o.name, self._whole(o.name, len(o.axes))) for o in self.program.outputs)
        steps = self.emitter.steps
        body = (*steps[CONSTANT], *steps[1], *steps[BODY])
        return Plan(
            form="parallel",
            program=self.program.name,
            time=self.time,
            inputs=tuple(self.inputs),
            outputs=outputs,
            loops=(),
            epilogue=body,
            kept=(),
            stored=(),
            extents=tuple(self.extents.items()),
            tensors=tuple((t.name, t.axes) for t in (*self.program.inputs, *self.program.outputs)),
        )

    def _whole(self, name: str, count: int) -> Ref:
        """A tensor with its storage axes named by their place in the declaration."""
        return self._read(name, tuple(f"#{k}" for k in range(count)))

    def _bind(self, name: str, ref: Ref, left: tuple[str, ...]) -> None:
        self.values[name] = (ref.value, tuple(ref.axes.index(a) for a in left))

    def _read(self, tensor: str, labels: tuple[str, ...]) -> Ref:
        if tensor not in self.values:
            axes = tuple(f"#{k}" for k in range(len(self.inputs[tensor].axes)))
            value = f"${tensor}"
            self.outer.provide(value, Load(Ref(value, axes), tensor, None), CONSTANT)
            self.values[tensor] = (value, tuple(range(len(axes))))
        value, positions = self.values[tensor]
        if value not in self.emitter.level:
            self.emitter.provide(value, None, CONSTANT)
        axes_out = [""] * len(labels)
        for position, label in zip(positions, labels, strict=True):
            axes_out[position] = label
        return Ref(value, tuple(axes_out))

    # -- definitions -------------------------------------------------------------------------------------

    def _labels(self, binds: Mapping[str, Extent]) -> dict[str, str]:
        """Labels of one definition. Bound letters of different definitions never meet: j_2 is j again, so
        that what both have in common is one value."""
        result: dict[str, str] = {}
        for name, extent in binds.items():
            stem = _stem(name)
            label, k = stem, 2
            while self.extents.get(label, extent) != extent or label in result.values():
                label, k = f"{stem}_{k}", k + 1
            self.extents[label] = extent
            self.emitter.sizes[label] = extent.value(self.sizes)
            result[name] = label
        return result

    def _define(self, definition: Sum | MapDefinition) -> tuple[Ref, tuple[str, ...]]:
        why = Why(definition.source, "", span_line(definition.span))
        if isinstance(definition, MapDefinition):
            binds = {b.name: b.extent for b in definition.left} | extents_of((), definition.expr)
            names = self._labels(binds)
            left = tuple(names[b.name] for b in definition.left)
            return self._spread(rename_all(definition.expr, names), left, why), left
        bound = [b for t in definition.terms for b in t.bound]
        names = self._labels({b.name: b.extent for b in (*definition.left, *bound)})
        left = tuple(names[b.name] for b in definition.left)
        parts = [self._term(t, definition.left, names, why) for t in definition.terms]
        kept = [p for p in parts if p is not None]
        total: Expr = Const(0) if not kept else kept[0] if len(kept) == 1 else Add(tuple(kept))
        return self._spread(total, left, why), left

    def _spread(self, expr: Expr, left: tuple[str, ...], why: Why) -> Ref:
        missing = [a for a in left if a not in free_indices(expr)]
        if missing:
            expr = Add((expr, *(Mul((Const(0), Index(a))) for a in missing)))
        return self.emitter.pointwise(expr, left, why)

    def _term(self, term: Term, left: tuple[Bind, ...], names: dict[str, str], why: Why) -> Expr | None:
        fold = None if self.emitter is self.outer else _masked(rename_term(term, names))
        if fold is not None:
            return self._product(fold, left, names, why)
        masked = merge_masks(term)
        # What scans only for sorted data stays a mask here: the parallel form takes any data.
        masks = [as_factor(r.dense()[0]) for r in masked.relations if r.sorted_tensors()]
        others = tuple(r for r in masked.relations if not r.sorted_tensors())
        factors = (*masked.factors, *(mask for mask in masks if mask is not None))
        masked = replace(masked, relations=others, factors=factors)
        try:
            merged = merge(masked)
        except NoScan:
            merged = masked
        if merged is None:
            return None
        return self._product(guard_pairs(rename_term(merged, names)), left, names, why)

    def _product(self, renamed: Term, left: tuple[Bind, ...], names: dict[str, str], why: Why) -> Expr:
        items = [self.emitter.pointwise(f, None, why) for f in renamed.factors]
        for relation in renamed.relations:
            items += self._relation(relation, why)
        present = {a for r in items for a in r.axes}
        scale = counted(renamed.scale, renamed.bound, present)
        if not items:
            return scale
        out = [names[b.name] for b in left if names[b.name] in present]
        ref = self.emitter.product(items, out, why)
        return scaled(scale, Read(ref.value, tuple(Index(a) for a in ref.axes)), renamed.bound)

    # -- relations as masks --------------------------------------------------------------------------------

    def _relation(self, relation: Relation, why: Why) -> list[Ref]:
        conditions, decays = relation.dense()
        if isinstance(relation, Order) and not decays:
            strict, within = relation.strict, relation.within
            return [self._tile("fine", strict, (), relation.late, relation.early, why, within)]
        if not decays:
            mask = as_factor(conditions)
            assert mask is not None
            return [self.emitter.pointwise(mask, None, why)]
        if not conditions:
            return [self._outside(d, why) for d in decays]
        strict = isinstance(conditions[0], Compare) and conditions[0].op == "<"
        return self._decayed(decays, strict, relation.width, why)

    def _uses(self, decays: tuple[Decayed, ...], rows: str, why: Why) -> tuple[GateUse, ...]:
        uses = []
        for decay in decays:
            value = self.emitter.pointwise(_at(decay.gate.value, rows), None, why)
            uses.append(GateUse(value, decay.gate.log, decay.with_late, rows not in value.axes))
        return tuple(uses)

    def _tile(
        self,
        part: str,
        strict: bool,
        uses: tuple[GateUse, ...],
        rows: str,
        columns: str,
        why: Why,
        within: Expr | None = None,
    ) -> Ref:
        features = dict.fromkeys(a for u in uses for a in u.gate.axes if a != rows)
        step = Tile(
            self.emitter.fresh((rows, columns, *features)), part, strict, uses, rows, columns, within, why
        )
        return self.emitter.add(step, [u.gate for u in uses])

    def _decayed(self, decays: tuple[Decayed, ...], strict: bool, within: Expr | None, why: Why) -> list[Ref]:
        """An order times decays: one tile; gates of the early end are factors of their own."""
        rows, columns = decays[0].late, decays[0].early
        diagonal = not strict and not all(d.with_late for d in decays)
        uses = self._uses(decays, rows, why)
        tile = self._tile("fine", strict or diagonal, uses, rows, columns, why, within)
        early: list[Expr] = [d.gate.at(columns) for d in decays if d.with_early]
        read: Expr = Read(tile.value, tuple(Index(a) for a in tile.axes))
        if diagonal:
            both: list[Expr] = [d.gate.at(rows) for d in decays if d.with_early and d.with_late]
            both += [] if within is None else [Iverson(Compare("<", Const(0), within))]
            same = Iverson(Compare("==", Index(rows), Index(columns)))
            expr = Add((times(read, *early), times(same, *both)))
            return [self.emitter.pointwise(expr, None, why)]
        return [tile, *(self.emitter.pointwise(e, None, why) for e in early)]

    def _outside(self, decay: Decayed, why: Why) -> Ref:
        """A decay without an order is 1 where early is not before late."""
        (tile,) = [
            self._tile(
                "outside",
                not decay.with_late or not decay.with_early,
                self._uses((decay,), decay.late, why),
                decay.late,
                decay.early,
                why,
            )
        ]
        if not decay.with_early:
            return tile
        read = Read(tile.value, tuple(Index(a) for a in tile.axes))
        strict = "<=" if decay.with_late else "<"
        before = Compare(strict, Index(decay.early), Index(decay.late))
        from tensorc.ir import Where

        expr = Mul((read, Where(before, decay.gate.at(decay.early), Const(1))))
        return self.emitter.pointwise(expr, None, why)

    # -- self-reference ------------------------------------------------------------------------------------

    def _recur(self, group: tuple[Equation, ...]) -> None:
        found = recursion(group)
        line = span_line(group[0].span)
        why = Why(", ".join(e.target for e in group), "self-reference: position by position", line)
        targets = []
        for equation in group:
            labels = self._labels({b.name: b.extent for b in equation.left})
            full = self.outer.fresh([labels[b.name] for b in equation.left])
            self.outer.provide(full.value, None, CONSTANT)
            self._bind(equation.target, full, full.axes)
            targets.append(full)
        inner = Emitter(self._read, self.outer.sizes, self.outer.counter)
        inner.level = dict(self.outer.level)
        self.emitter = inner
        for equation in found.order:
            inner.steps[CONSTANT].append(self._row(equation, found.axes[equation.target]))
        self.emitter = self.outer
        step = Recur(found.extent, found.reverse, tuple(targets), tuple(inner.steps[CONSTANT]), why)
        self.outer.steps[CONSTANT].append(step)

    def _row(self, equation: Equation, axis: int) -> Fill:
        """One position of an equation: its index is the number HERE."""
        index = equation.left[axis].name
        body: Expr = substitute(equation.body, {index: Size(HERE)})
        left = tuple(b for k, b in enumerate(equation.left) if k != axis)
        name = f"{equation.target}_row"
        normaliser = Normaliser(
            None,
            False,
            [*self.program.tensors(), *self.values],
            self.log,
            {name: self.sources[equation.target]},
        )
        normaliser.equation(name, left, body, equation.span)
        for definition in normaliser.definitions:
            ref, labels = self._define(definition)
            self._bind(definition.target, ref, labels)
        full = (*labels[:axis], HERE, *labels[axis:])
        return Fill(
            self.values[equation.target][0], full, ref, Why(definition.source, "", span_line(equation.span))
        )


def _stem(name: str) -> str:
    """A letter without the number that told it from others: j_2 is j."""
    return re.sub(r"(_\d+)+$", "", name)


def _masked(term: Term) -> Term | None:
    """In a recursion, a sum of one factor over pairs that conditions choose, as a fold: the factor may be
    minus infinity elsewhere, the logarithm of a gate, so that a product with a mask does not leave it out."""
    domain = tuple(f.condition for f in term.factors if isinstance(f, Iverson))
    rest = [f for f in term.factors if not isinstance(f, Iverson)]
    if len(rest) != 1 or term.relations:
        return None
    inside = frozenset().union(*map(free_indices, domain)) | free_indices(rest[0])
    over = tuple(b for b in term.bound if b.name in inside)
    if not over or inside == free_indices(rest[0]):
        return None
    bound = tuple(b for b in term.bound if b not in over)
    fold = Reduce("sum", over, domain, times(term.scale, rest[0]))
    return Term(factors=(fold,), bound=bound)


def _at(value: Expr, index: str) -> Expr:
    return substitute(value, {TOKEN: Index(index)})
