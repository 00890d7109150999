"""What every device must do. A test module of a device subclasses this and gives the two fixtures.

A device from outside of this package is held to the same: subclass :class:`DeviceContract` in your tests.
"""

from __future__ import annotations

import dataclasses
import math

import pytest

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.measurement import Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.resource_lock import hold
from leti_opt.device.run_batch import STATISTICS, RunBatch
from leti_opt.errors import StatisticUnavailableError

PATIENT = MeasurementProtocol(max_relative_std=1e6, warmup_runs=1)
"""Accepts any spread: the contract is about the device, not about how calm this machine is."""


class DeviceContract:
    """Subclasses give ``device`` and ``model``, a network that the device can run, as fixtures."""

    min_runs = 5
    opens_by_uri = True
    checkable = True
    """False for published figures that say too little of their runs for a rule to be checked."""

    @pytest.fixture
    def device(self) -> Device:
        raise NotImplementedError("give a fixture named device")

    @pytest.fixture
    def model(self) -> MeasurableModel:
        raise NotImplementedError("give a fixture named model")

    def test_identity_is_constant_and_complete(self, device: Device) -> None:
        identity = device.identity
        assert isinstance(identity, DeviceIdentity)
        assert identity == device.identity
        assert hash(identity) == hash(device.identity)
        assert all(
            getattr(identity, field.name)
            for field in dataclasses.fields(identity)
            if field.name not in ("options", "delegate")
        )
        assert list(identity.options) == sorted(identity.options)
        assert all(isinstance(part, str) for option in identity.options for part in option)
        assert identity.name

    def test_figures_that_nobody_measured_say_so_in_the_name(self, device: Device) -> None:
        identity = device.identity
        assert (identity.origin == "measured") == (identity.origin.upper() not in identity.name)

    def test_epoch_is_constant(self, device: Device) -> None:
        assert isinstance(device.epoch, DeviceEpoch)
        assert device.epoch == device.epoch
        assert device.epoch.system_build

    def test_resources_are_names_that_can_be_held(self, device: Device) -> None:
        assert isinstance(device.resources, frozenset)
        assert all(isinstance(name, str) and name for name in device.resources)
        with hold(device.resources, timeout_s=60):
            assert device.resources == device.resources

    def test_its_uri_opens_an_equal_device(self, device: Device) -> None:
        assert device.uri
        if not self.opens_by_uri:
            return
        with open_device(device.uri) as again:
            assert again.uri == device.uri
            assert again.identity == device.identity
            assert again.resources == device.resources
            assert again.needs_file == device.needs_file
            assert again.default_min_runs == device.default_min_runs

    def test_needs_at_least_one_run(self, device: Device) -> None:
        assert device.default_min_runs >= 1

    def test_session_gives_batches_without_invented_figures(self, device: Device, model: MeasurableModel) -> None:
        with hold(device.resources), device.load(model) as session:
            assert isinstance(session, Session)
            assert session.initialization_ms is None or session.initialization_ms >= 0
            for n in (1, self.min_runs):
                batch = session.run(n)
                assert isinstance(batch, RunBatch)
                _check_figures(batch)

    def test_zero_runs_are_refused(self, device: Device, model: MeasurableModel) -> None:
        with hold(device.resources), device.load(model) as session, pytest.raises(ValueError, match="1 run or more"):
            session.run(0)

    def test_metrics_are_finite_and_have_a_source(self, device: Device, model: MeasurableModel) -> None:
        with hold(device.resources), device.load(model) as session:
            session.run(1)
            for metric in session.metrics():
                assert isinstance(metric, Metric)
                assert metric.name
                assert metric.source
                assert math.isfinite(metric.value)

    def test_closing_twice_is_allowed(self, device: Device, model: MeasurableModel) -> None:
        with hold(device.resources):
            session = device.load(model)
            session.run(1)
            session.close()
            session.close()
        device.close()
        device.close()
        with hold(device.resources), device.load(model) as again:
            _check_figures(again.run(1))  # a closed device may be used again

    def test_serves_again_after_it_was_closed(self, device: Device, model: MeasurableModel) -> None:
        with hold(device.resources):
            with device.load(model) as session:
                session.run(1)
            device.close()
            with device.load(model) as session:
                _check_figures(session.run(1))

    def test_a_measurement_on_it_is_whole(self, device: Device, model: MeasurableModel) -> None:
        protocol = dataclasses.replace(PATIENT, min_runs=self.min_runs)
        measurement = measure(device, model, protocol)
        assert measurement.model_key == model.key
        assert measurement.device == device.identity
        assert measurement.epoch == device.epoch
        assert measurement.batch.checkable == self.checkable
        if self.checkable:
            assert measurement.stable
            assert measurement.batch.count >= self.min_runs
        else:
            assert measurement.status == "unchecked"
        assert measurement.latency_ms() == measurement.batch.mean_ms
        assert measurement.first_run_ms is None or measurement.first_run_ms >= 0


def _check_figures(batch: RunBatch) -> None:
    assert batch.count is None or batch.count >= 1
    assert batch.mean_ms >= 0
    if batch.runs_ms is not None:
        assert len(batch.runs_ms) == batch.count
        assert batch.mean_ms == pytest.approx(sum(batch.runs_ms) / batch.count)
    if batch.min_ms is not None and batch.max_ms is not None:
        slack = 1e-9 * batch.max_ms
        assert batch.min_ms - slack <= batch.mean_ms <= batch.max_ms + slack
    for name in STATISTICS:
        if getattr(batch, f"{name}_ms") is None:
            with pytest.raises(StatisticUnavailableError):
                batch.statistic(name)
        else:
            assert math.isfinite(batch.statistic(name))
