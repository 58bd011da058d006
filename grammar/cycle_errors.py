"""What to say about a cycle of definitions that has no order of evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from tensorc.grammar.show import show
from tensorc.grammar.source import Source
from tensorc.grammar.streams import SAME, STRICT
from tensorc.ir import Index

if TYPE_CHECKING:
    from tensorc.grammar.cycles import Use


def fail_cycle(source: Source, component: list[str], uses: list[Use]) -> NoReturn:
    """Raise the `LanguageError` for a cycle, at the read that most plainly breaks the rule."""
    ahead = [use for use in uses if STRICT not in use.earlier.values()]
    use = (ahead or uses)[0]
    target = f"{use.equation.target}[{', '.join(b.name for b in use.equation.left)}]"
    read = show(source, use.read)
    if not use.equation.left:
        source.fail(
            f"{target} uses itself, and has no positions.",
            use.read.span,
            "A recurrence runs along an axis: s[i] = ... s[i - 1] ...",
        )
    if len(component) > 1 and all(set(u.earlier.values()) & {SAME, STRICT} for u in uses):
        path = " -> ".join([*component[:6], *(["..."] if len(component) > 6 else []), component[0]])
        source.fail(
            f"{', '.join(component[:6])} need each other at the same position: {path}.",
            use.read.span,
            "One of them must be read strictly earlier: at i - 1, or in a domain with j < i.",
        )
    for (a, b), value in use.earlier.items():
        i, subscript = use.equation.left[a].name, show(source, use.read.subscripts[b])
        if value == SAME and use.read.subscripts[b] != Index(i):
            source.fail(
                f"{target} uses {read} with {subscript} <= {i}, which includes {i} itself.",
                use.read.span,
                f"Strictly earlier: {subscript} < {i}.",
            )
        if value == SAME:
            source.fail(
                f"{target} uses {read}, the same position.",
                use.read.span,
                f"Strictly earlier: {use.read.tensor} at {i} - 1, or at j in a domain with j < {i}.",
            )
    i = use.equation.left[0].name
    if any(STRICT in u.earlier.values() for u in uses) or any(STRICT in u.later.values() for u in uses):
        source.fail(
            f"{target} uses both earlier and later positions, {read} among them.",
            use.read.span,
            f"All of them must be on one side of {i}: i - 1 and j < {i}, or i + 1 and j > {i}.",
        )
    source.fail(
        f"{target} uses {read}, and nothing says that it is at an earlier position.",
        use.read.span,
        f"Strictly earlier: read it at {i} - 1, or in a domain with j < {i}.",
    )
