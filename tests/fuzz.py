"""Random programs by the thousand: `python -m tests.fuzz --count 2000`.

Every form of each program is compared with its definition in exact arithmetic (chunks of 1, 3 and 4,
streams cut in two), and its generated source in float64 with batch dimensions, arrays that are not
contiguous and sizes around a chunk. The summary says how many programs have each form, and why not.
"""

from __future__ import annotations

import argparse
import re
import time
import traceback
import warnings
from collections import Counter
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
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.programs} programs ({self.not_in_the_language} more were not in the language), "
            f"{self.evaluations} exact evaluations, {len(self.failures)} failures"
        ]
        for form in ("chunkwise", "recurrent"):
            lines.append(f"{self.forms[form]} have the {form} form; of the others:")
            lines += [f"  {n:5}  {r}" for (f, r), n in self.refused.most_common() if f == form]
        lines += [f"left out {n} times: {what}" for what, n in self.left_out.most_common(6)]
        return "\n".join([*lines, *self.failures])


def check(text: str, seed: int, seconds: float, tally: Tally) -> None:
    """One program, exactly and in floats."""
    program = tensorc.parse(text)
    shown = {name for decl in program.inputs for axis in decl.axes for name in axis.names}
    sizes = {name: 2 for name in program.sizes() if name not in shown}
    operator = tensorc.compile(program, time="n" if "n" in program.sizes() else None, sizes=sizes)
    result = operator.verify(seed=seed, time_limit=seconds)
    tally.evaluations += result.evaluations
    tally.left_out.update(re.sub(r"\d+", "#", what) for what in result.not_reached)
    lengths = LONG[seed // 10 % len(LONG)] if seed % 10 == 0 else LENGTHS[seed % len(LENGTHS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        check_forms(text, lengths, time="n" if operator.time else None, seed=seed, sizes=sizes)
    for form in ("chunkwise", "recurrent"):
        if form in result.refused:
            tally.refused[form, _general(result.refused[form])] += 1
        else:
            tally.forms[form] += 1


def _general(reason: str) -> str:
    """A reason without the names of its program."""
    return re.sub(r"\b(?!a\b|is\b|no\b|of\b|so\b)[a-zA-Z]\w?(_\d+)?\b(\[[^\]]*\])?", "·", reason)[:100]


def fuzz(first: int, count: int, seconds: float) -> Tally:
    """Check the programs of `count` seeds."""
    tally = Tally()
    started = time.monotonic()
    for seed in range(first, first + count):
        text = write_program(Random(seed))
        try:
            check(text, seed, seconds, tally)
        except LanguageError:
            tally.not_in_the_language += 1
            continue
        except (AssertionError, VerificationError, FormError) as problem:
            told = str(problem) or traceback.format_exc()  # an assertion of the compiler says nothing itself
            tally.failures.append(f"\nseed {seed}:\n{text}\n{told}")
        except Exception:
            tally.failures.append(f"\nseed {seed}:\n{text}\n{traceback.format_exc()}")
        tally.programs += 1
        if tally.programs % 100 == 0:
            minutes = (time.monotonic() - started) / 60
            print(f"{tally.programs} programs, {len(tally.failures)} failures, {minutes:.0f} min", flush=True)
    return tally


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
