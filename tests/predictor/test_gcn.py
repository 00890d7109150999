from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from leti_opt import NAS_BENCH_201
from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.predictor.cells import CellRows
from leti_opt.predictor.gcn import GcnPredictor
from leti_opt.predictor.gcn_graph import CellGraphs, graph_features, graphs_of
from leti_opt.predictor.gcn_model import EPSILON, answers, build_gcn
from leti_opt.predictor.gcn_neighbourhoods import Neighbourhoods
from leti_opt.predictor.gcn_training import Patience
from leti_opt.predictor.predictor import LatencyPredictor, load_predictor
from tests.contracts.predictor_contract import Maker, PredictorContract
from tests.predictor.samples import NATIVE, SMALL, made_up_latency_ms, small_table

needs_tensorflow = pytest.mark.needs("tensorflow")


def tiny(**changes: object) -> GcnPredictor:
    settings: dict[str, object] = {"layers": 2, "units": 16, "epochs": 12, "batch_size": 16, "learning_rate": 0.01}
    return GcnPredictor(SMALL, **{**settings, **changes})  # type: ignore[arg-type]


def native_cells(count: int) -> CellRows:
    choices = np.random.default_rng(3).integers(1, 5, size=(count, 6))
    return CellRows.from_native(choices, NAS_BENCH_201)


@pytest.fixture(scope="module")
def fitted_once() -> LatencyPredictor:
    """Shared, since the training step must be compiled for each fit."""
    table = small_table(60)
    return tiny().fit(table, made_up_latency_ms(table))


@needs_tensorflow
class TestContract(PredictorContract):
    @pytest.fixture
    def make(self) -> Maker:
        return tiny

    @pytest.fixture
    def table(self) -> ArchitectureTable:
        return small_table(60)

    @pytest.fixture
    def latency_ms(self, table: ArchitectureTable) -> NDArray[np.float64]:
        return made_up_latency_ms(table)

    @pytest.fixture
    def fitted(self, fitted_once: LatencyPredictor) -> LatencyPredictor:  # type: ignore[override]
        return fitted_once


