"""Gradients as programs: `tensorc.grad`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tensorc.ir import Program

if TYPE_CHECKING:
    from tensorc.decorator import Jit


def grad(source: str | Path | Program | Jit, *, name: str | None = None) -> Program:
    """The gradient of a program, as a program."""
    from tensorc.compiler import program_of
    from tensorc.passes.differentiate import differentiate

    return differentiate(program_of(source, name))
