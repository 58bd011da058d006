"""What windows cost: the columns of a band, and the sums of whole chunks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tensorc.counting_stream import amount, least
from tensorc.ir import Expr
from tensorc.plan import Select, Slide

if TYPE_CHECKING:
    from tensorc.counting import Count, Counter


def band(counter: Counter, width: Expr) -> Any:
    """The columns before the whole chunks that some row of a chunk sees; as a polynomial for a width of
    whole chunks, of which there are two at least."""
    size: Any = amount(counter, width)
    chunks = _chunks(counter, width)
    if chunks is None:
        return counter.chunk + (-1)
    return max(0, least(size - 1 - chunks * counter.chunk, counter.time))


def _chunks(counter: Counter, width: Expr) -> int | None:
    """How many whole chunks the rows of a chunk see; None if that is no number."""
    size = amount(counter, width)
    if not isinstance(size, int | Fraction) or not isinstance(counter.chunk, int | Fraction):
        return None
    return max(0, int(size) // int(counter.chunk) - 1)


def kept_sums(counter: Counter, step: Slide) -> Any:
    """The elements of the sums that are kept from chunk to chunk: one for each whole chunk."""
    from tensorc.polynomial import Polynomial

    elements, chunk = counter.elements(step.out.value), counter.chunk
    chunks = _chunks(counter, step.width)
    if chunks is not None:
        time: Any = counter.time
        return least(chunks, time * Fraction(1, max(1, chunk))) * elements
    size: Any = amount(counter, step.width)
    share = chunk.power(-1) if isinstance(chunk, Polynomial) else Fraction(1, chunk)
    return size * share * elements


def count_slide(counter: Counter, step: Slide) -> Count:
    """One run of a slide: in the mean every chunk is summed twice, a running sum of each kind of them."""
    from tensorc.counting import Count

    chunks = _chunks(counter, step.width)
    times: Any = 2 if chunks is None else Fraction(2 * chunks - 1, chunks) if chunks else 0
    outside = dict(counter.labels)
    counter.labels[step.label] = counter.chunk
    total = counter.store(step.out, {})
    gates = 0 if step.gates is None else counter.store(step.gates, {})
    inner, loaded = Count(calls=0), 0
    for part in step.steps:
        found = counter.count(part)
        inner = inner + found
        loaded = loaded + (found.elements if isinstance(part, Select) else 0)
    passes = 1 if step.through is None else 2
    inner = inner + Count(simple=passes * total + gates, elements=2 * passes * total, calls=passes + 2)
    counter.labels = outside
    whole = replace(inner.times(times), loaded=times * loaded)
    return whole + Count(simple=passes * total, elements=3 * total, calls=3)
