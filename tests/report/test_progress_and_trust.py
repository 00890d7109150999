"""Progress lines, the trust check and the description of this machine."""

from __future__ import annotations

import io
import re

import pytest

from leti_opt.architecture import Architecture
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.questions import cell_question
from leti_opt.report.live_line import LiveLine
from leti_opt.report.machine import describe_machine
from leti_opt.report.progress import SearchProgress
from leti_opt.report.trust import TrustCheck, check_trust
from leti_opt.search import SearchSettings
from tests.report.results import NETWORK, searched

CELL = Architecture.parse("0-1,1-2:conv3x3-bn-relu")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_counts_names_the_fastest_and_the_time_left() -> None:
    result = searched(budget=4)
    progress = SearchProgress(SearchSettings(budget=8), io.StringIO())
    progress._start = 0.0
    assert progress.line(1.0) == "0 of 8 evaluations"
    for step in result.steps:
        progress.step(step)
    fastest = min(step.evaluation.latency_ms for step in result.steps)
    assert progress.line(120.0) == f"4 of 8 evaluations, about 2 min left, fastest {fastest:.3f} ms"


def test_time_left_is_the_shorter_of_budget_and_limit() -> None:
    progress = SearchProgress(SearchSettings(budget=None, time_limit_s=60), io.StringIO())
    progress._start = 0.0
    assert progress.line(20.0) == "0 evaluations, about 40 s left"
    assert progress.line(99.0) == "0 evaluations, about 0 s left"


def test_provisional_and_infeasible_cells_are_no_fastest() -> None:
    progress = SearchProgress(SearchSettings(budget=10), io.StringIO())
    for device in ("replay:formula?unstable=1", "replay:formula?infeasible=1"):
        for step in searched(device, budget=2).steps:
            progress.step(step)
    assert progress.done == 4
    assert "fastest" not in progress.line(1e9)


def test_a_terminal_gets_one_line_that_is_wiped_at_the_end() -> None:
    stream = Terminal()
    with SearchProgress(SearchSettings(budget=3), stream) as progress:
        for step in searched(budget=3).steps:
            progress.step(step)
    parts = stream.getvalue().split("\r\033[K")
    assert [part.split(",")[0] for part in parts] == ["", *(f"{n} of 3 evaluations" for n in (1, 2, 3)), ""]
    assert "\n" not in stream.getvalue()


def test_a_line_that_a_terminal_has_no_room_for_is_cut_so_that_all_of_it_can_be_wiped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    with LiveLine(stream) as line:
        line.show(lambda _now: "0123456789" * 3)
    assert stream.getvalue() == "\r\033[K0123456789012345678\r\033[K"


def test_a_log_gets_whole_lines_and_not_one_for_each_step() -> None:
    stream = io.StringIO()
    with SearchProgress(SearchSettings(budget=3), stream) as progress:
        steps = searched(budget=3).steps
        progress.step(steps[0])
        assert stream.getvalue() == ""
        progress._shown_at -= 6
        progress.step(steps[1])
        progress.step(steps[2])
    assert re.fullmatch(r"2 of 3 evaluations, about \d+ s left, fastest [\d.]+ ms\n", stream.getvalue())


def trust(device: str, shown: list[str], objective: DeviceLatencyObjective | None = None) -> TrustCheck | None:
    objective = objective or DeviceLatencyObjective(
        device, NETWORK, store=":memory:", protocol=MeasurementProtocol(min_runs=10)
    )
    return check_trust(objective.service, cell_question(CELL, NETWORK), shown.append)


def test_a_steady_device_is_trusted_with_both_figures_shown() -> None:
    shown: list[str] = []
    check = trust("replay:formula?seed=1&noise=0.001", shown)
    assert check is not None
    assert check.anew
    assert len(shown) == 2
    assert all(line.endswith("(10 runs), just now") for line in shown)
    assert re.fullmatch(r"0\.\d % apart: differences between networks beyond that are real", check.verdict())


def test_an_unstable_device_is_not_trusted() -> None:
    shown: list[str] = []
    check = trust("replay:formula?seed=1&unstable=1", shown)
    assert check is not None
    assert ["provisional" in line for line in shown] == [True, True]
    assert "runs scatter by more than the rule allows" in check.verdict()


def test_a_device_that_cannot_run_the_network_cannot_be_judged() -> None:
    assert trust("replay:formula?infeasible=1", []) is None


def test_a_second_check_takes_both_measurements_from_the_store() -> None:
    objective = DeviceLatencyObjective(
        "replay:formula?seed=1", NETWORK, store=":memory:", protocol=MeasurementProtocol(min_runs=10)
    )
    lines: list[str] = []
    first, again = trust("", lines, objective), trust("", lines, objective)
    assert first is not None
    assert again is not None
    assert (first.anew, again.anew) == (True, False)
    assert again.difference == pytest.approx(first.difference)
    assert ["from the store, 20" in line for line in lines] == [False, False, True, True]
    assert objective.store.info().measurements == 2


def test_this_machine_is_described_with_its_units() -> None:
    machine = describe_machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > 2**28
    text = "\n".join(machine.lines())
    assert re.search(r"\d+ cores, \d+ GiB, ", text)
    assert re.search(r"LiteRT \d.*, Python 3\.\d+.*, leti_opt .*, load average [\d.]+", text)
