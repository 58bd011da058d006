"""Generated source against the definition, on random floats.

The source runs as users get it, but on inputs that are read-only and not contiguous, and with
uninitialised buffers that hold NaN. Where the definition itself is sensitive to its inputs, so may the
result be: what it changes by when the inputs change in their last digits is allowed for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from tensorc.backends.numpy_source import numpy_source, required_sizes
from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.python_names import Names
from tensorc.backends.reference import evaluate
from tensorc.binding import Bound, bind
from tensorc.errors import TensorcError
from tensorc.ir import Program
from tensorc.numbers import FLOAT, Array
from tensorc.operator import Operator
from tensorc.plan import Plan
from tensorc.sampling import random_inputs, roles
from tensorc.verify_cases import Ascending, Case, Inputs, Outputs, States
from tensorc.verify_exact import Difference, first_difference

DRAWS = 3


class Sources:
    """The functions of generated modules, compiled once, `np.empty` poisoned in each. With `known`, the
    source is that for a call whose batch dimensions are looked at, as the operator does."""

    def __init__(self, operator: Operator, known: bool = True) -> None:
        self.operator, self.program, self.known = operator, operator.program, known
        self._functions: dict[tuple[Plan, Batch], Callable[..., Any]] = {}
        self._names = required_sizes(operator.program, None)

    def run(
        self,
        plan: Plan,
        chunk: int | None,
        inputs: Inputs,
        sizes: Mapping[str, int],
        state: States | None,
        position: int,
        dtype: np.dtype[Any],
    ) -> tuple[Outputs, States]:
        """What the source of a plan makes of these inputs."""
        function = self._function(plan, inputs, sizes)
        options = {"chunk": chunk, "state": state, "position": position, "dtype": dtype}
        takes = inspect.signature(function).parameters
        keywords = {k: v for k, v in options.items() if k in takes and v is not None}
        keywords |= {keyword: sizes[name] for name, keyword in self._names.items()}
        result = function(*(self._argument(inputs[d.name]) for d in self.program.inputs), **keywords)
        outputs, states = (result, ()) if plan.form == "parallel" else result
        return dict(zip((d.name for d in self.program.outputs), outputs, strict=True)), tuple(states)

    def takes(self, inputs: Inputs, sizes: Mapping[str, int]) -> bool:
        """Whether a call with these inputs finds these sizes (of no elements, a product may not tell)."""
        try:
            arrays = [inputs[d.name] for d in self.program.inputs]
            given = {name: sizes[name] for name in {*self._names, *self.operator.sizes}}
            return bind(self.program, arrays, sizes=given).sizes == dict(sizes)
        except TensorcError:
            return False

    def _function(self, plan: Plan, inputs: Inputs, sizes: Mapping[str, int]) -> Callable[..., Any]:
        batch = ANY
        if self.known:
            bound = bind(self.program, [inputs[d.name] for d in self.program.inputs], sizes=sizes)
            batch = _known(self.program, bound)
        if (plan, batch) not in self._functions:
            text = self._print(plan, batch)
            namespace: dict[str, Any] = {"__name__": "tensorc_verified"}
            exec(compile(text, f"<{self.program.name}, {plan.form}>", "exec"), namespace)
            self._poison(namespace)
            self._functions[plan, batch] = namespace[Names(self.program).function]
        return self._functions[plan, batch]

    def _argument(self, array: Any) -> Any:
        """An input as the source gets it."""
        return hostile(array)

    def _print(self, plan: Plan, batch: Batch) -> str:
        return numpy_source(self.program, plan, batch)

    def _poison(self, namespace: dict[str, Any]) -> None:
        namespace["np"] = Poisoned()


def _known(program: Program, bound: Bound) -> Batch:
    """What a call shows of the batch dimensions: which inputs have all of them."""
    shapes = {d.name: bound.arrays[d.name].shape for d in program.inputs}
    wanted = {d.name: len(bound.batch) + len(d.axes) for d in program.inputs}
    full = [n for n, s in shapes.items() if len(s) == wanted[n] and s[: len(bound.batch)] == bound.batch]
    return Batch(frozenset(full), not bound.batch)


class Poisoned:
    """NumPy, but what is not initialised holds NaN."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(shape: Any, dtype: Any = float) -> Array:
        """NaN, or the largest number of a dtype without NaN."""
        kind = np.dtype(dtype)
        value: Any = np.iinfo(kind).max if kind.kind in "iu" else np.nan if kind.kind in "fc" else True
        return np.full(shape, value, kind)

    @classmethod
    def empty_like(cls, array: Any, dtype: Any = None) -> Array:
        """As `empty`, in the shape of an array."""
        return cls.empty(np.shape(array), array.dtype if dtype is None else dtype)


def hostile(array: Array) -> Array:
    """The same numbers, not contiguous and read-only."""
    if array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
        wide[..., 1::2] = array
        array = wide[..., 1::2]
    else:
        array = array.copy()
    array.flags.writeable = False
    return array


