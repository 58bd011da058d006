"""What each name of a definition is: a size, a tensor, or else an index."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tensorc.errors import Span
from tensorc.grammar.source import Source, did_you_mean, head, position
from tensorc.grammar.syntax import Assignment, CallStatement, Declaration, Definition, Name, children
from tensorc.ir import FUNCTIONS, REDUCTIONS, Extent, Program

RESERVED = frozenset({*FUNCTIONS, *REDUCTIONS, "softmax", "where", "inf", "nan"})
LETTERS = "ijlmrstuabcdefghknopqvwxyz"


@dataclass(slots=True)
class Symbol:
    """A tensor: an input, an output or a local. `axes` are None until they are inferred."""

    name: str
    kind: str
    rank: int
    axes: tuple[Extent, ...] | None
    span: Span | None

    def shown(self) -> str:
        """`q[n, d]`, or `s` with its number of axes where they are not declared."""
        return self.name if self.axes is None else f"{self.name}[{', '.join(map(str, self.axes))}]"


@dataclass(slots=True)
class Symbols:
    """The sizes and tensors of one definition; every other name in it is an index."""

    source: Source
    definition: Definition
    programs: Mapping[str, Program]
    sizes: dict[str, Span | None] = field(default_factory=dict)
    tensors: dict[str, Symbol] = field(default_factory=dict)
    letters: set[str] = field(default_factory=set)

    def unused(self, count: int = 3) -> list[str]:
        """Letters that no size, tensor or index of the definition has."""
        stack: list[Any] = [s for s in self.definition.statements if isinstance(s, Assignment)]
        used = {*self.sizes, *self.tensors}
        while stack:
            node = stack.pop()
            if isinstance(node, Name):
                used.add(node.name)
            stack.extend((*node.left, node.body) if isinstance(node, Assignment) else children(node))
        free = [c for c in LETTERS if c not in used]
        return free[:count] or ["i1", "i2", "i3"][:count]

    def is_index(self, name: str) -> bool:
        return name not in self.sizes and name not in self.tensors

    def expect_index(self, name: Name) -> None:
        """Refuse a size, a tensor or a reserved word where only an index can stand."""
        if name.name in self.sizes:
            declared = position(self.sizes[name.name]).replace(" at ", " (") + ")" if name.span else ""
            self.source.fail(
                f"{name.name} is a size{declared}, not an index.",
                name.span,
                f"Unused letters: {', '.join(self.unused())}.",
            )
        if name.name in self.tensors:
            symbol = self.tensors[name.name]
            self.source.fail(
                f"{name.name} is the {symbol.kind} {symbol.shown()}; an index needs another letter.",
                name.span,
                f"Unused letters: {', '.join(self.unused())}.",
            )
        check_word(self.source, name.name, name.span, "an index")


def check_word(source: Source, name: str, span: Span | None, role: str) -> None:
    """Refuse a reserved word as the name of something."""
    if name in ("inf", "nan"):
        source.fail(
            f"There is no {name} in the language.",
            span,
            "Exclude positions by a domain, as in softmax[j, j <= i](...), rather than by infinite scores.",
        )
    if name in RESERVED or keyword.iskeyword(name):
        what = "a Python keyword" if keyword.iskeyword(name) else "a function of the language"
        source.fail(
            f"{name} is {what}, and cannot name {role}.", span, f"Choose another name, such as {name}_."
        )


def collect(source: Source, definition: Definition, programs: Mapping[str, Program]) -> Symbols:
    """The symbols of a definition.

    Raises `LanguageError` for a name with two meanings, a tensor defined twice or never, and a left
    side that does not fit the declared output.
    """
    symbols = Symbols(source, definition, programs)
    check_word(source, definition.name, definition.span, "a program")
    _declare_sizes(symbols)
    for kind, declarations in (("input", definition.inputs), ("output", definition.outputs)):
        for declaration in declarations:
            _declare(symbols, kind, declaration)
    defined: dict[str, Span | None] = {}
    for statement in definition.statements:
        for target in _targets(statement):
            _define(symbols, target, statement, defined)
    _rank_calls(symbols, [s for s in definition.statements if isinstance(s, CallStatement)])
    for output in definition.outputs:
        if output.name not in defined:
            source.fail(
                f"The output {output.name} is never defined.",
                head(output.span, output.name),
                f"Add an equation {output.name}[...] = ..., or remove it from the signature"
                f"{did_you_mean(output.name, [d for d in defined if symbols.tensors[d].kind == 'local'])}.",
            )
    return symbols


def _declare_sizes(symbols: Symbols) -> None:
    definition, source = symbols.definition, symbols.source
    for declaration in (*definition.inputs, *definition.outputs):
        spans = declaration.axis_spans or (None,) * len(declaration.axes)
        for axis, span in zip(declaration.axes, spans, strict=True):
            for name in axis.names:
                if name not in symbols.sizes:
                    check_word(source, name, span, "a size")
                    symbols.sizes[name] = span
    parameters: set[str] = set()
    for parameter, _ in definition.parameters:
        check_word(source, parameter.name, parameter.span, "a size")
        if parameter.name in parameters:
            source.fail(
                f"The parameter {parameter.name} stands twice.", parameter.span, "Remove one of the two."
            )
        parameters.add(parameter.name)
        symbols.sizes.setdefault(parameter.name, parameter.span)


def _declare(symbols: Symbols, kind: str, declaration: Declaration) -> None:
    name, span = declaration.name, head(declaration.span, declaration.name)
    check_word(symbols.source, name, span, "a tensor")
    if name in symbols.sizes:
        _fail_size(symbols, name, span)
    if name in symbols.tensors:
        first = symbols.tensors[name]
        symbols.source.fail(
            f"{name} is already the {first.kind} {first.shown()}.",
            span,
            f"Give this {kind} a name of its own.",
        )
    symbols.tensors[name] = Symbol(name, kind, len(declaration.axes), declaration.axes, span)


def _targets(statement: Assignment | CallStatement) -> Iterable[Name]:
    if isinstance(statement, CallStatement):
        return statement.targets
    return (Name(statement.target, head(statement.span, statement.target)),)


def _define(
    symbols: Symbols, target: Name, statement: Assignment | CallStatement, defined: dict[str, Span | None]
) -> None:
    name, source = target.name, symbols.source
    check_word(source, name, target.span, "a tensor")
    if name in symbols.sizes:
        _fail_size(symbols, name, target.span)
    if name in defined:
        where = position(defined[name])
        source.fail(
            f"{name} is defined twice{', first' + where if where else ''}.",
            target.span,
            "Each tensor has one equation; write one sum, or give this one another name.",
        )
    defined[name] = target.span
    symbol = symbols.tensors.get(name)
    if symbol is not None and symbol.kind == "input":
        source.fail(
            f"{name} is the input {symbol.shown()}, and cannot be defined.",
            target.span,
            "Choose another name.",
        )
    rank = len(statement.left) if isinstance(statement, Assignment) else -1
    if symbol is None:
        symbols.tensors[name] = Symbol(name, "local", rank, None, target.span)
    elif rank not in (-1, symbol.rank):
        source.fail(
            f"{symbol.shown()} has {axes(symbol.rank)}, defined with {rank}.",
            target.span if statement.span is None else statement.span,
            f"Write {name}[{', '.join(symbols.unused(symbol.rank))}] = ..., an index for each axis.",
        )


def _fail_size(symbols: Symbols, name: str, span: Span | None) -> NoReturn:
    where = position(symbols.sizes[name]).replace(" at ", " (") + ")" if span else ""
    symbols.source.fail(
        f"{name} is a size{where}, and cannot name a tensor too.",
        span,
        "Rename one of the two; case matters.",
    )


def axes(number: int) -> str:
    """`1 axis`, `2 axes`."""
    return f"{number} axis" if number == 1 else f"{number} axes"


def _rank_calls(symbols: Symbols, calls: list[CallStatement]) -> None:
    """Give the targets of calls their ranks: the callee's, and the leading axes of the arguments."""
    for call in calls:
        _check_call(symbols, call)
    waiting: dict[str, list[CallStatement]] = {}
    ready = list(reversed(calls))
    while ready:
        call = ready.pop()
        unknown = next((a.name for a in call.arguments if symbols.tensors[a.name].rank < 0), None)
        if unknown is not None:
            waiting.setdefault(unknown, []).append(call)
            continue
        leading = leading_rank(symbols, call)
        for target, output in zip(call.targets, symbols.programs[call.program].outputs, strict=True):
            symbol, rank = symbols.tensors[target.name], leading + len(output.axes)
            if symbol.kind == "output" and symbol.rank != rank:
                message = f"{symbol.shown()} has {axes(symbol.rank)}, but {call.program} gives it {rank}."
                symbols.source.fail(
                    message, target.span, "Declare the output with the axes of the call's result."
                )
            symbol.rank = rank
            ready += waiting.pop(target.name, [])
    for calls_left in waiting.values():
        call = calls_left[0]
        symbols.source.fail(
            f"The call of {call.program} needs its own result.",
            call.span,
            "A recurrence is written as an equation: s[i] = ... s[i - 1] ...",
        )


