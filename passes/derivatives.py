"""Derivatives of the functions of the language, as expressions of the argument x and the value y.

Where a function has no derivative, a subgradient is chosen: 0 for abs and sign at 0, 0 for relu at 0, and
half each for the maximum or minimum of two equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from tensorc.ir import Add, Call, Compare, Const, Div, Expr, Iverson, Mul, Neg, Pow, Where

ONE, HALF = Const(1), Const(Fraction(1, 2))
INVERSE_ROOT_OF_TWO_PI = Const(Fraction("0.39894228040143268"))
Rule = Callable[[Expr, Expr], Expr | None]


def _call(name: str, argument: Expr) -> Expr:
    return Call(name, (argument,))


def _silu(x: Expr, y: Expr) -> Expr:
    """σ(x) · (1 + x · (1 − σ(x)))."""
    sigma = _call("sigmoid", x)
    return Mul((sigma, Add((ONE, Mul((x, Add((ONE, Neg(sigma)))))))))


def _gelu(x: Expr, y: Expr) -> Expr:
    """Φ(x) + x φ(x), where Φ(x) is y / x."""
    normal = Where(Compare("==", x, Const(0)), HALF, Div(y, x))
    density = Mul((x, _call("exp", Div(Neg(Mul((x, x))), Const(2))), INVERSE_ROOT_OF_TWO_PI))
    return Add((normal, density))


UNARY: dict[str, Rule] = {
    "exp": lambda x, y: y,
    "log": lambda x, y: Div(ONE, x),
    "sqrt": lambda x, y: Div(HALF, y),
    "rsqrt": lambda x, y: Mul((Const(Fraction(-1, 2)), Pow(y, Const(3)))),
    "abs": lambda x, y: _call("sign", x),
    "sign": lambda x, y: None,
    "tanh": lambda x, y: Add((ONE, Neg(Pow(y, Const(2))))),
    "sigmoid": lambda x, y: Mul((y, Add((ONE, Neg(y))))),
    "silu": _silu,
    "gelu": _gelu,
    "relu": lambda x, y: Iverson(Compare(">", x, Const(0))),
    "elu": lambda x, y: _call("exp", Call("minimum", (x, Const(0)))),
    "softplus": lambda x, y: _call("sigmoid", x),
    "cos": lambda x, y: Neg(_call("sin", x)),
    "sin": lambda x, y: _call("cos", x),
}


def derivative(function: str, x: Expr, y: Expr) -> Expr | None:
    """The derivative of a function of one argument; None if it is 0 everywhere.

    >>> from tensorc.ir import Read
    >>> from tensorc.printing import print_expr
    >>> print_expr(derivative("sigmoid", Read("x", ()), Read("y", ())))
    'y * (1 - y)'
    """
    return UNARY[function](x, y)


def share_of_first(function: str, a: Expr, b: Expr) -> Expr:
    """How much of the derivative of maximum(a, b), or minimum, goes to a; the rest goes to b."""
    wins = Compare(">" if function == "maximum" else "<", a, b)
    return Where(wins, ONE, Where(Compare("==", a, b), HALF, Const(0)))
