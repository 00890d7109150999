"""``leti-opt compare --panel``, and what other commands say of a device that has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from leti_opt import LatencyStore, open_device
from leti_opt.device.device import DeviceEpoch, Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.simulated import SimulatedDevice
from leti_opt.errors import DeviceError
from leti_opt.network.layer_graph import LayerGraph
from tests.cli.commands import CELL, SIMULATED, TINY, leti_opt, printed_json, refusal
from tests.objective.changed_device import cells

PANEL = ("compare", "--panel", "--device", SIMULATED, *TINY)


class Update:
    """Changes what simulated devices are, from now on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._latency_ms = SimulatedDevice._latency_ms
        self._load = SimulatedDevice.load

    def __call__(self, build: str, factor: float = 1.0) -> None:
        def latency_ms(device: SimulatedDevice, model: MeasurableModel, graph: LayerGraph) -> float:
            return factor * self._latency_ms(device, model, graph)

        self._patch.setattr(SimulatedDevice, "epoch", property(lambda _: DeviceEpoch(build)))
        self._patch.setattr(SimulatedDevice, "_latency_ms", latency_ms)

    def gone_after(self, loads: int | None) -> None:
        done = 0

        def load(device: SimulatedDevice, model: MeasurableModel) -> Session:
            nonlocal done
            if loads is not None and done >= loads:
                raise DeviceError("the cable was pulled")
            done += 1
            return self._load(device, model)

        self._patch.setattr(SimulatedDevice, "load", load)


@pytest.fixture
def update(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Update:
    """In a folder whose store has 25 networks."""
    changed = Update(monkeypatch)
    changed("6.1")
    leti_opt("measure", *map(str, cells(25)), "--device", SIMULATED, *TINY)
    return changed


def test_a_device_that_did_not_change_gets_its_panel(update: Update) -> None:
    assert "nothing has changed" in leti_opt(*PANEL).stdout
    assert len(printed_json(*PANEL)["panel"]) == 20


def test_an_update_that_changes_nothing_costs_twenty_measurements(update: Update) -> None:
    update("6.2", factor=1.005)
    shown = leti_opt(*PANEL).stdout
    assert "now is 1.005 times before (1.005 to 1.005), Spearman 1.000, 20 networks: they agree" in shown
    assert shown.count(" anew ") == 20
    again = leti_opt("measure", *map(str, cells(25)), "--device", SIMULATED, *TINY)
    assert "anew" not in again.stdout
    assert "changed" not in again.stderr


def test_an_update_that_slows_the_device_down_is_named_and_ends_with_1(update: Update) -> None:
    update("6.2", factor=1.1)
    found = printed_json(*PANEL, code=1)
    assert found["epochs"][0]["agrees"] is False
    assert "the median ratio is more than 3 % from 1" in found["epochs"][0]["verdict"]
    assert found["epochs"][0]["check"]["median_ratio"] == pytest.approx(1.1)
    assert "they disagree" in leti_opt(*PANEL, code=1).stdout


def test_a_panel_that_was_interrupted_goes_on(update: Update) -> None:
    update("6.2")
    update.gone_after(7)
    assert "after 7 networks" in leti_opt(*PANEL, code=3).stderr
    update.gone_after(None)
    shown = leti_opt(*PANEL).stdout
    assert (shown.count("ms from the store"), shown.count("ms anew")) == (7, 13)


def test_a_third_epoch_is_compared_with_both(update: Update) -> None:
    update("6.2", factor=1.1)
    leti_opt(*PANEL, code=1)
    update("6.3", factor=1.1)
    found = printed_json(*PANEL)
    assert [(one["epoch"]["system_build"], one["agrees"]) for one in found["epochs"]] == [("6.2", True), ("6.1", False)]


def test_an_epoch_that_has_other_networks_than_the_panel_is_compared_all_the_same(update: Update) -> None:
    update("6.2")
    leti_opt("measure", *map(str, cells(60)[30:]), "--device", SIMULATED, *TINY)
    update("6.3")
    found = printed_json(*PANEL)
    assert [one["agrees"] for one in found["epochs"]] == [True, True]
    assert [one["agrees"] for one in printed_json(*PANEL)["epochs"]] == [True, True]
    assert "shown before to agree" in leti_opt(*PANEL).stdout


def test_a_store_without_enough_figures_is_refused_with_what_to_do(folder: Path) -> None:
    leti_opt("measure", CELL, "--device", SIMULATED, *TINY)
    said = refusal(*PANEL)
    assert "1 stable figures" in said
    assert "measure more networks" in said


def test_a_store_that_is_not_there_is_not_made(folder: Path) -> None:
    refusal(*PANEL, "--store", "none.db")
    assert not Path("none.db").exists()


def test_measure_and_search_say_that_the_device_has_changed(update: Update) -> None:
    update("6.2")
    note = f"the device has changed (system 6.1 → 6.2): {len(cells(25))} earlier figures are not used; run: leti-opt"
    assert note in leti_opt("measure", CELL, "--device", SIMULATED, *TINY).stderr
    assert note in leti_opt("search", "--device", SIMULATED, *TINY, "--budget", "3").stderr


def test_users_files_have_a_panel_of_their_own(update: Update) -> None:
    said = refusal("compare", "--panel", "--device", SIMULATED, "--network", "files")
    assert "0 stable figures" in said
    with LatencyStore("latency.db") as store, open_device(SIMULATED) as device:
        assert store.panel(device.identity, "") == []
