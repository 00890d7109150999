"""Networks on a phone: whole files, and headers over a block of weights that stays there."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from leti_opt.architecture import Architecture
from leti_opt.device.android.layouts import Layout
from leti_opt.device.android.model_files import ModelFiles, PlacedFile
from leti_opt.device.android.phone import REMOTE
from leti_opt.device.android.start_script import Started, read_started, start_script
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import PhoneError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.tflite_reader import read_tflite
from leti_opt.network.weights_block import open_block, private_copy, replace_header
from leti_opt.network.weights_outside import write_header
from tests.device.android.fake_phone import FakePhone
from tests.loopback_phone.fixtures import MakeDevice
from tests.loopback_phone.phone import LoopbackPhone

CELL = Architecture.parse("0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")
OTHER_CELL = Architecture.parse("0-1,1-2:conv1x1-bn-relu")


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "cache"))
    return FakePhone(tmp_path / "phone")


@pytest.fixture
def files(phone: FakePhone) -> ModelFiles:
    return ModelFiles(phone)


def model(cell: Architecture = CELL, filters: int = 4, precision: str = "float32") -> MeasurableModel:
    config = NetworkConfig.small(filters=filters, precision=precision, input_shape=(8, 8, 3))
    return MeasurableModel.of_graph(build_layer_graph(cell, config))


def host_file(given: MeasurableModel, folder: Path) -> bytes:
    """What the host's own worker would measure: the same header over a copy of the same block."""
    assert given.placed is not None
    block = open_block(given.placed.needs)
    folder.mkdir()
    path = private_copy(block, folder)
    replace_header(path, write_header(given.placed, block, given.key))
    return path.read_bytes()


def started(phone: Any, files: ModelFiles, placed: PlacedFile) -> Started:
    """A start on the phone, of a program that does nothing."""
    reply = phone.shell(start_script(placed, ["true"], "", 20), "starting", check=False)
    found = read_started(reply, phone.address)
    files.tell_ended(found.ended)
    return found


def laid(phone: Any, files: ModelFiles, given: MeasurableModel, layout: Layout) -> PlacedFile:
    """Place a network and start something on it, as a session does."""
    placed = files.place(given, layout)
    if started(phone, files, placed).network != "there":
        files.doubt()
        placed = files.place(given, layout)
        assert started(phone, files, placed).network == "there"
    return placed


def blocks(phone: FakePhone) -> list[Path]:
    return sorted(phone.here(REMOTE).glob("resident-*"))


def test_a_whole_file_lies_there_to_the_byte(phone: FakePhone, files: ModelFiles) -> None:
    given = model()
    placed = files.place(given, "file")
    digest = hashlib.sha256(given.tflite).hexdigest()
    assert placed == PlacedFile(f"{REMOTE}/model.tflite", 0, digest, len(given.tflite))
    assert phone.here(placed.path).read_bytes() == given.tflite
    assert started(phone, files, placed).network == "there"
    assert files.what_goes(placed) == placed.path


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_resident_network_is_the_file_that_this_host_would_measure(
    phone: FakePhone, files: ModelFiles, tmp_path: Path, precision: str
) -> None:
    for number, cell in enumerate((CELL, OTHER_CELL, CELL)):
        given = model(cell, precision=precision)
        placed = laid(phone, files, given, "resident")
        assert phone.here(placed.path).read_bytes() == host_file(given, tmp_path / str(number))
        assert placed.path.startswith(f"{REMOTE}/resident-{precision}-")
        assert started(phone, files, placed).network == "there"


def test_a_resident_network_can_be_read_as_a_model(phone: FakePhone, files: ModelFiles) -> None:
    placed = laid(phone, files, model(), "resident")
    assert read_tflite(phone.here(placed.path).read_bytes()).layers


def test_the_block_is_pushed_once_and_then_headers_only(phone: FakePhone, files: ModelFiles) -> None:
    for cell in (CELL, OTHER_CELL, CELL):
        laid(phone, files, model(cell), "resident")
    assert [name for name in phone.pushed if name.endswith(".part")] == phone.pushed[:1]
    assert phone.pushed[1:] == [f"{REMOTE}/header"] * 3
    assert phone.files() == [blocks(phone)[0].name]


def test_a_later_session_finds_the_block_again(phone: FakePhone, files: ModelFiles) -> None:
    laid(phone, files, model(), "resident")
    phone.pushed.clear()
    later = ModelFiles(phone)
    later.clean()
    later.place(model(OTHER_CELL), "resident")
    assert phone.pushed == [f"{REMOTE}/header"]


