"""Printing monomials: the products of some elements of a vector, each once.

The rows of a chunk stand behind the products, so that whole rows are gathered; a matrix product takes the
transposition as it is.
"""

from __future__ import annotations

from tensorc.backends.python_base import BasePrinter
from tensorc.backends.python_expr import align
from tensorc.plan import ROW, Monomials, Ref


class MonomialPrinter(BasePrinter):
    """Prints `Monomials` steps."""

    def _monomials(self, step: Monomials) -> None:
        for ref in (step.lower, step.factor):
            self._use(ref)
        tail = [ROW] if ROW in step.out.axes else []
        rest = [a for a in step.out.axes if a not in (step.label, ROW)]
        lower = self._at(step.lower, [*rest, step.first, *tail])
        factor = self._at(step.factor, [*rest, step.last, *tail])
        made = self._new(step.out, [step.lower, step.factor], prefix="weighted_" if step.weighted else "")
        text = f"_monomials({lower}, {factor}, {step.power}, {step.weighted}, {-1 - len(tail)})"
        self.line(f"{made.name} = {align(text, Ref('', (*rest, step.label, *tail)), step.out.axes, True)}")
