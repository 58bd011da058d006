"""How long exact numbers get: a bound on the bits of every tensor, from its equation.

A program of a few lines can square a number fifty times; nobody wants to wait for its digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tensorc.backends.reference import ordered
from tensorc.exact_elements import LARGEST_EXPONENT
from tensorc.ir import (
    Add,
    Call,
    Compare,
    Const,
    Div,
    Expr,
    Index,
    Mul,
    Node,
    Pow,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    children,
)
from tensorc.sampling import roles

MOST_BITS = 100_000
_CAP = 1 << 40
INTEGER, SHARED, RATIONAL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Length:
    """Bits of a number, and its kind: an integer, a fraction whose denominator divides the longest one of
    its kind (powers of a few numbers), or any fraction. Sums of the last have the product of all
    denominators."""

    bits: int
    kind: int = INTEGER


def longest(program: Program, sizes: Mapping[str, int]) -> int:
    """A rough upper bound on the bits of any number of the program at these sizes.

    >>> from tensorc.compiler import parse
    >>> longest(parse("def f(x[n]) -> y[n]:  y[i] = x[i] ** 100"), {"n": 3})
    300
    """
    parts = roles(program)
    tensors = {d.name: Length(3, SHARED if parts[d.name][0] == "gate" else INTEGER) for d in program.inputs}
    rounds = max([1, *sizes.values()])
    for group, cyclic in ordered(program):
        for _ in range(min(rounds, 64) if cyclic else 1):
            for equation in group:
                tensors[equation.target] = _length(equation.body, tensors, sizes)
            if max(tensors[e.target].bits for e in group) >= MOST_BITS:
                break
    return max((length.bits for length in tensors.values()), default=0)


def _length(body: Expr, tensors: Mapping[str, Length], sizes: Mapping[str, int]) -> Length:
    todo: list[tuple[Node, bool]] = [(body, False)]
    done: list[Length] = []
    while todo:
        node, ready = todo.pop()
        parts = () if isinstance(node, Read) else children(node)
        if parts and not ready:
            todo.append((node, True))
            todo.extend((part, False) for part in reversed(parts))
            continue
        values = done[len(done) - len(parts) :]
        del done[len(done) - len(parts) :]
        found = _combine(node, values, sizes) if parts else _leaf(node, tensors)
        done.append(Length(min(found.bits, _CAP), found.kind))
    return done[-1]


def _leaf(node: Node, tensors: Mapping[str, Length]) -> Length:
    match node:
        case Const(value=value):
            bits = value.numerator.bit_length() + value.denominator.bit_length()
            return Length(bits, INTEGER if value.denominator == 1 else RATIONAL)
        case Read(tensor=tensor):
            return tensors.get(tensor, Length(1))
        case Size() | Index():
            return Length(4)
    return Length(1)


def _combine(node: Node, values: list[Length], sizes: Mapping[str, int]) -> Length:
    kind = max(v.kind for v in values)
    bits = [v.bits for v in values]
    match node:
        case Add():
            return Length(_added(bits, kind), kind)
        case Mul():
            return Length(sum(bits), kind)
        case Div():
            return Length(sum(bits), RATIONAL)
        case Pow(exponent=Const() as exponent):
            power: Any = exponent.value
            longer = bits[0] * max(1, int(abs(power)))
            return Length(min(LARGEST_EXPONENT, longer), RATIONAL if power < 0 else kind)
        case Pow():
            return Length(min(LARGEST_EXPONENT, bits[0] << min(bits[1], 20)), max(kind, SHARED))
        case Call(function="exp"):
            return Length(min(LARGEST_EXPONENT, 1 << min(bits[0], 20)), SHARED)
        case Call(function="abs" | "sign" | "relu" | "maximum" | "minimum"):
            return Length(max(bits), kind)
        case Call() | Compare():
            return Length(4)
        case Softmax():
            # Over one denominator along a row, so that sums of a row are no longer.
            return Length(2 * min(LARGEST_EXPONENT, 1 << min(bits[-1], 20)), SHARED)
        case Reduce():
            return _reduced(node, values[-1], sizes)
    return Length(max(bits), kind)


def _added(bits: list[int], kind: int) -> int:
    return sum(bits) if kind == RATIONAL else max(bits) + len(bits).bit_length()


def _reduced(node: Reduce, body: Length, sizes: Mapping[str, int]) -> Length:
    count = 1
    for bind in node.binds:
        count = min(_CAP, count * bind.extent.value(sizes))
    if node.op == "prod":
        return Length(body.bits * count, body.kind)
    if node.op in ("sum", "mean"):
        bits = body.bits * count if body.kind == RATIONAL else body.bits + count.bit_length()
        return Length(bits + 4, RATIONAL if node.op == "mean" else body.kind)
    return Length(4) if node.op == "logsumexp" else body
