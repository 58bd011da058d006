"""Programs that are not in the language, and the whole diagnostic of each.

`malformed/NAME.tc` is a program, `malformed/NAME.txt` what is said about it; new ones are written with
`pytest tests/grammar --update-golden`, and read before they are committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tensorc.errors import LONGEST_LINE, LanguageError
from tensorc.grammar import parse

CORPUS = sorted((Path(__file__).parent / "malformed").glob("*.tc"))


def failure(path: Path) -> LanguageError:
    text = path.read_bytes().decode("utf-8")
    with pytest.raises(LanguageError) as caught:
        parse(text, file=path.name)
    return caught.value


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_diagnostic(path: Path, update_golden: bool) -> None:
    error = failure(path)
    assert error.line is not None and error.line >= 1
    assert error.column is not None and error.column >= 1
    assert error.end_column is not None and error.end_column > error.column
    assert error.source_line is not None
    assert error.hint and error.message
    shown = str(error).split("\n")
    assert shown[0] == f"{path.name}:{error.line}:{error.column}: {error.message}"
    if len(error.source_line) <= LONGEST_LINE:
        assert shown[1] == "    " + error.source_line
        assert shown[2].index("^") == error.column - 1 + 4
    assert shown[2].strip(" ").strip("^") == ""
    assert shown[3] == f"hint: {error.hint}"
    golden = path.with_suffix(".txt")
    if update_golden:
        golden.write_text(str(error) + "\n", encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == str(error) + "\n"


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_place_is_in_the_text(path: Path) -> None:
    error = failure(path)
    lines = path.read_bytes().decode("utf-8").replace("\r\n", "\n").split("\n")
    assert error.line is not None and error.column is not None
    line = lines[error.line - 1]
    assert error.column <= len(line) + 1
    assert line.replace("\t", " ") == error.source_line


def test_every_program_has_a_diagnostic_and_the_other_way_round() -> None:
    folder = Path(__file__).parent / "malformed"
    assert len(CORPUS) >= 60
    assert {p.stem for p in CORPUS} == {p.stem for p in folder.glob("*.txt")}
