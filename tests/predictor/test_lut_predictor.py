"""A lookup table as a predictor of cells and of files: against each network cut and summed by itself."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leti_opt import (
    NAS_BENCH_101,
    NAS_BENCH_201,
    Architecture,
    LatencyTable,
    NetworkConfig,
    SurrogateObjective,
    build_layer_graph,
    enumerate_architectures,
    read_tflite,
    write_tflite,
)
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError, InvalidModelError, TableFileError
from leti_opt.predictor.better_flops import BetterFlopsPredictor
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.lut_cells import CellPieces, in_words, pieces_of
from leti_opt.predictor.lut_file import lut_of_content
from leti_opt.predictor.lut_pieces import Cuttable, Piece
from leti_opt.predictor.lut_predictor import LutPredictor
from leti_opt.predictor.lut_residual import Residual
from leti_opt.predictor.lut_sum import TableEntry
from leti_opt.predictor.predictor import LatencyPredictor, load_predictor
from tests.contracts.predictor_contract import Maker, PredictorContract
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table

CELL = NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 8))


def made_up_ms(piece: Piece) -> float:
    """A time that depends on the piece alone."""
    return 0.05 + int(piece.key[:4], 16) / 2**16


def entry(piece: Piece, **more: Any) -> TableEntry:
    figures = {"latency_ms": made_up_ms(piece), "std_ms": 0.01, "mean_error_ms": 0.02, "runs": 300}
    return TableEntry(piece.key, piece.operation, piece.description, **figures | more)


def lut_of(cells: Any, network: NetworkConfig, granularity: Any = "kernel", **more: Any) -> LatencyTable:
    cutting = "layer" if granularity == "layer" else "kernel"
    entries = [entry(piece) for piece in pieces_of(cells, network, cutting)]
    return LatencyTable(entries, granularity, network.precision, **more)


def whole_ms(table: LatencyTable, cells: ArchitectureTable, network: NetworkConfig) -> NDArray[np.float64]:
    """What the table says of each network, cut by itself: the reference."""
    found = [table.predict(build_layer_graph(cell, network)).latency_ms for cell in cells]
    return np.array(found, dtype=np.float64)


class TestContract(PredictorContract):
    """Latencies are the table's sums, and what a sum misses."""

    @pytest.fixture
    def table(self) -> ArchitectureTable:
        return small_table(60)

    @pytest.fixture
    def lut(self, table: ArchitectureTable) -> LatencyTable:
        return lut_of(table, SMALL)

    @pytest.fixture
    def latency_ms(self, table: ArchitectureTable, lut: LatencyTable) -> NDArray[np.float64]:
        values, _ = LutPredictor(SMALL, lut).features(table)
        noise = np.exp(0.02 * np.random.default_rng(0).standard_normal(len(table)))
        sums = LutPredictor.of_table(SMALL, lut).predict(table)
        return (sums - 0.01 * values[:, -2] + 0.03 * values[:, -1]) * noise

    @pytest.fixture
    def make(self, lut: LatencyTable) -> Maker:
        return lambda: LutPredictor(SMALL, lut)

    def test_it_finds_the_constants_that_sums_miss(
        self, make: Maker, table: ArchitectureTable, lut: LatencyTable
    ) -> None:
        values, _ = make().features(table)
        sums = LutPredictor.of_table(SMALL, lut).predict(table)
        fitted = make().fit(table, sums - 0.01 * values[:, -2] + 0.03 * values[:, -1])
        assert isinstance(fitted, LutPredictor)
        np.testing.assert_allclose(fitted.regressor_.constants_, [-0.01, 0.03], rtol=1e-6)

    def test_intervals_hold_their_share_of_other_cells(
        self, fitted: LatencyPredictor, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        lower, upper = fitted.predict_interval(table, 0.9)
        assert 0.8 < np.mean((lower <= latency_ms) & (latency_ms <= upper)) < 1
        assert (upper - lower < 0.2 * latency_ms).all()


# -- counts against the reference ---------------------------------------------------------------------------------

NETWORKS = {
    "nasbench101": (NAS_BENCH_101, NetworkConfig.small(filters=10)),
    "added at once": (NAS_BENCH_101, NetworkConfig.small(filters=10, chained_adds=False)),
    "nasbench201": (NAS_BENCH_201, NetworkConfig.nasbench201(cells_per_stack=2, filters=8)),
    "float16": (NAS_BENCH_101, NetworkConfig.small(filters=10, precision="float16")),
    "int8": (NAS_BENCH_101, NetworkConfig.small(filters=10, precision="int8")),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_sums_of_counts_are_those_of_each_network_cut_by_itself(name: str) -> None:
    space, network = NETWORKS[name]
    every = enumerate_architectures(space)
    cells = every[np.random.default_rng(5).choice(len(every), 12, replace=False)]
    lut = lut_of(cells, network)
    predictor = LutPredictor.of_table(network, lut)
    np.testing.assert_allclose(predictor.predict(cells), whole_ms(lut, cells, network), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=3))
def test_pieces_and_transfers_are_those_of_each_network_cut_by_itself(drawn: list[int]) -> None:
    every = enumerate_architectures(NAS_BENCH_101)
    cells = every[np.array([number % len(every) for number in drawn])]
    found = CellPieces(CELL, "kernel").count(cells)
    for place, cell in enumerate(cells):
        cut = Cuttable(build_layer_graph(cell, CELL)).kernels
        told = {piece.key: int(n) for piece, n in zip(found.pieces, found.counts[place], strict=True) if n}
        assert told == Counter(piece.key for piece in cut.all)
        assert found.transfers[place] == cut.transfers


@pytest.mark.slow
@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("name", ["nasbench101", "nasbench201"])
def test_sums_of_layers_are_those_of_each_keras_model(name: str) -> None:
    space, network = NETWORKS[name]
    network = network.changed(cells_per_stack=1, stacks=2)
    every = enumerate_architectures(space)
    cells = every[np.random.default_rng(6).choice(len(every), 3, replace=False)]
    lut = lut_of(cells, network, "layer")
    values, _ = (predictor := LutPredictor.of_table(network, lut)).features(cells)
    np.testing.assert_allclose(predictor.predict(cells), whole_ms(lut, cells, network), rtol=1e-12)
    cut = [Cuttable(build_layer_graph(cell, network)).layers for cell in cells]
    assert values[:, -2:].tolist() == [[len(each.all), each.transfers] for each in cut]


@pytest.mark.needs("tensorflow")
def test_layers_of_one_cell_are_those_of_its_keras_model() -> None:
    cell = Architecture.parse("0-1,0-2,1-3,2-3:maxpool3x3,conv1x1-bn-relu")
    found = CellPieces(CELL, "layer").count([cell])
    cut = Cuttable(build_layer_graph(cell, CELL)).layers
    told = {piece.key: int(number) for piece, number in zip(found.pieces, found.counts[0], strict=True)}
    assert told == Counter(piece.key for piece in cut.all)
    assert found.transfers.tolist() == [cut.transfers]


def test_a_table_with_a_residual_of_its_own_keeps_it_where_nothing_is_learned() -> None:
    cells = small_table(8)
    lut = lut_of(cells, SMALL, "residual", residual=Residual(-0.02, 0.05, ("a", "b")))
    expected = whole_ms(lut, cells, SMALL)
    np.testing.assert_allclose(LutPredictor.of_table(SMALL, lut).predict(cells), expected, rtol=1e-12)
    fitted = LutPredictor(SMALL, lut, residual="none").fit(cells, 1.1 * expected)
    np.testing.assert_allclose(fitted.predict(cells), expected, rtol=1e-12)


# -- without networks measured whole ------------------------------------------------------------------------------


def test_without_measured_networks_intervals_are_the_errors_of_the_entries() -> None:
    cells = small_table(10)
    lut = lut_of(cells, SMALL)
    predictor = LutPredictor.of_table(SMALL, lut)
    lower, upper = predictor.predict_interval(cells, 0.95)
    errors = [lut.predict(build_layer_graph(cell, SMALL)).mean_error_ms for cell in cells]
    np.testing.assert_allclose((upper - lower) / 2, np.array(errors, dtype=np.float64), rtol=1e-9)
    assert predictor.training_size_ == 0


def test_an_entry_without_an_error_leaves_no_interval_and_one_without_operators_has_none_to_add() -> None:
    cells = small_table(6)
    pieces = pieces_of(cells, SMALL)
    entries = [entry(piece) for piece in pieces]
    free = TableEntry(pieces[0].key, pieces[0].operation, "", "no operators", 0.0)
    lower, upper = LutPredictor.of_table(SMALL, LatencyTable([free, *entries[1:]], "kernel")).predict_interval(cells)
    assert np.isfinite(upper - lower).all()
    unknown = LatencyTable([entry(pieces[0], mean_error_ms=None), *entries[1:]], "kernel")
    _, upper = LutPredictor.of_table(SMALL, unknown).predict_interval(cells)
    assert np.isinf(upper).any()


def test_a_table_alone_comes_back_from_its_file(tmp_path: Path) -> None:
    cells = small_table(10)
    predictor = LutPredictor.of_table(SMALL, lut_of(cells, SMALL))
    predictor.save(tmp_path / "lut.predictor")
    loaded = load_predictor(tmp_path / "lut.predictor")
    assert isinstance(loaded, LutPredictor)
    assert loaded.table == predictor.table
    assert loaded.predict(cells).tolist() == predictor.predict(cells).tolist()
    for one, other in zip(loaded.predict_interval(cells), predictor.predict_interval(cells), strict=True):
        assert one.tolist() == other.tolist()


def test_a_loaded_predictor_cuts_nothing_that_was_cut_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = small_table(10)
    predictor = LutPredictor.of_table(SMALL, lut_of(cells, SMALL))
    expected = predictor.predict(cells)
    predictor.save(tmp_path / "lut.predictor")
    loaded = load_predictor(tmp_path / "lut.predictor")

    def fail(*_: object) -> None:
        raise AssertionError("a block was cut again")

    monkeypatch.setattr("leti_opt.predictor.lut_cells.Cuttable", fail)
    assert loaded.predict(cells).tolist() == expected.tolist()
    with pytest.raises(AssertionError, match="cut again"):
        loaded.predict(enumerate_architectures(NAS_BENCH_101)[-50:])


# -- what the table lacks -----------------------------------------------------------------------------------------

POOL, CONV = (Architecture.parse(f"0-1,1-2:{name}") for name in ("maxpool3x3", "conv3x3-bn-relu"))


def test_cells_whose_pieces_the_table_lacks_are_refused_by_name() -> None:
    predictor = LutPredictor.of_table(CELL, lut_of([POOL], CELL))
    with pytest.raises(
        InvalidInputError, match=r"no figure of 1 of 3 pieces, which 1 of 2 .*row 1 first: CONV_2D 8x8x8"
    ):
        predictor.predict([POOL, CONV])
    assert [piece.operation for piece in predictor.lacking([POOL, CONV])] == ["CONV_2D"]
    assert predictor.lacking(POOL) == ()


def test_a_failed_entry_is_no_figure() -> None:
    pieces = pieces_of([POOL], CELL)
    failed = TableEntry(pieces[-1].key, "MAX_POOL_2D", "", "failed", reason="no pools here")
    lut = LatencyTable([*map(entry, pieces[:-1]), failed], "kernel")
    assert [piece.operation for piece in LutPredictor(CELL, lut).lacking(POOL)] == ["MAX_POOL_2D"]


def test_a_surrogate_takes_them_for_unpredicted() -> None:
    surrogate = SurrogateObjective(LutPredictor.of_table(CELL, lut_of([POOL], CELL), missing="nan"))
    found = surrogate.evaluate_many([POOL, CONV])
    assert found.statuses.tolist() == ["predicted", "unpredicted"]
    assert found.latency_ms[1] == surrogate.penalty_ms


def test_nothing_is_learned_from_cells_with_missing_pieces() -> None:
    predictor = LutPredictor(CELL, lut_of([POOL], CELL), missing="nan")
    with pytest.raises(InvalidInputError, match=r"1 of 2 cells to learn from .*lacking\(cells\) lists them"):
        predictor.fit([POOL, CONV], [1.0, 2.0])


def test_the_first_few_are_told() -> None:
    pieces = [Piece(str(number), "x", "ADD", f"{number}") for number in range(5)]
    assert in_words(pieces) == "ADD 0, ADD 1, ADD 2 and 2 more"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: LutPredictor(SMALL, LatencyTable([], "kernel", "int8")), "pieces are int8, the network is float32"),
        (lambda: LutPredictor(SMALL, "table.parquet"), "is a LatencyTable, not a str"),  # type: ignore[arg-type]
        (lambda: LutPredictor(SMALL, residual="constant"), "did you mean 'constants'"),  # type: ignore[arg-type]
        (lambda: LutPredictor(SMALL, missing="skip"), "unknown setting 'skip'"),  # type: ignore[arg-type]
        (lambda: LutPredictor(SMALL).features(POOL), "needs a table"),
        (lambda: pieces_of(POOL, SMALL.changed(precision="dynamic")), "TensorFlow's converter's"),
        (lambda: pieces_of(POOL, SMALL.changed(precision="int8", chained_adds=False)), "use chained_adds=True"),
        (lambda: pieces_of(POOL, SMALL, "operator"), "unknown granularity 'operator'"),
    ],
)
def test_wrong_input_is_refused(make: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        make()


def test_a_table_that_was_changed_within_a_file_is_refused() -> None:
    with pytest.raises(TableFileError, match="is damaged"):
        lut_of_content(b"no parquet", Path("x"))


# -- files that were read back ------------------------------------------------------------------------------------


def seeing_networks(cells: ArchitectureTable, network: NetworkConfig) -> list[LatencyPredictor]:
    latency_ms = made_up_latency_ms(cells)
    lut = LutPredictor(network, lut_of(cells, network))
    return [each.fit(cells, latency_ms) for each in (FlopsPredictor(network), BetterFlopsPredictor(network), lut)]


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_file_is_predicted_like_the_cell_whose_network_it_is(precision: Any, tmp_path: Path) -> None:
    network, cells = NetworkConfig.small(filters=8, precision=precision), small_table(20)
    contents = [write_tflite(build_layer_graph(cells[row], network)) for row in (0, 7)]
    path = tmp_path / "net.tflite"
    path.write_bytes(contents[1])
    for predictor in seeing_networks(cells, network):
        found = predictor.predict_networks([contents[0], path, str(path)])
        asked = cells[np.array([0, 7, 7])]
        np.testing.assert_allclose(found.latency_ms, predictor.predict(asked), rtol=1e-12)
        lower, upper = predictor.predict_interval(asked)
        np.testing.assert_allclose([found.lower_ms, found.upper_ms], [lower, upper], rtol=1e-12)
        assert len(found) == 3


def test_graphs_are_predicted_too_and_read_ones_by_their_costs() -> None:
    cells = small_table(20)
    graph = build_layer_graph(cells[3], SMALL)
    read = read_tflite(write_tflite(graph))
    for predictor in seeing_networks(cells, SMALL):
        assert predictor.predict_networks([graph]).latency_ms == pytest.approx(predictor.predict(cells[3]))
        if isinstance(predictor, LutPredictor):
            with pytest.raises(InvalidInputError, match="read from a file"):
                predictor.predict_networks([read])
        else:
            assert predictor.predict_networks([read]).latency_ms == pytest.approx(predictor.predict(cells[3]))


def test_a_file_with_kernels_that_the_table_lacks_is_refused_by_name() -> None:
    predictor = LutPredictor.of_table(CELL, lut_of([POOL], CELL))
    with pytest.raises(InvalidInputError, match="CONV_2D 8x8x8"):
        predictor.predict_networks([write_tflite(build_layer_graph(CONV, CELL))])
    silent = LutPredictor.of_table(CELL, lut_of([POOL], CELL), missing="nan")
    assert math.isnan(silent.predict_networks([write_tflite(build_layer_graph(CONV, CELL))]).latency_ms[0])


def test_networks_that_a_predictor_cannot_see_are_refused(tmp_path: Path) -> None:
    cells = small_table(20)
    latency_ms = made_up_latency_ms(cells)
    content = write_tflite(build_layer_graph(cells[0], SMALL))
    flops = FlopsPredictor(SMALL).fit(cells, latency_ms)
    with pytest.raises(InvalidInputError, match="KernelPredictor sees cells, not files"):
        KernelPredictor(SMALL).fit(cells, latency_ms).predict_networks([content])
    with pytest.raises(InvalidInputError, match="call fit first"):
        FlopsPredictor(SMALL).predict_networks([content])
    with pytest.raises(InvalidInputError, match="network 0 is int8, and the predictor learned float32"):
        flops.predict_networks([write_tflite(build_layer_graph(cells[0], SMALL.changed(precision="int8")))])
    with pytest.raises(InvalidInputError, match="a list of one network at least"):
        flops.predict_networks([])
    with pytest.raises(InvalidInputError, match="network 1 is a int"):
        flops.predict_networks([content, 3])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        flops.predict_networks([content], coverage=90)
    with pytest.raises(InvalidModelError):
        flops.predict_networks([tmp_path / "nowhere.tflite"])


@pytest.mark.needs("tensorflow")
def test_a_table_of_layers_sees_no_files() -> None:
    predictor = LutPredictor.of_table(CELL, LatencyTable([], "layer"))
    with pytest.raises(InvalidModelError, match="holds no layers"):
        predictor.predict_networks([write_tflite(build_layer_graph(POOL, CELL))])
