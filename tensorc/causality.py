"""Causality: whether a later token can change an earlier output, read off the equations.

Every read of an input that reaches an output is bounded along the time axis: `k[j]` under `j <= i` is not
after i. Bounds go through tensors (p[i, j], then o[i]), conditions, windows, shifts and self-reference;
a factor that is 0 outside of a relation bounds its neighbours. On conjunctions of affine comparisons the
analysis is exact; elsewhere it is conservative, and names a read that it cannot bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tensorc.dependence import Analysis, Dependence
from tensorc.differences import ZERO, Form, TooLarge, at_most_zero
from tensorc.ir import Extent, Program, TensorDecl
from tensorc.printing import print_expr


@dataclass(frozen=True, slots=True)
class Leak:
    """An output that depends on later tokens: through which index, in which read, past which index."""

    output: str
    index: str
    read: str
    here: str | None
    line: int | None

    def __str__(self) -> str:
        """l: k[l, a] is read for l > i (line 4)"""
        where = f" (line {self.line})" if self.line else ""
        if self.here is None:
            return f"{self.index}: {self.read} is read for every {self.index}{where}"
        return f"{self.index}: {self.read} is read for {self.index} > {self.here}{where}"


def leaks(program: Program, time: Extent) -> dict[str, Leak | None]:
    """For every output that has the time axis, how a later token reaches it; None if none does.

    Raises `TooLarge` for a program that would take too long.
    """
    analysis = Analysis(program, time)
    outputs = [o for o in program.outputs if time in o.axes]
    return {o.name: _leak(o, time, analysis.summary(o.name).reads) for o in outputs}


def causality(program: Program, time: Extent | None) -> dict[str, bool | str]:
    """For every output: True if no later token can change it, else the leaking index and its read.

    An output without the time axis is a total, which has no earlier positions.

    >>> from tensorc.grammar import parse
    >>> from tensorc.ir import extent
    >>> text = '''
    ... def f(q[n, d], k[n, d]) -> o[n], z[n]:
    ...     o[i] = sum[j <= i](q[i, c] * k[j, c])
    ...     z[i] = sum[j](q[i, c] * k[j, c])
    ... '''
    >>> causality(parse(text), extent("n"))
    {'o': True, 'z': 'j: k[j, c] is read for j > i (line 4)'}
    """
    if time is None:
        return {}
    try:
        found = leaks(program, time)
    except TooLarge:
        return {o.name: "not analysed: the program is too large" for o in program.outputs}
    result: dict[str, bool | str] = {}
    for output in program.outputs:
        if output.name not in found:
            result[output.name] = f"no axis {time}: a total over all tokens"
        else:
            leak = found[output.name]
            result[output.name] = True if leak is None else str(leak)
    return result


def _leak(output: TensorDecl, time: Extent, reads: Iterable[Dependence]) -> Leak | None:
    tokens = [k for k, axis in enumerate(output.axes) if axis == time]
    for read in reads:
        if any(bounded(read.upper.get(k)) for k in tokens):
            continue
        if bounded(read.upper.get(ZERO)):  # position 0 is never later
            continue
        origin = read.origin
        if origin is None:
            return Leak(output.name, str(time), output.name, None, None)
        line = origin.read.span.line if origin.read.span else None
        return Leak(output.name, print_expr(origin.position), print_expr(origin.read), origin.here, line)
    return None


def bounded(form: Form | None) -> bool:
    """Whether a position is not after what the bound is from."""
    return form is not None and at_most_zero(form)
