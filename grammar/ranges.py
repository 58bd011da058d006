"""How far every index runs: axes and indices that must be equal, joined over the whole program.

Union-find over axes of tensors and indices of equations. A class takes its extent from a declared
axis; what is left takes it from an index that it is compared with bare, then from calls whose sizes
have become known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from tensorc.errors import Span
from tensorc.grammar.names import Symbols
from tensorc.grammar.resolve import AxisUse, Resolved
from tensorc.grammar.source import Source, did_you_mean
from tensorc.ir import Extent

Key = tuple[object, ...]


def axis_key(tensor: str, axis: int) -> Key:
    return ("axis", tensor, axis)


def index_key(equation: int, index: str) -> Key:
    return ("index", equation, index)


@dataclass(slots=True)
class Classes:
    """Union-find; each class has an extent, once known, and the axis (tensor, number) that gave it."""

    parent: dict[Key, Key] = field(default_factory=dict)
    extents: dict[Key, tuple[Extent, str]] = field(default_factory=dict)

    def find(self, key: Key) -> Key:
        root = key
        while (up := self.parent.get(root, root)) != root:
            root = up
        while (up := self.parent.get(key, key)) != root:
            self.parent[key], key = root, up
        return root

    def extent(self, key: Key) -> Extent | None:
        known = self.extents.get(self.find(key))
        return None if known is None else known[0]

    def witness(self, key: Key) -> str:
        """What gave a class its extent, for messages."""
        known = self.extents.get(self.find(key))
        return "" if known is None else known[1]

    def set(self, key: Key, value: Extent, witness: str) -> bool:
        """Give a class its extent; False if it has another one."""
        root = self.find(key)
        known = self.extents.setdefault(root, (value, witness))
        return known[0] == value

    def join(self, a: Key, b: Key) -> bool:
        """Make one class of two; False, and no change, if their extents differ."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return True
        known_a, known_b = self.extents.get(a), self.extents.get(b)
        if known_a is not None and known_b is not None and known_a[0] != known_b[0]:
            return False
        self.parent[b] = a
        if known_a is None and known_b is not None:
            self.extents[a] = known_b
        return True


@dataclass(slots=True)
class Ranges:
    """The extents of a program's axes and indices, as far as they are known."""

    symbols: Symbols
    equations: list[Resolved]
    classes: Classes = field(default_factory=Classes)
    on_axis: list[set[str]] = field(default_factory=list)

    def index(self, equation: int, name: str) -> Extent:
        """The extent of an index of an equation. Known for all of them after `infer`."""
        found = self.classes.extent(index_key(equation, name))
        assert found is not None, (equation, name)
        return found

    def axes(self, tensor: str) -> tuple[Extent, ...]:
        """The extents of a tensor's axes."""
        found = [self.classes.extent(axis_key(tensor, k)) for k in range(self.symbols.tensors[tensor].rank)]
        return tuple(f if f is not None else Extent() for f in found)


def axis_name(tensor: str, axis: int, size: object) -> str:
    """`q axis 2 (d)`; axes are numbered from 1 in messages."""
    return f"{tensor} axis {axis + 1} ({size})"


def join_axes(symbols: Symbols, equations: list[Resolved]) -> Ranges:
    """Join each index with the axes it stands bare on. Raises `LanguageError` where two extents differ."""
    ranges = Ranges(symbols, equations)
    classes = ranges.classes
    for symbol in symbols.tensors.values():
        for k, axis in enumerate(symbol.axes or ()):
            classes.set(axis_key(symbol.name, k), axis, axis_name(symbol.name, k, axis))
    for number, equation in enumerate(equations):
        ranges.on_axis.append({use.index for use in equation.uses})
        for use in equation.uses:
            if not classes.join(index_key(number, use.index), axis_key(use.tensor, use.axis)):
                _fail_unequal(ranges, number, use)
    return ranges


def _fail_unequal(ranges: Ranges, number: int, use: AxisUse) -> NoReturn:
    classes, index = ranges.classes, index_key(number, use.index)
    size, other = classes.extent(index), classes.extent(axis_key(use.tensor, use.axis))
    first = next(
        u for u in ranges.equations[number].uses
        if u.index == use.index and classes.extent(axis_key(u.tensor, u.axis)) == size
    )  # fmt: skip
    ranges.symbols.source.fail(
        f"{use.index} runs over {axis_name(first.tensor, first.axis, size)} and "
        f"{axis_name(use.tensor, use.axis, other)}.",
        use.span,
        "If always equal, give them one name in the signature; if not, use another letter.",
    )


