"""Semirings: what a contraction adds and multiplies with. One row each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SEMIRINGS", "SUM_PRODUCT", "Semiring"]

SUM_PRODUCT = "sum-product"


@dataclass(frozen=True, slots=True)
class Semiring:
    """`total` reduces (an operation of `Fold`), `combine` is the sign between two operands; `zero` is the
    total of nothing and absorbs, `one` changes nothing."""

    total: str
    combine: str
    zero: float
    one: float


SEMIRINGS = {
    SUM_PRODUCT: Semiring("sum", "*", 0, 1),
    "max-plus": Semiring("max", "+", float("-inf"), 0),
    "min-plus": Semiring("min", "+", float("inf"), 0),
    "max-product": Semiring("max", "*", 0, 1),  # over 0 and 1: or-and
}