def reference_answers(graphs: CellGraphs, weights: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Cell by cell and vertex by vertex, as the published description says it."""
    *convolutions, matrix, bias = [weight.astype(np.float64) for weight in weights]
    found = []
    for adjacency, kinds in zip(graphs.adjacency, graphs.kinds, strict=True):
        known = np.zeros((len(kinds), graphs.kind_count))
        for vertex, kind in enumerate(kinds):
            if kind >= 0:
                known[vertex, kind] = 1
        for layer in range(0, len(convolutions), 4):
            multiply, add, scale, shift = convolutions[layer : layer + 4]
            mapped = known @ multiply
            following = []
            for heard in adjacency:
                summed = sum((mapped[other] for other in np.flatnonzero(heard)), np.zeros(len(add))) + add
                normal = (summed - summed.mean()) / np.sqrt(summed.var() + EPSILON)
                following.append(np.maximum(normal * scale + shift, 0))
            known = np.array(following)
        found.append((known[0] @ matrix + bias)[0])
    return np.array(found)


@needs_tensorflow
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_network_is_the_published_one_computed_slowly(layers: int) -> None:
    features, _ = graph_features(native_cells(40), 8, {"skip_connect"})
    graphs = graphs_of(features, 8)
    model = build_gcn(graphs.kind_count, layers, 24, 0.1, seed=5)
    found = answers(model, Neighbourhoods.of(graphs, layers).matrices(np.arange(40)))
    np.testing.assert_allclose(found, reference_answers(graphs, model.get_weights()), atol=2e-5)
    assert np.ptp(found) > 1e-3


def test_neighbourhoods_are_fewer_than_vertices_and_sum_the_same() -> None:
    graphs = graphs_of(graph_features(native_cells(60), 8, {"skip_connect"})[0], 8)
    rows = np.array([4, 0, 59, 4])
    matrices = Neighbourhoods.of(graphs, 3).matrices(rows)
    assert max(len(matrix) for matrix in matrices) < len(rows) * (8 + 1)
    known = np.eye(graphs.kind_count + 1)[:, :-1][graphs.kinds[rows]]
    for _ in range(3):
        known = graphs.adjacency[rows].astype(float) @ known
    merged = matrices[2] @ matrices[1] @ matrices[0]
    np.testing.assert_array_equal(merged, known[:, 0])


def test_a_skip_is_an_edge_or_a_vertex() -> None:
    cell = NAS_BENCH_201.parse_native("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|")
    for passing, expected in (
        ({"skip_connect"}, {"input": 1, "nor_conv_1x1": 1, "output": 1}),
        (set(), {"input": 1, "skip_connect": 2, "nor_conv_1x1": 1, "output": 1}),
    ):
        values, names = graph_features(cell, 8, passing)
        there = [name.split("/")[1] for name, value in zip(names, values[0], strict=True) if value and "/" in name]
        assert {kind: there.count(kind) for kind in there} == expected
        edges = sum(int(value) for name, value in zip(names, values[0], strict=True) if name.startswith("edge"))
        assert edges == len(there) - 1


def test_the_network_says_which_operations_pass_their_input_on() -> None:
    cell = NAS_BENCH_201.parse_native("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|")
    assert GcnPredictor(NATIVE, vertices=8).features(cell)[0].sum() == 3 + 2
    assert GcnPredictor(NATIVE, vertices=8, skips_are_edges=False).features(cell)[0].sum() == 5 + 4


def test_the_global_vertex_hears_every_place_and_is_heard_by_none() -> None:
    graphs = graphs_of(graph_features(Architecture.parse("0-1,1-2:maxpool3x3"), 5, ())[0], 5)
    assert graphs.adjacency[0, 0].all()
    assert not graphs.adjacency[0, 1:, 0].any()
    assert graphs.adjacency[0].diagonal().all()
    assert sorted(graphs.kinds[0].tolist()) == [-1, -1, 0, 3, 4, 5]


def test_a_cell_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="raise vertices"):
        tiny(vertices=3).features(small_table(20))


@pytest.mark.parametrize(
    "bad", [{"layers": 0}, {"units": 0}, {"epochs": 0}, {"batch_size": 0}, {"vertices": 1}, {"seed": -1}]
)
def test_settings_out_of_range_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(bad))):
        tiny(**bad)


@pytest.mark.parametrize("bad", [{"dropout": 1.0}, {"dropout": -0.1}, {"learning_rate": 0.0}])
def test_shares_and_paces_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(bad))):
        tiny(**bad)


def relabelled(cell: Architecture) -> Architecture:
    """The same cell with its two inner vertices in the other order."""
    order = [0, 2, 1, 3]
    names = [cell.operations[vertex] for vertex in order]
    return Architecture(cell.adjacency[np.ix_(order, order)], names, cell.labels)


@pytest.fixture(scope="module")
def table() -> ArchitectureTable:
    return small_table(150)


@pytest.fixture(scope="module")
def fitted(table: ArchitectureTable) -> GcnPredictor:
    return tiny(units=32, epochs=40).fit(table, made_up_latency_ms(table))


@needs_tensorflow
class TestFitted:
    def test_it_learns_what_other_cells_take(self, fitted: GcnPredictor, table: ArchitectureTable) -> None:
        known = set(table.graph_hashes)
        others = small_table(150, seed=1)
        others = others[np.flatnonzero([graph_hash not in known for graph_hash in others.graph_hashes])]
        latency_ms = made_up_latency_ms(others)
        off = np.abs(fitted.predict(others) - latency_ms).mean()
        assert off < 0.5 * np.abs(latency_ms - made_up_latency_ms(table).mean()).mean()

    def test_an_isomorphic_cell_is_predicted_the_same(self, fitted: GcnPredictor) -> None:
        cell = Architecture.parse("0-1,0-2,1-3,2-3:maxpool3x3,conv3x3-bn-relu")
        other = relabelled(cell)
        assert other.operations != cell.operations
        assert fitted.predict(other).tolist() == fitted.predict(cell).tolist()

    def test_a_batch_is_predicted_as_its_cells_are(self, fitted: GcnPredictor, table: ArchitectureTable) -> None:
        single = [float(fitted.predict(table[row])[0]) for row in range(12)]
        np.testing.assert_allclose(fitted.predict(table)[:12], single, rtol=1e-5)

    def test_another_seed_gives_another_predictor(self, fitted_once: LatencyPredictor) -> None:
        table = small_table(60)
        other = tiny(seed=1).fit(table, made_up_latency_ms(table))
        assert not np.allclose(other.predict(table), fitted_once.predict(table), rtol=1e-6)

    def test_the_file_holds_the_weights(self, fitted: GcnPredictor, tmp_path: Path) -> None:
        fitted.save(tmp_path / "gcn.zip")
        loaded = load_predictor(tmp_path / "gcn.zip")
        assert isinstance(loaded, GcnPredictor)
        assert loaded.epochs_ == fitted.epochs_
        for one, other in zip(loaded.model_.get_weights(), fitted.model_.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def keras_draws() -> list[int]:
    """State of the generator that Keras uses where no seed is handed in."""
    from keras.src.random.seed_generator import global_seed_generator

    return np.asarray(global_seed_generator().state).tolist()  # type: ignore[no-any-return]


@needs_tensorflow
def test_no_random_state_is_drawn_from_or_changed() -> None:
    import keras

    table = small_table(20)
    latency_ms = made_up_latency_ms(table)
    keras.random.uniform(())  # makes Keras's own generator
    counts = keras_draws()
    states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    tiny(epochs=2).fit(table, latency_ms)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # type: ignore[index,union-attr]
    assert keras_draws() == counts


@needs_tensorflow
def test_cells_without_weight_are_not_learned() -> None:
    table = small_table(40)
    latency_ms = made_up_latency_ms(table)
    weights = np.arange(40) % 4 > 0
    spoiled = np.where(weights, latency_ms, latency_ms.mean())
    one = tiny(epochs=3).fit(table, latency_ms, sample_weight=weights)
    other = tiny(epochs=3).fit(table, spoiled, sample_weight=weights)
    assert one.predict(table).tolist() == other.predict(table).tolist()


@needs_tensorflow
def test_the_logarithm_keeps_predictions_positive() -> None:
    table = small_table(40)
    predictor = tiny(epochs=2, log_target=True).fit(table, made_up_latency_ms(table) ** 4)
    assert (predictor.predict(table) > 0).all()


@needs_tensorflow
def test_one_cell_can_be_fitted() -> None:
    cell = small_table(2)[0]
    assert np.isfinite(tiny(epochs=2).fit(cell, [3.0]).predict(cell)).all()


def test_patience_ends_where_nothing_gets_better() -> None:
    patience = Patience()
    counts = [patience.without_progress(loss) for loss in (3.0, 2.0, 2.0, 2.5, 1.9)]
    assert counts == [0, 0, 1, 2, 0]


def test_importing_it_loads_no_tensorflow() -> None:
    script = "import sys, leti_opt.predictor.gcn; print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"
