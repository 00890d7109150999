"""What each command does when all goes well."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from leti_opt.architecture import Architecture
from leti_opt.cli.main import app
from leti_opt.network.config import NetworkConfig
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.store import LatencyStore
from tests.cli.commands import CELL, SIMULATED, TINY, leti_opt, printed_json
from tests.device.tiny_graphs import tiny_graph
from tests.network.tflite_facts import input_type, run

OTHER = "0-1,1-2:conv1x1-bn-relu"
SEARCH = ("search", "--device", SIMULATED, *TINY, "--budget", 8, "--seed", 1, "--optimizer", "RandomSearch")


def test_devices_are_listed_with_their_origin() -> None:
    text = leti_opt("devices", "list").stdout
    assert re.search(r"host-cpu .*measured", text)
    assert re.search(r"replay:formula .*simulated", text)
    rows = printed_json("devices", "list")
    assert [row["uri"] for row in rows][:2] == ["host-cpu", "replay:formula"]
    assert {row["origin"] for row in rows} == {"measured", "simulated", "replayed"}


def test_cells_are_measured_once_and_then_answered_from_the_store(folder: Path) -> None:
    arguments = ("measure", CELL, OTHER, "--device", SIMULATED, *TINY)
    first = printed_json(*arguments)
    again = printed_json(*arguments)
    assert [(row["status"], row["source"]) for row in first] == [("simulated", "device")] * 2
    assert [(row["status"], row["source"]) for row in again] == [("simulated", "store")] * 2
    assert [row["latency_ms"] for row in first] == [row["latency_ms"] for row in again]
    for row in first:
        assert row["min_ms"] <= row["median_ms"] <= row["p95_ms"] <= row["max_ms"]
        assert row["runs"] >= 100
        assert "SIMULATED" in row["device"]


def test_a_measured_line_says_how_sure_it_is_and_where_from() -> None:
    arguments = ("measure", CELL, "--device", SIMULATED, *TINY, "--min-runs", 50)
    first, again = (leti_opt(*arguments).stdout.splitlines() for _ in range(2))
    assert first[0].endswith(", latency in ms")
    assert "SIMULATED" in first[0]
    assert re.fullmatch(
        rf"  [\d.]+ ± [\d.]+ \(95 % interval of the mean\), std [\d.]+, median [\d.]+, p95 [\d.]+, 50 runs, "
        rf"simulated anew  {re.escape(CELL)}",
        first[1],
    )
    assert again == [line.replace("anew", "from the store") for line in first]


def test_measuring_again_is_a_measurement_of_its_own(folder: Path) -> None:
    arguments = ("measure", CELL, "--device", SIMULATED, *TINY)
    leti_opt(*arguments)
    (row,) = printed_json(*arguments, "--again")
    assert row["source"] == "device"
    with LatencyStore(folder / "latency.db") as store:
        assert store.info().measurements == 2


def test_a_hash_that_the_store_knows_names_its_cell(folder: Path) -> None:
    leti_opt("measure", CELL, "--device", SIMULATED, *TINY)
    name = Architecture.parse(CELL).graph_hash
    (row,) = printed_json("measure", name, "--device", SIMULATED, *TINY)
    assert (row["name"], row["source"]) == (name, "store")
    leti_opt("build", name, *TINY, "-o", "net.tflite")
    assert run((folder / "net.tflite").read_bytes()).shape == (1, 10)


def test_offline_answers_come_from_the_store_alone() -> None:
    arguments = ("measure", CELL, "--device", SIMULATED, *TINY)
    leti_opt(*arguments)
    (row,) = printed_json(*arguments, "--offline")
    assert row["source"] == "store"
    result = leti_opt("measure", OTHER, "--device", SIMULATED, *TINY, "--offline", code=2)
    assert "go online to measure it" in result.stderr


@pytest.mark.needs("litert")
def test_a_file_and_a_cell_are_measured_on_this_machine(folder: Path) -> None:
    (folder / "net.tflite").write_bytes(write_tflite(tiny_graph()))
    arguments = ["measure", "net.tflite", CELL, *TINY, "--device", "host-cpu", "--min-runs", 20, "--json"]
    first = [leti_opt_or_unstable(arguments) for _ in range(2)]
    assert [row["source"] for row in first[0]] == ["device", "device"]
    assert [row["source"] for row in first[1]] == ["store", "store"]
    for row in first[0]:
        assert row["status"] in ("measured", "provisional")
        assert row["runs"] >= 20
        assert row["min_ms"] > 0
        assert row["initialization_ms"] > 0


def leti_opt_or_unstable(arguments: list[object]) -> list[dict[str, object]]:
    """A busy machine may break the stability rule; then the exit code says so."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    rows: list[dict[str, object]] = json.loads(result.stdout)
    assert result.exit_code == (6 if any(row["status"] == "provisional" for row in rows) else 0), result.output
    return rows


