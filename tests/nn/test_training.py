"""Training: it learns, activation checkpointing changes nothing, data-parallel gradients are those of all."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tensorc.nn import DeepTensorNetwork  # noqa: E402


def network(**options: Any) -> Any:
    torch.manual_seed(0)
    return DeepTensorNetwork(vocabulary=11, width=16, depth=2, heads=2, **options)


def batch(*shape: int) -> Any:
    return torch.randint(11, shape, generator=torch.Generator().manual_seed(1))


def loss_of(model: Any, tokens: Any) -> Any:
    logits = model(tokens[:, :-1])
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def test_a_small_network_learns_by_heart() -> None:
    model, tokens = network(), batch(4, 24)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = loss_of(model, tokens).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss_of(model, tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    last = loss_of(model, tokens).item()
    assert abs(first - math.log(11)) < 0.2 and last < 0.3


def test_activation_checkpointing_changes_no_gradient() -> None:
    tokens, gradients = batch(3, 12), []
    for checkpoint in (False, True):
        model = network(checkpoint=checkpoint).double()
        loss_of(model, tokens).backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_activation_checkpointing_keeps_less() -> None:
    tokens, kept = batch(2, 200), []
    for checkpoint in (False, True):
        sizes: list[int] = []
        model = network(checkpoint=checkpoint)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):  # noqa: B023
            loss_of(model, tokens)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 5


def worker(rank: int, folder: str, tokens: Any) -> None:
    """One of two processes: half of the batch."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(network())
    loss_of(model, tokens[rank::2]).backward()
    torch.save([p.grad for p in model.parameters()], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_data_parallel_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("no gloo")
    tokens = batch(4, 10)
    torch.multiprocessing.spawn(worker, (str(tmp_path), tokens), nprocs=2)
    model = network()
    loss_of(model, tokens).backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for mine, whole in zip(found, model.parameters(), strict=True):
            torch.testing.assert_close(mine, whole.grad, rtol=1e-4, atol=1e-6)
