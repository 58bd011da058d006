"""How long text takes, and what is loaded for it."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tensorc.grammar import parse
from tensorc.printing import print_program

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.tc"))


def test_a_program_of_the_catalogue_takes_milliseconds() -> None:
    texts = [path.read_text(encoding="utf-8") for path in EXAMPLES]
    parse(texts[0])
    start = time.process_time()
    for text in texts:
        print_program(parse(text))
    assert (time.process_time() - start) / len(texts) < 0.03


def test_lowering_a_traced_program_loads_no_parser() -> None:
    code = "import sys, tensorc.grammar.lowering; print({'lark', 'networkx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_grammar_has_no_conflicts_and_fits_a_page(caplog: pytest.LogCaptureFixture) -> None:
    import lark

    text = (Path(__file__).parents[2] / "grammar" / "tensorc.lark").read_text(encoding="utf-8")
    with caplog.at_level(logging.DEBUG, logger=lark.logger.name):
        lark.Lark(text, parser="lalr", lexer="basic", debug=True)
    assert "onflict" not in caplog.text
    rules = [line for line in text.splitlines() if line.strip() and not line.startswith("//")]
    assert len(rules) < 60
