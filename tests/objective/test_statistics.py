"""The statistic that an objective answers is what it says, or an error before anything is measured."""

from __future__ import annotations

import pytest

from leti_opt import AccuracyLatencyObjective, LatencyStore, MeasurementProtocol
from leti_opt.device.published import PublishedDevice
from leti_opt.errors import InvalidInputError, StatisticUnavailableError
from leti_opt.objective.answers import Source
from leti_opt.report.trust import check_trust
from tests.objective.cells import CONV, objective_on

NOISY = "replay:formula?seed=1&noise=0.05"
SAMPLED = MeasurementProtocol(relative_error=0.05, runs_per_sample=4)


@pytest.mark.parametrize("statistic", ["mean", "median", "p95"])
def test_both_objectives_tell_the_statistic_that_was_asked_for(statistic: str) -> None:
    latency = objective_on(NOISY, statistic=statistic)
    answer = latency.evaluate(CONV).answer
    assert answer.measurement is not None
    figure = answer.measurement.batch.statistic(statistic)
    assert latency(CONV) == figure
    assert AccuracyLatencyObjective(lambda _: 0.5, latency)(CONV) == [0.5, figure]


def test_a_published_device_refuses_all_but_its_one_figure_at_the_start() -> None:
    store = LatencyStore(":memory:")
    with pytest.raises(StatisticUnavailableError, match="one figure a cell and no p95"):
        objective_on(PublishedDevice("help/pixel3"), store, statistic="p95")
    assert objective_on(PublishedDevice("help/pixel3"), store).statistic == "mean"


def test_samples_of_several_runs_are_refused_for_a_percentile() -> None:
    with pytest.raises(InvalidInputError, match="hides the p95 of single runs"):
        objective_on(NOISY, protocol=SAMPLED, statistic="p95")


def test_a_stored_figure_of_samples_never_answers_for_a_percentile_of_runs() -> None:
    store = LatencyStore(":memory:")
    sampled = objective_on(NOISY, store, protocol=SAMPLED)
    assert sampled.evaluate(CONV).answer.source is Source.DEVICE
    of_runs = objective_on(NOISY, store, protocol=MeasurementProtocol(relative_error=0.05), statistic="p95")
    first, again = of_runs.evaluate(CONV).answer, of_runs.evaluate(CONV).answer
    for answer in (first, again):
        assert answer.measurement is not None
        assert answer.measurement.batch.runs_per_sample == 1
    assert store.info().measurements == 2


def test_the_trust_check_compares_and_shows_the_same_statistic() -> None:
    objective = objective_on(NOISY, statistic="p95")
    shown: list[str] = []
    check = check_trust(objective.service, objective.question(CONV), shown.append, objective.statistic)
    assert check is not None
    assert check.statistic == "p95"
    assert all(line.startswith(f"p95 {objective(CONV):.3f}") and "±" not in line for line in shown)