def infer(ranges: Ranges, calls: Iterable[CallSizes] = ()) -> None:
    """Find the extents that no declared axis gives. Raises `LanguageError` for an index without a range."""
    waiting = list(calls)
    _compare(ranges)
    while any([call.propagate(ranges) for call in waiting]):
        _compare(ranges)
    for number, equation in enumerate(ranges.equations):
        for name, span in equation.letters.items():
            if ranges.classes.extent(index_key(number, name)) is None:
                _fail_unknown(ranges, number, name, span)
    for call in waiting:
        call.finish(ranges)
    _check_sizes(ranges)


class CallSizes:
    """What a call of another program tells about extents; see `calls.py`."""

    def propagate(self, ranges: Ranges) -> bool:
        """Use what is known; whether anything new became known."""
        raise NotImplementedError

    def finish(self, ranges: Ranges) -> None:
        """Check that all sizes of the call are known."""
        raise NotImplementedError


def _compare(ranges: Ranges) -> None:
    """Give classes without an extent that of the indices they are compared with, nearest first."""
    classes = ranges.classes
    edges: dict[Key, list[Key]] = {}
    for number, equation in enumerate(ranges.equations):
        for a, b in equation.compared:
            one, two = classes.find(index_key(number, a)), classes.find(index_key(number, b))
            if one not in classes.extents or two not in classes.extents:
                edges.setdefault(one, []).append(two)
                edges.setdefault(two, []).append(one)
    layer = [key for key in edges if key in classes.extents]
    while layer:
        found: dict[Key, Key] = {}
        for key in layer:
            for other in edges[key]:
                if other in classes.extents:
                    continue
                first = found.setdefault(other, key)
                if classes.extents[first][0] != classes.extents[key][0]:
                    _fail_ambiguous(ranges, other, first, key)
        for key, source in found.items():
            classes.extents[key] = classes.extents[source]
        layer = list(found)


def _fail_ambiguous(ranges: Ranges, key: Key, first: Key, second: Key) -> None:
    classes = ranges.classes
    for number, equation in enumerate(ranges.equations):
        for name, span in equation.letters.items():
            if classes.find(index_key(number, name)) == key:
                one, two = classes.extents[first][0], classes.extents[second][0]
                ranges.symbols.source.fail(
                    f"{name} is on no axis, and is compared with indices over {one} and over {two}.",
                    span,
                    f"Say which range it has: compare {name} bare with indices of one range only.",
                )


def _fail_unknown(ranges: Ranges, number: int, name: str, span: Span | None) -> NoReturn:
    symbols, equation = ranges.symbols, ranges.equations[number]
    if name in ranges.on_axis[number]:
        use = next(u for u in equation.uses if u.index == name)
        symbols.source.fail(
            f"Nothing says how far {name} runs: {use.tensor} axis {use.axis + 1} is on no declared axis.",
            span,
            f"Use {name} on an axis of an input, compare it with an index that is on one, "
            f"or declare {use.tensor} among the outputs.",
        )
    fail_no_axis(symbols.source, name, span, list(symbols.sizes) + list(symbols.tensors))


def fail_no_axis(source: Source, name: str, span: Span | None, known: list[str]) -> NoReturn:
    """The error for an index on no axis that is not both listed and compared."""
    guess = did_you_mean(name, [k for k in known if len(k) > 1]) if len(name) > 1 else ""
    source.fail(
        f"{name} is on no axis{guess or '.'}",
        span,
        f"A number: declare {name}=128 in the signature (or the input {name}[]). "
        f"An index: list it and compare it, sum[{'' if name == 'j' else 'j, '}{name}, {name} <= i](...).",
    )


def _check_sizes(ranges: Ranges) -> None:
    """Refuse a size on an inferred axis that it is the size of: the position is outside."""
    for equation in ranges.equations:
        for size, tensor, axis in equation.size_reads:
            if ranges.axes(tensor)[axis] == Extent(1, (size.name,)):
                from tensorc.grammar.syntax import Name

                ranges.symbols.expect_index(Name(size.name, size.span))
