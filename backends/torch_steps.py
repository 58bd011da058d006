"""Printing steps as PyTorch statements.

Two kinds of source come from one printer. In place, buffers are allocated once and overwritten; otherwise
nothing is changed but products, which autograd does not keep, rows are joined at the end, and it can follow.
In the chunkwise form all batch axes are one (`flat`): products are `bmm`, and one that is added to something
is `baddbmm`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tensorc.backends.python_base import Made
from tensorc.backends.python_source import helper_texts
from tensorc.backends.python_steps import StepPrinter
from tensorc.backends.torch_fusion import (
    AddProduct,
    fused,
    makes,
    masks_of,
    matrix_axes,
    products,
    reads,
    systems,
)
from tensorc.backends.torch_streams import TorchStreams
from tensorc.errors import BackendError
from tensorc.plan import HERE, ROW, Fill, Keep, Ref, Solve, Step, Tile, Update
from tensorc.plan_io import step_inputs


class TorchPrinter(TorchStreams, StepPrinter):
    """Prints the steps of one plan."""

    flat = False
    free: frozenset[str] = frozenset()  # inputs without batch axes, where all others have one
    masks: dict[str, Tile] = {}

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.negated: set[str] = set()  # matrices of systems that hold 1 + matrix
        self.fresh: set[str] = set()  # products that may be overwritten where they are read

    # -- a block of steps ------------------------------------------------------------------------------

    def block(self, steps: Sequence[Step], later: Sequence[Step] = ()) -> None:
        self.masks = masks_of(self.plan)
        for step in steps:
            if isinstance(step, Tile) and step.out.value in self.masks:
                self.made[step.out.value] = Made("", frozenset(), False, None)
        kept = {ref.value for _, ref in self.plan.outputs} | {r.value for s in later for r in step_inputs(s)}
        shown = [s for s in steps if not (isinstance(s, Tile) and s.out.value in self.masks)]
        shown, negated = systems(shown, kept, self.masks)
        self.negated |= negated
        if self.flat or self.plan.form == "recurrent":
            shown = fused(shown, kept, matrices=self.flat)
        if self.flat:
            self.fresh |= products(shown, kept)
        StepPrinter.block(self, shown, later)

    def reads(self, step: Step) -> list[Ref]:
        return reads(step)

    def makes(self, step: Step) -> list[Ref]:
        return makes(step)

    def print(self, step: Step) -> None:
        at = len(self.lines)
        StepPrinter.print(self, step)
        unknown = _unknown("\n".join(self.lines[at:]))
        if unknown:
            raise BackendError(
                f"The torch backend cannot print the step {type(step).__name__} ({unknown}). "
                "Use backend='numpy', or another form."
            )

    def _at(self, ref: Ref, axes: Sequence[str]) -> str:
        """A value over some axes; one new axis is `unsqueeze`, the fastest to say."""
        new = [k for k, a in enumerate(axes) if a not in ref.axes]
        if len(new) == 1 and self._batched(ref.value):
            whole = super()._at(ref, [a for a in axes if a in ref.axes])
            return f"{whole}.unsqueeze({new[0] - len(axes)})"
        return super()._at(ref, axes)

    # -- rows of a chunk -------------------------------------------------------------------------------

    def rows_of(self, tensor: str, rank: int, axis: int) -> str:
        turned = f".flip({axis - rank})" if self.reverse else ""
        return f"{self.chunks(tensor)}[at]{turned}"

    def chunks(self, tensor: str) -> str:
        """The variable of the chunks of a tensor."""
        return self.names.value(f"{tensor}:chunks", f"{tensor}_chunks")

    def _keep(self, step: Keep) -> None:
        self._use(step.value)
        value = self._at(step.value, step.axes)
        if self.plan.form == "recurrent":
            return
        rank, axis = len(step.axes), step.axes.index(ROW)
        turned = f".flip({axis - rank})" if self.reverse else ""
        tensor = self.names.tensor(step.tensor)
        if self.library.in_place:
            self.line(f"{self.chunks(tensor)}[at].copy_({value}{turned})")
        else:
            self.line(f"{self.rows_list(tensor)}.append({value}{turned})")

    def rows_list(self, tensor: str) -> str:
        """The variable of the list of rows that are joined to a tensor."""
        return self.names.value(f"{tensor}:rows", f"{tensor}_rows")

    def _fill(self, step: Fill) -> None:
        if self.library.in_place:
            super()._fill(step)
            return
        self._use(step.row)
        name, axis = self.made[step.target].name, step.axes.index(HERE) - len(step.axes)
        row = self._at(step.row, [a for a in step.axes if a != HERE])
        self.line(f"{name} = _with_row({name}, {axis}, t, {row})")

    # -- states and products ---------------------------------------------------------------------------

    def _update(self, step: Update) -> None:
        if self.library.in_place or step.replace:
            super()._update(step)
            return
        state = self.made[step.state.value].name
        self._use(step.addend)
        before = state if step.through is None else self._decayed(step, state)
        self.line(f"{state} = {before} + {self._at(step.addend, step.state.axes)}")

    def _decayed(self, step: Update, state: str) -> str:
        assert step.through is not None
        self._use(step.through)
        return f"{state} * {self._at(step.through, step.state.axes)}"

    def _addproduct(self, step: AddProduct) -> None:
        """base + left · right: in one pass, where all three have the whole batch."""
        if not self.flat:
            self._outer(step)
            return
        values = [step.base, *step_inputs(step.product)]
        if not all(self._full(self.made[r.value]) for r in values):
            self._contract(step.product)
            self.print(step.user)
            return
        left, right, stacked = self._factors(step)
        last = [self._use(ref) for ref in (*step_inputs(step.product), step.base)][-1]
        base = self.made[step.base.value]
        text = base.name
        if isinstance(step.user, Update):
            made, overwrite = base, self.library.in_place
            if step.user.through is not None and overwrite:
                self._use(step.user.through)
                self.line(f"{base.name} *= {self._at(step.user.through, step.base.axes)}")
            elif step.user.through is not None:
                text = self._decayed(step.user, base.name)
        else:
            overwrite = last or (step.base.value in self.fresh and not stacked)
            label = self.nexts.get(step.out.value, base.label)
            made = (
                Made(base.name, base.inputs, True, label)
                if overwrite
                else self._new(step.out, [step.base, *step_inputs(step.product)])
            )
            self.made[step.out.value] = made
        if overwrite:
            self.line(f"_add_product_({base.name}, {left}, {right})" if stacked else
                      f"{base.name}.baddbmm_({left}, {right})")  # fmt: skip
        else:
            function = "_add_product" if stacked else "torch.baddbmm"
            self.line(f"{made.name} = {function}({text}, {left}, {right})")

    def _outer(self, step: AddProduct) -> None:
        """base + left · right of a token: a product without a sum, in one pass."""
        left, right = step_inputs(step.product)
        for ref in (left, right, step.base):
            self._use(ref)
        axes = step.out.axes
        parts = ", ".join(self._at(ref, axes) for ref in (step.base, left, right))
        made = self._new(step.out, [step.base, left, right])
        self.line(f"{made.name} = torch.addcmul({parts})")

    def _factors(self, step: AddProduct) -> tuple[str, str, bool]:
        """The matrices of a product as source, and whether they are in stacks."""
        product = step.product
        axes = matrix_axes(product)
        assert axes is not None and product.right is not None
        turned, shared, rows, inner, columns = axes
        left, right = (product.right, product.left) if turned else (product.left, product.right)
        factors = self._at(left, [*shared, rows, inner]), self._at(right, [*shared, inner, columns])
        return *factors, bool(shared)

    def _product(
        self, left: Ref, right: Ref, shared: list[str], mine: list[str], theirs: list[str], inner: list[str]
    ) -> str:
        one = len(mine) == len(theirs) == len(inner) == 1 and not shared
        if one and all(self._full(self.made[r.value]) for r in (left, right)):
            return f"torch.bmm({self._at(left, [*mine, *inner])}, {self._at(right, [*inner, *theirs])})"
        if len(mine) == len(inner) == 1 and not theirs and (shared or not self.batch.none):
            # A row times a matrix, transposed if need be: batches of a matrix times a column are slow.
            stored = left.axes == (*shared, *inner, *mine)
            matrix = self._at_all(left, list(left.axes) if stored else [*shared, *mine, *inner], shared)
            vector = self._at_all(right, [*shared, *inner], shared)
            return f"({vector}.unsqueeze(-2) @ {matrix}{'' if stored else '.mT'}).squeeze(-2)"
        return super()._product(left, right, shared, mine, theirs, inner)

    def _full(self, made: Made) -> bool:
        """Whether a value has the one batch axis."""
        return self.flat and bool(made.inputs - self.free)

    def _holds(self, mine: Made, others: Iterable[Made]) -> bool:
        if not self.flat:
            return super()._holds(mine, others)
        return self._full(mine) or not any(map(self._full, others))

    # -- masks, decays, scans --------------------------------------------------------------------------

    def _elementwise(self, left: Ref, right: Ref, out: Ref, last_left: bool, last_right: bool) -> None:
        for mask, other, last in ((left, right, last_right), (right, left, last_left)):
            tile = self.masks.get(mask.value)
            if tile is not None:
                self._cut(tile, other, out, last)
                return
        super()._elementwise(left, right, out, last_left, last_right)

    def _cut(self, tile: Tile, ref: Ref, out: Ref, last: bool) -> None:
        """A mask that is a triangle of the last two axes."""
        if out.axes[-2:] == (tile.rows, tile.columns):
            function, diagonal = "tril", "-1" if tile.strict else ""
        else:
            function, diagonal = "triu", "1" if tile.strict else ""
        if (last or ref.value in self.fresh) and ref.axes == out.axes:
            made = self.made[ref.value]
            self.made[out.value] = Made(made.name, made.inputs, True, made.label)
            self.line(f"{made.name}.{function}_({diagonal})")
            return
        made = self._new(out, [ref], prefix="masked_")
        self.line(f"{made.name} = {self._at(ref, out.axes)}.{function}({diagonal})")

    def _triangular(self, step: Solve, matrix: str, right: str, features: int) -> str:
        (block,) = step.blocks
        sign = "" if block.value in self.negated else "-"
        return f"_triangular({sign}{matrix}, {right}, {features})"

    def _before_writes(self, states: str, state: str, axes: tuple[str, ...]) -> None:
        self.line(f"{states} = _earlier({states}, {state}, {axes.index(ROW) - len(axes)})")


def _unknown(text: str) -> str:
    """A helper that PyTorch source does not have, or a word of NumPy."""
    for name in re.findall(r"(?<![\w.])(_\w+)\(|\b(np)\.", text):
        if name[1] or name[0] not in helper_texts("torch_helpers")[0]:
            return f"{name[0] or name[1]}"
    return ""
