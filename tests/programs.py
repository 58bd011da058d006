"""Random programs as text: contractions of tokens and features under orders and decays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from hypothesis import strategies as st

from tests.programs_parts import fold, recurrence, segment, self_reference, softmax, window

T = TypeVar("T")
TOKENS = ("j", "u", "l")
DIMENSIONS = {"a": "d", "b": "d", "c": "d", "x": "e", "y": "e"}
# The inputs a program may use, without their head axis: the token axis n first, where there is one.
INPUTS = {
    "q": "nd", "k": "nd", "r": "nd", "v": "ne", "z": "ne", "A": "n", "B": "n", "M": "nde",
    "W": "dd", "E": "de", "w": "d", "s": "",
    "g": "n", "G": "nd", "p": "n", "P": "nd", "gamma": "", "rate": "d", "seg": "n",
}  # fmt: skip
FACTORS = ("q", "k", "r", "v", "z", "A", "B", "q", "k", "v", "M", "W", "E", "w", "s")


def programs() -> st.SearchStrategy[str]:
    """The text of a program; nearly all are in the language. None with windows, softmax and folds: of those
    `python -m tests.fuzz` writes more than fit a test."""
    return st.randoms(use_true_random=False).map(lambda random: write_program(random, streamed=False))


def write_program(random: Random, streamed: bool = True) -> str:
    """A program of one or two outputs and up to two intermediates; `streamed`: also with windows and pairs
    that are not separable."""
    writer = Writer(random, streamed)
    if writer.chance(15):
        writer.heads = {name for name in INPUTS if writer.chance(50)}
        writer.head = "m"
    for name in ("m1", "m2")[: writer.one(0, 0, 1, 1, 1, 2)]:
        writer.intermediate(name)
    outputs = [writer.output(name) for name in ("out", "more")[: writer.one(1, 1, 1, 2)]]
    inputs = [f"{t}[{', '.join([*(['h'] if t in writer.heads else []), *INPUTS[t]])}]" for t in writer.used]
    lines = "\n".join(f"    {equation}" for equation in writer.needed())
    return f"def f({', '.join(inputs)}) -> {', '.join(outputs)}:\n{lines}\n"


@dataclass(slots=True)
class Writer:
    """Writes one program: the tensors it has read so far, and the equations."""

    random: Random
    streamed: bool = True
    heads: set[str] = field(default_factory=set)  # tensors that have the head axis
    head: str = ""  # the letter of the head axis, if the program has one
    used: dict[str, None] = field(default_factory=dict)
    equations: list[tuple[str, str]] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)  # intermediates: name → axes

    # -- choices -------------------------------------------------------------------------------------

    def one(self, *choices: T) -> T:
        """One of the choices; simple ones stand first."""
        return choices[self.random.randrange(len(choices))]

    def chance(self, percent: int) -> bool:
        """True in about that many percent of the programs."""
        return self.random.randrange(100) >= 100 - percent

    # -- factors -------------------------------------------------------------------------------------

    def read(self, name: str, letters: str) -> str:
        """A read of an input or an intermediate, with its head axis if it has one."""
        if name not in self.made:
            self.used[name] = None
        shift, letters = (letters[:2], letters[2:]) if letters[:1] in ("-", "+") else ("", letters)
        own = [f"{letters[0]} {shift[0]} {shift[1]}", *letters[1:]] if shift else letters
        inside = ", ".join([*([self.head] if name in self.heads else []), *own])
        return f"{name}[{inside}]" if inside or self.chance(50) else name

    def letters(self, axes: str, tokens: Sequence[str], features: Sequence[str]) -> str | None:
        """Letters for the axes of a tensor; None if the term has none of a size."""
        found = ""
        for axis in axes:
            pool = tokens if axis == "n" else [f for f in features if DIMENSIONS[f] == axis]
            if not pool:
                return None
            found += self.one(*pool)
        return self.shifted(found, axes) if self.chance(4) else found

    def shifted(self, letters: str, axes: str) -> str:
        """The letters with the token of another row: a few rows earlier, rarely later."""
        return letters if axes.count("n") != 1 else self.one("-1", "-1", "-2", "-3", "+1") + letters

    def factor(self, tokens: Sequence[str], features: Sequence[str]) -> str:
        """A tensor at one token (or of features alone), perhaps under a function."""
        name = self.one(*FACTORS, *self.made, *self.made)
        axes = self.made.get(name) or INPUTS[name]
        letters = self.letters(axes, tokens, features)
        if letters is None:
            name, letters = "A", self.one(*tokens)
        text = self.read(name, letters)
        return self.function(text) if axes.count("n") < 2 and self.chance(15) else text

    def function(self, text: str) -> str:
        """A function of one token."""
        return self.one(
            f"(1 + {text})", f"{text} ** 2", f"relu({text})", f"(elu({text}) + 1)", f"exp({text})",
            f"(2 - {text} / 3)", f"tanh({text})", f"where({text} > 0, {text}, 0.5)", f"(-{text})",
        )  # fmt: skip

    def pair(self, tokens: Sequence[str]) -> str:
        """A polynomial of a score, or a score that cannot be taken apart."""
        early, late = self.one(*tokens), self.one(*tokens)
        score = f"sum[o]({self.read('q', f'{late}o')} * {self.read('k', f'{early}o')})"
        polynomials = (
            f"(1 + {score})", f"{score} ** 2", f"(1 + {score} / 2) ** 2", f"{score} ** 3",
            f"(1 + {score} + {score} ** 2 / 2)",
        )  # fmt: skip
        return self.one(*polynomials, *((f"relu({score})", f"exp({score} / 4)") if self.streamed else ()))

    # -- relations -------------------------------------------------------------------------------------

    def order(self, early: str, late: str) -> str:
        """early before late, in one of the spellings; sometimes in a window, or in one segment."""
        if self.chance(8) and self.streamed:
            return window(self, early, late)
        if self.chance(8):
            return f"{early} {self.one('<=', '<')} {late}, {segment(self, early, late)}"
        return self.one(
            f"{early} <= {late}", f"{early} < {late}", f"{late} >= {early}", f"{late} > {early}",
            f"{early} <= {late}", f"{early} <= {late} - 1", f"{early} - {late} < 0", f"{early} < {late} + 1",
        )  # fmt: skip

    def decay(self, early: str, late: str, features: Sequence[str]) -> str:
        """A product of gates between two tokens, in one of the spellings."""
        channels = [f for f in features if DIMENSIONS[f] == "d"]
        kind = self.one("log", "product", "constant", "log", "product", "power", "rate")
        if kind == "constant":
            step = self.one(f"{late} - {early}", f"{late} - {early} + 1", f"2 * ({late} - {early})")
            gamma = self.read("gamma", "")  # never 0: a pair out of order would divide by it
            return f"({gamma} * {gamma} + 1 / 2) ** ({step})"
        if kind == "power":
            scale = self.one("-", "-2 * ", "-0.5 * ")
            return f"exp({scale}abs({self.read('gamma', '')}) * ({late} - {early}))"
        if kind == "rate":
            base = self.read("rate", self.one(*channels)) if channels else "0.5"
            return f"{base} ** ({late} - {early})"
        letter = self.one(*channels) if channels and self.chance(40) else ""
        return self.gates(kind == "log", letter, self.between(early, late))

    def between(self, early: str, late: str) -> str:
        """The domain of the gates of a decay."""
        return self.one(
            f"{early} < t <= {late}", f"{early} < t <= {late}", f"{early} <= t < {late}",
            f"{early} < t < {late}", f"{early} <= t <= {late}", f"t > {early}, t <= {late}",
        )  # fmt: skip

    def gates(self, log: bool, letter: str, domain: str) -> str:
        """A product of gates, or exp of a sum of their logarithms."""
        if self.chance(8):
            domain += f", {self.read('A', 't')} != 0"
        if log:
            gate = self.read("G" if letter else "g", "t" + letter)
            gate = self.one(gate, gate, f"-softplus({gate})", f"log(sigmoid({gate}))", f"(-abs({gate}))")
            total = f"sum[{domain}]({gate})"
            scaled = f"-abs({self.read('s', '')}) * {total}" if self.chance(15) else total
            return f"exp({self.one(scaled, scaled, f'2 * {total}', f'{total} / 2')})"
        gate = self.read("P" if letter else "p", "t" + letter)
        return f"prod[{domain}]({self.one(gate, gate, f'(1 - {gate})', f'sigmoid({gate})', f'{gate} ** 2')})"

    # -- terms -----------------------------------------------------------------------------------------

    def term(self, token: str, out: Sequence[str]) -> str:
        """A sum over tokens and features; `token` and `out` are the indices that stay."""
        bound = TOKENS[: self.one(1, 1, 1, 2, 2, 3)]
        tokens = [*([token] if token else []), *bound]
        features = list(dict.fromkeys([*out, *(self.one(*"abcxy") for _ in range(self.one(0, 1, 1, 2, 3)))]))
        edges = self.edges(token, bound)
        domain = [self.order(early, late) for early, late in edges]
        parts = [self.factor(tokens, features) for _ in range(self.one(1, 2, 3, 4))]
        parts += [self.read("A", t) for t in bound if not any(_occurs(t, part) for part in parts)]
        for _ in range(self.one(0, 0, 1, 1, 2)):
            pairs = edges * 4 + [(bound[-1], tokens[0])] if len(tokens) > 1 else edges
            if pairs:
                parts.append(self.decay(*self.one(*pairs), features))
        if self.chance(10):
            parts.append(self.pair(tokens))
        if self.chance(8):
            domain.append(f"{self.read('B', bound[0])} {self.one('!=', '>')} 0")
        self.random.shuffle(parts)
        body = " * ".join(parts)
        summed = [f for f in features if f not in out and _occurs(f, body)]
        binds = [*(t for t in bound if not _occurs(t, " ".join(domain)) or self.chance(30)), *summed]
        return f"sum[{', '.join([*binds, *domain])}]({body})"

    def edges(self, token: str, bound: Sequence[str]) -> list[tuple[str, str]]:
        """Which token is before which: mostly chains back from the output's token."""
        edges: list[tuple[str, str]] = []
        for k, name in enumerate(bound):
            others = [*([token] if token else []), *bound[:k]]
            if others and not self.chance(5):
                other = self.one(*reversed(others))
                edges.append((other, name) if self.chance(12) else (name, other))
        if len(bound) > 1 and self.chance(25):
            edges.append((bound[-1], token or bound[0]))
        return edges

    # -- equations ---------------------------------------------------------------------------------------

    def intermediate(self, name: str) -> None:
        """A tensor for later equations: a pair, a state, a stage, a feature map, or what refers to itself."""
        kinds = ["stage", "pair", "decay", "map", "state", "gated pair"]
        kinds += ["softmax", "fold"] * self.streamed
        kind = self.one(*kinds, *(["self", "self", "recurrence"] if not self.head else []))
        score = f"{self.read('q', 'ia')} * {self.read('k', 'ja')}"
        if kind == "pair":
            self.define(name, "ij", "nn", self.one(score, score, f"1 + {score}"))
        elif kind == "decay":
            self.define(name, "ij", "nn", self.decay("j", "i", ()))
        elif kind == "gated pair":
            self.define(name, "ij", "nn", f"{self.decay('j', 'i', ())} * {score}")
        elif kind == "softmax":
            self.define(name, "ij", "nn", softmax(self))
        elif kind == "fold":
            self.define(name, "i", "n", fold(self))
        elif kind == "self":
            self.define(name, "ix", "ne", self_reference(self, name))
        elif kind == "recurrence":
            left = self.one("ix", "iax", "ia")
            self.define(name, left, {"x": "ne", "a": "nd"}.get(left[1:], "nde"), recurrence(self, name, left))
        elif kind == "map":
            plus = self.one("1", self.read("w", "a"))
            self.define(name, "ia", "nd", f"elu({self.read('q', 'ia')}) + {plus}")
        elif kind == "state":
            self.define(name, "iax", "nde", self.term("i", "ax"))
        else:
            self.define(name, "ix", "ne", self.around(self.term("i", "x"), "i", "x"))

    def output(self, name: str) -> str:
        """The equation of an output; returns its declaration."""
        left = self.one("ix", "ix", "ix", "i", "i", "ia", "ia", "iax", "iax", "x", "")
        token, out = ("i", left[1:]) if left.startswith("i") else ("", left)
        axes = ("n" if token else "") + "".join(DIMENSIONS[f] for f in out)
        made = dict(self.made)
        self.define(name, left, axes, self.around(self.term(token, out), token, out))
        self.made = made
        return f"{name}[{', '.join([*(['h'] if self.head else []), *axes])}]"

    def define(self, name: str, left: str, axes: str, body: str) -> None:
        """One equation. In a program with heads an output has their axis, an intermediate if it reads one."""
        if self.head and (name in ("out", "more") or _occurs(self.head, body)):
            self.heads.add(name)
        letters = [*([self.head] if name in self.heads else []), *left]
        self.equations.append((name, f"{name}[{', '.join(letters)}] = {body}"))
        self.made[name] = axes

    def needed(self) -> list[str]:
        """The equations that the outputs need, in any order."""
        kept: list[str] = []
        for name, equation in reversed(self.equations):
            if name in ("out", "more") or any(_occurs(name, other) for other in kept):
                kept.append(equation)
        self.random.shuffle(kept)
        return kept

    def around(self, text: str, token: str, out: Sequence[str]) -> str:
        """What stands around a sum: another sum, a ratio, a function."""
        kind = self.one("", "", "", "+", "/", "f", "*", "mean")
        if kind == "+":
            return f"{text} {self.one('+', '-')} {self.term(token, out)}"
        if kind == "/":
            return f"{text} / (1 + abs({self.term(token, ())}))"
        if kind == "f":
            return f"{self.one('tanh', 'relu', 'sigmoid')}({text})"
        if kind == "*" and token:
            return f"{self.factor([token], out)} * {text}"
        if kind == "mean" and token:
            return f"{text} + mean[j, j <= {token}]({self.read('A', 'j')})"
        return text


def _occurs(letter: str, text: str) -> bool:
    return re.search(rf"\b{letter}\b", text) is not None
