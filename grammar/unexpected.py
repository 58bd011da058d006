"""A token that the grammar does not allow, in plain words: what was found, what could stand there."""

from __future__ import annotations

from tensorc.errors import LanguageError, Span
from tensorc.grammar.scanner import Token
from tensorc.grammar.source import Source

OPERATORS = frozenset(
    {"OR", "AND", "COMPARE", "PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT", "__ANON_1"}
)
LITERALS = {
    "COLON": ":", "COMMA": ",", "EQUAL": "=", "LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]",
    "__ANON_0": "->", "STAR": "*", "DEF": "def", "NAME": "a name", "NUMBER": "an integer",
    "_NEWLINE": "the end of the line",
}  # fmt: skip
SHAPE = "A program begins: def NAME(q[n, d], k[m, d]) -> o[n, d]:"


def explain(source: Source, tokens: list[Token], number: int, accepts: set[str]) -> LanguageError:
    """The error for token `number` (past the last: the end of the text), given what the parser accepts."""
    end = tokens[-1].span
    token = tokens[number] if number < len(tokens) else Token("$END", "", end)
    before = tokens[number - 1] if number else None
    if token.type in ("_NEWLINE", "$END") and before is not None:
        column = before.span.end_column
        where = Span(before.span.end_line, column, before.span.end_line, column + 1)
    else:
        where = token.span
    signature = _in_signature(tokens, number)
    message, hint = _special(token, before, accepts, signature) or _general(token, before, accepts, signature)
    return source.error(message, where, hint)


def _in_signature(tokens: list[Token], number: int) -> bool:
    """Whether the token stands between a def and the colon that ends its signature."""
    for token in reversed(tokens[:number]):
        if token.type == "DEF":
            return True
        if token.type == "COLON":
            return False
    return False


def _found(token: Token) -> str:
    if token.type in ("_NEWLINE", "$END"):
        return "the line ends"
    return token.value if len(token.value) <= 40 else token.value[:37] + "..."


def _special(
    token: Token, before: Token | None, accepts: set[str], signature: bool
) -> tuple[str, str] | None:
    """Mistakes with a name of their own."""
    last = before.type if before else ""
    at_end = token.type in ("_NEWLINE", "$END")
    if signature:
        return _special_signature(token, last, accepts, at_end)
    if last in ("COLON", "_NEWLINE") and (token.type == "DEF" or token.type == "$END"):
        return "This program has no equations.", "Define every output under the def: o[i] = q[i]."
    if token.type == "COLON":
        return (
            "There are no slices here.",
            "Name an index for every axis: q[i, c]; a range is a condition: 0 <= j < i.",
        )
    if token.type == "EQUAL" and "COMPARE" in accepts:
        return (
            "= defines; it does not compare.",
            "Equality is written ==. Each equation stands on a line of its own.",
        )
    if token.type == "PLUS" and last != "NAME":
        return "There is no prefix +.", "Leave it out. A line continues only inside brackets."
    if last == "_NEWLINE":
        return (
            f"A line cannot begin with {_found(token)}.",
            "A line continues only inside brackets: put the whole right side in ( ).",
        )
    if token.type in ("NAME", "NUMBER", "LPAR", "NOT") and "STAR" in accepts:
        return (
            f"An operator is missing before {_found(token)}.",
            "Write products with *. Each equation stands on a line of its own.",
        )
    if token.type == "LSQB" and "STAR" in accepts:
        return "An operator is missing before [.", "Write products with *, as in q[i, c] * [j <= i]."
    if token.type == "__ANON_0" and not signature:
        return "-> stands in a signature only.", SHAPE
    return None


def _special_signature(token: Token, last: str, accepts: set[str], at_end: bool) -> tuple[str, str] | None:
    if at_end and "COLON" in accepts:
        return "The signature does not end with a colon.", "Add : after the outputs."
    if at_end and "__ANON_0" in accepts or token.type == "COLON" and "__ANON_0" in accepts:
        return "The outputs are missing.", SHAPE
    if last == "NAME" and "LSQB" in accepts and "EQUAL" in accepts:
        return (
            "An input needs its axes, a parameter its default.",
            "Write q[n, d] for a tensor, g[] for a scalar, w=128 for a size.",
        )
    if last == "NAME" and accepts == {"LSQB"}:
        return "An output needs its axes.", "Write o[n, e], or z[] for a scalar."
    if "STAR" in accepts and token.type in OPERATORS:
        return (
            f"An axis cannot be written with {token.value}.",
            "An axis is a product of names and integers: n, h * d, 4. Give other sizes a name of their own.",
        )
    if last == "EQUAL":
        return "A default is an integer.", "Write w=128. Other numbers are scalar inputs: scale[]."
    return None


def _general(token: Token, before: Token | None, accepts: set[str], signature: bool) -> tuple[str, str]:
    after = f" after {_found(before)}" if before is not None and before.type != "_NEWLINE" else ""
    ends = token.type in ("_NEWLINE", "$END")
    message = (
        f"The line ends{after} too early." if ends else f"{_found(token)} cannot stand{after or ' here'}."
    )
    wanted = []
    if {"NAME", "NUMBER", "LPAR"} <= accepts:
        wanted.append("a number, a name, a read such as q[i, c], a function, a sum or (")
    elif not signature and OPERATORS <= accepts | {"NOT"}:
        wanted.append("an operator")
    wanted += (
        []
        if len(wanted) and "NAME" in accepts
        else [
            text
            for kind, text in LITERALS.items()
            if kind in accepts and not (wanted and kind in OPERATORS | {"LSQB", "LPAR"})
        ]
    )
    return message, f"Here can stand {', or '.join(wanted)}." if wanted else "Remove it."
