"""Generated source on its way to a callable: the file in the cache, tracebacks, directories that cannot be
written, processes and threads at the same time."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tensorc
from tensorc import runtime

TEXT = "def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j])"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of this test alone."""
    monkeypatch.setattr(runtime, "cache_directory", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def unique(text: str) -> str:
    """Text that was not loaded before."""
    unique.count += 1  # type: ignore[attr-defined]
    return f"# {unique.count} {os.getpid()}\n{text}"  # type: ignore[attr-defined]


unique.count = 0  # type: ignore[attr-defined]


def test_a_source_is_a_file_that_is_written_once(folder):
    source = unique("def double(x):\n    return 2 * x\n")
    assert runtime.load(source)["double"](4) == 8
    (file,) = folder.iterdir()
    assert file.suffix == ".py" and file.read_text() == source
    before = file.stat().st_mtime_ns
    assert runtime.load(source) is runtime.load(source)
    assert runtime.load.__wrapped__(source)["double"](5) == 10
    assert file.stat().st_mtime_ns == before


def test_what_runs_is_the_text_not_the_file(folder):
    source = unique("def one():\n    return 1\n")
    runtime.load(source)
    (file,) = folder.iterdir()
    file.write_text("raise SystemExit('never run')")
    assert runtime.load.__wrapped__(source)["one"]() == 1


def test_tracebacks_show_the_generated_line(folder):
    source = unique("def broken(x):\n    # the reason\n    return x / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        runtime.load(source)["broken"](1)
    shown = "".join(traceback.format_exception(caught.value))
    assert "return x / 0" in shown and str(folder) in shown and "line 4, in broken" in shown
    assert "return x / 0" in inspect.getsource(runtime.load(source)["broken"])


@pytest.mark.parametrize("problem", [PermissionError, FileNotFoundError, OSError, RuntimeError])
def test_a_cache_that_cannot_be_written_does_not_matter(monkeypatch, problem):
    def fail() -> Path:
        raise problem("no")

    monkeypatch.setattr(runtime, "cache_directory", fail)
    source = unique("def broken(x):\n    return x / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        runtime.load(source)["broken"](1)
    shown = "".join(traceback.format_exception(caught.value))
    assert "return x / 0" in shown and "<tensorc " in shown


def test_a_file_in_place_of_the_directory_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("not a directory")
    monkeypatch.setattr(runtime, "cache_directory", lambda: tmp_path / "cache")
    assert runtime.load(unique("def one():\n    return 1\n"))["one"]() == 1


def test_nothing_is_left_of_a_write_that_fails(folder, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(runtime.os, "replace", fail)
    assert runtime.load(unique("def one():\n    return 1\n"))["one"]() == 1
    assert list(folder.iterdir()) == []


def test_the_cache_is_in_the_users_cache_directory():
    from platformdirs import user_cache_dir

    directory = runtime.cache_directory()
    assert directory.name == tensorc.__version__ and str(directory).startswith(user_cache_dir("tensorc"))


RUN = """
import numpy, tensorc
f = tensorc.compile({text!r}, form="chunkwise")
print(f(numpy.arange(5.0)).tolist())
"""


def run(home: Path, code: str) -> subprocess.Popen[str]:
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **pipes)


def test_processes_at_the_same_time(tmp_path):
    processes = [run(tmp_path, RUN.format(text=TEXT)) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert out == "[0.0, 1.0, 3.0, 6.0, 10.0]\n", err
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files and all(path.suffix == ".py" for path in files)


def test_a_read_only_home(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    out, err = run(tmp_path, RUN.format(text=TEXT)).communicate(timeout=60)
    assert out == "[0.0, 1.0, 3.0, 6.0, 10.0]\n", err


def test_threads_load_at_the_same_time(folder):
    sources = [unique(f"def number():\n    return {k}\n") for k in range(20)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda source: runtime.load(source)["number"](), sources * 4))
    assert numbers == list(range(20)) * 4
    assert len(list(folder.iterdir())) == 20


def test_warnings_point_to_the_generated_line(folder):
    f = tensorc.compile("def ratio(x[n], y[n]) -> z[n]:  z[i] = x[i] / y[i]", form="parallel")
    with pytest.warns(RuntimeWarning, match="divide by zero") as caught:
        f(np.ones(3), np.zeros(3))
    assert caught[0].filename.endswith(".py") and caught[0].lineno > 5
