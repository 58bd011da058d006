"""Tiles, scans and triangular systems, taken literally: token after token, gate after gate.

Decays are products of gates: no logarithm is summed and nothing is divided, so gates may be zero or
negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tensorc.execute_values import Labelled, PlanError, spread
from tensorc.numbers import Array, Numbers
from tensorc.plan import GateUse, Ref, ScanTile, Solve, Tile

Get = Callable[[Ref], Labelled]


def gate_value(numbers: Numbers, use: GateUse, get: Get) -> Labelled:
    """A gate itself, not its logarithm."""
    value = get(use.gate)
    return Labelled(value.labels, numbers.apply("exp", value.array)) if use.log else value


def tile(numbers: Numbers, step: Tile, get: Get, length: int, within: int | None = None) -> Array:
    """The tile with the labels of `step.out`; its rows and columns are `length` tokens, which are less than
    `within` apart where it is not 0."""
    own = {"fine": (step.rows, step.columns), "outside": (step.rows, step.columns), "left": (step.rows,),
           "right": (step.rows,), "through": ()}[step.part]  # fmt: skip
    features = tuple(a for a in step.out.axes if a not in own)
    labels = (*own, *features)
    total = numbers.number(np.ones((length,) * len(own) + (1,) * len(features), np.int64))
    for use in step.gates:
        total = numbers.multiply(total, _decay(numbers, use, step, get, length, features))
    if len(own) == 2:
        total = _masked(numbers, total, step, length, len(features), within)
    return spread(Labelled(labels, total), step.out.axes)


def _masked(
    numbers: Numbers, total: Array, step: Tile, length: int, features: int, within: int | None
) -> Array:
    """An order is 0 outside its mask; a decay without one is 1 there."""
    late, early = np.arange(length)[:, None], np.arange(length)
    mask = early < late if step.strict else early <= late
    if within is not None:
        mask = mask & (late - early < within)
    mask = mask.reshape(length, length, *(1,) * features)
    other = numbers.number(0 if step.part == "fine" else 1)
    return np.where(mask, total, other).astype(total.dtype)


def _decay(
    numbers: Numbers, use: GateUse, step: Tile, get: Get, length: int, features: tuple[str, ...]
) -> Array:
    """What one gate contributes to a tile: the axes of the part, then `features`."""
    if use.constant == (step.rows in use.gate.axes):
        raise PlanError(f"A gate with the labels {use.gate.axes} is said to be constant: {use.constant}.")
    value = gate_value(numbers, use, get)
    rows = spread(value, (step.rows, *features))
    gates = [_row(rows, 0 if use.constant else k, len(features)) for k in range(length)]
    at = rows.ndim - len(features)
    one = np.broadcast_to(numbers.number(1), rows.shape[: at - 1] + rows.shape[at:])
    if step.part in ("fine", "outside"):
        return _pairs(numbers, gates, one, use.inclusive, len(features))
    running = [one]
    for gate in gates if step.part in ("left", "through") else gates[::-1]:
        running.append(numbers.multiply(running[-1], gate))
    if step.part == "through":
        return running[-1]
    if step.part == "left":
        return _stack(running[1:] if use.inclusive else running[:-1], one, len(features))
    return _stack(running[:-1][::-1], one, len(features))


def _pairs(numbers: Numbers, gates: Sequence[Array], one: Array, inclusive: bool, features: int) -> Array:
    """[late, early]: the gates after early up to late, without late's own if not `inclusive`."""
    positions = np.arange(len(gates)).reshape(-1, *(1,) * features)
    current = _stack([one] * len(gates), one, features)
    rows = []
    for late, gate in enumerate(gates):
        before = current
        column = np.expand_dims(gate, gate.ndim - features)
        earlier = np.where(positions < late, column, numbers.number(1)).astype(gate.dtype)
        current = numbers.multiply(current, earlier)
        rows.append(current if inclusive else before)
    return _stack(rows, current, features + 1)


