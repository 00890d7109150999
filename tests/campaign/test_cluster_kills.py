"""A campaign of 300 networks on a Dask cluster: its workers, its runner and its database are killed on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from leti_opt.host_cores import usable_cores
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import measurements, start, write_toml
from tests.campaign.dask_cluster import DaskCluster
from tests.store.postgresql import PostgresqlServer

pytestmark = [
    pytest.mark.needs("dask"),
    pytest.mark.needs("postgresql"),
    pytest.mark.needs("litert"),
    pytest.mark.skipif(len(usable_cores()) < 2, reason="two host devices need two cores"),
]

COUNT = 300
"""Networks of the campaign, on each of the two devices."""
RUNS = 400
HOSTS = ("host-0", "host-1")
SEED = 7


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the workers keep temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def cluster(tmp_path: Path, temporary: Path) -> Iterator[DaskCluster]:
    folder = tmp_path / "dask"
    folder.mkdir()
    made = DaskCluster(folder, {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"})
    yield made
    made.stop()


class Operator:
    """Starts the command, looks how far the campaign is by the store's own table, and does harm at given counts.

    Args:
        path: the campaign's file.
        cluster: where it runs.
        server: its database's.
        url: its store's.
    """

    def __init__(self, path: Path, cluster: DaskCluster, server: PostgresqlServer, url: str) -> None:
        self.path, self.cluster, self.server, self.url = path, cluster, server, url
        self.killed: list[psutil.Process] = []
        self.fired: list[str] = []
        self.runner = self.start()

    def start(self) -> subprocess.Popen[str]:
        return start(self.path, "--cluster", self.cluster.address, "--json")

    def stored(self) -> int:
        return sum(measurements(self.url).values())

    def wait_until(self, stored: int) -> None:
        """Wait until so many are stored; the command must not have ended by itself."""
        deadline = time.monotonic() + 900
        while self.stored() < stored:
            assert self.runner.poll() is None, self.runner.communicate()
            assert time.monotonic() < deadline, f"{self.stored()} of {stored}"
            time.sleep(0.1)

    def kill_worker(self, host: str) -> None:
        """SIGKILL for the process that measures and for all that it started; its nanny starts it again."""
        self.killed += self.cluster.kill_worker_with_children(host)
        self.fired.append(host)

    def kill_host(self, host: str) -> None:
        """SIGKILL for all of a host's processes, its nanny among them; somebody starts its worker again."""
        self.killed += self.cluster.kill_host(host)
        self.cluster.start_worker(host, resource_of(host))
        self.fired.append("host")

    def crash_database(self) -> None:
        self.server.restart("immediate")
        self.fired.append("database")

    def kill_runner(self) -> None:
        """SIGKILL for the command and for the workers, whose tasks are nobody's then.

        The same command is refused at first, and goes on once the claim of the killed one has run out.
        """
        os.killpg(self.runner.pid, signal.SIGKILL)
        self.runner.communicate()
        assert self.runner.returncode == -signal.SIGKILL
        for host in HOSTS:
            self.kill_worker(host)
        left = 2 * COUNT - self.stored()
        refused = self.start()
        _, errors = refused.communicate(timeout=120)
        assert refused.returncode == 2, errors
        assert "its runner was killed less than 30 s ago" in errors
        time.sleep(30)
        assert 2 * COUNT - self.stored() == left > 0, "nobody goes on without it"
        self.runner = self.start()
        self.fired.append("runner")


def resource_of(host: str) -> str:
    return f"core-of-{host}=1"


@pytest.mark.slow
def test_300_networks_on_two_workers_are_each_measured_once_whatever_is_killed_on_the_way(
    tmp_path: Path, temporary: Path, cluster: DaskCluster, postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    uris = [f"host-cpu?cores={core}" for core in usable_cores()[:2]]
    entries = [
        f'{{ uri = "{uri}", resource = "{resource_of(host).removesuffix("=1")}" }}'
        for uri, host in zip(uris, HOSTS, strict=True)
    ]
    path = write_toml(tmp_path, COUNT, f"[{', '.join(entries)}]", f'store = "{postgresql_url}"', RUNS)
    for host in HOSTS:
        cluster.start_worker(host, resource_of(host))
    starts = postgresql_server.starts
    operator = Operator(path, cluster, postgresql_server, postgresql_url)

    draw = random.Random(SEED)
    harm: list[Callable[[], None]] = [
        *(lambda: operator.kill_worker(draw.choice(HOSTS)) for _ in range(4)),
        lambda: operator.kill_host(draw.choice(HOSTS)),
        operator.crash_database,
        operator.kill_runner,
    ]
    draw.shuffle(harm)
    for after, act in zip(sorted(draw.sample(range(10, 3 * COUNT // 2), len(harm))), harm, strict=True):
        operator.wait_until(after)
        act()
    output, errors = operator.runner.communicate(timeout=900)

    assert operator.runner.returncode == 0, errors
    assert json.loads(output)["is_complete"]
    assert len(operator.fired) == len(harm) + len(HOSTS), "every fault fired"
    assert {"host", "database", "runner"} <= set(operator.fired)
    assert postgresql_server.starts == starts + 1
    assert len(operator.killed) > 5, "workers, a nanny and their children"
    assert not [process for process in operator.killed if is_alive(process)]
    found = measurements(postgresql_url)
    assert len({model for model, _ in found}) == COUNT
    assert len(found) == len(uris) * COUNT
    assert set(found.values()) == {1}, "nothing was measured twice on one device"
    with LatencyStore(postgresql_url) as store:
        assert store.claims() == [], "nothing stays claimed"
        gone = [event for event in store.events(1) if "is gone; it is waited for" in event.text]
    assert gone, "the campaign noticed that workers died"
    assert left_in(temporary) == [], "nothing is left on the disk"


def left_in(folder: Path) -> list[str]:
    """Files that leti_opt left in a folder for temporary ones."""
    return [str(file.relative_to(folder)) for file in folder.rglob("leti-opt*/*")]


def is_alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
