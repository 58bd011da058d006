"""From a resolved equation to the IR: every implicit sum becomes a `Reduce`, and groups vanish.

The rule: an index neither on the left nor bound is summed over the smallest group that holds a
product of which at least two factors contain it. While an expression is lowered, `Found` records
which letters occur in it *loose* (not yet summed) and which were *closed* inside it by a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tensorc.errors import Span
from tensorc.grammar.domains import free_letters
from tensorc.grammar.ranges import fail_no_axis
from tensorc.grammar.resolve import Resolved
from tensorc.grammar.source import Source
from tensorc.grammar.subscripts import flat_add, flat_mul
from tensorc.grammar.sum_errors import Closed, SumErrors, index_nodes
from tensorc.grammar.syntax import Group, Reduction
from tensorc.ir import (
    Add,
    And,
    Bind,
    Call,
    Compare,
    Const,
    Div,
    Extent,
    FloorDiv,
    Index,
    Iverson,
    Mod,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Read,
    Reduce,
    Size,
    Softmax,
    Where,
)

QUOTIENTS = (Div, FloorDiv, Mod)


@dataclass(slots=True)
class Found:
    """The letters of an expression: loose ones with their place and what they occur in, closed ones with
    their sum."""

    loose: dict[str, tuple[Span | None, Any]] = field(default_factory=dict)
    closed: dict[str, Closed] = field(default_factory=dict)

    def add(self, other: Found) -> Found:
        for name, node in other.loose.items():
            self.loose.setdefault(name, node)
        self.closed.update(other.closed)
        return self


@dataclass(slots=True)
class Sums(SumErrors):
    """Lowers one equation. `extent` gives the range of any index of it, `on_axis` are the indices that
    stand on an axis, `known` the sizes and tensors; `bound` are the indices bound at the current place."""

    source: Source
    resolved: Resolved
    extent: Callable[[str], Extent]
    on_axis: set[str]
    known: list[str]
    left: tuple[str, ...] = ()
    bound: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.left = self.resolved.left
        self.bound = set(self.left)

    def equation(self) -> Any:
        """The right side. Raises `LanguageError` for a letter that no rule sums."""
        result, found = self.group(self.resolved.body)
        for name, (span, _) in found.loose.items():
            self.fail_loose(name, span)
        return result

    def bind(self, name: str) -> Bind:
        return Bind(name, self.extent(name))

    # Groups and terms.

    def group(self, node: Any) -> tuple[Any, Found]:
        """What parentheses, an argument, a body, a base, a divisor or a right side holds: terms."""
        while isinstance(node, Group):
            node = node.body
        if not isinstance(node, Add):
            return self.term(node)
        found, terms = Found(), []
        for part in node.terms:
            term, inner = self.term(part)
            found.add(inner)
            terms.append(term)
        return flat_add(tuple(terms), node.span), found

    def term(self, node: Any) -> tuple[Any, Found]:
        """One operand of + or -: a product, in which letters of two factors are summed."""
        if not isinstance(node, (Mul, *QUOTIENTS)):
            return self.factor(node)
        chain, first = _spine(node)
        result, found = self.factor(first)
        parts = [found]
        for link in reversed(chain):
            if isinstance(link, QUOTIENTS):
                divisor, found = self.group(link.denominator)
                parts.append(found)
                result = type(link)(result, divisor, span=link.span)
                continue
            factors = [self.factor(part) for part in link.factors[1:]]
            parts += [found for _, found in factors]
            result = flat_mul((result, *(factor for factor, _ in factors)), link.span)
        return self.close(result, parts, node)

    def close(self, product: Any, parts: list[Found], node: Any) -> tuple[Any, Found]:
        """Sum what two factors of a product contain."""
        factors: dict[str, int] = {}
        holders: dict[str, int] = {}
        found = Found()
        for part in parts:
            for name in part.loose:
                factors[name] = factors.get(name, 0) + 1
            for name in part.loose.keys() | part.closed.keys():
                holders[name] = holders.get(name, 0) + 1
            found.add(part)
        for name in found.loose:
            if name in found.closed and holders[name] > 1:
                outside = next(p.loose[name] for p in parts if name in p.loose)
                self.fail_outside(name, found.closed[name], outside)
        summed = [name for name in found.loose if factors[name] > 1]
        if not summed:
            return product, found
        for name in summed:
            if name not in self.on_axis:
                fail_no_axis(self.source, name, found.loose[name][0], self.known)
            del found.loose[name]
            found.closed[name] = Closed("", node)
        return Reduce("sum", tuple(map(self.bind, summed)), (), product, span=node.span), found

    def factor(self, node: Any) -> tuple[Any, Found]:
        """One factor of a product."""
        match node:
            case Const() | Size():
                return node, Found()
            case Index(name=name):
                return node, Found() if name in self.bound else Found({name: (node.span, node)})
            case Read():
                letters = {
                    n.name: (n.span, node) for n in reversed(index_nodes(node)) if n.name not in self.bound
                }
                return node, Found(dict(reversed(letters.items())))
            case Neg(operand=operand):
                inner, found = self.group(operand)
                return Neg(inner, span=node.span), found
            case Pow():
                base, found = self.group(node.base)
                exponent, other = self.group(node.exponent)
                return Pow(base, exponent, span=node.span), found.add(other)
            case Call():
                found, arguments = Found(), []
                for argument in node.arguments:
                    inner, other = self.group(argument)
                    arguments.append(inner)
                    found.add(other)
                return Call(node.function, tuple(arguments), span=node.span), found
            case Iverson():
                condition, found = self.condition(node.condition)
                return Iverson(condition, span=node.span), found
            case Where():
                condition, found = self.condition(node.condition)
                then, second = self.group(node.then)
                otherwise, third = self.group(node.otherwise)
                return Where(condition, then, otherwise, span=node.span), found.add(second).add(third)
            case Reduction(op="softmax"):
                return self.softmax(node)
            case Reduction():
                return self.reduction(node)
        return self.group(node)  # parentheses, or a compound operand of a traced program

    def condition(self, node: Any) -> tuple[Any, Found]:
        match node:
            case Compare():
                left, found = self.group(node.left)
                right, other = self.group(node.right)
                return Compare(node.op, left, right, span=node.span), found.add(other)
            case Not(part=part):
                inner, found = self.condition(part)
                return Not(inner, span=node.span), found
        assert isinstance(node, (And, Or))
        found, parts = Found(), []
        for part in node.parts:
            inner, other = self.condition(part)
            parts.append(inner)
            found.add(other)
        return type(node)(tuple(parts), span=node.span), found

    # Reductions.

    def reduction(self, node: Reduction) -> tuple[Any, Found]:
        """R[domain](body): binds every index of its domain that is neither on the left nor bound."""
        names = [name.name for name in node.names]
        letters = dict.fromkeys([*names, *free_letters(node.conditions, self.bound)])
        binds = [name for name in letters if name not in self.bound]
        if not binds:
            self.fail_binds_nothing(node, list(letters))
        for name in binds:
            if name not in self.on_axis and name not in names:
                fail_no_axis(self.source, name, self.resolved.letters.get(name), self.known)
        self.bound.update(binds)
        domain, found = self.domain(node)
        body, inner = self.group(node.body)
        found.add(inner)
        self.bound.difference_update(binds)
        for name in binds:
            found.closed[name] = Closed(node.op, node)
        return Reduce(node.op, tuple(map(self.bind, binds)), domain, body, span=node.span), found

    def softmax(self, node: Reduction) -> tuple[Any, Found]:
        """softmax[domain](body): its indices stay, free or bound as they were."""
        over = list(dict.fromkeys(name.name for name in node.names)) or [self.softmax_index(node)]
        for name in over:
            if name not in self.on_axis and not node.names:
                fail_no_axis(self.source, name, self.resolved.letters.get(name), self.known)
        free = [name for name in over if name not in self.bound]
        self.bound.update(free)
        spans = {name.name: name.span for name in node.names}
        found = Found({name: (spans.get(name, node.span), node) for name in free})
        domain, inner = self.domain(node)
        body, other = self.group(node.body)
        self.bound.difference_update(free)
        found.add(inner).add(other)
        return Softmax(tuple(map(self.bind, over)), domain, body, span=node.span), found

    def softmax_index(self, node: Reduction) -> str:
        """The index that a softmax without bare names runs over."""
        letters = free_letters(node.conditions, set())
        free = [name for name in letters if name not in self.bound]
        if free:
            return free[0]
        if letters and self.left and letters[0] == self.left[-1]:
            return letters[0]
        self.fail_softmax(node, letters)
        raise AssertionError

    def domain(self, node: Reduction) -> tuple[tuple[Any, ...], Found]:
        found, conditions = Found(), []
        for part in node.conditions:
            condition, inner = self.condition(part)
            conditions.append(condition)
            found.add(inner)
        return tuple(conditions), found


def _spine(node: Any) -> tuple[list[Any], Any]:
    """The links of a left-nested chain of * / // %, outermost first, and its first operand."""
    chain = []
    while isinstance(node, (Mul, *QUOTIENTS)):
        chain.append(node)
        node = node.factors[0] if isinstance(node, Mul) else node.numerator
    return chain, node
