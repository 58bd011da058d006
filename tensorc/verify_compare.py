"""The error of each form on one's own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorc.backends.reference import evaluate
from tensorc.binding import Bound, bind
from tensorc.compiler import TENSORS
from tensorc.errors import TensorcError
from tensorc.numbers import FLOAT, Array
from tensorc.operator import Operator
from tensorc.verify_cases import plan_work
from tensorc.verify_sizes import Work

MOST_DEFINITION = 200_000_000  # multiplications of the definition, at most, that one waits for
MOST_FORM = 20_000_000_000  # and of a form
LARGEST_PARALLEL = 1 << 27  # elements of a value of the parallel form
FORMS = ("parallel", "chunkwise", "recurrent")


@dataclass(frozen=True, slots=True)
class FormErrors:
    """The largest error of one output in one form, and the largest number of the output itself."""

    form: str
    output: str
    error: float
    scale: float

    @property
    def relative(self) -> float:
        """The error as a part of the largest number."""
        return self.error / self.scale if self.scale else self.error


@dataclass(frozen=True, slots=True)
class CompareResult:
    """The errors of all forms: `gold` says what they are compared with, `skipped` what was too large."""

    name: str
    dtype: str
    gold: str
    sizes: dict[str, int]
    errors: tuple[FormErrors, ...]
    skipped: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "gold": self.gold,
            "sizes": dict(self.sizes),
            "errors": [
                {**{k: getattr(e, k) for k in ("form", "output", "error", "scale")}, "relative": e.relative}
                for e in self.errors
            ],
            "skipped": list(self.skipped),
        }

    def __str__(self) -> str:
        sizes = " ".join(f"{name}={value}" for name, value in self.sizes.items())
        lines = [f"{self.name} in {self.dtype} against {self.gold}, {sizes or 'no sizes'}", ""]
        width = max([10, *(len(e.form) for e in self.errors)])
        names = max([6, *(len(e.output) for e in self.errors)])
        lines.append(f"  {'form':{width}}  {'output':{names}}  {'largest error':>13}  {'relative':>9}")
        for e in self.errors:
            lines.append(f"  {e.form:{width}}  {e.output:{names}}  {e.error:13.2e}  {e.relative:9.1e}")
        return "\n".join([*lines, *(f"  {text}" for text in self.skipped)])


def compare(
    operator: Operator, arguments: tuple[object, ...], keywords: Mapping[str, object]
) -> CompareResult:
    """The largest error of each output in each form, for these inputs.

    The errors are against the definition in float64 where these sizes are small enough for it, else against
    the cheapest form in float64.

    >>> import tensorc
    >>> f = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])")
    >>> result = f.compare(np.arange(5, dtype=np.float32))
    >>> result.gold, max(e.error for e in result.errors)
    ('the definition in float64', 0.0)

    Raises what binding raises, and `TensorcError` for inputs that are not floats.
    """
    bound = bind(operator.program, arguments, keywords, operator.sizes)
    if bound.dtype.kind != "f":
        raise TensorcError("compare measures rounding errors: it takes floats. For exact numbers, verify.")
    gold, what = _gold(operator, bound)
    errors: list[FormErrors] = []
    skipped: list[str] = []
    for form in FORMS:
        if not operator.forms.exists(form):
            continue
        if not _fits(operator, form, bound):
            skipped.append(f"{form}: too large at these sizes")
            continue
        try:
            outputs = _outputs(operator, form, bound)
        except TensorcError as error:  # inputs that only other forms take
            skipped.append(f"{form}: {error}")
            continue
        for name, wanted, found in zip(gold, gold.values(), outputs, strict=True):
            errors.append(FormErrors(form, name, _error(wanted, found), _largest(wanted)))
    name, dtype = operator.program.name, str(bound.dtype)
    return CompareResult(name, dtype, what, bound.sizes, tuple(errors), tuple(skipped))


def _gold(operator: Operator, bound: Bound) -> tuple[dict[str, Array], str]:
    """The outputs in float64, and how they were found."""
    double = {n: _double(a) for n, a in bound.arrays.items()}
    count = int(np.prod(bound.batch))
    if Work(operator.program).at(bound.sizes) * max(1, count) <= MOST_DEFINITION:
        return evaluate(operator.program, double, bound.sizes, FLOAT), "the definition in float64"
    again = bind(operator.program, (), double, {**operator.sizes})
    fitting = [f for f in FORMS if operator.forms.exists(f) and _fits(operator, f, again)]
    if not fitting:
        raise TensorcError("These sizes are too large for every form.")
    form = operator.forms.cheapest(again.sizes)
    form = form if form in fitting else fitting[-1]
    names = [d.name for d in operator.program.outputs]
    outputs = _outputs(operator, form, again)
    return dict(zip(names, outputs, strict=True)), f"the {form} form in float64"


def _outputs(operator: Operator, form: str, bound: Bound) -> tuple[Array, ...]:
    """All outputs in one form."""
    backend = operator.backend if operator.backend in TENSORS else "numpy"
    kind = type(operator) if backend in TENSORS else Operator
    own = kind(operator.program, backend=backend, form=form, time=operator.time, sizes=operator.sizes)
    own.forms = operator.forms
    result = own(*bound.arrays.values())
    return tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))


def _double(array: Any) -> Array:
    values = np.asarray(array)
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def _fits(operator: Operator, form: str, bound: Bound) -> bool:
    plan = operator.forms.plan(form, bound.sizes)
    work = plan_work(plan, plan.chunk, bound.sizes) * max(1, int(np.prod(bound.batch)))
    return work <= (LARGEST_PARALLEL if form == "parallel" else MOST_FORM)


def _error(gold: Array, found: Array) -> float:
    """The largest difference; infinities and NaN that are the same are none."""
    with np.errstate(all="ignore"):
        wide = np.asarray(found, gold.dtype)
        same = (wide == gold) | (np.isnan(wide) & np.isnan(gold))
        return float(np.max(np.where(same, 0, np.abs(wide - gold)), initial=0.0))


def _largest(array: Array) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0.0))
