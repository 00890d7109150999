"""What a campaign tells before it measures: what it lacks, how long that takes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import InvalidInputError
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import COUNT, quick_campaign


def test_status_and_plan_tell_of_devices_that_hang_on_other_hosts(tmp_path: Path) -> None:
    identity, epoch = DeviceIdentity("android", "Pixel 7", "b", "shell", "gpu"), DeviceEpoch("build")
    with LatencyStore(tmp_path / "latency.db") as store:
        store.remember_uri("android:R58M/gpu", identity, epoch)
        store.remember_uri("host-cpu?cores=63", replace(identity, kind="host-cpu"), epoch)
    entries = [{"uri": "android:*/gpu", "resource": "pixel"}, {"uri": "host-cpu?cores=63", "resource": "host"}]
    campaign = quick_campaign(tmp_path, devices=entries)
    assert [row.uri for row in campaign.plan().rows] == ["android:R58M/gpu", "host-cpu?cores=63"]
    assert [row.lacking for row in campaign.status().rows] == [COUNT, COUNT]


def test_a_forecast_stands_on_what_the_store_knows(tmp_path: Path) -> None:
    first = quick_campaign(tmp_path, devices=["replay:formula"], cells={"sample": 10})
    assert first.plan().rows[0].seconds_each is None
    assert first.plan().seconds is None
    first.run()
    [row] = quick_campaign(tmp_path, devices=["replay:formula"]).plan().rows
    assert row.seconds_each is not None
    assert "10 networks of this kind" in row.basis
    [other] = quick_campaign(tmp_path, devices=["replay:formula"], networks=["small"]).plan().rows
    assert other.seconds_each is not None
    assert other.basis.startswith("FLOPs")


def test_a_device_that_nobody_has_seen_has_no_forecast(tmp_path: Path) -> None:
    plan = quick_campaign(tmp_path, devices=["android:127.0.0.1:1/cpu"]).plan()
    assert plan.rows[0].lacking == COUNT
    assert "cannot be reached" in plan.rows[0].note


def test_one_device_under_two_uris_is_refused(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=["host-cpu?cores=0", "host-cpu?threads=1&cores=0"])
    for ask in (campaign.plan, campaign.run):
        with pytest.raises(InvalidInputError, match="are one device; give it once"):
            ask()


def test_a_store_in_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="must outlive it"):
        quick_campaign(tmp_path, devices=["replay:formula"], store=":memory:")
