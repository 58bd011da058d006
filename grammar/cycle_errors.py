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
    if len(component) > 1:
        _fail_several(source, component, uses)
    if not uses[0].equation.left:
        source.fail(
            f"{_target(uses[0])} uses itself, and has no positions.",
            uses[0].read.span,
            "A recurrence runs along an axis: s[i] = ... s[i - 1] ...",
        )
    axis = _stream(uses)
    i = uses[0].equation.left[axis].name
    before = [use for use in uses if use.earlier.get((axis, axis)) == STRICT]
    after = [use for use in uses if use.later.get((axis, axis)) == STRICT]
    if before and after:
        source.fail(
            f"{_target(after[0])} uses {show(source, before[0].read)} and {show(source, after[0].read)}: "
            f"positions on both sides of {i}.",
            after[0].read.span,
            f"All of them must be on one side: {i} - 1 and j < {i}, or {i} + 1 and j > {i}.",
        )
    good = after if after and not before else before
    use = next(u for u in uses if u not in good)
    _fail_read(source, use, axis)


def _fail_read(source: Source, use: Use, axis: int) -> NoReturn:
    """The error for one read that is not strictly on one side along an axis."""
    target, read = _target(use), show(source, use.read)
    i, subscript = use.equation.left[axis].name, use.read.subscripts[axis]
    for relation, word, op, step in ((use.earlier, "earlier", "<", "-"), (use.later, "later", ">", "+")):
        if relation.get((axis, axis)) != SAME:
            continue
        if subscript == Index(i):
            source.fail(
                f"{target} uses {read}, which includes the same position.",
                use.read.span,
                f"Strictly {word}: {use.read.tensor} at {i} {step} 1, or at j in a domain with j {op} {i}.",
            )
        j = show(source, subscript)
        source.fail(
            f"{target} uses {read} with {j} {op}= {i}, which includes {i} itself.",
            use.read.span,
            f"Strictly {word}: {j} {op} {i}.",
        )
    source.fail(
        f"{target} uses {read}, and nothing says that it is at an earlier position.",
        use.read.span,
        f"Strictly earlier: read it at {i} - 1, or in a domain with j < {i}.",
    )


def _fail_several(source: Source, component: list[str], uses: list[Use]) -> NoReturn:
    path = " -> ".join([*component[:6], *(["..."] if len(component) > 6 else []), component[0]])
    unordered = [use for use in uses if not use.earlier]
    if unordered and all(not use.later for use in unordered):
        use = unordered[0]
        source.fail(
            f"{_target(use)} and {use.read.tensor} need each other ({path}), and nothing says that "
            f"{show(source, use.read)} is at an earlier position.",
            use.read.span,
            "Read it strictly earlier: at i - 1, or in a domain with j < i.",
        )
    use = uses[0]
    source.fail(
        f"{', '.join(component[:6])} need each other at the same position: {path}.",
        use.read.span,
        "One of them must be read strictly earlier along one axis: at i - 1, or in a domain with j < i.",
    )


def _target(use: Use) -> str:
    return f"{use.equation.target}[{', '.join(b.name for b in use.equation.left)}]"


def _stream(uses: list[Use]) -> int:
    """The axis that the writer most likely means: the first on which some read is at another position."""
    for axis, bind in enumerate(uses[0].equation.left):
        if any(use.read.subscripts[axis] != Index(bind.name) for use in uses):
            return axis
    return 0
