"""``leti-opt measure`` over many networks and devices: the table, what fails, costs, forecasts and operators."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leti_opt.architecture import Architecture
from leti_opt.cli.common import EXIT_INPUT
from leti_opt.cli.measure_row import MeasuredRow, NetworkFacts, answered_row, named_network
from leti_opt.cli.measure_table import (
    MeasureTable,
    bytes_text,
    count_text,
    ms_text,
    profile_lines,
    single_lines,
    status_text,
)
from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.run_batch import RunBatch
from leti_opt.device.simulated import SimulatedDevice
from leti_opt.errors import DeviceError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.gpu_support import gpu_support
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.objective.answers import Answer, Source
from leti_opt.objective.operator_profile import OperatorTime
from leti_opt.store import LatencyStore
from tests.cli.commands import CELL, SIMULATED, TINY, leti_opt, printed_json, refusal
from tests.device.tiny_graphs import tiny_graph

OTHER = "0-1,1-2:conv1x1-bn-relu"
SECOND = "replay:formula?seed=2"
UNSTABLE = "replay:formula?unstable=1"
INFEASIBLE = "replay:formula?infeasible=1"
BOTH = ("measure", CELL, OTHER, "-d", SIMULATED, "-d", SECOND, *TINY)
SMALL = NetworkConfig.small(filters=8, input_shape=(8, 8, 3))


def table_lines(text: str) -> list[str]:
    """The rows below the headings."""
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.endswith("model") and "status" in line)
    return lines[start + 1 :]


def test_every_network_is_measured_on_every_device_and_the_name_ends_its_line(folder: Path) -> None:
    rows = table_lines(leti_opt(*BOTH).stdout)
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [
        (uri, cell) for cell in (CELL, OTHER) for uri in (SIMULATED, SECOND)
    ]
    with LatencyStore(folder / "latency.db") as store:
        assert store.info().measurements == 4


def test_the_heading_says_which_plus_minus_it_is_and_what_each_device_is() -> None:
    lines = leti_opt(*BOTH).stdout.splitlines()
    assert lines[0] == "latency in ms; ± is half the width of the 95 % interval of the mean"
    assert lines[1].startswith(f"{SIMULATED}: ")
    assert "SIMULATED" in lines[1]
    assert lines[2].startswith(f"{SECOND}: ")


def test_a_row_agrees_with_the_json_and_that_with_the_store(folder: Path) -> None:
    text = table_lines(leti_opt(*BOTH).stdout)
    rows = printed_json(*BOTH)
    for line, row in zip(text, rows, strict=True):
        assert f" {ms_text(row['mean_ms'])} ± {ms_text(row['mean_error_ms'])} " in line
        assert row["latency_ms"] == row["mean_ms"]
        assert row["relative_error"] == pytest.approx(row["mean_error_ms"] / row["mean_ms"])
    with LatencyStore(folder / "latency.db") as store:
        assert sorted(store.to_frame()["mean_ms"]) == sorted(row["mean_ms"] for row in rows)


def test_one_device_given_twice_is_one_device() -> None:
    rows = printed_json("measure", CELL, "-d", SIMULATED, "-d", SIMULATED, *TINY)
    assert [row["uri"] for row in rows] == [SIMULATED]


@pytest.mark.parametrize("statistic", ["mean", "median", "p95"])
def test_the_statistic_that_is_asked_for_comes_first(statistic: str) -> None:
    arguments = ("measure", CELL, "-d", SIMULATED, *TINY, "--statistic", statistic)
    (row,) = printed_json(*arguments)
    assert (row["statistic"], row["latency_ms"]) == (statistic, row[f"{statistic}_ms"])
    heading = next(line for line in leti_opt(*BOTH, "--statistic", statistic).stdout.splitlines() if "status" in line)
    assert heading.split()[1] == statistic


def test_a_relative_error_ends_with_fewer_runs_and_an_interval_that_is_that_narrow() -> None:
    (row,) = printed_json("measure", CELL, "-d", SIMULATED, *TINY, "--relative-error", "1%")
    assert row["runs"] < 300
    assert row["mean_error_ms"] <= 0.01 * row["mean_ms"]
    assert row["runs_per_sample"] > 1
    text = leti_opt(*BOTH, "--relative-error", "1%").stdout
    assert re.search(rf" {row['runs']} by {row['runs_per_sample']} ", text)
    assert "timed as one" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--relative-error", "much"), "'much' is no share; write for instance 1%"),
        (("--relative-error", "150%"), "'150%' is 150 %, more than all; write for instance 5% or 0.05"),
        (("--relative-error", "1%", "--min-runs", "300"), "give min_runs or relative_error, not both"),
        (("--statistic", "p5"), "unknown statistic 'p5'"),
        (("--gpu", "paper-2021"), "unknown GPU rules 'paper-2021'; did you mean 'paper-2020'"),
        (("--offline", "--again"), "--again measures, and --offline does not"),
        (("--offline", "--retry-unstable"), "--retry-unstable measures, and --offline does not"),
        (("--profile",), f"{SIMULATED} cannot time single operators"),
        (("-d", "hots-cpu"), "did you mean 'host-cpu'?"),
    ],
    ids=" ".join,
)
def test_wrong_options_are_refused_before_anything_is_measured(
    options: tuple[str, ...], words: str, folder: Path
) -> None:
    assert words in refusal("measure", CELL, "-d", SIMULATED, *TINY, *options)
    assert list(folder.iterdir()) == []


def test_an_unreadable_file_is_refused_before_anything_is_measured(folder: Path) -> None:
    (folder / "text.tflite").write_text("no model")
    assert "text.tflite is not a TFLite model" in refusal("measure", CELL, "text.tflite", "-d", SIMULATED, *TINY)
    assert [path.name for path in folder.iterdir()] == ["text.tflite"]


def test_a_network_that_fails_loses_no_other_and_the_worst_exit_code_wins(folder: Path) -> None:
    (folder / "net.tflite").write_bytes(write_tflite(tiny_graph()))
    devices = ("-d", SIMULATED, "-d", UNSTABLE, "-d", INFEASIBLE)
    rows = printed_json("measure", CELL, "net.tflite", OTHER, *devices, *TINY, code=2)
    expected = ["simulated", "provisional", "infeasible", *["refused"] * 3, "simulated", "provisional", "infeasible"]
    assert [row["status"] for row in rows] == expected
    assert [row["exit_code"] for row in rows] == [0, 6, 5, 2, 2, 2, 0, 6, 5]
    assert all(("a formula needs" in (row["failure"] or "")) == (row["status"] == "refused") for row in rows)
    assert [row["status"] for row in printed_json("measure", CELL, OTHER, *devices, *TINY, code=5)] == [
        status for status in expected if status != "refused"
    ]
    printed_json("measure", CELL, "-d", SIMULATED, "-d", UNSTABLE, *TINY, code=6)


def test_rows_of_a_gone_device_say_so_and_it_is_not_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked = SimulatedDevice.load, []

    def load(self: SimulatedDevice, model: object) -> object:
        asked.append(self.uri)
        if self.uri == SECOND:
            raise DeviceError("the phone is unplugged; plug it in")
        return plain(self, model)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedDevice, "load", load)
    text = leti_opt(*BOTH, code=3).stdout
    assert asked == [SIMULATED, SECOND, SIMULATED]
    assert [line.split()[0] for line in table_lines(text)] == [SIMULATED, SECOND, "the"] * 2
    assert text.count("the phone is unplugged") == 2
    with LatencyStore(folder / "latency.db") as store:
        assert store.info().measurements == 2


def test_offline_says_which_rows_the_store_does_not_know() -> None:
    arguments = ("measure", CELL, "-d", SIMULATED, *TINY)
    leti_opt(*arguments)
    rows = printed_json("measure", CELL, OTHER, "-d", SIMULATED, *TINY, "--offline", code=2)
    assert [row["status"] for row in rows] == ["simulated", "not stored"]
    assert "go online to measure it" in rows[1]["failure"]


def test_what_the_store_holds_as_unstable_is_measured_again_only_when_asked_for(folder: Path) -> None:
    arguments = ("measure", CELL, "-d", UNSTABLE, *TINY)
    assert [printed_json(*arguments, code=6)[0]["source"] for _ in range(2)] == ["device", "store"]
    leti_opt(*arguments, "--retry-unstable", code=6)
    with LatencyStore(folder / "latency.db") as store:
        assert store.info().measurements == 2
    stable = ("measure", CELL, "-d", SIMULATED, *TINY)
    assert [printed_json(*stable, "--retry-unstable")[0]["source"] for _ in range(2)] == ["device", "store"]


def test_costs_of_a_cell_and_of_its_file_are_those_of_the_network(folder: Path) -> None:
    graph = build_layer_graph(Architecture.parse(CELL), SMALL)
    (folder / "net.tflite").write_bytes(write_tflite(graph))
    cell, file = printed_json("measure", CELL, "net.tflite", "-d", SIMULATED, *TINY, code=2)
    cost = network_cost(graph)
    assert (cell["flops"], cell["parameters"], cell["peak_memory_bytes"]) == (
        cost.flops,
        cost.parameters,
        cost.peak_memory_bytes,
    )
    assert file["flops"] == cost.flops
    assert 0 < file["parameters"] < cost.parameters


def test_costs_that_are_not_known_are_dashes_with_the_reason_never_zeros(folder: Path) -> None:
    (folder / "net.tflite").write_bytes(open_ended_file())
    facts = named_network("net.tflite", SMALL, "latency.db", "tflite-current").facts
    assert (facts.flops, facts.parameters, facts.peak_memory_bytes) == (None, None, None)
    assert facts.costs_unknown
    lines = single_lines(MeasuredRow("net.tflite", "measured", "store", "here", rule="kept", facts=facts))
    assert f"  costs not known: {facts.costs_unknown}" in lines
    table = MeasureTable([("net.tflite", facts)], ["here"])
    line = table.lines(MeasuredRow("net.tflite", "measured", "store", "here", uri="here", rule="kept", facts=facts))[0]
    assert line.split("store")[1].split()[:3] == ["–", "–", "–"]
    assert f"net.tflite: costs not known: {facts.costs_unknown}" in table.notes([])


def open_ended_file() -> bytes:
    """A network whose result's size follows from a value that is put in at run time."""
    import flatbuffers
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(write_tflite(tiny_graph()), 0)
    graph = model.subgraphs[0]
    shape, result = schema.TensorT(), schema.TensorT()
    shape.name, shape.shape, shape.type = b"shape", np.array([2], np.int32), schema.TensorType.INT32
    result.name, result.shape, result.type = b"result", np.array([1, 1], np.int32), schema.TensorType.FLOAT32
    result.shapeSignature = np.array([-1, -1], np.int32)
    graph.tensors += [shape, result]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs = np.array([graph.outputs[0], len(graph.tensors) - 2], np.int32)
    operator.outputs = np.array([len(graph.tensors) - 1], np.int32)
    graph.operators.append(operator)
    graph.inputs = np.array([*graph.inputs, len(graph.tensors) - 2], np.int32)
    graph.outputs = operator.outputs
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_the_first_refusal_of_the_forecast_is_named_with_its_reason() -> None:
    cell = "0-1,0-2,0-3,1-3,2-3,3-4:conv1x1-bn-relu,conv1x1-bn-relu,maxpool3x3"
    options = (*TINY, "--set", "chained_adds=false", "-d", SIMULATED)
    config = NetworkConfig.small(filters=8, input_shape=(8, 8, 3), chained_adds=False)
    refusals = gpu_support(build_layer_graph(Architecture.parse(cell), config), "paper-2020").refusals
    text = leti_opt("measure", cell, CELL, *options, "--gpu", "paper-2020").stdout
    assert re.search(rf" no: {refusals[0].operator}\s+{re.escape(cell)}$", text, re.MULTILINE)
    assert f"would refuse {refusals[0].operator} of {refusals[0].layer}: {refusals[0].reason}" in text
    refused, taken = printed_json("measure", cell, CELL, *options, "--gpu", "paper-2020")
    assert [item["layer"] for item in refused["gpu_refusals"]] == [refusal.layer for refusal in refusals]
    assert (taken["gpu_refusals"], taken["gpu_rules"]) == ([], "paper-2020")
    assert "GPU" not in leti_opt("measure", cell, CELL, *options, "--gpu", "none").stdout


