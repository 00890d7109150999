"""Networks that are measured as headers over one private copy of random weights."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leti_opt.architecture import Architecture
from leti_opt.device.host_cpu import HostCpu
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.resource_lock import hold
from leti_opt.device.weights_copy import WeightsCopy
from leti_opt.errors import AttemptError, StoreError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.weights_block import open_block, replace_header
from leti_opt.network.weights_outside import place_weights, write_header

ONCE = MeasurementProtocol(min_runs=2, max_attempts=1, warmup_runs=0)
CELL = Architecture.parse("0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LETI_CACHE_DIR", str(folder))
    return folder / "weights"


@pytest.fixture
def device(cache: Path) -> Iterator[HostCpu]:
    with HostCpu(deadline_s=30) as device:
        yield device


def model(filters: int, precision: str = "float32") -> MeasurableModel:
    config = NetworkConfig.small(filters=filters, precision=precision, input_shape=(8, 8, 3))
    return MeasurableModel.of_graph(build_layer_graph(CELL, config))


def graph_of(given: MeasurableModel) -> LayerGraph:
    assert given.layer_graph is not None
    return given.layer_graph


def copies(cache: Path) -> list[Path]:
    return sorted((cache / "copies").glob("*/*.tflite"))


def mapped_files(pid: int | None) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_networks_of_one_precision_share_a_copy_which_goes_with_the_device(cache: Path) -> None:
    with HostCpu() as device:
        for filters in (32, 8, 16):
            assert measure(device, model(filters), ONCE).batch.count == 2
            (copy,) = copies(cache)
        assert copy.stat().st_size == open_block(place_weights(graph_of(model(8))).needs).size
    assert copies(cache) == []


def test_a_network_that_needs_more_gets_a_larger_copy(cache: Path, device: HostCpu) -> None:
    sizes = []
    for filters in (8, 96):
        measure(device, model(filters), ONCE)
        (copy,) = copies(cache)
        sizes.append(copy.stat().st_size)
    assert sizes[1] > sizes[0]


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_no_file_of_its_own_is_rendered(precision: str, device: HostCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    network = model(8, precision)

    def refuse() -> bytes:
        raise AssertionError("rendered a whole file")

    monkeypatch.setattr(type(network), "tflite", property(lambda _: refuse()))
    assert measure(device, network, ONCE).batch.count == 2


def test_the_header_is_replaced_when_no_interpreter_has_it_open_any_more(cache: Path, device: HostCpu) -> None:
    with hold(device.resources):
        device.load(model(8))
        (copy,) = copies(cache)
        pid = device._client.pid
        assert str(copy) in mapped_files(pid)
        device._let_go()
        assert device._client.pid == pid
        assert str(copy) not in mapped_files(pid)


def test_an_interpreter_that_does_not_let_go_costs_its_process(
    cache: Path, device: HostCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold(device.resources):
        device.load(model(8))
        first = device._client.pid
        ask = device._client.ask

        def keep(command: str, deadline_s: float, **arguments: object) -> dict[str, object]:
            return {"still_mapped": True} if command == "unload" else ask(command, deadline_s, **arguments)

        monkeypatch.setattr(device._client, "ask", keep)
        device.load(model(16)).run(1)
        assert device._client.pid != first


def test_a_header_that_changes_under_a_live_interpreter_is_an_error(cache: Path, device: HostCpu) -> None:
    loaded, other = model(8), model(16)
    with hold(device.resources):
        device.load(other)  # so that there is room for both
        session = device.load(loaded)
        assert session.run(1).count == 1
        network = place_weights(graph_of(other))
        (copy,) = copies(cache)
        block = device._weights._block
        assert block is not None
        replace_header(copy, write_header(network, block, other.key))
        with pytest.raises(AttemptError, match="not the model that was asked for"):
            session.run(1)


def test_what_a_killed_process_left_behind_is_removed_by_the_next(cache: Path) -> None:
    script = (
        "import os, signal\n"
        "from leti_opt.device.weights_copy import WeightsCopy\n"
        "from tests.device.test_weights_copy import graph_of, model, place_weights\n"
        "copy = WeightsCopy()\n"
        "copy.become(place_weights(graph_of(model(8))), 'key')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    (left,) = copies(cache)
    copy = WeightsCopy()
    own = copy.become(place_weights(graph_of(model(8))), "key")
    assert copies(cache) == [own]
    assert own != left
    copy.close()
    assert list((cache / "copies").iterdir()) == []


def test_two_at_once_have_copies_of_their_own(cache: Path) -> None:
    network = place_weights(graph_of(model(8)))
    first, second = WeightsCopy(), WeightsCopy()
    paths = [first.become(network, "a"), second.become(network, "b")]
    assert copies(cache) == sorted(paths)
    assert paths[0].read_bytes() != paths[1].read_bytes()
    first.close()
    assert copies(cache) == [paths[1]]
    second.close()


def test_a_forked_child_makes_its_own_and_leaves_the_parents_alone(cache: Path) -> None:
    network = place_weights(graph_of(model(8)))
    copy = WeightsCopy()
    path = copy.become(network, "parent")
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        try:
            own = copy.become(network, "child")
            os._exit(0 if own != path and own.is_file() else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert path.read_bytes() == before
    copy.close()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LETI_CACHE_DIR", str(blocked))
    with HostCpu() as device, pytest.raises(StoreError, match="LETI_CACHE_DIR"):
        measure(device, model(8), ONCE)


def test_an_emptied_cache_costs_another_copy_and_no_measurement(cache: Path) -> None:
    with HostCpu(deadline_s=30) as device:
        measure(device, model(8), ONCE)
        (copy,) = copies(cache)
        shutil.rmtree(cache / "copies")
        assert measure(device, model(8), ONCE).batch.count == 2
        assert copies(cache) != [copy]
        shutil.rmtree(cache)
    assert copies(cache) == []


def test_a_relative_cache_folder_stays_the_same_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETI_CACHE_DIR", "cache")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with HostCpu(deadline_s=30) as device:
        measure(device, model(8), ONCE)
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert measure(device, model(8), ONCE).batch.count == 2
    assert copies(tmp_path / "cache" / "weights") == []


def test_behind_a_symbolic_link_it_is_still_seen_what_an_interpreter_has_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "link"))
    with HostCpu(deadline_s=30) as device, hold(device.resources):
        device.load(model(8))
        assert device._weights.path is not None
        assert str(device._weights.path) in mapped_files(device._client.pid)
