"""Limits: what is met, missed or undecided, and who gets more runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import nevergrad as ng
import numpy as np
import pytest

from leti_opt import Architecture, ArchitectureSpace, DeviceLatencyObjective, LatencyLimit, LatencyStore, decide_limits
from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError
from leti_opt.objective.answers import Answer, Question, without_runs
from leti_opt.objective.limit_decisions import LimitRow, planned_looks
from leti_opt.objective.measuring import MeasuringService
from tests.objective.cells import CONV, DEEP, POOL, objective_on

NOISY = "replay:formula?seed=1&noise=0.05"
CELLS = (POOL, CONV, DEEP)
DEVICE = DeviceIdentity("host-cpu", "a CPU", "runtime 1", "worker", "cpu")


def measurement(*attempts: RunBatch, stable: bool = True, minute: int = 0, origin: str = "measured") -> Measurement:
    return Measurement(
        model_key="model",
        device=replace(DEVICE, origin=origin),  # type: ignore[arg-type]
        epoch=DeviceEpoch("build"),
        attempts=attempts,
        stable=stable,
        min_runs=300,
        max_relative_std=0.1,
        warmup_runs=10,
        started_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute),
        duration_s=1.0,
    )


def batch(mean_ms: float, count: int = 300, seed: int = 0, spread: float = 0.05) -> RunBatch:
    return RunBatch.from_runs(np.random.default_rng(seed).normal(mean_ms, spread * mean_ms, count).tolist())


@pytest.mark.parametrize("statistic", ["mean", "median", "p95"])
def test_a_limit_is_met_or_missed_when_the_bounds_are_on_one_side(statistic: str) -> None:
    measured = measurement(batch(10.0))
    figure = measured.latency_ms(statistic)
    verdicts = [LatencyLimit(limit, statistic).verdict(measured) for limit in (1.2 * figure, figure, 0.8 * figure)]
    assert verdicts == ["met", "undecided", "missed"]


def test_a_limit_on_the_tail_is_another_one() -> None:
    measured = measurement(batch(10.0))
    assert LatencyLimit(10.4, "mean").verdict(measured) == "met"
    assert LatencyLimit(10.4, "p95").verdict(measured) == "missed"


def test_what_the_canary_said_of_the_devices_wander_is_in_the_bounds() -> None:
    calm = measurement(batch(10.0))
    restless = replace(calm, metrics=(Metric("wander", 0.05, "share of the latency", "canary"),))
    later = replace(restless, attempts=(batch(10.0, seed=1),), started_at=calm.started_at + timedelta(minutes=5))
    limit = LatencyLimit(10.4)
    assert [limit.verdict(calm), limit.verdict(restless)] == ["met", "undecided"]
    widths = [
        bounds.high_ms - bounds.low_ms
        for bounds in (limit.judge(m).bounds for m in ([restless], [restless, later]))
        if bounds
    ]
    assert len(widths) == 2
    assert widths[0] > widths[1] > 2 * 1.9 * 0.05 * 10.0 / 2**0.5


def test_an_unstable_measurement_decides_nothing_and_says_why() -> None:
    judged = LatencyLimit(1000.0).judge([measurement(batch(10.0, spread=0.3), stable=False)])
    assert judged.verdict == "undecided"
    assert judged.bounds is None
    assert judged.reason is not None
    assert "spread by more than 10 %" in judged.reason


def test_a_published_figure_without_spread_decides_nothing() -> None:
    unchecked = measurement(RunBatch(None, 10.0), stable=False, origin="replayed")
    assert unchecked.status == "unchecked"
    judged = LatencyLimit(1000.0).judge([unchecked])
    assert judged.verdict == "undecided"
    assert judged.reason is not None
    assert "published" in judged.reason


def test_without_runs_only_a_mean_with_a_known_error_decides() -> None:
    light = measurement(replace(batch(10.0), runs_ms=None))
    assert LatencyLimit(11.0).verdict(light) == "met"
    assert LatencyLimit(9.0).verdict(light) == "missed"
    assert LatencyLimit(11.0, "median").verdict(light) == "undecided"
    assert LatencyLimit(11.0).verdict(measurement(RunBatch(300, 10.0, 0.1))) == "undecided"


def test_samples_of_several_runs_say_nothing_of_the_tail() -> None:
    samples = RunBatch.from_runs(np.random.default_rng(0).normal(1.0, 0.01, 300).tolist(), runs_per_sample=4)
    judged = LatencyLimit(2.0, "p95").judge([measurement(samples)])
    assert judged.verdict == "undecided"
    assert judged.reason is not None
    assert "4 runs were timed as one" in judged.reason
    assert LatencyLimit(2.0).judge([measurement(samples)]).runs == 1200


def test_sessions_are_judged_together_and_their_disagreement_makes_undecided() -> None:
    limit = LatencyLimit(10.5)
    slow, quick = measurement(batch(10.3, seed=1)), measurement(batch(9.7, seed=2), minute=5)
    assert [limit.verdict(slow), limit.verdict(quick)] == ["met", "met"]
    assert limit.judge([slow, quick]).verdict == "undecided"
    assert limit.judge([slow, quick]) == limit.judge([quick, slow])
    assert limit.judge([slow, measurement(batch(10.3, seed=3), minute=5)]).runs == 600


@pytest.mark.parametrize(
    "settings",
    [{"limit_ms": 0.0}, {"limit_ms": float("inf")}, {"limit_ms": 30.0, "statistic": "max"}]
    + [{"limit_ms": 30.0, "confidence": confidence} for confidence in (0.0, 1.0, 95.0)],
)
def test_a_limit_that_cannot_be_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        LatencyLimit(**settings)  # type: ignore[arg-type]


def decide(
    objective: DeviceLatencyObjective, limit: LatencyLimit, shown: list[LimitRow] | None = None, max_runs: int = 10_000
) -> list[LimitRow]:
    questions = [objective.question(cell) for cell in CELLS]
    return decide_limits(objective.service, questions, limit, max_runs, None if shown is None else shown.append)


def runs_stored(objective: DeviceLatencyObjective, cell: Architecture) -> list[int | None]:
    measured = objective.evaluate(cell).answer.measurement
    assert measured is not None
    found = objective.store.find(measured.model_key, objective.service.identity)
    return [one.batch.count for one in reversed(found)]


def close_limit(cell: Architecture, share: float, statistic: str = "mean") -> LatencyLimit:
    """A limit so near to a cell's figure of many runs that 300 cannot tell."""
    protocol = MeasurementProtocol(min_runs=20_000)
    measured = objective_on(NOISY, protocol=protocol).evaluate(cell).answer.measurement
    assert measured is not None
    return LatencyLimit(share * measured.latency_ms(statistic), statistic)


