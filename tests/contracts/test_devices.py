from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leti_opt import NAS_BENCH_201, NetworkConfig, build_layer_graph
from leti_opt.device.device import Device
from leti_opt.device.host_cpu import HostCpu
from leti_opt.device.model import MeasurableModel
from leti_opt.device.published import PublishedDevice
from leti_opt.device.replay import Replay
from leti_opt.device.simulated import Formula, SimulatedDevice
from tests.contracts.device_contract import DeviceContract
from tests.contracts.scripted_device import ScriptedDevice, steady
from tests.device.recordings import recorded, write_recording
from tests.device.tiny_graphs import graph_model
from tests.device.tiny_tflite import adding_model, measurable


class TestHostCpu(DeviceContract):
    @pytest.fixture
    def device(self) -> Iterator[Device]:
        with HostCpu(cores=[0], deadline_s=45) as device:
            yield device

    @pytest.fixture
    def model(self, tmp_path: Path) -> MeasurableModel:
        return measurable(tmp_path, adding_model())


class TestReplayedRecording(DeviceContract):
    min_runs = 300

    @pytest.fixture
    def device(self, tmp_path: Path) -> Device:
        return Replay(write_recording(tmp_path / "recorded.parquet", [recorded("a"), recorded("b", mean_ms=3.0)]))

    @pytest.fixture
    def model(self) -> MeasurableModel:
        return MeasurableModel(key="a", name="a", renderer="none")


class TestPublished(DeviceContract):
    checkable = False

    @pytest.fixture
    def device(self) -> Device:
        return PublishedDevice("help/pixel3")

    @pytest.fixture
    def model(self) -> MeasurableModel:
        cell = NAS_BENCH_201.from_native_index(5**6 - 1)
        return MeasurableModel.of_graph(build_layer_graph(cell, NetworkConfig.nasbench201()))


class TestSimulated(DeviceContract):
    @pytest.fixture
    def device(self) -> Device:
        return SimulatedDevice(Formula(seed=3, drift=0.01))

    @pytest.fixture
    def model(self) -> MeasurableModel:
        return graph_model("a")


class TestScripted(DeviceContract):
    opens_by_uri = False

    @pytest.fixture
    def device(self) -> Device:
        return ScriptedDevice([steady(2.0, count=5)] * 3, default_min_runs=5)

    @pytest.fixture
    def model(self) -> MeasurableModel:
        return MeasurableModel(key="a", name="a", renderer="none")
