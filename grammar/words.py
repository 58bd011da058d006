"""Words out of place: functions and reductions without what they need, and names that nothing has."""

from __future__ import annotations

from typing import NoReturn

from tensorc.errors import Span
from tensorc.grammar.names import RESERVED, Symbols
from tensorc.grammar.source import Source, did_you_mean, head
from tensorc.grammar.syntax import Name, Reduction
from tensorc.ir import FUNCTIONS, REDUCTIONS, Call, Read

OPERATORS = (*REDUCTIONS, "softmax")


class WordErrors:
    """The part of resolving that says what is wrong with a word."""

    symbols: Symbols
    source: Source

    def check_bare_word(self, node: Name) -> None:
        """Refuse a function or a reduction that stands alone."""
        if node.name in OPERATORS:
            self.fail_reduction(node.name, node.span)
        if node.name in FUNCTIONS or node.name == "where":
            self.source.fail(
                f"{node.name} is a function, and needs its arguments.",
                node.span,
                f"Write {usage(node.name)}.",
            )

    def fail_reduction(self, op: str, span: Span | None) -> NoReturn:
        """Raise for a reduction without its domain or its body."""
        self.source.fail(
            f"{op} needs its indices and parentheses: {op}[c](...).",
            head(span, op),
            f"Name in the [ ] what it runs over, by bare names and conditions: {op}[j <= i](...).",
        )

    def fail_tensor(self, node: Read) -> NoReturn:
        """Raise for a read of what is no tensor."""
        name, place = node.tensor, head(node.span, node.tensor)
        if name in OPERATORS:
            self.fail_reduction(name, node.span)
        if name in RESERVED and name not in ("inf", "nan"):
            self.source.fail(f"{name} takes its arguments in ( ).", place, f"Write {usage(name)}.")
        if name in self.symbols.sizes:
            self.source.fail(
                f"{name} is a size, not a tensor.",
                place,
                "A size is read as a bare name; give the tensor another.",
            )
        guess = did_you_mean(name, list(self.symbols.tensors))
        known = ", ".join(list(self.symbols.tensors)[:20])
        self.source.fail(
            f"No tensor {name}{guess or '.'}",
            place,
            f"Tensors here: {known}. Declare inputs in the signature.",
        )

    def fail_function(self, node: Call) -> NoReturn:
        """Raise for a call of what is no function."""
        name, place = node.function, head(node.span, node.function)
        if name in ("max", "min") and len(node.arguments) > 1:
            self.source.fail(f"{name} reduces over indices.", place, f"Of two numbers: {name}imum(a, b).")
        if name in OPERATORS:
            self.fail_reduction(name, node.span)
        if name == "where":
            self.source.fail(
                f"where takes 3 arguments, not {len(node.arguments)}.", node.span, f"Write {usage(name)}."
            )
        if name in self.symbols.programs:
            self.source.fail(
                f"{name} is a program, not a function.",
                place,
                f"Call it on a line of its own, t = {name}(...), and read its result by indices.",
            )
        if name in self.symbols.tensors:
            self.source.fail(
                f"{name} is a tensor, and is read with [ ].", place, f"Write {name}[...], or {name} * (...)."
            )
        guess = did_you_mean(name, [*FUNCTIONS, "where"])
        self.source.fail(
            f"No function {name}{guess or '.'}", place, f"Functions: {', '.join([*FUNCTIONS, 'where'])}."
        )

    def fail_operator(self, node: Reduction) -> NoReturn:
        """Raise for `NAME[...](...)` of what is no reduction."""
        op, place = node.op, head(node.span, node.op)
        if op in self.symbols.tensors:
            self.source.fail(
                f"An operator is missing after {op}[...].",
                place,
                "Write products with *.",
            )
        guess = did_you_mean(op, list(OPERATORS))
        self.source.fail(f"No reduction {op}{guess or '.'}", place, f"Reductions: {', '.join(OPERATORS)}.")


def usage(function: str) -> str:
    """How a function is called."""
    if function == "where":
        return "where(condition, a, b)"
    return f"{function}(a, b)" if FUNCTIONS[function] == 2 else f"{function}(...)"
