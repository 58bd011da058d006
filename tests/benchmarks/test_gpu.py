"""Benchmarks on a GPU, without one: rows, rooflines, peers' layouts, checks, the table, refusals."""

from __future__ import annotations

import inspect
import json
import sys
import types
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import tensorc
from benchmarks import gpu, gpu_rows
from benchmarks.figure import compared
from benchmarks.gpu_peers import PEERS, Peer, earlier, flex, recent
from benchmarks.gpu_rows import ROWS, SHAPES, Rates, Shape, Work, chosen, work
from benchmarks.gpu_table import LATE, Line, markdown, merged, save
from benchmarks.timing import Sample, measure

torch = pytest.importorskip("torch")

from benchmarks import gpu_checks, gpu_timing  # noqa: E402

SMALL = Shape(2, 9, 3, 8)
FLA = [
    (name, peer) for name in ROWS for peer in PEERS[name]
    if peer.name.startswith("fla ")
]  # fmt: skip


def on_torch(source: Path | str) -> Any:
    return tensorc.compile(source, backend="torch")


def recurrence(
    q: Any, k: Any, v: Any, g: Any = None, beta: Any = None, gk: Any = None, scale: Any = None,
    decay: Any = None, **_: Any,
) -> Any:  # fmt: skip
    """The family of flash-linear-attention's kernels by their definition, all of [B, T, H, ...]."""
    B, T, H, K = q.shape
    state, rows = q.new_zeros(B, H, K, v.shape[-1]), []
    scale = K**-0.5 if scale is None else scale
    for t in range(T):
        if g is not None:  # of a token, or of its channels
            state = state * (g[:, t, :, None, None] if g.dim() == 3 else g[:, t, :, :, None]).exp()
        if gk is not None:
            state = state * gk[:, t, :, :, None].exp()
        if decay is not None:
            state = state * decay[:, None, None]
        write = v[:, t]
        if beta is not None:
            write = (write - torch.einsum("bhk,bhkv->bhv", k[:, t], state)) * beta[:, t, :, None]
        state = state + k[:, t, :, :, None] * write[:, :, None]
        rows.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(rows, 1)


