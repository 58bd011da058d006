"""Axes whose positions meet the tokens in pairs: the keys of cross attention.

An axis is one of columns if some reduction that no state summarises runs over it, and no input or output
has it together with the time axis. A pair of a token and a column is then streamed like a pair of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorc.ir import Call, Extent, Node, Program, Reduce, Softmax, free_indices, walk
from tensorc.passes.terms import extents_of, rename_apart


def column_extents(program: Program, time: Extent) -> frozenset[Extent]:
    """The axes that meet the time axis in pairs that are not separable.

    >>> from tensorc.grammar import parse
    >>> from tensorc.ir import extent
    >>> cross = parse("def f(q[n, d], k[m, d]) -> o[n]:  o[i] = logsumexp[j](q[i, c] * k[j, c])")
    >>> [str(e) for e in column_extents(cross, extent("n"))]
    ['m']
    """
    beside: set[Extent] = {time}
    for declaration in (*program.inputs, *program.outputs):
        if time in declaration.axes:
            beside |= set(declaration.axes)
    return frozenset(e for e in _reduced(program, time) if e not in beside and e.names)


def row_extents(program: Program) -> list[Extent]:
    """The axes of a program without a time axis whose positions may be the rows of a fold."""
    if not any(isinstance(n, Softmax | Reduce | Call) for e in program.equations for n in walk(e.body)):
        return []
    axes = [a for o in program.outputs for a in o.axes if len(a.names) == 1 and a.coefficient == 1]
    return [
        a
        for a in dict.fromkeys(axes)
        if any(e == a for e in _reduced(program, a)) or column_extents(program, a)
    ]


def _reduced(program: Program, time: Extent) -> set[Extent]:
    """The axes of softmax and of other reductions than sums, and of what functions of a pair are made of."""
    found: set[Extent] = set()
    for equation in program.equations:
        body = rename_apart(equation.body, {b.name for b in equation.left})
        extents = extents_of(equation.left, body)
        for node in walk(body):
            if isinstance(node, Softmax):
                found |= {b.extent for b in node.over}
            elif isinstance(node, Reduce) and node.op not in ("sum", "mean"):
                found |= {b.extent for b in node.binds}
            elif isinstance(node, Call):
                found |= _paired(node, extents, time)
    return found


def _paired(node: Node, extents: Mapping[str, Extent], time: Extent) -> set[Extent]:
    """The axes beside the time axis in an expression of both."""
    here = [extents[n] for n in free_indices(node) if n in extents]
    if time not in here:
        return set()
    return {e for e in here if e != time} | ({time} if here.count(time) > 1 else set())
