"""A campaign on a real Dask cluster with a real PostgreSQL, and loopback phones on its workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leti_opt.campaign import cluster as cluster_run
from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.progress import ProgressRow
from leti_opt.device.open_device import open_device
from leti_opt.errors import DeviceError, InvalidInputError
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.records import EpochLink
from tests.campaign.campaigns import QUICK, measurements, quick_campaign
from tests.campaign.dask_cluster import DaskCluster
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fixtures import MakePhone, adb_server, binary, make_phone
from tests.store.postgresql import PostgresqlServer

__all__ = ["adb_server", "binary", "make_phone"]
pytestmark = [pytest.mark.needs("dask"), pytest.mark.needs("postgresql"), pytest.mark.needs("adb")]


@pytest.fixture
def cluster(tmp_path: Path, adb_server: PrivateAdbServer, binary: Path) -> Iterator[DaskCluster]:
    folder = tmp_path / "dask"
    folder.mkdir()
    environment = {"ANDROID_ADB_SERVER_PORT": str(adb_server.port), "LETI_BENCHMARK_MODEL": str(binary)}
    made = DaskCluster(folder, environment)
    yield made
    made.stop()


class Once:
    """Does something the first time that so many networks are stored."""

    def __init__(self, url: str, after: int, act: Callable[[], Any]) -> None:
        self.done: Any = None
        self._url, self._after, self._act = url, after, act

    def look(self) -> None:
        if self.done is None and len(measurements(self._url)) >= self._after:
            self.done = self._act()

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while self.done is None and time.monotonic() < deadline:
            self.look()
            time.sleep(0.05)
        assert self.done is not None


@pytest.fixture
def phones(make_phone: MakePhone, adb_server: PrivateAdbServer) -> Callable[[int], list[dict[str, str]]]:
    """So many phones that the adb server knows, as a campaign names them."""
    from leti_opt.device.android.adb import AdbServer

    def made(count: int) -> list[dict[str, str]]:
        entries = []
        for number in range(count):
            phone = make_phone(fixed_run_ms=2.0, longer_by=4.0)
            AdbServer(adb_server.port).connect(phone.address)
            entries.append({"uri": f"android:{phone.address}/cpu", "resource": f"phone-{number}"})
        return entries

    return made


def campaign_of(
    tmp_path: Path, url: str, entries: Sequence[dict[str, str]], count: int, runs: int = 5
) -> DatasetCampaign:
    return quick_campaign(
        tmp_path,
        store=url,
        devices=list(entries),
        cells={"sample": count},
        execution={"patience_h": 0.05},
        protocol={**QUICK["protocol"], "min_runs": runs},
    )


def test_a_worker_that_is_killed_and_a_database_that_restarts_lose_and_double_nothing(
    tmp_path: Path,
    cluster: DaskCluster,
    postgresql_server: PostgresqlServer,
    postgresql_url: str,
    phones: Callable[[int], list[dict[str, str]]],
) -> None:
    entries = phones(2)
    for number in range(2):
        cluster.start_worker(f"host-{number}", f"phone-{number}=1")
    count = 40
    campaign = campaign_of(tmp_path, postgresql_url, entries, count)
    starts = postgresql_server.starts
    killed = Once(postgresql_url, 15, lambda: cluster.kill_worker("host-0"))
    restarted = Once(postgresql_url, 35, lambda: postgresql_server.restart("immediate") or True)

    def tick(_rows: Sequence[ProgressRow]) -> None:
        killed.look()
        restarted.look()

    summary = campaign.run(on_tick=tick, cluster=cluster.address)
    assert killed.done, f"a worker was killed on the way: {summary.text} {summary.outcome.errors}"
    assert restarted.done, "the database was restarted on the way"
    assert postgresql_server.starts == starts + 1
    assert summary.is_complete, summary.text
    assert cluster.pid_of("host-0") != killed.done, "its nanny started it again"
    found = measurements(postgresql_url)
    assert len({model for model, _ in found}) == count
    assert set(found.values()) == {1}, "nothing was measured twice on one phone"
    assert sum(row.measured + row.unstable for row in summary.outcome.rows) == 2 * count
    with LatencyStore(postgresql_url) as store:
        assert store.claims() == [], "nothing stays claimed"


def test_two_equal_phones_on_two_hosts_that_agree_share_the_work(
    tmp_path: Path,
    cluster: DaskCluster,
    adb_server: PrivateAdbServer,
    binary: Path,
    postgresql_url: str,
    phones: Callable[[int], list[dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    monkeypatch.setenv("LETI_BENCHMARK_MODEL", str(binary))
    entries, count = phones(2), 30
    with open_device(entries[0]["uri"]) as first, open_device(entries[1]["uri"]) as second:
        assert first.identity == second.identity
        link = EpochLink(first.epoch, second.epoch, True, 1.0, 1.0, 20, datetime.now(UTC))
        with LatencyStore(postgresql_url) as store:
            store.add_link(first.identity, link)
    for number in range(2):
        cluster.start_worker(f"host-{number}", f"phone-{number}=1")
    summary = campaign_of(tmp_path, postgresql_url, entries, count).run(cluster=cluster.address)
    assert summary.is_complete, summary.text
    found = measurements(postgresql_url)
    assert set(found.values()) == {1}
    assert len(found) == len({model for model, _ in found}) == count, "what one measured, the other did not"
    assert len({phone for _, phone in found}) == 2, "both measured"


def test_a_host_that_comes_later_takes_part(
    tmp_path: Path,
    cluster: DaskCluster,
    postgresql_url: str,
    phones: Callable[[int], list[dict[str, str]]],
) -> None:
    entries = phones(2)
    cluster.start_worker("host-0", "phone-0=1")
    campaign = campaign_of(tmp_path, postgresql_url, [{"uri": "android:*/cpu", "resource": "phone-0"}], 5000)
    later = threading.Thread(target=cluster.start_worker, args=("host-1", "phone-0=1"))
    joined = Once(postgresql_url, 3, lambda: later.start() or True)

    def tick(_rows: Sequence[ProgressRow]) -> None:
        joined.look()
        if len({unit for _, unit in measurements(postgresql_url)}) == len(entries):
            raise KeyboardInterrupt  # both are at work: that is all that is asked here

    with pytest.raises(KeyboardInterrupt):
        campaign.run(until=timedelta(minutes=5), on_tick=tick, cluster=cluster.address)
    later.join()
    assert joined.done, "the second host came while the first was at work"


def test_a_device_that_fails_on_its_worker_is_told_once_and_the_others_finish(
    tmp_path: Path,
    cluster: DaskCluster,
    postgresql_url: str,
    phones: Callable[[int], list[dict[str, str]]],
) -> None:
    [phone] = phones(1)
    cluster.start_worker("host-0", "phone-0=1,host=1")
    entries = [phone, {"uri": "host-cpu?cores=999", "resource": "host"}]
    summary = campaign_of(tmp_path, postgresql_url, entries, 40).run(cluster=cluster.address)
    assert not summary.is_complete
    assert [row.uri for row in summary.outcome.rows] == [phone["uri"]]
    assert "cores 999 cannot be used" in summary.outcome.errors["host-cpu?cores=999"]
    with LatencyStore(postgresql_url) as store:
        assert [event.kind for event in store.events(1)].count("device-out") == 1


def test_tasks_stop_by_themselves_when_they_are_asked_to(
    tmp_path: Path,
    cluster: DaskCluster,
    postgresql_url: str,
    phones: Callable[[int], list[dict[str, str]]],
) -> None:
    entries = phones(1)
    cluster.start_worker("host-0", "phone-0=1")
    campaign = campaign_of(tmp_path, postgresql_url, entries, 400)

    def interrupt(_rows: Sequence[ProgressRow]) -> None:
        if len(measurements(postgresql_url)) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        campaign.run(on_tick=interrupt, cluster=cluster.address)
    deadline = time.monotonic() + 60
    with LatencyStore(postgresql_url) as store:
        while store.claims() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert store.claims() == []
    stored = len(measurements(postgresql_url))
    time.sleep(1)
    assert len(measurements(postgresql_url)) == stored < 400


def test_a_device_without_a_worker_is_refused_before_anything_starts(
    tmp_path: Path, cluster: DaskCluster, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_run, "WORKERS_WITHIN_S", 0.5)
    cluster.start_worker("host-0", "pixel-7=2")
    entries = [{"uri": "android:A/cpu", "resource": "pixel-8"}]
    with pytest.raises(DeviceError, match=r"no worker .* has the resource pixel-8; the workers have: pixel-7=2"):
        campaign_of(tmp_path, postgresql_url, entries, 5).run(cluster=cluster.address)


def test_a_device_without_a_resource_and_a_store_that_is_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="needs a resource"):
        campaign_of(tmp_path, str(tmp_path / "a.db"), [{"uri": "host-cpu"}], 5).run(cluster="tcp://127.0.0.1:1")
    entries = [{"uri": "host-cpu", "resource": "host"}]
    for store in (tmp_path / "a.db", f"sqlite:///{tmp_path}/a.db"):
        with pytest.raises(InvalidInputError, match="not the file"):
            campaign_of(tmp_path, str(store), entries, 5).run(cluster="tcp://127.0.0.1:1")


def test_a_scheduler_that_does_not_answer_is_named(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leti_opt.campaign.dask_client.CONNECT_WITHIN_S", 1.0)
    entries = [{"uri": "host-cpu", "resource": "host"}]
    with pytest.raises(DeviceError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        campaign_of(tmp_path, postgresql_url, entries, 5).run(cluster="tcp://127.0.0.1:1")
