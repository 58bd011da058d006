"""A program for some of its outputs: what only the others need is left out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tensorc.ir import Program, reads


def restricted(program: Program, outputs: Collection[str]) -> Program:
    """The program with these outputs alone, in the order of its signature; all inputs stay.

    An output that others are made of becomes a tensor between.

    >>> import tensorc
    >>> both = tensorc.parse("def f(x[n]) -> y[n], z[n]:\\n  y[i] = sum[j <= i](x[j])\\n  z[i] = y[i] ** 2")
    >>> print(restricted(both, ["y"]))
    def f(x[n]) -> y[n]:
        y[i] = sum[j <= i](x[j])
    """
    if len(outputs) == len(program.outputs):
        return program
    equations = {e.target: e for e in program.equations}
    needed, pending = set[str](), list(outputs)
    while pending:
        name = pending.pop()
        if name in equations and name not in needed:
            needed.add(name)
            pending += reads(equations[name].body)
    declared = program.tensors()
    return replace(
        program,
        outputs=tuple(o for o in program.outputs if o.name in outputs),
        locals=tuple(declared[t] for t in equations if t in needed and t not in outputs),
        equations=tuple(e for e in program.equations if e.target in needed),
        text=None,
    )
