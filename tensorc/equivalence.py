"""Whether two programs are the same up to the names of intermediates and of bound indices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tensorc.ir import (
    Bind,
    Compare,
    Const,
    Equation,
    Extent,
    Index,
    Node,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    TensorDecl,
    children,
    conjuncts,
    rebuild,
)

_TURNED = {">": "<", ">=": "<="}


def equivalent(a: Program, b: Program, *, rename_sizes: bool = False) -> bool:
    """Whether two programs are equal IR, the names of locals and of indices aside.

    Inputs, outputs, defaults, the order of the equations, of terms and of factors must agree; the names
    of the programs need not. What Python cannot tell apart is equal: `u <= j <= i` and `u <= j, j <= i`
    in a domain, `i > j` and `j < i`, `0 == j` and `j == 0`. `rename_sizes` also allows other names of
    sizes, for signatures that were inferred.

    >>> from tensorc.grammar import parse
    >>> first = parse("def f(q[n]) -> o[]: o[] = sum[i](q[i])")
    >>> equivalent(first, parse("def g(q[n]) -> o[]: o[] = sum[j](q[j])"))
    True
    """
    return canonical(a, rename_sizes=rename_sizes) == canonical(b, rename_sizes=rename_sizes)


def canonical(program: Program, *, rename_sizes: bool = False) -> Program:
    """The program with all free choices of names made in one way. Its names are no names of the language."""
    tensors = {t.name: t.name for t in (*program.inputs, *program.outputs)}
    for equation in program.equations:
        tensors.setdefault(equation.target, f"%{len(tensors)}")
    sizes = {s: f"#{k}" for k, s in enumerate(program.sizes())} if rename_sizes else {}
    renamed = _Renaming(tensors, sizes)
    return Program(
        "",
        tuple(renamed.declaration(t) for t in program.inputs),
        tuple(renamed.declaration(t) for t in program.outputs),
        tuple(sorted((renamed.declaration(t) for t in program.locals), key=lambda t: t.name)),
        tuple(renamed.equation(e) for e in program.equations),
        tuple((sizes.get(name, name), value) for name, value in program.defaults),
    )


class _Renaming:
    """Tensors and sizes by table; indices by the order in which they are met."""

    def __init__(self, tensors: Mapping[str, str], sizes: Mapping[str, str]) -> None:
        self.tensors = tensors
        self.sizes = sizes
        self.count = 0

    def extent(self, extent: Extent) -> Extent:
        return replace(extent, names=tuple(sorted(self.sizes.get(n, n) for n in extent.names)))

    def declaration(self, tensor: TensorDecl) -> TensorDecl:
        name = self.tensors.get(tensor.name, tensor.name)
        return TensorDecl(name, tuple(map(self.extent, tensor.axes)))

    def equation(self, equation: Equation) -> Equation:
        self.count = 0
        names = {b.name: self.fresh() for b in equation.left}
        left = tuple(Bind(names[b.name], self.extent(b.extent)) for b in equation.left)
        return Equation(self.tensors[equation.target], left, self.node(equation.body, names))

    def fresh(self) -> str:
        self.count += 1
        return f"@{self.count:05}"

    def node(self, root: Node, names: Mapping[str, str]) -> Any:
        """The tree under its new names; bound indices are numbered parents first. Trees may be deep."""
        done: list[Any] = []
        stack = [(root, names, False)]
        while stack:
            node, names, entered = stack.pop()
            below = children(node)
            if not entered:
                names = self.inside(node, names)
                stack.append((node, names, True))
                stack.extend((child, names, False) for child in reversed(below))
                continue
            parts = done[len(done) - len(below) :]
            del done[len(done) - len(below) :]
            done.append(self.renamed(node, parts, names))
        return done[0]

    def inside(self, node: Node, names: Mapping[str, str]) -> Mapping[str, str]:
        """The names inside a node: a reduction numbers its indices as its domain and body meet them."""
        if not isinstance(node, Reduce):
            return names
        own = {b.name for b in node.binds}
        order = dict.fromkeys([*(x for x in _free_occurrences(node) if x in own), *sorted(own)])
        return {**names, **{x: self.fresh() for x in order}}

    def renamed(self, node: Node, parts: list[Any], names: Mapping[str, str]) -> Any:
        """One node of renamed parts."""
        remaining = iter(parts)
        new = rebuild(node, lambda _: next(remaining))
        match new:
            case Index():
                return Index(names.get(new.name, new.name))
            case Size():
                return Size(self.sizes.get(new.name, new.name))
            case Read():
                return replace(new, tensor=self.tensors.get(new.tensor, new.tensor))
            case Reduce():
                return replace(new, binds=self.known(new.binds, names), domain=tuple(conjuncts(new.domain)))
            case Softmax():
                return replace(new, over=self.known(new.over, names), domain=tuple(conjuncts(new.domain)))
            case Compare():
                return _oriented(new)
        return new

    def known(self, binds: tuple[Bind, ...], names: Mapping[str, str]) -> tuple[Bind, ...]:
        """Binds under the names that their indices have, in the order of these."""
        new = [Bind(names.get(b.name, b.name), self.extent(b.extent)) for b in binds]
        return tuple(sorted(new, key=lambda b: b.name))


def _free_occurrences(root: Reduce) -> Iterator[str]:
    """Names of indices in a reduction in the order they are met, those that an inner one binds left out."""
    stack: list[tuple[Node, frozenset[str]]] = [(c, frozenset()) for c in reversed(children(root))]
    while stack:
        node, hidden = stack.pop()
        if isinstance(node, Index) and node.name not in hidden:
            yield node.name
        if isinstance(node, Reduce):
            hidden = hidden | {b.name for b in node.binds}
        stack.extend((child, hidden) for child in reversed(children(node)))


def _oriented(node: Compare) -> Compare:
    """`<` and `<=` only, and a number on the right of `==`."""
    if node.op in _TURNED:
        return Compare(_TURNED[node.op], node.right, node.left)
    if node.op in ("==", "!=") and isinstance(node.left, Const):
        return Compare(node.op, node.right, node.left)
    return node
