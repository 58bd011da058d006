"""Kernels against the definition in float64, in the types that kernels compute in: outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tensorc
from benchmarks.operators import EXAMPLES
from tensorc.ir import Div, Node, Program, children, reads
from tensorc.sampling import roles

DTYPES = (torch.bfloat16, torch.float32)
BATCH = (2, 3)
CASES = ({"n": 1, "d": 16, "e": 16}, {"n": 130, "d": 32, "e": 48}, {"n": 200, "d": 20, "e": 16})
OTHERS = 4  # every size that is not in a case and has no default
TOLERANCE = 1.0  # tol in docs/numbers.md

Kernel = Callable[..., Any]
Compile = Callable[[Path], Kernel]


@dataclass(frozen=True)
class Verdict:
    """What was found for one program in one dtype: "ok", "WRONG", "refused" (there is no such kernel) or
    "failed" (an exception). `share` is the largest error as a share of what is allowed."""

    program: str
    dtype: str
    status: str
    share: float | None = None
    note: str = ""

    @property
    def good(self) -> bool:
        return self.status in ("ok", "refused")


def catalogue() -> list[Path]:
    return sorted(EXAMPLES.glob("*.tc"))


def check(path: Path, compiled: Compile, device: str = "cpu", grad: bool = True) -> list[Verdict]:
    """Run what `compiled` makes of a program on a device, in all cases and dtypes; gold comes from the CPU.

    A tensor passes where, in the maximum over its elements, |test - gold| <= (1 + tol) |ref - gold| + atol
    (docs/numbers.md). ref is the torch backend in the dtype. atol is twice what rounding all inputs once more
    does to gold, and of the largest element (for a gradient, of all gradients: it may be a difference of
    larger numbers) one rounding in the dtype and the square root of n in float32, in which sums are kept.
    """
    try:
        kernel = compiled(path)
    except Exception as error:
        return [_stopped(path, dtype, error) for dtype in DTYPES]
    truths = [truth(path, case, grad) for case in CASES]
    return [_verdict(path, dtype, kernel, truths, device, grad) for dtype in DTYPES]


def _verdict(
    path: Path, dtype: torch.dtype, kernel: Kernel, truths: list[Truth], device: str, grad: bool
) -> Verdict:
    worst, where = 0.0, ""
    try:
        for known in truths:
            for what, error, allowed in compared(known, dtype, kernel, device, grad):
                share = error / allowed if allowed else (0.0 if error == 0 else float("inf"))
                share = float("inf") if share != share else share  # NaN
                if share > worst or not where:
                    worst, where = share, f"{what} at {known.case}: {error:.2g}, allowed {allowed:.2g}"
    except Exception as error:  # one kernel that crashes must not hide the others
        return _stopped(path, dtype, error)
    return Verdict(path.stem, _name(dtype), "ok" if worst <= 1 else "WRONG", worst, where)


def _stopped(path: Path, dtype: torch.dtype, error: Exception) -> Verdict:
    if isinstance(error, tensorc.BackendError):
        return Verdict(path.stem, _name(dtype), "refused", note=_line(error))
    return Verdict(path.stem, _name(dtype), "failed", note=f"{type(error).__name__}: {_line(error)}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Truth:
    """Inputs that every dtype can hold, in float64; the definition's results for them, and for inputs that
    are rounded once more to bfloat16; the operator that gave these."""

    case: Mapping[str, int]
    inputs: list[Tensor]
    gold: dict[str, Tensor]
    moved: dict[str, Tensor]
    exact: Kernel


def truth(path: Path, case: Mapping[str, int], grad: bool) -> Truth:
    """By the torch backend on the CPU."""
    generator = torch.Generator().manual_seed(0)
    program = tensorc.parse(path.read_text(encoding="utf-8"))
    inputs = [_cast(_cast(t, torch.bfloat16), torch.float64) for t in draw(program, case, generator)]
    step = torch.finfo(torch.bfloat16).eps / 2
    moved = [
        t * (1 + step * (2 * torch.rand(t.shape, generator=generator) - 1)) if t.is_floating_point() else t
        for t in inputs
    ]
    exact = tensorc.compile(path, backend="torch")
    return Truth(case, inputs, results(exact, inputs, grad), results(exact, moved, grad), exact)


def compared(
    known: Truth, dtype: torch.dtype, kernel: Kernel, device: str, grad: bool
) -> Iterator[tuple[str, float, float]]:
    """(what, error, allowed) for each output and each gradient."""
    inputs = [_cast(t, dtype) for t in known.inputs]
    reference = results(known.exact, inputs, grad)
    test = results(kernel, [t.to(device) for t in inputs], grad)
    eps, single = torch.finfo(dtype).eps, torch.finfo(torch.float32).eps
    finer = eps / torch.finfo(torch.bfloat16).eps  # a small change of gold is as small as that of the inputs
    for what, gold in known.gold.items():
        kind = what.split()[0]
        scale = max(_largest(t) for other, t in known.gold.items() if other.startswith(kind))
        atol = (
            2 * finer * _largest(known.moved[what] - gold) + (eps + single * known.case["n"] ** 0.5) * scale
        )
        allowed = (1 + TOLERANCE) * _largest(reference[what].double() - gold) + atol
        found = test[what]
        if found.shape != gold.shape:
            raise ValueError(f"{what} has the shape {tuple(found.shape)}, not {tuple(gold.shape)}")
        yield what, _largest(found.cpu().double() - gold), allowed


def results(kernel: Kernel, inputs: list[Tensor], grad: bool) -> dict[str, Tensor]:
    """The outputs, and the gradients of all floating inputs for the same weights in every call."""
    leaves = [t.detach().clone().requires_grad_(grad and t.is_floating_point()) for t in inputs]
    found = kernel(*leaves)
    outputs = list(found) if isinstance(found, tuple) else [found]
    named = {f"output {k}": t.detach() for k, t in enumerate(outputs)}
    wanted = {k: t for k, t in enumerate(leaves) if t.requires_grad}
    if not wanted:
        return named
    generator = torch.Generator().manual_seed(1)
    weights = [_cast(torch.randn(t.shape, generator=generator), torch.bfloat16).to(t) for t in outputs]
    gradients = torch.autograd.grad(outputs, list(wanted.values()), weights, allow_unused=True)
    pairs = zip(wanted, gradients, strict=True)
    return named | {f"gradient of input {k}": t for k, t in pairs if t is not None}


def draw(program: Program, case: Mapping[str, int], generator: torch.Generator) -> list[Tensor]:
    """Inputs in float64 by the parts they play, batched: rows of about unit length, decays of less than 1.

    Positive where the program divides by something, so that no sum below a fraction crosses zero; numbers
    that are the same for all tokens are small, so that nothing grows with their powers.
    """
    every = {"m": case["n"] + 7} | dict(case)
    sizes = {size: every.get(size, OTHERS) for size in program.sizes()} | dict(program.defaults)
    parts, positive = roles(program), _divides(program)
    return [
        _tensor(
            parts[decl.name], tuple(axis.value(sizes) for axis in decl.axes), case["n"], positive, generator
        )
        for decl in program.inputs
    ]


def _tensor(
    part: tuple[str, int], axes: tuple[int, ...], n: int, positive: bool, generator: torch.Generator
) -> Tensor:
    role, axis = part
    shape = (*BATCH, *axes) if axes else BATCH[1:]

    def uniform() -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    if role == "segment":
        return (uniform() < 0.05).long().cumsum(axis - len(axes))
    if role in ("flag", "data"):
        return uniform() < 0.5 if role == "flag" else (n * uniform()).long()
    if role == "gate":
        return 0.6 + 0.4 * uniform()
    if role == "log":
        return -uniform() / 4
    if not axes:
        return (1 + uniform()) / (2 * n)
    if len(axes) == 1:
        return uniform()
    values = torch.randn(shape, generator=generator, dtype=torch.float64) * axes[-1] ** -0.5
    return values.abs() if positive else values


def _divides(program: Program) -> bool:
    """Whether something that is read stands below a fraction."""
    stack: list[Node] = [equation.body for equation in program.equations]
    while stack:
        node = stack.pop()
        if isinstance(node, Div) and any(True for _ in reads(node.denominator)):
            return True
        stack.extend(children(node))
    return False


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def lines(verdicts: Iterable[Verdict]) -> list[str]:
    """One line a program and dtype."""
    found = []
    for v in verdicts:
        share = "" if v.share is None else f", {v.share:.2f} of what is allowed"
        found.append(f"{v.program}, {v.dtype}: {v.status}{share}" + (f" ({v.note})" if v.note else ""))
    return found
