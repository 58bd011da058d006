"""The layout of generated source: blank lines between functions, long lines broken inside brackets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from textwrap import wrap

WIDTH = 110
LONGEST = 4000  # a line beyond this is no pleasure anyway, and would take long to break
OPEN, CLOSE = "([{", ")]}"
# Where an expression may be broken, the loosest operators first.
OPERATORS = ((" if ", " else "), (" | ",), (" & ",), (" + ", " - "), (" * ", " / ", " // ", " % ", " @ "))


def tuple_text(items: Iterable[str]) -> str:
    """A tuple as source: `(a, b)`, `(a,)`, `()`."""
    parts = [bare(item) for item in items]
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def bare(text: str) -> str:
    """An expression without the parentheses around all of it.

    >>> bare("(a + b)"), bare("(a) + (b)"), bare("(a,)")
    ('a + b', '(a) + (b)', '(a,)')
    """
    if not text.startswith("(") or text.endswith(",)") or text == "()":
        return text
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and at < len(text) - 1:
            return text
    return text[1:-1]


def lay_out(lines: Iterable[str]) -> str:
    """Module text: two blank lines around each definition, no line beyond the width.

    >>> print(lay_out(["x = 1", "def f(x):", "    return x", "", "def g(x):", "    return x"]))
    x = 1
    <BLANKLINE>
    <BLANKLINE>
    def f(x):
        return x
    <BLANKLINE>
    <BLANKLINE>
    def g(x):
        return x
    """
    result: list[str] = []
    for line in lines:
        if not line.strip():
            if result and result[-1].startswith("    "):
                result.append("")
            continue
        decorated = bool(result) and result[-1].startswith("@")
        new = line.startswith(("def ", "@")) and not decorated
        after = result and result[-1] == ""
        if result and (new or (after and not line.startswith(" "))):
            while result[-1] == "":
                result.pop()
            result += ["", ""]
        result += broken(line)
    while result and result[-1] == "":
        result.pop()
    return "\n".join(result)


def broken(line: str, width: int = WIDTH) -> list[str]:
    """A statement or comment as lines of at most `width` columns where that can be done.

    >>> broken("    x = f(first, second) * g(third)", 24)
    ['    x = f(', '        first, second', '    ) * g(third)']
    """
    if len(line) <= width:
        return [line]
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    if text.startswith("#"):
        # Commas keep their neighbours together: an equation is broken at its operators.
        whole = text[1:].replace(", ", ",\0").lstrip()
        starts = f"{indent}# ", f"{indent}#     "
        lines = wrap(
            whole, width, initial_indent=starts[0], subsequent_indent=starts[1], break_on_hyphens=False
        )
        return [line.replace("\0", " ") for line in lines]
    if len(line) > LONGEST:
        return [line]
    cut = _bracket(text, width - len(indent))
    if cut is None:
        left, sign, right = text.partition("= ")
        if not sign or text.startswith('"""') or not left.rstrip("+*- ").isidentifier():
            return [line]
        text = f"{left}= ({right})"
        cut = len(left) + 3, len(text) - 1
    start, stop = cut
    inside = _inside(text[start:stop], indent + "    ", width)
    return [indent + text[:start], *inside, *broken(indent + text[stop:], width)]


def _inside(text: str, indent: str, width: int) -> list[str]:
    """The contents of a bracket on lines of their own."""
    if len(indent) + len(text) <= width:
        return [indent + text]
    for marks in ((",",), *OPERATORS):
        parts = [part.strip() for part in _split(text, marks)]
        if len(parts) > 1:
            end = "," if marks == (",",) else ""
            return [line for part in parts if part for line in broken(indent + part + end, width)]
    return broken(indent + text, width)


def _depths(text: str) -> list[int]:
    """The number of brackets open before each letter."""
    depths, depth = [], 0
    for letter in text:
        depth -= letter in CLOSE
        depths.append(depth)
        depth += letter in OPEN
    return depths


def _split(text: str, marks: tuple[str, ...]) -> list[str]:
    """The text cut at marks outside brackets; an operator goes to the start of its part, a comma goes."""
    depths = _depths(text)
    pattern = "|".join(map(re.escape, marks))
    parts, start = [], 0
    for found in re.finditer(pattern, text):
        if depths[found.start()] == 0:
            parts.append(text[start : found.start()])
            start = found.end() if marks == (",",) else found.start()
    return [*parts, text[start:]]


def _bracket(text: str, width: int) -> tuple[int, int] | None:
    """The bracket to open up: the last outermost one whose start fits on the line."""
    depths = _depths(text)
    found = None
    start = None
    for at, letter in enumerate(text):
        if letter in OPEN and depths[at] == 0:
            start = at + 1
        elif letter in CLOSE and depths[at] == 0 and start is not None:
            if at - start >= 12 and start <= width:
                found = (start, at)
            start = None
    return found
