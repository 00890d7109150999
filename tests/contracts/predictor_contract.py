"""What every predictor of cells must do. A test class inherits this and gives the fixtures.

A predictor from outside of this package is held to the same: subclass :class:`PredictorContract` in your tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from leti_opt import NetworkConfig
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.predictor.predictor import LatencyPredictor, load_predictor
from tests.contracts.row_predictor_contract import RowPredictorContract

Maker = Callable[[], LatencyPredictor]


class PredictorContract(RowPredictorContract):
    """Subclasses give what :class:`RowPredictorContract` asks for; their ``table`` is an ArchitectureTable."""

    def test_it_holds_its_network(self, make: Maker) -> None:
        assert isinstance(make().network, NetworkConfig)

    def test_architectures_are_as_good_as_their_table(self, fitted: LatencyPredictor, table: ArchitectureTable) -> None:
        few = table[:7]
        np.testing.assert_allclose(fitted.predict(list(few)), fitted.predict(few), rtol=1e-5)
        np.testing.assert_allclose(fitted.predict(few[3]), fitted.predict(few)[3:4], rtol=1e-5)

    def test_no_cell_at_all_is_refused(self, fitted: LatencyPredictor) -> None:
        with pytest.raises(InvalidInputError, match="no cell"):
            fitted.predict([])

    def test_something_else_than_cells_is_refused(self, fitted: LatencyPredictor) -> None:
        with pytest.raises(InvalidInputError, match="Architectures or an ArchitectureTable"):
            fitted.predict(["0-1:"])  # type: ignore[list-item]

    def test_a_saved_predictor_brings_its_network(self, fitted: LatencyPredictor, tmp_path: Path) -> None:
        if not self.saved:
            pytest.skip("files may not name it")
        fitted.save(tmp_path / "predictor.zip")
        loaded = load_predictor(tmp_path / "predictor.zip")
        assert type(loaded) is type(fitted)
        assert loaded.network == fitted.network
