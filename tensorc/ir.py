"""The intermediate representation: a program is a few equations over indices.

Everything that lowering resolves is explicit here: every sum has its `Reduce`, every bound index its
extent, every softmax the indices it runs over. Nodes are immutable and compare by structure; spans
never take part in equality, so that equal subexpressions from different lines are one value.

    program   Program(name, inputs, outputs, locals, equations, defaults)
    equation  Equation(target, left, body)
    expr      Const | Size | Index | Read | Call | Neg | Add | Mul | Div | FloorDiv | Mod | Pow
              | Iverson | Where | Reduce | Softmax
    cond      Compare | And | Or | Not
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import prod
from typing import Any, TypeAlias, overload

from tensorc.errors import Span

FUNCTIONS = {
    name: 1
    for name in ("exp log sqrt rsqrt abs sign tanh sigmoid silu gelu relu elu softplus cos sin".split())
} | {"maximum": 2, "minimum": 2}
REDUCTIONS = ("sum", "prod", "max", "min", "mean", "logsumexp")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of an axis: a product of size names and an integer, factors in sorted order."""

    coefficient: int = 1
    names: tuple[str, ...] = ()

    def value(self, sizes: Mapping[str, int]) -> int:
        """The number of positions, given the value of every name."""
        return self.coefficient * prod(sizes[name] for name in self.names)

    def __str__(self) -> str:
        number = [str(self.coefficient)] if self.coefficient != 1 or not self.names else []
        return " * ".join([*number, *self.names])


def extent(*factors: str | int) -> Extent:
    """The extent of a product: `extent("h", 2, "d")` is 2·d·h."""
    coefficient = prod(f for f in factors if isinstance(f, int))
    return Extent(coefficient, tuple(sorted(f for f in factors if isinstance(f, str))))


def _span() -> Span | None:
    return field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Bind:
    """An index with the extent it runs over."""

    name: str
    extent: Extent


@dataclass(frozen=True, slots=True)
class Const:
    """An exact number. Decimals of the text are fractions: 0.1 is 1/10."""

    value: int | Fraction
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Size:
    """A bare size: its number."""

    name: str
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Index:
    """A bare index: its position, from 0."""

    name: str
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Read:
    """One element of a tensor; 0 outside its axes. Subscripts are integers made of indices and sizes."""

    tensor: str
    subscripts: tuple[Expr, ...]
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Call:
    """A function of `FUNCTIONS` applied to its arguments."""

    function: str
    arguments: tuple[Expr, ...]
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Neg:
    operand: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Add:
    """A sum of two or more terms; a subtracted term is a `Neg`. The first term is never an `Add`."""

    terms: tuple[Expr, ...]
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Mul:
    """A product of two or more factors. The first factor is never a `Mul`."""

    factors: tuple[Expr, ...]
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Div:
    numerator: Expr
    denominator: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class FloorDiv:
    numerator: Expr
    denominator: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Mod:
    numerator: Expr
    denominator: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Pow:
    base: Expr
    exponent: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Iverson:
    """[condition]: 1 or 0, and this 0 is strong (0 times inf or NaN is 0)."""

    condition: Cond
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Where:
    """where(condition, then, otherwise)."""

    condition: Cond
    then: Expr
    otherwise: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Reduce:
    """op over `binds` of `body`, where all of `domain` hold; elsewhere the body is not evaluated."""

    op: str
    binds: tuple[Bind, ...]
    domain: tuple[Cond, ...]
    body: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Softmax:
    """exp(body) over its sum along `over`; the indices stay free. 0 outside the domain."""

    over: tuple[Bind, ...]
    domain: tuple[Cond, ...]
    body: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Compare:
    op: str
    left: Expr
    right: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Cond, ...]
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Cond, ...]
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Not:
    part: Cond
    span: Span | None = _span()


Expr: TypeAlias = (
    Const
    | Size
    | Index
    | Read
    | Call
    | Neg
    | Add
    | Mul
    | Div
    | FloorDiv
    | Mod
    | Pow
    | Iverson
    | Where
    | Reduce
    | Softmax
)
Cond: TypeAlias = Compare | And | Or | Not
Node: TypeAlias = Expr | Cond


@dataclass(frozen=True, slots=True)
class TensorDecl:
    """A named tensor with the extents of its axes (leading batch dimensions aside)."""

    name: str
    axes: tuple[Extent, ...]
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Equation:
    """target[left] = body. Indices of `left` are distinct; one missing in the body repeats the value."""

    target: str
    left: tuple[Bind, ...]
    body: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Approximation:
    """A function of a score that was replaced by a polynomial, close for |score| <= bound: where the score
    is read, over the positions of `binds` at which `domain` holds."""

    function: str
    degree: int
    bound: float
    score: Expr
    binds: tuple[Bind, ...]
    domain: tuple[Cond, ...]
    line: int | None


