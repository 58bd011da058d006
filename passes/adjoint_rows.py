"""Row sums that an adjoint already holds.

A product P of factors summed over all indices but i and c is q[i, c] · grad_q[i, c], if q[i, c] is one of
the factors and grad_q comes from P alone: then no state has to be read again.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorc.ir import Index, Read
from tensorc.passes.adjoints import Contribution, Flow, Rows

Product = tuple[int, Read, tuple[str, ...]]  # sign, the tensor as it is read, the indices that stay


def by_adjoint(
    flow: Flow, contributions: Mapping[str, list[Contribution]], excluded: Mapping[str, str]
) -> tuple[list[Rows], list[Product]]:
    """The rows of a flow that remain, and those that are a tensor times its adjoint."""
    rows, products = list(flow.rows), []
    changed = True
    while changed:
        changed = False
        for row in rows:
            tried = (_covered(r, row, rows, contributions, excluded) for r in _candidates(row))
            found = next((f for f in tried if f is not None), None)
            if found is not None:
                read, covered = found
                products.append((row.sign, read, row.kept))
                rows = [r for r in rows if not any(r is c for c in covered)]
                changed = True
                break
    return rows, products


def _candidates(row: Rows) -> list[Read]:
    """Factors that have all indices of the row, each on an axis of its own; narrow ones first."""
    found = []
    for factor in row.path.factors:
        if isinstance(factor, Read) and all(isinstance(s, Index) for s in factor.subscripts):
            names = [s.name for s in factor.subscripts if isinstance(s, Index)]
            if len(set(names)) == len(names) and set(row.kept) <= set(names):
                found.append(factor)
    return sorted(found, key=lambda r: len(r.subscripts))


def _covered(
    read: Read,
    row: Rows,
    rows: list[Rows],
    contributions: Mapping[str, list[Contribution]],
    excluded: Mapping[str, str],
) -> tuple[Read, list[Rows]] | None:
    """The rows whose sum is the tensor times its adjoint, if all that the adjoint sums up are among them."""
    found = contributions.get(read.tensor, [])
    if not found or read.tensor in excluded:
        return None
    places = [read.subscripts.index(Index(n)) for n in row.kept]
    left = list(rows)
    covered = []
    for contribution in found:
        whole = contribution.path.times(contribution.read)
        key = whole.key()
        match = next(
            (
                r
                for r in left
                if r.sign == row.sign
                and r.path.scale == whole.scale
                and r.path.key() == key
                and [contribution.read.subscripts[p] for p in places] == [Index(n) for n in r.kept]
            ),
            None,
        )
        if match is None:
            return None
        covered.append(match)
        left = [r for r in left if r is not match]
    return read, covered
