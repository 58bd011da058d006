"""A program, an expression or a condition as text in the language it was written in.

`print_program` gives text that parses to an equal program. Sums that the implicit-sum rule restores
exactly are left out; everything else is explicit. Parentheses stand only where they are needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from tensorc.implied import Rules, stands_bare
from tensorc.ir import (
    Add,
    And,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Equation,
    Expr,
    FloorDiv,
    Index,
    Iverson,
    Mod,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    TensorDecl,
    Where,
)

ADD, MUL, UNARY, POWER, ATOM = range(5)
OR, AND, NOT, COMPARE = range(4)


def print_program(program: Program) -> str:
    """The program as text: its signature and an equation a line.

    >>> from tensorc.grammar import parse
    >>> text = "def f(q[n, d]) -> s[n, n]: s[i, j] = sum[c]((q[i, c]) * q[j, c])"
    >>> print(print_program(parse(text)), end="")
    def f(q[n, d]) -> s[n, n]:
        s[i, j] = q[i, c] * q[j, c]
    """
    parameters = [
        *map(_declaration, program.inputs),
        *(f"{name}={value}" for name, value in program.defaults),
    ]
    outputs = ", ".join(map(_declaration, program.outputs))
    lines = [f"def {program.name}({', '.join(parameters)}) -> {outputs}:"]
    return "\n".join(lines + [f"    {print_equation(equation)}" for equation in program.equations]) + "\n"


def print_equation(equation: Equation) -> str:
    """One equation as text.

    >>> from tensorc.grammar import parse
    >>> print_equation(parse("def f(q[n, d]) -> o[n]: o[i] = sum[c](q[i, c])").equations[0])
    'o[i] = sum[c](q[i, c])'
    """
    left = [bind.name for bind in equation.left]
    printer = _Printer(set(left) | stands_bare(equation.body))
    return f"{equation.target}[{', '.join(left)}] = {printer.group(equation.body)}"


def print_expr(expr: Expr) -> str:
    """An expression as text, with every sum explicit.

    >>> print_expr(Mul((Add((Index("i"), Neg(Const(1)))), Read("g", ()))))
    '(i - 1) * g'
    """
    return _Printer(stands_bare(expr), explicit=True).expr(expr, ADD)


def print_cond(cond: Cond) -> str:
    """A condition as text.

    >>> print_cond(And((Compare("<=", Index("u"), Index("j")), Compare("<", Index("j"), Index("i")))))
    'u <= j < i'
    """
    return _Printer(stands_bare(cond), explicit=True).cond(cond, OR)


def _declaration(tensor: TensorDecl) -> str:
    return f"{tensor.name}[{', '.join(map(str, tensor.axes))}]"


@dataclass(slots=True)
class _Printer:
    """`on_axis` are the indices of the equation that stand bare on an axis."""

    on_axis: set[str]
    explicit: bool = False
    rules: Rules = field(init=False)

    def __post_init__(self) -> None:
        self.rules = Rules(self.on_axis)

    def group(self, node: Expr) -> str:
        """An expression with brackets, or nothing, around it."""
        return self.expr(node, ADD)

    def expr(self, node: Expr, least: int) -> str:
        """An expression in parentheses if it binds looser than `least`."""
        if not self.explicit and isinstance(node, Reduce) and least <= MUL and self.rules.is_implied(node):
            node = node.body
        text, level = self.open(node)
        return text if level >= least else f"({text})"

    def open(self, node: Expr) -> tuple[str, int]:
        """An expression without parentheses, and how tightly it binds."""
        match node:
            case Const(value=value):
                return _number(value)
            case Size(name=name) | Index(name=name):
                return name, ATOM
            case Read(tensor=tensor, subscripts=subscripts):
                return tensor + (f"[{self.row(subscripts)}]" if subscripts else ""), ATOM
            case Call():
                return f"{node.function}({self.row(node.arguments)})", ATOM
            case Neg(operand=operand):
                return f"-{self.atom(operand, UNARY)}", UNARY
            case Add(terms=terms):
                return self.sum(terms), ADD
            case Mul(factors=factors):
                rest = "".join(f" * {self.atom(f, UNARY)}" for f in factors[1:])
                return self.atom(factors[0], MUL) + rest, MUL
            case Div():
                return f"{self.atom(node.numerator, MUL)} / {self.atom(node.denominator, UNARY)}", MUL
            case FloorDiv():
                return f"{self.atom(node.numerator, MUL)} // {self.atom(node.denominator, UNARY)}", MUL
            case Mod():
                return f"{self.atom(node.numerator, MUL)} % {self.atom(node.denominator, UNARY)}", MUL
            case Pow(base=base, exponent=exponent):
                return f"{self.base(base)} ** {self.atom(exponent, UNARY)}", POWER
            case Iverson(condition=condition):
                return f"[{self.cond(condition, OR)}]", ATOM
            case Where():
                choices = self.row((node.then, node.otherwise))
                return f"where({self.cond(node.condition, OR)}, {choices})", ATOM
            case Softmax(over=over):
                names = [b.name for b in over]
                return f"softmax[{self.domain(names, node.domain)}]({self.group(node.body)})", ATOM
            case Reduce():
                names = self.rules.listed(node)
                return f"{node.op}[{self.domain(names, node.domain)}]({self.group(node.body)})", ATOM
        raise TypeError(f"not an expression: {node!r}")

    def atom(self, node: Expr, least: int) -> str:
        """An operand inside a term, where no sum may be left out: the term around it would take it."""
        text, level = self.open(node)
        return text if level >= least else f"({text})"

    def base(self, node: Expr) -> str:
        """The base of a power: a group of its own, so that a sum may be left out in its parentheses."""
        if not self.explicit and isinstance(node, Reduce) and self.rules.is_implied(node):
            return f"({self.open(node.body)[0]})"
        return self.atom(node, ATOM)

    def sum(self, terms: tuple[Expr, ...]) -> str:
        text = self.expr(terms[0], MUL)
        for term in terms[1:]:
            if isinstance(term, Neg):
                text += f" - {self.expr(term.operand, MUL)}"
            else:
                text += f" + {self.expr(term, MUL)}"
        return text

    def row(self, nodes: Iterable[Expr]) -> str:
        return ", ".join(map(self.group, nodes))

    # Conditions: every sum in them is explicit.

    def cond(self, node: Cond, least: int) -> str:
        explicit, self.explicit = self.explicit, True
        text, level = self.open_cond(node)
        self.explicit = explicit
        return text if level >= least else f"({text})"

    def open_cond(self, node: Cond) -> tuple[str, int]:
        match node:
            case Compare():
                return f"{self.expr(node.left, ADD)} {node.op} {self.expr(node.right, ADD)}", COMPARE
            case Not(part=part):
                return f"not {self.cond(part, NOT)}", NOT
            case Or(parts=parts):
                return " or ".join(self.cond(part, AND) for part in parts), OR
        assert isinstance(node, And)
        groups = self.chains(node.parts)
        return " and ".join(groups), COMPARE if len(groups) == 1 else AND

    def chains(self, parts: tuple[Cond, ...]) -> list[str]:
        """The parts of an `And`, comparisons that share an operand as one chain."""
        groups: list[str] = []
        last: Expr | None = None
        for part in parts:
            if isinstance(part, Compare) and last is not None and part.left == last:
                groups[-1] += f" {part.op} {self.expr(part.right, ADD)}"
            else:
                groups.append(self.cond(part, NOT))
            last = part.right if isinstance(part, Compare) else None
        return groups

    def domain(self, names: list[str], conditions: tuple[Cond, ...]) -> str:
        return ", ".join([*names, *(self.cond(c, OR) for c in conditions)])


def _number(value: int | Fraction) -> tuple[str, int]:
    """A number exactly: decimals where they are finite, else a quotient."""
    if value < 0:
        return f"-{_number(-value)[0]}", UNARY
    if value.denominator == 1:
        return _integer(int(value)), ATOM
    digits, power = value.denominator, 0
    while digits % 10 == 0:
        digits, power = digits // 10, power + 1
    twos = (digits & -digits).bit_length() - 1
    rest, fives = digits >> twos, 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value.numerator} / {value.denominator}", MUL
    places = power + max(twos, fives)
    scaled = value.numerator * 10**places // value.denominator
    text = str(scaled)
    if places > 20 + len(text):
        return f"{text}e-{places}", ATOM
    text = text.rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}", ATOM


def _integer(value: int) -> str:
    """An integer; from 2**63 on it must be written as a decimal."""
    text = str(value)
    if value < 2**63:
        return text
    digits = text.rstrip("0")
    return f"{digits}e{len(text) - len(digits)}" if len(digits) < len(text) else f"{text}.0"


def print_rows(reach: Expr) -> str:
    """How many rows a ring holds at most, as text.

    >>> from tensorc.ir import Add, Call, Const, Size
    >>> print_rows(Call("maximum", (Const(0), Add((Size("w"), Const(-1))))))
    'w - 1'
    """
    while isinstance(reach, Call) and reach.arguments[0] == Const(0):
        reach = reach.arguments[1]
    return print_expr(reach).replace("+ -", "- ")
