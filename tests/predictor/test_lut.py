"""Lookup tables: what entries add up to, how errors go along, what is missing, and what a file keeps."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt import Architecture, LatencyTable, NetworkConfig, build_layer_graph, write_tflite
from leti_opt.errors import InvalidInputError, InvalidModelError, TableFileError
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.predictor.lut import TableOrigin
from leti_opt.predictor.lut_pieces import Cuttable, Piece, cutting_of
from leti_opt.predictor.lut_residual import Residual, ResidualCase, fit_residual
from leti_opt.predictor.lut_sum import TableEntry, add_up

CELL = Architecture.parse("0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")
CONFIG = NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 8))
ORIGIN = TableOrigin("a phone", "digest", {"kind": "android"}, {"system_build": "1"}, {"min_runs": 300}, "converter 1")


def graph(cell: Architecture = CELL) -> LayerGraph:
    return build_layer_graph(cell, CONFIG)


def kernels(network: Any = None) -> tuple[Piece, ...]:
    return Cuttable(network or graph()).kernels.all


def entry(piece: Piece, latency_ms: float = 1.0, **more: Any) -> TableEntry:
    return TableEntry(
        piece.key, piece.operation, piece.description, **{"latency_ms": latency_ms, "std_ms": 0.1, "runs": 300} | more
    )


def table(granularity: Any = "kernel", **more: Any) -> LatencyTable:
    found = {piece.key: entry(piece, 1.0 + place) for place, piece in enumerate(kernels())}
    return LatencyTable(list(found.values()), granularity, origin=ORIGIN, **more)


def piece(key: str) -> Piece:
    return Piece(key, f"layer {key}", "ReLU", "8x8x4")


ENTRIES = st.builds(
    TableEntry,
    key=st.just("a"),
    operation=st.just("ReLU"),
    description=st.just(""),
    latency_ms=st.floats(1e-4, 1e3),
    std_ms=st.floats(0, 1e2),
    mean_error_ms=st.floats(0, 1e2),
    runs=st.just(300),
    runs_per_sample=st.integers(1, 1000),
)


@given(ENTRIES, st.integers(1, 50))
def test_an_entry_used_many_times_counts_fully_in_the_error_and_as_independent_runs_in_the_spread(
    one: TableEntry, times: int
) -> None:
    found = add_up([piece("a")] * times, {"a": one})
    assert found.latency_ms == pytest.approx(times * (one.latency_ms or 0))
    assert found.mean_error_ms == pytest.approx(times * (one.mean_error_ms or 0))
    assert found.spread_ms == pytest.approx(math.sqrt(times * one.runs_per_sample) * (one.std_ms or 0))
    assert [each.count for each in found.times] == [times]


@given(st.lists(ENTRIES, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_sum_does_not_depend_on_the_order_and_independent_errors_add_as_variances(
    entries: list[TableEntry], random: Any
) -> None:
    named = {str(place): replace(each, key=str(place)) for place, each in enumerate(entries)}
    pieces = [piece(key) for key in named]
    shuffled = random.sample(pieces, len(pieces))
    first, second = add_up(pieces, named), add_up(shuffled, named)
    assert first.latency_ms == pytest.approx(second.latency_ms)
    assert first.spread_ms == pytest.approx(second.spread_ms)
    assert first.mean_error_ms == pytest.approx(math.hypot(*(each.mean_error_ms or 0 for each in entries)))


def test_a_missing_entry_leaves_a_partial_sum_and_is_listed_with_all_its_places() -> None:
    found = add_up([piece("a"), piece("b"), piece("b")], {"a": TableEntry("a", "ReLU", "", latency_ms=2.0)})
    assert (found.latency_ms, found.partial_ms) == (None, 2.0)
    assert [(each.names, each.reason) for each in found.missing] == [
        (("layer b", "layer b"), "the table has no such entry")
    ]


def test_a_failed_entry_and_a_piece_that_cannot_stand_alone_are_missing_with_their_reasons() -> None:
    refused = replace(piece("r"), refusal="it keeps state between runs")
    entries = {"f": TableEntry("f", "ReLU", "", "failed", reason="no ReLU here")}
    found = add_up([refused, piece("f")], entries)
    assert [each.reason for each in found.missing] == ["it keeps state between runs", "no ReLU here"]


def test_pieces_without_operators_cost_nothing_and_are_listed() -> None:
    entries = {
        "a": TableEntry("a", "ReLU", "", latency_ms=2.0, std_ms=0.1, mean_error_ms=0.2),
        "d": TableEntry("d", "Dropout", "", "no operators", 0.0),
    }
    found = add_up([piece("a"), piece("d")], entries)
    assert (found.latency_ms, found.spread_ms, found.mean_error_ms) == (2.0, 0.1, 0.2)
    assert [each.names for each in found.free] == [("layer d",)]


def test_an_unstable_entry_stays_in_the_sum_and_is_flagged() -> None:
    entries = {"a": TableEntry("a", "ReLU", "", latency_ms=2.0, std_ms=1.9, stable=False)}
    found = add_up([piece("a")], entries)
    assert found.latency_ms == 2.0
    assert [each.names for each in found.unstable] == [("layer a",)]


def test_without_a_spread_or_an_error_of_one_entry_the_sum_has_none() -> None:
    entries = {
        "a": TableEntry("a", "ReLU", "", latency_ms=2.0, std_ms=0.1, mean_error_ms=0.1),
        "b": TableEntry("b", "ReLU", "", latency_ms=2.0),
    }
    found = add_up([piece("a"), piece("b")], entries)
    assert (found.latency_ms, found.spread_ms, found.mean_error_ms) == (4.0, None, None)


def test_a_table_predicts_a_network_that_it_has_never_seen() -> None:
    seen = [graph(Architecture.parse(f"0-1,1-2:{operation}")) for operation in ("conv3x3-bn-relu", "maxpool3x3")]
    entries = {each.key: entry(each, 1.0 + place) for place, each in enumerate(kernels(seen[0]) + kernels(seen[1]))}
    other = graph(Architecture.parse("0-1,1-2,2-3:conv3x3-bn-relu,maxpool3x3"))
    found = LatencyTable(list(entries.values()), "kernel").predict(other, "other")
    assert found.latency_ms == sum(entries[each.key].latency_ms or 0 for each in kernels(other))
    assert (found.name, found.granularity, found.missing) == ("other", "kernel", ())
    assert found.std_ms == pytest.approx(0.1 * math.sqrt(len(kernels(other))))


def test_a_table_says_which_entries_it_lacks() -> None:
    wider = build_layer_graph(CELL, NetworkConfig(scope="cell", filters=16, input_shape=(8, 8, 8)))
    found = table().predict(wider)
    assert found.latency_ms is None
    assert {each.operation for each in found.missing} == {each.operation for each in kernels(wider)}
    assert len(table().lacking(kernels(wider))) == len({each.key for each in kernels(wider)})
    assert table().lacking(kernels()) == []


def test_a_file_and_its_content_are_predicted_like_the_network(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_tflite(graph()))
    expected = table().predict(graph()).latency_ms
    assert expected is not None
    for network in (path, str(path), path.read_bytes()):
        assert table().predict(network).latency_ms == expected


def subclassed(layer: Any) -> Any:
    import keras

    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="mine")
            self.dense, self.inner = keras.layers.Dense(2, activation="relu"), layer

        def call(self, inputs: Any) -> Any:
            return self.inner(self.dense(inputs))

    model = Mine()
    model(np.zeros((2, 4), np.float32))
    return model


@pytest.mark.needs("tensorflow")
def test_a_subclassed_model_has_kernels_and_keeps_its_weights() -> None:
    import keras

    model = subclassed(keras.layers.BatchNormalization())
    before = model.get_weights()
    assert [piece.operation for piece in Cuttable(model).kernels.all] == ["FULLY_CONNECTED", "MUL", "ADD"]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


@pytest.mark.needs("tensorflow")
def test_a_model_with_a_layer_that_cannot_be_made_again_has_kernels() -> None:
    import keras

    def fails(*_: Any) -> dict[str, Any]:
        raise RuntimeError("no settings here")

    kind = type(
        "Twice", (keras.layers.Layer,), {"call": lambda _self, inputs: keras.ops.exp(inputs), "get_config": fails}
    )
    image = keras.Input((4,))
    network = Cuttable(keras.Model(image, kind(name="mine")(keras.layers.Dense(3)(image))))
    assert [piece.operation for piece in network.kernels.all] == ["FULLY_CONNECTED", "EXP"]
    with pytest.raises(InvalidModelError, match="no settings here"):
        _ = network.layers


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda keras: keras.Sequential([keras.layers.Dense(2)]), "has no input shape yet"),
        (
            lambda keras: keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(9, 3)]),
            "expected type INT32",
        ),
    ],
)
def test_a_model_that_cannot_be_converted_says_why(make: Any, reason: str) -> None:
    import keras

    with pytest.raises(InvalidModelError, match=reason):
        _ = Cuttable(make(keras), precision="int8").kernels


def test_a_table_of_layers_refuses_a_file(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_tflite(graph()))
    with pytest.raises(InvalidModelError, match="holds no layers; ask for the granularity kernel"):
        LatencyTable([], "layer").predict(path)


def test_the_residual_is_added_for_each_kernel_and_transfer() -> None:
    found = table("residual", residual=Residual(-0.5, 0.25, ("a", "b"))).predict(graph())
    pieces = Cuttable(graph()).kernels
    plain = table().predict(graph())
    assert plain.latency_ms is not None
    assert found.latency_ms == pytest.approx(plain.latency_ms - 0.5 * len(pieces.all) + 0.25 * pieces.transfers)
    assert found.partial_ms == plain.partial_ms


def test_transfers_are_reads_of_what_another_kernel_wrote() -> None:
    content = write_tflite(graph(Architecture.parse("0-1,1-2:conv3x3-bn-relu")))
    assert Cuttable(content).kernels.transfers == len(Cuttable(content).kernels.all) - 1
    # 0-1,0-2,1-2,1-3,2-3: the sum before the pool has two readers' worth of inputs, and so has the concatenation
    assert Cuttable(graph()).kernels.transfers > len(kernels()) - 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: LatencyTable([], "operator"), "unknown granularity 'operator'"),  # type: ignore[arg-type]
        (lambda: LatencyTable([], "kernel", "int3"), "unknown precision 'int3'"),
        (lambda: LatencyTable([], "residual"), "has a residual"),
        (lambda: LatencyTable([], "layer", residual=Residual(0, 0, ())), "no other table has one"),
        (lambda: LatencyTable([entry(piece("a"))] * 2, "layer"), "1 entries of a table have the key of another"),
        (lambda: cutting_of("layers"), "did you mean 'layer'"),
        (lambda: Cuttable(3), "network is a int; hand in a keras.Model"),
    ],
)
def test_wrong_input_is_refused(make: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        make()


# -- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [table(), table("residual", residual=Residual(-0.5, 0.25, ("a", "b"))), LatencyTable([], "layer", "float16")],
    ids=["kernel", "residual", "empty"],
)
def test_a_table_comes_back_from_its_file_as_it_was(made: LatencyTable, tmp_path: Path) -> None:
    path = made.save(tmp_path / "table.parquet")
    assert LatencyTable.load(path) == made


def test_other_tools_read_the_rows_and_what_they_are_of(tmp_path: Path) -> None:
    from pyarrow import parquet

    found = parquet.read_table(table().save(tmp_path / "table.parquet"))
    assert found["operation"].to_pylist() == [each.operation for each in table().entries.values()]
    about = json.loads(found.schema.metadata[b"leti_opt latency table"])
    assert about["version"] == 1
    assert about["about"]["granularity"] == "kernel"
    assert about["about"]["origin"]["device"] == "a phone"
    assert about["about"]["origin"]["protocol"] == {"min_runs": 300}


def changed_file(path: Path, **header: Any) -> Path:
    """A table's file with other metadata, or with one latency changed."""
    from pyarrow import parquet

    content = parquet.read_table(table().save(path))
    about = json.loads(content.schema.metadata[b"leti_opt latency table"]) | header
    rows = content.to_pylist()
    if not header:
        rows[0]["latency_ms"] = 99.0
    import pyarrow as pa

    schema = content.schema.with_metadata({"leti_opt latency table": json.dumps(about)})
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def cut_file(path: Path) -> Path:
    table().save(path)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def foreign_file(path: Path) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"a": [1]}), path)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path, "there is no file .*table.parquet"),
        (cut_file, "is damaged"),
        (changed_file, "is damaged, or was changed since"),
        (lambda path: changed_file(path, about={"granularity": "kernel"}), "is damaged"),
        (lambda path: changed_file(path, version=2), "of format 2, this leti_opt reads format 1; update leti_opt"),
        (lambda path: changed_file(path, version=0), "of format 0, .*; measure the table again"),
        (foreign_file, "is no latency table of leti_opt"),
    ],
    ids=["missing", "cut", "row changed", "metadata changed", "newer", "older", "foreign"],
)
def test_a_file_that_is_no_whole_table_is_refused(make: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match=reason):
        LatencyTable.load(make(tmp_path / "table.parquet"))


