"""Keys for the Python constants of a traced function: equal values share a trace, dead objects free it."""

from __future__ import annotations

import weakref
from types import MethodType
from typing import Any

import numpy as np

_VALUES = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))


class Identity:
    """An object as itself, held weakly if that is possible. A dead object equals nothing."""

    __slots__ = ("number", "target")

    def __init__(self, value: object) -> None:
        self.number = id(value)
        self.target: Any
        try:
            self.target = weakref.ref(value)
        except TypeError:
            self.target = lambda: value

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Identity) and self.number == other.number and self.target() is other.target()

    def value(self) -> object:
        """The object, or None if it is gone."""
        return self.target()


def constant_key(value: object) -> object:
    """A hashable key: values by value and type, containers by content, objects by identity.

    >>> constant_key([1, 2]) == constant_key([1, 2]), constant_key(1) == constant_key(True)
    (True, False)
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _VALUES):
        return type(value), repr(value)  # repr: nan equals itself, 0.0 and -0.0 differ
    if isinstance(value, tuple | list):
        return type(value), tuple(constant_key(item) for item in value)
    if isinstance(value, dict):
        return dict, tuple((constant_key(key), constant_key(item)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return type(value), frozenset(constant_key(item) for item in value)
    if isinstance(value, MethodType):
        return MethodType, constant_key(value.__func__), constant_key(value.__self__)
    if _compares_by_value(value):
        return type(value), value
    return Identity(value)


def _compares_by_value(value: object) -> bool:
    """Whether equality is defined by the class, and trustworthy: not element by element as for arrays."""
    kind = type(value)
    if kind.__eq__ is object.__eq__ or kind.__hash__ in (None, object.__hash__) or isinstance(value, type):
        return False
    if hasattr(value, "__array__") or hasattr(value, "__torch_function__"):
        return False
    try:
        return hash(value) is not None
    except TypeError:
        return False


def identities(key: object) -> list[Identity]:
    """The objects in a key that are held by identity."""
    if isinstance(key, Identity):
        return [key]
    if isinstance(key, tuple | frozenset):
        return [found for part in key for found in identities(part)]
    return []
