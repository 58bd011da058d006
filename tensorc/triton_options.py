"""How kernels are launched: the options that a user may set, and what each may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tensorc.errors import BackendError

PRECISIONS = ("ieee", "tf32", "tf32x3")


def _power(least: int, most: int) -> Callable[[object], bool]:
    return lambda x: type(x) is int and least <= x <= most and x & (x - 1) == 0


def _flag(x: object) -> bool:
    return x is None or isinstance(x, bool)


KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "chunk": (_power(16, 1024), "a power of two from 16 to 1024"),
    "columns": (_power(16, 1024), "a power of two from 16 to 1024"),
    "tile": (_power(1, 1024), "a power of two from 1 to 1024"),
    "warps": (_power(1, 32), "a power of two from 1 to 32"),
    "stages": (lambda x: type(x) is int and 1 <= x <= 16, "a number from 1 to 16"),
    "split": (_flag, "True, False, or None, which leaves it open"),
    "precision": (lambda x: isinstance(x, str) and x in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "in_place": (lambda x: isinstance(x, bool), "True or False"),
}


def checked(options: object) -> dict[str, Any]:
    """The options, if they are some; else a `BackendError` that says what may be.

    >>> checked({"chunk": 32})
    {'chunk': 32}
    >>> checked({"chunk": 17})
    Traceback (most recent call last):
    tensorc.errors.BackendError: the option chunk is a power of two from 16 to 1024, not 17.
    """
    if not isinstance(options, Mapping):
        raise BackendError(f"options are a dict such as {{'chunk': 32}}, not {options!r}.")
    for name, value in options.items():
        if name not in KINDS:
            raise BackendError(f"there is no option {name!r}; options are {', '.join(KINDS)}.")
        holds, what = KINDS[name]
        if not holds(value):
            raise BackendError(f"the option {name} is {what}, not {value!r}.")
    return dict(options)
