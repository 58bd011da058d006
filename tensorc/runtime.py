"""Generated source on its way to a callable: cached on disk, known to tracebacks."""

from __future__ import annotations

import hashlib
import linecache
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tensorc import __version__ as VERSION


@cache
def load(source: str) -> dict[str, Callable[..., Any]]:
    """The functions of a generated module, by name. The same text is executed once.

    >>> load("def double(x):\\n    return 2 * x\\n")["double"](4)
    8
    """
    path = _write(source)
    linecache.cache[path] = (len(source), None, source.splitlines(True), path)
    namespace: dict[str, Any] = {"__name__": "tensorc_generated"}
    exec(compile(source, path, "exec"), namespace)  # noqa: S102 - our own text, every name in it mangled
    return {name: f for name, f in namespace.items() if callable(f)}


def _write(source: str) -> str:
    """The file of a source in the cache directory; where that cannot be written, a name alone.

    The file is there to be read, by people and debuggers: what runs is the text in memory. It appears at
    once and whole, so that several processes may write it at the same time.
    """
    digest = hashlib.sha256(f"{VERSION}\n{source}".encode()).hexdigest()[:24]
    try:
        path = cache_directory() / f"{digest}.py"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, source)
    except (OSError, RuntimeError):  # read-only, full, no home directory
        return f"<tensorc {digest}>"
    return str(path)


def cache_directory() -> Path:
    """Where generated source is kept: one folder a version, in the user's cache directory."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("tensorc")) / VERSION


def _replace(path: Path, text: str) -> None:
    """Write a file in one go: under another name first."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise
