"""``leti-opt lut``: what it prints, keeps, draws and refuses, on this machine's CPU with few runs."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from leti_opt import Architecture, LatencyTable, NetworkConfig, build_layer_graph, write_tflite
from leti_opt.campaign.lut_work import LutStep
from leti_opt.cli.lut_steps import StudyProgress
from leti_opt.predictor.lut_pieces import Cuttable
from leti_opt.predictor.lut_sum import TableEntry
from tests.cli.commands import TINY, leti_opt, printed_json, refusal

CELL, OTHER = "0-1,1-2:maxpool3x3", "0-1,1-2:conv1x1-bn-relu"
ANY = {0, 6}
"""A busy machine may leave a figure unstable, which is said by the exit code 6."""


def tflite(path: Path, cell: str = CELL) -> Path:
    config = NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 8))
    path.write_bytes(write_tflite(build_layer_graph(Architecture.parse(cell), config)))
    return path


def kept_table(path: Path, file: Path) -> Path:
    pieces = Cuttable(file).kernels.all
    entries = {each.key: TableEntry(each.key, each.operation, "", latency_ms=1.5, std_ms=0.1) for each in pieces}
    return LatencyTable(list(entries.values()), "kernel").save(path)


@pytest.mark.parametrize("terminal", [True, False])
def test_steps_are_a_line_that_changes_on_a_terminal_and_the_last_one_elsewhere(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with StudyProgress() as progress:
        for done in (1, 2):
            progress.step(LutStep(done, 2, f"piece {done}", "device", 0.5 * done))
    first, last = "1 of 2: piece 1 0.5000 ms (device)", "2 of 2: piece 2 1.0000 ms (device)"
    shown = f"\r\033[K{first}\r\033[K{last}\r\033[K" if terminal else f"{last}\n"
    assert stream.getvalue() == shown


def run(folder: Path, *arguments: object) -> str:
    """A study with a store and few runs; whether the machine was busy does not matter."""
    from typer.testing import CliRunner

    from leti_opt.cli.main import app

    given = ["lut", *arguments, "--store", folder / "latency.db", "--min-runs", "20", "--pace", "off"]
    found = CliRunner().invoke(app, [str(each) for each in given])
    assert found.exit_code in ANY, f"{found.exit_code}: {found.output} {found.exception!r}"
    return found.stdout


@pytest.mark.needs("litert")
def test_a_file_is_summed_from_its_kernels_with_a_table_and_a_picture(tmp_path: Path) -> None:
    file = tflite(tmp_path / "net.tflite")
    table, picture = tmp_path / "table.parquet", tmp_path / "costs.png"
    text = run(tmp_path, file, "--granularity", "kernel", "--table", table, "--picture", picture)
    assert "2 kernel" in text
    assert "direct, ms" in text
    assert "MAX_POOL_2D" in text
    assert len(LatencyTable.load(table)) == 2
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert not run(tmp_path, file, "--granularity", "kernel", "--plan").count("2 to measure")
    assert "3 measured already, 0 to measure" in run(tmp_path, file, "--granularity", "kernel", "--plan")


@pytest.mark.needs("tensorflow")
@pytest.mark.needs("litert")
@pytest.mark.slow
def test_cells_are_studied_in_every_granularity(tmp_path: Path) -> None:
    import json

    (found,) = json.loads(run(tmp_path, CELL, OTHER, *TINY, "--json"))
    assert [model["name"] for model in found["models"]] == [CELL, OTHER]
    for model in found["models"]:
        layer, kernel, residual = model["sums"]
        assert layer["latency_ms"] > 0
        assert kernel["latency_ms"] > 0
        assert layer["pieces"] > kernel["pieces"]
        assert residual["latency_ms"] is None
        assert "takes 2 other networks" in residual["reason"]


def test_a_table_predicts_a_file(tmp_path: Path) -> None:
    file = tflite(tmp_path / "net.tflite")
    table = kept_table(tmp_path / "table.parquet", file)
    assert f"{file}: 3.000 ± 0.141 ms (sum of kernel entries" in leti_opt("lut", "predict", table, file).stdout
    data = printed_json("lut", "predict", table, file, "--json")
    assert (data["latency_ms"], data["missing"]) == (3.0, [])


def test_a_prediction_lists_what_the_table_lacks(tmp_path: Path) -> None:
    table = kept_table(tmp_path / "table.parquet", tflite(tmp_path / "net.tflite"))
    other = tflite(tmp_path / "other.tflite", "0-1,1-2,2-3:maxpool3x3,conv3x3-bn-relu")
    text = leti_opt("lut", "predict", table, other, code=5).stdout
    assert "no latency, 1 entries are missing; what is there takes 3.0000 ms" in text
    assert "missing: CONV_2D 8x8x8 -> 8x8x8" in text
    assert "the table has no such entry" in text
    data = printed_json("lut", "predict", table, other, "--json", code=5)
    assert (data["latency_ms"], data["partial_ms"], len(data["missing"])) == (None, 3.0, 1)


def test_the_word_study_may_be_left_out(tmp_path: Path) -> None:
    file = tflite(tmp_path / "net.tflite")
    options = ("--granularity", "kernel", "--plan", "--store", tmp_path / "latency.db", "--json")
    assert printed_json("lut", file, *options) == printed_json("lut", "study", file, *options)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nothing.tflite"], "nothing.tflite"),
        (["nothing.keras"], "there is no file nothing.keras"),
        (["0-1,1-2:conv9x9"], "conv9x9"),
        ([CELL, CELL], "named twice"),
        ([CELL, "--granularity", "layer,operator"], "unknown granularity 'operator'"),
        ([CELL, "--precision", "int3"], "unknown precision 'int3'"),
        ([CELL, "--device", "replay:formula?seed=1"], "runs no files"),
        ([CELL, "--table", "table.csv"], "must end with .parquet"),
        ([CELL, "--picture", "costs.svg"], "must end with .png"),
        ([CELL, "--picture", "nowhere/costs.png"], "cannot write nowhere/costs.png"),
        ([CELL, "--device", "host-cpu", "--device", "host-cpu?threads=2", "--table", "t.parquet"], "of one device"),
        ([CELL, "--min-runs", "0"], "min_runs must be 1 or more"),
        ([CELL, "--table", "t.parquet"], "a residual is fitted on 2 networks or more"),
        (["./saved/"], "./saved/ is a folder, perhaps a SavedModel"),
    ],
)
def test_wrong_input_is_refused(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    assert reason in refusal("lut", *arguments, "--network", "small")


@pytest.mark.needs("tensorflow")
def test_a_folder_is_told_to_be_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    assert "saved is a folder, perhaps a SavedModel" in refusal("lut", "saved", "--network", "small")


@pytest.mark.needs("tensorflow")
def test_an_unknown_network_is_refused_with_the_nearest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'mobilenetv2'?" in refusal("lut", "mobilnetv2")


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("name", ["MobileNetV2", "mobilenetv2"])
def test_published_networks_are_made_for_images_of_224(name: str) -> None:
    from leti_opt.cli.lut_models import application

    assert application(name).input_shape == (None, 224, 224, 3)