@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
def test_a_block_that_was_damaged_is_pushed_anew(
    phone: FakePhone, files: ModelFiles, tmp_path: Path, damage: str
) -> None:
    files.place(model(), "resident")
    (block,) = blocks(phone)
    content = block.read_bytes()
    if damage == "missing":
        block.unlink()
    else:
        block.write_bytes(content[:-1] + (b"" if damage == "cut" else bytes([content[-1] ^ 1])))
    placed = laid(phone, ModelFiles(phone), model(), "resident")
    assert phone.here(placed.path).read_bytes() == host_file(model(), tmp_path / "host")


def test_a_block_that_another_host_removes_within_a_session_is_pushed_anew(phone: FakePhone, files: ModelFiles) -> None:
    laid(phone, files, model(), "resident")
    blocks(phone)[0].unlink()
    assert started(phone, files, files.place(model(), "resident")).network == "gone"
    assert blocks(phone) == []
    files.doubt()
    placed = laid(phone, files, model(), "resident")
    assert phone.here(placed.path).stat().st_size > 1 << 17


def test_a_header_is_not_laid_onto_a_block_that_was_cut(phone: FakePhone, files: ModelFiles) -> None:
    placed = laid(phone, files, model(), "resident")
    content = phone.here(placed.path).read_bytes()
    phone.here(placed.path).write_bytes(content[:-1])
    again = files.place(model(OTHER_CELL), "resident")
    assert started(phone, files, again).network == "changed"
    assert phone.here(placed.path).read_bytes() == content[:-1]


def test_a_larger_block_takes_the_place_of_the_smaller_one(phone: FakePhone, files: ModelFiles, tmp_path: Path) -> None:
    files.place(model(), "resident")
    (small,) = blocks(phone)
    large = model(filters=64)
    placed = laid(phone, files, large, "resident")
    assert blocks(phone) == [phone.here(placed.path)]
    assert small != phone.here(placed.path)
    assert phone.here(placed.path).read_bytes() == host_file(large, tmp_path / "host")


