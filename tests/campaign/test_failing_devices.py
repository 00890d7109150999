"""A campaign whose devices, store or machine fail."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leti_opt.campaign import replaying
from leti_opt.campaign.progress import ProgressRow
from leti_opt.device.device import DeviceIdentity
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import DeviceError, StoreError
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import (
    COUNT,
    QUICK,
    event_kinds,
    measurements_of_each_model,
    quick_campaign,
    scripted,
    slow_device,
    use_devices,
)
from tests.contracts.scripted_device import ScriptedDevice, steady


def test_a_device_that_fails_and_comes_back_loses_nothing_and_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = scripted(failing=[None, None, DeviceError("scripted:one is unplugged"), None])
    use_devices(monkeypatch, device)
    told = tmp_path / "told"
    command = f'echo "$LETI_EVENT|$LETI_CAMPAIGN|$LETI_DEVICE|$LETI_EVENT_TEXT" >> {told}; cat >> {told}.json'
    campaign = quick_campaign(tmp_path, devices=["scripted:one"], on_event=command)
    assert campaign.run().is_complete
    assert len(device.loads) == COUNT + 1, "the load that failed was made again"
    assert measurements_of_each_model(tmp_path / "latency.db") == [1] * COUNT
    lines = told.read_text().splitlines()
    assert {line.split("|")[0] for line in lines} == {"started", "device-lost", "device-back", "finished"}
    [lost] = [line for line in lines if line.startswith("device-lost")]
    assert lost.split("|")[1:3] == ["quick", "scripted:one"]
    assert "is unplugged" in lost
    assert '"event": "device-lost"' in Path(f"{told}.json").read_text()


def test_a_device_that_stays_away_is_left_out_and_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = scripted("two", failing=[None, *[DeviceError("scripted:two is gone")] * 100])
    monkeypatch.setattr(gone, "contact", lambda: (_ for _ in ()).throw(DeviceError("scripted:two is gone")))
    use_devices(monkeypatch, scripted("one"), gone)
    execution = {**QUICK["execution"], "patience_h": 0.0001}
    campaign = quick_campaign(tmp_path, devices=["scripted:one", "scripted:two"], execution=execution)
    summary = campaign.run()
    one, two = summary.outcome.rows
    assert one.measured == COUNT
    assert two.measured < COUNT
    assert two.state == "out"
    assert "scripted:two is gone" in summary.outcome.errors["scripted:two"]
    assert event_kinds(tmp_path / "latency.db")[-2:] == ["device-out", "incomplete"]


def away(name: str, after: int = 2) -> ScriptedDevice:
    """A device that is unplugged after some networks, and stays so."""
    device = scripted(name, failing=[*[None] * after, *[DeviceError(f"scripted:{name} is gone")] * 100])
    device.contact = lambda: (_ for _ in ()).throw(DeviceError(f"scripted:{name} is gone"))  # type: ignore[method-assign]
    return device


def test_the_time_to_stop_does_not_wait_for_a_device_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_devices(monkeypatch, away("one"))
    campaign = quick_campaign(tmp_path, devices=["scripted:one"])
    seen: list[str] = []
    start = time.monotonic()
    summary = campaign.run(until=timedelta(seconds=2), on_tick=lambda rows: seen.append(rows[0].state))
    assert "away" in seen
    assert summary.outcome.is_stopped
    assert time.monotonic() - start < 60, "its patience is 24 hours"
    assert measurements_of_each_model(tmp_path / "latency.db") == [1, 1]


def test_a_fault_that_is_no_devices_ends_everything_though_another_device_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_model: MeasurableModel) -> object:
        if "away" not in states:
            time.sleep(0.2)
            return load(_model)
        raise StoreError("the disk is full")

    states: list[str] = []
    broken = scripted("two")
    load = broken.load
    monkeypatch.setattr(broken, "load", fail)
    use_devices(monkeypatch, away("one"), broken)
    campaign = quick_campaign(tmp_path, devices=["scripted:one", "scripted:two"], cells={"sample": 200})
    with pytest.raises(StoreError, match="the disk is full"):
        campaign.run(on_tick=lambda rows: states.append(rows[0].state))
    assert event_kinds(tmp_path / "latency.db")[-1] == "stopped"


def test_a_device_that_is_away_when_the_campaign_starts_joins_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(ScriptedDevice):
        asked = 0

        @property
        def resources(self) -> frozenset[str]:
            self._refuse()
            return super().resources

        @property
        def identity(self) -> DeviceIdentity:
            self._refuse()
            return super().identity

        def _refuse(self) -> None:
            self.asked += 1
            if self.asked < 5:
                raise DeviceError(f"{self.uri} is not plugged in")

    late = Late(lambda _model: [steady(2.0, 5)] * 3, name="late", default_min_runs=5)
    use_devices(monkeypatch, scripted("one"), late)
    campaign = quick_campaign(tmp_path, devices=["scripted:one", "scripted:late"])
    summary = campaign.run()
    assert summary.is_complete
    assert late.asked >= 5
    kinds = event_kinds(tmp_path / "latency.db")
    assert kinds.count("device-lost") == kinds.count("device-back") == 1


def test_figures_that_another_process_withdraws_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = scripted()
    use_devices(monkeypatch, device)
    campaign = quick_campaign(tmp_path, devices=["scripted:one"])
    withdrawn: list[str] = []
    real = LatencyStore.standings

    def standings(store: LatencyStore, *arguments: object, **named: object) -> object:
        if len(device.loads) == COUNT and not withdrawn:
            since = datetime(2000, 1, 1, tzinfo=UTC)
            withdrawn.extend(store.suspect(device.identity, device.epoch, since=since, reason="another's canary"))
        return real(store, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(LatencyStore, "standings", standings)
    assert campaign.run().is_complete
    assert len(withdrawn) == COUNT, "they were withdrawn right before the campaign looked whether it was done"
    assert len(device.loads) == 2 * COUNT


def test_a_machines_fault_is_never_stored_as_a_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> object:
        raise StoreError("no space left on device")

    monkeypatch.setattr(replaying, "_made", full)
    execution = {"backend": "sequential"}
    campaign = quick_campaign(tmp_path, devices=["replay:formula"], execution=execution)
    with pytest.raises(StoreError, match="no space left"):
        campaign.run()
    with LatencyStore(tmp_path / "latency.db") as store:
        assert store.failures() == []


def test_a_store_that_is_deleted_while_it_runs_ends_the_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = slow_device(monkeypatch)

    def delete(_rows: Sequence[ProgressRow]) -> None:
        if len(device.loads) >= 3:
            for file in tmp_path.glob("latency.db*"):
                file.unlink()

    campaign = quick_campaign(tmp_path, devices=["scripted:one"])
    with pytest.raises(StoreError, match="was deleted or replaced while it was open"):
        campaign.run(on_tick=delete)
    assert len(device.loads) < COUNT
