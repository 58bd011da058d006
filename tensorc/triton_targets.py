"""Compiles the kernels of a program for GPUs that need not be there, and says what they need of them.

>>> from tensorc.triton_targets import SHARED
>>> SHARED["sm_90"]  # bytes that one program may use; the compiler does not check
232448
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tensorc.backends.numpy_source import required_sizes
from tensorc.backends.python_names import Names
from tensorc.errors import BackendError
from tensorc.operator import Operator
from tensorc.plan import Plan

SHARED = {
    "sm_80": 166912,
    "sm_86": 101376,
    "sm_89": 101376,
    "sm_90": 232448,
    "sm_100": 232448,
    "gfx942": 65536,
}
DTYPES = ("bfloat16", "float32")
HEADS = 4  # of the batch: only whether a stride is divisible by 16 depends on it


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kernel needs: registers and bytes of spilled ones a thread, bytes of shared memory; the chunk,
    the features of its largest tile of the grid and its warps. `problem`: what the compiler said instead."""

    kernel: str
    form: str
    target: str
    dtype: str
    registers: int = 0
    spilled: int = 0
    shared: int = 0
    warps: int = 0
    blocks: Mapping[str, int] | None = None
    problem: str = ""

    @property
    def fits(self) -> bool:
        """Whether it was compiled, spills nothing and its shared memory is there."""
        return not self.problem and not self.spilled and self.shared <= SHARED[self.target]


class Compiler:
    """A process that compiles, started when it is first asked and again when it dies."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The answer to one request of `tensorc.triton_compile`."""
        if self.process is None:
            environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "tensorc.triton_compile"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        status = self.process.wait()
        self.process = None
        return {"error": f"the compiler ended with status {status}"}

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def compilers(count: int) -> Iterator[SimpleQueue[Compiler]]:
    """Processes that compile."""
    free: SimpleQueue[Compiler] = SimpleQueue()
    every = [Compiler() for _ in range(count)]
    for one in every:
        free.put(one)
    try:
        yield free
    finally:
        for one in every:
            one.close()


def usages(
    operators: Iterable[tuple[Operator, Mapping[str, int]]],
    targets: Sequence[str],
    dtypes: Sequence[str] = DTYPES,
    workers: int = 2,
) -> Iterator[Usage]:
    """What the kernels of operators at these sizes need on targets, in order, compiled by some processes.

    Raises `BackendError` for an unknown target, or an operator without kernels.
    """
    unknown = [t for t in targets if t not in SHARED]
    if unknown:
        raise BackendError(f"unknown target {unknown[0]}; targets are {', '.join(SHARED)}.")
    with (
        tempfile.TemporaryDirectory() as folder,
        compilers(workers) as free,
        ThreadPoolExecutor(workers) as pool,
    ):

        def ask(request: Mapping[str, Any]) -> Any:
            one = free.get()
            try:
                return one.ask(request)
            finally:
                free.put(one)

        jobs = [
            (launch, form, target, dtype)
            for number, (operator, sizes) in enumerate(operators)
            for dtype in dtypes
            for target in targets
            for form in _forms(operator, sizes)
            for launch in _launches(operator, form, sizes, dtype, target, Path(folder) / f"{number}.py", ask)
        ]
        requests = [{"launch": launch, "target": target} for launch, _, target, _ in jobs]
        for (launch, form, target, dtype), found in zip(jobs, pool.map(ask, requests), strict=True):
            yield _usage(launch, form, target, dtype, found)


def _forms(operator: Operator, sizes: Mapping[str, int]) -> list[str]:
    """The form of a whole sequence, and that of a token where it has kernels."""
    full = operator.forms.example_sizes(sizes)
    found = [operator.choose(full)]
    if operator.forms.streams() and "recurrent" not in found:
        with suppress(BackendError):
            operator.forms.source("recurrent", full)
            found.append(operator.forms.plan("recurrent", full).form)  # of caches: a chunk of one row
    return list(dict.fromkeys(found))


def _launches(
    operator: Operator, form: str, sizes: Mapping[str, int], dtype: str, target: str, path: Path, ask: Any
) -> list[Any]:
    """The launches of an operator, each kernel once: those for many heads and those for few, which take
    narrow kernels where they can."""
    full = operator.forms.example_sizes(sizes)
    path = path.with_stem(f"{form}_{path.stem}")
    path.write_text(operator.forms.source(form, full), encoding="utf-8")
    plan = operator.forms.plan(form, full)
    if plan.form == "recurrent" and plan.time is not None:
        full |= dict.fromkeys(plan.time.names, 1)  # as it is decoded
    names = required_sizes(operator.program, None)
    keywords = {keyword: full[name] for name, keyword in names.items()}
    request = {
        "path": str(path),
        "target": target,
        "function": Names(operator.program).function,
        "inputs": _inputs(operator, plan, full, dtype),
        "keywords": keywords,
    }
    found: dict[str, Any] = {}
    for narrow in (False, True):
        answer = ask(request | {"narrow": narrow})
        if isinstance(answer, dict):
            raise BackendError(f"{operator.program.name} cannot be launched: {answer['error']}")
        found |= {launch["kernel"]: launch for launch in answer if launch["kernel"] not in found}
    return list(found.values())


def _inputs(operator: Operator, plan: Plan, sizes: Mapping[str, int], dtype: str) -> list[Any]:
    """Shapes and dtypes; ids of segments are integers."""
    shapes = [[axis.value(sizes) for axis in d.axes] for d in operator.program.inputs]
    return [
        [[HEADS, *shape] if shape else shape, "int64" if d.name in plan.ascending else dtype]
        for d, shape in zip(operator.program.inputs, shapes, strict=True)
    ]


def _usage(launch: Mapping[str, Any], form: str, target: str, dtype: str, found: Mapping[str, Any]) -> Usage:
    blocks = {
        k: v for k, v in launch["constants"].items() if k.endswith("_block") or k in ("CHUNK", "COLUMNS")
    }
    return Usage(
        launch["kernel"],
        form,
        target,
        dtype,
        found.get("registers", 0),
        found.get("spilled", 0),
        found.get("shared", 0),
        launch["options"]["num_warps"],
        blocks,
        found.get("error", ""),
    )


def table(found: Sequence[Usage]) -> str:
    """Usages as text, a line each."""
    head = ("kernel", "form", "target", "dtype", "warps", "registers", "spilled", "shared", "")
    lines = [head, *map(_cells, found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ("kernel", "form", "target", "dtype", "")
    return "\n".join(
        "  ".join(
            cell.ljust(width) if title in texts else cell.rjust(width)
            for title, cell, width in zip(head, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _cells(one: Usage) -> tuple[str, ...]:
    note = one.problem.splitlines()[0] if one.problem else ""
    if one.shared > SHARED[one.target]:
        note = f"more shared memory than the {SHARED[one.target]} bytes there are"
    elif one.spilled:
        note = "spills"
    numbers = [str(x) for x in (one.warps, one.registers, one.spilled, one.shared)]
    return (one.kernel, one.form, one.target, one.dtype, *numbers, note)
