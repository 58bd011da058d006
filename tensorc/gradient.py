"""Gradients as programs: `tensorc.grad`."""

from __future__ import annotations

from collections.abc import Mapping
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


def with_state(
    source: str | Path | Program | Jit,
    *,
    name: str | None = None,
    time: str | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Program:
    """A program with its states as tensors: `state_1`, ... in, `next_state_1`, ... out.

    The states are those of `prefill` and `step` of the compiled program, in the order of `State.tensors`,
    without its batch axes. Its gradient carries on what truncated backpropagation through time needs: given
    `grad_next_state_1`, it returns `grad_state_1`. `name` and `time` as in `tensorc.compile`;
    `sizes` are those of the calls, where the order of the states depends on them.

    Raises `FormError` for a program without a recurrent form, with a state that grows with the tokens or is
    packed, or with positions as numbers.

    >>> from tensorc.gradient import grad, with_state
    >>> program = with_state("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](0.5 ** (i - j) * x[j])")
    >>> [t.name for t in program.inputs], [t.name for t in program.outputs]
    (['x', 'state_1'], ['y', 'next_state_1'])
    >>> [t.name for t in grad(program).outputs]
    ['grad_x', 'grad_state_1']
    """
    from tensorc.compiler import compile
    from tensorc.errors import FormError
    from tensorc.passes.linear import NotLinear
    from tensorc.passes.pipeline import Log, recurrent_plan, stage_graph
    from tensorc.passes.with_state import with_state as written

    operator = compile(source, name=name, time=time, form="recurrent")
    program, axis, sizes = operator.program, operator.time, operator.forms.example_sizes(sizes or {})
    assert axis is not None
    graph = stage_graph(program, axis, sizes, Log())
    try:
        states = recurrent_plan(program, graph, axis, sizes).states
        return written(program, graph, axis, [s.name for s in states])
    except NotLinear as problem:
        raise FormError(f"{program.name} with its states: {problem.reason}; {problem.change}.") from None
