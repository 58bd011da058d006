"""The driver: what compile takes, where it looks, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tensorc

TEXT = "def f(x[n]) -> y[n]:\n    y[i] = sum[j <= i](x[j])\n"
TWO = TEXT + "def g(x[n]) -> y[n]:\n    y[i] = 2 * x[i]\n"
X = np.arange(4.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "running.tc"
    file.write_text(TEXT, encoding="utf-8")
    return file


def test_text_paths_programs_and_operators(path: Path) -> None:
    sources = [TEXT, "\n\n    " + TEXT.replace("\n", "\n    "), path, str(path), tensorc.parse(TEXT)]
    sources.append(tensorc.compile(TEXT))  # type: ignore[arg-type]
    for source in sources:
        assert tensorc.compile(source)(X).tolist() == [0, 1, 3, 6]


def test_a_function_under_jit() -> None:
    @tensorc.jit("x[n] -> y[n]")
    def running(x):
        i, j = tensorc.indices("i j")
        return tensorc.sum(x[j], j <= i)[i]

    f = tensorc.compile(running, form="recurrent")
    assert f.form == "recurrent" and f(X).tolist() == [0, 1, 3, 6]


def test_one_of_several_programs() -> None:
    assert tensorc.compile(TWO, name="g")(X).tolist() == [0, 2, 4, 6]
    assert tensorc.compile(TWO, name="f")(X).tolist() == [0, 1, 3, 6]
    with pytest.raises(tensorc.LanguageError, match="f, g"):
        tensorc.compile(TWO)
    program = tensorc.parse(TWO, name="g")
    assert tensorc.compile(program, name="g").program is program


def test_errors_in_a_file_name_it(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tc"
    bad.write_text("def f(x[n]) -> y[n]:\n    y[i] = x[i, j]\n")
    with pytest.raises(tensorc.LanguageError) as caught:
        tensorc.compile(bad)
    assert str(caught.value).startswith(f"{bad}:2:")
    assert (caught.value.line, caught.value.file) == (2, str(bad))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    binary = tmp_path / "binary.tc"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(tensorc.TensorcError, match="it is not UTF-8 text"):
        tensorc.compile(str(binary))
    with pytest.raises(tensorc.TensorcError, match="Cannot read"):
        tensorc.compile("name\0.tc")
    large = tmp_path / "large.tc"
    large.write_text(TEXT + "#" * 2_000_000)
    with pytest.raises(tensorc.LanguageError, match="64 KiB"):
        tensorc.compile(large)


def test_windows_line_ends_and_marks(tmp_path: Path) -> None:
    file = tmp_path / "windows.tc"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert tensorc.compile(file)(X).tolist() == [0, 1, 3, 6]


@pytest.mark.parametrize("name", ["n", None])
def test_the_time_axis(name: str | None) -> None:
    f = tensorc.compile(TEXT, time=name)
    assert str(f.time) == "n"


def test_the_time_axis_that_is_named() -> None:
    grid = "def f(x[n, m]) -> y[n, m]:\n    y[i, a] = sum[j <= i, b <= a](x[j, b])\n"
    assert tensorc.compile(grid).time is None
    x = np.random.default_rng(0).normal(size=(4, 5))
    expected = x.cumsum(0).cumsum(1)
    for time in ("n", "m"):
        f = tensorc.compile(grid, time=time, form="chunkwise")
        assert str(f.time) == time
        np.testing.assert_allclose(f(x), expected)


def test_what_is_asked_for_is_kept() -> None:
    sizes = {"w": 2}
    f = tensorc.compile(
        "def f(x[n], w=3) -> y[n]:  y[i] = w * x[i]", sizes=sizes, form="parallel", device="cpu"
    )
    sizes["w"] = 100
    assert (f.backend, f.form, f.sizes) == ("numpy", "parallel", {"w": 2}) and f(X)[1] == 2


def test_importing_and_compiling_load_what_they_need() -> None:
    code = (
        "import sys, tensorc\n"
        "assert not {'lark', 'networkx', 'opt_einsum', 'tensorc.operator'} & set(sys.modules)\n"
        f"f = tensorc.compile({TEXT!r})\n"
        "assert f([1.0, 2.0]).tolist() == [1, 3]\n"
        "assert not {'torch', 'triton', 'opt_einsum', 'rich', 'typer'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_all_names_are_there() -> None:
    for name in tensorc.__all__:
        assert getattr(tensorc, name) is getattr(tensorc, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tensorc.nothing  # noqa: B018
    assert {"compile", "jit", "State"} <= set(dir(tensorc))
