"""A phone as a device: the whole path, from the real adb server to a network that really runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from leti_opt.architecture import Architecture
from leti_opt.device.android.adb import AdbServer
from leti_opt.device.android.android_device import AndroidDevice
from leti_opt.device.android.phone import REMOTE, Phone
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.errors import (
    AttemptError,
    InfeasibleError,
    InvalidDeviceUriError,
    InvalidProtocolError,
    PhoneError,
    PhoneGoneError,
)
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from tests.contracts.device_contract import DeviceContract
from tests.device.android.short_measurements import SHORT, small_network
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fixtures import MakeDevice, MakePhone
from tests.loopback_phone.phone import LoopbackPhone

pytestmark = [pytest.mark.needs("adb"), pytest.mark.needs("litert")]


class TestContract(DeviceContract):
    opens_by_uri = False  # the tests' adb server is none that a URI could name

    @pytest.fixture
    def device(self, loopback_phone: LoopbackPhone, make_device: MakeDevice) -> AndroidDevice:
        return make_device(loopback_phone)

    @pytest.fixture
    def model(self) -> MeasurableModel:
        return small_network()


def test_its_uri_opens_it_again(
    loopback_phone: LoopbackPhone, binary: Path, adb_server: PrivateAdbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    uri = f"android:{loopback_phone.address}/gpu?delegate=gl&precision_loss=yes&binary={binary}&max_battery_c=37"
    device = open_device(uri)
    again = open_device(device.uri)
    assert again.uri == device.uri
    assert again.identity == device.identity
    assert again.resources == {"android:LOOP0000"}
    assert dict(again.identity.options)["backend"] == "gl"


def test_identity_names_the_loopback_phone_and_epoch_its_build(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    device = make_device(loopback_phone, threads=2)
    assert device.identity.hardware.startswith("loopback phone ")
    assert dict(device.identity.options) == {"threads": "2", "affinity": "f0"}
    assert device.identity.runner == "shell"
    assert device.epoch.system_build == loopback_phone.settings.properties["ro.build.fingerprint"]
    assert device.epoch.driver == loopback_phone.settings.gles
    assert loopback_phone.settings.serial not in str(device.epoch)


@pytest.mark.parametrize("layout", ["file", "resident"])
def test_one_attempt_is_one_start_on_the_chosen_cores(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, layout: str
) -> None:
    device = make_device(loopback_phone, layout=layout)
    measurement = measure(device, small_network(), SHORT)
    (start,) = [event for event in loopback_phone.log if event["event"] == "start"]
    assert start["runs"] == measurement.batch.count == 5
    assert start["mask"] == "f0"
    assert measurement.batch.runs_ms is None
    assert measurement.initialization_ms is not None
    metrics = {metric.name: metric for metric in measurement.metrics}
    assert metrics["battery_temperature"].value == 27.5
    assert metrics["peak_memory"].value > 1e6


def test_several_starts_reveal_their_spread(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    impossible = MeasurementProtocol(min_runs=5, warmup_runs=0, max_relative_std=1e-12, max_attempts=3)
    # Not a tiny one: the program cuts the spread of its runs to whole microseconds, and 0 would keep any rule.
    cell = Architecture.parse("0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")
    network = MeasurableModel.of_graph(build_layer_graph(cell, NetworkConfig.small()))
    measurement = measure(make_device(loopback_phone), network, impossible)
    means = [batch.mean_ms for batch in measurement.attempts]
    assert len(means) == 3
    (spread,) = [metric.value for metric in measurement.metrics if metric.name == "spread_between_starts"]
    mean = sum(means) / 3
    assert spread == pytest.approx((sum((each - mean) ** 2 for each in means) / 3) ** 0.5 / mean)


def test_nothing_but_the_program_is_left_on_the_phone(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    measure(make_device(loopback_phone), small_network(), SHORT)
    left = sorted(path.name for path in loopback_phone.userland.here(REMOTE).iterdir())
    assert left == ["benchmark_model"]


def test_what_a_crashed_session_left_is_removed_at_the_next_start(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    folder = loopback_phone.userland.here(REMOTE)
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(b"half of a network")
    (folder / "header").touch()
    measure(make_device(loopback_phone), small_network(), SHORT)
    assert sorted(path.name for path in folder.iterdir()) == ["benchmark_model"]


def test_a_network_that_the_gpu_refuses_is_infeasible_with_its_reason(
    make_phone: MakePhone, make_device: MakeDevice
) -> None:
    phone = make_phone(gpu_refuses=("MEAN",))
    with pytest.raises(InfeasibleError, match=r"not fully delegated to the gpu: .*MEAN"):
        measure(make_device(phone, "gpu"), small_network(), SHORT)
    assert measure(make_device(phone, "cpu"), small_network(), SHORT).stable


def test_a_gpu_that_silently_is_the_cpu_is_the_phones_fault(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    loopback_phone.faults.switch_on("silent_fallback")
    with pytest.raises(PhoneError, match=r"no gpu.*unsupported"):
        measure(make_device(loopback_phone, "gpu"), small_network(), SHORT)
    assert loopback_phone.faults.fired["silent_fallback"] == 1


@pytest.mark.parametrize("unit", ["gpu", "npu"])
def test_gpu_and_npu_measure_what_they_take_whole(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, unit: str
) -> None:
    device = make_device(loopback_phone, unit)
    assert measure(device, small_network(), SHORT).stable
    assert device.identity.delegate == {"gpu": "gpu", "npu": "nnapi"}[unit]


def test_relative_error_is_refused_since_single_runs_are_not_revealed(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    with pytest.raises(InvalidProtocolError, match="does not reveal single runs"):
        measure(make_device(loopback_phone), small_network(), MeasurementProtocol(relative_error=0.05))
    assert not loopback_phone.log


def test_a_session_is_over_once_it_is_closed(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    with make_device(loopback_phone).load(small_network()) as session:
        session.run(2)
    with pytest.raises(AttemptError, match="closed"):
        session.run(2)


def test_operators_are_timed_within_the_network(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    times = make_device(loopback_phone).operator_times(small_network(), runs=5)
    assert times[0].operator == "CONV_2D"
    assert all(time.latency_ms is not None and time.latency_ms > 0 for time in times)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("android:", "is no phone"),
        ("android:X/tpu", "unknown unit 'tpu'.*Known: cpu, gpu, npu"),
        ("android:X/cpu?delegate=cl", "does not go with cpu"),
        ("android:X/gpu?delegate=vulkan", "cl or gl"),
        ("android:X/cpu?precision_loss=yes", "is for gpu and npu"),
        ("android:X/gpu?accelerator=dsp", "is for npu"),
        ("android:X/cpu?threads=0", "1 or more"),
        ("android:X/cpu?layout=x", "unknown layout"),
        ("android:X/cpu?max_battery_c=500", "max_battery_c"),
        ("android:X/cpu?thread=2", "did you mean 'threads'"),
        ("android:X/gpu?precision_loss=maybe", "yes or no"),
    ],
)
def test_wrong_uris_are_refused_without_a_phone(uri: str, said: str) -> None:
    with pytest.raises(InvalidDeviceUriError, match=said):
        open_device(uri)


def test_a_phone_that_is_not_there_is_an_error_at_once(adb_server: PrivateAdbServer) -> None:
    with pytest.raises(PhoneGoneError, match=r"NOSUCH.*not found"):
        _ = Phone("NOSUCH", AdbServer(adb_server.port)).serial