LONG = "0-1,0-2,1-2,1-3,2-3:" + "very-long-operation," * 20
ROW = MeasuredRow(
    LONG,
    "measured",
    "device",
    "here",
    "host-cpu",
    "kept",
    "mean",
    12.3456,
    12.3456,
    0.05,
    0.3,
    12,
    12.3,
    13,
    14,
    300,
    1,
)


@pytest.mark.parametrize("width", [None, 200, 80])
@pytest.mark.parametrize("devices", [("host-cpu",), ("host-cpu", "host-cpu?threads=2")], ids=len)
def test_columns_stand_below_their_headings_and_the_name_is_whole(width: int | None, devices: tuple[str, ...]) -> None:
    facts = NetworkFacts(85_300_000, 2_694_282, 1536)
    table = MeasureTable([(LONG, facts)], devices, width=width)
    heading = table.head(["here"] * len(devices))[-1]
    (line,) = table.lines(replace(ROW, facts=facts))
    assert line.endswith(LONG)
    assert line.index(LONG) == heading.index("model")
    assert table.costs_apart == (width == 80)
    assert width is None or heading.index("model") <= width
    for words in ("85.3 M", "2.69 M", "1.50 KiB"):
        assert words in (line if not table.costs_apart else "\n".join(table.head(["here"] * len(devices))))


