"""Text to tokens: the limits on size and nesting, the layout of lines, and what no token can be.

Everything that could make parsing slow or deep is refused here, in one pass over the text.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from tensorc.errors import Span
from tensorc.grammar.characters import describe_character, keyword_hint
from tensorc.grammar.source import Source

MAX_BYTES = 64 * 1024
MAX_TOKENS = 10_000
MAX_NESTING = 100
MAX_NAME = 80

OPERATORS = {
    "->": "__ANON_0", "**": "__ANON_1", "//": "FLOOR", "+": "PLUS", "-": "MINUS", "*": "STAR", "/": "SLASH",
    "%": "PERCENT", "=": "EQUAL", ",": "COMMA", ":": "COLON", "(": "LPAR", ")": "RPAR", "[": "LSQB",
    "]": "RSQB", "<": "COMPARE", "<=": "COMPARE", ">": "COMPARE", ">=": "COMPARE", "==": "COMPARE",
    "!=": "COMPARE",
}  # fmt: skip
WORDS = {"def": "DEF", "or": "OR", "and": "AND", "not": "NOT"}
AUGMENTED = re.compile(r"(?:\+|-|\*\*?|//?|%|@|&|\||\^|<<|>>|:)=(?!=)")
TOKEN = re.compile(
    r"(?P<blank>[ \t\f]+|\#[^\n]*)|(?P<newline>\n)|(?P<NAME>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<NUMBER>(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<op>->|\*\*|//|<=|>=|==|!=|[-+*/%=,:()\[\]<>])"
)
OPENING = {"RPAR": "(", "RSQB": "["}


@dataclass(frozen=True, slots=True)
class Token:
    """A terminal of the grammar with its text and place."""

    type: str
    value: str
    span: Span


@dataclass(slots=True)
class _Nesting:
    """Open brackets, and the run of prefix and power operators since the last operand ended."""

    source: Source
    open: list[tuple[Token, int]] = field(default_factory=list)
    run: int = 0
    depth: int = 0

    def see(self, token: Token, before: Token | None) -> None:
        kind = token.type
        if kind in ("LPAR", "LSQB"):
            self.open.append((token, self.run))
            self.depth, self.run = self.depth + 1, 0
        elif kind in OPENING:
            self._close(token)
        elif kind in ("__ANON_1", "NOT") or (kind == "MINUS" and not _ends_operand(before)):
            self.run, self.depth = self.run + 1, self.depth + 1
        elif kind not in ("NAME", "NUMBER"):
            self.depth, self.run = self.depth - self.run, 0
        if self.depth > MAX_NESTING:
            self.source.fail(
                f"More than {MAX_NESTING} brackets, prefix or power operators are nested here.",
                token.span,
                "Give the inner part a name in an equation of its own.",
            )

    def _close(self, token: Token) -> None:
        if not self.open:
            self.source.fail(
                f"This {token.value} closes nothing.",
                token.span,
                f"Remove it, or open a {OPENING[token.type]}.",
            )
        opener, run = self.open.pop()
        if opener.value != OPENING[token.type]:
            want = ")" if opener.value == "(" else "]"
            self.source.fail(
                f"This {token.value} does not fit the {opener.value} opened at "
                f"{opener.span.line}:{opener.span.column}.",
                token.span,
                f"Close it with {want} first.",
            )
        self.depth, self.run = self.depth - self.run - 1, run


def _ends_operand(token: Token | None) -> bool:
    return token is not None and token.type in ("NAME", "NUMBER", "RPAR", "RSQB")


def scan(source: Source) -> list[Token]:
    """The tokens of a text, each line outside brackets ended by a NEWLINE.

    Raises `LanguageError` for text over the limits, characters that no token has, brackets that do
    not match, and lines that stand outside a program.
    """
    text = source.text or ""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        source.fail(
            f"The text is longer than {MAX_BYTES // 1024} KiB.", Span(1, 1, 1, 2), "Split it into files."
        )
    tokens: list[Token] = []
    nesting = _Nesting(source)
    layout = _Layout(source)
    for token in _raw_tokens(source, text):
        if token.type == "_NEWLINE":
            nesting.run, nesting.depth = 0, nesting.depth - nesting.run
            if not nesting.open and tokens and tokens[-1].type != "_NEWLINE":
                tokens.append(token)
            continue
        if nesting.open and token.type == "DEF":
            _fail_unclosed(source, nesting.open[-1][0])
        if not nesting.open and (not tokens or tokens[-1].type == "_NEWLINE"):
            layout.line_starts_with(token)
        nesting.see(token, tokens[-1] if tokens else None)
        tokens.append(token)
        if len(tokens) > MAX_TOKENS:
            source.fail(f"The text has more than {MAX_TOKENS} tokens.", token.span, "Split it into files.")
    if nesting.open:
        _fail_unclosed(source, nesting.open[-1][0])
    if not tokens:
        hint = "Write def NAME(inputs) -> outputs: and its equations, as in def f(q[n]) -> o[n]: o[i] = q[i]."
        source.fail("The text holds no program.", Span(1, 1, 1, 2), hint)
    return tokens


def _fail_unclosed(source: Source, opener: Token) -> NoReturn:
    close = ")" if opener.value == "(" else "]"
    source.fail(f"This {opener.value} is never closed.", opener.span, f"Add the missing {close}.")


@dataclass(slots=True)
class _Layout:
    """Programs begin at one indentation, their equations further in."""

    source: Source
    indent: int | None = None

    def line_starts_with(self, token: Token) -> None:
        indent = token.span.column - 1  # blanks alone stand before it
        if token.type == "DEF":
            if self.indent is None:
                self.indent = indent
            elif indent != self.indent:
                self.source.fail(
                    "This def is indented differently from the first one.",
                    token.span,
                    "Programs do not nest: begin every def in the same column.",
                )
        elif self.indent is None:
            self.source.fail(
                "A text begins with the def of a program.",
                token.span,
                "Write def NAME(inputs) -> outputs: above, and indent the equations under it.",
            )
        elif indent <= self.indent:
            self.source.fail(
                "This line is not indented, so it belongs to no program.",
                token.span,
                "Indent it under its def. A line continues only inside brackets.",
            )


def _raw_tokens(source: Source, text: str) -> Iterator[Token]:
    line, start, position = 1, 0, 0
    if text.startswith("\ufeff"):
        position = 1
    while position < len(text):
        match = TOKEN.match(text, position)
        column = position - start + 1
        if match is None or AUGMENTED.match(text, position):
            width, message, hint = describe_character(text, position)
            source.fail(message, Span(line, column, line, column + width), hint)
        assert match is not None
        kind, value = match.lastgroup or "", match.group()
        position = match.end()
        span = Span(line, column, line, column + len(value))
        if kind == "newline":
            yield Token("_NEWLINE", value, span)
            line, start = line + 1, position
        elif kind == "NAME":
            yield Token(_check_word(source, value, span), value, span)
        elif kind == "NUMBER":
            _check_number(source, text, position, span)
            yield Token("NUMBER", value, span)
        elif kind == "op":
            yield Token(OPERATORS[value], value, span)
    yield Token("_NEWLINE", "\n", Span(line, position - start + 1, line, position - start + 2))


def _check_word(source: Source, word: str, span: Span) -> str:
    if word in WORDS:
        return WORDS[word]
    if keyword.iskeyword(word):
        message, hint = keyword_hint(word)
        source.fail(message, span, hint)
    if len(word) > MAX_NAME:
        source.fail(f"This name has {len(word)} characters.", span, f"Names have at most {MAX_NAME}.")
    return "NAME"


def _check_number(source: Source, text: str, end: int, span: Span) -> None:
    if end < len(text) and (text[end].isalnum() or text[end] in "_."):
        source.fail(
            "A number runs into what follows it.",
            Span(span.line, span.column, span.line, span.end_column + 1),
            "Write the product with *, as in 2 * x.",
        )
