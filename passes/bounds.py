"""Where the columns of a row lie: from the conditions of a domain, the range of columns that any row of a
block can need, and the test that all rows need all columns of a block.

A condition that is linear in a row's and a column's position bounds the column by a multiple of the row
and a number of sizes. A block of rows (and of columns) is known by its first and last position; those
stand in expressions as sizes, named by `first` and `last`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tensorc.ir import Add, And, Call, Compare, Cond, Const, Expr, Index, Mul, Neg, Node, Or, Size, walk
from tensorc.plan import first, last

TRUE = Compare("==", Const(0), Const(0))
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


@dataclass(frozen=True, slots=True)
class Limit:
    """column <= slope · row + offset (or >=, if `lower`); the offset holds numbers and sizes alone."""

    lower: bool
    slope: int
    offset: Expr

    def at(self, row: str, widest: bool) -> Expr:
        """The limit for the row of a block that allows most columns, or fewest."""
        if self.slope == 0:
            return self.offset
        high = (self.slope > 0) != self.lower
        end = Size(last(row) if high == widest else first(row))
        position: Expr = end if self.slope == 1 else Mul((Const(self.slope), end))
        return position if self.offset == Const(0) else Add((position, self.offset))


@dataclass(frozen=True, slots=True)
class Range:
    """The columns that a block of rows may need: from `low` on, before `high` (None: no limit)."""

    low: Expr | None = None
    high: Expr | None = None


def limits(condition: Cond, row: str, column: str) -> tuple[Limit, ...] | None:
    """The condition as limits of the column; None if it is not linear in both positions."""
    if not isinstance(condition, Compare) or condition.op == "!=":
        return None
    found = _linear(Add((condition.left, Neg(condition.right))), row, column)
    if found is None or found[1] not in (1, -1):
        return None
    slope, sign, offset = found
    op = condition.op if sign == 1 else MIRRORED[condition.op]
    # column + sign · (slope · row + offset)  (op)  0
    slope, offset = -sign * slope, _scaled(offset, -sign)
    upper = {"<=": offset, "<": add(offset, Const(-1)), "==": offset}.get(op)
    lower = {">=": offset, ">": add(offset, Const(1)), "==": offset}.get(op)
    found_limits = [Limit(False, slope, upper)] if upper is not None else []
    return (*found_limits, *([Limit(True, slope, lower)] if lower is not None else []))


def column_range(conditions: Iterable[Cond], row: str, column: str) -> Range:
    """The columns for which some row of the block may satisfy all conditions."""
    lows: list[Expr] = []
    highs: list[Expr] = []
    for condition in conditions:
        found = _range(condition, row, column)
        lows += [found.low] if found.low is not None else []
        highs += [found.high] if found.high is not None else []
    return Range(_extreme("maximum", lows), _extreme("minimum", highs))


def _range(condition: Cond, row: str, column: str) -> Range:
    if isinstance(condition, And):
        return column_range(condition.parts, row, column)
    if isinstance(condition, Or):
        parts = [_range(p, row, column) for p in condition.parts]
        lows = [p.low for p in parts if p.low is not None]
        highs = [p.high for p in parts if p.high is not None]
        low = _extreme("minimum", lows) if len(lows) == len(parts) else None
        return Range(low, _extreme("maximum", highs) if len(highs) == len(parts) else None)
    low = high = None
    for limit in limits(condition, row, column) or ():
        if limit.lower:
            low = limit.at(row, True)
        else:
            high = add(limit.at(row, True), Const(1))
    return Range(low, high)


def always(conditions: Iterable[Cond], row: str, columns: Iterable[str]) -> Cond | None:
    """A test of a block's ends: if it holds, all rows and columns satisfy all conditions. None if no such
    test is known."""
    tests = [_always(c, row, tuple(columns)) for c in conditions]
    kept = [t for t in tests if t is not None]
    if len(kept) < len(tests):
        return None
    return TRUE if not kept else kept[0] if len(kept) == 1 else And(tuple(kept))


def _always(condition: Cond, row: str, columns: tuple[str, ...]) -> Cond | None:
    if isinstance(condition, And):
        return always(condition.parts, row, columns)
    if isinstance(condition, Or):
        tests = [t for p in condition.parts if (t := _always(p, row, columns)) is not None]
        return None if not tests else tests[0] if len(tests) == 1 else Or(tuple(tests))
    for column in columns:
        found = limits(condition, row, column)
        if found:
            tests = []
            for limit in found:
                end = Size(first(column) if limit.lower else last(column))
                tests.append(Compare(">=" if limit.lower else "<=", end, limit.at(row, False)))
            return tests[0] if len(tests) == 1 else And(tuple(tests))
    return None


def lag(conditions: Iterable[Cond], row: str, column: str) -> int | None:
    """How far before the row the column is at least: 0 for column <= row, 1 for column < row; None if a
    later column may satisfy the conditions."""
    found = None
    for condition in conditions:
        if isinstance(condition, And):
            here = lag(condition.parts, row, column)
        elif isinstance(condition, Or):
            lags = [lag((p,), row, column) for p in condition.parts]
            known = [n for n in lags if n is not None]
            here = min(known) if known and len(known) == len(lags) else None
        else:
            here = max((n for m in limits(condition, row, column) or () if (n := _lag(m)) is not None),
                       default=None)  # fmt: skip
        if here is not None:
            found = here if found is None else max(found, here)
    return found


def _lag(limit: Limit) -> int | None:
    """The lag of column <= row + offset, for an offset that is sure not to be positive."""
    if limit.lower or limit.slope != 1:
        return None
    least = 0
    for term in limit.offset.terms if isinstance(limit.offset, Add) else (limit.offset,):
        if isinstance(term, Const) and isinstance(term.value, int):
            least -= term.value
        elif not (isinstance(term, Neg) and isinstance(term.operand, Size)):
            return None
    return least if least >= 0 else None


def implied(condition: Cond, row: str, column: str, past: bool) -> bool:
    """Whether a condition holds for every column up to the row (before it, if `past`)."""
    found = limits(condition, row, column)
    return bool(found) and all(
        not m.lower and m.slope == 1 and _at_least(m.offset, -1 if past else 0) for m in found or ()
    )


def farthest(condition: Cond, one: str, other: str) -> tuple[str, str, Expr] | None:
    """(late, early, how far apart they are at most) of a condition that limits one side of a token alone, by
    numbers and sizes: i - w < j says that i is at most w - 1 after j."""
    found = limits(condition, one, other)
    if found is None or len(found) != 1 or found[0].slope != 1:
        return None
    (limit,) = found
    return (one, other, _scaled(limit.offset, -1)) if limit.lower else (other, one, limit.offset)


def reach(conditions: Iterable[Cond], row: str, column: str) -> Expr | None:
    """How many tokens before a row its columns go at most, a number of sizes; None if there is no limit.

    >>> i, j, w = Index("i"), Index("j"), Size("w")
    >>> reach([Compare("<", Add((i, Neg(w))), j), Compare("<=", j, i)], "i", "j")
    Call(function='maximum', arguments=(Const(value=0), Add(terms=(Size(name='w'), Const(value=-1)))))
    """
    for condition in conditions:
        if isinstance(condition, And):
            inner = reach(condition.parts, row, column)
            if inner is not None:
                return inner
        for limit in limits(condition, row, column) or ():
            if limit.lower and limit.slope == 1:
                return _not_negative(_scaled(limit.offset, -1))
    return None


def kept_rows(width: Expr) -> Expr:
    """How many tokens before a row a window of this width has."""
    return _not_negative(add(width, Const(-1)))


def _not_negative(number: Expr) -> Expr:
    found = number if _at_least(number, 0) else _extreme("maximum", [Const(0), number])
    assert found is not None
    return found


def _at_least(offset: Expr, least: int) -> bool:
    total = 0
    for term in offset.terms if isinstance(offset, Add) else (offset,):
        if isinstance(term, Const) and isinstance(term.value, int):
            total += term.value
        elif not isinstance(term, Size):
            return False
    return total >= least


def _linear(expr: Expr, row: str, column: str) -> tuple[int, int, Expr] | None:
    """(coefficient of the row, of the column, the rest), the rest of numbers and sizes."""
    match expr:
        case Index(name=name) if name in (row, column):
            return int(name == row), int(name == column), Const(0)
        case Neg(operand=operand):
            return _times(_linear(operand, row, column), -1)
        case Add(terms=terms):
            total: tuple[int, int, Expr] = (0, 0, Const(0))
            for term in terms:
                part = _linear(term, row, column)
                if part is None:
                    return None
                total = total[0] + part[0], total[1] + part[1], add(total[2], part[2])
            return total
        case Mul(factors=(Const(value=int(scale)), other)) | Mul(factors=(other, Const(value=int(scale)))):
            return _times(_linear(other, row, column), scale)
    return (0, 0, expr) if _is_number(expr) else None


def _is_number(expr: Node) -> bool:
    """Whether an expression is an integer made of numbers and sizes."""
    allowed = (Size, Const, Add, Neg, Mul)
    return all(
        isinstance(n, allowed) and not (isinstance(n, Const) and not isinstance(n.value, int))
        for n in walk(expr)
    )


def _times(found: tuple[int, int, Expr] | None, scale: int) -> tuple[int, int, Expr] | None:
    return None if found is None else (found[0] * scale, found[1] * scale, _scaled(found[2], scale))


def _scaled(expr: Expr, scale: int) -> Expr:
    match expr:
        case Const(value=value):
            return Const(value * scale)
        case Add(terms=terms):
            return replace(expr, terms=tuple(_scaled(t, scale) for t in terms))
        case Neg(operand=operand) if scale == -1:
            return operand
    return expr if scale == 1 else Neg(expr) if scale == -1 else Mul((Const(scale), expr))


def add(left: Expr, right: Expr) -> Expr:
    """A sum with its numbers added up, at the end."""
    terms = [t for e in (left, right) for t in (e.terms if isinstance(e, Add) else (e,))]
    number = sum(int(t.value) for t in terms if isinstance(t, Const))
    kept: list[Expr] = [t for t in terms if not isinstance(t, Const)]
    for term in list(kept):
        if Neg(term) in kept and term in kept:  # w - w
            kept.remove(term)
            kept.remove(Neg(term))
    if number or not kept:
        kept.append(Const(number))
    return kept[0] if len(kept) == 1 else Add(tuple(kept))


def _extreme(function: str, values: list[Expr]) -> Expr | None:
    """The maximum or minimum of expressions."""
    if not values:
        return None
    total = values[0]
    for value in values[1:]:
        total = total if value == total else Call(function, (total, value))
    return total
