"""What PyTorch does in one pass: a product added to something (`baddbmm`), a mask that is a triangle
(`tril`), and a triangular system, whose matrix needs no mask. Found in the steps of a plan before they are
printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tensorc.factors import signed_factors
from tensorc.ir import Add, Const, Expr, Index, Mul, Read, walk
from tensorc.plan import COLUMN, ROW, Contract, Map, Plan, Recur, Ref, Slide, Solve, Step, Tile, Update, Why
from tensorc.plan_io import plan_steps, step_inputs, step_outputs


@dataclass(frozen=True, slots=True)
class AddProduct:
    """base + the product of a contraction, the sum being a map's value or the update of a state."""

    product: Contract
    user: Map | Update
    base: Ref

    @property
    def out(self) -> Ref:
        return self.user.out if isinstance(self.user, Map) else self.user.state

    @property
    def why(self) -> Why:
        return self.product.why


def reads(step: object) -> list[Ref]:
    """The values that a step reads, once for each time."""
    if isinstance(step, AddProduct):
        return [*step_inputs(step.product), *step_inputs(step.user)]
    return step_inputs(step)  # type: ignore[arg-type]


def makes(step: object) -> list[Ref]:
    """The values that a step makes."""
    if isinstance(step, AddProduct):
        return step_outputs(step.user)
    return step_outputs(step)  # type: ignore[arg-type]


def fused(steps: Sequence[Step], kept: Iterable[str], matrices: bool = True) -> list[Step]:
    """The steps, products that are only added to something joined with that: products of matrices, or those
    without a sum. `kept` are values that are needed later."""
    counts = _counts(steps, kept)
    fits = _is_matrix if matrices else _is_plain
    products = {s.out.value: s for s in steps if isinstance(s, Contract) and fits(s)}
    once = {value: s for value, s in products.items() if counts.get(value) == 1}
    steps = _apart(steps, once)
    result: list[Step] = []
    gone: set[str] = set()
    changed: dict[str, int] = {}  # states, and where they were updated
    made: dict[str, int] = {}
    for at, step in enumerate(steps):
        found = _sum(step, once)
        if found is not None:
            inputs = {r.value for r in step_inputs(found.product)}
            start = made[found.product.out.value]
            if not any(changed.get(value, -1) > start for value in inputs):
                gone.add(found.product.out.value)
                step = found  # type: ignore[assignment]
        if isinstance(step, Update):
            changed[step.state.value] = at
        elif isinstance(step, AddProduct) and isinstance(step.user, Update):
            changed[step.user.state.value] = at
        elif isinstance(step, Contract):
            made[step.out.value] = at
        result.append(step)
    return [s for s in result if not (isinstance(s, Contract) and s.out.value in gone)]


def systems(
    steps: Sequence[Step], kept: Iterable[str], masks: Mapping[str, Tile]
) -> tuple[list[Step], set[str]]:
    """The steps, matrices of systems of one unknown without the mask, since only what lies below the diagonal
    is read, and without a sign; and which matrices lost that."""
    counts = _counts(steps, kept)
    maps = {s.out.value: s for s in steps if isinstance(s, Map)}
    masked = {s.out.value: s for s in steps if isinstance(s, Contract) and _masked(s, masks) is not None}
    matrices = (s.blocks[0].value for s in steps if isinstance(s, Solve) and len(s.outs) == 1)
    changed: dict[str, Step | None] = {}
    negated = set()
    for value in matrices:
        step = maps.get(value)
        if step is None or counts[value] > 1 or step.out.axes[-2:] != (ROW, COLUMN):
            continue
        factors, negative = signed_factors(step.expr)
        if not all(_ref(f) or isinstance(f, Const) for f in factors):
            continue
        if negative:
            negated.add(value)
        for k, factor in enumerate(factors):
            cut = masked.get(factor.tensor) if isinstance(factor, Read) else None
            if cut is None or counts[cut.out.value] > 1 or cut.out.axes != step.out.axes:
                continue
            whole = _masked(cut, masks)
            if whole is not None and whole.axes == cut.out.axes:
                factors[k] = _read(whole)
                changed[cut.out.value] = None
        expr = factors[0] if len(factors) == 1 else Mul(tuple(factors))
        changed[value] = replace(step, expr=expr)
    result = [changed.get(s.out.value, s) if isinstance(s, Map | Contract) else s for s in steps]
    return [s for s in result if s is not None], negated


def _masked(step: Contract, masks: Mapping[str, Tile]) -> Ref | None:
    """What a strict triangle of rows and columns is taken of, if a contraction is that."""
    for mask, other in ((step.left, step.right), (step.right, step.left)):
        tile = masks.get(mask.value) if mask is not None else None
        if tile is not None and tile.strict and step.out.axes[-2:] == (tile.rows, tile.columns):
            return other
    return None


def _counts(steps: Iterable[object], kept: Iterable[str]) -> dict[str, int]:
    """How often values are read; those that are needed later, more than once."""
    counts: dict[str, int] = dict.fromkeys(kept, 2)
    for step in steps:
        for ref in reads(step):
            counts[ref.value] = counts.get(ref.value, 0) + 1
    return counts