def test_only_undecided_networks_get_more_runs_until_they_are_decided() -> None:
    objective = objective_on(NOISY)
    shown: list[LimitRow] = []
    rows = decide(objective, close_limit(CONV, 1.003), shown)
    assert [row.verdict for row in rows] == ["met", "met", "missed"]
    assert runs_stored(objective, POOL) == [300]
    assert runs_stored(objective, DEEP) == [300]
    made = runs_stored(objective, CONV)
    assert len(made) > 1
    assert made == [300 * 2**place for place in range(len(made))]
    assert rows[1].runs == made[-1], "a simulated device repeats itself, and a repeated run counts once"
    assert shown[0].verdict == "met"
    assert shown[1].verdict == "undecided"
    assert {row.origin for row in rows} == {"simulated"}


def test_a_network_on_the_limit_stays_undecided_and_says_what_it_would_take() -> None:
    objective = objective_on(NOISY)
    row = decide(objective, close_limit(CONV, 1.0), max_runs=2500)[1]
    assert row.verdict == "undecided"
    assert row.reason == "the limit lies within the bounds"
    assert row.further_runs is None or row.further_runs > 0
    assert sum(count or 0 for count in runs_stored(objective, CONV)) <= 2500


def test_a_second_call_measures_nothing_again() -> None:
    store = LatencyStore(":memory:")
    limit = close_limit(CONV, 1.003)
    first = decide(objective_on(NOISY, store), limit)
    before = store.info().measurements
    assert decide(objective_on(NOISY, store), limit) == first
    assert store.info().measurements == before


def test_a_stopped_call_goes_on_where_it_was() -> None:
    limit = close_limit(CONV, 1.003)
    whole = LatencyStore(":memory:")
    expected = decide(objective_on(NOISY, whole), limit)

    class StoppedError(Exception):
        pass

    def stop_at_the_second_look(row: LimitRow) -> None:
        if row.runs == 600:
            raise StoppedError

    store = LatencyStore(":memory:")
    objective = objective_on(NOISY, store)
    with pytest.raises(StoppedError):
        decide_limits(
            objective.service, [objective.question(cell) for cell in CELLS], limit, 10_000, stop_at_the_second_look
        )
    assert store.info().measurements == 4
    assert decide(objective_on(NOISY, store), limit) == expected
    assert store.info().measurements == whole.info().measurements


@pytest.mark.parametrize("cells", [(CONV, DEEP), (DEEP, CONV)], ids=["in order", "reversed"])
def test_the_most_nearly_decided_is_measured_first(
    cells: tuple[Architecture, Architecture], monkeypatch: pytest.MonkeyPatch
) -> None:
    scattered = objective_on("replay:formula?seed=1&noise=1", protocol=MeasurementProtocol(max_relative_std=5.0))
    low, high = sorted([scattered(CONV), scattered(DEEP)])
    limit = LatencyLimit(low + 0.8 * (high - low), confidence=1 - 1e-9)
    asked: list[str] = []
    answer = MeasuringService.answer

    def listed(service: MeasuringService, question: Question, fresh: bool = False) -> Answer:
        if fresh:
            asked.append(question.name)
        return answer(service, question, fresh)

    monkeypatch.setattr(MeasuringService, "answer", listed)
    shown: list[LimitRow] = []
    questions = [scattered.question(cell) for cell in cells]
    decide_limits(scattered.service, questions, limit, 1000, shown.append)
    needed = {row.name: row.further_runs or 10**9 for row in shown[:2]}
    assert [row.verdict for row in shown[:2]] == ["undecided", "undecided"]
    assert asked[0] == min(needed, key=lambda name: needed[name])
    assert needed[asked[0]] < max(needed.values())


