"""``leti-opt lut cells`` and ``leti-opt predictor --kind lut``: from a space's blocks to cells and files predicted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from leti_opt import Architecture, LatencyTable, NetworkConfig, build_layer_graph, write_tflite
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.cli.predictor_options import table_story
from leti_opt.predictor.lut import TableOrigin
from leti_opt.predictor.lut_cells import pieces_of
from leti_opt.predictor.lut_predictor import LutPredictor
from leti_opt.predictor.lut_sum import TableEntry
from leti_opt.predictor.predictor import load_predictor
from tests.cli.commands import leti_opt, printed_json, refusal
from tests.cli.test_lut import ANY
from tests.cli.test_predictor import dataset

POOL, CONV = "0-1,1-2:maxpool3x3", "0-1,1-2:conv3x3-bn-relu"
TINY = ("--network", "small", "--set", "filters=8", "--set", "input_shape=[8,8,3]")
NETWORK = NetworkConfig.small(filters=8, input_shape=(8, 8, 3))


def lut(path: Path, cells: list[Architecture], network: NetworkConfig = NETWORK) -> Path:
    pieces = pieces_of(cells, network)
    entries = [
        TableEntry(piece.key, piece.operation, piece.description, latency_ms=0.5, std_ms=0.1, mean_error_ms=0.02)
        for piece in pieces
    ]
    return LatencyTable(entries, "kernel", origin=TableOrigin("a phone")).save(path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return lut(tmp_path / "table.parquet", [Architecture.parse(POOL)])


@pytest.fixture
def saved(table: Path, tmp_path: Path) -> Path:
    """A predictor that says what the table says."""
    path = tmp_path / "lut.predictor"
    told = leti_opt("predictor", "fit", "--kind", "lut", "--table", table, *TINY, "--out", path).stdout
    assert (
        f"LutPredictor {load_predictor(path).training_digest_[:12]}, learned 8 measured figures of kernels on a" in told
    )
    return path


@pytest.mark.needs("litert")
def test_blocks_of_cells_are_measured_into_a_table_that_predicts_them(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from leti_opt.cli.main import app

    cells, table = tmp_path / "cells.npz", tmp_path / "table.parquet"
    ArchitectureTable.from_architectures([Architecture.parse(cell) for cell in (POOL, CONV)]).save(cells)
    named = ["lut", "--cells", cells, *TINY, "--store", tmp_path / "latency.db"]
    assert "the networks of 2 cells consist of 10 different kernels; 0 measured already, 10 to measure" in (
        leti_opt(*named, "--plan").stdout
    )
    measuring = [*named, "--table", table, "--min-runs", "20", "--pace", "off"]
    found = CliRunner().invoke(app, [str(each) for each in measuring])
    assert found.exit_code in ANY, f"{found.exit_code}: {found.output} {found.exception!r}"
    assert f"{table}: 10 kernel entries of " in found.stdout
    kept = LatencyTable.load(table)
    assert LutPredictor.of_table(NETWORK, kept).lacking([Architecture.parse(POOL), Architecture.parse(CONV)]) == ()
    plan = printed_json(*named, "--min-runs", "20", "--plan")
    assert (plan["stored"] + plan["to_measure"], plan["refused"]) == (10, [])
    assert plan["stored"] > 0, "what was unstable, on a busy machine, is to be measured again; the rest is not"


def test_a_table_alone_predicts_cells_and_says_what_it_cannot(saved: Path) -> None:
    data = printed_json("predictor", "predict", saved, POOL, CONV, code=5)
    assert [cell["status"] for cell in data["cells"]] == ["predicted", "unpredicted"]
    assert data["cells"][0]["predicted_ms"] == pytest.approx(0.5 * 8)
    assert data["cells"][1]["predicted_ms"] is None
    assert data["training"]["device"] == "kernels on a phone"


def test_intervals_that_know_of_the_table_alone_are_said_to_be_so(saved: Path, tmp_path: Path) -> None:
    assert "no network was measured whole" in leti_opt("predictor", "predict", saved, POOL).stderr
    file = tmp_path / "pool.tflite"
    file.write_bytes(write_tflite(build_layer_graph(Architecture.parse(POOL), NETWORK)))
    assert "no network was measured whole" in leti_opt("predictor", "predict", saved, file).stderr


def test_unstable_and_failed_pieces_are_no_plain_figures_in_the_story(tmp_path: Path) -> None:
    pieces = pieces_of([Architecture.parse(POOL)], NETWORK)
    entries = [TableEntry(piece.key, piece.operation, "", latency_ms=0.5) for piece in pieces]
    entries[0] = replace(entries[0], stable=False)
    entries[1] = replace(entries[1], state="failed", latency_ms=None, reason="no pools here")
    LatencyTable(entries, "kernel").save(tmp_path / "table.parquet")
    story = table_story(tmp_path / "table.parquet")
    assert story.statement() == "7 measured figures of kernels on an unknown device (1 of them unstable)"


def test_a_file_is_predicted_like_its_cell(saved: Path, tmp_path: Path) -> None:
    files = []
    for name, cell in (("pool", POOL), ("conv", CONV)):
        files.append(tmp_path / f"{name}.tflite")
        files[-1].write_bytes(write_tflite(build_layer_graph(Architecture.parse(cell), NETWORK)))
    cell = printed_json("predictor", "predict", saved, POOL)["cells"][0]
    (row,) = printed_json("predictor", "predict", saved, files[0])["files"]
    assert row["file"] == str(files[0])
    assert [row[name] for name in ("predicted_ms", "lower_ms", "upper_ms")] == pytest.approx(
        [cell[name] for name in ("predicted_ms", "lower_ms", "upper_ms")]
    )
    lines = leti_opt("predictor", "predict", saved, *files, code=5).stdout.splitlines()
    assert lines[1].split("\t") == ["predicted ms", "90 % from", "to", "status", "file"]
    assert [line.split("\t")[3] for line in lines[2:]] == ["predicted", "unpredicted"]


def test_figures_teach_what_the_sum_misses_and_kinds_are_compared(tmp_path: Path) -> None:
    network = NetworkConfig.small()
    cells = {"max_vertices": 4, "sample": 30}
    devices = [{"uri": "replay:formula?seed=1", "name": "good"}]
    data = dataset(tmp_path, "small", devices, cells)
    texts = parquet.read_table(data)["cell"].to_pylist()
    table = lut(tmp_path / "table.parquet", [Architecture.parse(text) for text in texts], network)
    path = tmp_path / "lut.predictor"
    given = [data, "--network", "small", "--device", "good"]
    made = printed_json("predictor", "fit", *given, "--kind", "lut", "--table", table, "--out", path)
    assert (made["predictor"], made["training"]["origin"]) == ("LutPredictor", "simulated")
    assert [other["device"] for other in made["training"]["others"]] == ["kernels on a phone"]
    told = leti_opt("predictor", "predict", path, texts[0])
    assert "kernels on a phone" in told.stdout
    assert "no network was measured whole" not in told.stderr
    compared = printed_json("predictor", "compare", *given, "--table", table, "--splits", "1")
    assert [row["kind"] for row in compared["predictors"]][-1] == "lut"
    judged = printed_json("predictor", "evaluate", *given, "--kind", "lut", "--table", table, "--splits", "1")
    for found in (compared, judged):
        assert [other["device"] for other in found["learned"]["others"]] == ["kernels on a phone"]
    assert judged["predictors"][0]["kind"] == "lut"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["lut", "cells", "--table", "t.parquet"], "name a --space or a file of --cells: one of the two"),
        (["lut", "cells", "--space", "nasbench101"], "with --table, or ask for --plan"),
        (["lut", "--space", "nasbench101", "--table", "t.csv"], "must end with .parquet"),
        (["lut", "--space", "nasbench102", "--plan"], "nasbench102"),
        (["lut", "--space", "nasbench101", "--plan", "--granularity", "residual"], "granularity layer or kernel"),
        (["predictor", "fit", "--kind", "lut", "--out", "x"], "name it with --table"),
        (["predictor", "fit", "--kind", "flops", "--table", "t.parquet", "--out", "x"], "only --kind lut takes"),
        (["predictor", "fit", "--kind", "lut", "--table", "t.parquet", "--out", "x"], "there is no file t.parquet"),
        (["predictor", "compare", "d.parquet", "--kind", "flops", "--table", "t.parquet"], "only --kind lut takes"),
    ],
)
def test_wrong_input_is_refused(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reason in refusal(*arguments)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.tflite", POOL], "files are predicted by themselves"),
        (["a.tflite", "--space", "nasbench101"], "files are predicted by themselves"),
        (["a.keras"], "is no .tflite file; 'leti-opt convert a.keras' makes one"),
        (["a.tflite"], "a.tflite"),
    ],
)
def test_files_that_cannot_be_predicted_are_refused(arguments: list[str], reason: str, saved: Path) -> None:
    assert reason in refusal("predictor", "predict", saved, *arguments)
