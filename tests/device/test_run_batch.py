"""What one series of runs revealed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.run_batch import STATISTICS, RunBatch
from leti_opt.errors import StatisticUnavailableError

RUNS = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(RUNS)
def test_statistics_are_those_of_the_runs(runs: list[float]) -> None:
    batch = RunBatch.from_runs(runs)
    expected = {
        "mean": np.mean(runs),
        "std": np.std(runs),
        "min": min(runs),
        "max": max(runs),
        "median": np.median(runs),
        "p5": np.percentile(runs, 5),
        "p95": np.percentile(runs, 95),
    }
    assert batch.count == len(runs)
    assert batch.runs_ms == tuple(runs)
    assert set(expected) == set(STATISTICS)
    for name, value in expected.items():
        assert batch.statistic(name) == pytest.approx(value)


def test_a_statistic_that_the_device_does_not_reveal_is_an_error() -> None:
    batch = RunBatch(count=3, mean_ms=1.0)
    with pytest.raises(StatisticUnavailableError, match="reveals no p95"):
        batch.statistic("p95")
    with pytest.raises(StatisticUnavailableError, match="choose from mean"):
        batch.statistic("mode")
    assert batch.relative_std is None


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 0},
        {"mean_ms": math.nan},
        {"mean_ms": -1.0},
        {"mean_ms": math.inf},
        {"std_ms": math.nan},
        {"p95_ms": -0.1},
    ],
)
def test_figures_that_cannot_be_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        RunBatch(**{"count": 3, "mean_ms": 1.0, **fields})


def test_runs_that_take_no_time_have_no_spread() -> None:
    assert RunBatch(count=3, mean_ms=0.0, std_ms=0.0).relative_std == 0.0
    assert RunBatch(count=3, mean_ms=0.0, std_ms=1.0).relative_std == math.inf
