"""Parts of random programs: self-reference, recurrences, windows, segments, softmax and folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Parts(Protocol):
    """What these parts need of the writer of a program."""

    streamed: bool

    def read(self, name: str, letters: str) -> str: ...
    def decay(self, early: str, late: str, features: Sequence[str]) -> str: ...
    def chance(self, percent: int) -> bool: ...
    def one(self, *choices: str) -> str: ...


def self_reference(w: Parts, name: str) -> str:
    """An equation for name[i, x] that reads its own result at earlier (rarely later) tokens by pairs."""
    backwards = w.chance(12)
    early, late = ("i", "j") if backwards else ("j", "i")
    kernel = f"{w.read('k', 'ia')} * {w.read(w.one('k', 'r', 'k'), 'ja')}"
    if w.chance(50):
        kernel = f"{w.decay(early, late, w.one('', 'a'))} * {kernel}"
    order = w.one("j < i", "j < i", "i > j", "j <= i - 1")
    if backwards:
        order = "j > i"
    elif w.chance(12):
        order += f", {segment(w, 'j', 'i')}"
    elif w.streamed and w.chance(12):
        order = f"i - {w.one('2', '4')} < j < i"
    own = f"{name}[j, {'y' if w.chance(8) else 'x'}]"
    right = f"sum[a, {'y, ' if own.endswith('y]') else ''}{order}]({kernel} * {own})"
    value = w.one(w.read("v", "ix"), f"{w.read('v', 'ix')} * {w.read('A', 'i')}", "1")
    body = f"{value} {w.one('-', '-', '+')} {right}"
    scale = w.one("", f"{w.read('B', 'i')} * ", f"{w.read('B', 'i')} * ", "0.5 * ")
    body = f"{scale}({body})" if scale else body
    return f"tanh({body})" if w.chance(8) else body


def recurrence(w: Parts, name: str, left: str) -> str:
    """A first-order recurrence for name[left], left = i and features; sometimes of second order, reversed
    or nonlinear."""
    features = left[1:]
    before = w.one("i - 1", "i - 1", "i - 1", "i - 2", "i + 1")
    earlier = f"{name}[{', '.join([before, *features])}]"
    channel = "a" if "a" in features else ""
    gate = w.one(
        w.read("p", "i"), f"exp({w.read('g', 'i')})", w.read("P", "ia") if channel else w.read("p", "i"),
        f"exp({w.read('G', 'ia')})" if channel else "0.5", f"sigmoid({w.read('A', 'i')})",
    )  # fmt: skip
    write = " * ".join([w.read("k", "ia")] * ("a" in features) + [w.read("v", "ix")] * ("x" in features))
    body = f"{gate} * {earlier} {w.one('+', '+', '-')} {write}"
    if before == "i - 1" and w.chance(12):
        body += f" - {name}[{', '.join(['i - 2', *features])}] / 3"
    return f"tanh({body})" if w.chance(10) else body


def segment(w: Parts, early: str, late: str) -> str:
    """Both tokens are of one segment."""
    return f"{w.read('seg', late)} == {w.read('seg', early)}"


def window(w: Parts, early: str, late: str) -> str:
    """early among the last few tokens up to late."""
    width = w.one("1", "2", "3", "5", "70")
    return w.one(
        f"{late} - {width} < {early} <= {late}", f"{late} - {width} <= {early} < {late}",
        f"{early} > {late} - {width}, {early} <= {late}", f"0 <= {late} - {early} < {width}",
    )  # fmt: skip


def softmax(w: Parts) -> str:
    """Weights p[i, j]: a softmax over j under some relation, of scores with a bias, a cap or a decay."""
    score = f"{w.read('q', 'ia')} * {w.read('k', 'ja')}"
    score = w.one(score, f"({score}) / 2", f"({score}) - 0.5 * (i - j)", f"2 * tanh({score})")
    if w.chance(12):
        score = f"({score}) + sum[j < t <= i]({w.read('g', 't')})"
    return f"softmax[{relation(w)}]({score})"


def fold(w: Parts) -> str:
    """A row reduction over j for one token i."""
    score = f"{w.read('q', 'ia')} * {w.read('k', 'ja')}"
    op, body = w.one("max", "min", "logsumexp", "mean"), w.one(w.read("A", "j"), f"sum[a]({score})")
    return f"{op}[{relation(w, some=True)}]({body})"


def relation(w: Parts, some: bool = False) -> str:
    """The tokens j that a softmax or a fold of token i runs over; `some`: never none, as the result would be
    infinite or undefined, and 0 times it is not what an order of sums must keep."""
    found = w.one("j, j <= i", "j, j <= i", "j", "j, j // 3 <= i // 3")
    if not some and w.chance(40):
        found = w.one(f"j, {window(w, 'j', 'i')}", "j, j < i")
    return f"{found}, {segment(w, 'j', 'i')}" if w.chance(20) else found
