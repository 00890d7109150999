"""From a store to a card to a comparison on another machine, as a user does it; and merge, import and export."""

from __future__ import annotations

from pathlib import Path

import pytest

from leti_opt.report.card import read_card
from tests.cli.commands import SIMULATED, TINY, leti_opt, printed_json, refusal

CELLS = ("0-1,1-2:maxpool3x3", "0-1,1-2:conv1x1-bn-relu", "0-1,1-2:conv3x3-bn-relu", "0-1,0-2,1-2:conv3x3-bn-relu")


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def card(folder: Path) -> Path:
    leti_opt("measure", *CELLS, "-d", SIMULATED, *TINY)
    leti_opt("store", "export", "--card", "a.card.zip", "--origin", "simulated")
    return folder / "a.card.zip"


def test_a_card_is_measured_again_from_nothing_but_the_card(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    card.rename(stranger / card.name)
    monkeypatch.chdir(stranger)
    result = leti_opt("reproduce", card.name, "-d", "replay:formula?seed=2")
    assert "SIMULATED: the figures of this card come from a formula" in result.stdout
    assert "another device than the card's" in result.stdout
    assert result.stdout.count("seed=1") >= 1
    assert result.stdout.count("seed=2") >= 1
    assert result.stderr.count(" anew ") == len(CELLS)
    again = leti_opt("reproduce", card.name, "-d", "replay:formula?seed=2")
    assert again.stderr.count("from the store") == len(CELLS)
    asked = ("-d", "replay:formula?seed=2", "--store", "reproduce.db", "--offline")
    assert printed_json("measure", CELLS[0], *TINY, *asked)[0]["source"] == "store"
    leti_opt("store", "export", "--card", "back.card.zip", "--origin", "simulated", "--store", "reproduce.db")
    assert len(read_card("back.card.zip").panel) == len(CELLS)


def test_json_holds_the_verdict_and_every_network(card: Path) -> None:
    found = printed_json("reproduce", card.name, "-d", SIMULATED, "--limit", "3")
    assert len(found["networks"]) == 3
    assert found["comparison"]["networks"] == 3
    assert isinstance(found["verdict"], str)
    assert all(one["here_ms"] > 0 and one["there_ms"] > 0 for one in found["networks"])


def test_what_cannot_run_here_is_named_and_too_few_are_an_error(card: Path) -> None:
    assert "are needed to compare" in refusal_line("reproduce", card.name, "-d", "replay:formula?infeasible=1")
    unstable = refusal_line("reproduce", card.name, "-d", "replay:formula?unstable=1", code=3)  # the device's fault
    assert unstable.endswith("the same command measures these again")


def refusal_line(*arguments: object, code: int = 2) -> str:
    return leti_opt(*arguments, code=code).stderr.splitlines()[-1]


def test_wrong_input_is_refused_before_anything_is_measured(card: Path, folder: Path) -> None:
    assert "no card" in refusal("reproduce", "absent.card.zip")
    assert "--limit" in refusal("reproduce", card.name, "--limit", "2")
    assert not (folder / "reproduce.db").exists()


def test_merge_export_and_import(folder: Path) -> None:
    leti_opt("measure", *CELLS[:2], "-d", SIMULATED, *TINY)
    leti_opt("measure", *CELLS[2:], "-d", SIMULATED, *TINY, "--store", "other.db")
    assert printed_json("store", "merge", "other.db")["measurements"] == 2
    assert "nothing new" in leti_opt("store", "merge", "other.db").stdout
    assert "no store" in refusal("store", "merge", "absent.db")
    assert "name a file" in refusal("store", "export")
    assert "no measured figures" in refusal("store", "export", "out.csv", "--origin", "measured")
    assert "unknown origin" in refusal("store", "export", "out.csv", "--origin", "mesured")
    assert printed_json("store", "export", "out.csv", "--device", "formula")["table"]["rows"] == 4
    assert "no figures of 'phone'" in refusal("store", "export", "out.csv", "--device", "phone")
    counts = printed_json("store", "import", "out.csv", "--store", "third.db")
    assert (counts["measurements"], counts["networks"]) == (4, 4)
    (folder / "theirs.csv").write_text(f"cell,latency\n{CELLS[0].replace(',', ';')},3\n")
    assert "unit" in refusal("store", "import", "theirs.csv", "--device", "phone")
