"""Errors that lowering finds in a traced program, told in terms of the Python function."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Assignment, Definition, Group
from tensorc.ir import REDUCTIONS
from tensorc.trace_text import show
from tensorc.trace_walk import PRODUCTS, factors_of, letters_below, shared_letters, walk

_AT = re.compile(r" at [0-9]+:[0-9]+")
_REDUCTION = re.compile(rf"\b({'|'.join(REDUCTIONS)}|softmax)\[([^\]]+)\](?:\(\.\.\.\))?")


def traced_error(
    error: LanguageError, definition: Definition, places: tuple[str, ...], opened: frozenset[int]
) -> LanguageError:
    """The same error: no line and column, for there is no text, but the equation, a caret and its place."""
    if error.line is None or error.column is None:
        return error
    number = error.line - 2  # the signature stands on line 1
    message, hint = _AT.sub("", error.message), error.hint
    statement = definition.statements[number] if 0 <= number < len(definition.statements) else None
    if isinstance(statement, Assignment):
        hint = _dropped_parentheses(error, statement) or hint
        if number in opened and re.search(r"occurs once", message):
            hint += (
                " [...] on an expression defines a tensor with these axes, it does not replace letters: "
                "define it once, s = (...)[i, j], and read that, s[i, u]."
            )
    hint = _REDUCTION.sub(r"tensorc.\1(..., \2)", hint.strip())
    return LanguageError("\n".join([message, *_picture(error), *_place(number, places)]), hint=hint)


def _picture(error: LanguageError) -> Iterator[str]:
    """The line of the program as text, the culprit underlined; cut where it is long."""
    line, column = error.source_line, error.column
    if line is None or column is None:
        return
    width = max(1, min((error.end_column or column + 1), len(line) + 1) - column)
    start = len(line) - len(line.lstrip()) if column <= 90 else column - 40
    yield "    " + line[start : start + 110]
    yield "    " + " " * (column - 1 - start) + "^" * min(width, 110)


def _place(number: int, places: tuple[str, ...]) -> Iterator[str]:
    if 0 <= number < len(places):
        yield f"    traced at {places[number]}"


def _dropped_parentheses(error: LanguageError, statement: Assignment) -> str | None:
    """The hint for an open product that is used beside a group which sums the same letter.

    `s * s` with `s = q[i, c] * k[j, c]` reads `q[i, c] * k[j, c] * (q[i, c] * k[j, c])`: Python keeps no
    parentheses on the left.
    """
    for node in walk(statement.body):
        if not isinstance(node, PRODUCTS):
            continue
        factors = list(factors_of(node))
        loose = [f for f in factors if not isinstance(f, Group)]
        for letter in sorted(frozenset().union(*map(_summed_in_group, factors))):
            inside = [f for f in loose if letter in letters_below(f)]
            if len(inside) >= 2 and re.search(rf"\b{letter}\b", error.message):
                left = " * ".join(map(show, inside))
                axes = sorted(frozenset().union(*map(letters_below, inside)) - {letter})
                return (
                    f"Python drops the parentheses of ({left}). Define it once, "
                    f"s = ({left})[{', '.join(axes)}], and use s[{', '.join(axes)}]."
                )
    return None


def _summed_in_group(factor: Any) -> frozenset[str]:
    """The letters that a group sums."""
    if not isinstance(factor, Group):
        return frozenset()
    products = [node for node in walk(factor.body) if isinstance(node, PRODUCTS)]
    return frozenset().union(*map(shared_letters, products))
