"""PyTorch source for a plan: one module that imports torch alone and can be pasted anywhere."""

from __future__ import annotations

from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.python_source import module_text
from tensorc.backends.torch_library import FUNCTIONAL, IN_PLACE
from tensorc.backends.torch_sequence import TorchSequences, TorchTokens
from tensorc.ir import Program
from tensorc.plan import Plan


def torch_source(program: Program, plan: Plan, batch: Batch = ANY) -> str:
    """A module with one function named after the program (and `step` and `start`, in the recurrent form).

    Arguments and results are those of `numpy_source`. Every operation is one that autograd can follow,
    unless `batch.overwrite`: then buffers are overwritten, and no input may require a gradient.

    Raises `BackendError` for a step that has no PyTorch source.
    """
    library = IN_PLACE if batch.overwrite else FUNCTIONAL
    if plan.form == "recurrent":
        body = TorchTokens(program, plan, library, batch).recurrent()
    else:
        body = TorchSequences(program, plan, library, batch).whole()
    return module_text(program, plan, "import torch", "torch_helpers", body)
