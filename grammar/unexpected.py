"""A token that the grammar does not allow, in plain words: what was found, what could stand there."""

from __future__ import annotations

from tensorc.errors import LanguageError, Span
from tensorc.grammar.scanner import OPERATORS as SPELLED
from tensorc.grammar.scanner import Token
from tensorc.grammar.source import Source
from tensorc.ir import FUNCTIONS
from tensorc.ir import REDUCTIONS as PLAIN

Explanation = tuple[str, str]  # a message and a hint
REDUCTIONS = (*PLAIN, "softmax")
OPERANDS = frozenset({"NAME", "NUMBER", "LPAR", "LSQB", "MINUS"})
BINARY = frozenset({"OR", "AND", "COMPARE", "PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT", "__ANON_1"})
WORDS = {
    **{kind: text for text, kind in SPELLED.items() if kind != "COMPARE"},
    "DEF": "def", "NAME": "a name", "NUMBER": "an integer", "_NEWLINE": "the end of the line",
}  # fmt: skip
ENDS = ("_NEWLINE", "$END")
SHAPE = "A program begins like this: def NAME(q[n, d], k[m, d]) -> o[n, d]:"


def explain(source: Source, tokens: list[Token], number: int, accepts: set[str]) -> LanguageError:
    """The error for token `number` (past the last: the end of the text), given what the parser accepts."""
    token = tokens[number] if number < len(tokens) else Token("$END", "", tokens[-1].span)
    before = tokens[number - 1]  # the scanner sees to it that the first token is fine
    where = token.span
    if token.type in ENDS:
        after = next(t for t in reversed(tokens[:number]) if t.type != "_NEWLINE").span
        where = Span(after.end_line, after.end_column, after.end_line, after.end_column + 1)
    if _signature(tokens[:number]):
        special = _in_signature(token, before, accepts)
    else:
        special = _confusion(tokens, number) or _in_body(token, before, accepts)
    message, hint = special or _general(token, before, accepts)
    return source.error(message, where, hint)


def _signature(tokens: list[Token]) -> bool:
    """Whether the next token stands between a def and the colon that ends its signature."""
    last = next((t.type for t in reversed(tokens) if t.type in ("DEF", "COLON")), "")
    return last == "DEF"


def _confusion(tokens: list[Token], number: int) -> Explanation | None:
    """Habits from elsewhere, told by the tokens around the place."""
    kinds = [t.type for t in tokens[number - 1 : number + 2]] + ["$END", "$END"]
    word = _word_before(tokens, number)
    if kinds[1] == "COMPARE" and tokens[number].value == "==" and _starts_line(tokens, number):
        return "An equation is written with =, not ==.", "Write o[i] = ...; == compares two numbers."
    if "COMPARE" in kinds[:2] and kinds[1] in ("COMPARE", "EQUAL") or kinds[1:3] == ["EQUAL", "COMPARE"]:
        return "This is no comparison of the language.", "Comparisons are < <= > >= == !=."
    if kinds[1] in ("NAME", "NUMBER", "LPAR") and word in REDUCTIONS:
        return f"{word} needs its indices and parentheses: {word}[c](...).", "Put what is reduced in ( )."
    if (
        kinds[1] in ("NAME", "NUMBER", "LSQB")
        and kinds[0] == "NAME"
        and tokens[number - 1].value in FUNCTIONS
    ):
        return f"{tokens[number - 1].value} takes its arguments in ( ).", "Write exp(...), maximum(a, b)."
    if kinds[:2] == ["RSQB", "LSQB"]:
        return "A second [ ] follows the first.", "All positions of a tensor stand in one [ ]: m[i, j]."
    return None


def _word_before(tokens: list[Token], number: int) -> str:
    """The name in front of the brackets that end just before a token."""
    depth = 0
    for position in range(number - 1, 0, -1):
        depth += {"RSQB": 1, "LSQB": -1}.get(tokens[position].type, 0)
        if depth == 0:
            return tokens[position - 1].value if tokens[position].type == "LSQB" else ""
    return ""


