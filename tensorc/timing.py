"""The forms of a program timed side by side, beside what the cost model says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

import numpy as np

from tensorc.compiler import TENSORS, compile
from tensorc.cost import plan_time
from tensorc.errors import BackendError, FormError
from tensorc.operator import Operator
from tensorc.report_facts import duration
from tensorc.sampling import random_inputs, roles

FORMS = ("parallel", "chunkwise", "recurrent")


@dataclass(frozen=True, slots=True)
class Timed:
    """One form: seconds a call (the median and the least of all rounds), or why there are none."""

    form: str
    median: float
    least: float
    predicted: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Timings:
    """What `time_forms` found; prints as a table."""

    program: str
    backend: str
    sizes: dict[str, int]
    batch: tuple[int, ...]
    rounds: int
    forms: tuple[Timed, ...]

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        batch = f", batch {'x'.join(map(str, self.batch))}" if self.batch else ""
        lines = [
            f"{self.program} on {self.backend}: {sizes}{batch}, float32; {self.rounds} rounds in turn",
            "",
        ]
        lines.append(f"  {'form':<10} {'median':>10} {'least':>10} {'ratio':>7} {'by the model':>13}")
        best = min((t.median for t in self.forms if not t.why), default=0.0)
        for timed in self.forms:
            if timed.why:
                lines.append(f"  {timed.form:<10} {timed.why}")
                continue
            figures = f"{duration(timed.median):>10} {duration(timed.least):>10} {timed.median / best:>7.2f}"
            lines.append(f"  {timed.form:<10} {figures} {duration(timed.predicted):>13}")
        return "\n".join(lines)


def time_forms(
    operator: Operator,
    sizes: Mapping[str, int] | None = None,
    *,
    batch: tuple[int, ...] = (),
    rounds: int = 9,
    budget: float = 10.0,
    seed: int = 0,
) -> Timings:
    """Time every form of a compiled program, or the one that it was compiled for, on random float32 inputs.

    All forms run once in each round. A form that the cost model expects to take more than `budget` seconds a
    call is left out with that reason; rounds stop early, after three, when `budget` seconds are spent.

    >>> import tensorc
    >>> total = tensorc.compile("def total(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])")
    >>> [timed.form for timed in time_forms(total, {"n": 64, "d": 4}, rounds=3).forms]
    ['parallel', 'chunkwise', 'recurrent']
    """
    if operator.backend == "reference":
        raise BackendError("The reference backend evaluates the definition; time numpy, torch or triton.")
    sizes = operator.forms.example_sizes(sizes or {})
    timed: dict[str, Operator] = {}
    found: dict[str, Timed] = {}
    for form in FORMS if operator.form == "auto" else (operator.form,):
        try:
            one = _in_form(operator, form)
            predicted = plan_time(one.forms.plan(form, sizes), sizes, batch=prod(batch))
        except (FormError, BackendError) as error:
            found[form] = Timed(form, 0, 0, 0, str(error).splitlines()[0])
            continue
        if predicted > budget:
            found[form] = Timed(form, 0, 0, predicted, f"left out: {duration(predicted)} a call by the model")
            continue
        found[form] = Timed(form, 0, 0, predicted)
        timed[form] = one
    # Inputs of forms that are left out may be too large to be made.
    drawn = _inputs(operator, sizes, batch, seed) if timed else []
    inputs = [_as_given(operator, array) for array in drawn]
    calls = {form: _call(one, inputs) for form, one in timed.items()}
    samples = in_turn(calls, rounds, budget)
    for form, seconds in samples.items():
        found[form] = Timed(form, median(seconds), min(seconds), found[form].predicted)
    done = max((len(s) for s in samples.values()), default=0)
    return Timings(operator.program.name, operator.backend, sizes, batch, done, tuple(found.values()))


def _in_form(operator: Operator, form: str) -> Operator:
    time = None if operator.time is None else str(operator.time)
    made: Operator = compile(
        operator.program, backend=operator.backend, form=form, time=time, sizes=operator.sizes or None
    )
    return made


def _on_the_wall(name: str, call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    budget: float,
    timer: Callable[[str, Callable[[], Any]], float] = _on_the_wall,
) -> dict[str, list[float]]:
    """Seconds of each call in each round, all once in a round, in alternating order, after a call of each
    that does not count. Rounds stop early, after three, when `budget` seconds are spent. `timer` gives the
    seconds of a call by its name, by default on the wall.

    >>> {name: len(seconds) for name, seconds in in_turn({"a": list, "b": dict}, 3, 1.0).items()}
    {'a': 3, 'b': 3}
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    begin = time.perf_counter()
    order = list(calls)
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begin > budget:
            break
        for name in order:
            seconds[name].append(timer(name, calls[name]))
        order.reverse()
    return seconds


def _inputs(
    operator: Operator, sizes: Mapping[str, int], batch: tuple[int, ...], seed: int
) -> list[np.ndarray[Any, np.dtype[Any]]]:
    """Random inputs for the parts they play: gates and log gates of a memory that fades slowly."""
    rng = np.random.default_rng(seed)
    parts = roles(operator.program)
    given = random_inputs(operator.program, sizes, rng, batch)
    for name, array in given.items():
        role = parts[name][0]
        if role == "gate":
            given[name] = rng.uniform(0.9, 1.0, array.shape).astype(np.float32)
        elif role == "log":
            given[name] = -rng.uniform(0.0, 0.1, array.shape).astype(np.float32)
        elif role == "value":
            given[name] = rng.normal(size=array.shape).astype(np.float32)
    return [given[tensor.name] for tensor in operator.program.inputs]


def _as_given(operator: Operator, array: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """An array as the backend takes it."""
    if operator.backend not in TENSORS:
        return array
    import torch

    on_gpu = operator.backend == "triton" and torch.cuda.is_available()
    return torch.from_numpy(array).to("cuda" if on_gpu else "cpu")


def _call(operator: Operator, inputs: list[Any]) -> Callable[[], Any]:
    """A call that returns when it is done."""
    if operator.backend not in TENSORS:
        return lambda: operator(*inputs)
    import torch

    def call() -> None:
        with torch.no_grad():
            operator(*inputs)
        if inputs and inputs[0].is_cuda:
            torch.cuda.synchronize()

    return call