def test_another_ending_and_an_unwritable_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"kept as \.parquet"):
        table().save(tmp_path / "table.csv")
    with pytest.raises(TableFileError, match="cannot write"):
        table().save(tmp_path / "nowhere" / "table.parquet")


# -- the residual -----------------------------------------------------------------------------------------------


@given(
    st.floats(-0.1, 0.1),
    st.floats(-0.1, 0.1),
    st.lists(st.tuples(st.integers(10, 500), st.floats(0.5, 3.0)), min_size=2, max_size=7, unique_by=lambda x: x[1]),
)
def test_constants_that_explain_everything_are_found(per_kernel: float, per_transfer: float, sizes: Any) -> None:
    cases = []
    for place, (kernels, share) in enumerate(sizes):
        transfers = round(kernels * share)
        direct = 200.0
        missed = per_kernel * kernels + per_transfer * transfers
        cases.append(ResidualCase(str(place), direct, direct - missed, kernels, transfers))
    found = fit_residual(cases)
    for case in cases:
        assert found.corrected(case.sum_ms, case.kernels, case.transfers) == pytest.approx(case.direct_ms, rel=1e-6)
    assert found.fitted_on == tuple(case.name for case in cases)


def test_networks_that_cannot_tell_the_constants_apart_share_what_is_missed() -> None:
    found = fit_residual([ResidualCase("a", 11.0, 10.0, 100, 100), ResidualCase("b", 22.0, 20.0, 200, 200)])
    assert found.per_kernel_ms == pytest.approx(found.per_transfer_ms) == pytest.approx(0.005)


def test_every_network_counts_by_its_relative_error() -> None:
    """The quick network asks for +0.1 a kernel, the slow one for -0.1; both miss as large a share."""
    quick, slow = ResidualCase("quick", 11.0, 10.0, 10, 0), ResidualCase("slow", 1100.0, 1200.0, 1000, 0)
    found = fit_residual([quick, slow])
    assert abs(found.per_kernel_ms) < 0.1
    weights = [(10 / 11.0) ** 2, (1000 / 1100.0) ** 2]
    expected = (0.1 * weights[0] - 0.1 * weights[1]) / sum(weights)
    assert found.per_kernel_ms == pytest.approx(expected, abs=1e-9)


def test_fewer_networks_than_constants_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="needs as many networks measured whole, not 1"):
        fit_residual([ResidualCase("a", 1.0, 1.0, 1, 1)])
