"""The errors users see. Every failure that a user can cause is a `TensorcError`."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_LINE = 160  # of a program, in a diagnostic


class TensorcError(Exception):
    """Base of all errors raised on purpose by tensorc."""


class LanguageError(TensorcError):
    """A program that is not in the language.

    Attributes: `line`, `column` (1-based, None where there is no text), `source_line`, `hint`,
    and `message` (without position and hint). `str(error)` is the whole diagnostic with its caret.
    """

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        end_column: int | None = None,
        source_line: str | None = None,
        hint: str = "",
        file: str | None = None,
    ) -> None:
        self.message = message
        self.line = line
        self.column = column
        self.end_column = end_column
        self.source_line = source_line
        self.hint = hint
        self.file = file
        super().__init__(self.diagnostic())

    def diagnostic(self) -> str:
        """The error with its place, the source line, a caret under the culprit and the hint."""
        where = "" if self.line is None else f"{self.file or 'program'}:{self.line}:{self.column}: "
        lines = [f"{where}{self.message}"]
        if self.source_line is not None and self.column is not None:
            shown, start = _window(self.source_line, self.column - 1)
            width = max(1, (self.end_column or self.column + 1) - self.column)
            width = min(width, max(1, len(shown) - start))
            lines += [f"    {shown}", "    " + " " * start + "^" * width]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


def _window(line: str, column: int) -> tuple[str, int]:
    """A line short enough to show, and where in it the column (from 0) has come to lie."""
    if len(line) <= LONGEST_LINE:
        return line, column
    start = 0 if column < LONGEST_LINE - 40 else column - LONGEST_LINE // 2
    end = start + LONGEST_LINE
    before, after = "... " if start else "", " ..." if end < len(line) else ""
    return before + line[start:end] + after, column - start + len(before)


class ShapeError(TensorcError):
    """Inputs whose shapes do not fit the signature: which axis, which tensors, which sizes."""


class FormError(TensorcError):
    """A form (parallel, chunkwise, recurrent) that a program does not have, with the reason."""


class BackendError(TensorcError):
    """A backend that is unknown, not installed, or cannot do what was asked."""


class VerificationError(TensorcError):
    """A form or backend that disagrees with the definition; `result` holds the counterexample."""

    def __init__(self, message: str, result: object | None = None) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, slots=True)
class Span:
    """A place in program text: 1-based lines and columns, the end exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, other: Span | None) -> Span:
        """The span from the start of this one to the end of the other."""
        return self if other is None else Span(self.line, self.column, other.end_line, other.end_column)
