"""Polynomials in the sizes of a program: what costs are made of.

Exponents may be negative (n tokens are n/C chunks) and coefficients are rational, so that a symbolic cost
is exact. Sums and products of polynomials and numbers mix freely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from tensorc.ir import Extent
from tensorc.plan import Symmetric

Monomial: TypeAlias = tuple[tuple[str, int], ...]  # (name, exponent), sorted by name, no zero exponents
Number: TypeAlias = int | Fraction

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Polynomial:
    """A sum of monomials. Immutable; equal if the terms are.

    >>> n, d, c = Polynomial.symbol("n"), Polynomial.symbol("d"), Polynomial.symbol("C")
    >>> cost = 2 * n * d * d + n * c * Fraction(1, 2) + n * d * c.power(-1) + 3
    >>> print(cost)
    2·n·d² + n·C/2 + n·d/C + 3
    >>> cost.at({"n": 8, "d": 4, "C": 2})
    Fraction(283, 1)
    """

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Monomial, Number]) -> None:
        self.terms: dict[Monomial, Number] = {m: c for m, c in terms.items() if c}

    @classmethod
    def constant(cls, value: Number) -> Polynomial:
        """The polynomial that is a number."""
        return cls({(): value})

    @classmethod
    def symbol(cls, name: str) -> Polynomial:
        """The polynomial that is one size."""
        return cls({((name, 1),): 1})

    @classmethod
    def of(cls, extent: Extent) -> Polynomial:
        """The number of positions of an axis.

        >>> print(Polynomial.of(Extent(2, ("d", "h"))))
        2·d·h
        """
        product = cls.constant(extent.coefficient)
        for name in extent.names:
            product = product * cls.symbol(name)
        if isinstance(extent, Symmetric):  # d (d + 1) ... (d + p - 1) / p!
            base = product
            for k in range(1, extent.power):
                product = product * (base + k) * Fraction(1, k + 1)
        return product

    def __add__(self, other: Polynomial | Number) -> Polynomial:
        terms = dict(self.terms)
        for monomial, coefficient in _terms(other).items():
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return Polynomial(terms)

    def __mul__(self, other: Polynomial | Number) -> Polynomial:
        if not isinstance(other, Polynomial):
            return Polynomial({m: c * other for m, c in self.terms.items()})
        terms: dict[Monomial, Number] = {}
        for mine, a in self.terms.items():
            for theirs, b in other.terms.items():
                monomial = _times(mine, theirs)
                terms[monomial] = terms.get(monomial, 0) + a * b
        return Polynomial(terms)

    __radd__ = __add__
    __rmul__ = __mul__

    def power(self, exponent: int) -> Polynomial:
        """A monomial to any integer power.

        >>> print(Polynomial.symbol("C").power(-2))
        1/C²
        """
        if len(self.terms) != 1:
            raise ValueError(f"not a monomial: {self}")
        ((monomial, coefficient),) = self.terms.items()
        raised = tuple((name, k * exponent) for name, k in monomial if k * exponent)
        return Polynomial({raised: Fraction(coefficient) ** exponent})

    def at(self, sizes: Mapping[str, Number]) -> Fraction:
        """The value at these sizes. `KeyError` if one is missing."""
        total = Fraction(0)
        for monomial, coefficient in self.terms.items():
            value = Fraction(coefficient)
            for name, exponent in monomial:
                value *= Fraction(sizes[name]) ** exponent
            total += value
        return total

    def names(self) -> frozenset[str]:
        """The sizes that occur."""
        return frozenset(name for monomial in self.terms for name, _ in monomial)

    def text(self, order: Sequence[str] = ()) -> str:
        """The polynomial by falling degree; in a monomial, sizes in `order` first, then by name."""
        rank = {name: k for k, name in enumerate(dict.fromkeys(order))}

        def place(name: str) -> tuple[int, str]:
            return rank.get(name, len(rank)), name

        def key(item: tuple[Monomial, Number]) -> tuple[int, list[tuple[tuple[int, str], int]]]:
            powers = {place(name): -exponent for name, exponent in item[0]}
            return sum(powers.values()), sorted(powers.items())

        written = [_monomial(m, c, place) for m, c in sorted(self.terms.items(), key=key)]
        if not written:
            return "0"
        return written[0] + "".join(f" - {w[1:]}" if w[0] == "-" else f" + {w}" for w in written[1:])

    def __str__(self) -> str:
        return self.text(sorted(self.names(), key=lambda name: (name != "n", name.isupper(), name)))

    def __repr__(self) -> str:
        return f"Polynomial({self})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int | Fraction):
            other = Polynomial.constant(other)
        return isinstance(other, Polynomial) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))


def _terms(value: Polynomial | Number) -> Mapping[Monomial, Number]:
    return value.terms if isinstance(value, Polynomial) else {(): value}


def _times(left: Monomial, right: Monomial) -> Monomial:
    if not left or not right:
        return left or right
    exponents = dict(left)
    for name, exponent in right:
        exponents[name] = exponents.get(name, 0) + exponent
    return tuple(sorted((n, k) for n, k in exponents.items() if k))


def _monomial(monomial: Monomial, coefficient: Number, place: Callable[[str], tuple[int, str]]) -> str:
    """3·n·d²/(2·C): factors over the factors with negative exponents."""
    number = Fraction(coefficient)
    names = sorted(monomial, key=lambda item: place(item[0]))
    above = [_raised(n, k) for n, k in names if k > 0]
    below = [_raised(n, -k) for n, k in names if k < 0]
    if abs(number.numerator) != 1 or not above:
        above.insert(0, str(abs(number.numerator)))
    if number.denominator != 1:
        below.insert(0, str(number.denominator))
    text = "·".join(above)
    if below:
        text += "/" + ("·".join(below) if len(below) == 1 else f"({'·'.join(below)})")
    return f"-{text}" if number < 0 else text


def _raised(name: str, exponent: int) -> str:
    return name if exponent == 1 else name + str(exponent).translate(_SUPERSCRIPTS)
