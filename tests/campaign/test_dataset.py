"""A campaign on this machine: whole, stopped, killed, started twice, with devices that fail."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from leti_opt.campaign import dataset, events, local, replaying
from leti_opt.campaign.dataset import CampaignSummary, DatasetCampaign
from leti_opt.campaign.local import Outcome
from leti_opt.campaign.progress import ProgressRow
from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import CampaignRunningError, DeviceError, InfeasibleError, InvalidInputError, StoreError
from leti_opt.host_cores import usable_cores
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import QUICK, quick_campaign, start, write_toml
from tests.contracts.scripted_device import Answer, ScriptedDevice, shaky, steady

COUNT = 20


def measurements_of_each_model(store: Path) -> list[int]:
    """How many measurements the store's own table has of each network that is a result."""
    engine = create_engine(f"sqlite:///{store}")
    query = "SELECT count(*) FROM measurements m JOIN models o ON o.id = m.model_id WHERE o.role IS NULL GROUP BY o.id"
    with engine.connect() as connection:
        counts = [row[0] for row in connection.execute(text(query))]
    engine.dispose()
    return counts


def event_kinds(store: Path) -> list[str]:
    with LatencyStore(store) as opened:
        [campaign] = opened.campaign_records()
        return [event.kind for event in opened.events(campaign.id)]


def use_devices(monkeypatch: pytest.MonkeyPatch, *devices: Device) -> None:
    monkeypatch.setattr(dataset, "open_devices", lambda _uris: list(devices))


def scripted(name: str = "one", failing: Sequence[Exception | None] = (), answers: object = None) -> ScriptedDevice:
    def script(_model: MeasurableModel) -> list[Answer]:
        return [steady(2.0, 5)] * 3

    return ScriptedDevice(answers or script, name=name, default_min_runs=5, load_script=failing)  # type: ignore[arg-type]


@pytest.mark.needs("litert")
def test_a_campaign_measures_every_network_once_on_this_host(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=["host-cpu?cores=0"])
    assert campaign.plan().lacking == COUNT
    assert not (tmp_path / "latency.db").exists(), "planning makes nothing"
    seen: list[Sequence[ProgressRow]] = []
    summary = campaign.run(on_tick=seen.append)
    assert summary.is_complete
    assert seen
    assert measurements_of_each_model(tmp_path / "latency.db") == [1] * COUNT
    assert campaign.plan().lacking == campaign.status().lacking == 0
    [row] = summary.outcome.rows
    assert row.measured == row.new == COUNT
    assert row.seconds["timed runs"] > 0
    again = campaign.run()
    assert again.is_complete
    assert again.outcome.rows[0].new == 0
    assert event_kinds(tmp_path / "latency.db") == ["started", "finished"] * 2


@pytest.mark.needs("litert")
@pytest.mark.parametrize("backend", ["loky", "sequential"])
def test_networks_are_built_by_any_backend_of_joblib(tmp_path: Path, backend: str) -> None:
    execution = {"backend": backend, "builders": 1}
    campaign = quick_campaign(tmp_path, devices=["host-cpu?cores=0"], cells={"sample": 5}, execution=execution)
    assert campaign.run().is_complete


def test_two_networks_of_each_cell_advance_together(tmp_path: Path) -> None:
    networks = ["small", {"preset": "small", "filters": 8}]
    campaign = quick_campaign(tmp_path, devices=["replay:formula", "replay:formula?seed=2"], networks=networks)
    assert campaign.plan().lacking == 2 * 2 * COUNT
    assert campaign.run().is_complete
    assert measurements_of_each_model(tmp_path / "latency.db") == [2] * (2 * COUNT)


def test_what_another_campaign_measured_is_not_measured_again(tmp_path: Path) -> None:
    small = quick_campaign(tmp_path, devices=["replay:formula"], cells={"sample": 8})
    small.run()
    large = quick_campaign(tmp_path, devices=["replay:formula"], name="large")
    assert large.plan().lacking == COUNT - 8
    large.run()
    assert measurements_of_each_model(tmp_path / "latency.db") == [1] * COUNT


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
    end_after_kills(tmp_path, 40, 2)


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


def slow_device(monkeypatch: pytest.MonkeyPatch) -> ScriptedDevice:
    device = scripted()
    load = device.load

    def slowly(model: MeasurableModel) -> object:
        time.sleep(0.2)
        return load(model)

    monkeypatch.setattr(device, "load", slowly)
    use_devices(monkeypatch, device)
    return device


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


def test_a_command_that_fails_stops_nothing_and_is_noted_once(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=["replay:formula"], on_event="echo no such thing >&2; exit 3")
    assert campaign.run().is_complete
    with LatencyStore(tmp_path / "latency.db") as store:
        notes = [event.text for event in store.events(1, kinds=["note"])]
    assert len(notes) == 1
    assert "exit status 3: no such thing" in notes[0]


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


def test_a_run_that_nobody_heard_of_is_not_complete() -> None:
    assert not CampaignSummary("a", Outcome((), {}, False, 1.0), "").is_complete


