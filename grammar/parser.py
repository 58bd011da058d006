"""Text to definitions: scanner, LALR(1) parser, surface syntax tree."""

from __future__ import annotations

import threading
from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark
from lark.exceptions import UnexpectedToken, VisitError

from tensorc.errors import LanguageError
from tensorc.grammar.build import Builder
from tensorc.grammar.scanner import Token, scan
from tensorc.grammar.source import Source
from tensorc.grammar.syntax import Definition
from tensorc.grammar.unexpected import explain

_lock = threading.Lock()


@cache
def _parser() -> tuple[Lark, Builder]:
    """The parser and the builder it calls, made on first use."""
    builder = Builder()
    text = files("tensorc.grammar").joinpath("tensorc.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", lexer="basic", transformer=builder, maybe_placeholders=True), builder


def parse_definitions(text: str, file: str | None = None) -> tuple[Definition, ...]:
    """The definitions of a text as written, before any name is resolved.

    Raises `LanguageError`, with the place in the text, for whatever is not in the grammar.

    >>> [d.name for d in parse_definitions("def f(q[n]) -> o[n]: o[i] = q[i]")]
    ['f']
    """
    source = Source(text, file)
    tokens = scan(source)
    with _lock:
        parser, builder = _parser()
        builder.source = source
        state: Any = parser.parse_interactive()
        fed = 0
        try:
            for token in tokens:
                state.feed_token(token)
                fed += 1
            return tuple(state.feed_eof())
        except UnexpectedToken:
            raise explain(source, tokens, fed, _accepted(parser, tokens[:fed])) from None
        except VisitError as error:
            if isinstance(error.orig_exc, LanguageError):
                raise error.orig_exc from None
            raise
        finally:
            builder.source = Source()


def _accepted(parser: Lark, tokens: list[Token]) -> set[str]:
    """The types of token that may follow the given ones."""
    state: Any = parser.parse_interactive()
    for token in tokens:
        state.feed_token(token)
    accepts: set[str] = state.accepts()
    return accepts