def products(steps: Sequence[Step], kept: Iterable[str]) -> set[str]:
    """The products of matrices that are read once: they can be overwritten, even where autograd follows,
    which keeps the factors of a product but not its result."""
    counts = _counts(steps, kept)
    made = (s for s in steps if (isinstance(s, Contract) and _is_matrix(s)) or isinstance(s, AddProduct))
    return {s.out.value for s in made if counts.get(s.out.value) == 1}


def _apart(steps: Iterable[Step], products: Mapping[str, Contract]) -> list[Step]:
    """The steps, where a product is added to an expression of more than a value, that as a step before."""
    result: list[Step] = []
    for step in steps:
        if isinstance(step, Map) and isinstance(step.expr, Add) and len(step.expr.terms) == 2:
            for mine, other in (step.expr.terms, step.expr.terms[::-1]):
                ref = _ref(mine)
                product = products.get(ref.value) if ref is not None else None
                if product is None or product.out.axes != step.out.axes or not _covers(other, step.out.axes):
                    continue
                base = Ref(f"{step.out.value}:base", step.out.axes)
                result.append(Map(base, other, step.why))
                step = replace(step, expr=Add((_read(base), mine)))
                break
        result.append(step)
    return result


def _covers(expr: Expr, axes: tuple[str, ...]) -> bool:
    """Whether an expression is more than a value, and one of its values has all axes."""
    if _ref(expr) is not None:
        return False
    refs = [_ref(node) for node in walk(expr)]
    return any(ref is not None and set(ref.axes) == set(axes) for ref in refs)


def _read(ref: Ref) -> Read:
    return Read(ref.value, tuple(Index(a) for a in ref.axes))


def _sum(step: Step, products: dict[str, Contract]) -> AddProduct | None:
    """A step as a product added to something, if it is that."""
    if isinstance(step, Update) and not step.replace:
        product = products.get(step.addend.value)
        same = product is not None and step.addend.axes == product.out.axes == step.state.axes
        return AddProduct(product, step, step.state) if product is not None and same else None
    if not isinstance(step, Map) or not isinstance(step.expr, Add) or len(step.expr.terms) != 2:
        return None
    refs = [_ref(term) for term in step.expr.terms]
    for mine, other in (refs, refs[::-1]):
        product = products.get(mine.value) if mine is not None else None
        if product is None or mine is None or other is None or mine.value == other.value:
            continue
        if mine.axes == other.axes == step.out.axes == product.out.axes:
            return AddProduct(product, step, other)
    return None


def _ref(term: object) -> Ref | None:
    """A plain read of a value."""
    if isinstance(term, Read) and all(isinstance(s, Index) for s in term.subscripts):
        return Ref(term.tensor, tuple(s.name for s in term.subscripts if isinstance(s, Index)))
    return None


def _is_matrix(step: Contract) -> bool:
    return matrix_axes(step) is not None


def _is_plain(step: Contract) -> bool:
    """Whether a contraction sums nothing."""
    if step.right is None:
        return False
    return {*step.left.axes, *step.right.axes} == {*step.out.axes}


def matrix_axes(step: Contract) -> tuple[bool, list[str], str, str, str] | None:
    """A product of matrices: whether the operands change places, the labels of the stack, and those of
    the rows, of what is summed, and of the columns; None for any other contraction."""
    if step.right is None:
        return None
    left, right, out = step.left.axes, step.right.axes, step.out.axes
    inner = [a for a in left if a in right and a not in out]
    shared = [a for a in out if a in left and a in right]
    mine = [a for a in left if a in out and a not in shared]
    theirs = [a for a in right if a in out and a not in shared]
    if not len(inner) == len(mine) == len(theirs) == 1:
        return None
    if len(left) != len(right) or len(left) != len(shared) + 2:
        return None
    if out == (*shared, *mine, *theirs):
        return False, shared, mine[0], inner[0], theirs[0]
    if out == (*shared, *theirs, *mine):
        return True, shared, theirs[0], inner[0], mine[0]
    return None


def masks_of(plan: Plan) -> dict[str, Tile]:
    """The masks that are only ever multiplied with something whose last axes are theirs."""
    steps = _flat(plan_steps(plan))
    tiles = {s.out.value: s for s in steps if isinstance(s, Tile) and not s.gates and s.within is None}
    for step in steps:
        for ref in step_inputs(step):
            tile = tiles.get(ref.value)
            if tile is not None and not _cuts(step, tile):
                del tiles[ref.value]
    for _, ref in plan.outputs:
        tiles.pop(ref.value, None)
    return tiles


def _flat(steps: Iterable[Step]) -> list[Step]:
    return [
        inner
        for step in steps
        for inner in (_flat(step.steps) if isinstance(step, Recur | Slide) else [step])
    ]


def _cuts(step: Step, tile: Tile) -> bool:
    """Whether a step multiplies a value with a mask, and nothing else."""
    if not isinstance(step, Contract) or step.right is None:
        return False
    sides = (step.left, step.right) if step.left.value == tile.out.value else (step.right, step.left)
    other = sides[1]
    if other.value == tile.out.value or set(other.axes) != set(step.out.axes):
        return False
    return {tile.rows, tile.columns} == set(sides[0].axes) == set(step.out.axes[-2:])
