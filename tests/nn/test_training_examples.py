"""The training examples run: any program trains, is kept, is read again, and speaks."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = ["--steps", "3", "--width", "16", "--depth", "1", "--heads", "2", "--batch", "2", "--out", "runs"]


def run(name: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An example as a module; examples import each other from their folder."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_a_language_model_trains_and_speaks(tmp_path: Path) -> None:
    (tmp_path / "mine.tc").write_text(
        "def mine(q[n, d], k[n, d], v[n, e]) -> o[n, e]:\n"
        "    o[i, x] = sum[i - 5 < j <= i](q[i, c] * k[j, c] * v[j, x])\n"
    )
    arguments = ["mine.tc", "tensor-network", *SMALL, "--length", "16", "--pieces", "2", "--speak", "7"]
    shown = run("train_lm.py", *arguments, "--results", "out/train.md", cwd=tmp_path)
    counts = re.findall(r"\| (\d+,\d+) \|", shown)
    assert len(counts) == 2
    first, second = (int(c.replace(",", "")) for c in counts)
    assert abs(first - second) < 0.02 * second
    table = (tmp_path / "out" / "train.md").read_text()
    assert "| mine |" in table and "| tensor network |" in table and "train_lm.py --steps 3" in table
    names = [
        e.text for e in ElementTree.parse(tmp_path / "runs" / "train_lm.svg").iter() if e.tag.endswith("text")
    ]
    assert {"mine", "tensor network", "steps"} <= set(names)
    again = run("train_lm.py", "--resume", "runs/mine.pt", "--speak", "7", "--prompt", "def", cwd=tmp_path)
    assert again.startswith("def")


def test_recall_asks_for_what_it_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recall = load("recall", monkeypatch)
    tokens, targets = recall.questions(9, 5, 4, 3, torch.Generator().manual_seed(0))
    assert tokens.shape == targets.shape == (3, 12)
    assert (targets[:, :8] == recall.IGNORED).all()
    for row, wanted in zip(tokens.tolist(), targets.tolist(), strict=True):
        facts = dict(zip(row[0:8:2], row[1:8:2], strict=True))
        assert len(facts) == 4
        assert [facts[key] for key in row[8:]] == wanted[8:]
    shown = run("recall.py", "hla2.tc", *SMALL, "--pairs", "3", "--keys", "5", "--values", "5", cwd=tmp_path)
    assert re.search(r"\| second order \| [\d,]+ \| \d+\.\d% \|", shown)


def test_runs_with_the_same_settings_stand_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = load("training", monkeypatch)
    task = training.Task("Title", "3 steps", "recalled", ".1%")
    path = tmp_path / "kept.md"
    for label, seed, labels in [
        ("one", 0, ["one"]),
        ("two", 0, ["one", "two"]),
        ("one", 0, ["two", "one"]),
        ("one", 1, ["one"]),
    ]:
        arguments = Namespace(results=path, width=16, depth=1, heads=2, rate=0.1, seed=seed, mixers=[label])
        training.keep(task, training.Run(label, 1234, [(0, 0.0), (3, 0.25)], 1.0), arguments)
        record = json.loads(path.with_suffix(".json").read_text())["Title"]
        assert [r["label"] for r in record["runs"]] == labels
        assert record["runs"][-1]["curve"] == [[0, 0.0], [3, 0.25]]
        rows = [line for line in path.read_text().splitlines() if line.endswith("| 1,234 | 25.0% |")]
        assert len(rows) == len(labels) and f"seed {seed}." in path.read_text()


def test_sections_of_results_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = load("curves", monkeypatch)
    path = tmp_path / "train.md"
    for title, body in (("One", "a"), ("Two", "b"), ("One", "c")):
        curves.write_section(path, title, body)
    assert path.read_text() == "# Training\n\n## Two\n\nb\n\n## One\n\nc\n"
    assert curves.markdown(("x", "y"), [("1", "2")]) == "| x | y |\n| --- | ---: |\n| 1 | 2 |"
