"""Whether two programs compute the same, found out with exact numbers: for a claim about a definition, such
as a recurrence derived by hand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tensorc.backends.reference import evaluate
from tensorc.errors import TensorcError
from tensorc.exact import Exact, ResampleNeeded, rescaled, same
from tensorc.ir import Program
from tensorc.verify_cases import Case
from tensorc.verify_exact import Difference, draw, first_difference
from tensorc.verify_result import Counterexample
from tensorc.verify_shrink import Failure, Inputs, Shrinker
from tensorc.verify_sizes import trials

NUMBERS = "exact numbers"
KINDS = ("any", "positive", "unit")  # of inputs, one after the other


def disagreement(
    claim: Program | str | Path,
    definition: Program | str | Path,
    *,
    seed: int = 0,
    time_limit: float | None = None,
) -> Counterexample | None:
    """The smallest inputs found on which `claim` is not what `definition` says; None if none were found.

    Both are programs, texts or paths, with the same inputs and outputs. Their definitions are evaluated on
    small random exact inputs, as `Operator.verify` does for the forms of one program.

    >>> print(disagreement(
    ...     "def f(x[n]) -> y[n]:  y[i] = x[i] + 2 * y[i - 1]",
    ...     "def g(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])",
    ... ))
    sizes     n=2
    input     x = [1, 0]
    expected  y = [1, 1]
    got       y = [1, 2]
    first at  y[1]: 1 expected, 2 got

    Raises `TensorcError` for programs whose inputs or outputs differ, and where neither of them has a value
    at any of the sizes tried.
    """
    one, other = _program(claim), _program(definition)
    for what, mine, theirs in (("inputs", one.inputs, other.inputs), ("outputs", one.outputs, other.outputs)):
        if mine != theirs:
            raise TensorcError(
                f"The {what} of {one.name} and {other.name} differ: {', '.join(map(_declared, mine))}; "
                f"{', '.join(map(_declared, theirs))}."
            )
    end = None if time_limit is None else time.monotonic() + time_limit
    case = Case(one.name, ())
    compared, problem = False, "there is no time left"
    for number, trial in enumerate(trials(other, None, {}, one) * len(KINDS)):
        if end is not None and time.monotonic() > end:
            return None
        rng = np.random.default_rng([seed, number])
        kind = KINDS[number % len(KINDS)]
        sizes = dict(one.defaults) | trial.sizes
        inputs = draw(other, trial.sizes, rng, False, kind)
        try:
            failure = _difference(one, other, inputs, sizes, seed, case)
        except (ResampleNeeded, TensorcError) as error:  # no value there, or a size that is too small
            problem = str(error) or "their results are undefined on all inputs"
            continue
        compared = compared or 0 not in trial.sizes.values()
        if failure is not None:
            return _smallest(one, other, failure, seed, case)
    if not compared:
        raise TensorcError(f"{one.name} and {other.name} were never compared: {problem}")
    return None


def _difference(
    one: Program, other: Program, inputs: Inputs, sizes: Mapping[str, int], seed: int, case: Case
) -> Failure | None:
    """How the two differ on these inputs. Raises `ResampleNeeded` where a result is undefined, `TensorcError`
    for sizes that do not fit."""

    def run(numbers: Exact) -> Difference | None:
        expected = evaluate(other, inputs, sizes, numbers)
        return first_difference(case, expected, evaluate(one, inputs, sizes, numbers), same)

    found = rescaled(run, seed)
    return None if found is None else Failure(dict(sizes), inputs, found)


def _smallest(one: Program, other: Program, failure: Failure, seed: int, case: Case) -> Counterexample:
    def fails(sizes: Mapping[str, int], inputs: Inputs) -> Difference | None:
        try:
            found = _difference(one, other, inputs, dict(one.defaults) | dict(sizes), seed, case)
        except (ResampleNeeded, TensorcError):
            return None
        return None if found is None else found.difference

    failure = Shrinker(other, failure, fails).shrink()
    found = failure.difference
    return Counterexample(
        form=one.name,
        numbers=NUMBERS,
        sizes=failure.sizes,
        inputs=failure.inputs,
        output=found.output,
        index=found.index,
        expected=found.expected,
        got=found.got,
        error=found.error,
    )


def _program(source: Program | str | Path) -> Program:
    from tensorc.compiler import program_of

    return program_of(source, None)


def _declared(tensor: Any) -> str:
    return f"{tensor.name}[{', '.join(map(str, tensor.axes))}]"
