from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from leti_opt import NetworkConfig
from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError, UnknownOperationError
from leti_opt.predictor.better_flops import BetterFlopsPredictor
from leti_opt.predictor.boosted_trees import BoostedTreesPredictor
from leti_opt.predictor.evaluation import split_by_class
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.metrics import coverage, share_within
from tests.contracts.predictor_contract import Maker, PredictorContract
from tests.predictor.samples import NATIVE, SMALL, made_up_latency_ms, published, small_table


class MadeUp(PredictorContract):
    @pytest.fixture
    def table(self) -> ArchitectureTable:
        return small_table()

    @pytest.fixture
    def latency_ms(self, table: ArchitectureTable) -> NDArray[np.float64]:
        return made_up_latency_ms(table)


class TestFlops(MadeUp):
    @pytest.fixture
    def make(self) -> Maker:
        return lambda: FlopsPredictor(SMALL)

    def test_it_is_the_line_of_least_squares(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        predictor = make().fit(table, latency_ms)
        flops = predictor.features(table)[0][:, 0]
        slope, intercept = np.polyfit(flops, latency_ms, 1)
        np.testing.assert_allclose(predictor.predict(table), slope * flops + intercept, rtol=1e-6)


class TestBetterFlops(MadeUp):
    @pytest.fixture
    def make(self) -> Maker:
        return lambda: BetterFlopsPredictor(SMALL)

    def test_the_threshold_has_the_least_summed_variance_of_all(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        predictor = make().fit(table, latency_ms)
        assert isinstance(predictor, BetterFlopsPredictor)
        flops, peaks = predictor.features(table)[0].T

        def summed_variance(threshold: float) -> float:
            low = peaks <= threshold
            return float(latency_ms[low].var() + latency_ms[~low].var())

        possible = [
            threshold
            for threshold in np.unique(peaks)[:-1]
            if min(len(set(flops[peaks <= threshold])), len(set(flops[peaks > threshold]))) > 1
        ]
        assert summed_variance(predictor.threshold_bytes_) == pytest.approx(min(map(summed_variance, possible)))

    def test_each_side_has_its_own_line(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        predictor = make().fit(table, latency_ms)
        flops, peaks = predictor.features(table)[0].T
        predicted = predictor.predict(table)
        for side in (peaks <= predictor.threshold_bytes_, peaks > predictor.threshold_bytes_):  # type: ignore[attr-defined]
            line = np.polyval(np.polyfit(flops[side], latency_ms[side], 1), flops[side])
            np.testing.assert_allclose(predicted[side], line, rtol=1e-6)


class TestBoostedTrees(MadeUp):
    @pytest.fixture
    def make(self) -> Maker:
        return lambda: BoostedTreesPredictor(SMALL, trees=40)

    def test_it_has_the_58_inputs_of_the_paper(self, make: Maker, table: ArchitectureTable) -> None:
        values, names = make().features(table)
        assert values.shape[1] == len(names) == 2 + 7 * 7 + 7
        assert names[:2] == ("flops", "peak_memory_bytes")

    def test_cells_that_are_too_large_are_refused(self, table: ArchitectureTable) -> None:
        with pytest.raises(InvalidInputError, match="raise vertices"):
            BoostedTreesPredictor(SMALL, vertices=3).fit(table, made_up_latency_ms(table))


class TestKernels(MadeUp):
    @pytest.fixture
    def make(self) -> Maker:
        return lambda: KernelPredictor(SMALL)

    def test_an_unknown_view_is_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="view is one of"):
            KernelPredictor(SMALL, view="raw")  # type: ignore[arg-type]

    def test_an_operation_without_layers_is_refused(self) -> None:
        cell = Architecture.parse("0-1,1-2:a:a")
        with pytest.raises(UnknownOperationError, match="no layers for operation 'a'"):
            KernelPredictor(SMALL).features(cell)

    def test_cells_of_another_space_are_refused(
        self, make: Maker, table: ArchitectureTable, latency_ms: NDArray[np.float64]
    ) -> None:
        predictor = make().fit(table, latency_ms)
        cell = Architecture.parse("0-1,1-2:conv1x1:conv1x1")
        with pytest.raises(InvalidInputError, match="of the same space"):
            predictor.predict(cell)

    def test_outliers_do_not_pull(self, table: ArchitectureTable) -> None:
        latency_ms = made_up_latency_ms(table)
        spoiled = latency_ms.copy()
        spoiled[::13] *= 4
        good = np.arange(len(table)) % 13 > 0
        predicted = KernelPredictor(SMALL).fit(table, spoiled).predict(table)
        assert share_within(predicted[good], latency_ms[good], 0.1) > 0.9


@pytest.mark.parametrize("network", [NetworkConfig(), NetworkConfig.small(chained_adds=False)])
def test_kernels_take_any_network(network: NetworkConfig) -> None:
    table = small_table(30)
    predictor = KernelPredictor(network).fit(table, made_up_latency_ms(table))
    assert np.isfinite(predictor.predict(table)).all()


@pytest.mark.slow
class TestPublished:
    """On HELP's figures, of which a part ships with the package."""

    @pytest.mark.parametrize(("device", "within"), [("1080ti_1", 0.97), ("silver_4210r", 0.85), ("2080ti_32", 0.96)])
    def test_900_cells_do_for_networks_that_were_not_pruned(self, device: str, within: float) -> None:
        cells, latency_ms = published(device)
        hashes = cells.table().graph_hashes
        split = split_by_class(hashes, 900, seed=5)
        predictor = KernelPredictor(NATIVE).fit(cells.take(split.train), latency_ms[split.train])
        assert predictor.sees_unpruned_
        test = cells.take(split.test)
        assert share_within(predictor.predict(test), latency_ms[split.test], 0.1) > within
        few = split.test[::20]
        lower, upper = predictor.predict_interval(cells.take(few))
        assert 0.8 < coverage(lower, upper, latency_ms[few]) < 0.97

    def test_pruned_cells_alone_explain_less_there(self) -> None:
        cells, latency_ms = published("1080ti_1")
        split = split_by_class(cells.table().graph_hashes, 300, seed=1)
        train, test = cells.take(split.train), cells.take(split.test)
        shares = [
            share_within(
                KernelPredictor(NATIVE, view=view).fit(train, latency_ms[split.train]).predict(test),
                latency_ms[split.test],
                0.05,
            )
            for view in ("unpruned", "pruned")
        ]
        assert shares[0] > shares[1] + 0.05
