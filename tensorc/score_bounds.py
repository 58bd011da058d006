"""Whether the scores of one's data keep the bounds of an approximation, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from tensorc.backends.reference import evaluate, prepare
from tensorc.backends.reference_expressions import GIVEN, Evaluator
from tensorc.backends.reference_values import align
from tensorc.errors import TensorcError
from tensorc.ir import (
    And,
    Approximation,
    Expr,
    Index,
    Program,
    Read,
    free_indices,
    reads,
    rebuild,
    substitute,
)
from tensorc.numbers import FLOAT
from tensorc.passes.inline import dependency_order, is_recursive
from tensorc.passes.terms import rename_apart
from tensorc.printing import print_expr

BLOCK = 1 << 20  # scores that are held at once
Ranges = Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]


def largest_scores(program: Program, inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> list[float]:
    """The largest absolute value of each approximated score, over the positions at which it counts.

    `inputs` have leading dimensions + axes. Scores are made for a block of positions at a time, never all
    at once. Raises `TensorcError` for one beyond its bound, with its place.
    """
    found = []
    for approximation in program.approximations:
        score = _inlined(program, approximation.score)
        evaluator, _ = prepare(program, inputs, sizes, FLOAT)
        _add_tensors(program, evaluator, score, inputs, sizes)
        found.append(_largest(evaluator, approximation, score))
    return found


def _inlined(program: Program, score: Expr) -> Expr:
    """The score in terms of inputs, and of tensors that use their own results."""
    recursive = {e.target for g in dependency_order(program) if is_recursive(g) for e in g}
    bodies = {e.target: e for e in program.equations if e.target not in recursive}
    taken = {n.name for n in _indices(score)}

    def visit(node: Any) -> Any:
        if isinstance(node, Read) and node.tensor in bodies:
            equation = bodies[node.tensor]
            marks = {b.name: Index(f"%{b.name}") for b in equation.left}
            body = rename_apart(substitute(equation.body, marks), taken)
            into = {f"%{b.name}": s for b, s in zip(equation.left, node.subscripts, strict=True)}
            if all(isinstance(s, Index) for s in node.subscripts):
                return visit(substitute(body, into))
        return rebuild(node, visit)

    result: Expr = visit(score)
    return result


def _indices(expr: Expr) -> Iterator[Index]:
    from tensorc.ir import walk

    return (n for n in walk(expr) if isinstance(n, Index))


def _add_tensors(
    program: Program, evaluator: Evaluator, score: Expr, inputs: Mapping[str, Any], sizes: Mapping[str, int]
) -> None:
    """The tensors a score still reads, evaluated whole: those read at computed places."""
    from dataclasses import replace

    names = reads(score) - {i.name for i in program.inputs}
    declared = program.tensors()
    if names:
        wanted = replace(program, outputs=tuple(declared[n] for n in sorted(names)), locals=())
        others = tuple(t for n, t in declared.items() if n not in names)
        kept = tuple(t for t in others if t not in program.inputs)
        evaluator.tensors |= evaluate(replace(wanted, locals=kept), inputs, sizes)


def _largest(evaluator: Evaluator, approximation: Approximation, score: Expr) -> float:
    largest, beyond = 0.0, None
    free = free_indices(score)
    binds = [b for b in approximation.binds if b.name in free]
    full = evaluator.ranges(binds)
    domain = approximation.domain
    condition = domain[0] if len(domain) == 1 else And(domain) if domain else None
    for ranges in _blocks(full, _batch(evaluator)):
        with np.errstate(all="ignore"):
            value = evaluator.evaluate(score, ranges)
            values = [value] if condition is None else [value, evaluator.evaluate(condition, ranges, GIVEN)]
        names, arrays = align(values, list(ranges))
        scores = np.abs(np.asarray(arrays[0], float))
        if condition is not None:
            scores = np.where(arrays[1], scores, 0.0)
        if scores.size == 0:
            continue
        at = np.unravel_index(int(np.argmax(np.where(np.isnan(scores), np.inf, scores))), scores.shape)
        here = float(scores[at])
        if not here <= max(approximation.bound, largest):
            beyond = _beyond(approximation, names, ranges, at, here)
        if np.isnan(here):
            break
        largest = max(largest, here)
    if beyond is not None:
        raise beyond
    return largest


def _batch(evaluator: Evaluator) -> int:
    arrays = evaluator.tensors.items()
    shapes = [a.shape[: a.ndim - len(evaluator.axes[name])] for name, a in arrays]
    return prod(np.broadcast_shapes(*shapes))


def _blocks(full: Ranges, batch: int) -> Iterator[dict[str, Any]]:
    """The positions in blocks: whole along the last indices, as far as they fit, cut along the first."""
    if not full:
        yield {}
        return
    lengths = {name: len(positions) for name, positions in full.items()}
    room = max(1, BLOCK // max(1, batch))
    steps: dict[str, int] = {}
    for name in reversed(list(full)):
        steps[name] = max(1, min(lengths[name], room))
        room = max(1, room // steps[name])

    def cut(names: list[str]) -> Iterator[dict[str, Any]]:
        if not names:
            yield {}
            return
        first, *rest = names
        for start in range(0, lengths[first], steps[first]):
            for others in cut(rest):
                yield {first: full[first][start : start + steps[first]], **others}

    yield from cut(list(full))


def _beyond(
    approximation: Approximation, names: tuple[str, ...], ranges: Ranges, at: Any, score: float
) -> TensorcError:
    """The score that is beyond the bound, and where."""
    lead = [int(k) for k in at[: len(at) - len(names)]]
    places = dict(zip(names, at[len(at) - len(names) :], strict=True))
    where = ", ".join(f"{name} = {int(ranges[name][k])}" for name, k in places.items())
    batch = f" of batch {tuple(lead)}" if any(lead) or len(lead) > 1 else ""
    line = f" (line {approximation.line})" if approximation.line else ""
    return TensorcError(
        f"The score {print_expr(approximation.score)}{line} is {score:.4g} in absolute value "
        f"at {where}{batch}, beyond the bound {approximation.bound:g} of its approximation. "
        f"Scale the scores down, or approximate with bound={score:.3g} or more and a higher degree."
    )
