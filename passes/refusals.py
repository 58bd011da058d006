"""Why an expression of two tokens is not taken apart, and what change of the program would allow it."""

from __future__ import annotations

from collections.abc import Iterable

from tensorc.ir import Call, Cond, Div, Expr, FloorDiv, Mod, Pow, Read, Where, free_indices, walk
from tensorc.printing import print_cond, print_expr

LONGEST = 80  # characters of an expression in a refusal
APPROXIMATE = "tensorc.approximate(program, 'exp', degree=2, bound=...)"
GREATEST_DEGREE = 8


class Unexpanded(Exception):
    """A pair expression that would have too many monomials; the text says how many of what."""


def shortened(expr: Expr) -> str:
    """An expression as text, its end left out if it is long."""
    text = print_expr(expr)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def not_separable(expr: Expr, tokens: Iterable[str], past: str = "") -> tuple[str, str]:
    """(reason, change) for an expression of several tokens; `past`: the bound that its expansion passes."""
    pair = " and ".join(sorted(tokens))
    text = f"{shortened(expr)} is not separable"
    if past:
        return (
            f"{text}: multiplied out it {past}",
            f"use a lower degree (up to {GREATEST_DEGREE}) or fewer terms in the power",
        )
    match expr:
        case Call(function="exp"):
            return (
                f"{text}: exp of a pair ({pair}) is no finite sum of products of one token each",
                f"replace it by a polynomial, {APPROXIMATE}, or apply exp to each token before the product",
            )
        case Call(function=function):
            return (
                f"{text}: {function} of a pair ({pair})",
                f"apply {function} to each token before the product, or use a polynomial of the score",
            )
        case Pow(exponent=exponent):
            number = shortened(exponent)
            data = any(isinstance(n, Read) for n in walk(exponent))
            kind = "is data" if data else "is no whole number from 1 on"
            return (
                f"{text}: the exponent {number} of a pair ({pair}) {kind}",
                f"use a whole power from 1 to {GREATEST_DEGREE}",
            )
        case Div(denominator=bottom):
            return (
                f"{text}: it divides by {shortened(bottom)}, of a pair ({pair})",
                "divide by what is of one token, as a sum over the other one is, after summing",
            )
        case Where(condition=condition):
            return (
                f"{text}: where chooses by {print_cond(condition)}, of a pair ({pair})",
                "put an order such as j <= i into the domain of the sum",
            )
        case Read(tensor=tensor):
            return (
                f"{text}: {tensor} is a tensor of two tokens ({pair}) whose equation is not taken apart",
                f"make {tensor} a sum of products of values of one token",
            )
    return (
        f"{text}: {type(expr).__name__.lower()} of a pair ({pair})",
        "write it as a sum of products of values of one token",
    )


def row_reduction(kind: str, over: Iterable[str]) -> tuple[str, str]:
    """(reason, change) for a reduction over tokens that is no sum."""
    names = " and ".join(over)
    if kind in ("softmax", "logsumexp"):
        return (
            f"{kind} over {names} is not separable: exp of a score has no finite sum of products, so that no "
            "state replaces the scores",
            f"replace exp by a polynomial: {APPROXIMATE}",
        )
    return (
        f"{kind} over {names} is not separable: it is no sum, so that no state of sums replaces what it runs "
        "over",
        "use a sum, or a mean, of products of values of one token",
    )


def no_scan(condition: Cond, text: str, early: str, late: str) -> tuple[str, str]:
    """(reason, change) for a condition on two tokens that no state can stand for."""
    reason = f"the condition {text or 'on the pair'} on {early} and {late} has no scan"
    data = sorted({n.tensor for n in walk(condition) if isinstance(n, Read)})
    order = f"an order such as {late} <= {early}"
    if data:
        mixed = any(len(free_indices(n)) > 1 for n in walk(condition) if isinstance(n, Read))
        what = "scores" if mixed else "data"
        return (
            f"{reason}: it compares {what} ({', '.join(data)}), so which tokens it keeps is not known before",
            f"use {order}, a window whose width is a number or a size, or ascending ids that are compared as "
            "equal",
        )
    if any(isinstance(n, FloorDiv | Mod) for n in walk(condition)):
        return (
            f"{reason}: it is neither an order nor a window of the positions",
            f"use {order}, or give the inner positions an axis of their own",
        )
    return reason, f"use {order}, or form='parallel'"
