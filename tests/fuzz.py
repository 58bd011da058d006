"""Random programs by the thousand: `python -m tests.fuzz --count 2000`.

Every form of each program is compared with its definition in exact arithmetic (chunks of 1, 3 and 4,
streams cut in two), and its generated source in float64 with batch dimensions, arrays that are not
contiguous and sizes around a chunk. Of a program with exp of a score the approximation is one more program.
The summary says how many programs have each form, and why not, and how many use what.
"""

from __future__ import annotations

import argparse
import re
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import tensorc
from tensorc.errors import FormError, LanguageError, VerificationError
from tests.agreement import check_forms
from tests.programs import write_program

LENGTHS = ((5, 17), (2, 11), (1, 7), (3, 0), (33, 4))
LONG = ((63, 1), (64, 2), (65, 3), (127, 5), (129, 7))  # around a chunk; every 10th program


@dataclass(slots=True)
class Tally:
    """What was found so far."""

    programs: int = 0
    not_in_the_language: int = 0
    evaluations: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    mechanisms: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.programs} programs ({self.not_in_the_language} more were not in the language), "
            f"{self.evaluations} exact evaluations, {len(self.failures)} failures"
        ]
        for form in ("chunkwise", "recurrent"):
            lines.append(f"{self.forms[form]} have the {form} form; of the others:")
            lines += [f"  {n:5}  {r}" for (f, r), n in self.refused.most_common() if f == form]
        lines += [f"{n:5} with {what}" for what, n in self.mechanisms.most_common()]
        lines += [f"left out {n} times: {what}" for what, n in self.left_out.most_common(6)]
        return "\n".join([*lines, *self.failures])


MECHANISMS = {
    "its own result": r"^ *(m\d)\[.*= .*\b\1\[",
    "softmax": r"softmax\[",
    "a maximum, a mean or logsumexp": r"\b(max|min|mean|logsumexp)\[",
    "a window": r"> i - \d|i - \d+ <=? j|- j < \d|< \d+\b.*<=? \w\b",
    "segments": r"seg\[.*== seg\[",
    "a shift": r"\[(\w, )?\w [-+] \d",
    "a power of a score": r"\) \*\* \d",
    "gates": r"(sum|prod)\[[^\]]*\bt\b",
    "a block of positions": r"//",
    "heads": r"\[h, n",
}


def check(text: str, seed: int, seconds: float, tally: Tally) -> None:
    """One program, exactly and in floats."""
    program = tensorc.parse(text)
    shown = {name for decl in program.inputs for axis in decl.axes for name in axis.names}
    sizes = {name: 2 for name in program.sizes() if name not in shown}
    operator = tensorc.compile(program, time="n" if "n" in program.sizes() else None, sizes=sizes)
    result = operator.verify(seed=seed, time_limit=seconds)
    tally.evaluations += result.evaluations
    tally.left_out.update(re.sub(r"\d+", "#", what) for what in result.not_reached)
    tally.mechanisms.update(m for m, pattern in MECHANISMS.items() if re.search(pattern, text, re.M))
    lengths = LONG[seed // 10 % len(LONG)] if seed % 10 == 0 else LENGTHS[seed % len(LENGTHS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        check_forms(text, lengths, time="n" if operator.time else None, seed=seed, sizes=sizes)
    for form in ("chunkwise", "recurrent"):
        if form in result.refused:
            tally.refused[form, _general(result.refused[form])] += 1
        else:
            tally.forms[form] += 1


def approximation(text: str, seed: int) -> str | None:
    """The program with a polynomial for exp of its scores; None if it has none, or no such polynomial."""
    try:
        time = "n" if "n" in tensorc.parse(text).sizes() else None
        program = tensorc.approximate(text, "exp", degree=seed % 3 + 1, bound=1.0, time=time)
    except tensorc.TensorcError:
        return None
    assert tensorc.parse(str(program)) == program
    return str(program)


def _general(reason: str) -> str:
    """A reason without the names of its program."""
    return re.sub(r"\b(?!a\b|is\b|no\b|of\b|so\b)[a-zA-Z]\w?(_\d+)?\b(\[[^\]]*\])?", "·", reason)[:100]


def fuzz(first: int, count: int, seconds: float) -> Tally:
    """Check the programs of `count` seeds."""
    tally = Tally()
    started, shown = time.monotonic(), 0
    for seed, text in _texts(first, count, tally):
        try:
            check(text, seed, seconds, tally)
        except LanguageError:
            tally.not_in_the_language += 1
            continue
        except (AssertionError, VerificationError, FormError) as problem:
            told = str(problem) or traceback.format_exc()  # an assertion of the compiler says nothing itself
            tally.failures.append(f"\nseed {seed}:\n{text}\n{told}")
        except Exception as problem:
            if "The definition needs an array" in str(problem):  # of so many tokens at once
                tally.left_out["a definition too large for this length"] += 1
            else:
                tally.failures.append(f"\nseed {seed}:\n{text}\n{traceback.format_exc()}")
        tally.programs += 1
        if len(tally.failures) > shown:
            print(*tally.failures[shown:], flush=True)
            shown = len(tally.failures)
        if tally.programs % 100 == 0:
            minutes = (time.monotonic() - started) / 60
            print(f"{tally.programs} programs, {len(tally.failures)} failures, {minutes:.0f} min", flush=True)
    return tally


def _texts(first: int, count: int, tally: Tally) -> Iterator[tuple[int, str]]:
    """The programs of the seeds, each with its approximation if it has one."""
    for seed in range(first, first + count):
        text = write_program(Random(seed))
        yield seed, text
        try:
            other = approximation(text, seed)
        except Exception:
            tally.failures.append(f"\nseed {seed}, approximated:\n{text}\n{traceback.format_exc()}")
            continue
        if other is not None:
            tally.mechanisms["a polynomial for exp"] += 1
            yield seed, other


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, default=4, help="of exact verification for each program")
    arguments = parser.parse_args()
    tally = fuzz(arguments.seed, arguments.count, arguments.seconds)
    print(tally)
    raise SystemExit(bool(tally.failures))


if __name__ == "__main__":
    main()
