"""Whatever a device can report comes back as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.store import LatencyStore
from leti_opt.store.values import pack_runs, raw_runs, unpack_runs

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
times = st.floats(0, 1e9)
maybe = st.none() | times
moments = st.datetimes(
    datetime(1971, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=45))),
)
batches = st.builds(
    RunBatch,
    st.integers(1, 10**6),
    times,
    maybe,
    maybe,
    maybe,
    maybe,
    maybe,
    maybe,
    st.none() | st.lists(st.floats(allow_nan=False), max_size=8).map(tuple),
)
identities = st.builds(
    DeviceIdentity,
    names,
    names,
    names,
    names,
    names,
    st.lists(st.tuples(names, names), max_size=3).map(tuple),
    st.sampled_from(["measured", "simulated", "replayed"]),
)
measurements = st.builds(
    Measurement,
    model_key=names,
    device=identities,
    epoch=st.builds(DeviceEpoch, names, names, names),
    attempts=st.lists(batches, min_size=1, max_size=3).map(tuple),
    stable=st.booleans(),
    min_runs=st.integers(1, 10**6),
    max_relative_std=times,
    warmup_runs=st.integers(0, 100),
    started_at=moments,
    duration_s=times,
    faults=st.lists(names, max_size=2).map(tuple),
    initialization_ms=maybe,
    first_run_ms=maybe,
    metrics=st.lists(st.builds(Metric, names, st.floats(allow_nan=False), names, names), max_size=2).map(tuple),
    tool=names,
    commit=st.none() | names,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(measurements, min_size=1, max_size=4))
def test_measurements_come_back_equal(given: list[Measurement]) -> None:
    with LatencyStore(":memory:") as store:
        _check(store, given)


def _check(store: LatencyStore, given: list[Measurement]) -> None:
    for measurement in given:
        store.add(MeasurableModel(measurement.model_key, "näme", "1"), measurement)
    for measurement in given:
        found = store.find(measurement.model_key, measurement.device, measurement.epoch)
        assert found.count(measurement) == 1
        assert found == sorted(found, key=lambda one: one.started_at, reverse=True)
    assert store.info().measurements == len(set(given))
    assert len(store.to_frame(origin="any", include_unstable=True, epoch="any")) == len(set(given))


@given(st.lists(st.floats(allow_nan=False)))
def test_run_times_are_kept_to_the_bit(runs: list[float]) -> None:
    assert [run.hex() for run in unpack_runs(pack_runs(raw_runs(runs)))] == [run.hex() for run in runs]
