"""Definitions to a program of the IR: which program is meant, and the stages that lower each one.

Both front ends end here. The stages of one definition, each in a file of its own: what every name is
(`names`), what each equation says (`resolve`), how far the indices run (`ranges`), the implicit sums
(`implicit_sums`), called programs (`calls`, `inlining`), and self-reference (`cycles`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorc.grammar.calls import CallRanges
from tensorc.grammar.cycles import check_cycles
from tensorc.grammar.implicit_sums import Sums
from tensorc.grammar.inlining import Namer, count_nodes, inline
from tensorc.grammar.names import collect
from tensorc.grammar.programs import choose, in_order
from tensorc.grammar.ranges import Ranges, infer, join_axes
from tensorc.grammar.resolve import Resolved, resolve
from tensorc.grammar.source import Source, head
from tensorc.grammar.syntax import Assignment, CallStatement, Definition, children
from tensorc.ir import Add, And, Bind, Equation, Mul, Or, Program, TensorDecl

MAX_DEPTH = 150
MAX_INLINED = 10_000
CHAINS = (Add, Mul, And, Or)


def lower(
    definitions: Sequence[Definition],
    name: str | None = None,
    text: str | None = None,
    file: str | None = None,
) -> Program:
    """The program called `name` (else: the one that no other calls), with everything explicit.

    Raises `LanguageError`; its line and column are None for definitions that were traced.

    >>> from tensorc.grammar.parser import parse_definitions
    >>> print(lower(parse_definitions("def f(q[n, d], s[]) -> o[n]: o[i] = s * q[i, c] * q[i, c]")))
    def f(q[n, d], s[]) -> o[n]:
        o[i] = s * q[i, c] * q[i, c]
    <BLANKLINE>
    """
    source = Source(text, file)
    chosen = choose(source, definitions, name)
    programs: dict[str, Program] = {}
    budget = Inlined()
    for definition in in_order(source, definitions):
        programs[definition.name] = lower_definition(source, definition, programs, budget)
    return programs[chosen]


@dataclass(slots=True)
class Inlined:
    """How many operations calls have brought in so far: a text of a few lines could ask for billions."""

    nodes: int = 0


def lower_definition(
    source: Source, definition: Definition, programs: Mapping[str, Program], budget: Inlined
) -> Program:
    """One definition; `programs` are the programs it may call, lowered."""
    for statement in definition.statements:
        if isinstance(statement, Assignment):
            check_depth(source, statement)
    symbols = collect(source, definition, programs)
    assignments = [s for s in definition.statements if isinstance(s, Assignment)]
    resolved = [resolve(symbols, assignment) for assignment in assignments]
    ranges = join_axes(symbols, resolved)
    calls = _join_calls(ranges, [s for s in definition.statements if isinstance(s, CallStatement)], budget)
    infer(ranges, calls)
    equations, declared = _equations(ranges, definition, calls)
    axes = {name: TensorDecl(name, ranges.axes(name), span=s.span) for name, s in symbols.tensors.items()}
    inputs = tuple(axes[d.name] for d in definition.inputs)
    outputs = tuple(axes[d.name] for d in definition.outputs)
    names = {d.name for d in definition.outputs}
    axes |= declared
    local = tuple(axes[e.target] for e in equations if e.target not in names)
    defaults = tuple((parameter.name, value) for parameter, value in definition.parameters)
    program = Program(definition.name, inputs, outputs, local, tuple(equations), defaults, source.text)
    check_cycles(source, program)
    return program


def _join_calls(ranges: Ranges, statements: list[CallStatement], budget: Inlined) -> list[CallRanges]:
    symbols = ranges.symbols
    calls = []
    for number, statement in enumerate(statements):
        call = CallRanges(symbols, statement, number, symbols.programs[statement.program])
        budget.nodes += count_nodes(call.program)
        if budget.nodes > MAX_INLINED:
            symbols.source.fail(
                f"The programs called so far have more than {MAX_INLINED} operations in all.",
                statement.span,
                "Call fewer programs, or smaller ones.",
            )
        call.join(ranges)
        calls.append(call)
    return calls


def _equations(
    ranges: Ranges, definition: Definition, calls: list[CallRanges]
) -> tuple[list[Equation], dict[str, TensorDecl]]:
    """All equations in the order they are written, and the locals of called programs."""
    namer = Namer(ranges.symbols)
    equations: list[Equation] = []
    declared: dict[str, TensorDecl] = {}
    number, waiting = 0, iter(calls)
    for statement in definition.statements:
        if isinstance(statement, Assignment):
            equations.append(_equation(ranges, number, ranges.equations[number]))
            number += 1
            continue
        inlined, tensors = inline(next(waiting), ranges, namer)
        equations += inlined
        declared |= tensors
    return equations, declared


def _equation(ranges: Ranges, number: int, resolved: Resolved) -> Equation:
    symbols = ranges.symbols
    sums = Sums(
        symbols.source,
        resolved,
        lambda name: ranges.index(number, name),
        ranges.on_axis[number],
        [*symbols.sizes, *symbols.tensors],
    )
    body = sums.equation()
    left = tuple(Bind(name, ranges.index(number, name)) for name in resolved.left)
    equation = Equation(resolved.assignment.target, left, body, span=resolved.assignment.span)
    check_depth(symbols.source, equation)
    return equation


def check_depth(source: Source, statement: Assignment | Equation) -> None:
    """Refuse an expression so deep that walking it could exhaust Python's stack."""
    stack: list[tuple[Any, int]] = [(statement.body, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            source.fail(
                f"The equation of {statement.target} is more than {MAX_DEPTH} operations deep.",
                head(statement.span, statement.target),
                "Give an inner part a name in an equation of its own.",
            )
        below = children(node)
        for position, child in enumerate(below):
            flat = position == 0 and isinstance(node, CHAINS) and type(child) is type(node)
            stack.append((child, depth if flat else depth + 1))
