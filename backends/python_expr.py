"""Printing expressions: values aligned by label, functions by the table of the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from tensorc.backends.python_layout import bare
from tensorc.backends.python_library import Library
from tensorc.ir import (
    Add,
    And,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Extent,
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
    Program,
    Read,
    Size,
    Where,
    walk,
)
from tensorc.plan import Ref


def align(name: str, ref: Ref, axes: Sequence[str], batched: bool = True) -> str:
    """Source for a value with its labels in the order of `axes`, missing ones of length 1."""
    order = [a for a in axes if a in ref.axes]
    text = name
    if order != list(ref.axes):
        positions = [ref.axes.index(a) for a in order]
        if positions == [1, 0]:
            text = f"{text}.swapaxes(-1, -2)"
        else:
            text = f"_permute({text}, {', '.join(map(str, positions))})"
    if len(order) == len(axes):
        return text
    marks = [":" if a in ref.axes else "None" for a in axes]
    if not batched:
        while marks and marks[0] == "None":
            marks.pop(0)
        return f"{text}[{', '.join(marks)}]" if "None" in marks else text
    return f"{text}[..., {', '.join(marks)}]"


class ExprPrinter:
    """Prints expressions over one set of labels.

    `name` gives the variable of a value (as given, where conditions compare it), `position` the integer
    positions of a label as a source text with one axis, `size` the text of a size.
    """

    def __init__(
        self,
        library: Library,
        name: Callable[[str, bool], str],
        position: Callable[[str], str],
        extent: Callable[[Extent], str],
        batched: Callable[[str], bool],
    ) -> None:
        self.library, self.name, self.position = library, name, position
        self.extent, self.batched = extent, batched

    def value(self, node: Node, axes: Sequence[str]) -> str:
        """The expression in the dtype of the computation, axes broadcast to `axes`."""
        return self._print(node, axes, False)

    def given(self, node: Node, axes: Sequence[str]) -> str:
        """The expression as conditions and subscripts see it: integers stay integers."""
        return self._print(node, axes, True)

    def _print(self, node: Node, axes: Sequence[str], given: bool) -> str:
        def inner(part: Node) -> str:
            return self._print(part, axes, given)

        match node:
            case Const(value=value):
                return str(value) if given and isinstance(value, int) else number(value)
            case Size(name=name):
                text = self.extent(Extent(1, (name,)))
                return text if given or not self.library.typed_sizes else self.library.scalar(text)
            case Index(name=name):
                here = Ref("", (name,))
                text = align(self.position(name), here, axes, batched=False)
                return text if given else self.library.convert(text)
            case Read():
                return self._read(node, axes, given)
            case Neg(operand=operand):
                return (
                    f"-{inner(operand)}"
                    if isinstance(operand, Const | Read | Size)
                    else f"-({inner(operand)})"
                )
            case Add(terms=terms):
                return self._sum(terms, inner)
            case Mul(factors=factors):
                return self._product(factors, inner)
            case Div():
                return self._operator("/", node.numerator, node.denominator, inner, given)
            case FloorDiv():
                return self._operator("//", node.numerator, node.denominator, inner, given)
            case Mod():
                return self._operator("%", node.numerator, node.denominator, inner, given)
            case Pow(base=base, exponent=exponent):
                return self._power(base, exponent, inner, given)
            case Call(function=function, arguments=arguments):
                parts = [inner(a) for a in arguments]
                plain = list(map(is_plain, arguments))
                if not given and not self._typed(node):
                    parts = [self.library.scalar(p) for p in parts]
                return self.library.call(function, parts, plain, given)
            case Iverson(condition=condition):
                mask = self.condition(condition, axes)
                return f"({mask})" if given else self.library.indicator(mask, is_plain(condition))
            case Where(condition=condition, then=then, otherwise=otherwise):
                if lazy(node) or (is_plain(node) and not self.library.typed_sizes):
                    test = bare(self.condition(condition, axes))
                    return f"({inner(then)} if {test} else {inner(otherwise)})"
                mask = self.condition(condition, axes)
                text = self.library.where(mask, inner(then), inner(otherwise), is_plain(condition))
                settled = given or any(map(self._typed, (then, otherwise)))
                return text if settled else self.library.convert(text)
        raise TypeError(f"no source for {node!r}")

    def _read(self, node: Read, axes: Sequence[str], given: bool) -> str:
        ref = Ref(node.tensor, tuple(s.name for s in node.subscripts))  # type: ignore[union-attr]
        return align(self.name(node.tensor, given), ref, axes, self.batched(node.tensor))

    def _sum(self, terms: Sequence[Expr], inner: Callable[[Node], str]) -> str:
        # 0 * i only gives a sum the axis of i: the assignment spreads it over that.
        terms = [t for t in terms if not _is_nothing(t)] or [Const(0)]
        text = inner(terms[0])
        for term in terms[1:]:
            if isinstance(term, Neg):
                text += f" - {_wrap(term.operand, inner(term.operand), (Add, Neg))}"
                continue
            part = _wrap(term, inner(term), (Add,))
            text += f" - {part[1:]}" if part.startswith("-") else f" + {part}"
        return text

    def _product(self, factors: Sequence[Expr], inner: Callable[[Node], str]) -> str:
        """A product without factors of 1 and -1; a minus stands before it."""
        negative, kept = False, []
        for factor in factors:
            while isinstance(factor, Neg):
                negative, factor = not negative, factor.operand
            if isinstance(factor, Const) and factor.value in (1, -1):
                negative ^= factor.value < 0
            else:
                kept.append(_wrap(factor, inner(factor), (Add, Div, FloorDiv, Mod)))
        return ("-" if negative else "") + (" * ".join(kept) or "1")

    def _operator(self, sign: str, left: Expr, right: Expr, inner: Callable[[Node], str], given: bool) -> str:
        top = _wrap(left, inner(left), (Add, Neg, FloorDiv, Mod, Mul, Div))
        if not given and not self._typed(left) and not self._typed(right):
            top = self.library.scalar(inner(left))
        bottom = _wrap(right, inner(right), (Add, Neg, FloorDiv, Mod, Mul, Div))
        return f"{top} {sign} {bottom}"

    def _power(self, base: Expr, exponent: Expr, inner: Callable[[Node], str], given: bool) -> str:
        low, high = inner(base), inner(exponent)
        if not given and not self._typed(base) and not self._typed(exponent):
            high = _wrap(exponent, high, (Add, Mul, Neg, Div, FloorDiv, Mod, Pow))
            return f"{self.library.scalar(low)} ** {high}"
        if isinstance(exponent, Const) and exponent.value == 2:
            return self.library.square(low)
        if isinstance(exponent, Const):
            low = low if isinstance(base, Read | Call) else f"({low})"
            return f"{low} ** {_wrap(exponent, high, ())}"
        return self.library.power(low, high)

    def _typed(self, node: Node) -> bool:
        """Whether the source of an expression is sure to have the dtype of the computation, not that of
        Python's numbers."""
        match node:
            case Const():
                return False
            case Size():
                return self.library.typed_sizes
            case Neg(operand=operand):
                return self._typed(operand)
            case Add(terms=parts) | Mul(factors=parts) | Call(arguments=parts):
                return any(map(self._typed, parts))
            case Div() | FloorDiv() | Mod():
                return self._typed(node.numerator) or self._typed(node.denominator)
            case Pow():
                return self._typed(node.base) or self._typed(node.exponent)
        return True

    def condition(self, node: Cond, axes: Sequence[str]) -> str:
        """A condition as a boolean array, brackets around it where an operator would bind tighter."""
        match node:
            case Compare(op=op, left=left, right=right):
                return f"({self.given(left, axes)} {op} {self.given(right, axes)})"
            case And(parts=parts):
                return "(" + " & ".join(self.condition(p, axes) for p in parts) + ")"
            case Or(parts=parts):
                return "(" + " | ".join(self.condition(p, axes) for p in parts) + ")"
            case Not(part=part):
                return self.library.opposite(self.condition(part, axes), is_plain(part))
        raise TypeError(node)


