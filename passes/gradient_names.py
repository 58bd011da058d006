"""Names for what a gradient program adds: tensors and letters that nothing else of the program uses."""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase

from tensorc.ir import FUNCTIONS, REDUCTIONS, Bind, Extent, Index, Node, Program, Reduce, Softmax, walk

RESERVED = {*FUNCTIONS, *REDUCTIONS, "softmax", "where", "lambda", "as", "if", "in", "is", "or", "not", "and"}


class Names:
    """The names of a program; new ones differ from all of them."""

    def __init__(self, program: Program) -> None:
        self.fixed = {*program.sizes(), *program.tensors(), program.name}
        self.letters: dict[Extent, dict[str, None]] = {}
        for equation in program.equations:
            for bind in (*equation.left, *bound(equation.body)):
                self.letters.setdefault(bind.extent, {})[bind.name] = None
        self.indices = {name for found in self.letters.values() for name in found}

    def tensor(self, base: str) -> str:
        """A name for a tensor: `base`, or that with a number."""
        name, k = base, 2
        while name in self.fixed or name in self.indices or name in RESERVED:
            name, k = f"{base}_{k}", k + 1
        self.fixed.add(name)
        return name

    def letter(self, extent: Extent, taken: Iterable[str], first: str = "") -> str:
        """A letter for an index over `extent`: `first`, one that the program uses for it, or another."""
        used = set(taken)
        known = self.letters.get(extent, {})
        others = (c for c in ascii_lowercase if c not in self.indices)
        for name in [*([first] if first else []), *known, *others]:
            if name not in used and name not in self.fixed and name not in RESERVED:
                self.indices.add(name)
                return name
        base, k = first or "i", 2
        while f"{base}_{k}" in used or f"{base}_{k}" in self.fixed:
            k += 1
        self.indices.add(f"{base}_{k}")
        return f"{base}_{k}"


def bound(node: Node) -> list[Bind]:
    """Every index that a reduction or softmax below a node runs over."""
    found: list[Bind] = []
    for part in walk(node):
        if isinstance(part, Reduce):
            found += part.binds
        elif isinstance(part, Softmax):
            found += part.over
    return found


def letters_of(node: Node) -> list[str]:
    """The indices of a node in the order in which they are met."""
    return list(dict.fromkeys(n.name for n in walk(node) if isinstance(n, Index)))
