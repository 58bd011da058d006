"""NumPy source for a plan: one module that imports numpy alone and can be pasted anywhere."""

from __future__ import annotations

from tensorc.backends.numpy_caches import NumpySequence, NumpyToken
from tensorc.backends.numpy_library import NUMPY
from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.python_signature import HeadWriter
from tensorc.backends.python_source import module_text
from tensorc.ir import Extent, Program
from tensorc.plan import Plan


def numpy_source(program: Program, plan: Plan, batch: Batch = ANY) -> str:
    """A module with one function named after the program (and `step`, in the recurrent form).

    The function takes the inputs and the keywords `dtype` (of the outputs), the sizes that the inputs do
    not give, and, where there are states, `state`, `position` and `chunk`; it returns the tuple of outputs
    and, where there are states, the tuple of states. What is known of the `batch`
    dimensions lets more be computed in place.
    """
    if plan.form == "recurrent":
        body = NumpyToken(program, plan, NUMPY, batch).recurrent()
    else:
        body = NumpySequence(program, plan, NUMPY, batch).whole()
    return module_text(program, plan, "import numpy as np", "numpy_helpers", body)


def required_sizes(program: Program, without: Extent | None) -> dict[str, str]:
    """The sizes that generated functions take by keyword, because no input shows them: name → keyword."""
    writer = HeadWriter(program, Plan("parallel", program.name, None, (), (), (), (), (), (), ()), NUMPY)
    return {name: writer.names.size(name) for name in writer._solve(without)[1]}
