"""Gradients as programs: `tensorc.grad`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tensorc.ir import Program

if TYPE_CHECKING:
    from tensorc.decorator import Jit


def grad(source: str | Path | Program | Jit, *, name: str | None = None) -> Program:
    """The gradient of a program, as a program that prints, parses and compiles like any other.

    `source` and `name` as in `tensorc.compile`. The inputs of the gradient are those of the program and
    then `grad_<output>` for each output, of the output's shape; its outputs are `grad_<input>`, of the
    input's shape, in the order of the signature: the derivative of Σ grad_output · output by each input.
    An input that the outputs do not depend on smoothly (segment ids, masks, what stands only in conditions)
    has none. Where an input lacks leading dimensions that others have, its gradient has them all the same:
    it is the caller who sums over them.

    Raises `LanguageError` where nothing has a derivative, where a name of the gradient is taken, or where
    the gradient would be too long to be read.

    >>> import tensorc
    >>> g = tensorc.grad('''
    ... def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    ...     o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
    ... ''')
    >>> [t.name for t in g.inputs], [t.name for t in g.outputs]
    (['q', 'k', 'v', 'grad_o'], ['grad_q', 'grad_k', 'grad_v'])
    >>> for equation in str(g).splitlines()[1:]:
    ...     print(equation.strip())
    grad_q[i, c] = sum[j <= i](grad_o[i, x] * k[j, c] * v[j, x])
    grad_k[j, c] = sum[j <= i](grad_o[i, x] * q[i, c] * v[j, x])
    grad_v[j, x] = sum[j <= i](grad_o[i, x] * q[i, c] * k[j, c])
    """
    from tensorc.compiler import program_of
    from tensorc.passes.differentiate import differentiate

    return differentiate(program_of(source, name))
