"""What a user waits for: the import, and text to source. Fresh processes, cold caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorc
from benchmarks.figure import Figure, alone, numbers
from benchmarks.operators import EXAMPLES
from benchmarks.timing import Sample

CLOCK = "import time; t = time.perf_counter(); {0}; print(time.perf_counter() - t)"
WARM_UP = "def f(x[n, d]) -> y[n, d]:\n    y[i, c] = sum[j < i](x[j, c] * 3)\n"
SIZES = {"n": 4096, "m": 4096, "d": 64, "e": 64, "w": 128}  # every other size is 8


def fresh(code: str, *arguments: str) -> str:
    """Standard output of a new interpreter whose caches are empty."""
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "XDG_CACHE_HOME": cache, "HOME": cache}
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=env, check=True
        )
    return run.stdout


def import_time(quick: bool) -> Iterator[Figure]:
    """`import tensorc` in a new interpreter; and the first program of a session, with all that it loads."""
    bare, first = "import tensorc", f"import tensorc; tensorc.compile({WARM_UP!r}).source()"
    samples: dict[str, list[float]] = {bare: [], "import numpy": [], first: []}
    for _ in range(5 if quick else 21):
        for code in samples:
            samples[code].append(float(fresh(CLOCK.format(code))))
    found = {code: Sample(tuple(seconds)) for code, seconds in samples.items()}
    yield alone("import", bare, "ms", found[bare], bound=250)
    numpy = numbers(found["import numpy"], "ms")[0]
    what = f"import and the first program, to source (of which numpy {numpy:.0f} ms)"
    yield alone("import", what, "ms", found[first], bound=None)


def source(quick: bool) -> Iterator[Figure]:
    """From text to source for every program of the catalogue, with the parser already loaded."""
    programs = sorted(EXAMPLES.glob("*.tc"))
    samples: dict[str, list[float]] = {path.stem: [] for path in programs}
    for _ in range(2 if quick else 7):
        code = "import sys; from benchmarks.startup import time_sources; time_sources(sys.argv[1:])"
        for name, seconds in json.loads(fresh(code, *map(str, programs))).items():
            samples[name].append(seconds)
    for name, values in samples.items():
        yield alone("source", f"{name}, text to source", "ms", Sample(tuple(values)), bound=100)


def time_sources(paths: list[str]) -> None:
    """Print the seconds from text to source of each program as JSON; run in a process of its own."""
    import time

    tensorc.compile(WARM_UP).source(n=4096, d=64)
    seconds = {}
    for path in paths:
        text = Path(path).read_text()
        sizes = {name: SIZES.get(name, 8) for name in tensorc.parse(text).sizes()}
        start = time.perf_counter()
        tensorc.compile(text).source(**sizes)
        seconds[Path(path).stem] = time.perf_counter() - start
    print(json.dumps(seconds))
