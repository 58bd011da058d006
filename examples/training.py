"""What the two training examples share: models of equal size from any program, and the loop.

A mixer is a file with a program (`gated.tc`, with or without its folder), or `tensor-network`: tokens mix by
tensor attention, channels by tensor interaction. Every other model has a feed-forward layer, as wide as it
takes to have the same number of parameters.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from curves import markdown, read_json, svg, write_json, write_section
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from tensorc.nn import Attention, DeepTensorNetwork, FeedForward, LanguageModel

HERE = Path(__file__).parent
NETWORK = "tensor-network"
MIXERS = ["alibi.tc", "linear_attention.tc", "gated.tc", "delta_rule.tc", "hla2.tc", NETWORK]
LABELS = {"alibi": "softmax (ALiBi)", "hla2": "second order"}


@dataclass(frozen=True)
class Model:
    """What a model is made of; a checkpoint keeps it beside the weights."""

    mixer: str
    vocabulary: int
    width: int
    depth: int
    heads: int
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How the tables call it."""
        stem = Path(self.mixer).stem
        return LABELS.get(stem, stem.replace("_", " ").replace("-", " "))


@dataclass(frozen=True)
class Run:
    """One model that was trained: what was measured after so many steps, and how long a step took."""

    label: str
    parameters: int
    curve: list[tuple[int, float]]
    milliseconds: float


def build(model: Model) -> LanguageModel:
    """The model, with as many parameters as the tensor network of the same width and depth."""
    network = DeepTensorNetwork(model.vocabulary, model.width, model.depth, model.heads)
    if model.mixer == NETWORK:
        return network
    path = Path(model.mixer) if Path(model.mixer).exists() else HERE / model.mixer
    options: dict[str, Any] = {"heads": model.heads, "conv": 4, "gate": True, "sizes": model.sizes}

    def made(inner: int) -> LanguageModel:
        return LanguageModel(
            model.vocabulary,
            model.width,
            model.depth,
            lambda: Attention(path, model.width, **options),
            lambda: FeedForward(model.width, inner),
        )

    one = parameters(made(1))
    inner = 1 + round((parameters(network) - one) / (3 * model.width * model.depth))
    return made(max(inner, 1))


def parameters(model: LanguageModel) -> int:
    """How many numbers a model learns."""
    return sum(p.numel() for p in model.parameters())


def train(
    model: LanguageModel,
    label: str,
    batches: Iterator[tuple[Tensor, Tensor]],
    steps: int,
    rate: float,
    evaluate: Callable[[], float],
) -> Run:
    """Train for `steps` batches (tokens, targets; a target of -100 does not count).

    What `evaluate` gives is kept at the start, eleven times in all. The rate of learning rises over the
    first tenth of the steps and falls along a cosine to a tenth.
    """
    every = max(1, steps // 10)
    plain = [p for p in model.parameters() if p.dim() < 2]
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, 0.55 + 0.45 * math.cos(math.pi * s / steps))
    )
    curve, seconds = [(0, evaluate())], 0.0
    with bar(label) as progress:
        task = progress.add_task(label, total=steps, loss=math.nan, held=curve[0][1])
        for step in range(1, steps + 1):
            start = time.perf_counter()
            tokens, targets = next(batches)
            loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seconds += time.perf_counter() - start
            if step % every == 0 or step == steps:
                curve.append((step, evaluate()))
            progress.update(task, advance=1, loss=loss.item(), held=curve[-1][1])
    return Run(label, parameters(model), curve, 1000 * seconds / max(steps, 1))


@dataclass(frozen=True)
class Task:
    """What the runs of an example have in common: its title, what was done, and what was measured.

    `shown` is how a measured number is printed.
    """

    title: str
    done: str
    measured: str
    shown: str

    def settings(self, arguments: argparse.Namespace) -> str:
        """All that another run needs to be comparable."""
        return (
            f"{self.done}; width {arguments.width}, depth {arguments.depth}, {arguments.heads} heads, "
            f"convolutions of 4 taps; AdamW, highest rate {arguments.rate:g}, seed {arguments.seed}."
        )

    def last(self, curve: Sequence[Sequence[float]]) -> str:
        """What was measured at the end."""
        return format(curve[-1][1], self.shown)


def keep(task: Task, run: Run, arguments: argparse.Namespace) -> None:
    """With --results, put a run into its files, beside the runs of other mixers with the same settings."""
    if not arguments.results:
        return
    path, settings = arguments.results.with_suffix(".json"), task.settings(arguments)
    before = read_json(path).get(task.title, {})
    runs = before["runs"] if before.get("settings") == settings else []
    runs = [r for r in runs if r["label"] != run.label]
    runs.append({"label": run.label, "parameters": run.parameters, "curve": run.curve})
    write_json(path, task.title, {"settings": settings, "measured": task.measured, "runs": runs})
    rows = [(r["label"], f"{r['parameters']:,}", task.last(r["curve"])) for r in runs]
    command = f"python {' '.join(word for word in sys.argv if word not in arguments.mixers)}"
    table = markdown(("mixer", "parameters", task.measured), rows)
    write_section(arguments.results, task.title, f"{settings}\n\n    {command}\n\n{table}")


def show(task: Task, runs: list[Run], arguments: argparse.Namespace) -> None:
    """The table of all runs on the screen, and their curves as a picture."""
    rows = [(r.label, f"{r.parameters:,}", task.last(r.curve), f"{r.milliseconds:.0f}") for r in runs]
    print(markdown(("mixer", "parameters", task.measured, "ms a step"), rows))
    picture = arguments.out / f"{Path(sys.argv[0]).stem}.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(svg({r.label: r.curve for r in runs}, "steps", task.measured))
    print(f"curves: {picture}")


def bar(label: str) -> Progress:
    """A progress bar that stays on one line."""
    columns = ["{task.description:>20}", BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()]
    figures = TextColumn("loss {task.fields[loss]:.3f}, held out {task.fields[held]:.3f}")
    return Progress(*columns, figures, speed_estimate_period=600)


def options(description: str, width: int, depth: int, steps: int) -> argparse.ArgumentParser:
    """The arguments that both examples take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("mixers", nargs="*", help=f"files with a program, or {NETWORK}", default=MIXERS)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--depth", type=int, default=depth)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3, help="the highest rate of learning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="NAME=N",
        help="a size of the program that is not known",
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for curves and checkpoints")
    parser.add_argument("--results", type=Path, help="a Markdown file that gets the table; JSON beside it")
    return parser


def model_of(mixer: str, vocabulary: int, arguments: argparse.Namespace) -> Model:
    """The model that the arguments ask for."""
    sizes = {name: int(value) for name, value in (size.split("=") for size in arguments.size)}
    return Model(mixer, vocabulary, arguments.width, arguments.depth, arguments.heads, sizes)
