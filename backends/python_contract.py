"""Printing contractions: a product elementwise, or as a matrix product after a change of axes."""

from __future__ import annotations

from tensorc.backends.python_base import BasePrinter, Made
from tensorc.backends.python_expr import align
from tensorc.plan import Contract, Ref
from tensorc.semiring import SEMIRINGS, SUM_PRODUCT


class ContractPrinter(BasePrinter):
    """Prints `Contract` steps."""

    def _contract(self, step: Contract) -> None:
        if step.semiring != SUM_PRODUCT:
            self._other_semiring(step)
            return
        left, right, out = step.left, step.right, step.out
        last_left = self._use(left)
        if right is None:
            gone = tuple(k - len(left.axes) for k, a in enumerate(left.axes) if a not in out.axes)
            kept = tuple(a for a in left.axes if a in out.axes)
            text = self.made[left.value].name
            if gone:
                text = self.library.summed(text, gone)
            made = self._new(out, [left], prefix="sum_" if gone else "")
            text = align(text, Ref("", kept), out.axes, True)
            self.line(f"{made.name} = {text}")
            made.own = bool(gone)
            return
        last_right = self._use(right)
        left, right = self._summed(left, right, out)
        inner = [a for a in left.axes if a in right.axes and a not in out.axes]
        if not inner:
            self._elementwise(left, right, out, last_left, last_right)
        else:
            self._matrix(left, right, out, inner)

    def _other_semiring(self, step: Contract) -> None:
        """Operands side by side, then a reduction: no library multiplies matrices in another semiring."""
        row = SEMIRINGS[step.semiring]
        refs = [step.left] if step.right is None else [step.left, step.right]
        for ref in refs:
            self._use(ref)
        gone = [a for a in dict.fromkeys(a for r in refs for a in r.axes) if a not in step.out.axes]
        text = f" {row.combine} ".join(self._at(r, (*step.out.axes, *gone)) for r in refs)
        if gone:
            axes = tuple(range(-len(gone), 0))
            text = self.library.reduced(row.total, text, "True", str(axes if len(axes) > 1 else -1))
        made = self._new(step.out, refs, prefix=f"{row.total}_")
        self.line(f"{made.name} = {text}")

    def _summed(self, left: Ref, right: Ref, out: Ref) -> tuple[Ref, Ref]:
        """Operands without the labels that only they have and the result does not need."""
        result = []
        for mine, other in ((left, right), (right, left)):
            alone = [a for a in mine.axes if a not in other.axes and a not in out.axes]
            if alone:
                axes = tuple(a for a in mine.axes if a not in alone)
                ref = Ref(f"{mine.value}:{','.join(alone)}", axes)
                made = self._new(ref, [mine], prefix="sum_")
                gone = tuple(mine.axes.index(a) - len(mine.axes) for a in alone)
                self.line(f"{made.name} = {self.library.summed(self.made[mine.value].name, gone)}")
                mine = ref
            result.append(mine)
        return result[0], result[1]

    def _elementwise(self, left: Ref, right: Ref, out: Ref, last_left: bool, last_right: bool) -> None:
        for mine, other, last in ((left, right, last_left), (right, left, last_right)):
            made = self.made[mine.value]
            if (
                last
                and mine.axes == out.axes
                and mine.value != other.value
                and self._holds(made, [self.made[other.value]])
            ):
                self.line(f"{made.name} *= {self._operand(other, out.axes)}")
                self.made[out.value] = Made(made.name, made.inputs, True, made.label)
                return
        text = f"{self._operand(left, out.axes)} * {self._operand(right, out.axes)}"
        tile = self._tile_of(left, right)
        made = self._new(out, [left, right], prefix={"mask": "masked_", "": ""}.get(tile, "decayed_"))
        self.line(f"{made.name} = {text}")

    def _tile_of(self, *refs: Ref) -> str:
        """The variable of the tile among values, if there is one."""
        return next((self.made[r.value].name for r in refs if self.made[r.value].label is None), "")

    def _matrix(self, left: Ref, right: Ref, out: Ref, inner: list[str]) -> None:
        shared = [a for a in out.axes if a in left.axes and a in right.axes]
        mine = [a for a in out.axes if a in left.axes and a not in shared]
        theirs = [a for a in out.axes if a in right.axes and a not in shared]
        if [*shared, *theirs, *mine] == list(out.axes) and mine and theirs:
            left, right, mine, theirs = right, left, theirs, mine
        elif not mine:
            left, right, mine, theirs = right, left, theirs, mine
        # `mine` is not empty from here on unless both are.
        text = self._product(left, right, shared, mine, theirs, inner)
        made = self._new(out, [left, right], prefix="summed_" if self._tile_of(left, right) else "")
        result = Ref("", (*shared, *mine, *theirs))
        if result.axes != out.axes:
            text = align(
                text if text.endswith(")") and text.startswith("_") else f"({text})", result, out.axes, True
            )
        self.line(f"{made.name} = {text}")

    def _product(
        self, left: Ref, right: Ref, shared: list[str], mine: list[str], theirs: list[str], inner: list[str]
    ) -> str:
        if mine and not theirs and len(mine) == len(inner) == 1 and left.axes == (*shared, *inner, *mine):
            # A row vector times the matrix as it lies in memory, rather than its transposition.
            vector = self._at_all(right, [*shared, *inner], shared)
            if self.batch.none and not shared:
                return f"{vector} @ {self.made[left.value].name}"
            return f"({vector}[..., None, :] @ {self.made[left.value].name})[..., 0, :]"
        a = self._at_all(left, [*shared, *mine, *inner], shared)
        b = self._at_all(right, [*shared, *inner, *theirs], shared)
        if len(mine) <= 1 and len(theirs) <= 1 and len(inner) == 1:
            if mine and theirs:
                return f"{a} @ {b}"
            if mine:
                return f"{a} @ {b}" if self.batch.none and not shared else f"({a} @ {b}[..., None])[..., 0]"
            return f"({a}[..., None, :] @ {b}[..., None])[..., 0, 0]"
        return f"_matmul({a}, {b}, {len(mine)}, {len(inner)}, {len(theirs)})"

    def _at_all(self, ref: Ref, axes: list[str], shared: list[str]) -> str:
        return align(self.made[ref.value].name, ref, axes, True)
