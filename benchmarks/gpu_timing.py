"""Timing on a CUDA device: graphs where all can be captured, else events; the rates it reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_peers import Peer
from benchmarks.gpu_rows import ITEMSIZE, Rates, Row, Shape
from benchmarks.timing import Sample, measure

CACHE = 256 << 20  # bytes written before each sample: more than any cache of the device
DTYPE = torch.bfloat16
DIFFERENT = 0.05  # of the norm of our output: what a peer's may be off and still be the same operator

Call = Callable[[], Any]


def tensors(row: Row, shape: Shape, device: str) -> dict[str, Tensor]:
    """The inputs of a program, [B, H, T, ...]: queries over the root of their width, keys of length 1, rates
    in (0, 1), log decays of -0.1 on average; a number a head is the decay of retention, in float32."""
    generator = torch.Generator(device).manual_seed(0)

    def one(name: str, dimensions: tuple[int, ...]) -> Tensor:
        if len(dimensions) == 1:
            return 1 - 2.0 ** (-5 - torch.arange(dimensions[0], device=device))
        x = torch.randn(dimensions, generator=generator, device=device)
        if name == "g":
            x = -x.abs() / 8
        elif len(dimensions) == 3:
            x = x.sigmoid()
        elif name == "k":
            x = x / x.norm(dim=-1, keepdim=True)
        elif name == "q":
            x = x * x.shape[-1] ** -0.5
        return x.to(DTYPE)

    return {name: one(name, dimensions) for name, dimensions in row.dimensions(shape).items()}


def prepared(kernel: Callable[..., Any], inputs: Sequence[Tensor], backward: bool) -> Call:
    """One call of a kernel, with gradients of all inputs that have an axis if `backward`."""
    if not backward:
        return lambda: _without_grad(kernel, inputs)
    leaves = [t.detach().requires_grad_(t.dim() > 1) for t in inputs]
    wanted = [t for t in leaves if t.requires_grad]
    weights = torch.randn_like(kernel(*leaves))
    return lambda: torch.autograd.grad(kernel(*leaves), wanted, weights)


def _without_grad(kernel: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
    with torch.no_grad():
        return kernel(*inputs)


@dataclass(frozen=True)
class Contender:
    """A call that has run, and so is compiled and tuned; or a note why there is none, or that it is none to
    compare with."""

    call: Call | None
    note: str = ""


def contender(peer: Peer, inputs: Sequence[Tensor], expected: Tensor | None, backward: bool) -> Contender:
    """Load a peer, lay out its inputs, run it once. Whatever it raises is the label of an empty cell."""
    if backward and not peer.trains:
        return Contender(None, "no backward pass")
    try:
        kernel = peer.load()
    except (ImportError, AttributeError) as error:
        return Contender(None, f"absent: {_line(error)}")
    except Exception as error:
        return Contender(None, f"failed: {type(error).__name__}: {_line(error)}")
    try:
        given = [peer.layout(t) for t in inputs]
        found = peer.ours(_without_grad(kernel, given))
        off = 0.0 if expected is None else distance(found, expected)
        call = prepared(kernel, given, backward)
        call()
    except Exception as error:
        return Contender(None, f"failed: {type(error).__name__}: {_line(error)}")
    return Contender(call, "" if off <= DIFFERENT else f"other values, off by {off:.2g}")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def output(peer: Peer, inputs: Sequence[Tensor]) -> Tensor:
    """What a peer makes of our inputs, in our layout."""
    found: Tensor = peer.ours(_without_grad(peer.load(), [peer.layout(t) for t in inputs]))
    return found


def distance(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference by that of what is expected."""
    if found.shape != expected.shape:
        return float("inf")
    a, b = found.float(), expected.float()
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def side_by_side(calls: Mapping[str, Call], rounds: int, budget: float) -> tuple[dict[str, Sample], str]:
    """Interleaved samples of all, and by what they were timed: all by graphs, or, where one of them cannot be
    captured, all by events around ordinary calls."""
    try:
        graphs = {name: captured(call) for name, call in calls.items()}
    except Exception:  # what cannot be captured raises errors of many kinds
        torch.cuda.synchronize()
        return measure(calls, rounds=rounds, budget=budget, timer=Events()), "events"
    return measure(graphs, rounds=rounds, budget=budget, timer=Events()), "graphs"


def captured(call: Call) -> Call:
    """The replay of a call, recorded as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    replay: Call = graph.replay
    return replay


class Events:
    """Seconds of a call by events on the device, after the caches have been written over. Writing takes the
    device longer than launching a graph takes the processor, so that the launch is not timed."""

    def __init__(self) -> None:
        self.cold = torch.empty(CACHE, dtype=torch.int8, device="cuda")
        self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def __call__(self, call: Call, times: int) -> float:
        self.cold.zero_()
        self.start.record()
        for _ in range(times):
            call()
        self.end.record()
        self.end.synchronize()
        return float(self.start.elapsed_time(self.end)) / 1e3 / times


def measured_rates() -> Rates:
    """Bytes a second, read and written, of copying 1 GiB; FLOP a second of the fastest large product."""
    source = torch.empty(1 << 29, dtype=DTYPE, device="cuda")
    target = torch.empty_like(source)
    sides = (4096, 8192, 16384)
    squares = {f"{n}": torch.randn(n, n, device="cuda").to(DTYPE) for n in sides}

    def product(square: Tensor) -> Call:
        return lambda: square @ square

    calls: dict[str, Call] = {"copy": lambda: target.copy_(source)}
    calls |= {name: product(square) for name, square in squares.items()}
    found = measure(calls, rounds=15, budget=10, timer=Events())
    matmul = max(2 * n**3 / found[f"{n}"].median for n in sides)
    return Rates(2 * ITEMSIZE * source.numel() / found["copy"].median, matmul)
