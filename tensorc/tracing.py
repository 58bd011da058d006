"""The vocabulary of the Python front end: indices, sizes, tensors, reductions and functions.

    @tensorc.jit("q[n, d], k[n, d], v[n, e] -> o[n, e]")
    def causal(q, k, v):
        i, j, c, x = tensorc.indices("i j c x")
        return tensorc.sum(q[i, c] * k[j, c] * v[j, x], j <= i)[i, x]

Several names here shadow built-ins, so this module is used as attributes of `tensorc` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Name, Reduction
from tensorc.ir import Call, Iverson, Where
from tensorc.trace_condition import Condition
from tensorc.trace_expr import Index, Open, Size, Tensor, operand
from tensorc.trace_node import Node, joined
from tensorc.trace_program import trace as trace
from tensorc.trace_state import RESERVED, current, is_name


class SoleIndex(Index):
    """The index of `indices("i")`, which may be unpacked: `(i,) = tensorc.indices("i")`."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Index]:
        yield self


class OneOfIndices(Index):
    """One of several indices. A sibling of `SoleIndex`, so that comparisons keep their sides."""

    __slots__ = ()


class SoleSize(Size):
    """The size of `sizes("d")`, which may be unpacked."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Size]:
        yield self


class OneOfSizes(Size):
    """One of several sizes."""

    __slots__ = ()


def indices(*names: str) -> Any:
    """Indices by their letters: a tuple, or the index itself for one letter.

    Two indices of the same letter are the same index, as in text. They may be made anywhere, also
    outside of a trace. Raises LanguageError for what is no name.

    >>> i, j = indices("i j")
    >>> i - 2 < j
    i - 2 < j
    """
    made = [_letter(name, "an index") for name in _split(names, "indices")]
    return SoleIndex(made[0]) if len(made) == 1 else tuple(OneOfIndices(name) for name in made)


def sizes(*names: str) -> Any:
    """Sizes of the header by name, to use as numbers: a tuple, or the size itself for one name.

    >>> d = sizes("d")
    >>> sqrt(d)
    sqrt(d)
    """
    made = [_letter(name, "a size") for name in _split(names, "sizes")]
    return SoleSize(made[0]) if len(made) == 1 else tuple(OneOfSizes(name) for name in made)


def tensor(name: str) -> Tensor:
    """A tensor to be defined later in the trace: `w[i, x] = ...` defines it, and may read it.

    Raises LanguageError outside of a trace, and for a name that is taken.
    """
    running = current()
    if running is None:
        raise LanguageError(
            f"tensor({name!r}) outside of a trace.",
            hint="Make tensors in a function under @tensorc.jit; an array is an argument of it.",
        )
    _letter(name, "a tensor")
    for other in running.tensors.values():
        if other.label == name and other.kind:
            raise LanguageError(f"There is a tensor {name} already.", hint="Every tensor needs its own name.")
    if running.sizes is not None and name in running.sizes:
        raise LanguageError(f"{name} is a size of the header.", hint="A tensor needs another name.")
    return Tensor(running, name, kind="forward")


def _split(names: tuple[object, ...], what: str) -> list[str]:
    for name in names:
        if not isinstance(name, str):
            raise LanguageError(f"{what} takes names, not {name!r}.", hint=f'For example {what}("i j").')
    parts = [part for name in names for part in str(name).replace(",", " ").split()]
    if not parts:
        raise LanguageError(f"{what} needs at least one name.", hint=f'For example {what}("i j").')
    return parts


def _letter(name: object, what: str) -> str:
    if not isinstance(name, str) or not is_name(name):
        why = "the name of a function" if name in RESERVED else "not an ASCII name, or a Python keyword"
        raise LanguageError(f"{name!r} is no name for {what}: it is {why}.", hint="Choose another name.")
    return name


def _domain(
    reduction: str, items: tuple[object, ...]
) -> tuple[tuple[Name, ...], tuple[Any, ...], list[Node]]:
    """Bare indices and conditions of a domain."""
    if not items:
        raise LanguageError(
            f"{reduction} needs its indices or conditions.",
            hint=f"tensorc.{reduction}(e, c), or tensorc.{reduction}(e, j <= i).",
        )
    names: list[Name] = []
    conditions: list[Any] = []
    nodes: list[Node] = []
    for item in items:
        if isinstance(item, Index):
            nodes.append(item.node())
            names.append(nodes[-1].tree)
        elif isinstance(item, Condition):
            nodes.append(item.node())
            conditions.append(nodes[-1].tree)
        else:
            raise LanguageError(
                f"{item!r} in the domain of {reduction} is neither an index nor a condition.",
                hint="A mask of numbers is a condition as m[i, j] != 0; the larger of two numbers is "
                "tensorc.maximum(a, b).",
            )
    return tuple(names), tuple(conditions), nodes


def _reduce(op: str, body: object, domain: tuple[object, ...]) -> Open:
    names, conditions, nodes = _domain(op, domain)
    inner = operand(body)
    return Open(joined(Reduction(op, names, conditions, inner.tree), inner, *nodes))


def sum(body: Any, /, *domain: Any) -> Open:
    """The sum of `body` over a domain of indices and conditions; 0 if empty.

    It binds every index of the domain that is neither on the left of its equation nor bound further out.

    >>> i, j = indices("i j")
    >>> sum(j * j, j <= i)
    sum[j <= i](j * j)
    """
    return _reduce("sum", body, domain)


def prod(body: Any, /, *domain: Any) -> Open:
    """The product of `body` over a domain; 1 if empty."""
    return _reduce("prod", body, domain)


def max(body: Any, /, *domain: Any) -> Open:
    """The maximum of `body` over a domain; -inf if empty. Of two numbers: `maximum`."""
    return _reduce("max", body, domain)


def min(body: Any, /, *domain: Any) -> Open:
    """The minimum of `body` over a domain; inf if empty. Of two numbers: `minimum`."""
    return _reduce("min", body, domain)


def mean(body: Any, /, *domain: Any) -> Open:
    """The mean of `body` over a domain; NaN if empty."""
    return _reduce("mean", body, domain)


def logsumexp(body: Any, /, *domain: Any) -> Open:
    """The logarithm of the sum of exp(body) over a domain; -inf if empty."""
    return _reduce("logsumexp", body, domain)


def softmax(body: Any, /, *domain: Any) -> Open:
    """exp(body) over its sum along the bare indices of the domain, which stay free; 0 outside of it.

    >>> i, j = indices("i j")
    >>> softmax(j / 2, j, j <= i)
    softmax[j, j <= i](j / 2)
    """
    return _reduce("softmax", body, domain)


def where(condition: Any, then: Any, otherwise: Any, /) -> Open:
    """`then` where the condition holds, else `otherwise`. A mask of numbers may be the condition."""
    if isinstance(condition, Condition):
        first = condition.node()
    elif isinstance(condition, bool):
        raise LanguageError(
            "where got a Python truth value, the same at all positions.",
            hint="Use Python's `a if flag else b`.",
        )
    else:
        first = operand(condition)
    second, third = operand(then), operand(otherwise)
    return Open(joined(Where(first.tree, second.tree, third.tree), first, second, third))


def iverson(condition: Any, /) -> Open:
    """[condition]: 1 where it holds, else 0; and this 0 times infinity is 0.

    >>> i, j = indices("i j")
    >>> iverson((j <= i) & (i < 4))
    [j <= i < 4]
    """
    if not isinstance(condition, Condition):
        raise LanguageError(
            f"iverson takes a condition, not {condition!r}.",
            hint="A mask of numbers is a condition as m[i, j] != 0.",
        )
    return Open(joined(Iverson(condition.node().tree), condition.node()))


def _apply(name: str, *arguments: object) -> Open:
    parts = [operand(argument) for argument in arguments]
    return Open(joined(Call(name, tuple(part.tree for part in parts)), *parts))


def maximum(left: Any, right: Any, /) -> Open:
    """The larger of two numbers."""
    return _apply("maximum", left, right)


def minimum(left: Any, right: Any, /) -> Open:
    """The smaller of two numbers."""
    return _apply("minimum", left, right)


def _function(name: str, text: str) -> Callable[[Any], Open]:
    def function(argument: Any, /) -> Open:
        return _apply(name, argument)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


exp = _function("exp", "e to the power of a number.")
log = _function("log", "The natural logarithm.")
sqrt = _function("sqrt", "The square root.")
rsqrt = _function("rsqrt", "1 over the square root.")
abs = _function("abs", "The absolute value.")
sign = _function("sign", "-1, 0 or 1.")
tanh = _function("tanh", "The hyperbolic tangent.")
sigmoid = _function("sigmoid", "1 / (1 + exp(-x)).")
silu = _function("silu", "x times its sigmoid.")
gelu = _function("gelu", "x times the normal distribution function of x.")
relu = _function("relu", "The larger of x and 0.")
elu = _function("elu", "x where positive, else exp(x) - 1.")
softplus = _function("softplus", "log(1 + exp(x)).")
cos = _function("cos", "The cosine.")
sin = _function("sin", "The sine.")

__all__ = [
    *("trace", "indices", "sizes", "tensor", "sum", "prod", "max", "min", "mean", "logsumexp", "softmax"),
    *("where", "iverson", "maximum", "minimum", "exp", "log", "sqrt", "rsqrt", "abs", "sign", "tanh"),
    *("sigmoid", "silu", "gelu", "relu", "elu", "softplus", "cos", "sin"),
]
