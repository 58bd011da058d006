"""Paths: what stands between an equation's result and one place inside its right-hand side.

A path is the adjoint of a place as a sum of one product: scale · Π factors / Π divisors, where the
conditions hold, over all indices met on the way down. The walk of an equation starts with the adjoint of
its left side and ends at every tensor that is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from tensorc.ir import (
    And,
    Bind,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Index,
    Iverson,
    Mul,
    Neg,
    Pow,
    Reduce,
    conjuncts,
    free_indices,
    substitute,
)
from tensorc.passes.affine import as_order


@dataclass(frozen=True, slots=True)
class Path:
    """scale · Π factors / Π divisors under conditions; `binds` are all indices in scope."""

    binds: tuple[Bind, ...]
    factors: tuple[Expr, ...] = ()
    divisors: tuple[Expr, ...] = ()
    conditions: tuple[Cond, ...] = ()
    scale: int | Fraction = 1

    def extents(self) -> dict[str, Bind]:
        """The indices in scope by name."""
        return {b.name: b for b in self.binds}

    def times(self, *exprs: Expr) -> Path:
        """The path times expressions, products taken apart."""
        factors, divisors = list(self.factors), list(self.divisors)
        conditions: list[Cond] = []
        scale = self.scale
        stack = list(reversed(exprs))
        while stack:
            expr = stack.pop()
            match expr:
                case Mul(factors=parts):
                    stack.extend(reversed(parts))
                case Neg(operand=operand):
                    scale = -scale
                    stack.append(operand)
                case Const(value=value):
                    scale = scale * value
                case Iverson(condition=condition):
                    conditions.append(condition)
                case Div(numerator=top, denominator=bottom):
                    scale = scale / _divided(bottom, divisors)
                    stack.append(top)
                case _:
                    factors.append(expr)
        path = replace(self, factors=tuple(factors), divisors=tuple(divisors), scale=scale)
        return path.where(conditions) if conditions else path

    def over(self, *exprs: Expr) -> Path:
        """The path divided by expressions."""
        divisors = list(self.divisors)
        scale: int | Fraction = self.scale
        for expr in exprs:
            scale = scale / _divided(expr, divisors)
        return replace(self, divisors=tuple(divisors), scale=scale)

    def where(self, conditions: Iterable[Cond]) -> Path:
        """The path where conditions hold as well."""
        new = [c for c in map(bare, conjuncts(tuple(conditions))) if c not in self.conditions]
        return replace(self, conditions=(*self.conditions, *dict.fromkeys(new)))

    def within(self, binds: Iterable[Bind], conditions: Iterable[Cond] = ()) -> Path:
        """The path inside a sum."""
        return replace(self, binds=(*self.binds, *binds)).where(conditions)

    def exprs(self) -> tuple[Expr, ...]:
        """All factors and divisors."""
        return (*self.factors, *self.divisors)

    def rename(self, names: Mapping[str, Expr]) -> Path:
        """Indices in scope replaced; only those that become an index stay in scope."""
        kept = [
            replace(b, name=new.name) if isinstance(new, Index) else b
            for b in self.binds
            if isinstance(new := names.get(b.name, Index(b.name)), Index)
        ]
        return Path(
            tuple(dict.fromkeys(kept)),
            tuple(substitute(f, names) for f in self.factors),
            tuple(substitute(f, names) for f in self.divisors),
            tuple(bare(substitute(c, names)) for c in self.conditions),
            self.scale,
        )

    def key(self) -> object:
        """What the product is, its scale and the order of its parts aside."""
        counts = (Counter(self.factors), Counter(self.divisors))
        sets = frozenset(self.binds), frozenset(self.conditions)
        return (*sets, *(frozenset(c.items()) for c in counts))

    def total(self, left: Iterable[str]) -> Expr:
        """The sum over all indices in scope but those of `left`."""
        kept = set(left)
        bound = [b for b in self.binds if b.name not in kept]
        names = {b.name for b in bound}
        conditions = tidy(self.conditions)
        domain = chained(conditions) if any(free_indices(c) & names for c in conditions) else ()
        outside = () if domain else conditions
        product = self._product(outside)
        negative = self.scale < 0
        listed = {n for c in domain for n in free_indices(c)} & names
        inner = [b for b in bound if b.name not in listed and _repeated(b.name, self.exprs())]
        outer = [b for b in bound if b not in inner]
        if outer and not domain:
            inner, outer = [], _in_order([*inner, *outer], product)
        if inner:
            product = Reduce("sum", tuple(_in_order(inner, product)), (), product)
        if outer:
            product = Reduce("sum", tuple(_listed(outer, domain)), domain, product)
        return Neg(product) if negative else product

    def _product(self, conditions: tuple[Cond, ...]) -> Expr:
        scale = abs(Fraction(self.scale))
        factors: list[Expr] = [Const(scale.numerator)] if scale.numerator != 1 else []
        if conditions:
            factors.append(Iverson(And(conditions) if len(conditions) > 1 else conditions[0]))
        factors += _powers(self.factors)
        divisors = _powers(self.divisors)
        if scale.denominator != 1:
            divisors.append(Const(scale.denominator))
        if not factors:
            factors = [Const(1)]
        result: Expr = _multiplied(factors)
        for divisor in divisors:
            result = Div(result, divisor)
        return result


def bare(condition: Cond) -> Cond:
    """An order of two indices as a comparison of just them: j < i for j <= i - 1. It gives an index that
    stands on no axis the range of the other."""
    found = as_order(condition)
    if found is None or not isinstance(condition, Compare):
        return condition
    if isinstance(condition.left, Index) and isinstance(condition.right, Index):
        return condition
    return Compare(found[2], Index(found[0]), Index(found[1]))


def tidy(conditions: tuple[Cond, ...]) -> tuple[Cond, ...]:
    """The conditions without j <= i where j < i is one of them."""
    orders = [as_order(c) for c in conditions]
    strict = {o[:2] for o in orders if o is not None and o[2] == "<"}
    kept = [o is None or o[2] != "<=" or o[:2] not in strict for o in orders]
    return tuple(c for c, keep in zip(conditions, kept, strict=True) if keep)


def chained(conditions: tuple[Cond, ...]) -> tuple[Cond, ...]:
    """The conditions, comparisons that go on where another ends as one chain: u <= j <= i."""
    left, chains = list(conditions), list[list[Cond]]()
    while left:
        chain = [left.pop(0)]
        while (after := next((c for c in left if _meet(chain[-1], c)), None)) is not None:
            left.remove(after)
            chain.append(after)
        while (first := next((c for c in left if _meet(c, chain[0])), None)) is not None:
            left.remove(first)
            chain.insert(0, first)
        chains.append(chain)
    return tuple(chain[0] if len(chain) == 1 else And(tuple(chain)) for chain in chains)


def _meet(first: Cond, second: Cond) -> bool:
    """Whether a comparison goes on where another one ends, in the same direction."""
    if not (isinstance(first, Compare) and isinstance(second, Compare)):
        return False
    return first.right == second.left and first.op[0] == second.op[0] and first.op[0] in "<>"


def _divided(expr: Expr, divisors: list[Expr]) -> Fraction:
    """The number that a divisor holds; its other factors go to the list."""
    number, stack = Fraction(1), [expr]
    while stack:
        match stack.pop():
            case Mul(factors=factors):
                stack.extend(reversed(factors))
            case Const(value=value) if value != 0:
                number *= value
            case other:
                divisors.append(other)
    return number


def _multiplied(factors: list[Expr]) -> Expr:
    """The product, in the shape that its text has: a product or quotient in front is part of the term."""
    if len(factors) == 1:
        return factors[0]
    return Mul(tuple(factors))


def _powers(factors: Iterable[Expr]) -> list[Expr]:
    """Equal factors as powers."""
    counts = Counter(factors)
    return [f if c == 1 else Pow(f, Const(c)) for f, c in counts.items()]


def _repeated(name: str, exprs: Iterable[Expr]) -> bool:
    return sum(name in free_indices(e) for e in _powers(exprs)) > 1


def _in_order(binds: list[Bind], expr: Expr) -> list[Bind]:
    """In the order in which they are met, so that the sum need not be written."""
    from tensorc.ir import walk

    first = list(dict.fromkeys(n.name for n in walk(expr) if isinstance(n, Index)))
    return sorted(binds, key=lambda b: first.index(b.name) if b.name in first else len(first))


def _listed(binds: list[Bind], domain: tuple[Cond, ...]) -> list[Bind]:
    """Indices of the domain in its order, the others before them."""
    from tensorc.ir import walk

    met = list(dict.fromkeys(n.name for c in domain for n in walk(c) if isinstance(n, Index)))
    return sorted(binds, key=lambda b: met.index(b.name) if b.name in met else -1)
