"""A campaign that is killed, interrupted, stopped at a moment, or started twice at once."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.progress import ProgressRow
from leti_opt.errors import CampaignRunningError
from tests.campaign.campaigns import (
    COUNT,
    event_kinds,
    measurements_of_each_model,
    quick_campaign,
    slow_device,
    start,
    write_toml,
)


def kill(path: Path, after: int, store: Path) -> int:
    """Start the campaign and kill it, with all that it started, once some more is stored; how much is."""
    running = start(path)
    before = len(measurements_of_each_model(store)) if store.exists() else 0
    deadline = time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline:
        if store.exists() and len(measurements_of_each_model(store)) >= before + after:
            break
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL, "it was killed, and had not ended by itself"
    return len(measurements_of_each_model(store))


def end_after_kills(tmp_path: Path, sample: int, kills: int) -> None:
    path, store = write_toml(tmp_path, sample), tmp_path / "latency.db"
    draw = random.Random(1)
    stored = [kill(path, draw.randint(1, sample // (kills + 2)), store) for _ in range(kills)]
    assert stored == sorted(set(stored)), "every run got further"
    assert stored[-1] < sample
    last = start(path, "--json")
    output, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    assert json.loads(output)["is_complete"]
    assert measurements_of_each_model(store) == [1] * sample


@pytest.mark.needs("litert")
def test_a_campaign_that_is_killed_twice_ends_complete_with_each_network_measured_once(tmp_path: Path) -> None:
    end_after_kills(tmp_path, 20, 2)


@pytest.mark.slow
@pytest.mark.needs("litert")
def test_a_campaign_of_300_networks_that_is_killed_five_times_ends_complete_with_each_measured_once(
    tmp_path: Path,
) -> None:
    end_after_kills(tmp_path, 300, 5)


@pytest.mark.needs("litert")
def test_started_twice_at_once_it_is_refused_and_says_who_runs_it(tmp_path: Path) -> None:
    path, store = write_toml(tmp_path, 400), tmp_path / "latency.db"
    running = start(path)
    try:
        deadline = time.monotonic() + 60
        while not (store.exists() and measurements_of_each_model(store)) and time.monotonic() < deadline:
            time.sleep(0.05)
        campaign = DatasetCampaign(path)
        assert campaign.status().running
        with pytest.raises(CampaignRunningError, match=f"process {running.pid}"):
            campaign.run()
        assert running.poll() is None
    finally:
        os.killpg(running.pid, signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "the same command goes on" in errors
    assert not campaign.status().running
    assert set(measurements_of_each_model(store)) == {1}


@pytest.mark.needs("litert")
def test_being_told_to_end_again_and_again_it_ends_in_good_order(tmp_path: Path) -> None:
    path, store = write_toml(tmp_path, 400), tmp_path / "latency.db"
    running = start(path)
    deadline = time.monotonic() + 60
    while not (store.exists() and measurements_of_each_model(store)) and time.monotonic() < deadline:
        time.sleep(0.05)
    while running.poll() is None and time.monotonic() < deadline:
        running.terminate()
        time.sleep(0.02)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors.strip() == "leti-opt: stopped; everything measured is kept, the same command goes on"
    assert event_kinds(store) == ["started", "stopped"]


def test_it_is_the_same_campaign_by_whatever_path_its_store_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    slow_device(monkeypatch)
    devices = {"devices": ["scripted:one"]}
    other = quick_campaign(tmp_path, store=str(tmp_path / "link" / "latency.db"), **devices)
    refused: list[BaseException | None] = []

    def start_again(_rows: Sequence[ProgressRow]) -> None:
        if not refused:
            with ThreadPoolExecutor(1) as elsewhere:
                refused.append(elsewhere.submit(other.run).exception())

    campaign = quick_campaign(tmp_path, store=str(tmp_path / "there" / "latency.db"), **devices)
    assert campaign.run(on_tick=start_again).is_complete
    assert isinstance(refused[0], CampaignRunningError)


def test_it_stops_at_the_moment_that_it_was_given_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_device(monkeypatch)
    campaign = quick_campaign(tmp_path, devices=["scripted:one"])
    summary = campaign.run(until=timedelta(0))
    assert summary.outcome.is_stopped
    assert not summary.is_complete
    assert summary.outcome.rows[0].new < COUNT
    assert campaign.run().is_complete
    assert measurements_of_each_model(tmp_path / "latency.db") == [1] * COUNT
    assert event_kinds(tmp_path / "latency.db") == ["started", "stopped", "started", "finished"]


def test_an_interrupted_run_stores_what_was_being_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = slow_device(monkeypatch)

    def interrupt(rows: Sequence[ProgressRow]) -> None:
        if rows[0].new >= 2:
            raise KeyboardInterrupt

    campaign = quick_campaign(tmp_path, devices=["scripted:one"])
    with pytest.raises(KeyboardInterrupt):
        campaign.run(on_tick=interrupt)
    stored = measurements_of_each_model(tmp_path / "latency.db")
    assert stored == [1] * len(device.loads)
    assert 2 <= len(stored) < COUNT
    assert campaign.run().is_complete
    assert len(device.loads) == COUNT


def test_ctrl_c_while_it_waits_ends_only_after_what_was_being_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = slow_device(monkeypatch)

    def press() -> None:
        while len(device.loads) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        quick_campaign(tmp_path, devices=["scripted:one"]).run()
    assert {"campaign", "feed"}.isdisjoint(thread.name for thread in threading.enumerate())
    pressing.join()
    assert measurements_of_each_model(tmp_path / "latency.db") == [1] * len(device.loads)
    assert len(device.loads) < COUNT


def test_nothing_is_left_behind_by_a_killed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    path, store = write_toml(tmp_path, 60), tmp_path / "latency.db"
    kill(path, 3, store)
    last = start(path)
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    assert [left.name for left in temporary.iterdir() if left.name.startswith("leti-opt")] == []
