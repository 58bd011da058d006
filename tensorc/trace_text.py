"""A traced definition as program text, each node with its place in it.

Diagnostics and reports point into this text, so that a traced program is explained like a written one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tensorc.errors import Span
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
)

_BINARY = {Div: " / ", FloorDiv: " // ", Mod: " % "}


def number_text(value: int | Fraction) -> str:
    """An exact number as the language writes it; the number is never negative."""
    number = Fraction(value)
    if number.denominator == 1:
        text = str(number.numerator)
        short = text.rstrip("0")
        return text if number < 2**63 else f"{short}e{len(text) - len(short)}"
    places = 0
    while number.denominator != 1:
        number *= 10
        places += 1
    text = str(number.numerator)
    if places > 18:
        return f"{text}e-{places}"
    text = text.rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}"


def label(token: str) -> str:
    """The readable part of a tensor's token."""
    return token.partition("%")[0]


def show(node: Any) -> str:
    """An expression or condition as text, for messages and `repr`."""
    writer = Writer({}, 1)
    writer.expression(node)
    return "".join(writer.parts)


def _chained(parts: tuple[Any, ...]) -> tuple[Compare, ...]:
    """The parts if each is a comparison that begins where the one before ends, as in u <= j <= i."""
    chain = [part for part in parts if isinstance(part, Compare)]
    joined = all(before.right == after.left for before, after in pairwise(chain))
    return tuple(chain) if joined and len(chain) == len(parts) else ()


