"""Kernels for a plan without rows: the parallel form of a program in which no positions are compared.

Every step of the plan is a kernel of its own, and its result lies in memory: tiles of the result at once,
what is summed block by block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from tensorc.backends.tile_kernel import Fetch, Kernel, Lane, Place, Put, TileStep
from tensorc.errors import BackendError
from tensorc.ir import Add, And, Compare, Cond, Index, Iverson, Neg, Node, Read, rebuild
from tensorc.plan import (
    Contract,
    Fold,
    Gather,
    Load,
    Map,
    Normalise,
    Plan,
    Recur,
    Ref,
    Step,
    Tile,
)

Part = TypeVar("Part", bound=Node)
KINDS: dict[type, str] = {Tile: "a decay", Recur: "a recurrence"}


@dataclass(slots=True)
class Whole:
    """The kernels of a plan, in order, and the labels of the tensors that they leave in memory."""

    kernels: list[Kernel] = field(default_factory=list)
    tensors: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Writer:
    """Makes the kernels; `memory` says where each value lies."""

    def __init__(self, plan: Plan, name: str) -> None:
        self.plan, self.name = plan, name
        self.memory: dict[str, str] = {}
        self.found = Whole()
        self.outputs: dict[str, list[tuple[str, Ref]]] = {}
        for output, ref in plan.outputs:
            self.outputs.setdefault(ref.value, []).append((output, ref))

    def write(self) -> Whole:
        """All kernels."""
        if self.plan.loops:
            raise self._refusal("its parallel form has loops")
        for step in self.plan.epilogue:
            if isinstance(step, Load):
                self.memory[step.out.value] = step.tensor
                if step.out.value in self.outputs:
                    self._kernel([], step.out)
            elif isinstance(step, Tile) and not step.gates and step.part == "fine":
                self._kernel([Map(step.out, Iverson(_relation(step)), step.why)], step.out)
            elif isinstance(step, Map | Contract | Gather | Fold | Normalise):
                self._kernel(self._steps(step), step.out)
            else:
                kind = KINDS.get(type(step), "one of its steps")
                raise self._refusal(f"{kind} has kernels in chunks alone")
        return self.found

    def _refusal(self, reason: str) -> BackendError:
        return BackendError(
            f"The parallel form of {self.plan.program} has no Triton kernels: {reason}. Use "
            "form='chunkwise' where the program has it, or backend='torch'."
        )

    def _kernel(self, steps: list[TileStep], out: Ref) -> None:
        """A kernel that makes one value and stores it, as an output where it is one."""
        outputs = self.outputs.get(out.value, [])
        tensor = outputs[0][0] if outputs else f"{out.value.lstrip('$%')}_whole"
        if not steps:
            steps = [self._fetch(out)]
            out = steps[0].out  # type: ignore[union-attr]
        puts = [self._put(name, Ref(out.value, ref.axes)) for name, ref in outputs]
        if not outputs:
            puts = [Put(tensor, out, tuple(Lane(a) for a in out.axes))]
            self.found.tensors[tensor] = out.axes
            self.memory[out.value] = tensor
        elif any(len(ref.axes) != len(out.axes) for _, ref in outputs) or self._read_again(out.value):
            again = f"{out.value.lstrip('$%')}_whole"
            puts.append(Put(again, out, tuple(Lane(a) for a in out.axes)))
            self.found.tensors[again] = out.axes
            self.memory[out.value] = again
        number = len(self.found.kernels) + 1
        kernel = Kernel(f"{self.name}_{number}", "once", False, (), (*steps, *puts), narrow=True)
        self.found.kernels.append(kernel)

    def _read_again(self, value: str) -> bool:
        from tensorc.plan_io import step_inputs

        return any(r.value == value for s in self.plan.epilogue for r in step_inputs(s))

    def _put(self, output: str, ref: Ref) -> Put:
        """An output: its axes in the order of the declaration."""
        order = sorted(ref.axes, key=lambda a: int(a[1:]))
        return Put(output, ref, tuple(Lane(a) for a in order))

    def _fetch(self, ref: Ref) -> Fetch:
        own = Ref(f"{ref.value}:{','.join(ref.axes)}", ref.axes)
        return Fetch(own, self.memory[ref.value], tuple(Lane(a) for a in ref.axes))

    def _steps(self, step: Step) -> list[TileStep]:
        """A step with its operands from memory."""
        match step:
            case Gather():
                tensor = self.memory[step.source.value]
                labels = self.found.tensors.get(tensor, ())
                axes = dict(self.plan.tensors).get(tensor) or tuple(map(self.plan.extent, labels))
                places = tuple(
                    Lane(e.name) if isinstance(e, Index) else Place(e, extent)
                    for e, extent in zip(step.subscripts, axes, strict=True)
                )
                return [Fetch(step.out, tensor, places, why=step.why)]
            case Contract(left=left, right=right) if right is not None:
                fetches = list(dict.fromkeys([self._fetch(left), self._fetch(right)]))
                contract = Contract(step.out, fetches[0].out, fetches[-1].out, step.why, step.semiring)
                return [*fetches, contract]
            case Contract(left=left):
                fetch = self._fetch(left)
                return [fetch, Contract(step.out, fetch.out, None, step.why, step.semiring)]
            case Map():
                fetches, expr = self._reads(step.expr)
                return [*fetches, Map(step.out, expr, step.why)]
            case Fold() | Normalise():
                fetches, body = self._reads(step.body)
                more = [self._reads(c) for c in step.domain]
                domain = tuple(c for _, c in more)
                every = list(dict.fromkeys([*fetches, *(f for found, _ in more for f in found)]))
                if isinstance(step, Fold):
                    return [*every, Fold(step.out, step.op, step.over, domain, body, step.why)]
                return [*every, Normalise(step.out, step.over, domain, body, step.why)]
        raise TypeError(step)

    def _reads(self, node: Part) -> tuple[list[Fetch], Part]:
        """The reads of an expression as fetches."""
        fetches: dict[Ref, Fetch] = {}

        def visit(part: Node) -> Node:
            if isinstance(part, Read):
                ref = Ref(part.tensor, tuple(s.name for s in part.subscripts if isinstance(s, Index)))
                fetch = fetches.setdefault(ref, self._fetch(ref))
                return Read(fetch.out.value, part.subscripts)
            return rebuild(part, visit)

        found = visit(node)
        return list(fetches.values()), found  # type: ignore[return-value]


def _relation(tile: Tile) -> Cond:
    """An order of rows and columns as the condition that it is."""
    row, column = Index(tile.rows), Index(tile.columns)
    order = Compare("<" if tile.strict else "<=", column, row)
    if tile.within is None:
        return order
    return And((order, Compare("<", Add((row, Neg(column))), tile.within)))


def whole(plan: Plan, name: str) -> Whole:
    """The kernels of the parallel form; `name` is what they are called after.

    Raises `BackendError` for a step that has no kernel outside of chunks.
    """
    return Writer(plan, name).write()
