"""Calls that were seen before: for inputs of certain shapes and dtypes, the function and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.errors import TensorcError
from tensorc.printing import print_rows
from tensorc.state import Layout

if TYPE_CHECKING:
    from tensorc.binding import Bound
    from tensorc.ir import Extent, Program
    from tensorc.plan import Plan

kind = attrgetter("__class__", "dtype", "shape")


@dataclass(frozen=True, slots=True)
class Call:
    """A whole sequence: the generated function, its plan, and the layout of the states (None where the
    form has none)."""

    function: Callable[..., Any]
    plan: Plan
    layout: Layout | None


class Step:
    """One token. `inputs` has the type, dtype and shape of each: if they are met again, nothing is bound."""

    __slots__ = (
        "casts", "compute", "function", "inputs", "layout", "round", "start",
    )  # fmt: skip

    def __init__(
        self,
        bound: Bound,
        functions: dict[str, Callable[..., Any]],
        sizes: dict[str, int],
        layout: Layout,
        compared: frozenset[str],
    ) -> None:
        arrays = bound.arrays.values()
        self.inputs = [kind(a) for a in arrays]
        self.compute = bound.compute
        keywords = {**sizes, "compute": bound.compute.type}
        self.function = with_keywords(functions["step"], keywords)
        self.start = with_keywords(functions["start"], keywords)
        self.layout = layout
        self.round = None if bound.dtype == bound.compute else bound.dtype
        # Inputs that conditions compare are passed as they are.
        casts = [a.dtype != bound.compute and n not in compared for n, a in bound.arrays.items()]
        self.casts = casts if any(casts) else None

    def fits(self, arrays: Any) -> bool:
        """Whether this is the step for these inputs."""
        try:
            return [*map(kind, arrays)] == self.inputs
        except AttributeError:
            return False

    def prepare(self, arrays: Any) -> tuple[Any, ...]:
        """The inputs in the dtype of the computation."""
        if self.casts is None:
            return tuple(arrays)
        pairs = zip(arrays, self.casts, strict=True)
        return tuple(a.astype(self.compute) if cast else a for a, cast in pairs)


def with_keywords(function: Callable[..., Any], values: dict[str, Any]) -> Callable[..., Any]:
    """A function with other defaults for its keywords: no slower to call, as a partial would be.

    >>> def scaled(x, *, by):
    ...     return by * x
    >>> with_keywords(scaled, {"by": 3})(2)
    6
    """
    assert isinstance(function, FunctionType)
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = {**(function.__kwdefaults__ or {}), **values}
    return copy


def state_layout(program: Program, plan: Plan, bound: Bound, token: bool = False) -> Layout:
    """The names, axes, shapes and dtype of the states of a plan, for these inputs (`token`: of one token).
    A state that grows has no rows yet."""
    extents = dict(plan.extents)
    shapes = []
    for state in plan.states:
        features = tuple(extents[a].value(bound.sizes) for a in state.axes[state.grows :])
        if state.grows:
            lead = _lead(program, bound, state.sources, plan.time if token else None)
            shapes.append((*lead, 0, *features))
        else:
            shapes.append(bound.batch + features)
    names = tuple(s.name.lstrip("%") for s in plan.states)
    rows = {s.name: str(plan.time) if s.reach is None else print_rows(s.reach) for s in plan.states}
    axes = tuple(
        tuple(rows[s.name] if s.grows and k == 0 else str(extents[a]) for k, a in enumerate(s.axes))
        for s in plan.states
    )
    return Layout(program.name, names, axes, tuple(shapes), str(np.dtype(bound.compute)))


def _lead(program: Program, bound: Bound, names: tuple[str, ...], without: Extent | None) -> tuple[int, ...]:
    """The batch shape of some of the inputs."""
    shapes = []
    for declaration in program.inputs:
        if declaration.name in names:
            shape = bound.arrays[declaration.name].shape
            shapes.append(shape[: len(shape) - sum(a != without for a in declaration.axes)])
    return np.broadcast_shapes(*shapes)


def as_numpy(arrays: dict[str, Any]) -> None:
    """Replace arrays of other libraries by NumPy's, in place.

    Raises `TensorcError` for one that NumPy cannot read.
    """
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray | np.generic):
            try:
                arrays[name] = np.asarray(array)
            except Exception as error:  # whatever the other library raises
                raise TensorcError(f"{name} cannot be read as a NumPy array: {error}") from error
