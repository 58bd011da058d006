"""The equations of a called program in place of the call.

Its tensors and indices get names that are free in the caller, its sizes become those of the arguments,
and for each axis in front of the declared ones a fresh left index is threaded through every equation
that depends on an argument with that axis.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tensorc.grammar.calls import CallRanges, product_of
from tensorc.grammar.names import Symbols, leading_rank
from tensorc.grammar.ranges import Ranges
from tensorc.grammar.subscripts import flat_mul
from tensorc.ir import (
    Bind,
    Const,
    Equation,
    Extent,
    Index,
    Mul,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    TensorDecl,
    reads,
    rebuild,
    walk,
)


class Namer:
    """Names that are free in the calling program: no size, tensor or index of it has them."""

    def __init__(self, symbols: Symbols) -> None:
        self.fixed = {*symbols.sizes, *symbols.tensors}
        self.letters = set(symbols.letters)
        self.next: dict[str, int] = {}

    def letter(self, name: str, avoid: set[str]) -> str:
        """The name, or the name with a number, for an index; equations may share it."""
        candidate, number = name, 2
        while candidate in self.fixed or candidate in avoid:
            candidate, number = f"{name}_{number}", number + 1
        return candidate

    def tensor(self, name: str, avoid: set[str]) -> str:
        """The name, or the name with a number, for a tensor; it is taken from then on."""
        candidate, number = name, self.next.get(name, 2)
        while candidate in self.fixed or candidate in avoid or candidate in self.letters:
            candidate, number = f"{name}_{number}", number + 1
        self.next[name] = number
        self.fixed.add(candidate)
        return candidate


def inline(call: CallRanges, ranges: Ranges, namer: Namer) -> tuple[list[Equation], dict[str, TensorDecl]]:
    """The callee's equations in terms of the caller's names, and its locals under their new names."""
    return _Inliner(call, ranges, namer).equations()


class _Inliner:
    def __init__(self, call: CallRanges, ranges: Ranges, namer: Namer) -> None:
        program, statement, symbols = call.program, call.statement, call.symbols
        self.program = program
        self.sizes = {name: call.size(ranges, name) or Extent() for name in program.sizes()}
        letters = {name for equation in program.equations for name in equation_letters(equation)}
        self.tensors = {d.name: a.name for d, a in zip(program.inputs, statement.arguments, strict=True)}
        self.tensors |= {d.name: t.name for d, t in zip(program.outputs, statement.targets, strict=True)}
        for local in program.locals:
            self.tensors[local.name] = namer.tensor(local.name, letters)
        self.letters: dict[str, str] = {}
        for name in sorted(letters):
            self.letters[name] = namer.letter(name, letters - {name} | set(self.letters.values()))
        count = leading_rank(symbols, statement)
        avoid = letters | set(self.letters.values())
        self.leading: list[Bind] = []
        for k in range(count):
            name = namer.letter("b" if count == 1 else f"b{k + 1}", avoid)
            known = ranges.classes.extent(("lead", call.number, count - k))
            self.leading.append(Bind(name, known or Extent()))
            avoid.add(name)
        namer.letters |= {*self.letters.values(), *(b.name for b in self.leading)}
        extra = {
            d.name: symbols.tensors[a.name].rank - len(d.axes)
            for d, a in zip(program.inputs, statement.arguments, strict=True)
        }
        self.ranks = _leading_ranks(program, extra, count)

    def equations(self) -> tuple[list[Equation], dict[str, TensorDecl]]:
        equations = [
            replace(
                equation,
                target=self.tensors[equation.target],
                left=(*self.lead(equation.target), *map(self.bind, equation.left)),
                body=self.node(equation.body),
            )
            for equation in self.program.equations
        ]
        declared = {}
        for local in self.program.locals:
            axes = (*(b.extent for b in self.lead(local.name)), *map(self.extent, local.axes))
            name = self.tensors[local.name]
            declared[name] = TensorDecl(name, axes, span=local.span)
        return equations, declared

    def lead(self, tensor: str) -> list[Bind]:
        rank = self.ranks[tensor]
        return self.leading[len(self.leading) - rank :]

    def extent(self, axis: Extent) -> Extent:
        return product_of(axis, self.sizes)

    def bind(self, bind: Bind) -> Bind:
        return Bind(self.letters[bind.name], self.extent(bind.extent))

    def node(self, node: Any) -> Any:
        """An expression or condition under the caller's names."""
        match node:
            case Size(name=name):
                return _size(self.sizes[name], node)
            case Index(name=name):
                return replace(node, name=self.letters[name])
        node = rebuild(node, self.node)
        match node:
            case Read(tensor=tensor):
                leading = tuple(Index(b.name) for b in self.lead(tensor))
                return replace(node, tensor=self.tensors[tensor], subscripts=(*leading, *node.subscripts))
            case Mul(factors=factors):
                return flat_mul(factors, node.span)
            case Reduce(binds=binds):
                return replace(node, binds=tuple(map(self.bind, binds)))
            case Softmax(over=over):
                return replace(node, over=tuple(map(self.bind, over)))
        return node


def _size(value: Extent, node: Size) -> Any:
    """The number of an extent as an expression."""
    parts: list[Any] = [Size(name, span=node.span) for name in value.names]
    if value.coefficient != 1 or not parts:
        parts.insert(0, Const(value.coefficient, span=node.span))
    return parts[0] if len(parts) == 1 else Mul(tuple(parts), span=node.span)


def equation_letters(equation: Equation) -> set[str]:
    """Every index of an equation, free or bound."""
    found = {bind.name for bind in equation.left}
    for node in walk(equation.body):
        match node:
            case Index(name=name):
                found.add(name)
            case Reduce(binds=binds) | Softmax(over=binds):
                found.update(bind.name for bind in binds)
    return found


def _leading_ranks(program: Program, extra: dict[str, int], total: int) -> dict[str, int]:
    """How many leading axes each tensor has: as many as anything it depends on; results have them all."""
    users: dict[str, list[str]] = {}
    for equation in program.equations:
        for name in reads(equation.body):
            users.setdefault(name, []).append(equation.target)
    ranks = {tensor: 0 for tensor in program.tensors()}
    ranks |= {output.name: total for output in program.outputs}
    ranks |= extra
    for rank in sorted({*extra.values(), total}, reverse=True):
        stack = [name for name, value in ranks.items() if value == rank]
        seen = set(stack)
        while stack:
            for user in users.get(stack.pop(), ()):
                if user not in seen and ranks[user] < rank:
                    ranks[user] = rank
                    seen.add(user)
                    stack.append(user)
    return ranks


def count_nodes(program: Program) -> int:
    """The number of nodes of all equations."""
    return sum(1 for equation in program.equations for _ in walk(equation.body))
