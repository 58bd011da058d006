"""What the passes did and what they refused: the report is built from these records alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from tensorc.errors import Span


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A rule that was applied: which, to what, and where."""

    rule: str
    what: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule that was tried and does not apply: why not, and what change would allow it."""

    rule: str
    reason: str
    change: str
    line: int | None = None


@dataclass(slots=True)
class Log:
    """The records of one compilation, in order, each once."""

    rewrites: list[Rewrite] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def did(self, rule: str, what: str, span: Span | None = None) -> None:
        """Record a rewrite."""
        record = Rewrite(rule, what, None if span is None else span.line)
        if record not in self.rewrites:
            self.rewrites.append(record)

    def refused(self, rule: str, reason: str, change: str, span: Span | None = None) -> None:
        """Record a refusal."""
        record = Refusal(rule, reason, change, None if span is None else span.line)
        if record not in self.refusals:
            self.refusals.append(record)

    def add(self, other: Log) -> None:
        """The records of another compilation of the same program."""
        self.rewrites += [r for r in other.rewrites if r not in self.rewrites]
        self.refusals += [r for r in other.refusals if r not in self.refusals]
