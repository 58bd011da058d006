"""Triton kernels compiled for GPUs that are not here: a part of the catalogue against the table of the
whole, `benchmarks/results/triton_targets.json`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import tensorc

HAVE = find_spec("torch") is not None and find_spec("triton") is not None
if not HAVE:
    pytest.skip("needs torch and triton", allow_module_level=True)

from benchmarks.triton_targets import RESULTS, TARGETS, load, measure, names, verdict  # noqa: E402
from tensorc.triton_targets import DTYPES, Compiler, Usage, table, usages  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
# Every kind of kernel once: states, decays, chains, triangular systems, streams, gradients.
SUBSET = (
    ("linear_attention", "gfx942", "float32"),
    ("gated", "sm_80", "bfloat16"),
    ("hla2", "sm_90", "float32"),
    ("delta_rule", "sm_90", "bfloat16"),
    ("sliding_window", "sm_90", "bfloat16"),
    ("scalar_gated_grad", "gfx942", "bfloat16"),
)
LINEAR = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
"""


def saved() -> dict[tuple[str, str, str, str], dict[str, object]]:
    rows = load(RESULTS / "triton_targets.json")
    return {(r["kernel"], r["form"], r["target"], r["dtype"]): r for r in rows if r["d"] == 64}


@pytest.mark.parametrize(("name", "target", "dtype"), SUBSET)
def test_kernels_need_no_more_than_they_did(name: str, target: str, dtype: str) -> None:
    """Another release of the compiler may move a few registers; a spill is never one of them."""
    known = saved()
    rows = list(measure(name, 64, [target], [dtype]))
    assert rows
    for row in rows:
        assert not verdict(row), row
        before = known[row["kernel"], row["form"], target, dtype]
        assert row["registers"] <= 1.15 * before["registers"] + 8, (row, before)  # type: ignore[operator]
        assert row["shared"] <= 1.1 * before["shared"], (row, before)  # type: ignore[operator]


# Kernels of the table that spill more than WIDE bytes a thread.
SPILL = {
    ("packed_documents_kernel", "chunkwise", "sm_80", "bfloat16"): 176,
    ("row_column_attention_grad_1_kernel", "chunkwise", "sm_80", "bfloat16"): 236,
    ("row_column_attention_grad_1_kernel", "chunkwise", "sm_80", "float32"): 848,
    ("row_column_attention_grad_1_kernel", "chunkwise", "sm_90", "float32"): 812,
}
WIDE = 64


def test_few_kernels_of_the_table_spill_and_none_of_them_much() -> None:
    rows = saved()
    bad = {key: row for key, row in rows.items() if verdict(row)}
    assert all(verdict(row) == "spills" for row in bad.values())
    assert len(bad) <= 0.011 * len(rows)
    assert {key: row["spilled"] for key, row in bad.items() if row["spilled"] > WIDE} == SPILL  # type: ignore[operator]


def test_the_table_has_the_whole_catalogue() -> None:
    rows = load(RESULTS / "triton_targets.json")
    assert {r["program"] for r in rows} == set(names())
    for name in names():
        own = [r for r in rows if r["program"] == name]
        assert {(r["target"], r["dtype"]) for r in own} == {(t, d) for t in TARGETS for d in DTYPES}


def test_targets_that_nobody_knows() -> None:
    linear = tensorc.compile(LINEAR, backend="triton")
    with pytest.raises(tensorc.BackendError, match="unknown target sm_20; targets are sm_80"):
        list(usages([(linear, {"d": 16, "e": 16})], ["sm_20"]))


def test_a_compiler_that_dies_is_an_answer() -> None:
    one = Compiler()
    try:
        assert "error" in one.ask({"path": "nowhere.py", "function": "f", "inputs": [], "keywords": {},
                                   "target": "sm_90"})  # fmt: skip
        assert one.process is not None
        one.process.kill()
        assert "ended with status" in one.ask({})["error"]
    finally:
        one.close()


