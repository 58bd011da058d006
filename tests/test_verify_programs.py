"""Two programs compared in exact arithmetic; and the published recurrences that are not their definitions."""

from __future__ import annotations

import doctest
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tensorc

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "wrong_recurrences.py"
PREFIX = "def f(x[n, d]) -> y[n, d]:  y[i, c] = sum[j <= i](x[j, c])"


def test_a_recurrence_that_is_right() -> None:
    assert tensorc.disagreement("def f(x[n, d]) -> y[n, d]:  y[i, c] = y[i - 1, c] + x[i, c]", PREFIX) is None


def test_the_smallest_inputs_are_found() -> None:
    strict = "def f(x[n, d]) -> y[n, d]:  y[i, c] = sum[j < i](x[j, c])"
    found = tensorc.disagreement(strict, tensorc.parse(PREFIX), seed=3)
    assert found is not None and found.sizes == {"n": 1, "d": 1}
    assert found.inputs["x"].tolist() == [[1]] and (found.output, found.index) == ("y", (0, 0))
    assert "0 got" in str(found) and found.to_dict()["got"] == [[0]]


def test_functions_are_compared_too() -> None:
    softmax = "def f(x[n]) -> p[n]:  p[j] = softmax[j](x[j])"
    ratio = "def f(x[n]) -> p[n]:  p[j] = exp(x[j]) / sum[u](exp(x[u]))"
    assert tensorc.disagreement(ratio, softmax) is None
    assert tensorc.disagreement(ratio.replace("/ sum", "/ 2 / sum"), softmax) is not None


def test_programs_of_other_shapes() -> None:
    with pytest.raises(tensorc.TensorcError, match=r"The inputs of f and f differ: x\[n\]; x\[n, d\]"):
        tensorc.disagreement("def f(x[n]) -> y[n]:  y[i] = x[i]", PREFIX)
    with pytest.raises(tensorc.TensorcError, match="The outputs of g and f differ"):
        tensorc.disagreement("def g(x[n, d]) -> z[n, d]:  z[i, c] = x[i, c]", PREFIX)


def test_a_time_limit_ends_it() -> None:
    assert tensorc.disagreement(PREFIX, PREFIX, time_limit=0) is None


def test_the_page_of_the_module() -> None:
    module = importlib.import_module("tensorc.verify_programs")
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_what_is_published_and_what_is_meant() -> None:
    spec = importlib.util.spec_from_file_location("wrong_recurrences", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = sys.modules["wrong_recurrences"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert [c.holds for c in example.CLAIMS] == [True, False, False, False, False]
    for claim in example.CLAIMS:
        found = tensorc.disagreement(claim.published, claim.definition)
        assert (found is None) == claim.holds, claim.title
        if found is not None:  # what is printed is so
            program = tensorc.parse(claim.published)
            reference = tensorc.compile(program, backend="reference")
            np.testing.assert_array_equal(reference(*found.inputs.values()), found.got)


def test_the_example_runs(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(": differs") == 4 and run.stdout.count(": agrees") == 1
    assert "third order: a state of 12288 numbers" in run.stdout
