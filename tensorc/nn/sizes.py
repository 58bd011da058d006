"""The sizes of a program inside a module: as given, as declared, or from the width of the model."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from tensorc.errors import ShapeError, TensorcError
from tensorc.ir import Extent, Program
from tensorc.nn.roles import Tokens, feature_axis, head_axes


def module_sizes(
    program: Program, tokens: Tokens, width: int, heads: int, given: Mapping[str, int]
) -> dict[str, int]:
    """The value of every size but those that count tokens.

    Features of a token that nobody gave a size have `width // heads`, where the heads are those of the
    module times those that the program itself has. All other sizes must be given or have a default.

    >>> import tensorc
    >>> f = tensorc.parse("def f(q[n, d], k[n, d]) -> o[n, d]:  o[i, c] = sum[j <= i](q[i, c] * k[j, c])")
    >>> module_sizes(f, Tokens(Extent(1, ("n",))), 64, 4, {})
    {'d': 16}

    Raises `ShapeError` for a size that is not known, `TensorcError` for heads that do not divide the width.
    """
    counted = {name for axis in (tokens.time, tokens.memory) if axis for name in axis.names}
    sizes = {**dict(program.defaults), **given}
    for name in counted & {*given}:
        raise TensorcError(f"{name} counts tokens: it is not in sizes=, the inputs have it.")
    for axis in head_axes(program, tokens):
        _require(program, axis, sizes)
    count = heads * prod(axis.value(sizes) for axis in head_axes(program, tokens))
    for declaration in (*program.inputs, *program.outputs):
        features = feature_axis(program, declaration, tokens) if tokens.among(declaration.axes) else None
        if features is None or len(features.names) != 1 or features.names[0] in sizes:
            continue
        if features.coefficient == 1:
            if width % count:
                raise ShapeError(
                    f"{count} heads do not divide the width {width}. Choose another width, or give the size "
                    f"of a head: sizes={{{features.names[0]!r}: ...}}."
                )
            sizes[features.names[0]] = width // count
    for declaration in (*program.inputs, *program.outputs):
        for axis in tokens.others(declaration.axes):
            _require(program, axis, sizes)
    return {name: sizes[name] for name in program.sizes() if name in sizes}


def _require(program: Program, axis: Extent, sizes: Mapping[str, int]) -> None:
    """Every name of an axis must be known."""
    for name in axis.names:
        if name not in sizes:
            where = next(t for t in (*program.inputs, *program.outputs) if axis in t.axes)
            declared = f"{where.name}[{', '.join(map(str, where.axes))}]"
            raise ShapeError(
                f"The size {name} of {declared} is not known. Give sizes={{{name!r}: ...}}; or, if it counts "
                f"the tokens of another sequence, memory={name!r}."
            )
