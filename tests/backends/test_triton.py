"""Triton kernels in the interpreter: the catalogue and its gradients against the definition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import tensorc
from tests.backends.triton_others import NO_GRADIENT, OTHERS

ROOT = Path(__file__).resolve().parents[2]
NAMES = [path.stem for path in sorted((ROOT / "examples").glob("*.tc"))]
GROUPS = 6  # processes for all programs, and as many for all gradients: to start one takes seconds
HAVE = find_spec("torch") is not None and find_spec("triton") is not None
pytestmark = pytest.mark.skipif(not HAVE, reason="needs torch and triton")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A process with Triton's interpreter, which cannot share one with its compiler."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def check_programs(names: list[str]) -> None:
    """Every program is its definition, by a process that says what differs."""
    done = run("-m", "tests.backends.triton_cases", *names)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [case["name"] for case in found] == names
    wrong = [f"{case['name']}: {case['problem']}" for case in found if case["problem"]]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.parametrize("suffix", ["", "_grad"])
def test_kernels_are_the_definition(suffix: str, group: int) -> None:
    check_programs([f"{name}{suffix}" for name in NAMES[group::GROUPS]])


@pytest.mark.parametrize("suffix", ["", "_grad"])
def test_kernels_of_other_programs_are_the_definition(suffix: str) -> None:
    check_programs([f"{name}{suffix}" for name in OTHERS if not (suffix and name in NO_GRADIENT)])


def test_half_precision_in_place_and_layouts() -> None:
    done = run("-m", "tests.backends.triton_calls")
    assert done.returncode == 0, done.stderr[-3000:]
    first = "half layouts in_place shared alone options wide_chunks strong_gates"
    second = "refusals too_large packed tuning whole unlisted"
    assert done.stdout.split() == f"{first} {second}".split()


LINEAR = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
"""

DECAYED = """
def f(v[n, e], g[n]) -> o[n, e]:
    o[i, x] = sum[j <= i](exp(sum[j < u <= i](g[u])) * v[j, x])
"""


def test_the_source_stands_alone_and_names_its_lines() -> None:
    source = tensorc.compile(LINEAR, backend="triton").source(n=4096, d=64, e=64)
    assert "import tensorc" not in source and "import triton" in source
    assert "# line 3: o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])" in source
    compile(source, "f.py", "exec")


def test_a_new_length_compiles_nothing() -> None:
    """Lengths, positions and strides that depend on them are no constants of a kernel."""
    source = tensorc.compile(LINEAR, backend="triton").source(n=4096, d=64, e=64)
    assert " n: tl.constexpr" not in source and '"n"' in source and '"q_b"' in source


def test_a_new_length_compiles_nothing_without_a_time_axis() -> None:
    """Only the kernels that reduce a whole row of pairs know how long it is."""
    cross = tensorc.grad(ROOT / "examples" / "attention.tc")
    source = tensorc.compile(cross, backend="triton").source(n=4096, m=512, d=64, e=64)
    kernels = source.split("@triton.jit(do_not_specialize=")[1:]
    rows = ("tl.max(", "_logsumexp(", "tl.sum(")
    fixed = [k for k in kernels if " n: tl.constexpr" in k or " m: tl.constexpr" in k]
    assert len(kernels) > 8 and len(fixed) <= 2
    assert all(any(word in kernel for word in rows) for kernel in fixed)


def test_tensors_on_the_cpu_are_refused() -> None:
    import torch

    x = torch.zeros(4, 2)
    with pytest.raises(tensorc.BackendError, match="Triton kernels run on a GPU"):
        tensorc.compile(LINEAR, backend="triton")(x, x, x)


def test_double_precision_is_refused() -> None:
    import torch

    x = torch.zeros(4, 2, dtype=torch.float64, device="meta")
    with pytest.raises(tensorc.BackendError, match="float64"):
        tensorc.compile(LINEAR, backend="triton")(x, x, x)


def test_what_has_no_kernel_says_so() -> None:
    with pytest.raises(tensorc.BackendError, match="no Triton kernels"):
        tensorc.compile(DECAYED, backend="triton", form="parallel")