def test_offline_decides_by_what_the_store_has() -> None:
    store = LatencyStore(":memory:")
    limit = close_limit(CONV, 1.003)
    for cell in CELLS:
        objective_on(NOISY, store)(cell)
    before = store.info().measurements
    rows = decide(objective_on(NOISY, store, offline=True), limit)
    assert [row.verdict for row in rows] == ["met", "undecided", "missed"]
    assert rows[1].further_runs is not None
    assert store.info().measurements == before


def test_an_unstable_network_gets_no_further_runs() -> None:
    objective = objective_on("replay:formula?seed=1&unstable=1")
    rows = decide(objective, LatencyLimit(1000.0))
    assert {row.verdict for row in rows} == {"undecided"}
    assert all(row.reason is not None and "unstable" in row.reason for row in rows)
    assert objective.store.info().measurements == 3


def test_an_infeasible_network_has_no_verdict_on_a_latency() -> None:
    rows = decide(objective_on("replay:formula?seed=1&infeasible=1"), LatencyLimit(1000.0))
    assert {(row.verdict, row.latency_ms) for row in rows} == {("infeasible", None)}
    assert all(row.reason and "refusal" in row.reason for row in rows)


def test_a_network_near_the_limit_is_seldom_put_on_the_wrong_side() -> None:
    """The figure after many runs says where a network really is; several looks must not make more of the 5 %."""
    wrong = missed = 0
    for seed in range(15):
        device = f"replay:formula?seed={seed}&noise=0.05&residual=0"
        objective = objective_on(device, protocol=MeasurementProtocol(min_runs=100))
        true_ms = objective_on(device.replace("0.05", "0.0"), protocol=MeasurementProtocol(min_runs=30))(CONV)
        (row,) = decide_limits(objective.service, [objective.question(CONV)], LatencyLimit(0.999 * true_ms), 1500)
        wrong += row.verdict == "met"
        (further,) = decide_limits(objective.service, [objective.question(CONV)], LatencyLimit(0.97 * true_ms), 1500)
        missed += further.verdict == "missed"
    assert wrong <= 2
    assert missed >= 14


def test_looks_are_counted_by_doubling() -> None:
    made, looks, runs = 300, 1, 300
    while made + 2 * runs <= 10_000:
        runs *= 2
        made += runs
        looks += 1
    assert planned_looks(300, 10_000) == looks
    assert planned_looks(300, 300) == planned_looks(300, 100) == 1
    with pytest.raises(InvalidInputError, match="max_runs"):
        decide_limits(objective_on(NOISY).service, [], LatencyLimit(1.0), max_runs=0)


def test_raw_runs_come_from_the_store_where_memory_dropped_them() -> None:
    objective = objective_on(NOISY)
    answer = objective.evaluate(CONV).answer
    assert answer.measurement is not None
    light = without_runs(answer).measurement
    assert light is not None
    limit = LatencyLimit(2 * answer.measurement.latency_ms("p95"), "p95")
    assert limit.verdict(light) == "undecided"
    (row,) = decide_limits(objective.service, [objective.question(CONV)], limit)
    assert row.verdict == "met"


def test_nevergrad_is_told_how_far_a_network_is_above_the_limit() -> None:
    space = ArchitectureSpace()
    space.random_state.seed(3)
    latency = objective_on("replay:formula?seed=1")
    slow, quick = latency(DEEP), latency(POOL)
    limit = LatencyLimit((slow + quick) / 2)
    violation = limit.violation(latency)
    assert violation(DEEP) > 0 > violation(POOL)

    def missing_edges(cell: Architecture) -> float:
        return 10.0 - len(cell.canonical().edges)

    free = ng.optimizers.registry["DE"](space, budget=60).minimize(missing_edges)
    bound = ng.optimizers.registry["DE"](space, budget=60).minimize(missing_edges, constraint_violation=[violation])
    assert latency(bound.value) < limit.limit_ms < latency(free.value)
    with pytest.raises(InvalidInputError, match="statistic='p95'"):
        LatencyLimit(1.0, "p95").violation(latency)


@pytest.mark.needs("litert")
def test_a_real_cpu_meets_a_wide_limit_and_misses_a_narrow_one() -> None:
    protocol = MeasurementProtocol(min_runs=60, max_relative_std=5.0)
    objective = objective_on("host-cpu", protocol=protocol)
    question = [objective.question(POOL)]
    try:
        (wide,) = decide_limits(objective.service, question, LatencyLimit(10_000.0), 60)
        (narrow,) = decide_limits(objective.service, question, LatencyLimit(1e-5), 60)
    finally:
        objective.close()
    assert (wide.verdict, narrow.verdict) == ("met", "missed")
    assert wide.origin == "measured"
