"""The naive functions of flash-linear-attention: what others compare their kernels with.

Each module of theirs is read from its file alone, for the packages around it import Triton kernels.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType


def installed() -> bool:
    """Whether flash-linear-attention (the package fla-core) and the einops that it needs are there."""
    return all(importlib.util.find_spec(name) for name in ("fla", "einops"))


@cache
def naive(operator: str) -> ModuleType:
    """The module `fla.ops.<operator>.naive`.

    Raises `FileNotFoundError` where the installed version does not have it.
    """
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError('flash-linear-attention is not installed: pip install "tensorc[references]"')
    path = Path(package.submodule_search_locations[0], "ops", operator, "naive.py")
    spec = importlib.util.spec_from_file_location(f"fla_{operator}_naive", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