def published(count: int | None, std_ms: float | None) -> MeasuredRow:
    identity = DeviceIdentity("replay", "phone", "table", "replay", "", origin="replayed")
    batch = RunBatch(count=count, mean_ms=3.0, std_ms=std_ms)
    measurement = Measurement(
        "key", identity, DeviceEpoch("then"), (batch,), False, 300, 0.1, 10, datetime(2020, 1, 1, tzinfo=UTC), 1.0
    )
    network = named_network(CELL, SMALL, "latency.db", None)
    return answered_row(network, Answer(Source.STORE, measurement), "phone [REPLAYED]", "replay:phone", "mean")


def test_a_published_figure_without_runs_or_spread_says_that_its_rule_cannot_be_checked() -> None:
    for row in (published(None, 0.1), published(300, None), published(None, None)):
        assert (row.status, row.rule, row.exit_code) == ("replayed", "not checkable", 0)
        assert status_text(row).endswith("rule not checkable")
        assert "replayed from the store, rule not checkable" in single_lines(row)[1]
        table = MeasureTable([(row.name, row.facts)], [row.uri], published=True)
        assert "rule not checkable  store" in table.lines(row)[0]
        assert "without the number or the spread" in "\n".join(table.notes([row]))


def test_a_statistic_that_the_device_does_not_reveal_is_an_error_and_never_a_substitute() -> None:
    identity = DeviceIdentity("replay", "phone", "table", "replay", "", origin="replayed")
    measurement = Measurement(
        "key", identity, DeviceEpoch("then"), (RunBatch(300, 3.0, 0.1),), True, 300, 0.1, 10, datetime.now(UTC), 1.0
    )
    network = named_network(CELL, SMALL, "latency.db", None)
    row = answered_row(network, Answer(Source.STORE, measurement), "phone", "replay:phone", "p95")
    assert (row.latency_ms, row.mean_ms, row.exit_code) == (None, 3.0, EXIT_INPUT)
    assert "reveals no p95" in (row.failure or "")


