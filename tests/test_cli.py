"""The command line: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import tensorc
from tensorc import cli

ROOT = Path(__file__).resolve().parents[1]
LINEAR = str(ROOT / "examples" / "linear_attention.tc")
TWO_OUTPUTS = """
def pair(q[n, d], k[n, d]) -> a[n, d], b[n]:
    a[i, c] = sum[j <= i](k[j, c])
    b[i] = q[i, c] * k[i, c]
"""
TWO_PROGRAMS = """
def one(x[n]) -> y[n]:
    y[i] = sum[j <= i](x[j])

def two(x[n]) -> y[n]:
    y[i] = sum[j < i](x[j])
"""


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run the command in this process."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["tensorc", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(int(exit_.value.code or 0), captured.out, captured.err)

    return call


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def qkv(tmp_path: Path) -> dict[str, Path]:
    """q.npy, k.npy and v.npy with 6 tokens, d = 3 and e = 2."""
    rng = np.random.default_rng(0)
    files = {name: tmp_path / f"{name}.npy" for name in "qkv"}
    for name, file in files.items():
        np.save(file, rng.standard_normal((6, 2 if name == "v" else 3)))
    return files


def expected(qkv: dict[str, Path]) -> np.ndarray:
    return tensorc.compile(LINEAR, backend="reference")(*map(np.load, qkv.values()))


def test_check_names_the_program(command) -> None:
    result = command("check", LINEAR)
    assert result.status == 0
    assert result.out == "linear_attention(q[n, d], k[n, d], v[n, e]) -> o[n, e]: ok\n"


def test_check_shows_the_place_of_a_mistake(command, tmp_path: Path) -> None:
    file = write(tmp_path / "bad.tc", "def f(x[n]) -> y[n]:\n    y[i] = sum[j <= i](xx[j])\n")
    status, out, err = command("check", file)
    assert (status, out) == (2, "")
    assert err.startswith(f"{file}:2:")
    assert "    y[i] = sum[j <= i](xx[j])" in err
    assert err.splitlines()[2].strip(" ").startswith("^")


def test_check_of_a_form_that_does_not_exist(command) -> None:
    status, _, err = command("check", ROOT / "examples" / "tensor_attention.tc", "--form", "recurrent")
    assert status == 2
    assert "recurrent" in err


def test_several_programs_need_a_name(command, tmp_path: Path) -> None:
    file = write(tmp_path / "several.tc", TWO_PROGRAMS)
    status, _, err = command("check", file)
    assert status == 2
    assert "one" in err and "two" in err
    assert command("check", file, "--def", "two").out.startswith("two(x[n]) -> y[n]")
    assert command("check", file, "--def", "three").status == 2


def test_a_program_on_standard_input(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = write(tmp_path / "stdin", TWO_OUTPUTS)
    with open(file) as handle:
        monkeypatch.setattr(sys, "stdin", handle)
        assert command("check", "-").out == "pair(q[n, d], k[n, d]) -> a[n, d], b[n]: ok\n"


def test_explain_prints_the_report(command) -> None:
    result = command("explain", LINEAR, "--size", "n=4096", "--size", "d=64", "--size", "e=64")
    assert result.status == 0
    assert result.out.strip() == str(tensorc.compile(LINEAR).report(n=4096, d=64, e=64)).strip()


def test_explain_html(command, tmp_path: Path) -> None:
    sizes = ("--size", "n=64", "--size", "d=8", "--size", "e=8")
    page = tmp_path / "report.html"
    assert command("explain", LINEAR, *sizes, "--html", page) == (0, "", "")
    assert page.read_text().startswith("<!doctype html>") and "n = 64" in page.read_text()
    assert json.loads(command("explain", LINEAR, *sizes, "--html", page, "--json").out)["sizes"]["n"] == 64
    status, out, err = command("explain", LINEAR, *sizes, "--html", tmp_path / "missing" / "report.html")
    assert (status, out) == (2, "") and "missing" in err


def test_explain_json(command) -> None:
    result = command("explain", LINEAR, "--size", "n=4096", "--size", "d=64", "--size", "e=64", "--json")
    data = json.loads(result.out)
    assert data["sizes"] == {"n": 4096, "d": 64, "e": 64}
    assert data["forms"]["recurrent"]["state_elements"] == 64 * 64


def test_compile_prints_source_that_runs(command, qkv: dict[str, Path], tmp_path: Path) -> None:
    arguments = ["compile", LINEAR, "--form", "chunkwise", "--size", "n=6", "--size", "d=3", "--size", "e=2"]
    printed = command(*arguments)
    assert printed.status == 0
    assert "import tensorc" not in printed.out
    file = tmp_path / "generated.py"
    assert command(*arguments, "-o", file).out == ""
    assert file.read_text().strip() == printed.out.strip()
    namespace: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    assert any(callable(value) for value in namespace.values())


@pytest.mark.parametrize("form", ["auto", "parallel", "chunkwise", "recurrent"])
def test_run_writes_the_output(command, qkv: dict[str, Path], tmp_path: Path, form: str) -> None:
    out = tmp_path / "o.npy"
    result = command("run", LINEAR, *qkv.values(), "-o", out, "--form", form)
    assert result == Outcome(0, "", "")
    np.testing.assert_allclose(np.load(out), expected(qkv), rtol=1e-12)


def test_run_from_an_archive(command, qkv: dict[str, Path], tmp_path: Path) -> None:
    archive, out = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(archive, **{name: np.load(file) for name, file in qkv.items()}, unused=np.zeros(1))
    assert command("run", LINEAR, "--inputs", archive, "-o", out).status == 0
    np.testing.assert_allclose(np.load(out)["o"], expected(qkv), rtol=1e-12)


def test_run_prints_small_outputs(command, qkv: dict[str, Path]) -> None:
    result = command("run", LINEAR, *qkv.values())
    assert result.out.startswith("o: float64 (6, 2)\n[[")


def test_several_outputs_go_to_an_archive(command, qkv: dict[str, Path], tmp_path: Path) -> None:
    program = write(tmp_path / "pair.tc", TWO_OUTPUTS)
    assert command("run", program, qkv["q"], qkv["k"], "-o", tmp_path / "o.npz").status == 0
    with np.load(tmp_path / "o.npz") as found:
        assert found["a"].shape == (6, 3) and found["b"].shape == (6,)
    refused = command("run", program, qkv["q"], qkv["k"], "-o", tmp_path / "o.npy")
    assert refused.status == 2
    assert ".npz" in refused.err


def test_outputs_may_have_any_name(command, tmp_path: Path) -> None:
    program = write(
        tmp_path / "named.tc", "def f(x[n]) -> file[n], args[n]:\n    file[i] = x[i]\n    args[i] = x[i]\n"
    )
    np.save(tmp_path / "x.npy", np.arange(3.0))
    assert command("run", program, tmp_path / "x.npy", "-o", tmp_path / "o.npz").status == 0
    with np.load(tmp_path / "o.npz") as found:
        assert set(found.files) == {"file", "args"}


def test_verify_says_what_it_proved(command) -> None:
    result = command("verify", LINEAR)
    assert result.status == 0
    assert "recurrent" in result.out


def test_verify_fails_for_a_leak_when_asked(command) -> None:
    program = ROOT / "examples" / "tensor_attention.tc"
    assert command("verify", program).status == 0
    leaked = command("verify", program, "--causal")
    assert leaked.status == 1
    assert "error:" in leaked.err


BAD_SIZES = ["n", "n=", "n=x", "n=-1", "=3", "n=1.5", "3=n", "n=1e3"]


@pytest.mark.parametrize("size", BAD_SIZES)
def test_bad_sizes(command, size: str) -> None:
    status, _, err = command("explain", LINEAR, "--size", size)
    assert status == 2
    assert "NAME=INT" in err


def test_sizes_given_twice_or_unknown(command) -> None:
    assert "twice" in command("explain", LINEAR, "--size", "n=1", "--size", "n=2").err
    unknown = command("explain", LINEAR, "--size", "zz=1")
    assert unknown.status == 2
    assert "zz" in unknown.err


def test_unknown_forms_and_backends(command) -> None:
    for option, word in [("--form", "sideways"), ("--backend", "cobol")]:
        status, _, err = command("check", LINEAR, option, word)
        assert status == 2
        assert word in err


def test_unreadable_programs(command, tmp_path: Path) -> None:
    (tmp_path / "latin.tc").write_bytes(b"# caf\xe9\ndef f(x[n]) -> y[n]:\n    y[i] = x[i]\n")
    for file, word in [
        (tmp_path / "missing.tc", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "latin.tc", "UTF-8"),
        ("nul\0.tc", "null"),
    ]:
        status, _, err = command("check", file)
        assert status == 2
        assert err.startswith("error: ") and word in err


def test_endless_programs_are_not_read_to_the_end(command) -> None:
    status, _, err = command("check", "/dev/zero")
    assert status == 2
    assert err


def bad_array(tmp_path: Path, kind: str) -> Path:
    file = tmp_path / "bad.npy"
    match kind:
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("1 2 3\n")
        case "truncated":
            np.save(file, np.zeros((6, 3)))
            file.write_bytes(file.read_bytes()[:-50])
        case "pickled":
            np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        case "strings":
            np.save(file, np.array([["a", "b", "c"]] * 6))
        case "complex":
            np.save(file, np.zeros((6, 3), complex))
        case "boundless":
            header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999,), }\n"
            file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        case "header":
            header = b"__import__('os').abort()\n"
            file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        case "directory":
            file.mkdir()
        case "shape":
            np.save(file, np.zeros((5, 3)))
    return file


KINDS = "missing empty text truncated pickled strings complex boundless header directory shape".split()


@pytest.mark.parametrize("kind", KINDS)
def test_bad_arrays(command, qkv: dict[str, Path], tmp_path: Path, kind: str) -> None:
    file = bad_array(tmp_path, kind)
    status, out, err = command("run", LINEAR, qkv["q"], file, qkv["v"], "-o", tmp_path / "o.npy")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert not (tmp_path / "o.npy").exists()


@pytest.mark.parametrize("kind", ["missing", "text", "damaged", "single", "lacking", "pickled"])
def test_bad_archives(command, qkv: dict[str, Path], tmp_path: Path, kind: str) -> None:
    file = tmp_path / "in.npz"
    arrays = {name: np.load(path) for name, path in qkv.items()}
    match kind:
        case "text":
            file.write_text("nothing")
        case "damaged":
            np.savez(file, **arrays)
            data = bytearray(file.read_bytes())
            data[100:160] = bytes(60)
            file.write_bytes(data)
        case "single":
            file = qkv["q"]
        case "lacking":
            np.savez(file, q=arrays["q"])
        case "pickled":
            np.savez(file, **arrays | {"k": np.array([{}], dtype=object)})
    status, _, err = command("run", LINEAR, "--inputs", file)
    assert status == 2
    assert err.startswith("error: ")


def test_the_number_of_arrays(command, qkv: dict[str, Path], tmp_path: Path) -> None:
    assert "3 inputs: q, k, v" in command("run", LINEAR, qkv["q"]).err
    assert command("run", LINEAR, *qkv.values(), qkv["q"]).status == 2
    assert "not both" in command("run", LINEAR, qkv["q"], "--inputs", qkv["q"]).err


def test_where_the_output_cannot_go(command, qkv: dict[str, Path], tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "o.npy"
    assert command("run", LINEAR, *qkv.values(), "-o", nowhere).status == 2
    assert ".npy or .npz" in command("run", LINEAR, *qkv.values(), "-o", tmp_path / "o.txt").err
    assert (
        command("compile", LINEAR, "--size", "n=6", "--size", "d=3", "--size", "e=2", "-o", nowhere).status
        == 2
    )


def test_misuse_of_the_command_is_status_2(command) -> None:
    for arguments in (
        ["no-such-command"],
        ["check"],
        ["check", LINEAR, "--no-such-option"],
        ["verify", LINEAR, "--seed", "-1"],
    ):
        assert command(*arguments).status == 2


def module(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """`python -m tensorc` in a process of its own, without a terminal."""
    environment = {**os.environ, **options.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run(
        [sys.executable, "-m", "tensorc", *arguments],
        capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=60, cwd=ROOT,
        **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_the_module_is_the_command() -> None:
    help_ = module("--help")
    assert help_.returncode == 0
    for name in ("check", "explain", "compile", "run", "verify"):
        assert name in help_.stdout


@pytest.mark.parametrize(
    "env", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}]
)
def test_any_locale(env: dict[str, str], tmp_path: Path) -> None:
    explained = module("explain", LINEAR, "--size", "n=4096", "--size", "d=64", "--size", "e=64", env=env)
    assert (explained.returncode, explained.stderr) == (0, "")
    program = tmp_path / "accent.tc"
    program.write_text("# d\u00e9j\u00e0 vu\ndef f(x[n]) -> y[n]:\n    y[i] = \u00e9[i]\n", encoding="utf-8")
    bad = module("check", str(program), env=env)
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr and ":3:" in bad.stderr


def test_a_reader_that_goes_away() -> None:
    command = [
        sys.executable,
        "-m",
        "tensorc",
        "explain",
        LINEAR,
        "--size",
        "n=64",
        "--size",
        "d=8",
        "--size",
        "e=8",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


# -- bench ---------------------------------------------------------------------------------------------------


def test_bench_times_the_forms_in_turn(command) -> None:
    done = command("bench", LINEAR, "--size", "n=70", "--size", "d=4", "--size", "e=3", "--heads", 2)
    assert done.status == 0
    head, _, titles, *rows = done.out.splitlines()
    assert head == "linear_attention on numpy: n=70, d=4, e=3, batch 2, float32; 9 rounds in turn"
    assert titles.split() == ["form", "median", "least", "ratio", "by", "the", "model"]
    assert [row.split()[0] for row in rows] == ["parallel", "chunkwise", "recurrent"]
    assert sum(row.split()[5] == "1.00" for row in rows) >= 1


def test_bench_says_what_it_leaves_out(command) -> None:
    done = command("bench", LINEAR, "--size", "n=9999999", "--form", "parallel")
    assert "left out" in done.out and "by the model" in done.out
    done = command(
        "bench", ROOT / "examples" / "attention.tc", "--size", "n=9", "--size", "m=8", "--rounds", 3
    )
    assert "No recurrent form of attention" in done.out
    done = command("bench", LINEAR, "--backend", "reference")
    assert (done.status, done.err.split(";")[1].strip()) == (2, "time numpy, torch or triton.")
