"""Verify many random programs exactly: python -m tests.fuzz --count 2000."""

from __future__ import annotations

import argparse
from random import Random

import tensorc
from tests.programs import write_program


def main() -> int:
    """Count the programs that agree in every form; print those that do not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first program; each has the next")
    parser.add_argument("--seconds", type=float, default=0.25, help="for each program")
    options = parser.parse_args()
    passed = failed = refused = empty = evaluations = 0
    forms = dict.fromkeys(("chunkwise", "recurrent"), 0)
    for seed in range(options.seed, options.seed + options.count):
        text = write_program(Random(seed))
        try:
            operator = tensorc.compile(text)
        except tensorc.LanguageError:
            refused += 1
            continue
        try:
            result = operator.verify(time_limit=options.seconds, seed=seed)
        except Exception as error:  # whatever it is, the program that made it matters
            failed += 1
            print(f"seed {seed}: {type(error).__name__}: {error}\n{text}", flush=True)
            continue
        if not result.evaluations:
            empty += 1
            continue
        passed += 1
        evaluations += result.evaluations
        for form in forms:
            forms[form] += operator.forms.exists(form)
    print(f"{passed} passed, {failed} failed, {evaluations} exact comparisons; of them {forms}")
    print(f"{refused} were not in the language, {empty} were not reached in {options.seconds} seconds")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
