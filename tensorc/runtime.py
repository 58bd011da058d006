"""Generated source on its way to a callable: cached on disk, known to tracebacks."""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

VERSION = "0.1.0"


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
    """The file of a source in the cache directory; where that cannot be written, a name alone."""
    from platformdirs import user_cache_dir

    digest = hashlib.sha256(f"{VERSION}\n{source}".encode()).hexdigest()[:24]
    path = Path(user_cache_dir("tensorc")) / VERSION / f"{digest}.py"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{id(source)}.tmp")
            partial.write_text(source, encoding="utf-8")
            partial.replace(path)
    except OSError:
        return f"<tensorc {digest}>"
    return str(path)