def _row(array: Array, position: int, features: int) -> Array:
    return np.asarray(np.take(array, position, axis=array.ndim - features - 1), array.dtype)


def _stack(rows: Sequence[Array], like: Array, features: int) -> Array:
    """Rows as one array with a new axis before the features; of none, the shape that `like` gives."""
    shape = np.broadcast_shapes(like.shape, *(r.shape for r in rows))
    axis = len(shape) - features
    if not rows:
        return np.zeros((*shape[:axis], 0, *shape[axis:]), like.dtype)
    return np.stack([np.broadcast_to(r, shape) for r in rows], axis=axis)


def scan(numbers: Numbers, step: ScanTile, get: Get, row: str, lengths: Sequence[int]) -> Array:
    """The state after each token of the chunk (before its write if strict), labels as in `step.out`.

    `lengths` are those of the labels of the state in the order of `step.out`.
    """
    axes = tuple(a for a in step.out.axes if a != row)
    count = len(axes)
    writes = spread(get(step.writes), (row, *axes))
    length = writes.shape[-count - 1]
    gates = [(spread(gate_value(numbers, u, get), (row, *axes)), u.inclusive) for u in step.gates]
    state = spread(get(step.state), axes)
    state = np.broadcast_to(state, np.broadcast_shapes(state.shape, tuple(lengths)))
    rows = []
    for t in range(length):
        at = [(_row(g, t if g.shape[-count - 1] > 1 else 0, count), inclusive) for g, inclusive in gates]
        seen = after = state
        for gate, inclusive in at:
            after = numbers.multiply(after, gate)
            seen = numbers.multiply(seen, gate) if inclusive else seen
        state = numbers.add(after, _row(writes, t, count))
        rows.append(seen if step.strict else state)
    result = _stack(rows, np.broadcast_to(state, np.broadcast_shapes(state.shape, tuple(lengths))), count)
    return spread(Labelled((row, *axes), result), step.out.axes)


def solve(numbers: Numbers, step: Solve, get: Get, row: str, column: str) -> list[Array]:
    """The unknowns of unknown[a] = right[a] + Σ_b matrix[a][b] · unknown[b], row by row. Refuses a matrix
    that is not strictly lower triangular."""
    batch = step.batch
    rest = [a for a in step.rights[0].axes if a != row and a not in batch]
    count = len(batch) + len(rest)
    rights = [spread(get(r), (row, *batch, *rest)) for r in step.rights]
    length = max(r.shape[r.ndim - count - 1] for r in rights)
    blocks: dict[tuple[int, int], Array] = {}
    upper = np.arange(length)[:, None] <= np.arange(length)
    for a, line in enumerate(step.matrix):
        for b, ref in enumerate(line):
            if ref is None:
                continue
            block = blocks[a, b] = spread(get(ref), (row, column, *batch, *rest))
            if bool((np.moveaxis(block, (-count - 2, -count - 1), (0, 1))[upper] != 0).any()):
                raise PlanError("The matrix of a triangular system is not strictly lower triangular.")
    known: list[list[Array]] = [[] for _ in rights]
    for t in range(length):
        for a, right in enumerate(rights):
            unknown = _row(right, t, count)
            for (mine, b), block in blocks.items():
                factors = _row(block, t, count + 1)
                for earlier in range(t if mine == a else 0):
                    part = numbers.multiply(_row(factors, earlier, count), known[b][earlier])
                    unknown = numbers.add(unknown, part)
            known[a].append(np.asarray(unknown, right.dtype))  # a number alone is no array
    results = []
    for right, rows, out in zip(rights, known, step.outs, strict=True):
        nothing = right.take(0, right.ndim - count - 1) if length else right.sum(-count - 1)
        nothing = np.asarray(nothing, right.dtype)
        results.append(spread(Labelled((row, *batch, *rest), _stack(rows, nothing, count)), out.axes))
    return results
