"""What every predictor must do. A test class inherits this and gives the fixtures.

A predictor from outside of this package is held to the same: subclass :class:`PredictorContract` in your tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from leti_opt import NetworkConfig
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError, PredictorFileError
from leti_opt.predictor.predictor import LatencyPredictor, load_predictor

Maker = Callable[[], LatencyPredictor]


class PredictorContract:
    """Subclasses give ``make``, which makes an unfitted predictor, and ``table`` with ``latency_ms``, some 60 cells."""

    saved = True
    """False for a predictor that ``load_predictor`` does not know."""

    @pytest.fixture
    def make(self) -> Maker:
        raise NotImplementedError("give a fixture named make")

    @pytest.fixture
    def table(self) -> ArchitectureTable:
        raise NotImplementedError("give a fixture named table")

    @pytest.fixture
    def latency_ms(self) -> NDArray[np.float64]:
        raise NotImplementedError("give a fixture named latency_ms")

    @pytest.fixture
    def fitted(self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]) -> LatencyPredictor:
        return make().fit(table, latency_ms)

    def test_it_holds_its_network(self, make: Maker) -> None:
        assert isinstance(make().network, NetworkConfig)

    def test_fit_returns_the_predictor(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        predictor = make()
        assert predictor.fit(table, latency_ms) is predictor

    def test_predictions_are_one_finite_number_a_cell(self, fitted: LatencyPredictor, table: ArchitectureTable) -> None:
        predicted = fitted.predict(table)
        assert predicted.shape == (len(table),)
        assert np.isfinite(predicted).all()

    def test_it_beats_the_mean_on_what_it_learned(
        self, fitted: LatencyPredictor, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        off = np.abs(fitted.predict(table) - latency_ms).mean()
        assert off < np.abs(latency_ms.mean() - latency_ms).mean()

    def test_architectures_are_as_good_as_their_table(self, fitted: LatencyPredictor, table: ArchitectureTable) -> None:
        few = table[:7]
        np.testing.assert_allclose(fitted.predict(list(few)), fitted.predict(few), rtol=1e-5)
        np.testing.assert_allclose(fitted.predict(few[3]), fitted.predict(few)[3:4], rtol=1e-5)

    def test_a_prediction_does_not_depend_on_the_cells_beside(
        self, fitted: LatencyPredictor, table: ArchitectureTable
    ) -> None:
        np.testing.assert_allclose(fitted.predict(table[::-1])[::-1], fitted.predict(table), rtol=1e-5)

    def test_equal_data_and_settings_give_equal_predictors(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        one, other = make().fit(table, latency_ms), make().fit(table, latency_ms)
        assert one.predict(table).tolist() == other.predict(table).tolist()
        assert one.training_digest_ == other.training_digest_

    def test_fitting_again_forgets(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64], fitted: LatencyPredictor
    ) -> None:
        twice = make().fit(table, 3 * latency_ms[::-1]).fit(table, latency_ms)
        assert twice.predict(table).tolist() == fitted.predict(table).tolist()

    def test_other_latencies_have_another_digest(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64], fitted: LatencyPredictor
    ) -> None:
        assert make().fit(table, 2 * latency_ms).training_digest_ != fitted.training_digest_

    def test_weights_count(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64], fitted: LatencyPredictor
    ) -> None:
        weights = np.linspace(0.1, 3.0, len(table))
        weighted = make().fit(table, latency_ms, sample_weight=weights)
        assert not np.allclose(weighted.predict(table), fitted.predict(table), rtol=1e-9)

    def test_standard_deviations_are_positive(self, fitted: LatencyPredictor, table: ArchitectureTable) -> None:
        mean, deviation = fitted.predict(table, return_std=True)
        assert mean.tolist() == fitted.predict(table).tolist()
        assert (deviation > 0).all()

    def test_intervals_hold_the_prediction_and_widen_with_their_share(
        self, fitted: LatencyPredictor, table: ArchitectureTable
    ) -> None:
        mean = fitted.predict(table)
        narrow, wide = fitted.predict_interval(table, 0.5), fitted.predict_interval(table, 0.95)
        assert (wide[0] <= narrow[0]).all()
        assert (narrow[0] <= mean).all()
        assert (mean <= narrow[1]).all()
        assert (narrow[1] <= wide[1]).all()
        assert (wide[0] >= 0).all()

    def test_features_have_names(self, make: Maker, table: ArchitectureTable) -> None:
        values, names = make().features(table)
        assert values.shape == (len(table), len(names))
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("coverage", [0, 1, -0.1, 90])
    def test_an_impossible_coverage_is_refused(
        self, fitted: LatencyPredictor, table: ArchitectureTable, coverage: float
    ) -> None:
        with pytest.raises(InvalidInputError, match="between 0 and 1"):
            fitted.predict_interval(table, coverage)

    @pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_latency_that_is_none_is_refused(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64], bad: float
    ) -> None:
        spoiled = latency_ms.copy()
        spoiled[3] = bad
        with pytest.raises(InvalidInputError, match=r"latency_ms\[3\]"):
            make().fit(table, spoiled)

    def test_lengths_that_differ_are_refused(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        with pytest.raises(InvalidInputError, match="one number a cell"):
            make().fit(table, latency_ms[:-1])

    def test_weights_below_zero_are_refused(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        with pytest.raises(InvalidInputError, match="sample_weight"):
            make().fit(table, latency_ms, sample_weight=-np.ones(len(table)))

    def test_no_cell_at_all_is_refused(self, fitted: LatencyPredictor) -> None:
        with pytest.raises(InvalidInputError, match="no cell"):
            fitted.predict([])

    def test_something_else_than_cells_is_refused(self, fitted: LatencyPredictor) -> None:
        with pytest.raises(InvalidInputError, match="Architectures or an ArchitectureTable"):
            fitted.predict(["0-1:"])  # type: ignore[list-item]

    def test_nothing_is_predicted_or_saved_before_fit(
        self, make: Maker, table: ArchitectureTable, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidInputError, match="call fit first"):
            make().predict(table)
        with pytest.raises(InvalidInputError, match="call fit first"):
            make().save(tmp_path / "predictor.zip")
        assert not list(tmp_path.iterdir())

    def test_a_saved_predictor_comes_back(
        self, fitted: LatencyPredictor, table: ArchitectureTable, tmp_path: Path
    ) -> None:
        if not self.saved:
            pytest.skip("load_predictor does not know it")
        fitted.save(tmp_path / "predictor.zip")
        loaded = load_predictor(tmp_path / "predictor.zip")
        assert type(loaded) is type(fitted)
        assert loaded.network == fitted.network
        assert loaded.get_params() == fitted.get_params()
        assert loaded.training_digest_ == fitted.training_digest_
        assert loaded.predict(table).tolist() == fitted.predict(table).tolist()
        for one, other in zip(loaded.predict_interval(table), fitted.predict_interval(table), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)

    def test_a_damaged_file_is_refused(self, fitted: LatencyPredictor, tmp_path: Path) -> None:
        if not self.saved:
            pytest.skip("load_predictor does not know it")
        path = tmp_path / "predictor.zip"
        fitted.save(path)
        content = bytearray(path.read_bytes())
        inside = content.index(b"{"), content.index(b"learned.npz") + 40, len(content) // 2
        for place in inside:
            spoiled = content.copy()
            spoiled[place] ^= 0xFF
            path.write_bytes(spoiled)
            with pytest.raises(PredictorFileError, match="damaged"):
                load_predictor(path)
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(PredictorFileError, match="damaged"):
            load_predictor(path)
