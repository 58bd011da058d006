"""Every piece of Python in README.md and docs/ runs, and so do the examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tensorc

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "grammar").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language with the lines they start at."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start()) + 2, match[2])
        for match in FENCE.finditer(text)
        if match[1] == language
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for needed in {"nn.md": ["torch"], "triton.md": ["torch", "triton"]}.get(page.name, []):
        pytest.importorskip(needed)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)  # some write files
    namespace: dict[str, object] = {"__name__": "__page__"}
    for line, code in blocks(page, "python"):
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, namespace, page.name, str(page), line)
            result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, clear_globs=False)
            namespace.update(test.globs)
            assert result.failed == 0, f"{page.name}:{line}"
        else:
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_parse(page: Path) -> None:
    for line, text in blocks(page, "tensorc"):
        assert tensorc.parse(text).equations, f"{page.name}:{line}"


def commands() -> list[str]:
    """The `tensorc ...` lines of the shell blocks."""
    lines = [line for page in PAGES for _, code in blocks(page, "sh") for line in code.splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.startswith("tensorc ")]


def test_commands_run(tmp_path: Path) -> None:
    found = commands()
    assert found, "the README shows the command line"
    script = f"cd {tmp_path!s}\nln -s {ROOT / 'examples'!s} examples\nset -e\n"
    script += f"""{sys.executable} -c "
import numpy as np
rng = np.random.default_rng(0)
for name in 'qkv': np.save(name + '.npy', rng.standard_normal((32, 8)))
"\n"""
    script += "".join(f"{line}\n" for line in found)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`|^    .*?$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def modules() -> list[str]:
    """All modules of the package, without running the command."""
    names = ["tensorc"]
    for folder in ("tensorc", "tensorc.grammar", "tensorc.passes", "tensorc.backends"):
        package = importlib.import_module(folder)
        names += [
            f"{folder}.{m.name}" for m in pkgutil.iter_modules(package.__path__) if m.name != "__main__"
        ]
    names += [f"tensorc.nn.{m.name}" for m in pkgutil.iter_modules([str(ROOT / "tensorc" / "nn")])]
    return sorted(set(names))


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name: str) -> None:
    needs = ("tensorc.backends.torch_helpers", "tensorc.nn", "tensorc.torch_", "tensorc.verify_torch")
    if name.startswith(needs):
        pytest.importorskip("torch")
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0


def test_public_functions_show_an_example() -> None:
    shown = [name for name in tensorc.__all__ if callable(getattr(tensorc, name)) and name[0].islower()]
    assert shown
    for name in ("compile", "parse", "jit"):
        assert ">>>" in (getattr(tensorc, name).__doc__ or ""), f"tensorc.{name} shows no example"
