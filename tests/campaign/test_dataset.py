"""A whole campaign on this machine: what it measures, what it stores, and what it says of that."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from leti_opt.campaign import dataset, events, local
from leti_opt.campaign.dataset import CampaignSummary
from leti_opt.campaign.events import EventLog
from leti_opt.campaign.local import Outcome
from leti_opt.campaign.progress import ProgressRow
from leti_opt.device.device import DeviceEpoch
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import DeviceError, InfeasibleError
from leti_opt.host_cores import usable_cores
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import (
    COUNT,
    event_kinds,
    measurements_of_each_model,
    quick_campaign,
    scripted,
    use_devices,
)
from tests.contracts.scripted_device import Answer, ScriptedDevice, shaky, steady


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


def test_a_command_that_fails_stops_nothing_and_is_noted_once(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=["replay:formula"], on_event="echo no such thing >&2; exit 3")
    assert campaign.run().is_complete
    with LatencyStore(tmp_path / "latency.db") as store:
        notes = [event.text for event in store.events(1, kinds=["note"])]
    assert len(notes) == 1
    assert "exit status 3: no such thing" in notes[0]


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


@pytest.mark.parametrize(
    ("command", "note"),
    [
        (r"printf '\377\376 is no text'; exit 3", "exit status 3: \ufffd\ufffd is no text"),
        ("yes 'much to say' | head -c 3000000; echo the end; exit 3", "exit status 3: the end"),
        ("exec <&-; exec >&- 2>&-; exit 3", "exit status 3"),
    ],
)
def test_a_command_may_print_what_it_likes(tmp_path: Path, command: str, note: str) -> None:
    with LatencyStore(tmp_path / "latency.db") as store:
        campaign = store.open_campaign("quick", {})
        log = EventLog(store, campaign, "quick", command)
        log.add("started", "quick")
        log.close()
        [event] = store.events(campaign, kinds=["note"])
    assert event.text.endswith(f"goes on: {note}")


def test_of_what_a_command_prints_only_the_end_is_kept() -> None:
    said = bytearray()
    with subprocess.Popen(
        ["/bin/sh", "-c", "head -c 5000000 /dev/zero; printf end"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as command:
        assert events._has_ended(command, b"{}", said)
    assert said.endswith(b"end")
    assert len(said) < 10_000


class AwayDevice(ScriptedDevice):
    """Is away until it is looked at again."""

    is_there = False

    @property
    def resources(self) -> frozenset[str]:
        if not self.is_there:
            raise DeviceError(f"{self.uri} is unplugged")
        return super().resources

    def contact(self) -> None:
        self.is_there = True


def test_a_known_device_that_is_away_at_the_start_is_lost_and_then_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_devices(monkeypatch, scripted())
    quick_campaign(tmp_path, devices=["scripted:one"], cells={"sample": 5}).run()
    use_devices(monkeypatch, AwayDevice(lambda _model: [steady(2.0, 5)], default_min_runs=5))
    told = tmp_path / "told"
    campaign = quick_campaign(tmp_path, devices=["scripted:one"], on_event=f'echo "$LETI_EVENT" >> {told}')
    assert campaign.run().is_complete
    assert sorted(told.read_text().split()) == ["device-back", "device-lost", "finished", "started"]


def phone(serial: str) -> ScriptedDevice:
    def script(_model: MeasurableModel) -> list[Answer]:
        return [steady(2.0, 5)]

    device = ScriptedDevice(script, name=serial, default_min_runs=5, epoch=DeviceEpoch("build", unit=serial[0]))
    device.uri = f"android:{serial}/cpu"
    return device


def test_every_phone_means_those_that_took_part_and_are_not_ready_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"devices": ["android:*/cpu"]}
    use_devices(monkeypatch, phone("A"), phone("B"), phone("C at its old address"))
    quick_campaign(tmp_path, cells={"sample": 5}, **settings).run()
    with LatencyStore(tmp_path / "latency.db") as store:
        store.remember_uri("android:SOLD/cpu", phone("SOLD").identity, phone("SOLD").epoch)
    use_devices(monkeypatch, phone("A"), phone("C"))
    opened: list[str] = []

    def open_device(uri: str) -> ScriptedDevice:
        opened.append(uri)
        return phone("B")

    monkeypatch.setattr(dataset, "open_device", open_device)
    summary = quick_campaign(tmp_path, **settings).run()
    assert opened == ["android:B/cpu"]
    assert [row.uri for row in summary.outcome.rows] == ["android:A/cpu", "android:C/cpu", "android:B/cpu"]
    assert summary.is_complete


def test_the_summary_counts_each_kind_of_answer_once(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=["replay:formula?infeasible=0.2"])
    [row] = campaign.run().outcome.rows
    with LatencyStore(tmp_path / "latency.db") as store:
        stages = Counter(failure.stage for failure in store.failures())
    assert row.infeasible == stages["run"] > 0
    assert row.measured + row.infeasible == COUNT
