"""What every predictor must do, whatever it is asked about. A test class inherits this and gives the fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError, PredictorFileError
from leti_opt.predictor.row_predictor import RowPredictor

RowMaker = Callable[[], RowPredictor[Any]]


class RowPredictorContract:
    """Subclasses give ``make``, an unfitted predictor, and ``table`` with ``latency_ms``, some 60 networks."""

    saved = True
    """False for a predictor that files may not name."""

    @pytest.fixture
    def make(self) -> RowMaker:
        raise NotImplementedError("give a fixture named make")

    @pytest.fixture
    def table(self) -> Any:
        raise NotImplementedError("give a fixture named table")

    @pytest.fixture
    def latency_ms(self) -> NDArray[np.float64]:
        raise NotImplementedError("give a fixture named latency_ms")

    @pytest.fixture
    def fitted(self, make: RowMaker, table: Any, latency_ms: NDArray[np.float64]) -> RowPredictor[Any]:
        return make().fit(table, latency_ms)

    def test_predictions_are_one_finite_number_a_row(self, fitted: RowPredictor[Any], table: Any) -> None:
        predicted = fitted.predict(table)
        assert predicted.shape == (len(table),)
        assert np.isfinite(predicted).all()

    def test_it_beats_the_mean_on_what_it_learned(
        self, fitted: RowPredictor[Any], table: Any, latency_ms: NDArray[np.float64]
    ) -> None:
        off = np.abs(fitted.predict(table) - latency_ms).mean()
        assert off < np.abs(latency_ms.mean() - latency_ms).mean()

    def test_a_prediction_does_not_depend_on_the_rows_beside(self, fitted: RowPredictor[Any], table: Any) -> None:
        backwards = np.arange(len(table))[::-1]
        np.testing.assert_allclose(fitted.predict(table.take(backwards))[::-1], fitted.predict(table), rtol=1e-5)

    def test_fit_returns_the_predictor_and_equal_data_and_settings_give_equal_ones(
        self, make: RowMaker, table: Any, latency_ms: NDArray[np.float64], fitted: RowPredictor[Any]
    ) -> None:
        other = make()
        assert other.fit(table, latency_ms) is other
        assert other.predict(table).tolist() == fitted.predict(table).tolist()
        assert other.training_digest_ == fitted.training_digest_

    def test_fitting_again_forgets(
        self, make: RowMaker, table: Any, latency_ms: NDArray[np.float64], fitted: RowPredictor[Any]
    ) -> None:
        twice = make().fit(table, 3 * latency_ms[::-1]).fit(table, latency_ms)
        assert twice.predict(table).tolist() == fitted.predict(table).tolist()

    def test_its_digest_says_what_it_was_fitted_to(
        self, fitted: RowPredictor[Any], table: Any, latency_ms: NDArray[np.float64]
    ) -> None:
        assert fitted.was_fitted_to(table, latency_ms)
        assert not fitted.was_fitted_to(table, 2 * latency_ms)
        assert not fitted.was_fitted_to(table.take(np.arange(5)), latency_ms[:5])

    def test_weights_count(
        self, make: RowMaker, table: Any, latency_ms: NDArray[np.float64], fitted: RowPredictor[Any]
    ) -> None:
        weights = np.linspace(0.1, 3.0, len(table))
        weighted = make().fit(table, latency_ms, sample_weight=weights)
        assert not np.allclose(weighted.predict(table), fitted.predict(table), rtol=1e-9)

    def test_standard_deviations_are_positive(self, fitted: RowPredictor[Any], table: Any) -> None:
        mean, deviation = fitted.predict(table, return_std=True)
        assert mean.tolist() == fitted.predict(table).tolist()
        assert (deviation > 0).all()

    def test_intervals_hold_the_prediction_and_widen_with_their_share(
        self, fitted: RowPredictor[Any], table: Any
    ) -> None:
        mean = fitted.predict(table)
        narrow, wide = fitted.predict_interval(table, 0.5), fitted.predict_interval(table, 0.95)
        assert (wide[0] <= narrow[0]).all()
        assert (narrow[0] <= mean).all()
        assert (mean <= narrow[1]).all()
        assert (narrow[1] <= wide[1]).all()
        assert (wide[0] >= 0).all()

    def test_features_have_names(self, make: RowMaker, table: Any) -> None:
        values, names = make().features(table)
        assert values.shape == (len(table), len(names))
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("coverage", [0, 1, -0.1, 90])
    def test_an_impossible_coverage_is_refused(self, fitted: RowPredictor[Any], table: Any, coverage: float) -> None:
        with pytest.raises(InvalidInputError, match="between 0 and 1"):
            fitted.predict_interval(table, coverage)

    @pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_latency_that_is_none_is_refused(
        self, make: RowMaker, table: Any, latency_ms: NDArray[np.float64], bad: float
    ) -> None:
        spoiled = latency_ms.copy()
        spoiled[3] = bad
        with pytest.raises(InvalidInputError, match=r"latency_ms\[3\]"):
            make().fit(table, spoiled)

    def test_lengths_that_differ_are_refused(self, make: RowMaker, table: Any, latency_ms: NDArray[np.float64]) -> None:
        with pytest.raises(InvalidInputError, match=f"one number a {make().row_name}"):
            make().fit(table, latency_ms[:-1])

    def test_weights_below_zero_are_refused(self, make: RowMaker, table: Any, latency_ms: NDArray[np.float64]) -> None:
        with pytest.raises(InvalidInputError, match="sample_weight"):
            make().fit(table, latency_ms, sample_weight=-np.ones(len(table)))

    def test_nothing_is_predicted_or_saved_before_fit(self, make: RowMaker, table: Any, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match="call fit first"):
            make().predict(table)
        with pytest.raises(InvalidInputError, match="call fit first"):
            make().save(tmp_path / "predictor.zip")
        assert not list(tmp_path.iterdir())

    def test_a_saved_predictor_comes_back(self, fitted: RowPredictor[Any], table: Any, tmp_path: Path) -> None:
        if not self.saved:
            pytest.skip("files may not name it")
        fitted.save(tmp_path / "predictor.zip")
        loaded = type(fitted).load(tmp_path / "predictor.zip")
        assert type(loaded) is type(fitted)
        for name in fitted.settings:
            assert getattr(loaded, name) == getattr(fitted, name)
        assert loaded.training_digest_ == fitted.training_digest_
        assert loaded.predict(table).tolist() == fitted.predict(table).tolist()
        for one, other in zip(loaded.predict_interval(table), fitted.predict_interval(table), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)

    def test_a_damaged_file_is_refused(self, fitted: RowPredictor[Any], tmp_path: Path) -> None:
        if not self.saved:
            pytest.skip("files may not name it")
        path = tmp_path / "predictor.zip"
        fitted.save(path)
        content = bytearray(path.read_bytes())
        inside = content.index(b"{"), content.index(b"learned.npz") + 40, len(content) // 2
        for place in inside:
            spoiled = content.copy()
            spoiled[place] ^= 0xFF
            path.write_bytes(spoiled)
            with pytest.raises(PredictorFileError, match="damaged"):
                type(fitted).load(path)
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(PredictorFileError, match="damaged"):
            type(fitted).load(path)
