"""Runs in which networks or devices fail, or that are interrupted: exit codes, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from leti_opt.device.simulated import SimulatedDevice
from leti_opt.errors import DeviceError
from leti_opt.search.architecture_search import ArchitectureSearch
from leti_opt.store import LatencyStore
from tests.cli.commands import CELL, MEASURE, SEARCH, SEARCH_ON, TINY, leti_opt, printed_json, refusal


def test_an_infeasible_network_ends_with_code_5_and_its_reason(folder: Path) -> None:
    arguments = ("measure", CELL, "--device", "replay:formula?infeasible=1", *TINY)
    (row,) = printed_json(*arguments, code=5)
    assert (row["status"], row["latency_ms"]) == ("infeasible", None)
    assert "simulated refusal" in row["failure"]
    assert "infeasible (store): simulated refusal" in leti_opt(*arguments, code=5).stdout


def test_an_unstable_network_ends_with_code_6_and_a_provisional_figure() -> None:
    arguments = ("measure", CELL, "--device", "replay:formula?unstable=1", *TINY)
    (row,) = printed_json(*arguments, code=6)
    assert row["status"] == "provisional"
    assert row["latency_ms"] > 0
    assert "provisional from the store" in leti_opt(*arguments, code=6).stdout


def test_a_device_that_fails_ends_with_code_3_and_keeps_what_was_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = SimulatedDevice.load, []

    def load(self: SimulatedDevice, model: object) -> object:
        calls.append(model)
        if len(calls) > 2:
            raise DeviceError("the phone is unplugged; plug it in")
        return plain(self, model)

    monkeypatch.setattr(SimulatedDevice, "load", load)
    message = refusal(*SEARCH, code=3)
    assert len(calls) == 3
    assert "the phone is unplugged" in message
    assert "everything is kept, the same command goes on" in message
    with LatencyStore(folder / "latency.db") as store:
        assert store.info().measurements == 2
    assert not list(folder.glob("*.png"))
    calls.clear()
    rows = printed_json("measure", "0-1:", "0-1,1-2:maxpool3x3", CELL, *MEASURE[2:], code=3)
    assert [row["status"] for row in rows] == ["simulated", "simulated", "device failed"]
    assert "unplugged" in rows[2]["failure"]


def test_ctrl_c_keeps_everything_and_the_same_command_ends_as_if_never_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = printed_json(*SEARCH, "--store", "whole.db")
    plain, calls = ArchitectureSearch._evaluate, []

    def evaluate(self: ArchitectureSearch, architecture: object) -> object:
        calls.append(architecture)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(self, architecture)

    with monkeypatch.context() as patch:
        patch.setattr(ArchitectureSearch, "_evaluate", evaluate)
        message = refusal(*SEARCH, code=130)
    assert len(calls) == 3
    assert "stopped after 2 evaluations; everything is kept, the same command goes on" in message
    went_on = printed_json(*SEARCH)
    assert [went_on[key] for key in ("steps", "front")] == [whole[key] for key in ("steps", "front")]
    assert went_on["counts"]["anew"] <= whole["counts"]["anew"] - 1


def test_a_search_in_which_nothing_can_run_draws_no_picture(folder: Path) -> None:
    arguments = (*SEARCH_ON, "replay:formula?infeasible=1", "--picture", "front.png")
    text = leti_opt(*arguments, code=5).stdout
    assert "nothing simulated anew, 0 from the store; 5 infeasible" in text
    assert "infeasible, 5 cell(s): simulated refusal" in text
    assert text.endswith("no picture: no cell could be run\n")
    result = printed_json(*arguments, code=5)
    assert result["picture"] is None
    assert list(result["failures"].values()) == [5]
    assert not list(folder.glob("*.png"))


def test_a_search_of_unstable_cells_is_drawn_and_has_no_front(folder: Path) -> None:
    arguments = (*SEARCH_ON, "replay:formula?unstable=1", "--picture", "front.png")
    text = leti_opt(*arguments).stdout
    assert "no cell was measured to the protocol's rule" in text
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert printed_json(*arguments)["front"] == []
