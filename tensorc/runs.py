"""A plan as runs: its blocks of steps, how often each is run, and with how long a chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tensorc.counting import Amount, Count, Counter
from tensorc.plan import Append, Keep, Load, Plan, Slide, Step, Stream
from tensorc.polynomial import Polynomial

BEFORE, SETUP, BODY, AFTER = "before", "setup", "body", "after"


@dataclass(frozen=True, slots=True)
class Place:
    """A block of a plan: the number of its loop and "before", "setup" or "body"; or "after" the loops."""

    loop: int
    part: str


@dataclass(frozen=True, slots=True)
class Run:
    """A block run `times` over: the count of one run of each step, by the step's number in the plan."""

    place: Place
    times: int
    counts: Mapping[int, tuple[Step, Count]]


def blocks(plan: Plan) -> Iterator[tuple[Place, Sequence[Step]]]:
    """The steps of a plan, block by block in order."""
    for k, loop in enumerate(plan.loops):
        yield Place(k, BEFORE), loop.before
        yield Place(k, SETUP), loop.setup
        yield Place(k, BODY), loop.body
    yield Place(len(plan.loops), AFTER), plan.epilogue


def numbered(plan: Plan) -> Iterator[tuple[int, Place, Step]]:
    """The steps of a plan with their numbers."""
    key = 0
    for place, steps in blocks(plan):
        for step in steps:
            yield key, place, step
            key += 1


def runs(plan: Plan, sizes: Mapping[str, int], chunk: int) -> Iterator[Run]:
    """Every block with its number of runs: full chunks, then a shorter one for what remains."""
    for number, (length, times) in enumerate(_chunks(plan, sizes, chunk)):
        counter = Counter(plan, lambda extent: extent.value(sizes), length)
        counts: dict[Place, dict[int, tuple[Step, Count]]] = {}
        for key, place, step in numbered(plan):
            counts.setdefault(place, {})[key] = (step, counter.count(step))
        for place, found in counts.items():
            if place.part == BODY:
                often = times
            else:
                often = int(number == 0 or place.part == SETUP)
            if often:
                yield Run(place, often, found)


def _chunks(plan: Plan, sizes: Mapping[str, int], chunk: int) -> list[tuple[int, int]]:
    """(length, how many): the tokens of a body's run and the number of runs."""
    tokens = 0 if plan.time is None else plan.time.value(sizes)
    if plan.form != "chunkwise":
        return [(1, tokens)]
    full, rest = divmod(tokens, chunk)
    return [(chunk, full)] * bool(full) + [(rest, 1)] * bool(rest) or [(1, 0)]


def traffic(place: Place, step: Step, count: Count) -> Amount:
    """Elements between memory and cache in one run of a step: in loops what is loaded and kept, outside
    of them every operand and result."""
    if place.part == AFTER:
        return 0 if isinstance(step, Load) else count.elements
    if place.part == BEFORE or isinstance(step, Load):
        return count.elements
    if isinstance(step, Stream | Slide):
        return count.loaded
    return count.elements * Fraction(1, 2) if isinstance(step, Keep | Append) else 0


def chunk_symbol(plan: Plan) -> str:
    """What the chunk is called in symbolic costs: C, unless a size has that name."""
    extents = [*(a for _, axes in plan.tensors for a in axes), *(a for _, a in plan.extents)]
    return "chunk" if any("C" in extent.names for extent in extents) else "C"


def symbolic_chunk(plan: Plan) -> Polynomial:
    """The tokens of one run of a body as a polynomial."""
    return Polynomial.symbol(chunk_symbol(plan)) if plan.form == "chunkwise" else Polynomial.constant(1)