def based(q: Any, k: Any, v: Any, scale: Any, use_norm: bool) -> Any:
    s = torch.einsum("bihk,bjhk->bhij", q, k) * scale
    w = (1 + s + s * s / 2).tril()
    return torch.einsum("bhij,bjhv->bihv", w / w.sum(-1, keepdim=True) if use_norm else w, v)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules named like those of flash-linear-attention, on definitions; their retention has its decays."""

    def retention(q: Any, k: Any, v: Any, scale: float) -> Any:
        decay = 1 - 2.0 ** (-5 - torch.arange(q.shape[2]))
        return recurrence(q, k, v, scale=scale, decay=decay.to(q)), None

    def with_state(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
        return recurrence(q, k, v, **keywords), None

    own = {"retention": retention, "based": based}
    for _, peer in FLA:
        operator, function, *_ = peer.load.args  # type: ignore[attr-defined]
        made = sys.modules.get(f"fla.ops.{operator}")
        if made is None or hasattr(made, "__file__"):
            made = types.ModuleType(f"fla.ops.{operator}")
            monkeypatch.setitem(sys.modules, made.__name__, made)
        setattr(made, function, own.get(operator, with_state))
    for name in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))


def exact(row: Any, shape: Shape = SMALL) -> list[Any]:
    return [t.double() if t.dim() > 1 else t for t in gpu_timing.tensors(row, shape, "cpu").values()]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(("name", "peer"), FLA, ids=lambda x: x.name if isinstance(x, Peer) else x)
def test_adapters_lay_inputs_out_as_the_kernels_take_them(name: str, peer: Peer) -> None:
    inputs = exact(ROWS[name])
    expected = tensorc.compile(ROWS[name].source, backend="torch")(*inputs)
    assert expected.shape == (SMALL.B, SMALL.H, SMALL.T, SMALL.D)
    torch.testing.assert_close(gpu_timing.output(peer, inputs), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(not find_spec("fla") or not find_spec("triton"), reason="flash-linear-attention")
@pytest.mark.parametrize(("name", "peer"), FLA, ids=lambda x: x.name if isinstance(x, Peer) else x)
def test_adapters_use_keywords_that_the_kernels_have(name: str, peer: Peer) -> None:
    operator, function, *names = peer.load.args  # type: ignore[attr-defined]
    signature = inspect.signature(getattr(import_module(f"fla.ops.{operator}"), function))
    keywords = [keyword for keyword in names if keyword]
    bound = signature.bind(**dict.fromkeys(keywords), **peer.load.keywords)  # type: ignore[attr-defined]
    assert set(keywords) <= set(bound.arguments) and "kwargs" not in bound.arguments
    assert len(names) == len(ROWS[name].program.inputs)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("name", ["hla2", "ahla"])
def test_second_order_operators_are_two_calls_of_the_first_order(name: str) -> None:
    inputs = exact(ROWS[name])
    expected = tensorc.compile(ROWS[name].source, backend="torch")(*inputs)
    theirs = [peer for peer in PEERS[name] if "fla" in peer.name]
    assert len(theirs) == 2 and len(PEERS[name]) == 3
    for peer in theirs:
        torch.testing.assert_close(gpu_timing.output(peer, inputs), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["attention", "causal_attention", "sliding_window"])
def test_softmax_peers_compute_the_program(name: str) -> None:
    visible = {"attention": None, "causal_attention": earlier, "sliding_window": recent}[name]
    for shape in (SMALL, Shape(1, 300, 2, 16)):
        inputs = exact(ROWS[name], shape)
        expected = tensorc.compile(ROWS[name].source, backend="torch")(*inputs)
        found = {"flex": flex(visible, compiled=False)(*inputs)}
        found |= {p.name: gpu_timing.output(p, inputs) for p in PEERS[name] if "product" in p.name}
        for output in found.values():
            torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-7)


def test_every_row_is_of_a_program_that_exists_and_has_peers() -> None:
    assert ROWS.keys() == PEERS.keys()
    for row in ROWS.values():
        assert set(row.dimensions(SMALL)) == {t.name for t in row.program.inputs}
    assert len(SHAPES) == 6 and Shape(8, 2048, 32, 256) in SHAPES


def test_rows_are_chosen_in_their_order() -> None:
    assert chosen([]) == ["checks", *ROWS]
    assert chosen(["hla2, gated", "retention"]) == ["retention", "gated", "hla2"]
    assert chosen(["mamba2,ahla"]) == ["ahla", "mamba2"] and not list(gpu.cells(["checks", "mamba2"]))
    with pytest.raises(ValueError, match="no row 'hla4'; there are checks, linear_attention"):
        chosen(["hla4"])


def test_work_counts_what_has_to_be_moved_and_the_products_of_the_plan() -> None:
    shape = Shape(2, 4096, 3, 64)
    forward, both = (work(ROWS["linear_attention"], shape, backward) for backward in (False, True))
    element = 2 * 2 * 3 * 4096 * 64
    assert (forward.bytes, both.bytes) == (4 * element, 11 * element)
    report = tensorc.compile(gpu_rows.EXAMPLES / "linear_attention.tc").report(n=4096, d=64, e=64).to_dict()
    assert forward.flops == 6 * report["forms"]["chunkwise"]["flops"]
    states = 2 * 2 * 6 * 4096 * 64 * 64  # into the state and out of it, in either pass as a least
    assert forward.flops > states and both.flops > 3 * states
    based_row = ROWS["based"].dimensions(shape)
    assert based_row["q"] == (2, 3, 4096, 16) and based_row["v"] == (2, 3, 4096, 64)
    assert ROWS["retention"].dimensions(shape)["gamma"] == (3,)


def test_the_roofline_is_the_slower_side() -> None:
    rates = Rates(bandwidth=1e12, matmul=1e15)
    assert Work(flops=10**12, bytes=10**6).seconds(rates) == pytest.approx(1e-3)
    assert Work(flops=10**6, bytes=10**10).seconds(rates) == pytest.approx(1e-2)


def test_a_timer_of_its_own_gives_the_samples() -> None:
    ticks = iter(range(100))
    found = measure({"a": lambda: None, "b": lambda: None}, rounds=2, timer=lambda call, times: next(ticks))
    assert found["a"].seconds == (0, 3) and found["b"].seconds == (1, 2)


def on_the_cpu(calls: Any, rounds: int, budget: float) -> Any:
    return measure(calls, rounds=3, budget=0.1), "events"


def timed(name: str, backward: bool, compiled: Any = on_torch) -> list[Line]:
    rates = Rates(1e10, 1e11)
    return gpu.timed(ROWS[name], SMALL, backward, rates, "cpu", compiled, on_the_cpu)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("backward", [False, True])
def test_a_row_beside_its_peers(backward: bool) -> None:
    lines = timed("gated_delta_rule", backward)
    chunk, recurrent = sorted(lines, key=lambda line: line.peer)
    assert chunk.ours and chunk.theirs and chunk.ratio and chunk.roofline and chunk.timed == "events"
    assert chunk.passes == gpu_rows.PASSES[backward] and chunk.shape == "(2, 9, 3, 8)"
    assert [line.bound for line in lines].count(1.0) == 1
    if backward:
        assert (recurrent.theirs, recurrent.note) == (None, "no backward pass")
    else:
        assert recurrent.theirs and not recurrent.note


@pytest.mark.parametrize("what", ["package", "kernel"])
def test_absent_peers_are_empty_cells(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    module = None if what == "package" else types.ModuleType("fla.ops.gla")
    for name in ("fla", "fla.ops", "fla.ops.gla"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name) if name != "fla.ops.gla" else module)
    lines = timed("gated", backward=True)
    assert lines[0].ours and lines[0].theirs is None and lines[0].met is None
    assert [line.note.split(":")[0] for line in lines[1:]] == ["absent", "absent"]
    assert all(line.ours is None and line.peer.startswith("fla ") for line in lines[1:])


def test_a_peer_that_computes_something_else_bears_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Peer("wrong", lambda: lambda q, k, v: v, tokens_first=False)
    broken = Peer("broken", lambda: lambda q, k, v: q.no_such_thing)
    monkeypatch.setitem(PEERS, "linear_attention", [wrong, broken])
    first, second = timed("linear_attention", backward=False)
    assert first.theirs and first.bound is None and first.note.startswith("other values, off by ")
    assert second.theirs is None and second.note.startswith("failed: AttributeError")


def test_ours_that_has_no_kernel_is_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "sliding_window", [])

    def refused(source: Any) -> Any:
        raise tensorc.BackendError("there is no such kernel")

    lines = timed("sliding_window", backward=False, compiled=refused)
    assert lines[0].ours is None and "failed: BackendError: there is no such kernel" in lines[0].note


@pytest.mark.parametrize("name", ["delta_rule", "normalised", "packed_documents"])
def test_the_check_passes_what_is_right(name: str) -> None:
    path = gpu_rows.EXAMPLES / f"{name}.tc"
    verdicts = gpu_checks.check(path, lambda p: tensorc.compile(p, backend="torch", form="parallel"))
    assert [v.dtype for v in verdicts] == ["bfloat16", "float32"]
    for verdict in verdicts:
        assert verdict.status == "ok" and verdict.share is not None and verdict.share <= 1, verdict


def test_the_check_finds_what_is_wrong() -> None:
    path = gpu_rows.EXAMPLES / "linear_attention.tc"
    right = on_torch(path)
    late = (
        "def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:\n o[i, x] = sum[j < i](q[i, c] * k[j, c] * v[j, x])\n"
    )
    crooked = {
        "strict": tensorc.compile(late, backend="torch"),
        "off": lambda q, k, v: right(q, k, v) * 1.05,
        "gradient": lambda q, k, v: right(q, k.detach() * 0.9 + k * 0.1 + (k - k.detach()) * 0.5, v),
        "NaN": lambda q, k, v: right(q, k, v) * float("nan"),
    }
    for wrong, kernel in crooked.items():
        verdicts = gpu_checks.check(path, lambda p, kernel=kernel: kernel)
        assert [v.status for v in verdicts] == ["WRONG", "WRONG"], (wrong, verdicts)
    slightly = gpu_checks.check(path, lambda p: lambda q, k, v: right(q, k, v) * (1 + 2**-14))
    assert [v.status for v in slightly] == ["ok", "WRONG"]


def test_the_check_labels_refusals_and_crashes() -> None:
    def kernel(error: Exception) -> Any:
        def run(*inputs: Any) -> Any:
            raise error

        return lambda path: run

    path = gpu_rows.EXAMPLES / "linear_attention.tc"
    refused = gpu_checks.check(path, kernel(tensorc.BackendError("no kernel\nhint")))[0]
    assert refused.good and (refused.status, refused.note) == ("refused", "no kernel")
    failed = gpu_checks.check(path, kernel(RuntimeError("crash")))[1]
    assert not failed.good and (failed.status, failed.note) == ("failed", "RuntimeError: crash")


def test_inputs_can_be_drawn_for_the_whole_catalogue() -> None:
    paths = gpu_checks.catalogue()
    assert len(paths) > 40
    for path in paths:
        program = tensorc.parse(path.read_text(encoding="utf-8"))
        drawn = gpu_checks.draw(program, gpu_checks.CASES[1], torch.Generator().manual_seed(0))
        for decl, tensor in zip(program.inputs, drawn, strict=True):
            assert tensor.dim() == (2 if decl.axes else 1) + len(decl.axes) and tensor.isfinite().all()


def line(program: str, ours: float | None = 1.0, **more: Any) -> Line:
    if ours is None:
        return Line(program, "(1, 2, 3, 4)", "forward", "", **more)
    figure = compared(
        program, "", "ms", Sample((ours / 1e3,)), Sample((2e-3,)), bound=1.0, against="fla", at_least=True
    )
    return Line.of(figure, program, "(1, 2, 3, 4)", "forward", **more)


MACHINE = {"date": "2026-01-01", "device": "a device", "torch": "2.11"}
CHECK = {"program": "hla2", "dtype": "float32", "status": "ok", "share": 0.5, "note": "output | 0"}


def test_the_table_comes_last_and_has_empty_cells() -> None:
    fast, slow = line("fast", 1.0, roofline=0.25, timed="graphs"), line("slow", 4.0)
    assert (fast.met, slow.met, line("x", None).met) == (True, False, None)
    text = markdown(MACHINE, [CHECK], [fast, slow, line("none", None, note="absent: a | b")]).splitlines()
    assert "device a device" in text[0]
    assert text[-3] == "| fast | (1, 2, 3, 4) | forward | 1 | 25% | fla | 2 | 2.00 | >= 1 | yes | by graphs |"
    assert " | 0.50 | >= 1 | NO |" in text[-2]
    assert text[-1] == "| none | (1, 2, 3, 4) | forward |  |  |  |  |  |  |  | absent: a / b |"
    assert len({row.count("|") for row in text[-5:]}) == 1


def test_runs_of_some_rows_come_together(tmp_path: Path) -> None:
    stem = tmp_path / "results" / "gpu"
    save(stem, MACHINE, [CHECK], [line("a"), line("b", 4.0)])
    later = MACHINE | {"date": "2026-01-02"}
    save(stem, later, [CHECK | {"status": LATE}], [line("a", None, note=LATE), line("b"), line("c")])
    data = json.loads(stem.with_suffix(".json").read_text())
    assert data["machine"]["date"] == "2026-01-02" and data["checks"] == [CHECK]
    assert [(x["program"], x["ours"]) for x in data["lines"]] == [("a", 1.0), ("b", 1.0), ("c", 1.0)]
    assert "| c |" in stem.with_suffix(".md").read_text()
    assert merged(stem, later | {"torch": "2.12"}, [], [line("d")]) == ([], [line("d")])


def test_a_dry_run_lists_rows_and_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--only", "gated_delta_rule", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * len(SHAPES) and "GFLOP" in lines[0]
    assert "(1, 8192, 96, 128)" in lines[1] and "fused_recurrent" in lines[1]
    assert "forward + backward" in lines[2] and "fused_recurrent" not in lines[2]


def test_a_run_saves_and_prints_the_table_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "no_device", lambda: "")
    monkeypatch.setattr(gpu_timing, "measured_rates", lambda: Rates(1e12, 1e15))
    monkeypatch.setattr(gpu, "environment", lambda rates: MACHINE)
    monkeypatch.setattr(gpu, "timed", lambda row, shape, backward, rates: [line(row.name, 1.0)])
    verdict = gpu_checks.Verdict("gated", "float32", "ok", 0.5)
    monkeypatch.setattr(gpu_checks, "check", lambda path, compiled, device: [verdict])
    assert gpu.main(["--only", "gated"], tmp_path / "gpu") == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith((tmp_path / "gpu.md").read_text().splitlines()[-1])
    assert len(json.loads((tmp_path / "gpu.json").read_text())["lines"]) == 2 * len(SHAPES)
    monkeypatch.setattr(gpu, "timed", lambda row, shape, backward, rates: [line(row.name, 4.0)])
    assert gpu.main(["--only", "hla2"], tmp_path / "gpu") == 1  # a bound that is not kept
    assert gpu.main(["--only", "ahla", "--seconds", "0"], tmp_path / "gpu") == 0
    assert capsys.readouterr().out.count(LATE) >= 2 * len(SHAPES)


def test_a_wrong_kernel_is_a_failed_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "no_device", lambda: "")
    monkeypatch.setattr(gpu_timing, "measured_rates", lambda: Rates(1e12, 1e15))
    monkeypatch.setattr(gpu, "environment", lambda rates: MACHINE)
    verdict = gpu_checks.Verdict("gated", "float32", "WRONG", 2.0)
    monkeypatch.setattr(gpu_checks, "check", lambda path, compiled, device: [verdict])
    assert gpu.main(["--only", "checks"], tmp_path / "gpu") == 1
    assert len(json.loads((tmp_path / "gpu.json").read_text())["checks"]) == len(gpu_checks.catalogue())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert gpu.main([], tmp_path / "gpu") == 2
    said = capsys.readouterr().err
    assert ("CUDA device" in said or "needs triton" in said) and "--dry-run" in said
    assert not list(tmp_path.iterdir())


def test_an_unknown_row_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--only", "nothing"])
    assert "no row 'nothing'" in capsys.readouterr().err
