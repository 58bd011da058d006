"""Several programs in one text: which one is meant, and in which order they are lowered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorc.grammar.source import Source, did_you_mean, position
from tensorc.grammar.syntax import Assignment, CallStatement, Definition, children
from tensorc.ir import Call


def calls(definition: Definition) -> list[CallStatement]:
    """The calls of other programs in a definition."""
    return [s for s in definition.statements if isinstance(s, CallStatement)]


def choose(source: Source, definitions: Sequence[Definition], name: str | None) -> str:
    """The name of the program that is meant: `name`, else the one that no other calls.

    Raises `LanguageError`, listing the candidates, where that is not one program.
    """
    names = _distinct(source, definitions)
    if name is not None:
        if name not in names:
            listed = ", ".join(names)
            source.fail(
                f"No program {name}{did_you_mean(str(name), names) or '.'}", None, f"The text holds {listed}."
            )
        return name
    called = {call.program for d in definitions for call in calls(d) if call.program != d.name}
    roots = [n for n in names if n not in called]
    if len(roots) > 1:  # a call inside an expression is an error, but of that expression
        roots = [n for n in roots if n not in _called_in_expressions(definitions)] or roots
    if len(roots) == 1:
        return roots[0]
    if not roots:
        in_order(source, definitions)  # every program is called: a cycle, and this raises
    source.fail(
        f"The text holds several programs: {', '.join(roots)}.",
        next(d.span for d in definitions if d.name == roots[1]),
        f"Say which one: name={roots[0]!r}.",
    )


def _distinct(source: Source, definitions: Sequence[Definition]) -> list[str]:
    seen: dict[str, Definition] = {}
    for definition in definitions:
        if definition.name in seen:
            first = position(seen[definition.name].span)
            source.fail(
                f"The program {definition.name} is defined twice{', first' + first if first else ''}.",
                definition.span,
                "Give one of them another name.",
            )
        seen[definition.name] = definition
    return list(seen)


def in_order(source: Source, definitions: Sequence[Definition]) -> list[Definition]:
    """The definitions, each after those it calls. Raises `LanguageError` for a recursive call."""
    known = {d.name: d for d in definitions}
    done: dict[str, Definition] = {}
    for first in definitions:
        path: dict[str, None] = {}
        stack = [(first, iter(calls(first)))]
        while stack:
            definition, waiting = stack[-1]
            path[definition.name] = None
            call = next(waiting, None)
            if call is None:
                stack.pop()
                del path[definition.name]
                done.setdefault(definition.name, definition)
            elif call.program in path:
                through = "" if call.program == definition.name else " through others"
                source.fail(
                    f"{call.program} calls itself{through}.",
                    call.span,
                    "Calls are not recursive. A recurrence is an equation: s[i] = ... s[i - 1] ...",
                )
            elif call.program in known and call.program not in done:
                callee = known[call.program]
                stack.append((callee, iter(calls(callee))))
    return list(done.values())


def _called_in_expressions(definitions: Sequence[Definition]) -> set[str]:
    found: set[str] = set()
    stack: list[Any] = [s.body for d in definitions for s in d.statements if isinstance(s, Assignment)]
    while stack:
        node = stack.pop()
        if isinstance(node, Call):
            found.add(node.function)
        stack.extend(children(node))
    return found
