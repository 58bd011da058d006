"""Calls of other programs: what they tell about extents, and their equations in place of the call.

Sizes of the callee are fitted to the axes of the arguments; further axes in front of the declared ones
broadcast: a fresh left index for each is threaded through every equation that depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from tensorc.grammar.names import Symbols, leading_rank
from tensorc.grammar.ranges import CallSizes, Key, Ranges, axis_key
from tensorc.grammar.subscripts import flat_mul
from tensorc.grammar.syntax import CallStatement
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
    extent,
    reads,
    rebuild,
    walk,
)


@dataclass(slots=True)
class CallRanges(CallSizes):
    """The extents of one call: `("size", number, name)` is the class of a size of the callee."""

    symbols: Symbols
    statement: CallStatement
    number: int
    program: Program
    pending: list[tuple[Key, Extent, str]] = field(default_factory=list)
    defaults: dict[str, int] = field(default_factory=dict)

    def join(self, ranges: Ranges) -> None:
        """Join the axes of arguments and results with the sizes of the callee."""
        self.defaults = dict(self.program.defaults)
        leading = leading_rank(self.symbols, self.statement)
        statement, program = self.statement, self.program
        for argument, declared in zip(statement.arguments, program.inputs, strict=True):
            extra = self.symbols.tensors[argument.name].rank - len(declared.axes)
            self._fit(ranges, argument.name, declared, extra)
        for target, declared in zip(statement.targets, program.outputs, strict=True):
            self._fit(ranges, target.name, declared, leading)

    def _fit(self, ranges: Ranges, tensor: str, declared: TensorDecl, extra: int) -> None:
        for k in range(extra):
            lead = ("lead", self.number, extra - k)
            if not ranges.classes.join(lead, axis_key(tensor, k)):
                self._fail(ranges, lead, axis_key(tensor, k))
        for k, axis in enumerate(declared.axes):
            key = axis_key(tensor, extra + k)
            if len(axis.names) == 1 and axis.coefficient == 1:
                size = ("size", self.number, axis.names[0])
                if not ranges.classes.join(size, key):
                    self._fail(ranges, size, key)
            else:
                self.pending.append(
                    (key, axis, f"{declared.name} axis {k + 1} of {self.program.name} ({axis})")
                )

    def _fail(self, ranges: Ranges, a: Key, b: Key) -> NoReturn:
        self.symbols.source.fail(
            f"{ranges.classes.witness(a)} and {ranges.classes.witness(b)} must be equal in this call of "
            f"{self.program.name}.",
            self.statement.span,
            "If always equal, give them one name in the signature.",
        )

    def size(self, ranges: Ranges, name: str) -> Extent | None:
        return ranges.classes.extent(("size", self.number, name))

    def propagate(self, ranges: Ranges) -> bool:
        """Use products of sizes, then defaults, as far as they are known; whether anything was."""
        waiting, progress = [], False
        for key, axis, what in self.pending:
            unknown = [name for name in axis.names if self.size(ranges, name) is None]
            actual = ranges.classes.extent(key)
            known = _product(axis, {n: e for n in axis.names if (e := self.size(ranges, n)) is not None})
            if not unknown:
                self._set(ranges, key, known, what)
            elif len(unknown) == 1 and actual is not None:
                self._divide(ranges, unknown[0], actual, known, what)
            else:
                waiting.append((key, axis, what))
                continue
            progress = True
        self.pending = waiting
        if not progress:
            for name in [n for n in self.defaults if self.size(ranges, n) is None]:
                value = self.defaults.pop(name)
                progress = ranges.classes.set(("size", self.number, name), Extent(value), f"{name}={value}")
        return progress

    def _set(self, ranges: Ranges, key: Key, value: Extent, what: str) -> None:
        if not ranges.classes.set(key, value, what):
            self.symbols.source.fail(
                f"{what} is {value} in this call, but {ranges.classes.witness(key)} is given.",
                self.statement.span,
                "Axes are equal only if they are declared by the same sizes.",
            )

    def _divide(self, ranges: Ranges, name: str, actual: Extent, known: Extent, what: str) -> None:
        quotient = _quotient(actual, known)
        if quotient is None:
            self.symbols.source.fail(
                f"{what} cannot be {actual}: {actual} is no multiple of {known}.",
                self.statement.span,
                f"Declare the argument's axis as a product with {known}.",
            )
        assert quotient is not None
        self._set(ranges, ("size", self.number, name), quotient, what)

    def finish(self, ranges: Ranges) -> None:
        for name in self.program.sizes():
            if self.size(ranges, name) is None:
                self.symbols.source.fail(
                    f"The arguments do not tell the size {name} of {self.program.name}.",
                    self.statement.span,
                    f"Give it a default in that signature, or an input with the axis {name}.",
                )


def _product(axis: Extent, sizes: Mapping[str, Extent]) -> Extent:
    """The product of the sizes that are known."""
    factors: list[str | int] = [axis.coefficient]
    for name in axis.names:
        if name in sizes:
            factors += [sizes[name].coefficient, *sizes[name].names]
    return extent(*factors)


def _quotient(whole: Extent, part: Extent) -> Extent | None:
    names = list(whole.names)
    for name in part.names:
        if name not in names:
            return None
        names.remove(name)
    if not part.coefficient or whole.coefficient % part.coefficient:
        return None
    return Extent(whole.coefficient // part.coefficient, tuple(names))


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
        return _product(axis, self.sizes)

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