def test_hosts_with_different_blocks_do_not_push_in_turns(
    phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [
        (tmp_path / "small host", model(), ModelFiles(phone)),
        (tmp_path / "large host", model(filters=64), ModelFiles(phone)),
    ]
    for _ in range(3):
        for cache, given, files in hosts:
            monkeypatch.setenv("LETI_CACHE_DIR", str(cache))
            laid(phone, files, given, "resident")
    assert len([name for name in phone.pushed if name.endswith(".part")]) == 3
    assert len(blocks(phone)) == 2


def test_blocks_of_two_precisions_lie_beside_each_other(phone: FakePhone, files: ModelFiles) -> None:
    for precision in ("float32", "int8", "float32"):
        files.place(model(precision=precision), "resident")
    assert len(blocks(phone)) == 2
    assert len([name for name in phone.pushed if name.endswith(".part")]) == 2


def test_a_network_that_has_no_header_form_is_pushed_whole(phone: FakePhone, files: ModelFiles, tmp_path: Path) -> None:
    path = tmp_path / "user.tflite"
    path.write_bytes(model().tflite)
    placed = files.place(MeasurableModel.of_file(path), "resident")
    assert (placed.path, placed.header_bytes) == (f"{REMOTE}/model.tflite", 0)


@pytest.mark.parametrize("layout", ["file", "resident"])
def test_another_writer_is_noticed_before_the_start(phone: FakePhone, files: ModelFiles, layout: Layout) -> None:
    placed = laid(phone, files, model(), layout)
    with phone.here(placed.path).open("r+b") as file:
        file.seek(100)
        file.write(b"intruder")
    assert started(phone, files, placed).network == "changed"
    laid(phone, files, model(), layout)


def test_a_network_that_vanished_is_told(phone: FakePhone, files: ModelFiles) -> None:
    placed = files.place(model(), "file")
    phone.here(placed.path).unlink()
    assert started(phone, files, placed).network == "gone"


def test_what_a_crash_left_is_removed_and_the_rest_stays(phone: FakePhone, files: ModelFiles) -> None:
    stays = ["benchmark_model", "resident-float32-0a.tflite", "lock"]
    goes = [
        "model.tflite",
        "header",
        "profile.csv",
        "benchmark_model.part",
        "resident-int8-0b.tflite.part",
        ".hidden",
        "a b",
    ]
    for name in stays + goes:
        phone.here(f"{REMOTE}/{name}").write_bytes(b"x")
    assert sorted(files.clean()) == sorted(f"removed {name}" for name in goes)
    assert phone.files() == sorted(stays)
    assert files.clean() == []


def test_cleaning_a_phone_without_our_folder_makes_it(phone: FakePhone, files: ModelFiles) -> None:
    phone.here(REMOTE).rmdir()
    assert files.clean() == []
    assert phone.here(REMOTE).is_dir()


def test_a_folder_that_cannot_be_made_is_the_phones_fault(phone: FakePhone, files: ModelFiles) -> None:
    phone.here(REMOTE).rmdir()
    phone.here(REMOTE).write_bytes(b"a file in its place")
    with pytest.raises(PhoneError):
        files.clean()


@pytest.mark.parametrize("step", ["clean", "start"])
def test_a_program_that_lost_its_host_is_ended(phone: FakePhone, files: ModelFiles, step: str) -> None:
    placed = files.place(model(), "file")
    program = subprocess.Popen(["sleep", "60"])
    try:
        phone.running.write_text(f"{program.pid}\n")
        {"clean": files.clean, "start": lambda: started(phone, files, placed)}[step]()
        assert program.wait(timeout=10) == -9
        assert f"ended {program.pid}" in phone.told[-1]
    finally:
        program.kill()
        program.wait()


def test_everything_can_be_taken_off_the_phone(phone: FakePhone, files: ModelFiles) -> None:
    files.place(model(), "resident")
    files.place(model(), "file")
    phone.here(f"{REMOTE}/benchmark_model").write_bytes(b"x")
    files.remove_all()
    assert phone.files() == []
    laid(phone, files, model(), "resident")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.needs("adb")
@pytest.mark.usefixtures("own_cache")
class TestOverRealAdb:
    """The same against a loopback phone, with the real adb in between."""

    def test_a_resident_network_is_the_file_that_this_host_would_measure(
        self, loopback_phone: LoopbackPhone, make_device: MakeDevice, tmp_path: Path
    ) -> None:
        device = make_device(loopback_phone)
        with device.phone.held():
            device.files.clean()
            for number, cell in enumerate((CELL, OTHER_CELL)):
                placed = laid(device.phone, device.files, model(cell), "resident")
                there = loopback_phone.userland.here(placed.path).read_bytes()
                assert there == host_file(model(cell), tmp_path / str(number))
        pushed = [line["path"].rpartition("/")[2] for line in loopback_phone.log if line["event"] == "push"]
        assert [name.partition("-")[0] for name in pushed] == ["resident", "header", "header"]

    def test_a_connection_that_breaks_while_the_block_is_pushed_is_made_up_for(
        self, loopback_phone: LoopbackPhone, make_device: MakeDevice, tmp_path: Path
    ) -> None:
        device = make_device(loopback_phone)
        with device.phone.held():
            device.files.clean()
            loopback_phone.faults.switch_on("vanish_in_push")
            placed = device.phone.recovering("pushing", lambda: device.files.place(model(), "resident"))
            assert loopback_phone.faults.fired["vanish_in_push"] == 1
            assert started(device.phone, device.files, placed).network == "there"
            assert loopback_phone.userland.here(placed.path).read_bytes() == host_file(model(), tmp_path / "host")
        assert device.phone.lost_s > 0

    @pytest.mark.parametrize(("fault", "told"), [("storage_full", "space|full"), ("read_only", "[Rr]ead-only")])
    @pytest.mark.parametrize("layout", ["resident", "file"])
    def test_a_phone_that_takes_no_file_is_the_phones_fault_and_nothing_half_stays(
        self, loopback_phone: LoopbackPhone, make_device: MakeDevice, fault: str, told: str, layout: Layout
    ) -> None:
        device = make_device(loopback_phone)
        with device.phone.held():
            device.files.clean()
            loopback_phone.faults.switch_on(fault, times=1000)
            with pytest.raises(PhoneError, match=told):
                device.files.place(model(), layout)
            assert loopback_phone.faults.fired[fault]
            loopback_phone.faults.switch_off(fault)
            laid(device.phone, device.files, model(), layout)

    def test_what_a_session_left_that_was_killed_is_gone_at_the_next_start(
        self, loopback_phone: LoopbackPhone, make_device: MakeDevice
    ) -> None:
        killed, later = make_device(loopback_phone), make_device(loopback_phone)
        with killed.phone.held():
            killed.files.clean()
            killed.files.place(model(), "file")
        with later.phone.held():
            assert later.files.clean() == ["removed model.tflite"]
