"""Names, reads, functions and conditions of one equation: what each is, and which axes each index is on.

The result is an expression of the IR in which only `Group` and `Reduction` are left of the surface
tree, with the facts that the inference of ranges starts from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tensorc.errors import Span
from tensorc.grammar.names import Symbols, axes
from tensorc.grammar.powers import check_power
from tensorc.grammar.show import show
from tensorc.grammar.subscripts import Subscripts
from tensorc.grammar.syntax import Assignment, Group, Name, Reduction, Truth
from tensorc.grammar.words import OPERATORS, usage
from tensorc.ir import (
    COMPARISONS,
    FUNCTIONS,
    Add,
    And,
    Call,
    Compare,
    Const,
    Div,
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
    Size,
    Where,
)

CONDITIONS = (Compare, And, Or, Not)
QUOTIENTS = (Div, FloorDiv, Mod)


@dataclass(frozen=True, slots=True)
class AxisUse:
    """An index that stands bare on an axis (counted from 0) of a tensor."""

    index: str
    tensor: str
    axis: int
    span: Span | None


@dataclass(slots=True)
class Resolved:
    """An equation whose names are resolved."""

    assignment: Assignment
    body: Any = None
    letters: dict[str, Span | None] = field(default_factory=dict)
    uses: list[AxisUse] = field(default_factory=list)
    compared: list[tuple[str, str]] = field(default_factory=list)
    size_reads: list[tuple[Size, str, int]] = field(default_factory=list)

    @property
    def left(self) -> tuple[str, ...]:
        return tuple(name.name for name in self.assignment.left)


def resolve(symbols: Symbols, assignment: Assignment) -> Resolved:
    """Resolve one equation. Raises `LanguageError` for a name, read, function or condition out of place."""
    resolved = Resolved(assignment)
    for axis, name in enumerate(assignment.left):
        symbols.expect_index(name)
        if name.name in resolved.letters:
            symbols.source.fail(
                f"{name.name} stands twice on the left.",
                name.span,
                f"Left indices are distinct: {' and '.join(symbols.unused(2))}; [a == b] makes a diagonal.",
            )
        resolved.letters[name.name] = name.span
        resolved.uses.append(AxisUse(name.name, assignment.target, axis, name.span))
    resolved.body = _Resolver(symbols, resolved).number(assignment.body)
    symbols.letters.update(resolved.letters)
    return resolved


class _Resolver(Subscripts):
    """Walks the right side; `number` and `condition` by what is expected at a place."""

    def __init__(self, symbols: Symbols, resolved: Resolved) -> None:
        self.symbols = symbols
        self.source = symbols.source
        self.out = resolved

    def number(self, node: Any) -> Any:
        """An expression where a number is expected."""
        match node:
            case Const():
                return node
            case Name():
                return self.name(node)
            case Read():
                return self.read(node)
            case Group(body=body):
                return Group(self.number(body), node.span)
            case Truth(body=body):
                return self.number(body)
            case Add():
                return self.sum(node)
            case Mul() | Div() | FloorDiv() | Mod():
                return self.product(node)
            case Neg(operand=operand):
                return Neg(self.number(operand), span=node.span)
            case Pow():
                power = Pow(self.number(node.base), self.number(node.exponent), span=node.span)
                check_power(self.source, power)
                return power
            case Call():
                return self.call(node)
            case Iverson():
                return Iverson(self.condition(node.condition, "[ ]"), span=node.span)
            case Where():
                condition = self.choice(node.condition)
                return Where(condition, self.number(node.then), self.number(node.otherwise), span=node.span)
            case Reduction():
                return self.reduction(node)
        if isinstance(node, CONDITIONS):
            shown = show(self.source, node)
            self.source.fail(
                f"`{shown}` is a condition; as a number write [{shown}].",
                node.span,
                "A condition stands in a domain, in [ ], or first in where.",
            )
        raise TypeError(f"not an expression: {node!r}")

    def sum(self, node: Add) -> Add:
        """A sum; left-nested ones are one, taken apart without recursion."""
        links, first = [node], node.terms[0]
        while isinstance(first, Add):
            links.append(first)
            first = first.terms[0]
        terms = [self.number(first)]
        terms += [self.number(term) for link in reversed(links) for term in link.terms[1:]]
        return Add(tuple(terms), span=node.span)

    def product(self, node: Mul | Div | FloorDiv | Mod) -> Any:
        """A left-nested chain of * / // %, without recursion along it."""
        links: list[Mul | Div | FloorDiv | Mod] = []
        first: Any = node
        while isinstance(first, (Mul, *QUOTIENTS)):
            links.append(first)
            first = first.factors[0] if isinstance(first, Mul) else first.numerator
        result = self.number(first)
        for link in reversed(links):
            if isinstance(link, Mul):
                result = Mul((result, *map(self.number, link.factors[1:])), span=link.span)
            else:
                result = type(link)(result, self.number(link.denominator), span=link.span)
        return result

    def name(self, node: Name) -> Any:
        """A bare name: a size, a scalar tensor or an index."""
        name, span = node.name, node.span
        if name in self.symbols.sizes:
            return Size(name, span=span)
        symbol = self.symbols.tensors.get(name)
        if symbol is not None:
            if symbol.rank:
                letters = ", ".join(self.symbols.unused(symbol.rank))
                self.source.fail(
                    f"{symbol.shown()} has {axes(symbol.rank)}, read with none.",
                    span,
                    f"Write {name}[{letters}].",
                )
            return Read(name, (), span=span)
        self.check_bare_word(node)
        return self.index(node)

    def index(self, node: Name) -> Index:
        self.symbols.expect_index(node)
        self.out.letters.setdefault(node.name, node.span)
        return Index(node.name, span=node.span)

    def read(self, node: Read) -> Read:
        name, source = node.tensor, self.source
        symbol = self.symbols.tensors.get(name)
        if symbol is None:
            self.fail_tensor(node)
        if len(node.subscripts) != symbol.rank:
            given = len(node.subscripts)
            hint = f"Write {name}[{', '.join(self.symbols.unused(symbol.rank))}], an index for each axis."
            if symbol.rank == 0:
                hint = f"Write {name} or {name}[]."
            source.fail(f"{symbol.shown()} has {axes(symbol.rank)}, read with {given}.", node.span, hint)
        subscripts = tuple(self.axis(symbol, k, part) for k, part in enumerate(node.subscripts))
        return Read(name, subscripts, span=node.span)

    def call(self, node: Call) -> Call:
        name, given = node.function, len(node.arguments)
        if name not in FUNCTIONS:
            self.fail_function(node)
        if given != FUNCTIONS[name]:
            count = "one argument" if FUNCTIONS[name] == 1 else f"{FUNCTIONS[name]} arguments"
            self.source.fail(f"{name} takes {count}, not {given}.", node.span, f"Write {usage(name)}.")
        return Call(name, tuple(map(self.number, node.arguments)), span=node.span)

    def reduction(self, node: Reduction) -> Reduction:
        op = node.op
        if op not in OPERATORS:
            self.fail_operator(node)
        if not node.names and not node.conditions:
            self.fail_reduction(op, node.span)
        names = []
        for name in node.names:
            self.check_bare_word(name)
            self.index(name)
            names.append(name)
        conditions = tuple(self.condition(c, f"the domain of {op}") for c in node.conditions)
        return Reduction(op, tuple(names), conditions, self.number(node.body), node.span)

    def condition(self, node: Any, where: str) -> Any:
        """An expression where a condition is expected."""
        match node:
            case Group(body=body) | Truth(body=body):
                return self.condition(body, where)
            case Compare(op=op):
                assert op in COMPARISONS, op
                left, right = self.number(node.left), self.number(node.right)
                bare = bare_index(left), bare_index(right)
                if bare[0] and bare[1]:
                    self.out.compared.append((bare[0], bare[1]))
                return Compare(op, left, right, span=node.span)
            case And() | Or():
                return self.junction(node, where)
            case Not(part=part):
                return Not(self.condition(part, where), span=node.span)
        self.number(node)
        shown = show(self.source, node)
        self.source.fail(
            f"`{shown}` is a number, but {where} takes a condition.",
            getattr(node, "span", None),
            f"Write a comparison, such as {shown} != 0.",
        )

    def junction(self, node: And | Or, where: str) -> Any:
        """`and` or `or`, those of the same kind inside it taken apart, without recursion along a chain."""
        flat: list[Any] = []
        stack: list[Any] = [node]
        while stack:
            part = stack.pop()
            while isinstance(part, (Group, Truth)):
                part = part.body
            if isinstance(part, type(node)):
                stack.extend(reversed(part.parts))
            else:
                flat.append(self.condition(part, where))
        return replace(node, parts=tuple(flat))

    def choice(self, node: Any) -> Any:
        """The first argument of `where`: a condition, or data that is compared with 0."""
        inner = node
        while isinstance(inner, (Group, Truth)):
            inner = inner.body
        if isinstance(inner, CONDITIONS):
            return self.condition(inner, "where")
        return Compare("!=", self.number(node), Const(0), span=getattr(inner, "span", None))


def bare_index(node: Any) -> str:
    """The name of an index that stands alone, else an empty string."""
    while isinstance(node, Group):
        node = node.body
    return node.name if isinstance(node, Index) else ""
