"""What a campaign tells before it measures: what it lacks, how long that takes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.open_device import open_device
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.questions import cell_question
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import COUNT, QUICK, quick_campaign


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
    [more_runs] = quick_campaign(tmp_path, devices=["replay:formula"], protocol={"min_runs": 4}).plan().rows
    assert more_runs.seconds_each == row.seconds_each, "a formula takes no longer for more runs"


def test_a_forecast_counts_the_runs_that_the_protocol_makes(tmp_path: Path) -> None:
    def each(runs: int) -> float:
        protocol = {**QUICK["protocol"], "min_runs": runs}
        [row] = quick_campaign(tmp_path, devices=["host-cpu?cores=0"], protocol=protocol).plan().rows
        assert row.seconds_each is not None
        return row.seconds_each

    model_ms = 40.0
    with LatencyStore(tmp_path / "latency.db") as store, open_device("host-cpu?cores=0") as device:
        config = NetworkConfig.small(filters=8)
        for cell in quick_campaign(tmp_path, cells={"sample": 6}, devices=["host-cpu?cores=0"]).cells:
            question = cell_question(cell, config)
            model = question.build()
            measured = Measurement(
                model_key=model.key,
                device=device.identity,
                epoch=device.epoch,
                attempts=(RunBatch.from_runs([model_ms] * 30),),
                stable=True,
                min_runs=30,
                max_relative_std=50.0,
                warmup_runs=1,
                started_at=datetime.now(UTC),
                duration_s=1.5,
            )
            store.add(model, measured, alias=question.alias)
    assert each(30) == pytest.approx(1.5)
    assert each(3000) == pytest.approx(1.5 + 2970 * model_ms / 1e3)
    assert each(10) == pytest.approx(1.5 - 20 * model_ms / 1e3)


def test_a_forecast_of_the_disk_knows_that_unstable_networks_are_measured_again(tmp_path: Path) -> None:
    def bytes_each(device: str) -> float:
        settings = {"devices": [device], "protocol": {}}
        quick_campaign(tmp_path, cells={"sample": 20}, store=str(tmp_path / f"{len(device)}.db"), **settings).run()
        plan = quick_campaign(
            tmp_path, cells={"sample": 40}, store=str(tmp_path / f"{len(device)}.db"), **settings
        ).plan()
        return plan.disk_bytes / plan.lacking

    assert bytes_each("replay:formula?unstable=1") > 3 * bytes_each("replay:formula")


def test_looking_makes_no_store_however_it_is_named(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=["replay:formula"], store=f"sqlite:///{tmp_path}/other.db")
    assert campaign.plan().lacking == campaign.status().lacking == COUNT
    assert not (tmp_path / "other.db").exists()


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
