"""What verification found: a value that prints as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from tensorc.numbers import Array

LONGEST_BITS = 128  # of a number that is shown with all its digits


@dataclass(frozen=True, slots=True)
class Check:
    """One way to compute the program: how often it was compared exactly, and its source in floats."""

    name: str
    exact: int = 0
    source: int = 0


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The smallest failure found. `expected` is the definition's value of `output`, `got` what the form
    made of it; `error` is what it raised, or what else was wrong."""

    form: str
    numbers: str
    sizes: dict[str, int]
    inputs: dict[str, Array]
    output: str = ""
    index: tuple[int, ...] = ()
    expected: Array | None = None
    got: Array | None = None
    error: str = ""

    def __str__(self) -> str:
        lines = [f"sizes     {_sizes(self.sizes)}"]
        for name, array in self.inputs.items():
            lines.append(_entry("input", f"{name} = {show(array)}"))
        if self.expected is not None and self.got is not None:
            lines.append(_entry("expected", f"{self.output} = {show(self.expected)}"))
            lines.append(_entry("got", f"{self.output} = {show(self.got)}"))
        if self.error:
            lines.append(_entry("error", self.error))
        elif self.expected is not None and self.got is not None and self.index:
            place = ", ".join(map(str, self.index))
            wanted, found = self.expected[self.index], self.got[self.index]
            values = f"{_number(wanted)} expected, {_number(found)} got"
            lines.append(_entry("first at", f"{self.output}[{place}]: {values}"))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The counterexample as JSON can hold it: arrays as nested lists, fractions as text."""
        return {
            "form": self.form,
            "numbers": self.numbers,
            "sizes": dict(self.sizes),
            "inputs": {name: _plain(array) for name, array in self.inputs.items()},
            "output": self.output,
            "index": list(self.index),
            "expected": None if self.expected is None else _plain(self.expected),
            "got": None if self.got is None else _plain(self.got),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of `verify`.

    `checks` are the ways to compute the program with their numbers of comparisons, `sizes` the sizes tried,
    `evaluations` the number of exact comparisons; `refused` says which forms do not exist and why,
    `causal` for each output with the time axis True or the leak; `not_reached` what the time limit or the
    size of the numbers left out. `counterexample` is None where all agree.
    """

    name: str
    program: str
    seed: int
    backends: tuple[str, ...]
    checks: tuple[Check, ...]
    sizes: tuple[dict[str, int], ...]
    evaluations: int
    refused: Mapping[str, str] = field(default_factory=dict)
    causal: Mapping[str, bool | str] = field(default_factory=dict)
    not_reached: tuple[str, ...] = ()
    counterexample: Counterexample | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no difference was found."""
        return self.counterexample is None

    @property
    def complete(self) -> bool:
        """Whether everything was examined that should be."""
        return not self.not_reached

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "name": self.name,
            "program": self.program,
            "seed": self.seed,
            "backends": list(self.backends),
            "passed": self.passed,
            "complete": self.complete,
            "checks": [{"name": c.name, "exact": c.exact, "source": c.source} for c in self.checks],
            "sizes": [dict(s) for s in self.sizes],
            "evaluations": self.evaluations,
            "refused": dict(self.refused),
            "causal": dict(self.causal),
            "not_reached": list(self.not_reached),
            "counterexample": None if self.counterexample is None else self.counterexample.to_dict(),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        if self.counterexample is not None:
            return f"{self._verdict()} ({self.counterexample.numbers})\n\n{self.counterexample}"
        source = sum(c.source for c in self.checks)
        width = max([len(c.name) for c in self.checks] + [24])
        lines = [self._verdict(), "", f"  {'form':{width}}  {'exact':>6}  {'source':>6}"]
        lines += [f"  {c.name:{width}}  {c.exact:6}  {c.source:6}" for c in self.checks]
        exact = f"{self.evaluations} exact comparisons without any tolerance"
        lines += ["", f"{exact}; {source} of generated source."]
        lines += _wrapped("sizes     ", [_sizes(s) for s in self.sizes])
        lines += [f"no {form} form: {reason}" for form, reason in self.refused.items()]
        for name, leak in self.causal.items():
            lines.append(f"causal    {name}: {'yes' if leak is True else f'no, {leak}'}")
        for what in self.not_reached:
            title, _, rest = what.partition(": ")
            places = rest.split("; ") if rest else []
            lines += _wrapped(f"not reached: {title}: ", places) if places else [f"not reached: {what}"]
        return "\n".join(lines)

    def _verdict(self) -> str:
        if self.counterexample is not None:
            return f"{self.name}: the {self.counterexample.form} form differs from the definition"
        if not self.evaluations:
            return f"{self.name}: nothing was compared exactly"
        what = "every form equals the definition" if self.complete else "no form was seen to differ"
        return f"{self.name}: {what}"


def show(array: Array) -> str:
    """An array as nested lists, fractions as 1/2; what is too long is cut."""
    if array.ndim == 0:
        return _number(array[()])
    if array.size == 0:
        return f"an empty array of shape {array.shape}"
    return np.array2string(array, separator=", ", threshold=60, formatter={"all": _number})


def _number(value: Any) -> str:
    if isinstance(value, Fraction) or (isinstance(value, int) and not isinstance(value, bool)):
        bits = value.numerator.bit_length() + value.denominator.bit_length()
        return str(value) if bits <= LONGEST_BITS else f"(a number of {bits} bits)"
    return f"{value:.9g}" if isinstance(value, (float, np.floating)) else str(value)


def _sizes(sizes: Mapping[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in sizes.items()) or "none"


def _entry(title: str, text: str) -> str:
    return f"{title:10}" + text.replace("\n", "\n" + " " * 10)


def _wrapped(title: str, items: list[str]) -> list[str]:
    """Items after a title, as many in a line as fit 100 columns."""
    lines = [title.rstrip()]
    for item in items:
        lead = lines[-1] + ("; " if len(lines[-1]) > len(title) else " " * (len(title) - len(lines[-1])))
        if len(lead) + len(item) > 100 and lines[-1].strip():
            lines.append(" " * len(title) + item)
        else:
            lines[-1] = lead + item
    return lines


def _plain(array: Any) -> Any:
    """Nested lists that JSON can hold: what it has no number for is text."""
    value = array.tolist() if isinstance(array, (np.ndarray, np.generic)) else array
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Fraction) or (isinstance(value, int) and value.bit_length() > LONGEST_BITS):
        return _number(value)
    return value
