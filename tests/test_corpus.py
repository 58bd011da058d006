"""Programs that nobody listed: every form is the definition, and those that do not exist are named.

The files of `tests/corpus` hold programs with comments above them: the time axis where it is left open,
and the forms that a program is without.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.agreement import check_forms

PROGRAM = re.compile(r"((?:#[^\n]*\n)*)(def (\w+)\(.*?)(?=\n#|\ndef |\Z)", re.DOTALL)
LENGTHS = ((5, 17), (1, 11), (2, 19), (7, 0), (65, 3))


def corpus() -> list[Any]:
    """(text, time axis, forms it is without) of every program."""
    found = []
    for path in sorted((Path(__file__).parent / "corpus").glob("*.tc")):
        for comments, text, name in PROGRAM.findall(path.read_text()):
            notes = dict(re.findall(r"# (\w+): (.*)", comments))
            without = sorted(notes.get("without", "").split(", ")) if "without" in notes else []
            found.append(pytest.param(text.strip(), notes.get("time"), without, id=f"{path.stem}:{name}"))
    return found


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize(("text", "time", "without"), corpus())
def test_every_form(text: str, time: str | None, without: list[str]) -> None:
    seed = len(text)
    refused = check_forms(text, LENGTHS[seed % len(LENGTHS)], time=time, seed=seed)
    assert sorted(refused) == without, refused
    assert all("form of" in reason and len(reason) < 400 for reason in refused.values())


def test_the_corpus_is_not_lost() -> None:
    assert len(corpus()) > 140
