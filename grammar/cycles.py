"""Self-reference: a cycle of definitions must go through earlier (or later) positions of one axis."""

from __future__ import annotations

from tensorc.grammar.source import Source
from tensorc.ir import Program


def check_cycles(source: Source, program: Program) -> None:
    pass