def test_a_cell_is_built_as_a_tflite_file(folder: Path) -> None:
    text = leti_opt("build", CELL, *TINY, "-o", "net.tflite", "--seed", 3).stdout
    content = (folder / "net.tflite").read_bytes()
    assert text == f"net.tflite: {len(content):,} bytes, float32\n"
    assert run(content).shape == (1, 10)
    leti_opt("build", CELL, *TINY, "-o", "same.tflite", "--seed", 3)
    assert (folder / "same.tflite").read_bytes() == content
    assert sorted(path.name for path in folder.iterdir()) == ["net.tflite", "same.tflite"]


@pytest.mark.needs("tensorflow")
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_a_cell_is_built_converted_and_measured_as_a_keras_file(folder: Path) -> None:
    leti_opt("build", CELL, *TINY, "-o", "net.keras")
    text = leti_opt("convert", "net.keras", "-o", "net.tflite", "--precision", "int8").stdout
    content = (folder / "net.tflite").read_bytes()
    assert text == f"net.tflite: {len(content):,} bytes, int8\n"
    assert input_type(content) is np.int8
    (row,) = leti_opt_or_unstable(["measure", "net.keras", "--min-runs", 20, "--json"])
    assert (row["name"], row["source"]) == ("net.keras", "device")


def test_a_network_may_come_from_a_toml_file(folder: Path) -> None:
    (folder / "net.toml").write_text('preset = "small"\nfilters = 8\n[[operations]]\nlabel = "mine"\nsteps = []\n')
    shown = printed_json("space", "show", CELL, "--network", "net.toml")
    assert shown["parameters"] == printed_json("space", "show", CELL, "-n", "small", "--set", "filters=8")["parameters"]
    assert (
        printed_json("space", "show", CELL, "-n", "net.toml", "--set", "filters=16")["parameters"] > shown["parameters"]
    )


def test_a_cell_is_shown_with_its_costs() -> None:
    text = leti_opt("space", "show", CELL).stdout
    shown = printed_json("space", "show", CELL)
    assert shown["graph_hash"] == Architecture.parse(CELL).graph_hash
    assert (shown["vertices"], shown["edges"], shown["space"]) == (4, 5, "nasbench101")
    cell = {key: shown[key] for key in ("adjacency", "operations", "labels")}
    assert Architecture.from_dict(cell) == Architecture.parse(CELL)
    assert f"{shown['parameters']:,}" in text
    assert "\n  0 0 0 0  output\n" in text


def test_a_cell_of_nasbench201_is_shown_in_its_own_network() -> None:
    native = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    shown = printed_json("space", "show", native, "--space", "nasbench201")
    assert (shown["parameters"], shown["flops"]) == (1_531_546, 2 * 220_119_680)
    assert shown["network"] == "nasbench201"
    other = printed_json("space", "show", native, "--space", "nasbench201", "--network", "small")
    assert other["network"] == "small"


def test_a_search_ends_with_counts_a_table_and_a_picture(folder: Path) -> None:
    text = leti_opt(*SEARCH, "--picture", "front.png").stdout
    assert re.search(r"8 evaluations, \d different cells: \d simulated anew, 0 from the store", text)
    assert "Spearman correlation" in text
    assert "latency in ms (simulated)" in text
    assert text.endswith("picture: front.png\n")
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.iterdir() if "-" not in path.name) == ["front.png", "latency.db"]
    again = leti_opt(*SEARCH, "--picture", "front.png").stdout
    assert "nothing simulated anew" in again


def test_the_same_search_as_json_is_the_same_every_time(folder: Path) -> None:
    first = printed_json(*SEARCH, "--store", "one.db")
    second = printed_json(*SEARCH, "--store", "two.db")
    assert first["counts"]["evaluations"] == 8
    assert first["device"]["origin"] == "simulated"
    assert [step["position"] for step in first["steps"]] == list(range(8))
    assert first["front"] == sorted(first["front"], key=lambda row: row["latency_ms"])
    assert -1 <= first["flops_spearman"] <= 1
    assert first == second
    assert first["steps"] != printed_json(*SEARCH, "--seed", 2, "--store", "one.db")["steps"]


def test_a_search_of_nasbench201_takes_its_own_network(folder: Path) -> None:
    found = printed_json(
        *("search", "--device", SIMULATED, "--space", "nasbench201", "--budget", 3, "--optimizer", "RandomSearch")
    )
    assert all(row["flops"] < 500_000_000 for row in found["front"])
    with LatencyStore(folder / "latency.db") as store:
        (alias, *_) = store.aliases()
    assert alias.network_digest == NetworkConfig.nasbench201().digest


def test_a_search_may_be_limited_by_time(folder: Path) -> None:
    found = printed_json("search", "-d", SIMULATED, *TINY, "--time", "0.2s", "--optimizer", "RandomSearch")
    assert found["counts"]["evaluations"] >= 1


def test_a_store_says_what_it_holds() -> None:
    leti_opt(*SEARCH)
    facts = printed_json("store", "info", "latency.db")
    assert facts["measurements"] == facts["models"] > 3
    assert (facts["searches"], facts["evaluations"], facts["failures"]) == (1, 8, 0)
    text = leti_opt("store", "info").stdout
    assert f"{facts['measurements']} measurements (0 unstable)" in text
    assert "simulated" in text
    assert leti_opt("store", "info", "sqlite:///latency.db").stdout.splitlines()[1:] == text.splitlines()[1:]
