"""Axes of a function traced without a header: indices that share an axis or are compared share a size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Assignment, Declaration, Group, Name, Reduction, children
from tensorc.ir import Add, Compare, Const, Extent, Neg, Read
from tensorc.trace_text import label
from tensorc.trace_walk import letters_below

Slot = tuple[str, str, int]  # ("axis", tensor, position) or ("index", letter, scope)
_SIZES = ("n", "d", "e", "m", "h", "b", "r", "p", "s", "t")
_HEADER = 'Write a header: @tensorc.jit("q[n, d], ... -> o[n, e]").'


class Classes:
    """Slots that share a size (union and find)."""

    def __init__(self) -> None:
        self.parent: dict[Slot, Slot] = {}
        self.marked: set[Slot] = set()  # roots whose size an input gives

    def find(self, slot: Slot) -> Slot:
        self.parent.setdefault(slot, slot)
        while self.parent[slot] != slot:
            self.parent[slot] = self.parent[self.parent[slot]]
            slot = self.parent[slot]
        return slot

    def join(self, first: Slot, second: Slot) -> None:
        """The root of the first becomes the root of both."""
        kept, dropped = self.find(first), self.find(second)
        self.parent[dropped] = kept
        if dropped in self.marked:
            self.marked.add(kept)


class Axes:
    """Reads the equations of a trace and finds the size of every axis."""

    def __init__(self, inputs: Mapping[str, str], equations: list[Assignment]) -> None:
        self.inputs = inputs  # token: name
        self.classes = Classes()
        self.count: dict[str, int] = {}
        self.shifted: list[tuple[Slot, Slot]] = []
        self.scopes = 0
        for equation in equations:
            self.equation(equation)
        for axis, index in self.shifted:
            if self.classes.find(index) not in self.classes.marked:
                self.classes.join(axis, index)

    def equation(self, equation: Assignment) -> None:
        self.scopes += 1
        scope = self.scopes
        left = {name.name: ("index", name.name, scope) for name in equation.left}
        self.axes(equation.target, tuple(equation.left), left, scope)
        self.expression(equation.body, left, frozenset(left), scope)

    def axes(self, token: str, subscripts: tuple[Any, ...], env: Mapping[str, Slot], scope: int) -> None:
        """One occurrence of a tensor."""
        if self.count.setdefault(token, len(subscripts)) != len(subscripts):
            raise LanguageError(
                f"{label(token)} is read with {self.count[token]} subscripts and with {len(subscripts)}.",
                hint=f"A tensor has one number of axes. {_HEADER}",
            )
        for position, part in enumerate(subscripts):
            axis = ("axis", token, position)
            if token in self.inputs:
                self.classes.marked.add(self.classes.find(axis))
            if isinstance(part, Name) and "%" not in part.name:
                self.classes.join(axis, env.get(part.name, ("index", part.name, scope)))
            elif (letter := leading(part)) is not None:
                self.shifted.append((axis, env.get(letter, ("index", letter, scope))))

    def expression(self, node: Any, env: Mapping[str, Slot], bound: frozenset[str], scope: int) -> None:
        """Everything below a node; `scope` is that of the letters which no reduction binds."""
        if isinstance(node, Reduction) and node.op != "softmax":
            domain = frozenset().union(*(letters_below(part) for part in (*node.names, *node.conditions)))
            self.scopes += 1
            env = {**env, **{x: ("index", x, self.scopes) for x in domain - bound}}
            bound = bound | domain
        elif isinstance(node, Read):
            self.axes(node.tensor, node.subscripts, env, scope)
        elif isinstance(node, Name) and "%" in node.name:
            self.axes(node.name, (), env, scope)
        elif isinstance(node, Compare):
            pair = (leading(node.left), leading(node.right))
            if pair[0] is not None and pair[1] is not None:
                first, second = (env.get(x, ("index", x, scope)) for x in pair if x is not None)
                self.classes.join(first, second)
        for part in children(node):
            self.expression(part, env, bound, scope)

    def declarations(
        self, outputs: Mapping[str, str], taken: frozenset[str]
    ) -> tuple[tuple[Declaration, ...], tuple[Declaration, ...]]:
        """Inputs and outputs (token: name) with generated sizes; LanguageError where none follows."""
        free = [s for s in (*_SIZES, *(f"n{k}" for k in range(2, 100))) if s not in taken]
        sizes: dict[Slot, str] = {}

        def declare(token: str, name: str, known: bool) -> Declaration:
            if token not in self.count:
                raise LanguageError(f"The input {name} is never read, so its axes are unknown.", hint=_HEADER)
            axes = []
            for position in range(self.count[token]):
                root = self.classes.find(("axis", token, position))
                if root not in sizes and known:
                    raise LanguageError(
                        f"No input says how long axis {position + 1} of {name} is.",
                        hint=f"Its index stands bare on no axis of an input. {_HEADER}",
                    )
                if root not in sizes:
                    sizes[root] = free.pop(0)
                axes.append(Extent(1, (sizes[root],)))
            return Declaration(name, tuple(axes))

        inputs = tuple(declare(token, name, False) for token, name in self.inputs.items())
        return inputs, tuple(declare(token, name, True) for token, name in outputs.items())


def leading(node: Any) -> str | None:
    """The index in `i`, `i - 1`, `i - w`, `(i + 2)`: the one term that is a bare index and not subtracted."""
    if isinstance(node, Group):
        return leading(node.body)
    if isinstance(node, Name):
        return None if "%" in node.name else node.name
    if isinstance(node, Add):
        kept = [term for term in node.terms if not isinstance(term, Neg | Const)]
        return leading(kept[0]) if len(kept) == 1 else None
    return None
