"""The text that a program came from, and how an error points into it."""

from __future__ import annotations

from typing import NoReturn

from tensorc.errors import LanguageError, Span


class Source:
    """Program text with its file name; both None for a traced program."""

    def __init__(self, text: str | None = None, file: str | None = None) -> None:
        self.text = None if text is None else normalise_newlines(text)
        self.file = file
        self._lines = [] if self.text is None else self.text.split("\n")

    def line(self, number: int) -> str | None:
        """One line, fit to be shown above a caret: a column a character, nothing that a terminal acts on."""
        if not 1 <= number <= len(self._lines):
            return None
        line = self._lines[number - 1]
        return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in line)

    def slice(self, span: Span | None) -> str | None:
        """The text of a span that lies on one line; None otherwise."""
        if span is None or span.line != span.end_line or (line := self.line(span.line)) is None:
            return None
        return line[span.column - 1 : span.end_column - 1]

    def fail(self, message: str, span: Span | None, hint: str) -> NoReturn:
        """Raise a `LanguageError` that points at the span."""
        raise self.error(message, span, hint)

    def error(self, message: str, span: Span | None, hint: str) -> LanguageError:
        """The `LanguageError` that points at the span; without one it has no position."""
        if span is None:
            return LanguageError(message, hint=hint, file=self.file)
        source_line = self.line(span.line)
        end = span.end_column if span.end_line == span.line else len(source_line or "") + 1
        return LanguageError(
            message,
            line=span.line,
            column=span.column,
            end_column=max(end, span.column + 1),
            source_line=source_line,
            hint=hint,
            file=self.file,
        )


def normalise_newlines(text: str) -> str:
    """The text with `\\n` line ends only."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def head(span: Span | None, name: str) -> Span | None:
    """The span of the name that a node begins with."""
    if span is None:
        return None
    return Span(span.line, span.column, span.line, span.column + len(name))


def position(span: Span | None) -> str:
    """` at 3:15`, or nothing where there is no text."""
    return "" if span is None else f" at {span.line}:{span.column}"


def did_you_mean(name: str, candidates: list[str]) -> str:
    """`; did you mean k?` where one of the candidates is close, else nothing."""
    import difflib

    close = difflib.get_close_matches(name[:100], candidates[:2000], n=1, cutoff=0.6)
    if not close:  # a doubled letter in a short name: kk for k
        close = [c for c in candidates if len(name) <= 3 and set(c) == set(name)][:1]
    return f"; did you mean {close[0]}?" if close else ""