def test_a_table_says_what_does_not_fit() -> None:
    found = [
        Usage("a", "chunkwise", "sm_90", "float32", 255, 8, 100, 4, {}),
        Usage("b", "chunkwise", "gfx942", "float32", 100, 0, 70000, 8, {}),
        Usage("c", "recurrent", "sm_80", "bfloat16", problem="it failed"),
    ]
    lines = table(found).splitlines()
    assert [one.fits for one in found] == [False, False, False]
    assert lines[1].endswith("spills")
    assert lines[2].endswith("more shared memory than the 65536 bytes there are")
    assert lines[3].endswith("it failed")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tensorc", "compile", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_command_line_compiles_for_a_target(tmp_path: Path) -> None:
    source = tmp_path / "kernels.py"
    done = command("examples/linear_attention.tc", "--backend", "triton", "--target", "sm_90",
                   "--size", "d=16", "--size", "e=16", "-o", str(source))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kernel") and "linear_attention_reads" in done.stdout
    assert "import triton" in source.read_text(encoding="utf-8")


def test_targets_are_for_kernels() -> None:
    done = command("examples/linear_attention.tc", "--target", "sm_90")
    assert done.returncode == 2 and "add --backend triton" in done.stderr


def test_chunks_tiles_and_warps_that_fit() -> None:
    """Wider features take more warps, then smaller tiles, then narrow kernels, then shorter chunks; what is
    given stays."""
    from tensorc.backends.triton_host import _fit

    def needs(chunk: int, columns: int, tile: int, size: int, d: int) -> dict[str, tuple[int, int]]:
        whole = 4 * (d * tile + 3 * chunk * chunk + 2 * chunk * d)
        reads = 4 * (chunk * chunk + 2 * chunk * tile)
        return {"whole": (whole, 4), "states": (4 * tile * tile, 1), "reads": (reads, 3)}

    alone = (("whole",), (), True)
    both = (("whole",), ("states", "reads"), True)
    none = (None, None, None, None, (False, False))
    assert _fit(needs, (alone,), (4, 16), 16, 9, *none) == (16, 16, {"whole": (64, 4)})
    assert _fit(needs, (alone,), (4, 16), 64, 9, *none) == (64, 64, {"whole": (64, 8)})
    rows, _, fits = _fit(needs, (alone,), (4, 256), 64, 9, *none)
    assert rows < 64 and needs(rows, 0, fits["whole"][0], 4, 256)["whole"][0] <= 86 * 1024
    rows, _, fits = _fit(needs, (both,), (4, 1024), 64, 9, *none)
    assert rows == 64 and fits == {"states": (64, 4), "reads": (64, 8)}
    assert _fit(needs, (alone,), (4, 256), 64, 9, 64, 32, 128, 4, (False, False))[:2] == (64, 32)
    assert _fit(needs, (alone,), (4, 64), 64, "hip", *none)[2] == {"whole": (64, 4)}


def test_products_take_room() -> None:
    from tensorc.backends.triton_host import _fit

    def needs(chunk: int, columns: int, tile: int, size: int, products: int) -> dict[str, tuple[int, int]]:
        return {"whole": (512 * tile, products)}

    ways = ((("whole",), (), True),)
    found = [
        _fit(needs, ways, (2, n), 64, 9, None, None, None, None, (False, False))[2]["whole"]
        for n in (0, 2, 11, 20)
    ]
    assert found == [(64, 4), (64, 4), (64, 8), (32, 8)]


def test_narrow_kernels_are_taken_where_they_are_wanted() -> None:
    from tensorc.backends.triton_host import _fit

    def needs(chunk: int, columns: int, tile: int, size: int) -> dict[str, tuple[int, int]]:
        return {"whole": (16, 1), "reads": (1 << 30, 1)}

    for serial in (True, False):
        ways = ((("whole",), ("reads",), serial),)
        common = (needs, ways, (4,), 16, 9, None, None, None, None)
        assert list(_fit(*common, (False, False))[2]) == ["whole"]
        assert list(_fit(*common, (True, False))[2]) == ["whole"]  # the others do not fit
        assert list(_fit(*common, (True, True))[2]) == ["reads"]  # nothing else is asked for
