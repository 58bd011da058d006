"""Measuring: the order of rounds, the choice of a chunk, ratios and bounds, the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.__main__ import GROUPS, PAGES, chosen
from benchmarks.figure import alone, compared
from benchmarks.timing import Sample, fastest, measure


def test_rounds_are_interleaved_and_alternate() -> None:
    log: list[str] = []
    samples = measure({"a": lambda: log.append("a"), "b": lambda: log.append("b")}, rounds=3)
    assert "".join(log) == "ab" + "ab" + "ba" + "ab"
    assert len(samples["a"].seconds) == len(samples["b"].seconds) == 3


def test_rounds_stop_when_the_budget_is_spent() -> None:
    assert len(measure({"a": lambda: None}, rounds=1000, budget=0.0)["a"].seconds) == 3


def test_fastest_picks_the_least_work() -> None:
    assert fastest({1: lambda: None, 2: lambda: sum(range(200_000))}) == 1


def test_median_and_minimum() -> None:
    sample = Sample((3.0, 1.0, 8.0))
    assert (sample.median, sample.minimum) == (3.0, 1.0)


def test_calls_of_each_contender() -> None:
    log: list[str] = []
    contenders = {"a": lambda: log.append("a"), "b": lambda: log.append("b")}
    measure(contenders, rounds=1, calls={"a": 3, "b": 1})
    assert "".join(log) == "ab" + "aaab"


@pytest.mark.parametrize(("ours", "met"), [((1.1, 4.4, 1.0), True), ((1.2, 9.0, 0.5), False)])
def test_a_ratio_is_the_median_of_those_within_a_round(ours: tuple[float, ...], met: bool) -> None:
    theirs = Sample((1.0, 4.0, 1.0))  # the second round was slow for both
    figure = compared("g", "what", "ms", Sample(ours), theirs, bound=1.15, against="by hand")
    assert figure.ratio == pytest.approx(ours[0])
    assert figure.ratio_min == min(ours)
    assert figure.ours == pytest.approx((1e3 * sorted(ours)[1], 1e3 * min(ours)))
    assert figure.met is met


def test_a_speed_up_against_its_bound() -> None:
    ours, theirs = Sample((2.0, 2.0, 1.0)), Sample((50.0, 50.0, 10.0))
    figure = compared("g", "what", "times", ours, theirs, bound=20, against="slow", at_least=True)
    assert (figure.ratio, figure.ratio_min, figure.met) == (25.0, 10.0, True)


def test_a_plain_number_against_its_bound() -> None:
    assert not alone("g", "what", "ms", Sample((0.3, 0.2)), bound=240).met
    assert alone("g", "what", "ms", Sample((0.3, 0.2)), bound=260).met


def test_a_figure_without_a_bound_is_for_information() -> None:
    figure = alone("g", "what", "ms", Sample((0.3, 0.2)), bound=None)
    assert figure.met and results.cells(figure)[-2:] == ("", "")


def test_saved_results_name_the_machine_and_every_figure(tmp_path: Path) -> None:
    figures = [
        compared("chunkwise", "one", "ms", Sample((1.0,)), Sample((2.0,)), bound=1.15, against="by hand"),
        alone("import", "two", "ms", Sample((0.3, 0.2)), bound=240),
    ]
    results.save(figures, tmp_path / "new" / "run")
    data = json.loads((tmp_path / "new" / "run.json").read_text())
    assert data["machine"]["numpy"] and data["machine"]["cpu"]
    assert [f["met"] for f in data["figures"]] == [True, False]
    table = (tmp_path / "new" / "run.md").read_text().splitlines()
    assert table[2].count("|") == table[3].count("|") == table[4].count("|") == table[5].count("|") == 9
    assert "one / by hand" in table[4] and "0.50" in table[4] and table[5].endswith("| NO |")


def test_the_table_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = results.BEGIN.format("numpy"), results.END.format("numpy")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    figures = [
        alone("source", "quick one", "ms", Sample((0.01,)), bound=100),
        alone("source", "slow one", "ms", Sample((0.02,)), bound=100),
        alone("import", "import", "ms", Sample((0.03,)), bound=250),
    ]
    results.update_page(page, "numpy", figures)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "slow one" in text and "quick one" not in text and "| import |" in text
    results.update_page(page, "numpy", figures)
    assert page.read_text() == text
    with pytest.raises(ValueError, match="no place for the figures of torch"):
        results.update_page(page, "torch", figures)


@pytest.mark.parametrize("page", PAGES)
def test_the_readme_has_a_place_for_the_figures(page: str) -> None:
    text = (Path(results.__file__).parents[1] / "README.md").read_text()
    assert text.count(results.BEGIN.format(page)) == text.count(results.END.format(page)) == 1


def test_groups_are_chosen_by_name_or_page() -> None:
    assert chosen(None) == list(GROUPS)
    assert chosen(["torch"]) == list(PAGES["torch"])
    assert chosen(["torch-step", "step"]) == ["step", "torch-step"]