class Writer:
    """Writes on one line and rebuilds what it wrote with spans and final names."""

    def __init__(self, names: Mapping[str, str], line: int) -> None:
        self.names = names
        self.line = line
        self.parts: list[str] = []
        self.column = 1

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.column += len(text)

    def final(self, token: str) -> str:
        return self.names.get(token) or label(token)

    def since(self, start: int) -> Span:
        return Span(self.line, start, self.line, self.column)

    def each(
        self, nodes: tuple[Any, ...], write: Callable[[Any], Any], separator: str = ", "
    ) -> tuple[Any, ...]:
        written = []
        for position, node in enumerate(nodes):
            if position:
                self.put(separator)
            written.append(write(node))
        return tuple(written)

    def list(self, nodes: tuple[Any, ...], separator: str = ", ") -> tuple[Any, ...]:
        return self.each(nodes, self.expression, separator)

    def bracketed(self, nodes: tuple[Any, ...], brackets: str = "[]") -> tuple[Any, ...]:
        self.put(brackets[0])
        written = self.list(nodes)
        self.put(brackets[1])
        return written

    def name(self, token: str) -> Name:
        start, text = self.column, self.final(token)
        self.put(text)
        return Name(text, self.since(start))

    def expression(self, node: Any) -> Any:
        start = self.column
        match node:
            case Name():
                return self.name(node.name)
            case Const():
                self.put(number_text(node.value))
            case Read():
                tensor = self.name(node.tensor).name
                node = Read(tensor, self.bracketed(node.subscripts))
            case Call():
                self.put(node.function)
                node = Call(node.function, self.bracketed(node.arguments, "()"))
            case Group():
                self.put("(")
                node = Group(self.expression(node.body))
                self.put(")")
            case Neg():
                self.put("-")
                node = Neg(self.expression(node.operand))
            case Add():
                node = Add(self.terms(node.terms))
            case Mul():
                node = Mul(self.list(node.factors, " * "))
            case Div() | FloorDiv() | Mod():
                numerator = self.expression(node.numerator)
                self.put(_BINARY[type(node)])
                node = replace(node, numerator=numerator, denominator=self.expression(node.denominator))
            case Pow():
                base = self.expression(node.base)
                self.put(" ** ")
                node = Pow(base, self.expression(node.exponent))
            case Reduction():
                node = self.reduction(node)
            case _:
                node = self.conditional(node)
        return replace(node, span=self.since(start))

    def terms(self, terms: tuple[Any, ...]) -> tuple[Any, ...]:
        """Terms of a sum; a subtracted one, a `Neg` after the first, is written with its minus."""
        written = [self.expression(terms[0])]
        for term in terms[1:]:
            if isinstance(term, Neg):
                self.put(" ")
                start = self.column
                self.put("- ")
                written.append(Neg(self.expression(term.operand), span=self.since(start)))
            else:
                self.put(" + ")
                written.append(self.expression(term))
        return tuple(written)

    def chain(self, comparisons: tuple[Compare, ...]) -> tuple[Compare, ...]:
        """u <= j <= i."""
        start = self.column
        left = self.expression(comparisons[0].left)
        written = []
        for comparison in comparisons:
            self.put(f" {comparison.op} ")
            middle = self.column
            right = self.expression(comparison.right)
            written.append(Compare(comparison.op, left, right, span=self.since(start)))
            left, start = right, middle
        return tuple(written)

    def reduction(self, node: Reduction) -> Reduction:
        self.put(node.op)
        domain = self.bracketed((*node.names, *node.conditions))
        self.put("(")
        body = self.expression(node.body)
        self.put(")")
        return Reduction(node.op, domain[: len(node.names)], domain[len(node.names) :], body)

    def conditional(self, node: Any) -> Any:
        """Conditions, and the expressions that hold one."""
        match node:
            case Iverson():
                self.put("[")
                condition = self.expression(node.condition)
                self.put("]")
                return Iverson(condition)
            case Where():
                self.put("where")
                parts = self.bracketed((node.condition, node.then, node.otherwise), "()")
                return Where(*parts)
            case Compare():
                left = self.expression(node.left)
                self.put(f" {node.op} ")
                return Compare(node.op, left, self.expression(node.right))
            case Not():
                self.put("not ")
                return Not(self.expression(node.part))
            case And() if comparisons := _chained(node.parts):
                return And(self.chain(comparisons))
            case And() | Or():
                word = " and " if isinstance(node, And) else " or "
                return replace(node, parts=self.list(node.parts, word))
        raise TypeError(f"not a surface node: {node!r}")

    def declaration(self, node: Declaration) -> Declaration:
        start = self.column
        self.put(f"{node.name}[")
        spans = []
        for position, axis in enumerate(node.axes):
            self.put(", " if position else "")
            begin = self.column
            self.put(str(axis))
            spans.append(self.since(begin))
        self.put("]")
        return replace(node, span=self.since(start), axis_spans=tuple(spans))

    def signature(self, node: Definition) -> Definition:
        """The first line, `def NAME(...) -> ...:`."""
        self.put("def ")
        start = self.column
        self.put(node.name)
        span = self.since(start)
        self.put("(")
        inputs = self.each(node.inputs, self.declaration)
        parameters = []
        for position, (name, value) in enumerate(node.parameters):
            self.put(", " if position or inputs else "")
            parameters.append((self.name(name.name), value))
            self.put(f"={value}")
        self.put(") -> ")
        outputs = self.each(node.outputs, self.declaration)
        self.put(":")
        return replace(node, inputs=inputs, parameters=tuple(parameters), outputs=outputs, span=span)

    def statement(self, node: Assignment | CallStatement) -> Assignment | CallStatement:
        """One indented line of the body."""
        self.put("    ")
        start = self.column
        if isinstance(node, CallStatement):
            targets = self.list(node.targets)
            self.put(f" = {node.program}")
            arguments = self.bracketed(node.arguments, "()")
            return CallStatement(targets, node.program, arguments, self.since(start))
        target = self.name(node.target).name
        left = self.bracketed(node.left)
        self.put(" = ")
        return Assignment(target, left, self.expression(node.body), self.since(start))


def write(definition: Definition, names: Mapping[str, str], line: int = 1) -> tuple[Definition, str]:
    """The definition with final names and spans, and its text, whose first line has number `line`."""
    writer = Writer(names, line)
    written = writer.signature(definition)
    lines = ["".join(writer.parts)]
    statements = []
    for number, statement in enumerate(definition.statements, line + 1):
        writer = Writer(names, number)
        statements.append(writer.statement(statement))
        lines.append("".join(writer.parts))
    return replace(written, statements=tuple(statements)), "\n".join(lines) + "\n"
