"""What a plan costs: FLOPs, traffic, memory and states, in numbers and as polynomials of the sizes.

All of it for one batch element and the whole call. A multiply-add counts 2 FLOPs, an elementwise operation
1 an element. `bytes` of a plan go between memory and cache: what a loop makes for a chunk stays in cache,
so that only inputs, outputs and kept tensors count there; outside of loops every operand and result does.
`bytes` of a step are its operands and results, wherever they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from tensorc.counting import Amount, Count, Counter
from tensorc.liveness import peak
from tensorc.model import best_chunk, crossover, plan_time, seconds
from tensorc.plan import Contract, Plan, Step, Tile, Why
from tensorc.polynomial import Polynomial
from tensorc.rates import DEFAULT, Rates
from tensorc.runs import BODY, Place, chunk_symbol, numbered, runs, symbolic_chunk, traffic

FIGURES = ("flops", "bytes", "peak_elements", "state_elements")


@dataclass(frozen=True, slots=True)
class StepCost:
    """One step over the whole call: how often it is run, its cost, and where it comes from."""

    step: Step = field(repr=False)
    place: Place
    kind: str
    runs: int
    flops: int
    bytes: int
    seconds: float
    symbolic: str
    why: Why

    @property
    def intensity(self) -> float:
        """FLOPs a byte of operands and results."""
        return self.flops / self.bytes if self.bytes else 0.0


@dataclass(frozen=True, slots=True)
class PlanCost:
    """The cost of a plan for one batch element: integers, and the same four as text by name. `seconds` is
    the time model's, `roofline` the part of it that a machine at full rate would need; `chunk` is the
    chunk that was counted (None without loops over chunks)."""

    flops: int
    bytes: int
    peak_elements: int
    state_elements: int
    seconds: float
    roofline: float
    chunk: int | None
    symbolic: Mapping[str, str]
    steps: tuple[StepCost, ...] = field(repr=False)

    @property
    def intensity(self) -> float:
        """FLOPs a byte of memory traffic."""
        return self.flops / self.bytes if self.bytes else 0.0


def plan_cost(
    plan: Plan, sizes: Mapping[str, int], chunk: int | None = None, rates: Rates = DEFAULT
) -> PlanCost:
    """Count a plan at these sizes (of every size name of the program). `chunk`: instead of the plan's own.

    Raises `KeyError` for a size that is missing.
    """
    chunk = plan.chunk if chunk is None else chunk
    symbols = _symbols(plan)
    order = [*(plan.time.names if plan.time else ()), chunk_symbol(plan), *sizes]
    steps, memory = _steps(plan, sizes, chunk, rates, symbols, order)
    length = 1 if plan.time is None else max(1, plan.time.value(sizes))
    elements, widest = peak(plan, sizes, min(chunk, length))
    flops, moved = sum(s.flops for s in steps), rates.itemsize * memory
    time = plan_time(plan, sizes, rates, chunk)
    ideal = max(flops / rates.matmul, moved / rates.memory)
    figures = (symbols.total, symbols.memory * rates.itemsize, widest, symbols.states)
    return PlanCost(
        flops=flops,
        bytes=moved,
        peak_elements=elements,
        state_elements=int(symbols.states.at(sizes)),
        seconds=time,
        roofline=min(1.0, ideal / time) if time else 0.0,
        chunk=chunk if plan.loops and plan.form == "chunkwise" else None,
        symbolic={name: polynomial.text(order) for name, polynomial in zip(FIGURES, figures, strict=True)},
        steps=tuple(steps),
    )


@dataclass(slots=True)
class _Symbols:
    """The polynomials of a plan: FLOPs by step, and the totals."""

    flops: list[Polynomial]
    total: Polynomial
    memory: Polynomial
    states: Polynomial


def _symbols(plan: Plan) -> _Symbols:
    chunk = symbolic_chunk(plan)
    tokens = Polynomial.constant(1) if plan.time is None else Polynomial.of(plan.time)
    counter = Counter(plan, Polynomial.of, chunk)
    zero = Polynomial({})
    found = _Symbols([], zero, zero, zero)
    for _, place, step in numbered(plan):
        count = counter.count(step)
        times = tokens * chunk.power(-1) if place.part == BODY else Polynomial.constant(1)
        found.flops.append(times * count.flops)
        found.total = found.total + found.flops[-1]
        found.memory = found.memory + times * traffic(place, step, count)
    for state in plan.states:
        found.states = found.states + counter.elements(state.name)
    return found


def _steps(
    plan: Plan, sizes: Mapping[str, int], chunk: int, rates: Rates, symbols: _Symbols, order: list[str]
) -> tuple[list[StepCost], int]:
    """The cost of every step over the whole call, and the elements between memory and cache."""
    totals = [Count(calls=0) for _ in symbols.flops]
    times = [0.0] * len(totals)
    often = [0] * len(totals)
    memory: Amount = 0
    for run in runs(plan, sizes, chunk):
        for key, (step, count) in run.counts.items():
            totals[key] = totals[key] + count.times(run.times)
            times[key] += run.times * seconds(count, rates, again=run.place.part == BODY)
            often[key] += run.times
            memory += run.times * Fraction(traffic(run.place, step, count))
    steps = [
        StepCost(
            step=step,
            place=place,
            kind=step_kind(step),
            runs=often[key],
            flops=int(totals[key].flops),
            bytes=int(rates.itemsize * totals[key].elements),
            seconds=times[key],
            symbolic=symbols.flops[key].text(order),
            why=step.why,
        )
        for key, place, step in numbered(plan)
    ]
    return steps, int(memory)


KINDS = {
    "Load": "load",
    "Gather": "gather",
    "Map": "elementwise",
    "Tile": "mask",
    "ScanTile": "scan",
    "Solve": "solve",
    "Delay": "shift",
    "Tail": "shift",
    "Monomials": "monomials",
    "Fold": "reduction",
    "Normalise": "softmax",
    "Append": "cache",
    "Select": "load",
    "Slide": "window",
    "Region": "mask",
    "Guard": "mask",
    "Weigh": "softmax",
    "Accumulate": "reduction",
    "LogSum": "reduction",
    "Stream": "stream",
    "Fill": "store",
    "Recur": "recursion",
    "Update": "state",
    "Keep": "store",
}


def step_kind(step: Step) -> str:
    """What a step is, in a word: "product", "mask", "scan", ..."""
    if isinstance(step, Contract):
        if step.right is None:
            return "sum"
        inner = set(step.left.axes) & set(step.right.axes) - set(step.out.axes)
        return "product" if inner else "elementwise"
    if isinstance(step, Tile) and step.gates:
        return "decay"
    return KINDS[type(step).__name__]


__all__ = [
    "FIGURES",
    "PlanCost",
    "StepCost",
    "best_chunk",
    "crossover",
    "plan_cost",
    "plan_time",
    "step_kind",
]
