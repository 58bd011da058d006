"""From the arguments of a call to arrays by name, the value of every size, and the dtypes.

Binding looks at shapes and dtypes only, so arrays of other libraries pass through as they are. What it
needs to know of a program is prepared once (`Signature`), and the outcome for shapes that were seen
before is looked up: a decode step binds its inputs once per token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tensorc.binding_sizes import SizeSolver, check_sizes, close_to, shape_text
from tensorc.errors import FormError, ShapeError, TensorcError
from tensorc.ir import Extent, Program, Read, walk

_NUMBERS = (bool, int, float, Fraction)
_KINDS = {"c": "complex numbers", "U": "strings", "S": "strings", "T": "strings", "M": "dates", "m": "times"}


@dataclass(frozen=True, slots=True)
class Bound:
    """The arguments of one call, resolved.

    `arrays` holds the inputs by name as they were given (Python numbers as 0-d arrays), `sizes` the value
    of every size, `batch` the broadcast leading shape, `dtype` that of the outputs, and `compute` the
    dtype of the arithmetic: at least float32, and object for exact numbers.
    """

    arrays: dict[str, Any]
    sizes: dict[str, int]
    batch: tuple[int, ...]
    dtype: np.dtype[Any]
    compute: np.dtype[Any]


def bind(
    program: Program,
    arguments: Sequence[object],
    keywords: Mapping[str, object] | None = None,
    sizes: Mapping[str, int] | None = None,
    *,
    without_axis: str | None = None,
) -> Bound:
    """Match arguments with the inputs of a program and resolve every size.

    Sizes come from plain axes first, then from products of sizes with one unknown, then from `sizes`,
    then from the defaults of the signature. With `without_axis="n"` the inputs are those of one token:
    they come without the axis `n`, and `n` stays unresolved.

    >>> import numpy as np
    >>> from tensorc.ir import Const, Equation, Program, TensorDecl, extent
    >>> x = TensorDecl("x", (extent("n"), extent("r", "d")))
    >>> y = TensorDecl("y", ())
    >>> program = Program("f", (x,), (y,), (), (Equation("y", (), Const(1)),), (("r", 2),))
    >>> bound = bind(program, [np.zeros((5, 7, 8), np.float16)])
    >>> bound.sizes, bound.batch, bound.dtype.name, bound.compute.name
    ({'n': 7, 'd': 4, 'r': 2}, (5,), 'float16', 'float32')

    Raises `TensorcError` for arguments that do not match the inputs or hold no real numbers, `ShapeError`
    for shapes that do not fit, and `FormError` where an input of one token makes no sense.
    """
    return signature(program, without_axis).bind(arguments, keywords, sizes)


def signature(program: Program, without_axis: str | None = None) -> Signature:
    """The prepared signature of a program: the same object for the same program."""
    key = (id(program), without_axis)
    found = _PREPARED.get(key)
    if found is None:
        while len(_PREPARED) >= 256:
            del _PREPARED[next(iter(_PREPARED))]
        found = _PREPARED[key] = Signature(program, without_axis)
    return found


class Signature:
    """What binding needs to know of one program. `signature(program)` makes it once."""

    def __init__(self, program: Program, without_axis: str | None = None) -> None:
        self.program = program  # also keeps the program alive, so that its id stays its own
        self.names = tuple(decl.name for decl in program.inputs)
        self.axes = tuple(_without(decl.name, decl.axes, without_axis) for decl in program.inputs)
        self._counts = tuple(bool(decl.axes) for decl in program.inputs)
        self._wanted = tuple(name for name in program.sizes() if name != without_axis)
        self._known = frozenset(program.sizes())
        self._position = {name: at for at, name in enumerate(self.names)}
        self._seen: dict[object, tuple[dict[str, int], tuple[int, ...], np.dtype[Any], np.dtype[Any]]] = {}

    def bind(
        self,
        arguments: Sequence[object],
        keywords: Mapping[str, object] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Bound:
        """See `tensorc.binding.bind`."""
        if keywords or len(arguments) != len(self.names):
            arguments = self._in_order(arguments, keywords or {})
        arrays = [*map(as_array, self.names, arguments)]
        # A Python number never promotes, whatever array it became.
        dtypes = [
            None if type(value) in _NUMBERS else array.dtype
            for value, array in zip(arguments, arrays, strict=True)
        ]
        given = check_sizes(sizes, self._known) if sizes else {}
        key = (*[array.shape for array in arrays], *dtypes, *given.items())
        found = self._seen.get(key)
        if found is None:
            if len(self._seen) >= 64:
                self._seen.clear()
            found = self._seen[key] = self._resolve([tuple(a.shape) for a in arrays], dtypes, given)
        known, batch, dtype, compute = found
        return Bound(dict(zip(self.names, arrays, strict=True)), dict(known), batch, dtype, compute)

    def _in_order(self, arguments: Sequence[object], keywords: Mapping[str, object]) -> list[object]:
        """The arguments in signature order, or an error that says what is missing or too much."""
        name, names = self.program.name, self.names
        takes = f"{name} takes {_count(len(names), 'input')}" + (f" ({', '.join(names)})" if names else "")
        if len(arguments) > len(names):
            raise TensorcError(f"{takes}, but {len(arguments)} were given.")
        values = dict(zip(names, arguments, strict=False))
        for keyword, value in keywords.items():
            if keyword not in self._position:
                if keyword in self._known:
                    raise TensorcError(
                        f"{keyword} is a size of {name}, not an input: pass sizes={{{keyword!r}: ...}} "
                        "when compiling."
                    )
                raise TensorcError(f"{name} has no input {keyword!r}{close_to(keyword, names)}")
            if keyword in values:
                raise TensorcError(f"{name} got {keyword} twice: by position and by name.")
            values[keyword] = value
        missing = [n for n in names if n not in values]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            raise TensorcError(f"{takes}: {', '.join(missing)} {verb} missing.")
        return [values[n] for n in names]

    def _resolve(
        self, shapes: list[tuple[int, ...]], dtypes: list[np.dtype[Any] | None], given: dict[str, int]
    ) -> tuple[dict[str, int], tuple[int, ...], np.dtype[Any], np.dtype[Any]]:
        solver = SizeSolver()
        leading = []
        for name, axes, shape in zip(self.names, self.axes, shapes, strict=True):
            if len(shape) < len(axes):
                declared = f"{name}[{', '.join(map(str, axes))}]"
                raise ShapeError(
                    f"{name} has shape {shape_text(shape)}, but {declared} has {_count(len(axes), 'axis')}."
                )
            cut = len(shape) - len(axes)
            leading.append(shape[:cut])
            for number, (axis, length) in enumerate(zip(axes, shape[cut:], strict=True), 1):
                solver.axis(name, shape, number, axis, length)
        known = solver.solve(self._wanted, given, dict(self.program.defaults))
        batch = self._broadcast(shapes, leading)
        counted = [dtype for dtype, counts in zip(dtypes, self._counts, strict=True) if counts]
        dtype = output_dtype([d for d in counted if d is not None])
        return known, batch, dtype, compute_dtype(dtype)

    def _broadcast(self, shapes: list[tuple[int, ...]], leading: list[tuple[int, ...]]) -> tuple[int, ...]:
        """The common leading shape; each length is 1 or that of the first input which has another."""
        batch: list[int] = [1] * max(map(len, leading), default=0)
        owner = [0] * len(batch)
        for which, lengths in enumerate(leading):
            for back, length in enumerate(reversed(lengths), 1):
                if length == 1 or length == batch[-back]:
                    continue
                if batch[-back] != 1:
                    raise ShapeError(
                        self._grouped(batch[-back], length, owner[-back], which)
                        + f" Given: {self.names[owner[-back]]} {shape_text(shapes[owner[-back]])}, "
                        f"{self.names[which]} {shape_text(shapes[which])}."
                    )
                batch[-back], owner[-back] = length, which
        return tuple(batch)

    def _grouped(self, one: int, two: int, first: int, second: int) -> str:
        """The message for leading dimensions that differ, with the way to write grouped heads."""
        text = f"Leading {one} and {two} do not broadcast"
        small, large = sorted((one, two))
        if small == 0 or large % small:
            return text + "."
        many, few = (first, second) if one > two else (second, first)
        reads = (
            read.subscripts
            for equation in self.program.equations
            for read in walk(equation.body)
            if isinstance(read, Read) and read.tensor == self.names[few]
        )
        inside = ["h // r", *map(_subscript, next(reads, ()))]
        many_axes = ", ".join(map(str, self.axes[many]))
        few_axes = ", ".join(map(str, self.axes[few]))
        return (
            f"{text}; grouped heads: {self.names[many]}[{', '.join(filter(None, ['g * r', many_axes]))}], "
            f"{self.names[few]}[{', '.join(filter(None, ['g', few_axes]))}], "
            f"{self.names[few]}[{', '.join(inside)}]."
        )


def as_array(name: str, value: object) -> Any:
    """The argument for input `name` as an array: arrays as they are, numbers and nested lists converted.

    Raises `TensorcError` for what holds no real numbers.
    """
    if type(value) is np.ndarray and value.dtype.kind in "fiub":
        return value
    if not isinstance(value, (np.ndarray, np.generic, list, tuple, *_NUMBERS)):
        if hasattr(value, "shape") and hasattr(value, "ndim") and hasattr(value, "dtype"):
            return value  # an array of another library
        raise TensorcError(f"{name} must be an array or a number, not {type(value).__name__}.")
    if isinstance(value, np.ma.MaskedArray):
        raise TensorcError(
            f"{name} is a masked array, and no program reads its mask. Pass {name}.data, and the mask as an "
            "input of its own, compared in a condition."
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise TensorcError(f"{name} is not a rectangular array: {error}.") from error
    if array.dtype.kind == "O":
        for element in array.flat:
            if not isinstance(element, (*_NUMBERS, np.integer, np.floating, np.bool_)):
                raise TensorcError(
                    f"{name} holds {type(element).__name__} objects; exact inputs are ints and Fractions."
                )
    elif array.dtype.kind not in "fiub":
        what = _KINDS.get(array.dtype.kind, f"elements of type {array.dtype}")
        raise TensorcError(f"{name} holds {what}; inputs are floats, integers or booleans.")
    return array


def output_dtype(dtypes: Sequence[Any], default: str = "float64") -> np.dtype[Any]:
    """The dtype of the outputs, given those of the inputs that have an axis: the promotion of the floating
    ones (exact numbers, dtype object, win), else the default."""
    floating = [d for d in map(numpy_dtype, dtypes) if d.kind in "fO"]
    return np.result_type(*floating) if floating else np.dtype(default)


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the arithmetic: float32 at least; exact numbers stay exact."""
    return dtype if dtype.kind == "O" else np.promote_types(dtype, np.float32)


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """A NumPy dtype for one of any library, by its name; bfloat16, which NumPy lacks, counts as float32."""
    if isinstance(dtype, np.dtype):
        return dtype
    name = str(dtype).rpartition(".")[2]
    return np.dtype({"bfloat16": "float32"}.get(name, name))


def _without(name: str, axes: tuple[Extent, ...], axis: str | None) -> tuple[Extent, ...]:
    """The axes of an input of one token."""
    if axis is None:
        return axes
    kept = tuple(a for a in axes if a != Extent(1, (axis,)))
    if len(axes) - len(kept) > 1:
        raise FormError(f"{name} has the axis {axis} twice: one token of it is not defined.")
    for extent in kept:
        if axis in extent.names:
            raise FormError(f"{name} has the axis {extent}: one token of {axis} is not defined.")
    return kept


def _subscript(expression: Any) -> str:
    """A subscript as text where it is a bare index; else a dot, which is enough for a hint."""
    return getattr(expression, "name", "...")


def _count(number: int, noun: str) -> str:
    plural = "axes" if noun == "axis" else noun + "s"
    return f"{number} {noun if number == 1 else plural}"


_PREPARED: dict[tuple[int, str | None], Signature] = {}
