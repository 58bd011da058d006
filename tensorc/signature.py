"""The header of a traced function: the signature of a program, read by the grammar itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NoReturn

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Declaration, Name

_BEFORE, _BETWEEN, _AFTER = "def f(", ")->", ": f[] = 0"
_EXAMPLE = 'For example "q[n, d], k[n, d], w=64 -> s[n, n]".'


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs, sizes with a default, and outputs, as declared."""

    inputs: tuple[Declaration, ...]
    parameters: tuple[tuple[Name, int], ...]
    outputs: tuple[Declaration, ...]

    @property
    def defaults(self) -> dict[str, int]:
        """The sizes with a number, w=64."""
        return {name.name: value for name, value in self.parameters}

    @property
    def sizes(self) -> frozenset[str]:
        """All size names."""
        declared = (*self.inputs, *self.outputs)
        return frozenset(self.defaults) | {n for d in declared for axis in d.axes for n in axis.names}

    def axes_of(self, name: str) -> tuple[str, ...]:
        """The axes of an input, as written."""
        return next(tuple(map(str, d.axes)) for d in self.inputs if d.name == name)


def parse_header(header: str) -> Signature:
    """The signature in `"q[n, d], k[n, d], w=64 -> s[n, n]"`; a LanguageError points into the header.

    >>> sorted(parse_header("q[n, d], w=64 -> o[n]").sizes)
    ['d', 'n', 'w']
    """
    from tensorc.grammar.parser import parse_definitions

    if not isinstance(header, str):
        raise LanguageError(f"A header is text, not {header!r}.", hint=_EXAMPLE)
    line = " ".join(header.splitlines()) if header.strip() else ""
    inputs, arrow, outputs = line.partition("->")
    for place, character in enumerate(line):
        if character in "():#":
            _fail(line, place, f"{character} does not stand in a header.", _EXAMPLE)
    if not arrow:
        _fail(line, len(line), "A header names inputs and outputs, with -> between them.", _EXAMPLE)
    if not outputs.strip():
        _fail(line, len(line), "A header names at least one output after ->.", _EXAMPLE)
    try:
        (definition,) = parse_definitions(f"{_BEFORE}{inputs}{_BETWEEN}{outputs}{_AFTER}")
    except LanguageError as error:
        raise _moved(error, line, len(inputs)) from None
    return Signature(
        tuple(_bare(d) for d in definition.inputs),
        tuple((Name(name.name), value) for name, value in definition.parameters),
        tuple(_bare(d) for d in definition.outputs),
    )


def declared(declaration: Declaration) -> str:
    """`q[n, d]`."""
    return f"{declaration.name}[{', '.join(map(str, declaration.axes))}]"


def _bare(declaration: Declaration) -> Declaration:
    """Without its place, which is one in the text that was parsed."""
    return replace(declaration, span=None, axis_spans=())


def _fail(line: str, place: int, message: str, hint: str) -> NoReturn:
    raise LanguageError(message, line=1, column=place + 1, source_line=line, hint=hint, file="header")


def _moved(error: LanguageError, line: str, arrow: int) -> LanguageError:
    """The same error with its place in the header; what was put around the header is not named."""
    if error.column is None:
        return error
    column = error.column - len(_BEFORE)
    message, hint = error.message, error.hint
    end = len(line) + len(_BETWEEN) - len("->") + 1
    if column in (arrow + 1, end):
        part = "inputs" if column <= arrow + 1 else "outputs"
        message = f"The {part} of the header are incomplete here."
        hint = f"A tensor is q[n, d], a scalar g[], a size with its number w=64. {_EXAMPLE}"
    elif "the ( opened" in message:
        message, hint = "This ] closes nothing.", "Remove it, or open a [."
    if column > arrow + 1:
        column -= len(_BETWEEN) - len("->")
    column = min(max(column, 1), len(line) + 1)
    width = max(1, (error.end_column or 0) - error.column)
    return LanguageError(
        message,
        line=1,
        column=column,
        end_column=column + width,
        source_line=line,
        hint=hint,
        file="header",
    )
