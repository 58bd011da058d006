"""Pointwise expressions as Triton source: tiles aligned by label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from tensorc.ir import (
    Add,
    And,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    FloorDiv,
    Index,
    Iverson,
    Mod,
    Mul,
    Neg,
    Node,
    Not,
    Or,
    Pow,
    Read,
    Size,
    Where,
)
from tensorc.plan import Ref

FUNCTIONS = {
    "wide": "{0}",
    "narrow": "{0}",
    "exp": "tl.exp({0})",
    "log": "tl.log({0})",
    "sqrt": "tl.sqrt({0})",
    "rsqrt": "tl.rsqrt({0})",
    "abs": "tl.abs({0})",
    "sign": "_sign({0})",
    "tanh": "_tanh({0})",
    "sigmoid": "tl.sigmoid({0})",
    "silu": "_silu({0})",
    "gelu": "_gelu({0})",
    "relu": "tl.maximum({0}, 0.0)",
    "elu": "_elu({0})",
    "softplus": "_softplus({0})",
    "cos": "_cos({0})",
    "sin": "_sin({0})",
    "maximum": "tl.maximum({0}, {1})",
    "minimum": "tl.minimum({0}, {1})",
}
ADD, MUL, UNARY, ATOM = 1, 2, 3, 4  # how tightly a text binds


def spread(text: str, labels: Sequence[str], axes: Sequence[str]) -> str:
    """A tile over more axes: its own in order, the missing ones of length 1."""
    order = [a for a in axes if a in labels]
    if order != list(labels):
        places = tuple(labels.index(a) for a in order)
        text = f"tl.trans({text})" if places == (1, 0) else f"tl.permute({text}, {places})"
    if not labels or len(order) == len(axes):
        return text
    return f"{text}[{', '.join(':' if a in order else 'None' for a in axes)}]"


class ExprPrinter:
    """Prints expressions over a set of axes. `tile` gives the source of a value there, as it was given if
    conditions compare it; `position` the integer positions of a label; `size` that of a size."""

    def __init__(
        self,
        tile: Callable[[Ref, Sequence[str], bool], str],
        position: Callable[[str, Sequence[str]], str],
        size: Callable[[str], str],
    ) -> None:
        self.tile, self.position, self.size = tile, position, size

    def value(self, node: Expr, axes: Sequence[str]) -> str:
        """The expression in the dtype of the arithmetic."""
        return self._print(node, axes, False)[0]

    def given(self, node: Expr, axes: Sequence[str]) -> str:
        """The expression as conditions and subscripts see it: integers stay integers."""
        return self._print(node, axes, True)[0]

    def _print(self, node: Expr, axes: Sequence[str], given: bool) -> tuple[str, int]:
        def inner(part: Expr, least: int = ADD) -> str:
            text, binds = self._print(part, axes, given)
            return text if binds >= least else f"({text})"

        match node:
            case Const(value=value):
                return _number(value, given), ATOM if value >= 0 else UNARY
            case Size(name=name):
                return self.size(name) if given else f"_number({self.size(name)})", ATOM
            case Index(name=name):
                text = self.position(name, axes)
                return text if given else f"{text}.to(tl.float32)", ATOM
            case Read(tensor=tensor, subscripts=subscripts):
                labels = tuple(s.name for s in subscripts if isinstance(s, Index))
                return self.tile(Ref(tensor, labels), axes, given), ATOM
            case Neg(operand=operand):
                return f"-{inner(operand, UNARY)}", UNARY
            case Add(terms=terms):
                text = inner(terms[0])
                for term in terms[1:]:
                    negative = isinstance(term, Neg)
                    part = inner(term.operand if isinstance(term, Neg) else term, MUL)
                    text += f" - {part}" if negative else f" + {part}"
                return text, ADD
            case Mul(factors=factors):
                return self._product(factors, axes, given, inner)
            case Div(numerator=top, denominator=bottom):
                if given:
                    return f"{inner(top, UNARY)} / {inner(bottom, ATOM)}", MUL
                return f"{inner(top, UNARY)} / {inner(bottom, ATOM)}", MUL
            case FloorDiv(numerator=top, denominator=bottom):
                kind = "_quotient" if given else "_floor"
                return f"{kind}({inner(top)}, {inner(bottom)})", ATOM
            case Mod(numerator=top, denominator=bottom):
                kind = "_rest" if given else "_modulo"
                return f"{kind}({inner(top)}, {inner(bottom)})", ATOM
            case Pow(base=base, exponent=exponent):
                return self._power(base, exponent, inner)
            case Call(function=function, arguments=arguments):
                return FUNCTIONS[function].format(*(inner(a) for a in arguments)), ATOM
            case Iverson(condition=condition):
                mask = self.condition(condition, axes)
                return (mask if given else f"tl.where({mask}, 1.0, 0.0)"), ATOM
            case Where(condition=condition, then=then, otherwise=otherwise):
                mask = self.condition(condition, axes)
                return f"tl.where({mask}, {inner(then)}, {inner(otherwise)})", ATOM
        raise TypeError(f"no expression of tiles: {node!r}")

    def _product(
        self, factors: tuple[Expr, ...], axes: Sequence[str], given: bool, inner: Callable[[Expr, int], str]
    ) -> tuple[str, int]:
        """A product; a condition that does not hold makes it 0, whatever the other factors are."""
        conditions = [f.condition for f in factors if isinstance(f, Iverson)]
        others = [f for f in factors if not isinstance(f, Iverson)]
        if given or not conditions:
            return " * ".join(inner(f, UNARY) for f in factors), MUL
        mask = self.condition(conditions[0] if len(conditions) == 1 else And(tuple(conditions)), axes)
        alone = len(others) == 1
        product = " * ".join(inner(f, ADD if alone else UNARY) for f in others) if others else "1.0"
        return f"tl.where({mask}, {product}, 0.0)", ATOM

    def _power(self, base: Expr, exponent: Expr, inner: Callable[[Expr, int], str]) -> tuple[str, int]:
        if isinstance(exponent, Const) and exponent.value in (2, 3, 4) and isinstance(base, Read):
            return " * ".join([inner(base, UNARY)] * int(exponent.value)), MUL
        if isinstance(exponent, Const) and exponent.value == 2:
            return f"_square({inner(base, ADD)})", ATOM
        return f"_power({inner(base, ADD)}, {inner(exponent, ADD)})", ATOM

    def condition(self, node: Cond, axes: Sequence[str]) -> str:
        """A condition as a mask, in parentheses."""
        match node:
            case Compare(op=op, left=left, right=right):
                return f"({self.given(left, axes)} {op} {self.given(right, axes)})"
            case And(parts=parts):
                return "(" + " & ".join(self.condition(p, axes) for p in parts) + ")"
            case Or(parts=parts):
                return "(" + " | ".join(self.condition(p, axes) for p in parts) + ")"
            case Not(part=part):
                return f"({self.condition(part, axes)} == 0)"
        raise TypeError(f"no condition: {node!r}")


def finite(node: Node, known: Callable[[Read], bool]) -> bool:
    """Whether an expression is sure to be finite where the reads are that are `known` to be: sums and
    products are taken to be."""
    match node:
        case Add(terms=parts) | Mul(factors=parts):
            return all(finite(p, known) for p in parts)
        case Neg(operand=operand):
            return finite(operand, known)
        case Read():
            return known(node)
        case Const() | Index() | Size():
            return True
    return False


def zero_where(node: Node, zero: Callable[[Read], bool], known: Callable[[Read], bool]) -> bool:
    """Whether an expression is 0 wherever the reads are that `zero` says are; `known` as in `finite`."""
    match node:
        case Read():
            return zero(node)
        case Const(value=value):
            return value == 0
        case Neg(operand=operand):
            return zero_where(operand, zero, known)
        case Add(terms=parts):
            return all(zero_where(p, zero, known) for p in parts)
        case Mul(factors=parts):
            zeros = [zero_where(p, zero, known) for p in parts]
            return any(zeros) and all(z or finite(p, known) for z, p in zip(zeros, parts, strict=True))
    return False


def _number(value: int | Fraction, given: bool) -> str:
    if isinstance(value, int) and given:
        return str(value)
    return repr(float(value))
