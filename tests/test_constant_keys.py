"""Keys of Python constants."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from tensorc.constant_keys import constant_key, identities

ARRAY = np.ones(3)


@dataclass(frozen=True)
class Config:
    window: int


def test_keys_of_constants():
    assert constant_key(1) != constant_key(1.0) != constant_key(True)
    assert constant_key(float("nan")) == constant_key(float("nan"))
    assert constant_key({"a": [1, {2}]}) == constant_key({"a": [1, {2}]})
    assert constant_key(Config(1)) == constant_key(Config(1)) != constant_key(Config(2))
    assert constant_key(ARRAY) == constant_key(ARRAY) != constant_key(ARRAY.copy())
    assert constant_key(np.float32(0.5)) == constant_key(0.5)
    thing = ModuleType("thing")
    assert constant_key(thing) == constant_key(thing)
    assert constant_key(Config(1).__repr__) == constant_key(Config(1).__repr__)
    (identity,) = identities((1, constant_key(thing)))
    assert identity.value() is thing
    del thing
    assert identity.value() is None