def test_devices_that_disturb_each_other_hold_both_cores_as_long_as_they_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []

    @contextmanager
    def taking_turns(_devices: object) -> Iterator[None]:
        turns.append("begin")
        yield
        turns.append("end")

    one, two = scripted("one"), scripted("two")
    load = one.load

    def noted(model: MeasurableModel) -> object:
        turns.append("load")
        return load(model)

    monkeypatch.setattr(one, "load", noted)
    monkeypatch.setattr(local, "check_interference", lambda *_arguments: [[one, two]])
    monkeypatch.setattr(local, "taking_turns", taking_turns)
    use_devices(monkeypatch, one, two)
    assert quick_campaign(tmp_path, devices=["scripted:one", "scripted:two"]).run().is_complete
    assert turns == ["begin", *["load"] * COUNT, "end"]


def test_status_and_plan_tell_of_devices_that_hang_on_other_hosts(tmp_path: Path) -> None:
    identity, epoch = DeviceIdentity("android", "Pixel 7", "b", "shell", "gpu"), DeviceEpoch("build")
    with LatencyStore(tmp_path / "latency.db") as store:
        store.remember_uri("android:R58M/gpu", identity, epoch)
        store.remember_uri("host-cpu?cores=63", replace(identity, kind="host-cpu"), epoch)
    entries = [{"uri": "android:*/gpu", "resource": "pixel"}, {"uri": "host-cpu?cores=63", "resource": "host"}]
    campaign = quick_campaign(tmp_path, devices=entries)
    assert [row.uri for row in campaign.plan().rows] == ["android:R58M/gpu", "host-cpu?cores=63"]
    assert [row.lacking for row in campaign.status().rows] == [COUNT, COUNT]


def test_unstable_and_infeasible_networks_are_kept_and_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[str] = []

    def script(model: MeasurableModel) -> list[Answer]:
        models.append(model.key)
        if len(models) % 5 == 0:
            return [InfeasibleError("not delegated")]
        return [shaky(2.0, 5)] * 2 if len(models) % 5 == 1 else [steady(2.0, 5)]

    device = scripted(answers=script)
    use_devices(monkeypatch, device)
    protocol = {"min_runs": 5, "max_attempts": 1, "warmup_runs": 0}
    campaign = quick_campaign(tmp_path, devices=["scripted:one"], protocol=protocol)
    summary = campaign.run()
    [row] = summary.outcome.rows
    assert (row.measured, row.unstable, row.infeasible) == (12, 4, 4)
    assert summary.is_complete
    loads = len(device.loads)
    assert campaign.run().is_complete
    assert len(device.loads) == loads
    assert campaign.run(retry_unstable=True).is_complete
    assert len(device.loads) == loads + 4, "the unstable ones were asked for once more"


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


@pytest.mark.needs("litert")
@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
@pytest.mark.parametrize("which", [0, 1])
def test_a_device_on_any_core_measures_while_the_others_build(tmp_path: Path, which: int) -> None:
    core = usable_cores()[which]
    campaign = quick_campaign(tmp_path, devices=[f"host-cpu?cores={core}"], cells={"sample": 12})
    summary = campaign.run()
    assert summary.is_complete
    assert event_kinds(tmp_path / "latency.db") == ["started", "finished"], "the device was never set aside"
    assert usable_cores() == sorted(os.sched_getaffinity(0))


def test_a_store_that_is_deleted_while_it_runs_ends_the_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = slow_device(monkeypatch)

    def delete(_rows: Sequence[ProgressRow]) -> None:
        if len(device.loads) == 3:
            for file in tmp_path.glob("latency.db*"):
                file.unlink()

    campaign = quick_campaign(tmp_path, devices=["scripted:one"])
    with pytest.raises(StoreError, match="was deleted or replaced while it was open"):
        campaign.run(on_tick=delete)
    assert len(device.loads) < COUNT


def test_figures_that_were_not_measured_are_not_called_so(tmp_path: Path) -> None:
    summary = quick_campaign(tmp_path, devices=["replay:formula"]).run()
    assert summary.outcome.rows[0].origin == "simulated"
    assert f"{COUNT} simulated" in summary.text
    assert "measured" not in summary.text


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_COMMAND_TIMEOUT_S", 0.5)
    mark = tmp_path / "still there"
    command = f"(sleep 4; touch {shlex.quote(str(mark))}) & wait"
    assert quick_campaign(tmp_path, devices=["replay:formula"], on_event=command).run().is_complete
    time.sleep(4.5)
    assert not mark.exists()
    with LatencyStore(tmp_path / "latency.db") as store:
        assert any("took longer than" in event.text for event in store.events(1, kinds=["note"]))


def test_a_store_in_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="must outlive it"):
        quick_campaign(tmp_path, devices=["replay:formula"], store=":memory:")


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


def test_the_summary_counts_each_kind_of_answer_once(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=["replay:formula?infeasible=0.2"])
    [row] = campaign.run().outcome.rows
    with LatencyStore(tmp_path / "latency.db") as store:
        stages = Counter(failure.stage for failure in store.failures())
    assert row.infeasible == stages["run"] > 0
    assert row.measured + row.infeasible == COUNT
