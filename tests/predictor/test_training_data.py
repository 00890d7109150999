"""What predictors learn from, the story that goes into their file, and the few figures that judge them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt import (
    NAS_BENCH_201,
    Architecture,
    CampaignDefinition,
    DatasetCampaign,
    DeviceLatencyObjective,
    LatencyStore,
    NetworkConfig,
)
from leti_opt.errors import InvalidInputError, NotFoundError, PredictorFileError
from leti_opt.predictor.evaluation import evaluate, split_by_class
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.predictor import load_predictor
from leti_opt.predictor.scores import scores_of_cells, scores_of_splits
from leti_opt.predictor.story_file import load_story, save_with_story
from leti_opt.predictor.training_data import TrainingStory, campaign_data, store_data
from leti_opt.report.dataset_card import write_dataset
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table

STORY = TrainingStory("formula [SIMULATED]", "simulated", 30, "latencies.parquet")
CELLS = [Architecture.parse(f"0-1,1-2:{kind}") for kind in ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")]


@pytest.fixture(scope="module")
def fitted() -> FlopsPredictor:
    table = small_table(30)
    return FlopsPredictor(SMALL).fit(table, made_up_latency_ms(table))


class TestStoreData:
    def test_what_was_measured_comes_back_cell_by_cell(self, tmp_path: Path) -> None:
        with LatencyStore(tmp_path / "latency.db") as store:
            objective = DeviceLatencyObjective("replay:formula?seed=1", SMALL, store=store)
            told = {cell: objective(cell) for cell in CELLS}
            found = store_data(store, "replay:formula?seed=1", SMALL)
        assert dict(zip(found.cells, found.latency_ms.tolist(), strict=True)) == told
        assert found.cells.graph_hashes.tolist() == sorted(found.cells.graph_hashes.tolist())
        assert found.story.origin == "simulated"
        assert "[SIMULATED]" in found.story.statement()

    def test_a_device_of_another_host_is_found_by_the_uri_that_it_had(self, tmp_path: Path) -> None:
        with LatencyStore(tmp_path / "latency.db") as store:
            objective = DeviceLatencyObjective("replay:formula?seed=1", SMALL, store=store)
            objective(CELLS[0])
            store.remember_uri("host-cpu?cores=4095", objective.device.identity, objective.device.epoch)
            assert len(store_data(store, "host-cpu?cores=4095", SMALL)) == 1

    def test_an_unknown_device_or_network_is_refused(self, tmp_path: Path) -> None:
        with LatencyStore(tmp_path / "latency.db") as store:
            DeviceLatencyObjective("replay:formula?seed=1", SMALL, store=store)(CELLS[0])
            with pytest.raises(NotFoundError, match=r"it knows the devices: replay:formula\?seed=1"):
                store_data(store, "replay:formula?seed=2", SMALL)
            with pytest.raises(InvalidInputError, match="has no latency"):
                store_data(store, "replay:formula?seed=1", SMALL.changed(filters=8))


class TestStory:
    def test_a_story_comes_back_beside_the_predictor(self, fitted: FlopsPredictor, tmp_path: Path) -> None:
        path = tmp_path / "one.predictor"
        save_with_story(fitted, STORY, path)
        assert load_story(path) == STORY
        assert load_predictor(path).predict(CELLS).tolist() == fitted.predict(CELLS).tolist()
        assert list(tmp_path.iterdir()) == [path]

    def test_a_predictor_that_was_saved_alone_has_none(self, fitted: FlopsPredictor, tmp_path: Path) -> None:
        fitted.save(tmp_path / "one.predictor")
        assert load_story(tmp_path / "one.predictor") is None

    def test_a_missing_or_damaged_file_is_refused(self, fitted: FlopsPredictor, tmp_path: Path) -> None:
        path = tmp_path / "one.predictor"
        with pytest.raises(PredictorFileError, match="there is no file"):
            load_story(path)
        save_with_story(fitted, STORY, path)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(PredictorFileError, match="damaged"):
            load_story(path)

    def test_a_folder_that_is_not_there_is_refused(self, fitted: FlopsPredictor, tmp_path: Path) -> None:
        with pytest.raises(PredictorFileError, match="cannot write"):
            save_with_story(fitted, STORY, tmp_path / "nowhere" / "one.predictor")


class TestScores:
    def test_splits_and_their_means_agree(self) -> None:
        table = small_table(60)
        latency_ms = made_up_latency_ms(table)
        results = [
            evaluate(FlopsPredictor(SMALL), table, latency_ms, split_by_class(table.graph_hashes, 40, seed))
            for seed in range(3)
        ]
        scores = scores_of_splits(results)
        errors = [result.metrics.mean_absolute_percentage_error for result in results]
        assert scores.mean_absolute_percentage_error.mean == pytest.approx(np.mean(errors))
        assert scores.mean_absolute_percentage_error.half_width > 0

    def test_more_cells_make_a_figure_surer(self) -> None:
        halves = []
        for count in (30, 3000):
            noise = np.random.default_rng(1).normal(0, 0.05, count)
            measured = np.linspace(1.0, 5.0, count)
            found = scores_of_cells(measured * (1 + noise), (0.9 * measured, 1.1 * measured), measured)
            halves.append(found.within[0.05].half_width)
        assert halves[1] < halves[0] / 3

    def test_predictions_without_an_order_have_no_rank_correlation(self) -> None:
        found = scores_of_cells([2.0, 2.0], ([1.0, 1.0], [3.0, 3.0]), [1.5, 2.5])
        assert np.isnan(found.spearman.mean)
        assert found.coverage.mean == 1.0

    @given(st.lists(st.tuples(st.floats(0.5, 50), st.floats(0.8, 1.2)), min_size=2, max_size=30), st.randoms())
    @settings(max_examples=30, deadline=None)
    def test_the_order_of_the_cells_does_not_matter(self, cells: list[tuple[float, float]], random: object) -> None:
        measured, factors = np.array(cells).T
        order = np.array(sorted(range(len(cells)), key=lambda _: random.random()))  # type: ignore[attr-defined]
        found, shuffled = (
            scores_of_cells((measured * factors)[rows], (measured[rows], measured[rows] * 1.1), measured[rows])
            for rows in (np.arange(len(cells)), order)
        )
        assert [each.mean for each in found.within.values()] == [each.mean for each in shuffled.within.values()]
        shares = [each.mean for each in found.within.values()]
        assert shares == sorted(shares)
        assert found.coverage.mean == 1.0


def test_cells_of_another_space_keep_their_labels(tmp_path: Path) -> None:
    """A cell's text in a campaign's file says nothing of its labels, which the hash depends on."""
    campaign = DatasetCampaign(
        CampaignDefinition(
            name="labels",
            store=str(tmp_path / "latency.db"),
            networks=["nasbench201"],
            devices=["replay:formula?seed=1"],
            cells={"space": "nasbench201", "sample": 12},
        )
    )
    campaign.run()
    write_dataset(campaign, tmp_path)
    found = campaign_data(tmp_path / "latencies.parquet", NetworkConfig.nasbench201())
    assert found.cells.labels == NAS_BENCH_201.labels
    with LatencyStore(tmp_path / "latency.db") as store:
        stored = store_data(store, "replay:formula?seed=1", NetworkConfig.nasbench201())
    assert found.cells == stored.cells
    assert found.latency_ms.tolist() == stored.latency_ms.tolist()
