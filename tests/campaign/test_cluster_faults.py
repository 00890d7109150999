"""A cluster that is not as it should be: hosts without the code, at old addresses, with equal names, or late."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leti_opt.campaign.claims import Claims
from leti_opt.campaign.progress import ProgressRow
from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import CampaignRunningError, DeviceError
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import measurements, quick_campaign, start, write_toml
from tests.campaign.dask_cluster import DaskCluster
from tests.campaign.test_cluster import Once, adb_server, binary, campaign_of, cluster, make_phone, phones

__all__ = ["adb_server", "binary", "cluster", "make_phone", "phones"]
pytestmark = [pytest.mark.needs("dask"), pytest.mark.needs("postgresql"), pytest.mark.needs("adb")]
Phones = Callable[[int], list[dict[str, str]]]


def event_texts(url: str) -> list[str]:
    with LatencyStore(url) as store:
        return [event.text for event in store.events(1)]


def assert_each_measured_once(url: str, count: int) -> None:
    """So many networks are in the store, each measured once on its phone."""
    found = measurements(url)
    assert len(found) == count
    assert set(found.values()) == {1}


@pytest.fixture
def without_code(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that cannot import leti_opt."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'leti_opt':\n"
        "            raise ModuleNotFoundError(\"No module named 'leti_opt'\")\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    return {"PYTHONPATH": str(folder)}


def test_a_worker_without_leti_opt_is_told_and_the_others_finish(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str, phones: Phones, without_code: dict[str, str]
) -> None:
    entries = phones(2)
    cluster.start_worker("host-0", "phone-0=1")
    cluster.start_worker("host-1", "phone-1=1", environment=without_code)
    summary = campaign_of(tmp_path, postgresql_url, entries, 10).run(cluster=cluster.address)
    assert not summary.is_complete
    [row] = summary.outcome.rows
    assert (row.uri, row.lacking) == (entries[0]["uri"], 0)
    assert "No module named 'leti_opt'" in summary.outcome.errors[entries[1]["uri"]]
    assert "pip install 'leti_opt[cluster]'" in summary.outcome.errors[entries[1]["uri"]]


def test_a_worker_with_a_single_thread_measures_what_hangs_on_its_own_host(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str, phones: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")  # here are no phones: they hang on the worker
    cluster.start_worker("host-0", "phone-0=1", threads=1)
    summary = campaign_of(tmp_path, postgresql_url, phones(1), 10).run(cluster=cluster.address)
    assert summary.is_complete, summary.text


@pytest.mark.slow
def test_a_worker_that_is_still_being_started_is_waited_for(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str, phones: Phones
) -> None:
    entries = phones(1)
    starting = threading.Timer(2.0, cluster.start_worker, ("host-0", "phone-0=1"))
    starting.start()
    summary = campaign_of(tmp_path, postgresql_url, entries, 10).run(cluster=cluster.address)
    starting.join()
    assert summary.is_complete, summary.text


@pytest.mark.slow
def test_devices_that_are_called_the_same_on_two_hosts_each_have_a_row(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str
) -> None:
    for number in range(2):  # hosts do not see each other's locks
        environment = {"XDG_CACHE_HOME": str(tmp_path / f"cache-{number}")}
        cluster.start_worker(f"host-{number}", "core=1", environment=environment)
    entries = [{"uri": "host-cpu", "resource": "core"}]
    summary = campaign_of(tmp_path, postgresql_url, entries, 20).run(cluster=cluster.address)
    with cluster.client() as client:
        addresses = [address.removeprefix("tcp://") for address in client.scheduler_info(n_workers=-1)["workers"]]
    assert summary.is_complete, summary.text
    assert [row.uri for row in summary.outcome.rows] == sorted(f"host-cpu on {address}" for address in addresses)
    assert [row.lacking for row in summary.outcome.rows] == [0, 0]


@pytest.fixture(params=["3", "0"], ids=["that Dask gives it again", "that Dask gives up"])
def allowed_failures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many deaths of its worker Dask allows a task; the scheduler is started with it."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", request.param)


@pytest.mark.slow
@pytest.mark.parametrize("away_s", [0.0, 8.0])
def test_a_worker_that_comes_back_to_its_old_address_goes_on_with_the_task(
    tmp_path: Path,
    allowed_failures: None,
    cluster: DaskCluster,
    postgresql_url: str,
    phones: Phones,
    away_s: float,
) -> None:
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    entries, count = phones(1), 60

    def start() -> None:
        cluster.start_worker("host-0", "phone-0=1", more=("--no-nanny", "--worker-port", port))

    def kill() -> bool:
        cluster.kill_host("host-0")
        time.sleep(away_s)
        start()
        return True

    start()
    killed = Once(postgresql_url, 10, kill)
    summary = campaign_of(tmp_path, postgresql_url, entries, count).run(
        on_tick=lambda _rows: killed.look(), cluster=cluster.address
    )
    assert killed.done
    assert summary.is_complete, summary.text
    assert_each_measured_once(postgresql_url, count)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_and_started_again_with_its_worker_loses_nothing(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str, phones: Phones
) -> None:
    entries, count = phones(1), 60
    cluster.start_worker("host-0", "phone-0=1")
    heard: list[int] = []

    def restart() -> bool:
        cluster.restart_scheduler()
        cluster.kill_host("host-0")
        cluster.start_worker("host-0", "phone-0=1")
        return True

    restarted = Once(postgresql_url, 10, restart)

    def tick(rows: Sequence[ProgressRow]) -> None:
        restarted.look()
        if restarted.done:
            heard.extend(row.measured for row in rows)

    summary = campaign_of(tmp_path, postgresql_url, entries, count).run(on_tick=tick, cluster=cluster.address)
    assert restarted.done
    assert summary.is_complete, summary.text
    assert_each_measured_once(postgresql_url, count)
    assert any("is back, it goes on" in text for text in event_texts(postgresql_url))
    assert len({measured for measured in heard if 10 < measured < count}) > 1, "the new task is heard of"


@pytest.mark.slow
def test_a_runner_that_stood_still_ends_where_another_host_has_taken_over(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str, phones: Phones
) -> None:
    cluster.start_worker("host-0", "phone-0=1")

    def take_over(_rows: object) -> None:
        with LatencyStore(postgresql_url) as store:
            for claim in store.claims("campaign/"):
                store.release_claims(claim.owner, [claim.key])
                store.claim([claim.key], "another host", 600)
        monkeypatch.setattr(Claims, "are_sure", False)

    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        pytest.raises(CampaignRunningError, match="taken over by another"),
    ):
        campaign_of(tmp_path, postgresql_url, phones(1), 400).run(on_tick=take_over, cluster=cluster.address)
    assert len(measurements(postgresql_url)) < 400


@pytest.mark.slow
def test_a_runner_that_stood_still_until_its_tasks_stopped_starts_them_again(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str, phones: Phones
) -> None:
    [phone] = phones(1)
    count = 120
    device = f'[{{ uri = "{phone["uri"]}", resource = "{phone["resource"]}" }}]'
    path = write_toml(tmp_path, count, device, f'store = "{postgresql_url}"', runs=300)
    cluster.start_worker("host-0", "phone-0=1")
    runner = start(path, "--cluster", cluster.address, "--json")
    Once(postgresql_url, 5, lambda: True).wait()
    os.kill(runner.pid, signal.SIGSTOP)
    with LatencyStore(postgresql_url) as store:
        deadline = time.monotonic() + 240
        while any(not claim.key.startswith("campaign/") for claim in store.claims()):
            assert time.monotonic() < deadline, "tasks stop by themselves"
            time.sleep(0.5)
        stopped_at = len(measurements(postgresql_url))
    assert stopped_at < count
    os.kill(runner.pid, signal.SIGCONT)
    output, errors = runner.communicate(timeout=300)
    assert runner.returncode == 0, errors
    assert json.loads(output)["is_complete"]
    assert_each_measured_once(postgresql_url, count)


@pytest.mark.slow
def test_a_scheduler_that_stays_away_ends_the_command_with_what_to_do(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str, phones: Phones
) -> None:
    cluster.start_worker("host-0", "phone-0=1")
    killed = Once(postgresql_url, 3, lambda: cluster.kill_host("scheduler"))
    with pytest.raises(DeviceError, match=r"the Dask scheduler at .* is gone; everything measured is kept: start it"):
        campaign_of(tmp_path, postgresql_url, phones(1), 400).run(
            on_tick=lambda _rows: killed.look(), cluster=cluster.address
        )
    assert killed.done


def test_a_device_of_another_host_that_has_other_cores_can_be_planned_and_looked_at_here(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=[{"uri": "host-cpu?cores=999", "resource": "server"}])
    [row] = campaign.status().rows
    assert (row.uri, row.note) == ("host-cpu?cores=999", "it cannot be reached, and the store has never seen it")
    assert campaign.plan().lacking == row.lacking


def test_the_status_of_a_workers_device_is_not_that_of_the_same_name_here(tmp_path: Path) -> None:
    uri = "host-cpu?cores=0"
    server = DeviceIdentity("host-cpu", "the server's CPU", "ai-edge-litert 2.3", "worker", "xnnpack")
    campaign = quick_campaign(tmp_path, devices=[{"uri": uri, "resource": "server"}])
    with LatencyStore(tmp_path / "latency.db") as store:
        store.remember_uri(uri, server, DeviceEpoch("its kernel", unit="server"), seen_at=datetime.now(UTC))
    [row] = campaign.status().rows
    assert (row.uri, row.device, row.note) == (uri, server.name, "")