def float_inputs(
    program: Program,
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    batch: tuple[int, ...],
    positive: bool,
) -> dict[str, Array]:
    """Random inputs: normal numbers, small decays, gates in [-1, 1] some of which are 0."""
    parts = roles(program)
    exact = random_inputs(program, sizes, rng, batch)
    inputs = {}
    for name, array in exact.items():
        role = parts[name][0]
        if role in ("segment", "flag", "data"):
            inputs[name] = array
            continue
        values = rng.normal(size=array.shape)
        if role == "log":
            values = -np.abs(values) / 2
        elif role == "gate":
            values = np.tanh(values) * (rng.random(array.shape) > 0.1)
        inputs[name] = np.asarray(np.abs(values) + 0.1 if positive and role == "value" else values)
    return inputs


class Gold:
    """The definition in float64 on some inputs, and how far results in another dtype may be from it."""

    @np.errstate(all="ignore")
    def __init__(
        self, program: Program, inputs: Inputs, sizes: Mapping[str, int], dtype: np.dtype[Any], seed: int
    ) -> None:
        self.dtype = dtype
        self.inputs = {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in inputs.items()}
        double = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in self.inputs.items()}
        self.expected = evaluate(program, double, sizes, FLOAT)
        epsilon = float(np.finfo(dtype).eps)
        rng = np.random.default_rng(seed)
        moved = {
            n: a * (1 + 64 * epsilon * rng.uniform(-1, 1, a.shape)) if a.dtype.kind == "f" else a
            for n, a in double.items()
        }
        near = evaluate(program, moved, sizes, FLOAT)
        ref = self.expected if dtype == np.float64 else evaluate(program, self.inputs, sizes, FLOAT)
        self.allowed, self.scale = {}, {}
        for name, gold in self.expected.items():
            scale = max(1.0, _largest(gold))
            self.scale[name] = scale
            self.allowed[name] = (
                256 * epsilon * scale + 8 * _largest(near[name] - gold) + 2 * _largest(ref[name] - gold)
            )

    @property
    def smooth(self) -> bool:
        """Whether the definition is finite here, and hardly moves when the inputs do."""
        finite = all(np.isfinite(gold).all() for gold in self.expected.values())
        return finite and all(self.allowed[n] <= 1e-3 * self.scale[n] for n in self.expected)

    def difference(self, case: Case, outputs: Outputs) -> Difference | None:
        """How outputs differ by more than is allowed, or in dtype."""
        for name, array in outputs.items():
            if array.dtype != self.dtype:
                text = f"the output {name} has the dtype {array.dtype} instead of {self.dtype}"
                return Difference(case, name, (), self.expected[name], array, text)
        for name in outputs:
            agree = partial(_near, self.allowed[name])
            found = first_difference(case, {name: self.expected[name]}, outputs, agree)
            if found is not None:
                return found
        return None


@np.errstate(all="ignore")
def _near(most: float, gold: Array, got: Array) -> Array:
    """Where results are near enough. Where the definition overflows or is undefined, the order of operations
    decides what comes out: that is for exact numbers to judge."""
    return np.asarray((np.abs(got - gold) <= most) | (got == gold) | ~np.isfinite(gold))


def _largest(array: Array) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0.0))


def gold_for(
    program: Program,
    sizes: Mapping[str, int],
    batched: bool,
    dtype: np.dtype[Any],
    seed: int,
    ascending: Ascending,
) -> Gold | None:
    """Inputs where the definition is smooth; where none are found, those that come nearest."""
    from tensorc.verify_exact import in_batches

    rng = np.random.default_rng(seed)
    found = None
    for attempt in range(2 * DRAWS):
        inputs = float_inputs(program, sizes, rng, (2, 3) if batched else (), attempt >= DRAWS)
        if batched:
            inputs = dict(zip(inputs, map(in_batches, range(len(inputs)), inputs.values()), strict=True))
        gold = Gold(program, ascending.sorted(inputs), sizes, dtype, seed)
        if gold.smooth:
            return gold
        finite = sum(int(np.isfinite(a).sum()) for a in gold.expected.values())
        if found is None or finite > found[0]:
            found = (finite, gold)
    return None if found is None else found[1]


def source_difference(
    sources: Sources, case: Case, gold: Gold, sizes: Mapping[str, int]
) -> Difference | None:
    """How the generated source of a case differs from the definition."""

    def run(
        plan: Plan, chunk: int | None, some: Inputs, at: Mapping[str, int], state: States | None, start: int
    ) -> tuple[Outputs, States]:
        return sources.run(plan, chunk, some, at, state, start, gold.dtype)

    try:
        with np.errstate(all="ignore"):
            outputs = case.run(sources.program, gold.inputs, sizes, run)
    except Exception as error:  # whatever wrong source does, the report shows it
        return Difference(case, error=f"{type(error).__name__}: {error}")
    return gold.difference(case, outputs)
