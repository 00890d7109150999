"""Limits and statistics on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leti_opt.store import LatencyStore
from tests.cli.commands import CELL, TINY, leti_opt, printed_json, refusal

NOISY = "replay:formula?seed=1&noise=0.05"
OTHER = "0-1,1-2:conv1x1-bn-relu"
MEASURE = ("measure", CELL, OTHER, "--device", NOISY, *TINY)
SEARCH = ("search", "--device", NOISY, *TINY, "--budget", 8, "--seed", 1, "--optimizer", "RandomSearch")


def figures(statistic: str = "mean") -> dict[str, float]:
    """Latency of both cells, each of many runs, in a store of its own."""
    rows = printed_json(*MEASURE, "--statistic", statistic, "--min-runs", 10_000, "--store", "many.db")
    return {row["name"]: row["latency_ms"] for row in rows}


def test_networks_under_the_limit_end_with_success() -> None:
    text = leti_opt(*MEASURE, "--limit-ms", 1000).stdout
    assert "under 1000 ms by the mean?" in text
    assert text.count("met ") == 2
    rows = printed_json(*MEASURE, "--limit-ms", 1000)
    assert [row["limit"]["verdict"] for row in rows] == ["met", "met"]
    assert all(row["limit"]["low_ms"] < row["limit"]["latency_ms"] < row["limit"]["high_ms"] for row in rows)
    assert all("limit" not in row for row in printed_json(*MEASURE))


@pytest.mark.parametrize("statistic", ["mean", "median", "p95"])
def test_a_network_above_the_limit_has_an_exit_code_of_its_own(statistic: str) -> None:
    found = figures(statistic)
    between = sum(found.values()) / 2
    rows = printed_json(*MEASURE, "--statistic", statistic, "--limit-ms", between, code=7)
    assert {row["name"]: row["limit"]["verdict"] for row in rows} == {
        name: "met" if latency_ms < between else "missed" for name, latency_ms in found.items()
    }
    assert {row["limit"]["statistic"] for row in rows} == {statistic}


def test_what_stays_undecided_has_another_and_says_why(folder: Path) -> None:
    quick = min(figures(), key=lambda name: figures()[name])
    only = ("measure", quick, *MEASURE[3:], "--limit-ms", figures()[quick])
    text = leti_opt(*only, code=8).stdout
    assert "undecided" in text
    assert "the limit lies within the bounds" in text
    with LatencyStore(folder / "latency.db") as store:
        before = store.info().measurements
    assert before == 5
    assert leti_opt(*only, code=8).stdout.splitlines()[-1] == text.splitlines()[-1]
    with LatencyStore(folder / "latency.db") as store:
        assert store.info().measurements == before


def test_an_unstable_network_is_undecided() -> None:
    unstable = ("measure", CELL, "--device", f"{NOISY}&unstable=1", *TINY)
    assert "unstable: the runs of every attempt" in leti_opt(*unstable, "--limit-ms", 1000, code=8).stdout
    assert leti_opt(*unstable, code=6)


@pytest.mark.parametrize("options", [("--limit-ms", 0), ("--limit-ms", -3), ("--statistic", "p96")])
@pytest.mark.parametrize("command", [MEASURE, SEARCH])
def test_a_limit_that_cannot_be_is_refused_before_anything_is_made(
    command: tuple[object, ...], options: tuple[object, ...], folder: Path
) -> None:
    assert refusal(*command, *options)
    assert list(folder.iterdir()) == []


def steps_and_front(*options: object, store: str) -> tuple[Any, Any]:
    found = printed_json(*SEARCH, *options, "--store", store)
    return found["steps"], found["front"]


def test_a_search_marks_its_cells_and_its_course_stays_the_same() -> None:
    steps, front = steps_and_front(store="without.db")
    limit = sorted(row["latency_ms"] for row in front)[len(front) // 2] * 1.0001
    marked_steps, marked = steps_and_front("--limit-ms", limit, store="with.db")
    assert marked_steps == steps
    assert [row["cell"] for row in marked] == [row["cell"] for row in front]
    assert all(row["limit"] is None for row in front)
    verdicts = [row["limit"]["verdict"] for row in marked]
    assert verdicts[0] == "met"
    assert verdicts[-1] == "missed"
    with LatencyStore("without.db") as without, LatencyStore("with.db") as with_limit:
        assert with_limit.info().measurements > without.info().measurements
    again, _ = steps_and_front("--limit-ms", limit, store="with.db")
    assert [step["losses"] for step in again] == [step["losses"] for step in steps]
    assert f"under {limit:g} ms" in leti_opt(*SEARCH, "--limit-ms", limit, "--store", "with.db").stdout


def test_a_search_for_the_tail_says_so_wherever_it_shows_a_figure() -> None:
    text = leti_opt(*SEARCH, "--statistic", "p95").stdout
    assert "p95 latency in ms (simulated)" in text
    assert "±" not in text
    found = printed_json(*SEARCH, "--statistic", "p95")
    means = printed_json(*SEARCH, "--store", "means.db")
    assert found["statistic"] == "p95"
    assert {row["statistic"] for row in found["front"]} == {"p95"}
    by_cell = {row["cell"]: row["latency_ms"] for row in means["front"]}
    assert all(row["latency_ms"] > by_cell[row["cell"]] for row in found["front"] if row["cell"] in by_cell)


def test_a_recording_without_the_statistic_is_refused_at_the_start(folder: Path) -> None:
    import pandas as pd

    leti_opt(*SEARCH)
    with LatencyStore(folder / "latency.db") as store:
        store.export(folder / "recording.parquet")
    table = pd.read_parquet(folder / "recording.parquet")
    table.loc[table.index[-1], "p95_ms"] = None
    table.to_parquet(folder / "holey.parquet")
    asked = ("search", *TINY, "--budget", 8, "--seed", 1, "--optimizer", "RandomSearch", "--store", "replayed.db")
    holey = refusal(*asked, "--device", "replay:holey.parquet", "--statistic", "p95")
    assert "1 networks of the recording holey.parquet have no p95" in holey
    with LatencyStore("replayed.db") as store:
        assert store.info().measurements == store.info().evaluations == 0
    assert leti_opt(*asked, "--device", "replay:recording.parquet", "--statistic", "p95")
    assert leti_opt(*asked, "--device", "replay:holey.parquet", "--statistic", "median")
