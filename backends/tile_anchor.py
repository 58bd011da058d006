"""Decays of single features between the tokens of a chunk, without a cube of tokens × tokens × features.

No factor of rank one is safe over a whole chunk: exp(G[i]) · exp(−G[j]) overflows. Between blocks of 16 rows
the decay is anchored at the last row before the later block, so that both exponents are at most 0 and matrix
products apply; within a block it is taken one column at a time. Found here are products of such a decay whose
sum runs over the feature, or over the columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tensorc.backends.tile_kernel import Anchored, TileStep
from tensorc.plan import COLUMN, ROW, Contract, Ref, Tile
from tensorc.semiring import SUM_PRODUCT


@dataclass(frozen=True, slots=True)
class Sides:
    """The factors beside a decay: of the rows, of the columns, and of pairs."""

    rows: tuple[Ref, ...]
    columns: tuple[Ref, ...]
    pairs: tuple[Ref, ...]


def is_cube(step: TileStep) -> bool:
    """Whether a step makes a decay of single features between tokens."""
    return isinstance(step, Tile) and step.part == "fine" and len(step.out.axes) > 2


def anchored(steps: Sequence[TileStep]) -> list[TileStep]:
    """The steps, with products of a decay of single features taken anchored where that can be done."""
    products = {s.out.value: s for s in steps if isinstance(s, Contract) and s.semiring == SUM_PRODUCT}
    tiles = {s.out.value: s for s in steps if isinstance(s, Tile) and is_cube(s)}
    result: list[TileStep] = []
    for step in steps:
        found = _anchor(step, products, tiles) if isinstance(step, Contract) else None
        result += found or [step]
    return result


def _anchor(step: Contract, products: dict[str, Contract], tiles: dict[str, Tile]) -> list[TileStep] | None:
    """A product with a decay as steps without the cube; None for any other."""
    factors = _factors(step, products)
    decays = [r for r in factors if r.value in tiles]
    if len(decays) != 1 or len(step.out.axes) != 2:
        return None
    (decay,) = decays
    tile = tiles[decay.value]
    names = dict(zip(tile.out.axes, decay.axes, strict=True))
    if names.get(tile.rows) != ROW or names.get(tile.columns) != COLUMN or len(decay.axes) != 3:
        return None
    (feature,) = (a for a in decay.axes if a not in (ROW, COLUMN))
    sides = _sides([r for r in factors if r is not decay], feature)
    if sides is None or len(tile.gates) != 1 or tile.gates[0].constant:
        return None
    if set(step.out.axes) not in ({ROW, COLUMN}, {ROW, feature}):
        return None
    if set(tile.gates[0].gate.axes) != {tile.rows, next(a for a, b in names.items() if b == feature)}:
        return None
    gate = replace(tile.gates[0], gate=tile.gates[0].gate.relabel(names))
    more: list[TileStep] = []
    left = _joined(sides.rows, step, "rows", more)
    right = _joined(sides.columns, step, "columns", more)
    pairs = _joined(sides.pairs, step, "pairs", more)
    return [*more, Anchored(step.out, gate, tile.strict, feature, left, right, pairs, step.why)]


def _factors(step: Contract, products: dict[str, Contract]) -> list[Ref]:
    """The factors of a product, those of products without a sum taken apart."""
    found: list[Ref] = []
    pending = [step.left] if step.right is None else [step.left, step.right]
    while pending:
        ref = pending.pop(0)
        inner = products.get(ref.value)
        if inner is None or inner.right is None or len(inner.out.axes) < 3:
            found.append(ref)
            continue
        if {*inner.left.axes, *inner.right.axes} != set(inner.out.axes):
            found.append(ref)
            continue
        names = dict(zip(inner.out.axes, ref.axes, strict=True))
        pending += [inner.left.relabel(names), inner.right.relabel(names)]
    return found


def _sides(factors: Iterable[Ref], feature: str) -> Sides | None:
    """The factors by what they vary with; None for one that varies with all three, or with more."""
    rows, columns, pairs = [], [], []
    for ref in factors:
        axes = set(ref.axes)
        if axes == {ROW, COLUMN}:
            pairs.append(ref)
        elif axes <= {ROW, feature}:
            rows.append(ref)
        elif axes <= {COLUMN, feature}:
            columns.append(ref)
        else:
            return None
    return Sides(tuple(rows), tuple(columns), tuple(pairs))


def _joined(refs: Sequence[Ref], step: Contract, side: str, more: list[TileStep]) -> Ref | None:
    """The product of the factors of one side."""
    if not refs:
        return None
    total = refs[0]
    for k, ref in enumerate(refs[1:]):
        axes = tuple(dict.fromkeys([*total.axes, *ref.axes]))
        out = Ref(f"{step.out.value}:{side}{k}", axes)
        more.append(Contract(out, total, ref, step.why))
        total = out
    return total