@dataclass(frozen=True, slots=True)
class Program:
    """A whole program. `locals` are the tensors that are neither inputs nor outputs; `defaults` the
    parameters NAME=INT of the signature; `approximations` what was replaced on request. Equations stand in
    the order they were written."""

    name: str
    inputs: tuple[TensorDecl, ...]
    outputs: tuple[TensorDecl, ...]
    locals: tuple[TensorDecl, ...]
    equations: tuple[Equation, ...]
    defaults: tuple[tuple[str, int], ...] = ()
    text: str | None = field(default=None, compare=False, repr=False)
    approximations: tuple[Approximation, ...] = field(default=(), compare=False, repr=False)

    def tensors(self) -> dict[str, TensorDecl]:
        """All tensors by name."""
        return {t.name: t for t in (*self.inputs, *self.locals, *self.outputs)}

    def sizes(self) -> tuple[str, ...]:
        """All size names, in the order of their first appearance in the signature."""
        names = [n for t in (*self.inputs, *self.outputs, *self.locals) for a in t.axes for n in a.names]
        return tuple(dict.fromkeys([*names, *(n for n, _ in self.defaults)]))

    def equation(self, target: str) -> Equation:
        """The equation that defines a tensor."""
        return next(e for e in self.equations if e.target == target)

    def __str__(self) -> str:
        from tensorc.printing import print_program

        return print_program(self)


def children(node: Node) -> tuple[Node, ...]:
    """The subexpressions and conditions directly below a node, subscripts included."""
    match node:
        case Read(subscripts=parts) | Call(arguments=parts) | Add(terms=parts) | Mul(factors=parts):
            return parts
        case And(parts=parts) | Or(parts=parts):
            return parts
        case Neg(operand=part) | Iverson(condition=part) | Not(part=part):
            return (part,)
        case Div() | FloorDiv() | Mod():
            return (node.numerator, node.denominator)
        case Pow():
            return (node.base, node.exponent)
        case Compare():
            return (node.left, node.right)
        case Where():
            return (node.condition, node.then, node.otherwise)
        case Reduce() | Softmax():
            return (*node.domain, node.body)
    return ()


def _with(node: Any, **parts: Any) -> Any:
    """`replace`, where the type checker does not know the kind of the node."""
    return replace(node, **parts)


@overload
def rebuild(node: Expr, change: Callable[[Any], Any]) -> Expr: ...
@overload
def rebuild(node: Cond, change: Callable[[Any], Any]) -> Cond: ...
def rebuild(node: Node, change: Callable[[Any], Any]) -> Any:
    """The node with `change` applied to each of its children; the node itself if none changed."""
    old = children(node)
    new = tuple(change(child) for child in old)
    if all(a is b for a, b in zip(old, new, strict=True)):
        return node
    match node:
        case Read():
            return _with(node, subscripts=new)
        case Call():
            return _with(node, arguments=new)
        case Add():
            return _with(node, terms=new)
        case Mul():
            return _with(node, factors=new)
        case And() | Or():
            return _with(node, parts=new)
        case Neg():
            return _with(node, operand=new[0])
        case Iverson():
            return _with(node, condition=new[0])
        case Not():
            return _with(node, part=new[0])
        case Div() | FloorDiv() | Mod():
            return _with(node, numerator=new[0], denominator=new[1])
        case Pow():
            return _with(node, base=new[0], exponent=new[1])
        case Compare():
            return _with(node, left=new[0], right=new[1])
        case Where():
            return _with(node, condition=new[0], then=new[1], otherwise=new[2])
        case Reduce() | Softmax():
            return _with(node, domain=new[:-1], body=new[-1])
    raise TypeError(f"no children: {node!r}")


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, parents first."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(children(current)))


def free_indices(node: Node) -> frozenset[str]:
    """Names of the indices that occur free: not bound by a reduction inside."""
    match node:
        case Index(name=name):
            return frozenset((name,))
        case Reduce(binds=binds):
            inner = frozenset().union(*(free_indices(c) for c in children(node)))
            return inner - {b.name for b in binds}
        case Softmax(over=over):
            inner = frozenset().union(*(free_indices(c) for c in children(node)))
            return inner | {b.name for b in over}
    return frozenset().union(*(free_indices(c) for c in children(node)))


def reads(node: Node) -> frozenset[str]:
    """Names of the tensors read anywhere below a node."""
    return frozenset(n.tensor for n in walk(node) if isinstance(n, Read))


def conjuncts(conditions: Sequence[Cond]) -> list[Cond]:
    """The conditions with every `and` taken apart."""
    found, stack = list[Cond](), list(reversed(conditions))
    while stack:
        condition = stack.pop()
        if isinstance(condition, And):
            stack.extend(reversed(condition.parts))
        else:
            found.append(condition)
    return found


@overload
def substitute(node: Expr, names: Mapping[str, Expr]) -> Expr: ...
@overload
def substitute(node: Cond, names: Mapping[str, Expr]) -> Cond: ...
def substitute(node: Node, names: Mapping[str, Expr]) -> Any:
    """Replace free indices by expressions. Bound indices must differ from every name that comes in."""
    match node:
        case Index(name=name):
            return names.get(name, node)
        case Reduce(binds=binds):
            inner = {k: v for k, v in names.items() if k not in {b.name for b in binds}}
            return rebuild(node, lambda c: substitute(c, inner))
        case Softmax(over=over):
            renamed = tuple(
                Bind(new.name, b.extent) if isinstance(new := names.get(b.name), Index) else b for b in over
            )
            return _with(rebuild(node, lambda c: substitute(c, names)), over=renamed)
    return rebuild(node, lambda c: substitute(c, names))
