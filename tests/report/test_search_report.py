"""Counts, correlation and tables of a search."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from leti_opt.network.cost import network_cost
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.report.search_report import (
    SearchCounts,
    counts_text,
    flops_rank_correlation,
    flops_text,
    front_rows,
    search_counts,
)
from leti_opt.report.tables import cell_lines, front_table, latency_text, plain_table
from leti_opt.search import ArchitectureSearch, SearchSettings
from leti_opt.search.architecture_search import SearchResult
from leti_opt.store import LatencyStore
from tests.report.results import NETWORK, searched


def printed(table: object, width: int = 160) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue()


def test_a_first_search_measures_each_cell_once_and_a_second_none() -> None:
    with LatencyStore(":memory:") as store:
        first = search_counts(searched(store=store))
        assert first.evaluations == 12
        assert first.anew == first.distinct > 6
        assert (first.stored, first.provisional, first.infeasible) == (0, 0, 0)
        again = searched(store=store)
        assert search_counts(again) == SearchCounts(12, first.distinct, 0, first.distinct, 0, 0, 0)
        assert counts_text(again, "measured").startswith(
            f"12 evaluations, {first.distinct} different cells: nothing measured anew, {first.distinct} from the store"
        )


def test_what_this_process_remembers_was_not_measured_anew() -> None:
    latency = DeviceLatencyObjective("replay:formula?seed=1", NETWORK, store=":memory:")
    first, again = (
        search_counts(ArchitectureSearch(latency, SearchSettings("RandomSearch", 12, seed=1)).run()) for _ in range(2)
    )
    assert (first.anew, first.stored) == (first.distinct, 0)
    assert (again.anew, again.stored) == (0, first.distinct)


def test_three_kinds_of_answers_are_counted_apart() -> None:
    result = searched("replay:formula?seed=1&unstable=0.3&infeasible=0.3", budget=20)
    counts = search_counts(result)
    states = {step.evaluation.architecture: step.evaluation.answer.status for step in result.steps}
    assert counts.distinct == len(states)
    assert counts.provisional == list(states.values()).count("provisional") > 0
    assert counts.infeasible == list(states.values()).count("infeasible") > 0
    text = counts_text(result, "simulated")
    assert f"{counts.anew} simulated anew, 0 from the store" in text
    assert f"{counts.provisional} of these provisional" in text
    assert text.endswith(f"{counts.infeasible} infeasible")


def test_an_empty_search_is_counted_as_nothing() -> None:
    assert search_counts(SearchResult(())) == SearchCounts(0, 0, 0, 0, 0, 0, 0)
    assert front_rows((), NETWORK) == []
    assert flops_rank_correlation((), NETWORK) is None


def test_flops_rank_a_device_that_counts_them_perfectly() -> None:
    device = "replay:formula?seed=1&noise=0&residual=0&layer_us=0&gb_per_s=1000000"
    measured = searched(device, budget=20).measured
    assert flops_rank_correlation(measured, NETWORK) == pytest.approx(1.0, abs=0.02)
    assert re.search(
        rf"of these {len(measured)} cells with a Spearman correlation of (1\.000|0\.9\d\d)$",
        flops_text(measured, NETWORK),
    )


def test_flops_rank_a_device_that_ignores_them_badly() -> None:
    measured = searched("replay:formula?seed=1&residual=5", budget=30).measured
    found = flops_rank_correlation(measured, NETWORK)
    assert found is not None
    assert -1 <= found < 0.8


def test_few_cells_are_not_compared() -> None:
    measured = searched().measured
    assert flops_rank_correlation(measured[:2], NETWORK) is None
    assert flops_rank_correlation([measured[0]] * 5, NETWORK) is None
    assert flops_text(measured[:2], NETWORK) == "FLOPs against latency: too few different cells to compare (2)"


def test_rows_of_the_front_hold_figures_with_their_origin_and_costs() -> None:
    result = searched()
    rows = front_rows(result.front, NETWORK)
    assert [row.latency_ms for row in rows] == sorted(row.latency_ms for row in rows)
    assert {row.origin for row in rows} == {"simulated"}
    for row, evaluation in zip(rows, result.front, strict=True):
        cost = network_cost(evaluation.architecture, NETWORK)
        assert (row.flops, row.parameters, row.runs) == (cost.flops, cost.parameters, 10)
        assert (row.accuracy, row.graph_hash) == (evaluation.accuracy, evaluation.architecture.graph_hash)
        assert row.std_ms > 0


def test_the_table_shows_every_row_and_says_that_it_was_simulated() -> None:
    rows = front_rows(searched().front, NETWORK)
    text = printed(front_table(rows), width=300)
    assert "latency in ms (simulated)" in text
    assert "accuracy" in text
    lines = text.splitlines()
    assert len(lines) == len(rows) + 1
    for number, (line, row) in enumerate(zip(lines[1:], rows, strict=True), start=1):
        assert line.startswith(f"{number} ")
        assert latency_text(row.latency_ms, row.std_ms, row.runs) in line
        assert f"{row.parameters:,}" in line
        assert row.graph_hash[:8] in line
    assert cell_lines(rows) == [f"{number}  {row.cell}" for number, row in enumerate(rows, start=1)]


def test_a_table_of_latency_alone_has_no_accuracy() -> None:
    rows = front_rows(searched(with_accuracy=False).front, NETWORK)
    assert "accuracy" not in printed(front_table(rows), width=300)


def test_a_narrow_terminal_folds_the_last_column_and_cuts_nothing() -> None:
    text = printed(plain_table(["a", "cell"], [["1", "0-1," * 30]]), width=40)
    assert "".join(text.split()).count("0-1,") == 30
    assert "…" not in text


def test_a_latency_without_a_known_spread_shows_none() -> None:
    assert latency_text(2.0, None, 50) == "2.000 (50 runs, rule not checkable)"
