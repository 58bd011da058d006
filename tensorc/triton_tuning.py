"""Launch options by measurement: tried once for each shape class on a device, then kept on disk.

The key of a choice is the generated source, the sizes of the features, the type of the operands, the device
and the version of Triton: never the length of a sequence.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from tensorc.runtime import cache_directory

Options = dict[str, Any]
CHANGES: tuple[Options, ...] = (
    {},
    {"warps": 4},
    {"warps": 8},
    {"stages": 2},
    {"stages": 3},
    {"tile": 32},
    {"tile": 128},
    {"tile": 128, "warps": 8},
    {"chunk": 32},
    {"chunk": 64},
    {"chunk": 128, "warps": 8},
    {"columns": 128},
    {"columns": 32, "stages": 2},
    {"split": True},
    {"split": False},
)


def key_of(source: str, features: Mapping[str, int], half: bool, device: torch.device) -> str:
    """What a choice depends on, as a short text."""
    import triton

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    parts = [source, sorted(features.items()), half, name, triton.__version__]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _file(key: str) -> Path:
    return cache_directory() / "tuned" / f"{key}.json"


def stored(key: str) -> Options | None:
    """The options that were measured to be best, if they were."""
    try:
        found = json.loads(_file(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def store(key: str, options: Options) -> None:
    """Keep a choice; where the cache cannot be written, it lives as long as the operator."""
    path = _file(key)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(options, file)
        os.replace(name, path)


def candidates(model: Options) -> Iterator[Options]:
    """The model's choice, then its neighbours: one change each."""
    seen: list[Options] = []
    for change in CHANGES:
        options = model | change
        if options not in seen:
            seen.append(options)
            yield options


def measure(call: Callable[[], object], device: torch.device, rounds: int = 5) -> float:
    """The median time of a call in seconds, after one that compiles."""
    call()
    times = []
    for _ in range(rounds):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def best(run: Callable[[Options], object], model: Options, device: torch.device) -> tuple[Options, float]:
    """The fastest options. Those that need more shared memory or registers than there are do not run, and
    are left out."""
    from triton.runtime.errors import OutOfResources

    found: list[tuple[float, Options]] = []
    for options in candidates(model):
        try:
            seconds = measure(lambda options=options: run(options), device)  # type: ignore[misc]
        except OutOfResources:
            continue
        found.append((seconds, options))
    seconds, options = min(found, key=lambda pair: pair[0])
    return options, seconds
