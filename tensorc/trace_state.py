"""What a trace remembers while the user's function runs: its tensors, its equations and where they stand.

The running trace is a context variable, so traces may nest and run in several threads at once. Tensors
are known by a token (`w%3`) until the trace ends: only then are all letters known, and names can be given.
"""

from __future__ import annotations

import dis
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Assignment, CallStatement, Definition, Name
from tensorc.ir import FUNCTIONS, REDUCTIONS
from tensorc.trace_text import show
from tensorc.trace_walk import SizeName, ambiguous_sum, walk

if TYPE_CHECKING:
    from tensorc.trace_expr import Tensor

MAX_TOKENS = 10_000  # of a whole program, as in text
RESERVED = frozenset({*FUNCTIONS, *REDUCTIONS, "softmax", "where"})
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_STORES = ("STORE_FAST", "STORE_NAME", "STORE_DEREF", "STORE_GLOBAL")


def is_name(text: object) -> bool:
    """Whether a text may be the name of a size, an index or a tensor."""
    return (
        isinstance(text, str)
        and _IDENTIFIER.match(text) is not None
        and not keyword.iskeyword(text)
        and text not in RESERVED
    )


class Trace:
    """One function being traced: `tensors` by token, `statements` in the order they were made.

    `sizes` and `names` are what the header declares (size names; inputs and outputs with their text);
    `sizes` is None where there is no header.
    """

    def __init__(self, function: str, sizes: frozenset[str] | None, declared: Mapping[str, str]) -> None:
        self.function = function
        self.sizes = sizes
        self.declared = dict(declared)
        self.tensors: dict[str, Tensor] = {}
        self.statements: list[Assignment | CallStatement] = []
        self.places: list[str] = []
        self.opened: set[int] = set()
        self.definitions: dict[str, Definition] = {}
        self.tokens = 0
        self.finished = False

    def add(self, tensor: Tensor) -> str:
        """Registers a tensor; its token."""
        token = f"{tensor.label}%{len(self.tensors)}"
        self.tensors[token] = tensor
        return token

    def state(self, statement: Assignment | CallStatement, tokens: int, frame: FrameType) -> None:
        """Appends an equation made at `frame`."""
        self.tokens += tokens
        if self.tokens > MAX_TOKENS:
            raise LanguageError(
                f"The program of {self.function} has over {MAX_TOKENS} tokens.",
                hint="A Python loop that writes a sum by hand? Use an index: tensorc.sum(e, c).",
            )
        self.statements.append(statement)
        self.places.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")

    def unused_letters(self, count: int = 3) -> tuple[str, ...]:
        """Letters that name nothing in the header or in the equations so far."""
        taken = set(self.declared) | (self.sizes or frozenset()) | {t.label for t in self.tensors.values()}
        for statement in self.statements:
            if isinstance(statement, Assignment):
                taken |= {name.name for name in statement.left}
        return tuple(x for x in "ijluabcfghprstxyzmnkoqvwde" if x not in taken)[:count]

    def check_index(self, letter: str) -> None:
        """An index may not have the name of a size, an input or an output."""
        unused = ", ".join(self.unused_letters())
        if self.sizes is not None and letter in self.sizes:
            raise LanguageError(
                f"{letter} is a size of the header, not an index.",
                hint=f'Unused letters: {unused}. The size itself is tensorc.sizes("{letter}").',
            )
        if letter in self.declared:
            raise LanguageError(
                f"{letter} is {self.declared[letter]}; an index needs another letter.",
                hint=f"Unused letters: {unused}.",
            )

    def check_size(self, name: str) -> None:
        """A size must stand in the header."""
        if self.sizes is None:
            raise LanguageError(
                f"The size {name} is unknown: {self.function} is traced without a header.",
                hint='Write the header: @tensorc.jit("q[n, d], ... -> o[n, e]").',
            )
        if name not in self.sizes:
            known = ", ".join(sorted(self.sizes)) or "none"
            raise LanguageError(
                f"No size {name} in the header of {self.function}; its sizes: {known}.",
                hint=f"Declare a number with its default, {name}=64, or name an axis {name}.",
            )

    def check_letters(self, tree: Any, left: frozenset[str]) -> None:
        """The indices and sizes of an equation, made before this trace perhaps; sums that Python hides."""
        for node in walk(tree):
            if isinstance(node, SizeName):
                self.check_size(node.name)
            elif isinstance(node, Name) and "%" not in node.name:
                self.check_index(node.name)
        if (found := ambiguous_sum(tree, left)) is not None:
            raise LanguageError(
                f"Is {found[1]} summed before or after `{show(found[0])}` divides? Python drops parentheses.",
                hint=f"Say so by tensorc.sum(..., {found[1]}), or define the product first: s = (...)[i, j].",
            )


_current: ContextVar[Trace | None] = ContextVar("tensorc_trace", default=None)


def current() -> Trace | None:
    """The trace that is running here, if any."""
    return _current.get()


@contextmanager
def running(trace: Trace) -> Iterator[Trace]:
    """Makes a trace the current one."""
    previous = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(previous)
        trace.finished = True


def user_frame() -> FrameType:
    """The innermost frame outside this package: the line the user wrote."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module != "tensorc" and not module.startswith("tensorc."):
            return frame
        frame = frame.f_back
    return sys._getframe(1)


def assigned_name(frame: FrameType) -> str | None:
    """The variable that the expression under evaluation in `frame` goes to: `s` in `s = (...)[i, j]`.

    Only for readable names of intermediates: where the byte code does not say, there is none.
    """
    following: Any = next((i for i in dis.get_instructions(frame.f_code) if i.offset > frame.f_lasti), None)
    if following is None or not following.opname.startswith(_STORES):
        return None
    name = following.argval[0] if isinstance(following.argval, tuple) else following.argval
    return name if is_name(name) else None


def distinct_names(names: list[Name]) -> str | None:
    """The first name that occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name.name in seen:
            return name.name
        seen.add(name.name)
    return None
