"""Executing monomials: every product of some elements of a vector once, in any kind of numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np

from tensorc.execute_values import Labelled, spread
from tensorc.numbers import Array, Numbers
from tensorc.plan import Monomials, Ref

Places = tuple[int, ...]


def places(size: int, power: int) -> list[Places]:
    """The ascending places of every product of `power` of `size` elements, in lexicographic order.

    >>> places(3, 2)
    [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    """
    return list(combinations_with_replacement(range(size), power))


def monomials(numbers: Numbers, step: Monomials, value: Callable[[Ref], Labelled]) -> Array:
    """out[m] = lower[first(m)] * factor[last(m)]; weighted, times how many more arrangements it has."""
    rest = [a for a in step.out.axes if a != step.label]
    lower = spread(value(step.lower), [*rest, step.first])
    factor = spread(value(step.factor), [*rest, step.last])
    size = factor.shape[-1]
    wanted = places(size, step.power)
    shorter = {chosen: k for k, chosen in enumerate(places(size, step.power - 1))}
    first = np.array([shorter[chosen[:-1]] for chosen in wanted], np.int64)
    last = np.array([chosen[-1] for chosen in wanted], np.int64)
    made = numbers.multiply(np.take(lower, first, axis=-1), np.take(factor, last, axis=-1))
    if step.weighted:
        for k, chosen in enumerate(wanted):
            ratio = Fraction(step.power, chosen.count(chosen[-1]))
            made[..., k] = numbers.multiply(made[..., k], numbers.constant(ratio))
    return spread(Labelled((*rest, step.label), made), step.out.axes)
