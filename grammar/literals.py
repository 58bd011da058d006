"""Numbers of the text, read exactly, without ever building one that is huge."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NoReturn

from tensorc.grammar.scanner import Token
from tensorc.grammar.source import Source

MAX_DIGITS = 400
_PARTS = re.compile(r"([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?)([0-9]+))?")
_UNDERSCORES = re.compile(r"(?<![0-9])_|_(?![0-9])")
_LARGEST = (2**53 - 1) * 2**971  # the largest float64


def integer(source: Source, token: Token, what: str) -> int:
    """The value of an integer literal below 2**63; decimals and larger ones are a `LanguageError`."""
    value = exact(source, token)
    if not isinstance(value, int) or not token.value.replace("_", "").isdigit():
        source.fail(f"{what} is an integer.", token.span, "Write it without a point and without an exponent.")
    return value


def exact(source: Source, token: Token) -> int | Fraction:
    """The exact value of a literal: 0.1 is 1/10, 2.50 is 5/2, 1e3 is 1000. An `int` is below 2**63."""
    if _UNDERSCORES.search(token.value):
        source.fail("An underscore in a number stands between digits.", token.span, "Write 1_000 or 1000.")
    match = _PARTS.fullmatch(token.value.replace("_", ""))
    assert match is not None  # the scanner lets nothing else through
    whole, fraction, sign, exponent = (part or "" for part in match.groups())
    is_integer = match.group(2) is None and match.group(4) is None
    if is_integer and len(whole) > 1 and whole.startswith("0") and whole.strip("0"):
        source.fail("An integer does not begin with 0.", token.span, f"Write {whole.lstrip('0')[:20]}.")
    whole, exponent = whole.lstrip("0"), exponent.lstrip("0")
    if not (whole + fraction).strip("0"):
        return 0
    if len(whole) + len(fraction) > MAX_DIGITS or len(exponent) > 3:
        _fail_size(source, token, is_integer)
    shift = int(sign + exponent) if exponent else 0
    if abs(shift) > MAX_DIGITS:
        _fail_size(source, token, is_integer)
    value = Fraction(int((whole + fraction) or "0"), 10 ** len(fraction)) * Fraction(10) ** shift
    if is_integer and value >= 2**63 or value > _LARGEST or (value and float(value) == 0):
        _fail_size(source, token, is_integer)
    return value.numerator if value.denominator == 1 and value < 2**63 else value


def _fail_size(source: Source, token: Token, is_integer: bool) -> NoReturn:
    if is_integer:
        source.fail("This integer is 2**63 or more.", token.span, "Integers are below 2**63.")
    source.fail(
        "This number does not fit in float64.",
        token.span,
        f"Numbers lie between 5e-324 and 1.8e308, with at most {MAX_DIGITS} digits.",
    )
