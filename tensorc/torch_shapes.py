"""Shapes of results from those of inputs, also where sizes are symbols: what graphs of PyTorch ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tensorc.binding import signature
from tensorc.errors import FormError
from tensorc.ir import Extent, Program
from tensorc.torch_inputs import output_dtype

if TYPE_CHECKING:
    from tensorc.torch_operator import TorchOperator


def size_values(program: Program, tensors: Sequence[Tensor], given: Mapping[str, int]) -> dict[str, Any]:
    """The value of every size of a program: an integer, or the symbol of one.

    As `binding` finds them, from plain axes, products with one unknown, `given`, then defaults; that the
    shapes fit is checked at the call.
    """
    known: dict[str, Any] = {}
    products: list[tuple[Extent, Any]] = []
    for declaration, tensor in zip(program.inputs, tensors, strict=True):
        for axis, length in zip(reversed(declaration.axes), reversed(tensor.shape), strict=False):
            if axis.coefficient == 1 and len(axis.names) == 1:
                known.setdefault(axis.names[0], length)
            else:
                products.append((axis, length))
    _solve(products, known)
    for name, value in (*given.items(), *program.defaults):
        known.setdefault(name, value)
    _solve(products, known)
    return known


def _solve(products: Sequence[tuple[Extent, Any]], known: dict[str, Any]) -> None:
    """Sizes that stand once in a product of which the rest is known."""
    for axis, length in (*products, *products):
        unknown = [n for n in axis.names if n not in known]
        if len(unknown) == 1:
            divisor = axis.coefficient
            for name in axis.names:
                divisor = divisor * known.get(name, 1)
            known[unknown[0]] = length // divisor


def _features(operator: TorchOperator, sizes: Mapping[str, Any]) -> dict[str, int]:
    """Numbers for all sizes: which states there are depends on those of features, never on the length."""
    lengths = operator.time.names if operator.time is not None else ()
    return operator.forms.example_sizes({n: int(s) for n, s in sizes.items() if n not in lengths})


def results_like(operator: TorchOperator, tensors: Sequence[Tensor], streaming: bool) -> list[Tensor]:
    """Empty tensors like the results of an operator: its outputs and, when streaming, the states after."""
    program = operator.program
    if all(type(n) is int for t in tensors for n in t.shape):  # raises for shapes that do not fit
        signature(program).bind(tensors[: len(program.inputs)], {}, operator.sizes)
    inputs = tensors[: len(program.inputs)]
    sizes = size_values(program, inputs, operator.sizes)
    leads = [t.shape[: t.dim() - len(i.axes)] for i, t in zip(program.inputs, inputs, strict=True)]
    batch = tuple(torch.broadcast_shapes(*leads))
    dtype = output_dtype([t for i, t in zip(program.inputs, inputs, strict=True) if i.axes])
    place = next((t.device for t in inputs if t.dim()), inputs[0].device)

    def like(axes: Sequence[Extent], dtype: torch.dtype) -> Tensor:
        return torch.empty((*batch, *(a.value(sizes) for a in axes)), dtype=dtype, device=place)

    results = [like(o.axes, dtype) for o in program.outputs]
    if not streaming:
        return results
    plan = operator.forms.plan("recurrent", _features(operator, sizes))
    if any(s.grows for s in plan.states):
        raise FormError(
            f"The state of {program.name} grows with the tokens (a cache), which has no place in a compiled "
            "graph: call prefill and step outside of torch.compile and torch.export."
        )
    extents = dict(plan.extents)
    compute = torch.promote_types(dtype, torch.float32)
    return results + [like([extents[a] for a in s.axes], compute) for s in plan.states]
