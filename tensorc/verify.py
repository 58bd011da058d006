"""Verification: every form of a program against its definition.

The steps of every plan are run on small random exact numbers and must agree with the definition to the
last digit; the generated source is run on floats. A failure is shrunk to the smallest one that is found.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tensorc.compiler import check_backend
from tensorc.errors import TensorcError, VerificationError
from tensorc.exact import ResampleNeeded
from tensorc.operator import Operator
from tensorc.verify_axis import CAUSALITY, causal_axis, leaking, require_causal
from tensorc.verify_cases import Ascending, Case, cases
from tensorc.verify_compare import CompareResult, compare
from tensorc.verify_digits import MOST_BITS, longest
from tensorc.verify_exact import DRAWS, Difference, differences, draw
from tensorc.verify_result import Check, Counterexample, VerifyResult
from tensorc.verify_shrink import Failure, Shrinker
from tensorc.verify_sizes import MOST_WORK, Trial, trials
from tensorc.verify_source import Gold, Sources, gold_for, source_difference

__all__ = ["CompareResult", "Counterexample", "VerifyResult", "compare", "verify"]

EXACTLY, SOURCE = "exact numbers", "generated source"
LONGEST_SECONDS = 15.0  # where no limit is given: nobody waits for a hostile program
_DOUBLE: np.dtype[Any] = np.dtype(np.float64)
_SINGLE: np.dtype[Any] = np.dtype(np.float32)


def verify(
    operator: Operator,
    backends: Sequence[str] | str | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    causal: bool | None = None,
) -> VerifyResult:
    """Check every form of a program against its definition, exactly, and its generated source in floats.

    `backends` are those whose source is run (by default the operator's own); `seed` chooses the random
    inputs; after `time_limit` seconds the rest is left out, and the result says so. Which outputs are
    causal is reported; `causal=True` raises for one that is not.

    >>> import tensorc
    >>> f = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    >>> result = f.verify()
    >>> result.passed, result.causal
    (True, {'y': True})

    Raises `VerificationError`, with the smallest counterexample found in its message and its `result`.
    """
    work = _Verification(operator, _backends(operator, backends), seed, time_limit)
    work.exactly()
    work.causality()
    work.sources()
    result = work.result()
    if causal:
        require_causal(result)
    return result


def _backends(operator: Operator, backends: Sequence[str] | str | None) -> tuple[str, ...]:
    if backends is None:
        return (operator.backend,)
    names = (backends,) if isinstance(backends, str) else tuple(backends)
    for name in names:
        check_backend(name)
    return names


class _Clock:
    """Which part of the time is used up."""

    def __init__(self, limit: float | None) -> None:
        self.start = time.monotonic()
        self.limit = LONGEST_SECONDS if limit is None else max(0.0, limit)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    def over(self, share: float = 1.0) -> bool:
        return self.seconds >= share * self.limit


class _Verification:
    """One verification as it goes on."""

    def __init__(
        self, operator: Operator, backends: tuple[str, ...], seed: int, time_limit: float | None
    ) -> None:
        self.operator, self.program, self.backends, self.seed = operator, operator.program, backends, seed
        self.clock = _Clock(time_limit)
        self.cases, self.refused = cases(operator, lambda: self.clock.over(0.1))
        self.ascending = Ascending(self.program, operator.time, self.cases)
        self.trials = trials(self.program, operator.time, operator.sizes)
        self.exact: Counter[str] = Counter()
        self.source: Counter[str] = Counter()
        self.done: dict[str, dict[str, int]] = {}
        self.causal: dict[str, bool | str] = {}
        self.not_reached: dict[str, list[str]] = {}  # what was left out, and at which sizes
        self.counterexample: Counterexample | None = None

    def result(self) -> VerifyResult:
        """What was found so far."""
        names = dict.fromkeys(case.name for case in self.cases)
        left = self.not_reached.items()
        return VerifyResult(
            name=self.program.name,
            program=str(self.program).rstrip(),
            seed=self.seed,
            backends=self.backends,
            checks=tuple(Check(name, self.exact[name], self.source[name]) for name in names),
            sizes=tuple(self.done.values()),
            evaluations=self.exact.total(),
            refused=self.refused,
            causal=self.causal,
            not_reached=tuple(": ".join([k, *(["; ".join(v)] if v else [])]) for k, v in left),
            counterexample=self.counterexample,
            seconds=round(self.clock.seconds, 3),
        )

    def _left_out(self, what: str, where: object = "") -> None:
        places = self.not_reached.setdefault(what, [])
        if where and str(where) not in places:
            places.append(str(where))

    # -- exact numbers -------------------------------------------------------------------------------------

    def exactly(self) -> None:
        """Every case at every trial."""
        for number, trial in enumerate(self.trials):
            if self.clock.over(0.6):
                self._left_out(EXACTLY, trial)
            elif longest(self.program, trial.sizes) > MOST_BITS:
                self._left_out(f"{EXACTLY} of over {MOST_BITS} bits", trial)
            else:
                self._trial(trial, number)
        for case in self.cases:
            if not self.exact[case.name]:
                self._left_out(f"{EXACTLY} in the form", case.name)

    def _fitting(self, trial: Trial) -> list[Case]:
        """The cases that are small enough at these sizes."""
        most = MOST_WORK * (2 if trial.batched else 10)
        return [case for case in self.cases if case.work(trial.sizes) <= most]

    def _trial(self, trial: Trial, number: int) -> None:
        rng = np.random.default_rng([self.seed, number])
        fitting = self._fitting(trial)
        for kind, undefined in DRAWS:
            inputs = self.ascending.sorted(draw(self.program, trial.sizes, rng, trial.batched, kind))
            try:
                found, count = differences(
                    self.program, fitting, inputs, trial.sizes, self.seed, undefined,
                    stop=lambda: self.clock.over(0.8),
                )  # fmt: skip
            except ResampleNeeded:
                continue
            except TensorcError:  # sizes that the definition refuses, such as a constant outside its axis
                return
            if found:
                self._fail_exactly(Failure(trial.sizes, inputs, found[0]), undefined)
            self.exact.update(case.name for case in fitting[:count])
            self.done[str(trial)] = trial.sizes
            if count < len(fitting):
                self._left_out(EXACTLY, f"{trial} in part")
            return
        self._left_out(f"{EXACTLY} with a defined result", trial)

    def _fail_exactly(self, failure: Failure, undefined: str) -> None:
        case = failure.difference.case

        def fails(sizes: Any, inputs: Any) -> Difference | None:
            if not self.ascending.holds(inputs):
                return None
            try:
                found, _ = differences(self.program, [case], inputs, sizes, self.seed, undefined)
            except (ResampleNeeded, TensorcError):
                return None
            return found[0] if found else None

        self._fail(Shrinker(self.program, failure, fails).shrink(), EXACTLY)

    # -- generated source ----------------------------------------------------------------------------------

    def sources(self) -> None:
        """The generated source of every case, where a requested backend has one."""
        pairs = [(kind(self.operator), kind(self.operator, known=False)) for kind in self._kinds()]
        if not pairs:
            return
        for number, trial in enumerate(self.trials):
            runs = [(known, _DOUBLE) for known, _ in pairs]
            if trial.batched or number == 0:
                runs += [run for known, any_ in pairs for run in ((any_, _DOUBLE), (known, _SINGLE))]
            for sources, dtype in runs:
                if self.clock.over():
                    self._left_out(SOURCE, trial)
                else:
                    self._source_trial(sources, trial, dtype)
        for case in self.cases:
            if not self.source[case.name]:
                self._left_out(f"{SOURCE} of the form", case.name)

    def _kinds(self) -> list[type[Sources]]:
        """The kinds of source to run."""
        kinds = [Sources] if "numpy" in self.backends else []
        if "torch" in self.backends:
            from tensorc.verify_torch import TorchSources

            kinds.append(TorchSources)
        return kinds

    def _source_trial(self, sources: Sources, trial: Trial, dtype: np.dtype[Any]) -> None:
        try:
            gold = gold_for(self.program, trial.sizes, trial.batched, dtype, self.seed, self.ascending)
        except TensorcError:
            return
        if gold is None or not sources.takes(gold.inputs, trial.sizes):
            return
        if dtype == _SINGLE and not gold.smooth:  # overflow, perhaps
            return
        for case in self._fitting(trial):
            if self.clock.over():
                self._left_out(SOURCE, f"{trial} in part")
                return
            found = source_difference(sources, case, gold, trial.sizes)
            if found is not None:
                self._fail_source(sources, Failure(trial.sizes, gold.inputs, found), dtype)
            self.source[case.name] += 1

    def _fail_source(self, sources: Sources, failure: Failure, dtype: np.dtype[Any]) -> None:
        case = failure.difference.case

        def fails(sizes: Any, inputs: Any) -> Difference | None:
            if not self.ascending.holds(inputs):
                return None
            try:
                gold = Gold(self.program, inputs, sizes, dtype, self.seed)
            except TensorcError:
                return None
            if not sources.takes(gold.inputs, sizes):
                return None
            return source_difference(sources, case, gold, sizes)

        self._fail(Shrinker(self.program, failure, fails).shrink(), f"{SOURCE} in {dtype}")

    # -- failures, causality ---------------------------------------------------------------------------------

    def _fail(self, failure: Failure, numbers: str) -> None:
        """Raise with the counterexample."""
        found = failure.difference
        self.counterexample = Counterexample(
            form=found.case.name,
            numbers=numbers,
            sizes=failure.sizes,
            inputs=failure.inputs,
            output=found.output,
            index=found.index,
            expected=found.expected,
            got=found.got,
            error=found.error,
        )
        result = replace(self.result(), counterexample=self.counterexample)
        raise VerificationError(
            f"The {found.case.name} form of {self.program.name} differs from its definition ({numbers}).\n\n"
            f"{str(self.program).rstrip()}\n\n{self.counterexample}",
            result,
        )

    def causality(self) -> None:
        """Which outputs change with a later token."""
        axis = causal_axis(self.program, self.operator.time)
        if axis is None:
            return
        if self.clock.over(0.8):
            self._left_out(CAUSALITY)
            return
        try:
            self.causal = leaking(
                self.program, axis, self.operator.time, self.operator.sizes, self.seed, self.clock.over
            )
        except (TensorcError, ResampleNeeded):
            self._left_out(CAUSALITY)