def test_a_provisional_row_gives_medians_over_its_attempts_and_no_interval() -> None:
    rows = printed_json("measure", CELL, OTHER, "-d", UNSTABLE, *TINY, code=6)
    assert [(row["attempts"], row["mean_error_ms"], row["rule"]) for row in rows] == [(5, None, "broken")] * 2
    text = leti_opt("measure", CELL, OTHER, "-d", UNSTABLE, *TINY, code=6).stdout
    assert "the figures are medians over the attempts" in text


def test_operators_are_listed_by_share_with_their_sum_beside_the_whole() -> None:
    times = [
        OperatorTime(0, "CONV_2D", "stem", 1.0, 0.01, 300, True),
        OperatorTime(1, "ADD", "sum", 3.0, None, 300, False),
        OperatorTime(2, "IF", "branch", reason="it runs other graphs of the file"),
    ]
    row = MeasuredRow("net.tflite", "measured", "device", "here", rule="kept", mean_ms=5.0)
    lines = profile_lines(row, times)[3:]
    assert lines[1].split() == ["75.0", "%", "3.000", "1", "ADD", "sum", "(unstable)"]
    assert lines[2].split() == ["25.0", "%", "1.000", "±", "0.0100", "0", "CONV_2D", "stem"]
    assert lines[3].endswith("IF       branch  (it runs other graphs of the file)")
    expected = "the sum is 4.000 ms, 80 % of the whole network's 5.000 ms; 1 of 3 operators could not be measured alone"
    assert lines[4] == expected
    provisional = profile_lines(replace(row, status="provisional"), times)
    assert "the whole network's 5.000 ms (provisional)" in provisional[-1]


@pytest.mark.needs("litert")
def test_a_files_operators_are_timed_on_this_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from leti_opt.cli.main import app

    (folder / "net.tflite").write_bytes(write_tflite(tiny_graph()))
    result = CliRunner().invoke(app, ["measure", "net.tflite", "--min-runs", "30", "--profile"])
    assert result.exit_code in (0, 6), result.output
    assert re.search(r"100\.0 %  .* CONV_2D  ", result.stdout)
    assert "each operator cut into a file of its own and measured alone" in result.stdout
    assert re.search(r"the sum is [\d.]+ ms, \d+ % of the whole network's [\d.]+ ms", result.stdout, re.MULTILINE)


def test_counts_and_bytes_keep_three_digits() -> None:
    assert [count_text(value) for value in (0, 999, 1000, 999_499, 999_500, 1_234_567)] == [
        *("0", "999", "1.00 k", "999 k", "1.00 M", "1.23 M")
    ]
    assert [bytes_text(value) for value in (0, 1023, 1024, 10 * 2**20)] == ["0 B", "1023 B", "1.00 KiB", "10.0 MiB"]
