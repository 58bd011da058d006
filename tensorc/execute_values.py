"""Arrays whose axes carry labels: what the steps of a plan make and read.

An array has batch axes first, which broadcast as in NumPy, then one axis for each label. A `Ref` names
the axes of a value anew in each step, so a value itself is an array with a number of labelled axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tensorc.errors import TensorcError
from tensorc.numbers import Array, Numbers
from tensorc.semiring import SEMIRINGS, SUM_PRODUCT

LARGEST = 1 << 28  # elements of one value
MOST_AXES = 48  # labels that an array or a contraction of NumPy can have beside batch axes


class PlanError(Exception):
    """A plan that cannot run as it stands: it reads what no step has made, or labels do not fit."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """An array and the labels of its axes behind the batch axes.

    `support` is where a factor [condition] allows the value to be anything but 0: this 0 stays 0 in a
    product with infinity or NaN.
    """

    labels: tuple[str, ...]
    array: Array
    support: Labelled | None = None

    def __post_init__(self) -> None:
        if len(set(self.labels)) < len(self.labels):
            raise PlanError(f"A value has the labels {self.labels}: one of them twice.")

    @property
    def batch(self) -> int:
        """The number of batch axes."""
        return self.array.ndim - len(self.labels)

    def lengths(self) -> dict[str, int]:
        """The length of every labelled axis."""
        return dict(zip(self.labels, self.array.shape[self.batch :], strict=True))


def spread(value: Labelled, labels: Sequence[str]) -> Array:
    """The array with one axis for each of `labels`, in their order; those it lacks have length 1.

    >>> spread(Labelled(("j", "i"), np.ones((2, 3))), ("i", "k", "j")).shape
    (3, 1, 2)
    """
    if value.labels == tuple(labels):
        return value.array
    missing = [a for a in value.labels if a not in labels]
    if missing:
        raise PlanError(f"A value with the labels {value.labels} does not fit {tuple(labels)}.")
    order = [a for a in labels if a in value.labels]
    batch = value.batch
    array = value.array.transpose(*range(batch), *(batch + value.labels.index(a) for a in order))
    lengths = dict(zip(order, array.shape[batch:], strict=True))
    return array.reshape(*array.shape[:batch], *(lengths.get(a, 1) for a in labels))


def union(values: Sequence[Labelled]) -> tuple[str, ...]:
    """The labels of all values, in the order they are met. Refuses what no array can hold."""
    labels = tuple(dict.fromkeys(a for v in values for a in v.labels))
    lengths: dict[str, int] = {}
    for value in values:
        for label, length in value.lengths().items():
            if lengths.setdefault(label, length) != length:
                raise PlanError(f"The label {label} has the lengths {lengths[label]} and {length}.")
    check_size(list(lengths.values()))
    return labels


def check_size(shape: Sequence[int]) -> None:
    """Refuse an array that nobody wants to wait for."""
    if prod(shape) > LARGEST or len(shape) > MOST_AXES:
        raise TensorcError(
            f"A step of the plan needs an array of {' x '.join(map(str, shape))} elements. Plans are "
            "executed one by one for small sizes only."
        )


def align(*values: Labelled) -> tuple[tuple[str, ...], list[Array]]:
    """The arrays with one axis for each label that any of the values has, so that they broadcast."""
    labels = union(values)
    return labels, [spread(value, labels) for value in values]


def kept(numbers: Numbers, value: Labelled, supports: Sequence[Labelled]) -> Labelled:
    """The value where all supports hold, else 0 whatever it is."""
    if not supports:
        return Labelled(value.labels, value.array)
    labels, masks = align(*supports)
    mask = masks[0]
    for other in masks[1:]:
        mask = mask & other
    support = Labelled(labels, mask)
    labels, (array, where) = align(value, support)
    return Labelled(labels, np.where(where, array, numbers.number(0)).astype(array.dtype), support)


def contract(
    numbers: Numbers, operands: Sequence[Labelled], out: tuple[str, ...], semiring: str = SUM_PRODUCT
) -> Array:
    """The product of one or two values, summed over the labels that `out` lacks, in a semiring.

    Sums of finite numbers go through einsum; infinities and NaN are multiplied out as they stand.

    >>> from tensorc.numbers import FLOAT
    >>> a, b = Labelled(("i", "c"), np.ones((2, 3))), Labelled(("c",), np.arange(3.0))
    >>> contract(FLOAT, (a, b), ("i",))
    array([3., 3.])
    """
    labels = union(operands)
    unknown = [a for a in out if a not in labels]
    if unknown:
        raise PlanError(f"A contraction makes the labels {out} out of {labels}.")
    usual = semiring == SUM_PRODUCT
    if usual and all(o.array.size and numbers.finite(o.array) for o in operands):
        arguments: list[Any] = []
        for operand in operands:
            arguments += [operand.array, [..., *map(labels.index, operand.labels)]]
        result = np.einsum(*arguments, [..., *map(labels.index, out)], optimize=len(operands) == 2)
        if isinstance(result, np.integer) and operands[0].array.dtype == object:
            result = result.item()  # einsum makes a NumPy integer of a Python one that stands alone
        result = np.asarray(result, operands[0].array.dtype)
        if numbers.finite(result):
            return result
    row = SEMIRINGS[semiring]
    combine = {"*": numbers.multiply, "+": numbers.add}[row.combine]
    product = spread(operands[0], labels)
    for operand in operands[1:]:
        product = combine(product, spread(operand, labels))
    batch = product.ndim - len(labels)
    axes = tuple(batch + k for k, a in enumerate(labels) if a not in out)
    if axes:
        product = numbers.reduce(row.total, product, np.ones((), bool), axes)
    return spread(Labelled(tuple(a for a in labels if a in out), product), out)


def broadcast(value: Labelled, labels: tuple[str, ...], lengths: Sequence[int]) -> Array:
    """The array with exactly these labels and lengths; along labels it lacks it repeats."""
    array = spread(value, labels)
    batch = array.shape[: array.ndim - len(labels)]
    check_size(lengths)
    try:
        return np.broadcast_to(array, (*batch, *lengths))
    except ValueError:
        raise PlanError(
            f"An array of {array.shape} with the labels {labels} is wanted with lengths {tuple(lengths)}."
        ) from None
