"""``--pace`` and what a command says when its device was not itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from leti_opt.device.device_kinds import KINDS
from leti_opt.objective import measuring
from leti_opt.objective.canary import Canary
from tests.cli.commands import CELL, TINY, leti_opt, printed_json, refusal
from tests.objective.pacing_device import PacingDevice

CELLS = [
    CELL,
    *(
        f"0-1,1-2,2-3:{first},{second}"
        for first in ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")
        for second in ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")
    ),
]


@pytest.fixture
def pacing(monkeypatch: pytest.MonkeyPatch) -> PacingDevice:
    """A device that is twice as slow from its 20th to its 40th second, opened as ``pacing:``; no time really passes."""
    device = PacingDevice(lambda now_s: 2.0 if 20 <= now_s < 40 else 1.0)
    monkeypatch.setitem(KINDS, "pacing", lambda _: device)
    monkeypatch.setattr(measuring, "Canary", partial(Canary, clock=device.clock, sleep=device.sleep))
    return device


def test_what_was_measured_beside_the_usual_pace_is_measured_and_printed_again(
    pacing: PacingDevice, tmp_path: Path
) -> None:
    asked = ("measure", *CELLS, *TINY, "-d", "pacing:", "--min-runs", 2000, "--store", tmp_path / "l.db")
    result = leti_opt(*asked)
    assert pacing.now_s > 40
    assert "the canary takes 2.00 times its usual 1.000 ms" in result.stderr
    assert "the device is back at its usual pace" in result.stderr
    assert "measured again, since the device was not at its usual pace" in result.stdout
    rows = printed_json(*asked)
    assert [row["mean_ms"] for row in rows] == pytest.approx([1.0] * len(CELLS), rel=0.01)
    assert {row["source"] for row in rows} == {"store"}


def test_without_watching_the_slow_figures_stay(pacing: PacingDevice, tmp_path: Path) -> None:
    asked = ("measure", *CELLS, *TINY, "-d", "pacing:", "--min-runs", 4000, "--store", tmp_path / "l.db")
    rows = printed_json(*asked, "--pace", "off")
    assert pacing.now_s > 40
    assert max(row["mean_ms"] for row in rows) > 1.5


def test_an_unknown_pace_is_refused_by_name(tmp_path: Path) -> None:
    said = refusal("measure", CELL, *TINY, "--pace", "qiet", "--store", tmp_path / "l.db")
    assert "did you mean 'quiet'?" in said
    assert not (tmp_path / "l.db").exists()


def test_a_search_takes_the_same_options(tmp_path: Path) -> None:
    assert "unknown pace" in refusal("search", "--pace", "slow", "--picture", tmp_path / "p.png")
    assert "--new-pace" in leti_opt("search", "--help").stdout


def test_without_a_canary_everything_is_measured_once(tmp_path: Path) -> None:
    rows = printed_json(
        "measure", *CELLS[:3], *TINY, "-d", "replay:formula?seed=1", "--pace", "off", "--store", tmp_path / "l.db"
    )
    assert [row["status"] for row in rows] == ["simulated"] * 3
