"""The definition: a program evaluated as it is written, for any dtype and any sizes that fit in memory.

Nothing is reordered but the sums of products, so this is slow and right; everything else is tested
against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tensorc.backends.reference_expressions import Evaluator
from tensorc.backends.reference_recursion import Advance, advance
from tensorc.backends.reference_values import Env, align
from tensorc.binding import bind, compute_dtype, output_dtype
from tensorc.errors import ShapeError
from tensorc.ir import Equation, Program, reads
from tensorc.numbers import FLOAT, Array, Numbers


def run(
    program: Program, /, *arguments: object, sizes: Mapping[str, int] | None = None, **keywords: object
) -> Any:
    """The outputs of a program: an array, or a tuple of arrays for several outputs.

    Arguments as in `tensorc.binding.bind`; leading batch dimensions broadcast. Computes in at least
    float32 and rounds once to the output dtype; inputs of dtype object (ints, Fractions) are exact.

    >>> from tensorc.ir import Bind, Compare, Index, Read, Reduce, TensorDecl, extent
    >>> n, i, j = extent("n"), Index("i"), Index("j")
    >>> body = Reduce("sum", (Bind("j", n),), (Compare("<=", j, i),), Read("x", (j,)))
    >>> program = Program(
    ...     "total", (TensorDecl("x", (n,)),), (TensorDecl("y", (n,)),), (),
    ...     (Equation("y", (Bind("i", n),), body),),
    ... )
    >>> run(program, np.array([1.0, 2.0, 3.0]))
    array([1., 3., 6.])

    Raises what binding raises, `ShapeError` for a constant outside its axis, and `TensorcError` for sizes
    that are too large for the definition.
    """
    bound = bind(program, arguments, keywords, sizes)
    outputs = evaluate(program, bound.arrays, bound.sizes)
    with np.errstate(all="ignore"):
        rounded = tuple(array.astype(bound.dtype, copy=False) for array in outputs.values())
    return rounded[0] if len(rounded) == 1 else rounded


def evaluate(
    program: Program, inputs: Mapping[str, Any], sizes: Mapping[str, int], numbers: Numbers = FLOAT
) -> dict[str, Array]:
    """All outputs by name, of shape batch + axes, in the dtype of the arithmetic.

    `inputs` are arrays of shape leading dimensions + axes. With `FLOAT` the arithmetic is in the promoted
    floating dtype of the inputs, at least float32, and exact for dtype object.
    """
    evaluator, batch = prepare(program, inputs, sizes, numbers)
    with np.errstate(all="ignore"):
        for group, cyclic in ordered(program):
            if cyclic:
                _evaluate_cycle(evaluator, group, batch)
            else:
                equation = group[0]
                env = evaluator.ranges(equation.left)
                evaluator.tensors[equation.target] = _result(evaluator, equation, env)
    outputs = {}
    for decl in program.outputs:
        array = evaluator.tensors[decl.name]
        shape = batch + array.shape[array.ndim - len(decl.axes) :]
        outputs[decl.name] = evaluator.numbers.settle(np.broadcast_to(array, shape).copy())
    return outputs


def prepare(
    program: Program, inputs: Mapping[str, Any], sizes: Mapping[str, int], numbers: Numbers
) -> tuple[Evaluator, tuple[int, ...]]:
    """An evaluator that holds the inputs, and the batch shape."""
    given = {decl.name: np.asarray(inputs[decl.name]) for decl in program.inputs}
    lengths = {name: tuple(a.value(sizes) for a in decl.axes) for name, decl in program.tensors().items()}
    leading = []
    for decl in program.inputs:
        shape, cut = given[decl.name].shape, given[decl.name].ndim - len(decl.axes)
        if cut < 0 or shape[cut:] != lengths[decl.name]:
            raise ShapeError(f"{decl.name} has shape {shape}; its axes are {lengths[decl.name]}.")
        leading.append(shape[:cut])
    dtype = compute_dtype(output_dtype([given[decl.name].dtype for decl in program.inputs if decl.axes]))
    numbers = numbers.at(dtype)
    arithmetic = {name: numbers.number(array) for name, array in given.items()}
    as_given = {name: numbers.given(array) for name, array in given.items()}
    return Evaluator(numbers, sizes, arithmetic, as_given, lengths), np.broadcast_shapes(*leading)


def ordered(program: Program) -> Iterable[tuple[list[Equation], bool]]:
    """The equations in groups, each after those it reads; a group is cyclic if it reads itself."""
    targets = {equation.target for equation in program.equations}
    wanted = {e.target: reads(e.body) & targets for e in program.equations}
    done: set[str] = set()
    for equation in program.equations:
        if not wanted[equation.target] <= done:
            break
        done.add(equation.target)
    else:
        return [([equation], False) for equation in program.equations]
    import networkx

    graph = networkx.DiGraph([(read, name) for name, names in wanted.items() for read in sorted(names)])
    graph.add_nodes_from(targets)
    parts = networkx.condensation(graph)
    place = {equation.target: at for at, equation in enumerate(program.equations)}
    groups = []
    for part in networkx.topological_sort(parts):
        members = sorted(parts.nodes[part]["members"], key=place.__getitem__)
        cyclic = len(members) > 1 or members[0] in wanted[members[0]]
        groups.append(([program.equations[place[name]] for name in members], cyclic))
    return groups


def _evaluate_cycle(evaluator: Evaluator, group: list[Equation], batch: tuple[int, ...]) -> None:
    """Position by position along the axis of the cycle; what is not yet known holds 0 and is never seen."""
    for equation in group:
        shape = batch + tuple(bind.extent.value(evaluator.sizes) for bind in equation.left)
        evaluator.tensors[equation.target] = np.zeros(shape, evaluator.numbers.number(0).dtype)
    steps: Advance = advance(evaluator, group)
    first = steps.order[0]
    positions = evaluator.positions(first.left[steps.axes[first.target]].extent)
    for position in positions[:: steps.direction]:
        for equation in steps.order:
            axis = steps.axes[equation.target]
            env = evaluator.ranges(equation.left)
            env[equation.left[axis].name] = np.array([position])
            after = (slice(None),) * (len(equation.left) - axis - 1)
            slices: Any = (..., slice(position, position + 1), *after)
            evaluator.tensors[equation.target][slices] = _result(evaluator, equation, env)


def _result(evaluator: Evaluator, equation: Equation, env: Env) -> Array:
    """The right side with its axes in the order of the left; an index that is missing repeats it."""
    left = [bind.name for bind in equation.left]
    value = evaluator.evaluate(equation.body, env)
    _, (array,) = align([value], left)
    batch = array.shape[: array.ndim - len(left)]
    return np.broadcast_to(array, batch + tuple(len(env[name]) for name in left))
