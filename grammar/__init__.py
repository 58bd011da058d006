"""Text to programs: the grammar, the parser and lowering to the IR. The language is in LANGUAGE.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorc.ir import Program


def parse(text: str, name: str | None = None, file: str | None = None) -> Program:
    """The program of a text; with several, the one called `name`, else the one that no other calls.

    Raises `LanguageError` with line, column and hint for text that is not in the language.

    >>> parse("def f(q[n, d]) -> o[n]: o[i] = sum[c](q[i, c])").name
    'f'
    """
    from tensorc.grammar.lowering import lower
    from tensorc.grammar.parser import parse_definitions

    return lower(parse_definitions(text, file), name, text, file)
