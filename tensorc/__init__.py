"""tensorc: attention variants as index equations, compiled.

Importing it loads NumPy alone; everything else loads on first use.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "compile": "tensorc.compiler",
    "parse": "tensorc.compiler",
    "grad": "tensorc.gradient",
    "approximate": "tensorc.approximation",
    "Operator": "tensorc.operator",
    "State": "tensorc.state",
    "Program": "tensorc.ir",
    "TensorcError": "tensorc.errors",
    "LanguageError": "tensorc.errors",
    "ShapeError": "tensorc.errors",
    "FormError": "tensorc.errors",
    "BackendError": "tensorc.errors",
    "VerificationError": "tensorc.errors",
    "jit": "tensorc.decorator",
    "trace": "tensorc.tracing",
    "disagreement": "tensorc.verify_programs",
}
_PUBLIC |= {
    name: "tensorc.tracing"
    for name in (
        "indices sizes tensor iverson where sum prod max min mean logsumexp softmax "
        "exp log sqrt rsqrt abs sign tanh sigmoid silu gelu relu elu softplus cos sin maximum minimum"
    ).split()
}
__version__ = "0.1.0"
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name == "nn":  # the one part that needs torch to import
        return import_module("tensorc.nn")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tensorc' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