def number(value: int | Fraction) -> str:
    """A number as Python source; fractions as the nearest float."""
    if isinstance(value, int):
        return str(value) if abs(value) < 2**53 else repr(float(value))
    text = repr(float(value))
    return f"({text})" if text.startswith("-") else text


def _wrap(node: Node, text: str, kinds: tuple[type, ...]) -> str:
    negative = isinstance(node, Const) and node.value < 0
    return f"({text})" if isinstance(node, kinds) or negative else text


def lazy(node: Where) -> bool:
    """Whether a choice is a conditional expression of Python: the condition is one for all elements, and
    both branches read the same values, so that either has the shape of the result."""
    if any(isinstance(n, Read | Index) for n in walk(node.condition)):
        return False
    both = [{n for n in walk(part) if isinstance(n, Read | Index)} for part in (node.then, node.otherwise)]
    return both[0] == both[1] != set()


def hazardous(node: Node) -> bool:
    """Whether an expression evaluates branches that are not taken, with functions that may warn there."""
    return any(
        may_warn(part)
        for choice in walk(node)
        if isinstance(choice, Where) and not lazy(choice)
        for part in (choice.then, choice.otherwise)
    )


def may_warn(node: Node) -> bool:
    """Whether evaluating an expression outside its domain may warn of a division or an invalid value."""
    return any(
        isinstance(n, Div | FloorDiv | Mod)
        or (isinstance(n, Call) and n.function in ("log", "sqrt", "rsqrt", "exp"))
        or (isinstance(n, Pow) and not (isinstance(n.exponent, Const) and n.exponent.value in (1, 2, 3, 4)))
        for n in walk(node)
    )


def may_alias(node: Node) -> bool:
    """Whether the source of an expression may be one of the values it reads, rather than a new array."""
    match node:
        case Where():
            return lazy(node) and (may_alias(node.then) or may_alias(node.otherwise))
        case Add(terms=parts) | Mul(factors=parts):
            ones = Const(1), Const(-1), Neg(Const(1))
            kept = [p for p in parts if not _is_nothing(p) and p not in ones]
            return len(kept) == 1 and may_alias(kept[0])
        case Neg(operand=operand):
            return may_alias(operand)
    return isinstance(node, Read)


def _is_nothing(term: Expr) -> bool:
    """0 times indices and sizes."""
    return (
        isinstance(term, Mul)
        and Const(0) in term.factors
        and all(isinstance(f, Const | Index | Size) for f in term.factors)
    )


def is_plain(node: Node) -> bool:
    """Whether an expression or a condition is of numbers and sizes alone: one number, not an array."""
    return not any(isinstance(n, Read | Index) for n in walk(node))


def compared_inputs(program: Program) -> frozenset[str]:
    """Inputs that conditions of the program compare: they are never cast before."""
    found = frozenset[str]().union(*(compared(e.body) for e in program.equations))
    return found & {i.name for i in program.inputs}


def compared(node: Node) -> frozenset[str]:
    """Values that conditions compare, to be used as given."""
    found = [n for n in walk(node) if isinstance(n, Compare)]
    return frozenset(r.tensor for c in found for r in walk(c) if isinstance(r, Read))
