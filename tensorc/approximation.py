"""Approximation on request: `tensorc.approximate`, and how far the result may be from the program."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from tensorc.errors import TensorcError
from tensorc.ir import Approximation, Call, Div, Node, Program, Read, reads, walk

if TYPE_CHECKING:
    from tensorc.decorator import Jit

LARGEST_DEGREE = 8  # of the powers that are multiplied out
LARGEST_BOUND = 100


def approximate(
    source: str | Path | Program | Jit,
    function: str = "exp",
    *,
    degree: int,
    bound: float,
    name: str | None = None,
    time: str | None = None,
) -> Program:
    """The program with exp of every score replaced by its Taylor polynomial at 0 of this degree.

    A score is what couples two tokens, as q·k does: exp of one token's values, decays and biases such as
    `slope * (i - j)` stay as they are. softmax becomes the ratio of the sums of such weights, logsumexp the
    logarithm of the sum, so that both have a state instead of a cache. `source` and `name` are as for
    `compile`, `time` too. The result prints and parses; its operator's report says how far the polynomial
    is from exp for scores of absolute value up to `bound`, and `check_bounds` whether given data keeps it.

    Raises `TensorcError` for a function without a polynomial, a degree that is none, a bound that is not
    positive, an odd degree whose weights may sum to 0, and a program without exp of a score.

    >>> print(approximate('''
    ... def attention(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    ...     p[i, j] = softmax[j, j <= i](q[i, c] * k[j, c] / sqrt(d))
    ...     o[i, x] = p[i, j] * v[j, x]
    ... ''', "exp", degree=2, bound=1.0))
    def attention(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
        p_s[i, j] = q[i, c] * k[j, c] / sqrt(d)
        p_w[i, j] = 1 + p_s[i, j] + p_s[i, j] ** 2 / 2
        p_z[i] = sum[j <= i](p_w[i, j])
        p[i, j] = [j <= i] * p_w[i, j] / p_z[i]
        o[i, x] = p[i, j] * v[j, x]
    <BLANKLINE>
    """
    from tensorc.compiler import program_of, time_axis
    from tensorc.passes.taylor import Settings, taylor

    program = program_of(source, name)
    _check(function, degree, bound)
    result = taylor(program, Settings(degree, float(bound), time_axis(program, time)))
    if len(result.approximations) == len(program.approximations):
        raise TensorcError(
            f"{program.name} has no exp of a score: no exp, softmax or logsumexp of what couples two tokens, "
            "as q[i, c] * k[j, c] does. exp(a[i] + b[j]) is exp(a[i]) * exp(b[j]): it needs no approximation."
        )
    if _divides(result):
        _check_positive(degree, bound)
    return result


def _check(function: object, degree: object, bound: object) -> None:
    if function != "exp":
        raise TensorcError(f"No polynomial for {function!r}: approximate replaces 'exp' (softmax included).")
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise TensorcError(f"degree= is the degree of a polynomial, 0, 1, 2, ...; not {degree!r}.")
    if degree > LARGEST_DEGREE:
        raise TensorcError(
            f"degree={degree} is beyond {LARGEST_DEGREE}, the largest power that is multiplied out: "
            f"there would be no state. Use a degree up to {LARGEST_DEGREE}, or the program as it is."
        )
    number = isinstance(bound, int | float) and not isinstance(bound, bool)
    if not number or not isfinite(bound) or not 0 < bound <= LARGEST_BOUND:  # type: ignore[arg-type, operator]
        raise TensorcError(
            "bound= is the largest absolute value that scores may have, "
            f"a number above 0 and up to {LARGEST_BOUND}; not {bound!r}."
        )


def _divides(program: Program) -> bool:
    """Whether a result of an approximated score is divided by, or a logarithm taken of it."""
    reached = {a.score.tensor for a in program.approximations if isinstance(a.score, Read)}
    for _ in program.equations:
        reached |= {e.target for e in program.equations if reads(e.body) & reached}
    nodes = [n for e in program.equations for n in walk(e.body)]
    divisors: list[Node] = [n.denominator for n in nodes if isinstance(n, Div)]
    divisors += [n for n in nodes if isinstance(n, Call) and n.function == "log"]
    return any(reads(divisor) & reached for divisor in divisors)


def _check_positive(degree: int, bound: float) -> None:
    """Weights of even degree are positive everywhere; those of odd degree have a zero below 0."""
    with localcontext() as context:
        context.prec = 80
        least = _polynomial(degree, -Decimal(bound))
    if degree % 2 and least <= 0:
        raise TensorcError(
            f"degree={degree} is odd: the polynomial is {float(least):.3g} at a score of -{bound:g}, so that "
            "weights may be negative and their sum, which is divided by, 0. Use an even degree, whose "
            f"polynomial is positive everywhere, or a bound below {_root(degree):.3g}."
        )


def _polynomial(degree: int, x: Decimal) -> Decimal:
    total = term = Decimal(1)
    for k in range(1, degree + 1):
        term = term * x / k
        total += term
    return total


def _root(degree: int) -> float:
    """The absolute value of the only zero of the polynomial of an odd degree."""
    low, high = 0.0, float(degree + 1)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _polynomial(degree, -Decimal(middle)) > 0 else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Remainder:
    """The largest distance of a polynomial from its function for arguments within the bound: absolute, and
    relative to the function."""

    absolute: float
    relative: float


def remainder(approximation: Approximation) -> Remainder:
    """How far the polynomial may be from the function: exact, at an end of the interval.

    exp(x) - T(x) is a series of powers with positive coefficients: largest at +bound. 1 - T(x) / exp(x) has
    the derivative exp(-x) x**p / p!, which has one sign on each side of 0: largest at -bound.
    """
    with localcontext() as context:
        context.prec = 160
        degree, bound = approximation.degree, Decimal(approximation.bound)
        absolute = bound.exp() - _polynomial(degree, bound)
        relative = abs(1 - bound.exp() * _polynomial(degree, -bound))
    return Remainder(float(absolute), float(relative))


def as_dict(approximation: Approximation) -> dict[str, object]:
    """An approximation as plain values, for reports."""
    from tensorc.printing import print_expr

    error = remainder(approximation)
    return {
        "function": approximation.function,
        "polynomial": f"Taylor, degree {approximation.degree}, at 0",
        "degree": approximation.degree,
        "bound": approximation.bound,
        "score": print_expr(approximation.score),
        "absolute": error.absolute,
        "relative": error.relative,
        "line": approximation.line,
    }
