"""The processes that build: they end with their campaign, and one that dies, hangs or is left over blocks nothing."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from joblib.externals.loky import get_reusable_executor

from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign import building
from leti_opt.campaign.building import Builders
from leti_opt.campaign.end_with import end_with
from leti_opt.device.host_cpu import HostCpu
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.device.resource_lock import hold
from leti_opt.host_cores import usable_cores
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.questions import cell_question
from leti_opt.store.cells import cell_model
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import quick_campaign

CONFIG = NetworkConfig.small(filters=8)
CELLS = ["0-1:", "0-1,1-2:maxpool3x3", "0-1,0-2,1-2:conv1x1-bn-relu"]
OWNER = """
import sys, time
from leti_opt.campaign.building import Builders
from tests.campaign.test_builder_processes import CONFIG, table
builders = Builders({"backend": sys.argv[1]}, 2)
if sys.argv[1] == "multiprocessing":
    from tests.campaign import test_builder_processes
    test_builder_processes.sleep_while_building()
else:
    builders.build(table(), CONFIG)
print("ready", flush=True)
builders.build(table(), CONFIG)
time.sleep(60)
"""


@pytest.fixture
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Locks of cores that no other test process takes: what these tests hold, and then wait for, would wait for it."""
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "cache"))
    get_reusable_executor().shutdown(wait=True)
    yield
    get_reusable_executor().shutdown(wait=True)


def table() -> ArchitectureTable:
    return ArchitectureTable.from_architectures(map(Architecture.parse, CELLS))


def sleep_while_building() -> None:
    def slow(*_arguments: Any) -> None:
        time.sleep(60)

    vars(building)["cell_model"] = slow  # in a process of its own


def builders_of(owner: int) -> list[psutil.Process]:
    """Children that build; joblib's process that looks after shared things ends by itself once they have."""
    return [
        child for child in psutil.Process(owner).children() if not any("resource_tracker" in a for a in child.cmdline())
    ]


def is_whole(built: list[Any]) -> bool:
    return len(built) == len(CELLS) and all(isinstance(one, MeasurableModel) for one in built)


def wait_until(holds: Any) -> bool:
    deadline = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_builders_end_with_a_campaign_that_is_killed(backend: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, backend], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline().strip() == "ready"
    assert wait_until(lambda: len(builders_of(owner.pid)) == 2)
    builders = builders_of(owner.pid)
    time.sleep(1.0)  # every one of them has been given work
    owner.kill()
    owner.wait()
    owner.stdout.close()
    gone, alive = psutil.wait_procs(builders, timeout=20)
    assert (len(gone), alive) == (2, [])


def test_a_process_that_was_told_to_end_with_one_that_is_gone_already_ends() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    child = os.fork()
    if child == 0:
        end_with(ended.pid)
        time.sleep(30)
        os._exit(77)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 1


def test_where_the_system_cannot_tell_of_an_end_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child = os.fork()
    if child == 0:
        end_with(other.pid)
        time.sleep(30)
        os._exit(77)
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    other.kill()
    other.wait()
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 1


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_joblib_makes_no_folder_in_shared_memory(backend: str) -> None:
    def folders() -> list[str]:
        return [name for name in os.listdir("/dev/shm") if f"joblib_memmapping_folder_{os.getpid()}_" in name]

    before = folders()
    with Builders({"backend": backend}, 2) as builders:
        for _ in range(2):
            builders.build(table(), CONFIG)
            assert folders() == before


def test_a_loky_builder_that_is_killed_costs_its_share_and_the_next_is_built_by_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Builders({"backend": "loky"}, 2) as builders, caplog.at_level(logging.WARNING, "leti_opt"):
        assert is_whole(builders.build(table(), CONFIG))
        killed = builders_of(os.getpid())
        assert killed
        for process in killed:
            process.kill()
        psutil.wait_procs(killed, timeout=10)
        assert builders.build(table(), CONFIG) == [None] * len(CELLS)
        assert "a builder died" in caplog.records[-1].message
        assert is_whole(builders.build(table(), CONFIG))


