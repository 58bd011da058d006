"""What is measured on a GPU: programs, shapes, and the work that a plan needs for them. No torch in here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import tensorc
from benchmarks.folds import PROGRAM as CAUSAL
from benchmarks.operators import EXAMPLES
from tensorc.ir import Program

ITEMSIZE = 2  # bytes of bfloat16, the type that is timed
PASSES = ("forward", "forward + backward")


@dataclass(frozen=True)
class Shape:
    """B sequences of T tokens, H heads of D features."""

    B: int
    T: int
    H: int
    D: int

    def __str__(self) -> str:
        return f"({self.B}, {self.T}, {self.H}, {self.D})"


SHAPES = (
    Shape(1, 8192, 96, 128),
    Shape(2, 16384, 16, 128),
    Shape(4, 2048, 16, 128),
    Shape(4, 4096, 64, 128),
    Shape(8, 1024, 8, 64),
    Shape(8, 2048, 32, 256),
)


@dataclass(frozen=True)
class Row:
    """A program and what is asked of it: `bound` is the least ratio of the fastest peer's time to ours.

    `source` is a path or text. `keys`: features of queries and keys where they are not those of values.
    """

    name: str
    source: Path | str
    bound: float = 1.0
    keys: int | None = None

    @property
    def program(self) -> Program:
        return _parsed(self.source)

    def sizes(self, shape: Shape) -> dict[str, int]:
        """The sizes of the program."""
        every = {"n": shape.T, "m": shape.T, "d": self.keys or shape.D, "e": shape.D}
        return dict(self.program.defaults) | {n: every[n] for n in self.program.sizes() if n in every}

    def dimensions(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """The shape of each input, [B, H, T, ...]; one number a head where the program takes a number."""
        sizes = self.sizes(shape)
        return {
            decl.name: (shape.B, shape.H, *(axis.value(sizes) for axis in decl.axes))
            if decl.axes
            else (shape.H,)
            for decl in self.program.inputs
        }


@cache
def _parsed(source: Path | str) -> Program:
    return tensorc.parse(source.read_text(encoding="utf-8") if isinstance(source, Path) else source)


def _catalogue(*names: str, **options: Any) -> list[Row]:
    return [Row(name, EXAMPLES / f"{name}.tc", **options) for name in names]


# Feature maps of Based have 16 features; a softmax peer is met at 0.9 of its speed.
ROWS = {
    row.name: row
    for row in [
        *_catalogue("linear_attention", "retention", "scalar_gated", "gated"),
        *_catalogue("delta_rule", "gated_delta_rule"),
        *_catalogue("based", keys=16),
        *_catalogue("attention", bound=0.9),
        Row("causal_attention", CAUSAL, bound=0.9),
        *_catalogue("sliding_window", bound=0.9),
        *_catalogue("hla2", "ahla"),
    ]
}
CHECKS = "checks"  # as a name of --only: all programs of the catalogue, and nothing timed


def chosen(only: Iterable[str]) -> list[str]:
    """The names in `--only NAME[,NAME]`, repeatable, in the order in which they run; without any, checks and
    all rows. A program of the catalogue that is no row is checked alone.

    Raises `ValueError` for a name that is not there.

    >>> chosen(["hla2,gated", "checks"])
    ['checks', 'gated', 'hla2']
    """
    rows = [CHECKS, *ROWS]
    known = rows + sorted(path.stem for path in EXAMPLES.glob("*.tc") if path.stem not in ROWS)
    wanted = [name.strip() for part in only for name in part.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ValueError(f"no row {name!r}; there are {', '.join(rows)}, and examples/*.tc")
    return [name for name in known if name in wanted] if wanted else rows


@dataclass(frozen=True)
class Rates:
    """What the device does at best: bytes a second of a copy, FLOP a second of a large matrix product."""

    bandwidth: float
    matmul: float


@dataclass(frozen=True)
class Work:
    """FLOPs of the plan, and bytes of what has to be read and written at least."""

    flops: int
    bytes: int

    def seconds(self, rates: Rates) -> float:
        """The roofline: no call is faster than either of its two sides.

        >>> Work(flops=200, bytes=30).seconds(Rates(bandwidth=10, matmul=100))
        3.0
        """
        return max(self.bytes / rates.bandwidth, self.flops / rates.matmul)


def work(row: Row, shape: Shape, backward: bool) -> Work:
    """Of one call: the FLOPs of the chunkwise plan where there is one, and of its gradient's; inputs and
    outputs once in the forward pass, and in the backward pass inputs, gradients of outputs and of inputs."""
    sizes = row.sizes(shape)
    inputs = sum(map(prod, row.dimensions(shape).values()))
    heads = shape.B * shape.H
    outputs = heads * sum(prod(a.value(sizes) for a in decl.axes) for decl in row.program.outputs)
    flops, moved = _flops(row.source, tuple(sizes.items()), False), inputs + outputs
    if backward:
        flops += _flops(row.source, tuple(sizes.items()), True)
        moved += 2 * inputs + outputs
    return Work(heads * flops, ITEMSIZE * moved)


@cache
def _flops(source: Path | str, sizes: tuple[tuple[str, int], ...], gradient: bool) -> int:
    forms: Mapping[str, Any] = _operator(source, gradient).report(**dict(sizes)).to_dict()["forms"]
    return int(forms.get("chunkwise", forms["parallel"])["flops"])


@cache
def _operator(source: Path | str, gradient: bool) -> Any:
    program = _parsed(source)
    return tensorc.compile(tensorc.grad(program) if gradient else program)
