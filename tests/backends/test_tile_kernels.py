"""How loops become kernels: what is made together, what the grid has tiles of, what is gone through."""

from __future__ import annotations

from pathlib import Path

import pytest

import tensorc
from tensorc.backends.tile_axes import EACH, GRID, LANE, SCALAR, TILES, flat
from tensorc.backends.tile_groups import grouped, state_groups
from tensorc.backends.tile_io import tile_inputs, tile_outputs
from tensorc.backends.tile_kernel import Over, Put, Recall, Summed
from tensorc.backends.triton_kernel import KernelWriter
from tensorc.backends.triton_launch import LaunchWriter
from tensorc.plan import Contract, ScanTile, Stream

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def writers(name: str, form: str = "chunkwise") -> dict[str, KernelWriter]:
    """The kernels of a program of the catalogue, or of its gradient, by name."""
    path = EXAMPLES / f"{name.removesuffix('_grad')}.tc"
    operator = tensorc.compile(tensorc.grad(path) if name.endswith("_grad") else path, form=form)
    sizes = {size: 64 for size in ("d", "e") if size in operator.program.sizes()}
    sizes = operator.forms.example_sizes(sizes)
    launches = LaunchWriter(operator.program, operator.forms.plan(form, sizes))
    kernels = [k for c in launches.cuts for one in c.launches for k in (one.whole, *one.narrow)]
    kernels += launches.whole.kernels if launches.whole is not None else []
    return {k.name.removeprefix(f"{launches.names.function}_"): launches._writer(k) for k in kernels}


def roles(writer: KernelWriter) -> list[str]:
    """The roles of the axes of features, in order."""
    return sorted(a.role for a in writer.axes.all)


def test_states_have_tiles_of_all_their_features_and_reads_sum_tile_by_tile() -> None:
    found = writers("linear_attention")
    assert list(found) == ["kernel", "states", "reads"]
    assert roles(found["kernel"]) == [GRID, LANE]
    assert roles(found["states"]) == [GRID, GRID]
    assert roles(found["reads"]) == [GRID, TILES]
    (loop,) = [s for s in found["reads"].kernel.steps if isinstance(s, Over)]
    assert [type(s) for s in loop.steps if isinstance(s, Summed | Recall)] == [Recall, Summed, Summed]


def test_results_of_the_same_features_are_made_together() -> None:
    found = writers("linear_attention_grad")
    puts = {n: [s.tensor for s in w.kernel.steps if isinstance(s, Put)] for n, w in found.items()}
    assert puts["1_reads"] == ["grad_q"]
    assert sorted(puts["2_kernel"]) == ["grad_k", "grad_v"]
    assert sorted(puts[n][0] for n in ("2_reads1", "2_reads2")) == ["grad_k", "grad_v"]


def test_independent_states_have_kernels_of_their_own_and_dependent_ones_follow() -> None:
    found = writers("hla2")
    assert roles(found["states1"]) == [GRID, GRID]  # the sum of k k, whose two features are both those of k
    assert roles(found["states2"]) == [GRID, GRID, TILES]  # reads the other state, stores its own
    assert any(isinstance(s, Recall) for s in flat(found["states2"].kernel.steps))
    assert roles(found["reads"]) == [GRID, TILES, TILES]


def test_a_triangular_system_is_inverted_before_a_loop() -> None:
    for name, writer in writers("delta_rule_grad").items():
        text = "\n".join(writer.write())
        for line in text.splitlines():
            if "_inverse(" in line and "reads" in name:
                assert line.startswith("    ") and not line.startswith("     "), text


def test_heads_that_share_keys_are_taken_one_by_one() -> None:
    found = writers("grouped_queries_grad")
    for name in ("2_reads1", "2_reads2"):
        assert EACH in roles(found[name]) and SCALAR in roles(found[name])
        (loop,) = [s for s in found[name].kernel.steps if isinstance(s, Over)]
        assert any(isinstance(s, Summed) and isinstance(s.step, Stream) for s in loop.steps)


def test_of_several_axes_of_a_sum_tiles_are_taken_of_one() -> None:
    found = writers("mpo", "parallel")["3"]
    assert roles(found).count(EACH) == 2 and roles(found).count(TILES) == 1


def test_what_a_loop_would_need_of_itself_stays_whole() -> None:
    """A sum over f whose result has c, and beside it a result that has f: c is no loop within that of f."""
    found = writers("tensor_interaction_grad")["1_reads1"]
    assert roles(found) == [LANE, TILES, TILES]


@pytest.mark.parametrize("name", ["hla2", "based", "delta_product", "gated", "hla2_grad", "delta_rule_grad"])
def test_everything_is_made_before_it_is_read(name: str) -> None:
    def check(steps: object, known: set[str]) -> None:
        for step in steps:  # type: ignore[attr-defined]
            if isinstance(step, Over):
                check(step.steps, known | {r.value for r in step.sums})
            else:
                missing = {r.value for r in tile_inputs(step)} - known
                assert not missing, (step, missing)
            known |= {r.value for r in tile_outputs(step)}

    for writer in writers(name).values():
        check(writer.kernel.steps, {s.name for s in (*writer.kernel.carried, *writer.kernel.given)})


def test_no_kernel_holds_the_state_of_every_token_of_two_writes() -> None:
    for writer in writers("delta_product").values():
        steps = list(flat(writer.kernel.steps))
        assert not any(isinstance(s, ScanTile) for s in steps)
        assert all(len(s.out.axes) < 3 for s in steps if isinstance(s, Contract))


def test_groups() -> None:
    widths = {"o": 2, "m": 1, "p": 2}

    def cost(names: object) -> tuple[int, int] | None:
        names = list(names)  # type: ignore[call-overload]
        return None if {"o", "p"} <= set(names) else (max(widths[n] for n in names), 0)

    assert grouped(["o", "p", "m"], cost) == [["o", "m"], ["p"]]
    # b reads a, c reads b and d, d and c each other; e is alone
    reads = {"a": ["a"], "b": ["a"], "c": ["b", "d"], "d": ["c"], "e": []}
    assert state_groups(reads, lambda names: None) == [["a"], ["b"], ["c", "d"], ["e"]]
    assert state_groups(reads, lambda names: (1, 0)) == [["a", "e"], ["b"], ["c", "d"]]


def test_addresses_are_of_64_bits() -> None:
    """A row, a column or a head is so many elements from the first that 32 bits may be too few."""
    text = "\n".join(writers("grouped_queries")["kernel"].write())
    assert "row = it.to(tl.int64)" in text
    assert "tl.cast(h_at, tl.int64) * q_s0" in text
    assert "tl.cast(cached_start - cached_first, tl.int64) * k" in text
    once = "\n".join(writers("mpo", "parallel")["1"].write())
    assert "tl.cast(R_at, tl.int64) * B_s0" in once and "S_at[None, :] * B_s3" in once
