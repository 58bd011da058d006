"""Triton source for a plan: one module that imports torch and triton alone and can be pasted anywhere."""

from __future__ import annotations

from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.python_source import framed, pasted
from tensorc.backends.triton_launch import LaunchWriter
from tensorc.ir import Program
from tensorc.plan import Plan


def triton_source(program: Program, plan: Plan, batch: Batch = ANY) -> str:
    """A module with the kernels of a plan and one function named after the program, which takes and returns
    what that of `torch_source` does.

    Raises `BackendError` for a plan that has no kernels, with the reason.
    """
    kernels, host = LaunchWriter(program, plan).module()
    around = "\n".join(host)
    own = pasted("triton_host", around)
    lines = pasted("torch_helpers", "\n".join([around, *own])) + own
    helpers = pasted("triton_helpers", "\n".join(kernels))
    lines += pasted("triton_functions", "\n".join([*kernels, *helpers]))
    lines += [*helpers, *kernels, "", *host]
    return framed(program, plan, "import torch\nimport triton\nimport triton.language as tl", lines)