def _starts_line(tokens: list[Token], number: int) -> bool:
    """Whether everything before a token on its line is one NAME or NAME[...]."""
    start = number
    while start and tokens[start - 1].type not in ("_NEWLINE", "COLON"):
        start -= 1
    name = tokens[start : start + 1]
    rest = [t.type for t in tokens[start + 1 : number]]
    return bool(name) and name[0].type == "NAME" and (not rest or (rest[0], rest[-1]) == ("LSQB", "RSQB"))


def _in_body(token: Token, before: Token, accepts: set[str]) -> Explanation | None:
    """Mistakes in equations that have a name of their own."""
    kind, last = token.type, before.type
    if kind in ("DEF", "$END") and last in ("COLON", "_NEWLINE"):
        return "This program has no equations.", "Define every output under the def: o[i] = q[i]."
    if kind == "COLON":
        return (
            "There are no slices here.",
            "Name an index for every axis: q[i, c]; a range is a condition: 0 <= j < i.",
        )
    if last == "_NEWLINE":
        return (
            f"A line cannot begin with {_found(token)}.",
            "A line continues only inside brackets: put the whole right side in ( ).",
        )
    if "EQUAL" in accepts:
        return (
            "This line defines nothing.",
            "A statement is NAME[index, ...] = expression, or NAME = PROGRAM(NAME, ...).",
        )
    if kind == "EQUAL" and "COMPARE" in accepts:
        return (
            "= defines; it does not compare.",
            "Equality is written ==. Each equation stands on a line of its own.",
        )
    if kind == "PLUS" and OPERANDS <= accepts:
        return "There is no prefix +.", "Leave it out."
    if kind in ("NAME", "NUMBER", "LPAR", "LSQB", "NOT") and "STAR" in accepts:
        return (
            f"An operator is missing before {_found(token)}.",
            "Write products with *. Each equation stands on a line of its own.",
        )
    if kind == "__ANON_0":
        return "-> stands in a signature only.", SHAPE
    return None


def _in_signature(token: Token, before: Token, accepts: set[str]) -> Explanation | None:
    """Mistakes in signatures that have a name of their own."""
    kind, last = token.type, before.type
    if "COLON" in accepts and kind in ENDS:
        return "The signature does not end with a colon.", "Add : after the outputs."
    if "__ANON_0" in accepts and kind in (*ENDS, "COLON") or last == "__ANON_0":
        return "The outputs are missing.", SHAPE
    if last == "NAME" and {"LSQB", "EQUAL"} <= accepts:
        return (
            f"The input {before.value} needs its axes, or as a parameter its default.",
            "Write q[n, d] for a tensor, g[] for a scalar, w=128 for a size. There are no annotations.",
        )
    if last == "NAME" and accepts == {"LSQB"}:
        return f"The output {before.value} needs its axes.", "Write o[n, e], or z[] for a scalar."
    if "STAR" in accepts and kind in BINARY:
        return (
            f"An axis cannot be written with {token.value}.",
            "An axis is a product of names and integers: n, h * d, 4. Give other sizes a name of their own.",
        )
    if last == "EQUAL":
        return "A default is an integer.", "Write w=128. Other numbers are scalar inputs: scale[]."
    if last == "DEF" or accepts == {"LPAR"}:
        return "The signature is incomplete.", SHAPE
    return None


def _general(token: Token, before: Token, accepts: set[str]) -> Explanation:
    ends = token.type in ENDS
    message = f"The line ends too early, after {_found(before)}." if ends else ""
    message = message or f"{_found(token)} cannot stand after {_found(before)}."
    if OPERANDS <= accepts:
        return message, "Here can stand a number, a name, a read such as q[i, c], a function, a sum or (."
    words = ["an operator"] if BINARY <= accepts else []
    words += [w for kind, w in WORDS.items() if kind in accepts and not (words and kind in BINARY)]
    return message, f"Here can stand {' or '.join(words)}."


def _found(token: Token) -> str:
    return token.value if len(token.value) <= 40 else token.value[:37] + "..."
