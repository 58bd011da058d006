"""Triton source for a plan: one module that imports torch and triton alone and can be pasted anywhere."""

from __future__ import annotations

from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.python_source import module_text
from tensorc.backends.triton_launch import LaunchWriter
from tensorc.ir import Program
from tensorc.plan import Plan


def triton_source(program: Program, plan: Plan, batch: Batch = ANY) -> str:
    """A module with the kernels of a plan and one function named after the program, which takes and returns
    what that of `torch_source` does.

    Raises `BackendError` for a plan that has no kernels, with the reason.
    """
    body = LaunchWriter(program, plan).module()
    imports = "import torch\nimport triton\nimport triton.language as tl"
    return module_text(program, plan, imports, ("torch_helpers", "triton_host", "triton_helpers"), body)
