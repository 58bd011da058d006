"""The operator on Triton: the kernels of a program for tensors on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch

from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.triton_source import triton_source
from tensorc.binding import Bound
from tensorc.errors import BackendError, FormError
from tensorc.forms import Forms, Function, Printer
from tensorc.ir import Extent, Program
from tensorc.plan import Plan
from tensorc.prepared import with_keywords
from tensorc.state import State
from tensorc.torch_operator import TorchOperator
from tensorc.triton_options import checked
from tensorc.triton_tuning import best, key_of, store, stored


class TritonForms(Forms):
    """The forms that have kernels. `options` are keywords for the generated functions."""

    options: Mapping[str, Any] = MappingProxyType({})

    def function(self, form: str, sizes: Mapping[str, int], batch: Batch = ANY) -> tuple[Function, Plan]:
        function, plan = super().function(form, sizes, batch)
        return with_keywords(function, self.launch(form, sizes, batch)), plan

    def launch(self, form: str, sizes: Mapping[str, int], batch: Batch) -> dict[str, Any]:
        """How to launch the kernels of a form: as asked for, else as measured on this device."""
        if not torch.cuda.is_available():
            return dict(self.options)
        found = stored(self.key(form, sizes, batch, torch.device("cuda")))
        return (found or {}) | dict(self.options)

    def key(self, form: str, sizes: Mapping[str, int], batch: Batch, device: torch.device) -> str:
        """What measured options are kept under."""
        half = not batch.typed
        return key_of(self.source(form, sizes), dict(self._features(sizes)), half, device)

    sums = False

    def cheapest(self, sizes: Mapping[str, int], streaming: bool = False, batch: int = 1) -> str:
        """Chunkwise where it exists: on a GPU its chunks run at once."""
        if streaming:
            self.require("recurrent")
        return next((f for f in ("chunkwise", "recurrent") if self.exists(f)), "parallel")

    def token_functions(
        self, sizes: Mapping[str, int], batch: Batch = ANY
    ) -> tuple[dict[str, Function], Plan, dict[str, int]]:
        """Token by token; where the states are caches, a token is a chunk of one row."""
        known = self.example_sizes({}) | dict(sizes)
        try:
            functions, plan, extra = self._load("recurrent", known, self.time, batch)
        except BackendError:
            if not self.exists("chunkwise"):
                raise
            functions, plan, extra = self._load("chunkwise", known, self.time, batch)
        step = with_keywords(functions["step"], dict(self.options))
        return functions | {"step": step}, plan, extra

    def plan(self, form: str, sizes: Mapping[str, int]) -> Plan:
        """The plan of a form. Where states are caches, a token is a chunk of one row."""
        plan = super().plan(form, sizes)
        if form != "recurrent" or not any(s.grows for s in plan.states):
            return plan
        try:
            return super().plan("chunkwise", sizes)
        except FormError:
            reason = "its states are caches, and kernels read these in chunks alone, which it does not have"
            raise BackendError(
                f"{self.program.name} has no Triton kernel: {reason}. Compile with backend='torch'."
            ) from None


class TritonOperator(TorchOperator):
    """`Operator` for backend="triton": what `TorchOperator` does, with generated kernels.

    Inputs are float32, bfloat16 or float16 on a GPU; the arithmetic is float32, products of matrices take
    operands of the inputs' type. Raises `BackendError` for what no kernel can do, never running anything
    else instead. Gradients come from the kernels of the gradient program.
    """

    followed = False

    def __init__(self, program: Program, *, form: str, **settings: Any) -> None:
        super().__init__(program, form=form, **settings)
        if form != "auto":
            self.forms.source(form, self.forms.example_sizes({}))  # raises if it has no kernels

    def tune(self, /, *arguments: object, **keywords: object) -> dict[str, Any]:
        """Measure some launch options on these inputs, and keep the best for all lengths, on disk too.

        Returns the options: keywords of the generated function. Options that were set stay as they are.
        """
        bound = self._bind(arguments, keywords)
        self._check_tensors(bound)
        form = self.choose(bound.sizes)
        device = next(iter(bound.arrays.values())).device
        forms, batch = self.forms, self._batch(bound)
        assert isinstance(forms, TritonForms)
        asked = dict(self.options)

        def run(options: dict[str, Any]) -> object:
            self.options = options | asked
            return TorchOperator._run(self, form, bound, None)  # what does not fit is left out

        try:
            options, _ = best(run, {}, device)
        finally:
            self.options = asked
        store(forms.key(form, bound.sizes, batch, device), options)
        self.options = options | asked
        return dict(self.options)

    @property
    def options(self) -> Mapping[str, Any]:
        """How kernels are launched, by keyword of the generated function (`tensorc.triton_options`); what is
        absent is chosen. Raises `BackendError` for what is no option."""
        assert isinstance(self.forms, TritonForms)
        return self.forms.options

    @options.setter
    def options(self, options: Mapping[str, Any]) -> None:
        assert isinstance(self.forms, TritonForms)
        self.forms.options = checked(options)
        for kept in (self._calls, self._fast, self._tokens):
            kept.clear()

    def _forms(self, program: Program, time: Extent | None, sizes: Mapping[str, int]) -> Forms:
        return TritonForms(program, time, sizes, self._printer())

    def _printer(self) -> Printer:
        return triton_source

    def _first(
        self, arguments: tuple[object, ...], keywords: Mapping[str, object], key: object
    ) -> tuple[Any, ...]:
        with self._told():
            return super()._first(arguments, keywords, key)

    def _run(self, form: str, bound: Bound, state: State | None) -> tuple[tuple[Any, ...], State | None]:
        with self._told():
            return super()._run(form, bound, state)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What Triton says against a kernel (a tile is too large, the memory of a program) as an error of
        this package."""
        try:
            yield
        except Exception as error:
            from triton.errors import TritonError

            if not isinstance(error, TritonError):
                raise
            says = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise BackendError(
                f"{self.program.name} has no Triton kernel for these sizes and options: {says} Set smaller "
                "tiles (options = {'tile': 16}), or compile with backend='torch'."
            ) from error

    def _prepared(self, form: str, bound: Bound, grad: bool) -> Any:
        self._check_tensors(bound)
        return super()._prepared(form, bound, grad)

    def _check_tensors(self, bound: Bound) -> None:
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        for name, tensor in bound.arrays.items():
            if tensor.device.type == "cpu" and not interpreted:
                raise BackendError(
                    f"{name} is on the CPU; Triton kernels run on a GPU. Move the inputs there, or set "
                    "TRITON_INTERPRET=1 before the first import to try small shapes."
                )
            if tensor.dtype == torch.float64 and tensor.dim():
                raise BackendError(
                    f"{name} is float64; Triton kernels compute in float32. Use backend='torch' for float64."
                )
