"""The text by which a generated function chooses chunks, tiles and warps: what each kernel needs.

Where a kernel is widest depends on the sizes; the step is found at two usual ones, its bytes are printed with
sizes as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial

from tensorc.backends.tile_axes import COLUMNS, GRID, TILES, Axes, Axis, flat
from tensorc.backends.tile_kernel import Kernel, Summed
from tensorc.backends.tile_pressure import held, spelled
from tensorc.ir import Extent, Program
from tensorc.plan import Contract

FEATURES = (64, 256)  # at these sizes, in tiles of that many columns and features


def block(axis: Axis, size: str) -> str:
    """The positions that a tile has along an axis of features, as text of the generated function."""
    least = 16 if axis.matrix else 1
    if axis.role not in (GRID, TILES):
        return f"_block({size}, {least})"
    tile = "tile" if axis.most is None else f"min(tile, {axis.most})"
    return f"_cut({size}, {tile}, {least})"


def need(
    kernel: Kernel,
    axes: Axes,
    program: Program,
    chunk: int,
    size: Callable[[Extent], str],
    inputs: Container[str],
) -> str:
    """The bytes that a kernel holds at its widest step, and its products; `size` spells an extent, `inputs`
    are the tensors whose elements have the size of those of the caller."""

    def text(axis: Axis) -> str:
        if axis.role == COLUMNS:
            return "columns"
        return "chunk" if axis.extent is None else block(axis, size(axis.extent))

    def length(axis: Axis, features: int) -> int:
        if axis.role == COLUMNS:
            return FEATURES[0]
        if axis.extent is None:
            return chunk
        known = dict.fromkeys(axis.extent.names, features) | dict(program.defaults)
        whole = 1 << max(0, axis.extent.value(known) - 1).bit_length()
        return min(axis.most or FEATURES[0], whole) if axis.role in (GRID, TILES) else whole

    found = [
        spelled(held(kernel, axes, inputs, partial(length, features=features)), text) for features in FEATURES
    ]
    widest = list(dict.fromkeys(found))
    steps = [s.step if isinstance(s, Summed) else s for s in flat(kernel.steps)]
    products = sum(isinstance(s, Contract) and s.right is not None for s in steps)
    held_bytes = widest[0] if len(widest) == 1 else f"max({', '.join(widest)})"
    return f"({held_bytes}, {products})"


def needs_function(needs: Mapping[str, str], sizes: Sequence[str]) -> tuple[list[str], list[str]]:
    """A function that returns the needs of all kernels, and the sizes that it takes."""
    used = [s for s in sizes if any(re.search(rf"\b{s}\b", text) for text in needs.values())]
    lines = [
        f"def _needs({', '.join(['chunk', 'columns', 'tile', 'size', *used])}):",
        '    """For each kernel the bytes of its widest step, where an element of the inputs has `size`, and',
        '    its products."""',
        "    return {",
        *(f'        "{name}": {text},' for name, text in needs.items()),
        "    }",
    ]
    return lines, used
