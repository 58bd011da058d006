"""In which type narrow kernels hand on states through memory: that of the operands of matrix products, where
nothing else reads them. It is half of the bytes, and rounds no more than those products do.
"""

from __future__ import annotations

from collections.abc import Iterable

from tensorc.backends.tile_axes import Axes, dot_groups, flat
from tensorc.backends.tile_io import tile_inputs
from tensorc.backends.tile_kernel import Kernel, Recall, Summed
from tensorc.plan import Contract


def operands(kernels: Iterable[tuple[Kernel, Axes]]) -> frozenset[str]:
    """The states that all kernels which recall them before each chunk take as operands of matrix products."""
    found: set[str] = set()
    others: set[str] = set()
    for kernel, axes in kernels:
        steps = list(flat(kernel.steps))
        recalled = {s.out.value for s in steps if isinstance(s, Recall) and s.which == "all"}
        found |= recalled
        for step in steps:
            read = {r.value for r in tile_inputs(step)} & recalled
            if read and not _multiplies(step, axes):
                others |= read
    return frozenset(found - others)


def _multiplies(step: object, axes: Axes) -> bool:
    """Whether a step is a product of matrices, with nothing summed in one of them alone."""
    inner = step.step if isinstance(step, Summed) else step
    if not isinstance(inner, Contract) or inner.right is None:
        return False
    both = (inner.left.axes, inner.right.axes)
    if any(a not in inner.out.axes and not all(a in side for side in both) for side in both for a in side):
        return False
    groups = dot_groups(inner, axes.scopes[id(step)])
    return groups is not None and all(groups[1:])
