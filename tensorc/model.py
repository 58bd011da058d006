"""The time model: how long a plan takes, which chunk suits it, and where one form overtakes another.

For each step the larger of its operations over their rates and its bytes over the bandwidth, and the cost
of its NumPy calls. Deterministic: the rates are a table (`tensorc.rates`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tensorc.counting import Count
from tensorc.plan import Plan
from tensorc.rates import CACHE, DEFAULT, Rates
from tensorc.runs import BODY, runs

CHUNKS = (16, 32, 64, 128)
TOKEN_CALLS = 2  # calls' worth of Python around one token: the call of its step, and the output's row
FRESH = 1 << 20  # bytes of operands and results of a step beyond which no array is used again
PASSES = 2  # an operation on such arrays takes as long as moving this many of them through memory
LONGEST = 24  # lengths up to 2**24 are searched for crossovers


def seconds(count: Count, rates: Rates, batch: int = 1, again: bool = False) -> float:
    """One run of a step for a batch; `again` and again, so that memory is used again."""
    moved = count.elements * rates.itemsize * batch
    near = moved <= CACHE or count.loaded  # the blocks of a stream are made to stay in cache
    work = count.products / (rates.matmul if near else rates.large) + count.batch * rates.product
    simple = 1 / rates.elementwise
    if moved > FRESH and not again:  # each operation writes an array that the allocator maps anew
        simple = max(simple, PASSES * rates.itemsize / rates.memory)
    work += count.simple * simple + count.special / rates.function
    bandwidth = rates.cache if near else rates.memory
    return float(max(work * batch, moved / bandwidth) + count.calls * rates.call)


def plan_time(
    plan: Plan, sizes: Mapping[str, int], rates: Rates = DEFAULT, chunk: int | None = None, batch: int = 1
) -> float:
    """Seconds by the model for a call at these sizes (of every size name of the program).

    `chunk`: instead of the plan's own; `batch`: the product of the leading batch dimensions.
    """
    total = 0.0
    for run in runs(plan, sizes, plan.chunk if chunk is None else chunk):
        again = run.place.part == BODY
        once = sum(seconds(count, rates, batch, again) for _, count in run.counts.values())
        if plan.form == "recurrent" and again:
            once += TOKEN_CALLS * rates.call
        total += run.times * once
    return total


def best_chunk(
    plan: Plan, sizes: Mapping[str, int], rates: Rates = DEFAULT, chunks: Sequence[int] = CHUNKS
) -> int:
    """The chunk that a chunkwise plan is fastest with; the smaller of equals."""
    return min(chunks, key=lambda chunk: (plan_time(plan, sizes, rates, chunk), chunk))


def crossover(
    forms: Mapping[str, Plan], sizes: Mapping[str, int], rates: Rates = DEFAULT, batch: int = 1
) -> list[dict[str, str | int]]:
    """Where the cheapest form changes as the sequence grows: a list of `from`, `to` and `n`, the least
    length at which `to` is cheaper for a `batch`. Empty without a time axis of one size, or with one form."""
    time = next(iter(forms.values())).time if forms else None
    if time is None or len(time.names) != 1 or len(forms) < 2:
        return []
    (name,) = time.names

    def cheapest(length: int) -> str:
        at = {**sizes, name: length}
        return min(forms, key=lambda form: plan_time(forms[form], at, rates, batch=batch))

    found: list[dict[str, str | int]] = []
    low, before = 1, cheapest(1)
    for power in range(1, LONGEST + 1):
        high = 2**power
        after = cheapest(high)
        while before != after:
            low = _last(cheapest, before, low, high) + 1
            found.append({"from": before, "to": cheapest(low), "n": low})
            before = cheapest(low)
        low = high
    return found


def _last(cheapest: Callable[[int], str], form: str, low: int, high: int) -> int:
    """The last length from `low` on at which a form is the cheapest; at `high` it is not."""
    while high - low > 1:
        middle = (low + high) // 2
        if cheapest(middle) == form:
            low = middle
        else:
            high = middle
    return low
