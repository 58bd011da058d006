"""Train small language models on the text of Python's own help, byte by byte, and let one speak.

    python examples/train_lm.py gated_delta_rule.tc          one mixer: any file with a program
    python examples/train_lm.py                              six of them, of equal size, and a table
    python examples/train_lm.py --resume runs/gated.pt --prompt "The for statement"

The last tenth of every topic of `pydoc_data.topics` is held out. Each model is written to a checkpoint,
which is read again to stream text from: a prefix at once, then byte by byte, in memory that does not grow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor
from training import Model, Task, build, keep, model_of, options, show, train

import tensorc
from tensorc.nn import LanguageModel

BYTES = 256


def texts() -> tuple[Tensor, Tensor]:
    """The bytes to learn from, and those that are held out: the last tenth of every topic."""
    learn, held = [], []
    for name in sorted(topics):
        cut = len(topics[name]) * 9 // 10
        learn.append(topics[name][:cut])
        held.append(topics[name][cut:])
    a, b = (torch.tensor(list("\n".join(part).encode())) for part in (learn, held))
    return a, b


def crops(text: Tensor, batch: int, length: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random pieces of the text, and the bytes that follow each of theirs."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(len(text) - length, (batch,), generator=generator)
        rows = text[starts[:, None] + torch.arange(length + 1)]
        yield rows[:, :-1], rows[:, 1:]


def held_out_loss(model: LanguageModel, text: Tensor, batch: int, length: int, pieces: int) -> float:
    """Nats a byte over the first pieces of the held-out text."""
    count = min(pieces, (len(text) - 1) // length)
    rows = torch.stack([text[at * length : (at + 1) * length + 1] for at in range(count)])
    total = 0.0
    with torch.no_grad():
        for part in rows.split(batch):
            logits = model(part[:, :-1])
            total += torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"
            ).item()
    return total / (count * length)


def save(path: Path, made: Model, model: LanguageModel) -> None:
    """A checkpoint: what the model is made of, and its weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": asdict(made), "weights": model.state_dict()}, path)


def load(path: Path) -> LanguageModel:
    """The model of a checkpoint."""
    kept = torch.load(path, weights_only=True)
    model = build(Model(**kept["model"]))
    model.load_state_dict(kept["weights"])
    return model


def speak(model: LanguageModel, prompt: str, count: int, seed: int) -> None:
    """Stream bytes that continue a prompt."""
    start = torch.tensor([list(prompt.encode())])
    generator = torch.Generator().manual_seed(seed)
    print(prompt, end="", flush=True)
    pending = b""
    try:
        for token in model.stream(start, count, temperature=0.7, generator=generator):
            pending += bytes([int(token)])
            if pending[-1] < 128:
                print(pending.decode(errors="replace"), end="", flush=True)
                pending = b""
    except tensorc.FormError as error:
        print(f"\n[{error}]", end="")
    print()


def main() -> int:
    parser = options("Train language models on the text of Python's help.", width=128, depth=4, steps=400)
    parser.add_argument("--length", type=int, default=256, help="bytes of a piece of text")
    parser.add_argument("--pieces", type=int, default=64, help="pieces of held-out text for the loss")
    parser.add_argument("--prompt", default="The for statement")
    parser.add_argument("--speak", type=int, default=300, metavar="N", help="bytes to stream afterwards")
    parser.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="no training: stream from this")
    arguments = parser.parse_args()
    if arguments.resume:
        speak(load(arguments.resume), arguments.prompt, arguments.speak, arguments.seed)
        return 0

    learn, held = texts()
    print(f"{len(learn):,} bytes to learn from, {len(held):,} held out")
    batch, length = arguments.batch, arguments.length
    done = f"{arguments.steps} steps of {batch} pieces of {length} bytes, {arguments.pieces} pieces held out"
    task, runs = Task("Bytes of Python's help", done, "held-out loss, nats a byte", ".3f"), []
    for mixer in arguments.mixers:
        torch.manual_seed(arguments.seed)
        made = model_of(mixer, BYTES, arguments)
        model = build(made)
        run = train(
            model,
            made.label,
            crops(learn, batch, length, arguments.seed),
            arguments.steps,
            arguments.rate,
            lambda model=model: held_out_loss(model, held, batch, length, arguments.pieces),  # type: ignore[misc]
        )
        runs.append(run)
        keep(task, run, arguments)
        path = arguments.out / f"{Path(mixer).stem}.pt"
        save(path, made, model)
        if arguments.speak:
            print(f"\n{path}:")
            speak(load(path), arguments.prompt, arguments.speak, arguments.seed)
            print()
    show(task, runs, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
