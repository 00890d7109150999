"""Whether networks over a resident block run as fast as whole files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from leti_opt.device.android import layouts
from leti_opt.device.android.layouts import (
    Layout,
    LayoutChoice,
    LayoutTimes,
    compare_layouts,
    known_layout,
    layouts_file,
    remember_layout,
)
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import AttemptError, InfeasibleError, InvalidInputError

MODELS = [MeasurableModel(key=name, name=name, renderer="test") for name in ("light", "heavy")]


@pytest.fixture
def choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "layouts.json"
    monkeypatch.setattr(layouts, "layouts_file", lambda: path)
    return path


def test_layouts_of_the_same_speed_leave_the_weights_on_the_phone() -> None:
    choice = compare_layouts(lambda _model, _layout: 10.0, MODELS)
    assert choice.layout == "resident"
    assert choice.reason.startswith("no network differs by over 1%")
    assert [len(times.file_ms) for times in choice.times] == [3, 3]


@pytest.mark.parametrize("factor", [1.02, 0.98])
def test_one_network_that_differs_by_two_percent_asks_for_whole_files(factor: float) -> None:
    def measure_ms(model: MeasurableModel, layout: Layout) -> float:
        return 10.0 * (factor if (model.name, layout) == ("heavy", "resident") else 1.0)

    choice = compare_layouts(measure_ms, MODELS)
    assert choice.layout == "file"
    assert choice.reason == f"the resident block changes heavy by {factor - 1:+.1%}: whole files are used"


def test_starts_that_vary_more_than_the_layouts_do_not_condemn_the_block_and_are_told() -> None:
    noise = iter(np.random.default_rng(1).normal(1, 0.05, 100))
    choice = compare_layouts(lambda _model, _layout: 10 * next(noise), MODELS)
    assert choice.layout == "resident"
    assert "would not show" in choice.reason
    assert [len(times.file_ms) for times in choice.times] == [9, 9]


def test_a_difference_far_beyond_the_noise_is_seen_in_spite_of_it() -> None:
    draws = iter(np.random.default_rng(2).normal(1, 0.02, 100))
    choice = compare_layouts(lambda _model, layout: 10 * next(draws) * (1.2 if layout == "resident" else 1), MODELS)
    assert choice.layout == "file"


def test_layouts_that_differ_by_half_a_percent_pass() -> None:
    draws = iter(np.random.default_rng(3).normal(1, 0.0005, 100))
    choice = compare_layouts(lambda _model, layout: 10 * next(draws) * (1.005 if layout == "resident" else 1), MODELS)
    assert choice.layout == "resident"
    assert choice.times[0].differs is False


def test_a_steady_warming_of_the_phone_favours_neither_layout() -> None:
    latencies = itertools.count(10.0, 0.02)
    choice = compare_layouts(lambda _model, _layout: next(latencies), MODELS[:1], starts=4)
    assert abs(choice.times[0].difference) < 0.0001


def test_layouts_take_turns_and_each_comes_first_every_second_time() -> None:
    order: list[str] = []

    def measure_ms(model: MeasurableModel, layout: Layout) -> float:
        order.append(layout)
        return 1.0

    compare_layouts(measure_ms, MODELS[:1], starts=3)
    assert order == ["resident", "file", "file", "resident", "resident", "file"]


def test_a_network_that_the_device_refuses_is_left_out() -> None:
    def measure_ms(model: MeasurableModel, layout: Layout) -> float:
        if model.name == "heavy":
            raise InfeasibleError("MAX_POOL_2D is not delegated")
        return 1.0

    choice = compare_layouts(measure_ms, MODELS)
    assert choice.layout == "resident"
    assert choice.times[1] == LayoutTimes("heavy", refused="MAX_POOL_2D is not delegated")


def test_a_network_that_only_the_resident_layout_makes_infeasible_asks_for_whole_files() -> None:
    def measure_ms(model: MeasurableModel, layout: Layout) -> float:
        if layout == "resident":
            raise InfeasibleError("no memory for 200 MB")
        return 1.0

    choice = compare_layouts(measure_ms, MODELS[:1])
    assert choice.layout == "file"
    assert choice.reason == "the resident block makes the phone refuse light: whole files are used"


def test_without_any_network_that_runs_whole_files_are_used() -> None:
    def measure_ms(model: MeasurableModel, layout: Layout) -> float:
        raise InfeasibleError("refused")

    choice = compare_layouts(measure_ms, MODELS)
    assert choice.layout == "file"
    assert choice.reason.startswith("no network ran")


def test_a_start_without_figures_is_not_taken_for_anything() -> None:
    def measure_ms(model: MeasurableModel, layout: Layout) -> float:
        raise AttemptError("killed")

    with pytest.raises(AttemptError):
        compare_layouts(measure_ms, MODELS)


@pytest.mark.parametrize(("starts", "most"), [(1, 9), (3, 2)])
def test_too_few_starts_are_refused_before_anything_is_measured(starts: int, most: int) -> None:
    def measure_ms(model: MeasurableModel, layout: Layout) -> float:
        raise AssertionError("measured")

    with pytest.raises(InvalidInputError):
        compare_layouts(measure_ms, MODELS, starts, most)
    with pytest.raises(InvalidInputError):
        compare_layouts(measure_ms, [])


def test_wrong_verdicts_of_equal_layouts_are_rare() -> None:
    draws: Iterator[float] = iter(np.random.default_rng(4).normal(1, 0.01, 20000))
    wrong = sum(
        compare_layouts(lambda _model, _layout: 10 * next(draws), MODELS[:1]).layout == "file" for _ in range(400)
    )
    assert wrong <= 20


def test_a_choice_is_remembered_for_one_phone_program_and_unit(choices: Path) -> None:
    times = (LayoutTimes("light", (1.0, 1.0), (1.0, 1.0)),)
    assert known_layout("unit-1", "a" * 64, "cpu") is None
    assert remember_layout("unit-1", "a" * 64, "cpu", LayoutChoice("resident", times)) == choices
    remember_layout("unit-1", "a" * 64, "gpu", LayoutChoice("file", times))
    assert known_layout("unit-1", "a" * 64, "cpu") == "resident"
    assert known_layout("unit-1", "a" * 64, "gpu") == "file"
    assert known_layout("unit-1", "b" * 64, "cpu") is None
    assert known_layout("unit-2", "a" * 64, "cpu") is None


def test_the_latest_choice_counts_and_keeps_its_figures(choices: Path) -> None:
    times = (LayoutTimes("light", (1.0, 1.1), (1.0, 1.2)),)
    remember_layout("unit-1", "a", "cpu", LayoutChoice("resident", times))
    remember_layout("unit-1", "a", "cpu", LayoutChoice("file", times))
    assert known_layout("unit-1", "a", "cpu") == "file"
    (entry,) = json.loads(choices.read_text())["phones"].values()
    assert entry["networks"][0]["file_ms"] == [1.0, 1.2]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 2, "phones": {}}', '{"version": 1, "phones": {"a": 1}}']
)
def test_a_damaged_file_of_choices_is_told_and_left_alone(choices: Path, content: str) -> None:
    choices.parent.mkdir()
    choices.write_text(content)
    with pytest.raises(InvalidInputError, match="remove it"):
        known_layout("unit-1", "a", "cpu")
    with pytest.raises(InvalidInputError, match="remove it"):
        remember_layout("unit-1", "a", "cpu", LayoutChoice("file", ()))
    assert choices.read_text() == content


def test_choices_are_kept_in_the_users_config_folder() -> None:
    assert layouts_file().name == "layouts.json"
    assert "leti_opt" in layouts_file().parts