def test_a_loky_builder_that_hangs_costs_its_share_and_the_next_is_built_by_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Builders({"backend": "loky"}, 2) as builders:
        assert is_whole(builders.build(table(), CONFIG))
    stopped = builders_of(os.getpid())
    assert stopped
    for process in stopped:
        process.suspend()
    with Builders({"backend": "loky"}, 2, deadline_s=2) as builders, caplog.at_level(logging.WARNING, "leti_opt"):
        assert builders.build(table(), CONFIG) == [None] * len(CELLS)
        assert "a builder hung for 2 s" in caplog.records[-1].message
    assert len(psutil.wait_procs(stopped, timeout=10)[0]) == len(stopped), "they are ended"
    with Builders({"backend": "loky"}, 2) as builders:
        assert is_whole(builders.build(table(), CONFIG))


def test_a_multiprocessing_builder_that_is_killed_costs_its_share_and_not_the_campaign(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, owner = cell_model, os.getpid()

    def die(cell: Any, *arguments: Any) -> MeasurableModel:
        if os.getpid() != owner and "maxpool" in str(cell):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(cell, *arguments)

    with Builders({"backend": "multiprocessing"}, 2, deadline_s=3) as builders:
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "leti_opt"):
            patch.setattr(building, "cell_model", die)
            assert builders.build(table(), CONFIG) == [None] * len(CELLS)
            assert "hung for 3 s" in caplog.records[-1].message
        assert is_whole(builders.build(table(), CONFIG))


@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_processes_that_built_on_other_cores_before_move_to_the_free_ones() -> None:
    first, second = usable_cores()[:2]
    for core in (first, second):
        with building.on_cores([core]), Builders({"backend": "loky"}, 2, [core]) as builders:
            builders.build(table(), CONFIG)
            assert wait_until(lambda: len(builders_of(os.getpid())) == 2)
            assert [process.cpu_affinity() for process in builders_of(os.getpid())] == [[core], [core]]


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
def test_every_backend_answers_a_replayed_campaign(backend: str, tmp_path: Path) -> None:
    execution = {"backend": backend, "builders": 2}
    summary = quick_campaign(tmp_path, devices=["replay:formula"], execution=execution).run()
    assert summary.is_complete


@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_with_every_core_measured_on_now_and_then_a_build_waits_for_one_of_them_alone(own_locks: None) -> None:
    seen: list[list[int]] = []

    def build() -> None:
        seen.append([len(Builders({"backend": "sequential"}, 1).build(table(), CONFIG))])
        seen.append(usable_cores())

    with hold([f"host-cpu:{core}" for core in usable_cores()[1:]]):
        thread = threading.Thread(target=build, daemon=True)
        thread.start()
        thread.join(60)
        assert seen == [[len(CELLS)], usable_cores()], "it does not wait for the cores that it does not build on"


@pytest.mark.needs("litert")
@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_a_device_does_not_wait_for_another_one_where_its_network_is_built_already(
    tmp_path: Path, own_locks: None
) -> None:
    first, second = usable_cores()[:2]
    protocol = MeasurementProtocol(min_runs=2, warmup_runs=0, max_relative_std=50.0, max_attempts=1)
    answers: list[str] = []
    with HostCpu(cores=[first]) as device, LatencyStore(tmp_path / "latency.db") as store:
        if f"host-cpu:{second}" in device.resources:
            pytest.skip("the two share a physical core")
        service = MeasuringService(device, store, protocol, canary=CanarySettings(pace="off"))
        cells = list(table())
        service.answer(cell_question(cells[2], CONFIG))  # the child is started, and has its copy of the weights
        [made] = Builders({"backend": "sequential"}, 1).build(table()[1:2], CONFIG)
        assert isinstance(made, MeasurableModel)
        question = replace(cell_question(cells[1], CONFIG), build=lambda: made)

        def measure() -> None:
            answers.append(service.answer(question).status)

        with hold([f"host-cpu:{second}"]):
            thread = threading.Thread(target=measure, daemon=True)
            thread.start()
            thread.join(60)
            assert answers == ["measured"]


def test_with_every_core_measured_on_now_and_then_builders_start_while_nothing_is_measured(own_locks: None) -> None:
    built: list[int] = []

    def build() -> None:
        with Builders({"backend": "loky"}, 2) as builders:
            built.append(len(builders.build(table(), CONFIG)))

    with hold([f"host-cpu:{core}" for core in usable_cores()]):
        thread = threading.Thread(target=build)
        thread.start()
        time.sleep(1.0)
        assert builders_of(os.getpid()) == []
    thread.join(60)
    assert built == [len(CELLS)]
    assert len(builders_of(os.getpid())) == 2
