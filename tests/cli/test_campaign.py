from __future__ import annotations

import json
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from leti_opt.cli.campaign import moment
from leti_opt.cli.main import app
from leti_opt.errors import InvalidInputError
from tests.campaign.campaigns import write_toml

REPLAY = '["replay:formula?seed=1"]'


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["campaign", *words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_toml(tmp_path, 12, REPLAY)


def test_a_new_file_is_a_campaign_that_can_be_planned(folder: Path) -> None:
    assert call("new", "mine.toml").exit_code == 0
    planned = call("plan", "mine.toml", "--json")
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["lacking"] == 300
    assert sorted(path.name for path in folder.iterdir()) == ["mine.toml"], "planning makes no store"
    again = call("new", "mine.toml")
    assert again.exit_code == 2
    assert "is there already" in again.stderr


def test_plan_run_status_and_export_tell_one_story(file: Path) -> None:
    plan = call("plan", str(file))
    assert "12 cells, 12 measurements to make; time: not known yet" in plan.stdout
    run = call("run", str(file))
    assert run.exit_code == 0, run.output
    assert "replay:formula?seed=1" in run.stdout
    status = call("status", str(file))
    assert "quick: complete, 0 measurements lacking" in status.stdout
    assert "SIMULATED" in status.stdout
    assert "finished: quick" in status.stdout
    export = call("export", str(file), "--to", str(file.parent / "set"), "--csv")
    assert export.exit_code == 0, export.output
    assert "12 networks, latencies.parquet, latencies.csv, README.md" in export.stdout
    assert "SIMULATED" in export.stdout
    assert "0 measurements to make" in call("plan", str(file)).stdout


def test_json_says_the_same(file: Path) -> None:
    assert json.loads(call("plan", str(file), "--json").stdout)["rows"][0]["lacking"] == 12
    summary = json.loads(call("run", str(file), "--json").stdout)
    assert summary["is_complete"] is True
    assert summary["outcome"]["rows"][0]["measured"] == 12
    status = json.loads(call("status", str(file), "--json").stdout)
    assert (status["lacking"], status["running"], status["rows"][0]["origin"]) == (0, False, "simulated")
    written = json.loads(call("export", str(file), "--to", str(file.parent / "set"), "--json").stdout)
    assert written["counts"][0]["measured"] == 12


def test_a_run_that_stops_before_it_is_complete_has_an_exit_code_of_its_own(file: Path) -> None:
    file.write_text(file.read_text().replace(REPLAY, '["host-cpu?cores=0"]').replace("sample = 12", "sample = 5000"))
    result = call("run", str(file), "--until", "0")
    assert result.exit_code == 9
    assert "not complete; everything measured is kept, the same command goes on" in result.stdout
    assert "stopped" in result.stdout


def test_a_terminal_that_is_too_narrow_gets_lines_with_whole_numbers(file: Path) -> None:
    command = f"stty cols 40; {shlex.quote(sys.executable)} -m leti_opt.cli.main campaign plan {shlex.quote(str(file))}"
    seen = subprocess.run(["script", "-qc", command, "/dev/null"], capture_output=True, text=True, check=True).stdout
    assert "12 to measure" in seen


def test_watching_ends_when_it_is_complete(file: Path) -> None:
    call("run", str(file))
    assert "complete" in call("watch", str(file)).stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sample = 12", "smaple = 12", "unknown setting cells.smaple; did you mean 'sample'"),
        ("sample = 12", "sample = 0", "cells.sample"),
        ("sample = 12", "sample = 999999", "only 423,624"),
        ('"replay:formula?seed=1"', '"replay:formulas"', "formulas"),
        ('"replay:formula?seed=1"', '"host-gpu"', "unknown device 'host-gpu'"),
        ("name =", "nam e =", "is not TOML"),
    ],
)
def test_wrong_input_ends_with_a_line_and_exit_code_2(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(file.read_text().replace(old, new))
    for command in ("plan", "run", "status"):
        result = call(command, str(file))
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert not (file.parent / "latency.db").exists()


def test_exporting_what_was_never_measured_ends_with_exit_code_2(file: Path) -> None:
    result = call("export", str(file), "--to", str(file.parent / "set"))
    assert result.exit_code == 2
    assert "leti-opt campaign run" in result.stderr


def test_a_store_that_cannot_be_made_ends_with_exit_code_4(tmp_path: Path) -> None:
    file = write_toml(tmp_path, 12, REPLAY, 'store = "no/such/folder/a.db"')
    result = call("run", str(file))
    assert result.exit_code == 4
    assert "mkdir -p" in result.stderr


@pytest.mark.parametrize(
    ("text", "now", "then"),
    [
        ("08:00", "2026-05-01 07:59", "2026-05-01 08:00"),
        ("08:00", "2026-05-01 08:00", "2026-05-02 08:00"),
        ("8:05", "2026-12-31 09:00", "2027-01-01 08:05"),
        ("90m", "2026-05-01 23:00", "2026-05-02 00:30"),
        ("45", "2026-05-01 23:00:00", "2026-05-01 23:00:45"),
    ],
)
def test_until_is_the_next_time_of_the_clock_or_a_time_from_now(text: str, now: str, then: str) -> None:
    assert moment(text, datetime.fromisoformat(now)) == datetime.fromisoformat(then)


@pytest.mark.parametrize("text", ["24:00", "08.00", "8.30", "99999999999h", "noon", "08:60", "-5m", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"is no time; write for instance 08:00, 90m or 8h|beyond the calendar"):
        moment(text, datetime(2026, 1, 1))
