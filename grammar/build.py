"""The parser's callbacks: from the children of each grammar rule to the surface syntax tree."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

from lark import Transformer

from tensorc.errors import Span
from tensorc.grammar.literals import exact, integer
from tensorc.grammar.scanner import Token
from tensorc.grammar.source import Source
from tensorc.grammar.syntax import (
    Assignment,
    CallStatement,
    Declaration,
    Definition,
    Group,
    Name,
    Reduction,
)
from tensorc.ir import (
    Add,
    And,
    Call,
    Compare,
    Const,
    Div,
    Extent,
    FloorDiv,
    Iverson,
    Mod,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Read,
    Where,
    extent,
)

Children = list[Any]
QUOTIENTS = {"SLASH": Div, "FLOOR": FloorDiv, "PERCENT": Mod}


def join(first: Span, last: Span) -> Span:
    """From the start of one span to the end of another."""
    return first.to(last)


class Builder(Transformer[Token, Any]):
    """One method a rule of the grammar; `source` is the text being read."""

    source = Source()

    def start(self, children: Children) -> tuple[Definition, ...]:
        return tuple(children)

    # The signature.

    def definition(self, children: Children) -> Definition:
        keyword, name, parameters, outputs, *statements = children
        parameters = parameters or ()
        return Definition(
            name.value,
            tuple(p for p in parameters if isinstance(p, Declaration)),
            tuple(p for p in parameters if not isinstance(p, Declaration)),
            outputs,
            tuple(statements),
            span=name.span,
        )

    def parameters(self, children: Children) -> Children:
        return children

    def default(self, children: Children) -> tuple[Name, int]:
        name, number = children
        return Name(name.value, name.span), integer(self.source, number, "A default")

    def declarations(self, children: Children) -> tuple[Declaration, ...]:
        return tuple(children)

    def declaration(self, children: Children) -> Declaration:
        name, sizes, end = children
        axes, spans = zip(*sizes, strict=True) if sizes else ((), ())
        return Declaration(name.value, axes, join(name.span, end.span), spans)

    def sizes(self, children: Children) -> Children:
        return children

    def size(self, children: Children) -> tuple[Extent, Span]:
        numbers = [integer(self.source, t, "A size") for t in children if t.type == "NUMBER"]
        span = join(children[0].span, children[-1].span)
        if not all(numbers):
            self.source.fail(
                "This axis has size 0.", span, "An axis is a product of names and positive integers."
            )
        if prod(numbers) >= 2**63:
            self.source.fail("This size is 2**63 or more.", span, "Sizes are below 2**63.")
        return extent(*numbers, *(t.value for t in children if t.type == "NAME")), span

    # Statements.

    def statement(self, children: Children) -> Assignment | CallStatement:
        targets, body = children
        span = join(targets[0][1], body.span)
        bare = [Name(name, span) for name, span, left in targets if left is None]
        if len(bare) == len(targets) and isinstance(body, Call):
            return CallStatement(tuple(bare), body.function, self._arguments(body), span)
        if len(targets) > 1:
            self.source.fail(
                "One equation defines one tensor.",
                join(targets[1][1], targets[-1][1]),
                "Write an equation a line. Only a call defines several: o, z = g(q, k), without indices.",
            )
        if bare:
            name = bare[0].name
            hint = f"Write {name}[i, j] = ... with an index for every axis, or {name}[] = ... for a scalar."
            self.source.fail(f"{name} is defined without its indices.", bare[0].span, hint)
        name, span, left = targets[0]
        return Assignment(name, tuple(self._index(name, item) for item in left), body, join(span, body.span))

    def targets(self, children: Children) -> Children:
        return children

    def target(self, children: Children) -> tuple[str, Span, Children | None]:
        name, items, end = children
        return name.value, name.span if end is None else join(name.span, end.span), items

    def _index(self, target: str, item: Any) -> Name:
        if isinstance(item, Name):
            return item
        self.source.fail(
            f"The left side of {target} holds something other than an index.",
            item.span,
            "The left side names distinct indices, as in o[i, x]; conditions on them go to the right side.",
        )

    def _arguments(self, call: Call) -> tuple[Name, ...]:
        for argument in call.arguments:
            if not isinstance(argument, Name):
                self.source.fail(
                    f"A call of the program {call.function} takes names of tensors.",
                    argument.span,
                    "Define the argument by an equation of its own first, and pass its name.",
                )
        return call.arguments  # type: ignore[return-value]

    # Expressions. A chain of one operator arrives as one list of operands and operators.

    def disjunction(self, children: Children) -> Or:
        return Or(tuple(children), span=join(children[0].span, children[-1].span))

    def conjunction(self, children: Children) -> And:
        return And(tuple(children), span=join(children[0].span, children[-1].span))

    def inversion(self, children: Children) -> Not:
        return Not(children[1], span=join(children[0].span, children[1].span))

    def comparison(self, children: Children) -> Compare | And:
        links = [
            Compare(children[k].value, children[k - 1], children[k + 1],
                    span=join(children[k - 1].span, children[k + 1].span))
            for k in range(1, len(children), 2)
        ]  # fmt: skip
        return (
            links[0] if len(links) == 1 else And(tuple(links), span=join(children[0].span, children[-1].span))
        )

    def arithmetic(self, children: Children) -> Add:
        terms = [children[0]]
        for operator, term in zip(children[1::2], children[2::2], strict=True):
            minus = operator.type == "MINUS"
            terms.append(Neg(term, span=join(operator.span, term.span)) if minus else term)
        return Add(tuple(terms), span=join(children[0].span, children[-1].span))

    def term(self, children: Children) -> Any:
        factors, start = [children[0]], children[0].span
        for operator, factor in zip(children[1::2], children[2::2], strict=True):
            if operator.type == "STAR":
                factors.append(factor)
                continue
            numerator = _product(factors, start)
            factors = [QUOTIENTS[operator.type](numerator, factor, span=join(start, factor.span))]
        return _product(factors, start)

    def unary(self, children: Children) -> Neg:
        return Neg(children[1], span=join(children[0].span, children[1].span))

    def power(self, children: Children) -> Any:
        base, exponent = children
        return base if exponent is None else Pow(base, exponent, span=join(base.span, exponent.span))

    # Atoms.

    def list(self, children: Children) -> Children:
        return [child for child in children if child is not None]

    def number(self, children: Children) -> Const:
        (token,) = children
        value: int | Fraction = exact(self.source, token)
        return Const(value, span=token.span)

    def name(self, children: Children) -> Name:
        return Name(children[0].value, children[0].span)

    def read(self, children: Children) -> Read:
        name, subscripts, end = children
        return Read(name.value, tuple(subscripts), span=join(name.span, end.span))

    def call(self, children: Children) -> Call | Where:
        name, arguments, end = children
        span = join(name.span, end.span)
        if name.value == "where" and len(arguments) == 3:
            condition, then, otherwise = arguments
            return Where(condition, then, otherwise, span=span)
        return Call(name.value, tuple(arguments), span=span)

    def reduction(self, children: Children) -> Reduction:
        name, domain, body, end = children
        span = join(name.span, end.span)
        if len(body) != 1:
            hint = f"Write {name.value}[j](...) with one expression; conditions go inside the [ ]."
            self.source.fail(f"{name.value}[...] reduces one expression, not {len(body)}.", span, hint)
        domain = [_bare(item) for item in domain]
        names = tuple(item for item in domain if isinstance(item, Name))
        conditions = tuple(item for item in domain if not isinstance(item, Name))
        return Reduction(name.value, names, conditions, body[0], span)

    def iverson(self, children: Children) -> Iverson:
        start, items, end = children
        span = join(start.span, end.span)
        if len(items) != 1:
            message = "[ ] holds no condition." if not items else "[ ] holds one condition."
            self.source.fail(
                message, span, "Write [j <= i], or join conditions with and: [u <= j and j <= i]."
            )
        return Iverson(items[0], span=span)

    def group(self, children: Children) -> Group:
        start, items, end = children
        span = join(start.span, end.span)
        if len(items) != 1:
            message = "( ) holds nothing." if not items else "( ) holds several expressions."
            self.source.fail(message, span, "Parentheses hold one expression; there are no tuples.")
        return Group(items[0], span)


def _bare(item: Any) -> Any:
    """A name in parentheses is a bare name."""
    inner = item
    while isinstance(inner, Group):
        inner = inner.body
    return inner if isinstance(inner, Name) else item


def _product(factors: Children, start: Span) -> Any:
    return factors[0] if len(factors) == 1 else Mul(tuple(factors), span=join(start, factors[-1].span))
