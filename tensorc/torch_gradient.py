"""Gradient programs as backward passes: which one a call needs, whether there is one, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from torch import Tensor

from tensorc.binding import Bound
from tensorc.cost import plan_time
from tensorc.errors import TensorcError
from tensorc.gradient import grad, with_state
from tensorc.ir import Program, Read, Reduce, walk
from tensorc.passes.restrict import restricted
from tensorc.report import Refused

if TYPE_CHECKING:
    from tensorc.torch_operator import TorchOperator

# Backward by autograd through the chunkwise source takes so many times the forward pass (measured on a CPU).
BACKWARD = 2.8
SEEN = 64

Mask = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Backward:
    """A compiled gradient program; `places` has for each tensor where its gradient stands among the
    results, or None."""

    operator: TorchOperator
    places: tuple[int | None, ...]

    def __call__(self, tensors: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor | None]:
        """The gradients of the tensors, each in its shape and dtype."""
        found = self.operator(*tensors, *grads)
        parts = found if isinstance(found, tuple) else (found,)
        return [None if k is None else _like(parts[k], t) for k, t in zip(self.places, tensors, strict=True)]


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no gradient program."""

    reason: str


def _like(grad: Tensor, tensor: Tensor) -> Tensor:
    """A gradient over all of the batch as one of the tensor."""
    if grad.shape != tensor.shape:
        grad = grad.sum_to_size(tensor.shape)
    return grad if grad.dtype == tensor.dtype else grad.to(tensor.dtype)


CHOICES = ("auto", "program", "source")


class Gradients:
    """The gradient programs of an operator, made at their first use.

    `prefer` is "auto" (whichever the cost model finds faster), "program" or "source" (autograd through it).
    """

    def __init__(self, operator: TorchOperator) -> None:
        self.operator = operator
        self._prefer = "auto"
        self._found: dict[object, Backward | Missing] = {}

    @property
    def prefer(self) -> str:
        """Which backward pass is used."""
        return self._prefer

    @prefer.setter
    def prefer(self, choice: str) -> None:
        if choice not in CHOICES:
            raise TensorcError(
                f"prefer = {choice!r} is no choice; choices are {', '.join(map(repr, CHOICES))}."
            )
        self._prefer = choice

    def find(self, sizes: Mapping[str, int], outputs: Mask, tensors: Mask) -> Backward | Missing:
        """The gradient of some outputs by some tensors: the inputs and, where there are more, the states
        (`outputs` are then followed by the states after). What is not asked for is not computed."""
        stateful = len(tensors) > len(self.operator.program.inputs)
        features = tuple(sizes.items()) if stateful else ()
        key = (outputs, tensors, features)
        if key not in self._found:
            if len(self._found) >= SEEN:
                self._found.clear()
            try:
                self._found[key] = self._make(sizes, stateful, outputs, tensors)
            except TensorcError as problem:
                self._found[key] = Missing(str(problem).split("\n", 1)[0])
        return self._found[key]

    def _make(
        self, sizes: Mapping[str, int], stateful: bool, outputs: Mask, tensors: Mask
    ) -> Backward | Missing:
        operator = self.operator
        program = self._stateful(sizes) if stateful else operator.program
        used = [o.name for o, wanted in zip(program.outputs, outputs, strict=True) if wanted]
        if operator.followed and _recomputes(program):
            return Missing("the largest of computed values would be looked for among values computed again")
        gradient = grad(restricted(program, used))
        names = [f"grad_{i.name}" for i in program.inputs]
        wanted = {n for n, needs in zip(names, tensors, strict=True) if needs}
        kept = [o.name for o in gradient.outputs if o.name in wanted]
        if not kept:
            return Missing("nothing that is asked for has a derivative")
        gradient = restricted(gradient, kept)
        form = operator.form if operator.form in ("parallel", "chunkwise") else "auto"
        made = operator.like(gradient, form)
        why = made.forms.why_not("chunkwise") if operator.forms.exists("chunkwise") else None
        if why is not None and operator.form != "parallel":
            return Missing(f"it would need all pairs of tokens: {why.reason}")
        return Backward(made, tuple(kept.index(n) if n in kept else None for n in names))

    def _stateful(self, sizes: Mapping[str, int]) -> Program:
        operator = self.operator
        return with_state(operator.program, time=str(operator.time), sizes=sizes)

    def preferred(self, backward: Backward, form: str, bound: Bound) -> bool:
        """Whether a gradient program is used rather than autograd through the source of a form."""
        return self._faster(backward, form, bound.sizes, prod(bound.batch))

    def _faster(self, backward: Backward, form: str, sizes: Mapping[str, int], batch: int) -> bool:
        """By the cost model; autograd through the recurrent form would keep the states of all tokens, so
        there the program always is."""
        if not self.operator.followed or 0 in sizes.values():  # of nothing, autograd would record nothing
            return True
        if self.prefer == "source":
            return False
        if self.prefer == "program" or form == "recurrent":
            return True
        own = _sizes(backward.operator, sizes)
        takes = _time(backward.operator, backward.operator.choose(own, batch=batch), own, batch)
        return takes <= BACKWARD * _time(self.operator, form, sizes, batch)

    def explain(self, sizes: Mapping[str, int]) -> str:
        """How all gradients are made at these sizes."""
        found, form = self._all(sizes), self.operator.choose(sizes)
        if form == "recurrent" and self.operator.form == "auto" and self.operator.forms.exists("chunkwise"):
            form = "chunkwise"
        if isinstance(found, Backward) and self._faster(found, form, sizes, 1):
            return f"by the gradient program, {found.operator.choose(_sizes(found.operator, sizes))}"
        why = found.reason if isinstance(found, Missing) else "faster than the gradient program"
        if not self.operator.followed:
            return f"none: {why}"
        return f"by autograd through the {form} source: {why}"

    def refusals(self, sizes: Mapping[str, int]) -> list[Refused]:
        """For reports: that there is no gradient program, and why."""
        found = self._all(sizes)
        if isinstance(found, Backward):
            return []
        what = "gradients come by autograd through the generated source"
        return [Refused("gradient program", found.reason, what if self.operator.followed else "", None)]

    def _all(self, sizes: Mapping[str, int]) -> Backward | Missing:
        program = self.operator.program
        return self.find(sizes, (True,) * len(program.outputs), (True,) * len(program.inputs))


def _recomputes(program: Program) -> bool:
    """Whether a gradient compares the results of max or min with scores that it computes again: rounding may
    then tell them apart."""
    reduced = (n for e in program.equations for n in walk(e.body) if isinstance(n, Reduce))
    inputs = {i.name for i in program.inputs}
    return any(
        n.op in ("max", "min") and not (isinstance(n.body, Read) and n.body.tensor in inputs) for n in reduced
    )


def _sizes(operator: TorchOperator, sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: sizes[name] for name in operator.program.sizes()}


def _time(operator: TorchOperator, form: str, sizes: Mapping[str, int], batch: int) -> float:
    return plan_time(operator.forms.plan(form, sizes), sizes, batch=batch)
