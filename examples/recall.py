"""Multi-query associative recall: pairs of a key and a value, then keys again; what was the value?

    python examples/recall.py gated_delta_rule.tc            one mixer: any file with a program
    python examples/recall.py                                six of them, of equal size, and a table

Arora et al.: Zoology, Measuring and Improving Recall in Efficient Language Models (2023), arXiv 2312.04927.
Keys are drawn without repetition, values freely; all keys are asked for in another order. Chance is one
value in as many as there are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from torch import Tensor
from training import Task, build, keep, model_of, options, show, train

from tensorc.nn import LanguageModel

IGNORED = -100  # a position that asks for nothing


def questions(
    keys: int, values: int, pairs: int, batch: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Tokens k1 v1 ... km vm, then all keys in another order; targets are the values of the latter."""
    key = torch.rand(batch, keys, generator=generator).argsort(-1)[:, :pairs]
    value = torch.randint(values, (batch, pairs), generator=generator) + keys
    order = torch.rand(batch, pairs, generator=generator).argsort(-1)
    facts = torch.stack([key, value], -1).flatten(1)
    tokens = torch.cat([facts, key.gather(1, order)], 1)
    targets = torch.cat([torch.full_like(facts, IGNORED), value.gather(1, order)], 1)
    return tokens, targets


def endless(keys: int, values: int, pairs: int, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """New questions, always."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield questions(keys, values, pairs, batch, generator)


def accuracy(model: LanguageModel, tokens: Tensor, targets: Tensor) -> float:
    """The part of the questions that the likeliest answer answers."""
    with torch.no_grad():
        asked = targets != IGNORED
        return float((model(tokens).argmax(-1) == targets)[asked].float().mean())


def main() -> int:
    parser = options("Multi-query associative recall.", width=64, depth=2, steps=600)
    parser.set_defaults(batch=64)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--keys", type=int, default=64, help="different keys")
    parser.add_argument("--values", type=int, default=64, help="different values")
    arguments = parser.parse_args()
    asked = arguments.keys, arguments.values, arguments.pairs
    held = questions(*asked, 256, torch.Generator().manual_seed(arguments.seed + 1))
    done = (
        f"{arguments.steps} steps of {arguments.batch} sequences of {arguments.pairs} pairs, from "
        f"{arguments.keys} keys and {arguments.values} values; 256 other sequences held out"
    )
    task, runs = Task(f"Associative recall, {arguments.steps} steps", done, "recalled", ".1%"), []
    for mixer in arguments.mixers:
        torch.manual_seed(arguments.seed)
        made = model_of(mixer, arguments.keys + arguments.values, arguments)
        model = build(made)
        run = train(
            model,
            made.label,
            endless(*asked, arguments.batch, arguments.seed),
            arguments.steps,
            arguments.rate,
            lambda model=model: accuracy(model, *held),  # type: ignore[misc]
        )
        runs.append(run)
        keep(task, run, arguments)
    show(task, runs, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
