"""Every form of a program against its definition in float64, whole and token by token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tensorc
from tensorc.backends.reference import run
from tensorc.ir import Extent, Program, TensorDecl
from tensorc.operator import Operator
from tensorc.sampling import roles

FORMS = ("parallel", "chunkwise", "recurrent")
BATCHES: tuple[tuple[int, ...], ...] = ((2, 3), (3,), (2, 1), ())
SMALL = {"d": 3, "e": 2, "h": 2, "m": 4}
# What is let pass: so much of the largest value, and so much of what a change of 1e-11 makes.
TOLERANCES = {"float64": (1e-9, 1e4), "float32": (2e-6, 1e6)}

Arrays = list[np.ndarray[Any, Any]]


def check_forms(
    text: str,
    lengths: Iterable[int] = (5, 17),
    *,
    time: str | None = None,
    seed: int = 0,
    sizes: dict[str, int] | None = None,
    features: dict[str, int] | None = None,
    backend: str = "numpy",
    dtype: str = "float64",
    forms: Sequence[str] = (*FORMS, "auto"),
    options: dict[str, Any] | None = None,
    positive: bool = False,
    stream: bool = True,
) -> dict[str, str]:
    """Compare every form with the definition at these lengths of the time axis; `options` are those of the
    launches, for a backend that has them, `features` the sizes of the inputs' features. `positive` keeps
    inputs, and sums that are divided by, from 0; `stream`: token by token, too.

    Returns why a form does not exist, by form. Fails with the sizes and the element that differs.
    """
    program = tensorc.parse(text)
    given = dict(sizes or {}) | {name: SMALL.get(name, 3) for name in _hidden(program)}
    refused, operators = {}, {}
    for form in dict.fromkeys((*forms, "auto")):
        try:
            operators[form] = tensorc.compile(text, form=form, time=time, sizes=given, backend=backend)
        except (tensorc.FormError, tensorc.BackendError) as error:
            refused[form] = str(error)
            continue
        if options:
            operators[form].options = options  # type: ignore[attr-defined]
    axis = operators["auto"].time
    for turn, length in enumerate(lengths):
        small = SMALL | (features or {})
        scale = 0.5 if features else 1.0  # many features add up
        sizes_here = {n: small.get(n, 3) for n in program.sizes()} | dict(program.defaults) | given
        for name in axis.names if axis else ("n",) if "n" in sizes_here else ():
            sizes_here[name] = length
        case = Case(program, sizes_here, given, turn % 2 == 1, seed + turn, dtype, positive, scale)
        for form in forms:
            if form in operators:
                case.whole(operators[form])
        if stream and operators["auto"].forms.streams() and length > 1:
            case.stream(operators["auto"])
    return refused


def _hidden(program: Program) -> list[str]:
    """Sizes that no input shows."""
    shown = {n for t in program.inputs for a in t.axes for n in a.names} | dict(program.defaults).keys()
    return [n for n in program.sizes() if n not in shown]


@dataclass(slots=True, init=False)
class Case:
    """Random inputs of certain sizes with what the definition makes of them."""

    program: Program
    sizes: dict[str, int]
    inputs: Arrays
    gold: Arrays
    allowed: Arrays
    dtype: np.dtype[Any]

    def __init__(
        self,
        program: Program,
        sizes: dict[str, int],
        given: dict[str, int],
        batched: bool,
        seed: int,
        dtype: str = "float64",
        positive: bool = False,
        scale: float = 1.0,
    ) -> None:
        rng = np.random.default_rng(seed)
        parts = roles(program)
        self.program, self.sizes = program, sizes
        self.inputs = []
        for k, decl in enumerate(program.inputs):
            batch = BATCHES[(k + seed) % len(BATCHES)] if batched else ()
            role, axis = parts[decl.name]
            shape = batch + tuple(a.value(sizes) for a in decl.axes)
            if role == "gate" and any("n" in a.names for a in decl.axes):
                role = "gate of a token"
            array = _draw(role, axis - len(decl.axes), shape, rng)
            array = array * scale if role == "value" else array
            array = np.abs(array) if positive and role != "log" else array
            array = array.astype(dtype) if array.dtype.kind == "f" else array
            self.inputs.append(np.asarray(array.T.copy().T) if k % 2 else array)  # not contiguous
        self.dtype = np.dtype(dtype)
        double = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in self.inputs]
        self.gold = _outputs(run(program, *double, sizes=given))
        # What rounding may do: how far the definition moves when the inputs are moved a little.
        moved = [x * (1 + 1e-11 * rng.normal(size=x.shape)) if x.dtype.kind == "f" else x for x in double]
        near = _outputs(run(program, *moved, sizes=given))
        self.allowed = [_allowed(a, b, dtype) for a, b in zip(self.gold, near, strict=True)]

    def whole(self, operator: Operator) -> None:
        """The outputs of a call."""
        for decl, found, gold, allowed in self._with(_outputs(operator(*self.inputs))):
            self._compare(operator.form, decl, found, gold, allowed)

    def stream(self, operator: Operator) -> None:
        """A prefix and then steps; and steps from the empty state."""
        time = operator.time
        assert time is not None
        length = time.value(self.sizes)
        cut = length // 2
        found, state = operator.prefill(*self._rows(time, slice(0, cut)))
        self._compare_rows("prefill", time, slice(0, cut), found)
        elements = state.elements
        fresh = operator.init_state(*self._rows(time, 0))
        for position in range(length):
            token = self._rows(time, position)
            found, fresh = operator.step(fresh, *token)
            self._compare_rows("step", time, position, found)
            if position >= cut:
                found, state = operator.step(state, *token)
                self._compare_rows("step after prefill", time, position, found)
        assert state.elements == fresh.elements and state.position == fresh.position == length
        if all(0 not in shape for shape in state.layout.shapes):  # a cache or a ring has rows of tokens
            assert state.elements == elements

    def _with(self, found: Arrays) -> list[tuple[TensorDecl, Any, Any, Any]]:
        return list(zip(self.program.outputs, found, self.gold, self.allowed, strict=True))

    def _rows(self, time: Extent, where: object) -> Arrays:
        return [_at(x, d, time, where) for x, d in zip(self.inputs, self.program.inputs, strict=True)]

    def _compare_rows(self, what: str, time: Extent, where: object, found: object) -> None:
        for decl, value, gold, allowed in self._with(_outputs(found)):
            rows = _at(gold, decl, time, where), _at(allowed, decl, time, where)
            self._compare(f"{what} {where}", decl, value, *rows)

    def _compare(self, what: str, decl: TensorDecl, found: Any, gold: Any, allowed: Any) -> None:
        place = f"{what} form, {decl.name} at {self.sizes}\n{self.program}"
        assert found.shape == gold.shape and found.dtype == self.dtype, (found.shape, gold.shape, place)
        with np.errstate(invalid="ignore"):
            wrong = ~((np.abs(found - gold) <= allowed) | np.isinf(allowed))
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            raise AssertionError(f"{found[at]} instead of {gold[at]} at {at}: {place}")


def _outputs(found: object) -> Arrays:
    return [np.asarray(x) for x in (found if isinstance(found, tuple) else (found,))]


def _at(array: Any, decl: TensorDecl, time: Extent, where: object) -> Any:
    """The rows or the row of a tensor along the time axis."""
    if time not in decl.axes:
        return array
    after = len(decl.axes) - decl.axes.index(time) - 1
    return array[(..., where, *[slice(None)] * after)]


def _allowed(gold: Any, near: Any, dtype: str) -> Any:
    """The error that is let pass, infinite where the definition is not finite."""
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(gold) & np.isfinite(near)
        scale = np.max(np.abs(gold), initial=0, where=finite)
        moved = np.where(finite, np.abs(gold - near), 0)
    least, factor = TOLERANCES[dtype]
    return np.where(finite, least * (1 + scale) + factor * np.max(moved, initial=0), np.inf)


def _draw(role: str, axis: int, shape: Sequence[int], rng: np.random.Generator) -> Any:
    """Inputs by the part they play; product gates are negative too and, where each token has its own, 0."""
    match role:
        case "gate" | "gate of a token":
            gates = rng.uniform(0.4, 1.1, shape) * np.where(rng.random(shape) < 0.3, -1, 1)
            return np.where(rng.random(shape) < 0.15, 0.0, gates) if role == "gate of a token" else gates
        case "log":
            return -np.abs(rng.normal(size=shape)) / 2
        case "segment":
            return np.cumsum(rng.integers(0, 2, shape), axis=axis)
        case "flag":
            return rng.integers(0, 2, shape).astype(bool)
        case "data":
            return rng.integers(-1, 3, shape)
    return rng.normal(size=shape)
