"""The choice of one axis for every tensor of a cycle, along which the cycle runs."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

SAME, STRICT = 1, 2
Relation = dict[tuple[int, int], int]  # pairs of axes (of the target, of the tensor read) to SAME or STRICT
Relations = dict[tuple[str, str], Relation]
SEARCH_LIMIT = 4_000
CHECK_LIMIT = 50


def solve(tensors: list[str], relations: Relations) -> bool:
    """Whether each tensor can have an axis so that every pair of tensors is related by those axes, and
    the pairs that may be at the same position form no cycle."""
    neighbours: dict[str, set[str]] = {t: set() for t in tensors}
    for target, read in relations:
        neighbours[target].add(read)
        neighbours[read].add(target)
    order = _order(tensors, neighbours)
    chosen: dict[str, int] = {}
    stack: list[Iterator[int]] = [_candidates(order[0], chosen, neighbours, relations)]
    steps, checks = SEARCH_LIMIT + 4 * len(order), CHECK_LIMIT
    while stack and steps and checks:
        steps -= 1
        tensor = order[len(stack) - 1]
        chosen.pop(tensor, None)
        axis = next(stack[-1], None)
        if axis is None:
            stack.pop()
            continue
        chosen[tensor] = axis
        if len(stack) < len(order):
            stack.append(_candidates(order[len(stack)], chosen, neighbours, relations))
            continue
        checks -= 1
        if _is_acyclic(chosen, relations):
            return True
    return False


def _order(tensors: list[str], neighbours: dict[str, set[str]]) -> list[str]:
    """The tensors so that each is a neighbour of one before it."""
    order, seen = [tensors[0]], {tensors[0]}
    for tensor in order:
        for other in sorted(neighbours[tensor] - seen):
            seen.add(other)
            order.append(other)
    return order


def _candidates(
    tensor: str, chosen: dict[str, int], neighbours: dict[str, set[str]], relations: Relations
) -> Iterator[int]:
    """The axes of a tensor that suit the axes chosen so far; those with the most strict relations first."""
    allowed: dict[int, int] | None = None
    for other in neighbours[tensor]:
        if other != tensor and other not in chosen:
            continue
        for pair, mine, theirs in (((tensor, other), 0, 1), ((other, tensor), 1, 0)):
            if pair not in relations:
                continue
            found = {
                axes[mine]: value
                for axes, value in relations[pair].items()
                if (
                    axes[0] == axes[1] and value == STRICT
                    if other == tensor
                    else axes[theirs] == chosen[other]
                )
            }
            allowed = (
                found if allowed is None else {k: v + found[k] for k, v in allowed.items() if k in found}
            )
    if allowed is None:  # the first tensor: any axis that some pair relates
        allowed = {
            axes[side]: 0
            for pair, found in relations.items()
            for side in (0, 1)
            if pair[side] == tensor
            for axes in found
        }
    return iter(sorted(allowed, key=lambda axis: -allowed[axis]))


def _is_acyclic(chosen: dict[str, int], relations: Relations) -> bool:
    same: dict[str, set[str]] = {tensor: set() for tensor in chosen}
    for (target, read), found in relations.items():
        if found[chosen[target], chosen[read]] == SAME:
            same[target].add(read)
    try:
        TopologicalSorter(same).prepare()
    except CycleError:
        return False
    return True
