"""Every example runs, and says what it promises."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    ["own_operation", "minimize_latency", "accuracy_and_latency", "dataset"],
)
def test_the_example_prints_cells_with_their_latency(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(name).main(device="replay:formula?seed=1", store=str(tmp_path / "latency.db"), budget=12)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(" ms" in line for line in lines)


@pytest.mark.slow
def test_the_predictor_learns_from_the_data_set_predicts_the_whole_space_and_asks_a_device_about_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load("predictor").main(device="replay:formula?seed=1", store=str(tmp_path / "latency.db"), budget=12)
    judged, learned, *predicted, searched, asked = capsys.readouterr().out.splitlines()
    assert float(judged.split("%")[0]) > 50
    assert "2,400 measured figures" in learned
    assert len(predicted) == 3
    assert all("ms (predicted)" in line and "among 423,624" in line for line in (*predicted,))
    assert "ms (predicted)" in searched
    assert asked.endswith("(simulated)")


def test_every_example_is_tested() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {"own_operation", "minimize_latency", "accuracy_and_latency", "dataset", "predictor", "demo"}


def test_the_first_screen_has_its_parts_in_order_and_the_second_run_measures_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--folder", str(tmp_path / "a b"), "--budget", "5"]
    command += ["--device", "replay:formula?seed=1"]
    screens = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        screens.append(done.stdout)
    parts = ["This machine", "measured twice", "% apart", "evaluations", "FLOPs", "latency in ms", "picture", "Next"]
    for screen in screens:
        places = [screen.index(part) for part in parts]
        assert places == sorted(places)
        assert "SIMULATED" in screen
    assert "5 simulated anew" in screens[0]
    assert "just now" in screens[0]
    assert "nothing simulated anew" in screens[1]
    assert "from the store," in screens[1]
    assert (tmp_path / "a b" / "front.png").read_bytes().startswith(b"\x89PNG")
