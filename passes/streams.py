"""The time axis: the sizes whose indices meet in relations, shifts or self-reference."""

from __future__ import annotations

from collections.abc import Mapping

from tensorc.ir import Add, Compare, Expr, Extent, Index, Node, Program, Read, free_indices, walk
from tensorc.passes.affine import difference, lag_of
from tensorc.passes.inline import dependency_order, is_recursive
from tensorc.passes.recursion import recursion
from tensorc.passes.terms import extents_of, rename_apart


def streams(program: Program) -> tuple[Extent, ...]:
    """Every extent that is a stream, in the order they are met.

    >>> from tensorc.grammar import parse
    >>> [str(s) for s in streams(parse("def f(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])"))]
    ['n']
    """
    found: dict[Extent, None] = {}
    for group in dependency_order(program):
        if is_recursive(group):
            found[recursion(group).extent] = None
    for equation in program.equations:
        body = rename_apart(equation.body, {b.name for b in equation.left})
        extents = extents_of(equation.left, body)
        for node in walk(body):
            for extent in _meets(node, extents, program):
                found[extent] = None
    return tuple(found)


def _meets(node: Node, extents: Mapping[str, Extent], program: Program) -> list[Extent]:
    if isinstance(node, Compare):
        if node.op in ("==", "!=") and isinstance(node.left, Index) and isinstance(node.right, Index):
            return []
        return _twice(free_indices(node), extents)
    if isinstance(node, Add):
        pair = difference(node)
        return _twice(frozenset(pair[:2]), extents) if pair is not None else []
    if isinstance(node, Read):
        axes = program.tensors()[node.tensor].axes
        return [a for a, s in zip(axes, node.subscripts, strict=True) if _is_shift(s, a, extents)]
    return []


def _twice(indices: frozenset[str], extents: Mapping[str, Extent]) -> list[Extent]:
    sizes = [extents[i] for i in indices if i in extents]
    return [s for s in dict.fromkeys(sizes) if sizes.count(s) > 1]


def _is_shift(subscript: Expr, axis: Extent, extents: Mapping[str, Extent]) -> bool:
    """i - 1, or i - s, on the axis that i runs over."""
    tokens = [i for i in free_indices(subscript) if extents.get(i) == axis]
    return len(tokens) == 1 and lag_of(subscript, tokens[0]) not in (None, 0)
