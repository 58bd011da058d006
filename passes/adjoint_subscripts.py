"""Which element of a tensor a read touches, turned round: for each element, the places that read it.

q[i, c] is read at its own indices: i and c become the indices of the adjoint. x[i - j] is read from
i = m + j. Where no index can be solved for (k[h // r, c]), the read becomes a condition: h // r == g.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tensorc.ir import (
    Add,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Extent,
    FloorDiv,
    Index,
    Mod,
    Mul,
    Neg,
    Node,
    Pow,
    Read,
    Reduce,
    Size,
    Softmax,
    children,
    free_indices,
    substitute,
)
from tensorc.passes.adjoint_paths import Path
from tensorc.passes.affine import affine

Solution = tuple[dict[str, Expr], list[Cond]]


def turned(path: Path, read: Read, axes: Sequence[Extent], left: Sequence[str]) -> Path:
    """The path to a read as a sum for each element `left` of the tensor; the names of `left` are new."""
    names, conditions = _solve(path, read, axes, left)
    binds = tuple(Bind(name, extent) for name, extent in zip(left, axes, strict=True))
    solved = path.where(conditions).rename(names)
    inside = set(left)
    return Path(
        (*binds, *(b for b in solved.binds if b.name not in inside)),
        solved.factors,
        solved.divisors,
        solved.conditions,
        solved.scale,
    )


def _solve(path: Path, read: Read, axes: Sequence[Extent], left: Sequence[str]) -> Solution:
    scope = path.extents()
    names: dict[str, Expr] = {}
    later: list[int] = []
    for k, subscript in enumerate(read.subscripts):
        if isinstance(subscript, Index) and subscript.name not in names and subscript.name in scope:
            names[subscript.name] = Index(left[k])
        else:
            later.append(k)
    conditions: list[Cond] = []
    for k in later:
        here = substitute(read.subscripts[k], names)
        found = _mixed(here, axes, k, scope, names, left) or _lone(
            here, axes[k], scope, names, Index(left[k])
        )
        if found is None:
            own = Index(left[k])
            conditions.append(Compare("==", here, own) if free_indices(here) else Compare("==", own, here))
            continue
        names = {old: substitute(new, found) for old, new in names.items()} | found
        for name, value in found.items():
            conditions += _inside(value, scope[name].extent, path, name)
    return names, [substitute(c, names) for c in conditions]


def _mixed(
    subscript: Expr,
    axes: Sequence[Extent],
    k: int,
    scope: Mapping[str, Bind],
    names: Mapping[str, Expr],
    left: Sequence[str],
) -> dict[str, Expr] | None:
    """a = m // w and b = m % w of the subscript a * w + b, where a and b run over all of an axis of size
    a's times w."""
    if not (isinstance(subscript, Add) and len(subscript.terms) == 2):
        return None
    for coarse, fine in (subscript.terms, subscript.terms[::-1]):
        if not (isinstance(fine, Index) and isinstance(coarse, Mul) and len(coarse.factors) == 2):
            continue
        for a, width in (coarse.factors, coarse.factors[::-1]):
            if not (isinstance(a, Index) and isinstance(width, Size | Const)):
                continue
            if (
                a.name == fine.name
                or {a.name, fine.name} & names.keys()
                or not {a.name, fine.name} <= scope.keys()
            ):
                continue
            outer, inner = scope[a.name].extent, scope[fine.name].extent
            one = Extent(1, (width.name,)) if isinstance(width, Size) else Extent(int(width.value), ())
            whole = Extent(outer.coefficient * one.coefficient, tuple(sorted((*outer.names, *one.names))))
            if inner == one and whole == axes[k]:
                m = Index(left[k])
                return {a.name: FloorDiv(m, width), fine.name: Mod(m, width)}
    return None


