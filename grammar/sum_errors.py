"""What to say about letters that no sum, or more than one, would take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from tensorc.errors import Span
from tensorc.grammar.resolve import Resolved
from tensorc.grammar.show import show
from tensorc.grammar.source import Source, head, position
from tensorc.grammar.syntax import Group, Reduction, children
from tensorc.ir import Add, Index


@dataclass(frozen=True, slots=True)
class Closed:
    """Where a letter was summed: by the reduction `node` of the name `op`, or (without one) implicitly
    around the product `node`."""

    op: str
    node: Any


class SumErrors:
    """The part of lowering sums that raises."""

    source: Source
    resolved: Resolved
    left: tuple[str, ...]

    def fail_binds_nothing(self, node: Reduction, letters: list[str]) -> NoReturn:
        first = letters[0] if letters else ""
        why = "on the left" if first in self.left else "bound further out"
        self.source.fail(
            f"This {node.op} binds no index" + (f": {first} is {why} already." if first else "."),
            head(node.span, node.op),
            "Name in the [ ] an index that is neither on the left nor bound: another letter.",
        )

    def fail_softmax(self, node: Reduction, letters: list[str]) -> NoReturn:
        shown = ", ".join(show(self.source, c) for c in node.conditions)
        row = self.left[-1] if self.left else "j"
        first = letters[0] if letters else "nothing"
        target = f"{self.resolved.assignment.target}[{', '.join(self.left)}]"
        what = f", a row of {target}" if first in self.left else ""
        self.source.fail(
            f"softmax would run over {first}{what}.",
            head(node.span, "softmax"),
            f"Write softmax[{row}, {shown}].",
        )

    def fail_outside(self, name: str, closed: Closed, outside: tuple[Span | None, Any]) -> NoReturn:
        span, holder = outside
        shown = show(self.source, holder)
        if closed.op:
            self.source.fail(
                f"{name} is bound by the {closed.op}{position(closed.node.span)} but used outside it.",
                span,
                f"Move {shown} inside the parentheses.",
            )
        self.source.fail(
            f"{name} is summed inside {show(self.source, closed.node)} and used again outside.",
            span,
            f"Use another letter, or write sum[{name}](...) where you mean it.",
        )

    def fail_loose(self, name: str, span: Span | None) -> NoReturn:
        body = self.resolved.body
        while isinstance(body, Group):
            body = body.body
        terms = body.terms if isinstance(body, Add) else (body,)
        counts = [sum(node.name == name for node in index_nodes(term)) for term in terms]
        often = "once" if 1 in counts else "in one factor only"
        self.source.fail(
            f"{name} occurs {often} in this term and is not on the left.",
            span,
            f"A typo? If a sum is meant, write sum[{name}](...).",
        )


def index_nodes(node: Any) -> list[Index]:
    """The indices of an expression, in order, with repetition."""
    found, stack = [], [node]
    while stack:
        current = stack.pop()
        if isinstance(current, Index):
            found.append(current)
        stack.extend(reversed(children(current)))
    return found
