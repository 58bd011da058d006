"""Powers of numbers, which a few characters can make too large for any machine."""

from __future__ import annotations

import math
from typing import Any

from tensorc.grammar.show import show
from tensorc.grammar.source import Source
from tensorc.grammar.syntax import Group
from tensorc.ir import Add, Const, Div, Mul, Neg, Pow

MOST_BITS = 2**16


def check_power(source: Source, node: Pow) -> None:
    """Refuse a power of two numbers that exact arithmetic could not write down, and one of 0 that divides."""
    base, exponent = value(node.base), value(node.exponent)
    if base is None or exponent is None:
        return
    if base == 0 and exponent < 0:
        source.fail(f"`{show(source, node)}` divides by 0.", node.span, "0 has no negative power.")
    if base and abs(math.log2(abs(base)) * exponent) > MOST_BITS:
        source.fail(
            f"`{show(source, node)}` is too large, or too small.",
            node.span,
            f"Powers of numbers have at most {MOST_BITS} bits.",
        )


def value(node: Any) -> float | None:
    """An expression of numbers alone in floating point, inf past its range; None for any other."""
    match node:
        case Const(value=number):
            return float(number)
        case Group(body=body):
            return value(body)
        case Neg(operand=operand):
            inner = value(operand)
            return None if inner is None else -inner
        case Add(terms=parts) | Mul(factors=parts):
            pass
        case Div():
            parts = (node.numerator, node.denominator)
        case Pow():
            parts = (node.base, node.exponent)
        case _:
            return None
    values = [value(part) for part in parts]
    known = [v for v in values if v is not None]
    return _combine(node, known) if len(known) == len(values) else None


def _combine(node: Any, values: list[float]) -> float | None:
    try:
        if isinstance(node, Add):
            result: Any = sum(values)
        elif isinstance(node, Mul):
            result = math.prod(values)
        else:
            result = values[0] / values[1] if isinstance(node, Div) else values[0] ** values[1]
    except OverflowError:
        return math.inf
    except ZeroDivisionError:
        return None
    return None if isinstance(result, complex) or math.isnan(result) else float(result)
