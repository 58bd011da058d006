"""Reports: what the compiler found in a program, as a value that prints and turns into JSON and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from tensorc.approximation import as_dict
from tensorc.causality import causality
from tensorc.cost import FIGURES, PlanCost, crossover, plan_cost
from tensorc.ir import Program
from tensorc.plan import Plan
from tensorc.rates import DEFAULT, Rates


class RefusalLike(Protocol):
    """A rule that does not apply: why, what change of the program would allow it, and where."""

    @property
    def rule(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def change(self) -> str: ...
    @property
    def line(self) -> int | None: ...


class RewriteLike(Protocol):
    """A rule that was applied: to what, and where."""

    @property
    def rule(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def line(self) -> int | None: ...


class LogLike(Protocol):
    """The records of the passes."""

    @property
    def rewrites(self) -> Sequence[RewriteLike]: ...
    @property
    def refusals(self) -> Sequence[RefusalLike]: ...


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal from outside of the passes, such as a form that does not exist."""

    rule: str
    reason: str
    change: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What `Operator.report` returns: print it, show it in a notebook, take `to_dict()` or `to_html(path)`.

    All costs are for one batch element and the whole call at `sizes`; a form that does not exist is absent
    from `forms` and `plans`, and stands in `refused`. The chosen form and the crossover are those for
    `batch` elements at once (heads times sequences). `causal` says for every output whether no later
    token can change it: True, or the leaking index with its read.
    """

    program: Program
    sizes: Mapping[str, int]
    chosen: str
    causal: Mapping[str, bool | str]
    crossover: Sequence[Mapping[str, str | int]]
    refused: Sequence[RefusalLike]
    rewrites: Sequence[RewriteLike]
    forms: Mapping[str, PlanCost]
    plans: Mapping[str, Plan] = field(repr=False)
    rates: Rates = DEFAULT
    batch: int = 1

    def __str__(self) -> str:
        from tensorc.report_text import report_text

        return report_text(self)

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write the report as one HTML file with its pictures, which loads nothing and runs no scripts.

        Raises `OSError` where the file cannot be written.
        """
        from tensorc.report_html import report_page

        Path(path).write_text(report_page(self), encoding="utf-8")

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from tensorc.report_html import report_fragment

        return report_fragment(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values that `json` can write; costs as integers, polynomials as text."""
        return {
            "program": self.program.name,
            "sizes": dict(self.sizes),
            "batch": self.batch,
            "chosen": self.chosen,
            "causal": dict(self.causal),
            "crossover": [dict(c) for c in self.crossover],
            "refused": [
                {"rule": r.rule, "reason": r.reason, "change": r.change, "line": r.line} for r in self.refused
            ],
            "approximations": [as_dict(a) for a in self.program.approximations],
            "rewrites": [{"rule": r.rule, "what": r.what, "line": r.line} for r in self.rewrites],
            "forms": {name: self._form(name, cost) for name, cost in self.forms.items()},
        }

    def _form(self, name: str, cost: PlanCost) -> dict[str, Any]:
        from tensorc.plan_text import Notation

        notation = Notation(self.plans[name])
        return {
            **{figure: getattr(cost, figure) for figure in FIGURES},
            "symbolic": dict(cost.symbolic),
            "chunk": cost.chunk,
            "seconds": cost.seconds,
            "roofline": cost.roofline,
            "steps": [
                {
                    "equation": step.why.equation,
                    "kind": step.kind,
                    "flops": step.flops,
                    "bytes": step.bytes,
                    "rule": step.why.rule,
                    "line": step.why.line,
                    "step": notation.step(step.step),
                }
                for step in cost.steps
            ],
        }


def build_report(
    program: Program,
    sizes: Mapping[str, int],
    forms: Mapping[str, Plan],
    chosen: str,
    log: LogLike,
    causal: Mapping[str, bool | str] | None = None,
    refusals: Sequence[RefusalLike] = (),
    rates: Rates = DEFAULT,
    batch: int = 1,
) -> Report:
    """The report on a program at these sizes (of every size name).

    `forms`: the plan of every form that exists, for these sizes; `chosen`: the form that would run; `log`:
    what the passes did and refused; `refusals`: further ones, such as the forms that do not exist;
    `causal`: instead of the analysis of the equations.
    """
    time = next((plan.time for plan in forms.values() if plan.time is not None), None)
    refused: list[RefusalLike] = []
    for refusal in (*refusals, *log.refusals):
        if refusal not in refused:
            refused.append(refusal)
    return Report(
        program=program,
        sizes=dict(sizes),
        chosen=chosen,
        causal=causality(program, time) if causal is None else dict(causal),
        crossover=crossover(forms, sizes, rates, batch),
        refused=tuple(refused),
        rewrites=tuple(log.rewrites),
        forms={name: plan_cost(plan, sizes, rates=rates) for name, plan in forms.items()},
        plans=dict(forms),
        rates=rates,
        batch=batch,
    )