def leading_rank(symbols: Symbols, call: CallStatement) -> int:
    """How many axes the arguments of a call have in front of the declared ones."""
    inputs = symbols.programs[call.program].inputs
    extra = [symbols.tensors[a.name].rank - len(i.axes) for a, i in zip(call.arguments, inputs, strict=True)]
    for argument, declared, rank in zip(call.arguments, inputs, extra, strict=True):
        if rank < 0:
            symbols.source.fail(
                f"{argument.name} has {axes(symbols.tensors[argument.name].rank)}; the input "
                f"{declared.name} of {call.program} has {len(declared.axes)}.",
                argument.span,
                "An argument has the declared axes, and any number of axes in front of them.",
            )
    return max(extra, default=0)


def _check_call(symbols: Symbols, call: CallStatement) -> None:
    source, program = symbols.source, symbols.programs.get(call.program)
    if program is None:
        _fail_program(symbols, call)
    if len(call.arguments) != len(program.inputs):
        source.fail(
            f"{call.program} has {len(program.inputs)} inputs, called with {len(call.arguments)}.",
            call.span,
            f"Its inputs: {', '.join(i.name for i in program.inputs) or 'none'}. Sizes are no arguments.",
        )
    if len(call.targets) != len(program.outputs):
        source.fail(
            f"{call.program} has {len(program.outputs)} outputs, not {len(call.targets)}.",
            call.span,
            f"Its outputs are {', '.join(o.name for o in program.outputs)}; name each of them.",
        )
    for argument in call.arguments:
        if argument.name not in symbols.tensors:
            guess = did_you_mean(argument.name, list(symbols.tensors))
            source.fail(
                f"No tensor {argument.name}{guess or '.'}", argument.span, "Arguments are names of tensors."
            )


def _fail_program(symbols: Symbols, call: CallStatement) -> NoReturn:
    target = call.targets[0].name
    if call.program in RESERVED:
        symbols.source.fail(
            f"{target} is defined without its indices.",
            call.targets[0].span,
            f"Write {target}[i, j] = {call.program}(...), or {target}[] = ... for a scalar.",
        )
    guess = did_you_mean(call.program, [*symbols.programs, *RESERVED])
    symbols.source.fail(
        f"No program {call.program}{guess or '.'}",
        call.span,
        "A statement without indices calls a program of the same text: o = g(q, k).",
    )