def _lone(
    subscript: Expr, axis: Extent, scope: Mapping[str, Bind], names: Mapping[str, Expr], target: Index
) -> dict[str, Expr] | None:
    """An index that stands alone in a sum, as what it is where the subscript is `target`: first one that
    runs over the same axis."""
    terms = subscript.terms if isinstance(subscript, Add) else (subscript,)
    free = [n for n in _alone(terms) if n in scope and n not in names]
    for name in sorted(free, key=lambda n: scope[n].extent != axis):
        rest: list[Expr] = [target]
        sign = 1
        for term in terms:
            inner = term.operand if isinstance(term, Neg) else term
            if inner == Index(name):
                sign = -1 if isinstance(term, Neg) else 1
            else:
                rest.append(inner if isinstance(term, Neg) else Neg(term))
        value = one_sum(rest if sign > 0 else [_negative(t) for t in rest])
        return {name: value}
    return None


def _alone(terms: Iterable[Expr]) -> list[str]:
    parts = [t.operand if isinstance(t, Neg) else t for t in terms]
    names = [p.name for p in parts if isinstance(p, Index)]
    return [n for n in names if sum(n in free_indices(p) for p in parts) == 1]


def _negative(term: Expr) -> Expr:
    return term.operand if isinstance(term, Neg) else Neg(term)


def one_sum(terms: list[Expr]) -> Expr:
    """A sum in one piece: sums in it taken apart, what cancels left out, integers added up; the first term
    is not subtracted, if there is one that is not."""
    constant, kept = 0, list[Expr]()
    stack = [(1, t) for t in reversed(terms)]
    while stack:
        sign, term = stack.pop()
        match term:
            case Add(terms=inner):
                stack += [(sign, t) for t in reversed(inner)]
            case Neg(operand=operand):
                stack.append((-sign, operand))
            case _ if (number := _integer(term)) is not None:
                constant += sign * number
            case _:
                signed = term if sign > 0 else Neg(term)
                opposite = Neg(term) if sign > 0 else term
                if opposite in kept:
                    kept.remove(opposite)
                else:
                    kept.append(signed)
    kept.sort(key=lambda t: isinstance(t, Neg))
    if constant or not kept:
        kept.append(Const(constant) if constant >= 0 else Neg(Const(-constant)))
    return kept[0] if len(kept) == 1 else Add(tuple(kept))


def _integer(term: Expr) -> int | None:
    found = affine(term)
    return found[1] if found is not None and not found[0] else None


def _inside(value: Expr, extent: Extent, path: Path, name: str) -> list[Cond]:
    """That a solved index is in its range, where nothing else sees to it: a product of plain numbers with
    a tensor that is read at the index itself is 0 outside."""
    if isinstance(value, FloorDiv | Mod):
        return []
    tame = all(_is_tame(n) for e in path.exprs() for n in _outer(e))
    if tame and not path.divisors and any(_reads_at(f, name) for f in path.factors):
        return []
    size: Expr = Const(extent.coefficient)
    if extent.names:
        parts: list[Expr] = [Const(extent.coefficient)] if extent.coefficient != 1 else []
        parts += [Size(n) for n in extent.names]
        size = parts[0] if len(parts) == 1 else Mul(tuple(parts))
    found = affine(value)
    conditions: list[Cond] = []
    if found is None or any(c < 0 for c in found[0].values()) or found[1] < 0:
        conditions.append(Compare(">=", value, Const(0)))
    if not (found is not None and list(found[0].values()) == [1] and found[1] <= 0):
        conditions.append(Compare("<", value, size))
    return conditions


def _is_tame(node: Node) -> bool:
    """Whether an operation on moderate numbers gives one: not a division, a logarithm or an exponential."""
    if isinstance(node, Call):
        return node.function not in ("exp", "log", "sqrt", "rsqrt")
    if isinstance(node, Pow):
        return isinstance(node.exponent, Const) and node.exponent.value >= 0
    return not isinstance(node, Div | FloorDiv | Mod | Reduce | Softmax)


def _outer(expr: Expr) -> Iterable[Node]:
    """The nodes of an expression without its subscripts."""
    stack: list[Node] = [expr]
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, Read):
            stack.extend(children(node))


def _reads_at(expr: Expr, name: str) -> bool:
    return isinstance(expr, Read) and Index(name) in expr.subscripts
