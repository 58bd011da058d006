"""One comparison with the definition on exact numbers: zero tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorc.backends.reference import evaluate
from tensorc.exact import Exact, ResampleNeeded, RescaleNeeded, rescaled, same
from tensorc.execute import execute
from tensorc.ir import Program
from tensorc.numbers import Array
from tensorc.plan import Plan
from tensorc.sampling import random_inputs, roles
from tensorc.verify_cases import Case, Inputs, Outputs, States

# Draws of inputs, one after the other, until the result is defined. Numbers without 0, positive ones, and
# large ones that are hardly ever equal keep denominators from 0; units keep powers short. At last what is
# undefined is taken as it is: some programs divide by zero whatever their inputs.
DRAWS = (
    ("any", "resample"), ("any", "resample"), ("nonzero", "resample"), ("positive", "resample"),
    ("large", "resample"), ("unit", "resample"), ("large", "keep"), ("unit", "keep"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """How a case differs from the definition: an output and where, or the exception that it raised."""

    case: Case
    output: str = ""
    index: tuple[int, ...] = ()
    expected: Array | None = None
    got: Array | None = None
    error: str = ""


def draw(
    program: Program,
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    batched: bool = False,
    kind: str = "any",
) -> dict[str, Array]:
    """Random exact inputs; if batched, with leading dimensions that differ but broadcast."""
    inputs = random_inputs(program, sizes, rng, batch=(2, 3) if batched else ())
    if kind != "any":
        for name, (role, _) in roles(program).items():
            if role in ("value", "gate"):
                inputs[name] = _away_from_zero(inputs[name], rng, kind)
    if not batched:
        return inputs
    return dict(zip(inputs, map(in_batches, range(len(inputs)), inputs.values()), strict=True))


def _away_from_zero(array: Array, rng: np.random.Generator, kind: str) -> Array:
    """Other numbers in place of zeros; in place of all, where they are to be large or units."""
    if kind == "large":
        return np.asarray(rng.integers(1, 1000, array.shape).astype(object), object)
    if kind == "unit":
        return np.asarray((2 * rng.integers(0, 2, array.shape) - 1).astype(object), object)
    other = np.asarray(rng.integers(1, 4, array.shape).astype(object), object)
    array = np.where(array == 0, other, array)
    return np.asarray(np.abs(array) if kind == "positive" else array, object)


def in_batches(place: int, array: Array) -> Array:
    """One of several shapes that broadcast to (2, 3): (3,), (2, 1), (2, 3), ()."""
    return np.asarray((array[0], array[:, :1], array, array[0, 0])[place % 4], array.dtype)


def differences(
    program: Program,
    cases: Iterable[Case],
    inputs: Inputs,
    sizes: Mapping[str, int],
    seed: int,
    undefined: str = "resample",
    stop: Callable[[], bool] = lambda: False,
) -> tuple[list[Difference], int]:
    """The cases that differ from the definition on these inputs, and how many were compared.

    Raises `ResampleNeeded` if these inputs have no exact result.
    """
    cases = list(cases)

    def run(numbers: Exact) -> tuple[list[Difference], int]:
        expected = evaluate(program, inputs, sizes, numbers)
        found: list[Difference] = []
        for count, case in enumerate(cases):
            if stop():
                return found, count
            difference = _compare(program, case, inputs, sizes, numbers, expected)
            if difference is not None:
                found.append(difference)
        return found, len(cases)

    return rescaled(run, seed, undefined=undefined)


def _compare(
    program: Program, case: Case, inputs: Inputs, sizes: Mapping[str, int], numbers: Exact, expected: Outputs
) -> Difference | None:
    def one(
        plan: Plan, chunk: int | None, some: Inputs, at: Mapping[str, int], state: States | None, start: int
    ) -> tuple[Outputs, States]:
        return execute(program, plan, some, at, numbers, chunk, state, start)

    try:
        got = case.run(program, inputs, sizes, one)
    except (RescaleNeeded, ResampleNeeded):
        raise
    except Exception as error:  # whatever a wrong plan does, the report shows it
        return Difference(case, error=f"{type(error).__name__}: {error}")
    return first_difference(case, expected, got, same)


def first_difference(
    case: Case, expected: Outputs, got: Outputs, agree: Callable[[Any, Any], Array]
) -> Difference | None:
    """The first output and element that do not agree."""
    for name, wanted in expected.items():
        found = got[name]
        if found.shape != wanted.shape:
            text = f"the output {name} has the shape {found.shape} instead of {wanted.shape}"
            return Difference(case, name, (), wanted, found, text)
        wrong = np.argwhere(~agree(wanted, found))
        if len(wrong):
            return Difference(case, name, tuple(map(int, wrong[0])), wanted, found)
    return None
