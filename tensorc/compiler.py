"""The driver: from text, a file or a program to an operator. The one place that knows the front end, the
passes and the backends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

from tensorc.errors import BackendError, FormError, LanguageError, TensorcError
from tensorc.ir import Extent, Program

if TYPE_CHECKING:
    from tensorc.decorator import Jit
    from tensorc.operator import Operator

BACKENDS = ("numpy", "torch", "triton", "reference")
TENSORS = ("torch", "triton")  # backends of tensors
FORMS = ("auto", "parallel", "chunkwise", "recurrent")
LONGEST = 64 * 1024


def compile(  # noqa: A001 - the name users expect: tensorc.compile
    source: str | Path | Program | Jit,
    *,
    name: str | None = None,
    backend: str = "numpy",
    form: str = "auto",
    time: str | None = None,
    sizes: Mapping[str, int] | None = None,
    device: object = None,
) -> Operator:
    """Compile a program to an operator.

    `source` is a path, program text, a `Program`, or a function under `tensorc.jit`; `name` chooses among
    several programs of one text. `form` is "parallel", "chunkwise", "recurrent", or "auto" (the cheapest
    for the sizes of each call). `time` names the time axis where the program leaves
    it open; `sizes` overrides defaults of the signature and gives sizes that the inputs do not show. The
    operator takes arrays in signature order, leading batch dimensions broadcasting.

    Raises `LanguageError` for a malformed program, `FormError` for a form it does not have,
    `BackendError` for a backend that does not exist.

    >>> import numpy as np
    >>> import tensorc
    >>> f = tensorc.compile('''
    ... def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    ...     o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
    ... ''')
    >>> q = k = v = np.ones((3, 2))
    >>> f(q, k, v)[:, 0]
    array([2., 4., 6.])
    """
    from tensorc.operator import Operator

    program = program_of(source, name)
    if form not in FORMS:
        raise FormError(f"No form {form!r}. There are {', '.join(FORMS)}.")
    check_backend(backend)
    if backend not in TENSORS and device is not None and str(device) != "cpu":
        raise BackendError(f"The {backend} backend runs on the CPU, not on {device}.")
    _check_sizes(program, sizes)
    axis, given = time_axis(program, time), dict(sizes or {})
    if backend not in TENSORS:
        return Operator(program, backend=backend, form=form, time=axis, sizes=given)
    if backend == "torch":
        from tensorc.torch_operator import TorchOperator as Kind
    else:
        from tensorc.triton_operator import TritonOperator as Kind
    return Kind(program, backend=backend, form=form, time=axis, sizes=given, device=device)


def parse(text: str, name: str | None = None) -> Program:
    """Parse program text. Raises `LanguageError` with line, column and a hint.

    >>> parse("def f(x[n]) -> y[]:  y[] = sum[i](x[i])").name
    'f'
    """
    from tensorc.grammar import parse as parse_text

    if not isinstance(text, str):
        raise TensorcError(f"parse takes the text of a program, not {type(text).__name__}.")
    return parse_text(text, name=name)


def program_of(source: str | Path | Program | Jit, name: str | None) -> Program:
    """The program that `compile` and its like are given: a path, text, a `Program` or a traced function."""
    if isinstance(source, str | Path):
        return parse_source(source, name)
    program = source if isinstance(source, Program) else getattr(source, "program", None)
    if not isinstance(program, Program):
        hint = " Put @tensorc.jit(header) above it." if isinstance(source, FunctionType) else ""
        raise TensorcError(f"A program is a path, text or a Program, not {type(source).__name__}.{hint}")
    if name not in (None, program.name):
        raise LanguageError(f"The program is {program.name}, not {name}.", hint="Leave name= out.")
    return program


def parse_source(source: str | Path, name: str | None = None) -> Program:
    """A program from a path (`Path`, or a string that ends in .tc) or from text."""
    from tensorc.grammar import parse as parse_text

    if isinstance(source, Path) or (
        isinstance(source, str) and source.endswith(".tc") and "\n" not in source
    ):
        return parse_text(_read(Path(source)), name=name, file=str(source))
    word = source.strip()
    if word and not re.search(r"[\s(]", word):
        raise TensorcError(f"{word[:80]!r} is neither the text of a program nor a path that ends in .tc.")
    return parse_text(source, name=name)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 * LONGEST).decode("utf-8")
    except (OSError, ValueError) as error:
        reason = (
            "it is not UTF-8 text"
            if isinstance(error, UnicodeDecodeError)
            else getattr(error, "strerror", error)
        )
        raise TensorcError(f"Cannot read {path}: {reason}.") from None


def check_backend(backend: str) -> None:
    """Raise `BackendError` for a backend that does not exist, or that needs what is not installed."""
    if backend not in BACKENDS:
        raise BackendError(f"No backend {backend!r}. There are {', '.join(BACKENDS)}.")
    if backend in TENSORS and find_spec("torch") is None:
        raise BackendError(f'PyTorch is not installed. Install it with: pip install "tensorc[{backend}]".')
    if backend == "triton" and find_spec("triton") is None:
        raise BackendError('Triton is not installed. Install it with: pip install "tensorc[triton]".')


def _check_sizes(program: Program, sizes: Mapping[str, int] | None) -> None:
    from tensorc.binding_sizes import check_sizes

    if sizes is not None and not isinstance(sizes, Mapping):
        raise TensorcError(f"sizes= maps names to integers, as in {{'w': 64}}; not {type(sizes).__name__}.")
    if sizes:
        check_sizes(sizes, frozenset(program.sizes()))


def time_axis(program: Program, time: str | None) -> Extent | None:
    """The time axis: as asked for, or the one stream of the program."""
    from tensorc.passes.streams import streams

    if time is None:
        found = streams(program)
        # A stream is one size: tokens come one by one, not in products of sizes.
        single = len(found) == 1 and found[0] == Extent(1, found[0].names[:1])
        return found[0] if single else None
    known = program.sizes()
    if time not in known:
        raise FormError(f"No size {time!r} for the time axis. The sizes are {', '.join(known)}.")
    return Extent(1, (time,))
