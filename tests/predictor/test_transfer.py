from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from leti_opt import NAS_BENCH_201, network_cost
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.predictor.cells import CellRows
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.metrics import coverage, prediction_metrics
from leti_opt.predictor.predictor import load_predictor
from leti_opt.predictor.spread_cells import spread_cells
from leti_opt.predictor.transfer import Sources, TransferPredictor
from leti_opt.predictor.transfer_basis import AS_GIVEN, PRUNED, pruned_rows
from tests.contracts.predictor_contract import Maker, PredictorContract
from tests.predictor.samples import NATIVE, SMALL, made_up_latency_ms, small_table

COSTS_MS = {
    "one": (2.0, 0.1, 1.0, 2.5, 0.8, 0.2),
    "another": (1.0, 0.3, 0.8, 3.0, 1.5, 0.3),
    "third": (3.0, 0.2, 1.5, 2.0, 0.5, 0.1),
    "fourth": (1.5, 0.1, 0.6, 4.0, 1.0, 0.2),
}
"""Of the network's rest, and of each operation of NAS-Bench-201."""
TARGET_MS = (1.8, 0.2, 1.2, 3.6, 0.7, 0.2)


def native_cells(count: int, seed: int) -> CellRows:
    """Connected cells at random, unpruned."""
    draw = np.random.default_rng(seed)
    choices = draw.integers(len(NAS_BENCH_201.operations), size=(4 * count, len(NAS_BENCH_201.edges)))
    present = choices != 0
    reaches = present[:, 3] | (present[:, 0] & (present[:, 4] | (present[:, 2] & present[:, 5])))
    reaches |= present[:, 1] & present[:, 5]
    return CellRows.from_native(choices[reaches][:count], NAS_BENCH_201)


def native_latency_ms(cells: CellRows, costs_ms: tuple[float, ...], *, pruned: bool, seed: int) -> NDArray[np.float64]:
    """The sum of what is executed, give or take 2 per cent; a runtime that prunes executes live vertices alone."""
    own = cells.operations[:, :, np.newaxis] == np.arange(len(cells.labels))
    executed = own & cells.live[:, 1:-1, np.newaxis] if pruned else own
    exact = costs_ms[0] + executed.sum(axis=1) @ np.array(costs_ms[1:])
    return exact * np.exp(0.02 * np.random.default_rng(seed).standard_normal(len(cells)))


@pytest.fixture(scope="module")
def sources() -> Sources:
    cells = native_cells(150, seed=1)
    return {
        name: (cells, native_latency_ms(cells, costs, pruned=False, seed=number))
        for number, (name, costs) in enumerate(COSTS_MS.items())
    }


@pytest.fixture(scope="module")
def transfer(sources: Sources) -> TransferPredictor:
    """Has learned from the sources; each test fits it anew."""
    predictor = TransferPredictor(NATIVE, sources)
    predictor.features(native_cells(1, seed=0))
    return predictor


class TestContract(PredictorContract):
    @pytest.fixture
    def table(self) -> ArchitectureTable:
        return small_table(40)

    @pytest.fixture
    def latency_ms(self, table: ArchitectureTable) -> NDArray[np.float64]:
        return made_up_latency_ms(table)

    @pytest.fixture
    def make(self) -> Maker:
        cells = small_table(30, seed=1)
        plain = 2.0 + network_cost(cells, SMALL).flops / 3e7
        devices: Sources = {"plain": (cells, plain), "other": (cells, made_up_latency_ms(cells, seed=2))}
        return lambda: TransferPredictor(SMALL, devices)


def test_ten_latencies_are_worth_more_with_other_devices_known(transfer: TransferPredictor) -> None:
    others = native_cells(400, seed=3)
    measured = native_latency_ms(others, TARGET_MS, pruned=False, seed=5)
    ours, scratch = [], []
    for seed in range(4):
        few = native_cells(10, seed=30 + seed)
        few_ms = native_latency_ms(few, TARGET_MS, pruned=False, seed=seed)
        ours.append(prediction_metrics(transfer.fit(few, few_ms).predict(others), measured))
        plain = KernelPredictor(NATIVE).fit(few, few_ms)
        scratch.append(prediction_metrics(plain.predict(others), measured))
    ranks, ranks_of_scratch = (np.mean([one.spearman for one in found]) for found in (ours, scratch))
    errors, errors_of_scratch = (
        np.mean([one.mean_absolute_percentage_error for one in found]) for found in (ours, scratch)
    )
    assert ranks > max(0.95, ranks_of_scratch)
    assert errors < 0.75 * errors_of_scratch


def test_a_device_that_prunes_is_predicted_from_devices_that_do_not(transfer: TransferPredictor) -> None:
    few, others = native_cells(20, seed=2), native_cells(400, seed=3)
    transfer.fit(few, native_latency_ms(few, TARGET_MS, pruned=True, seed=4))
    found = prediction_metrics(transfer.predict(others), native_latency_ms(others, TARGET_MS, pruned=True, seed=5))
    assert found.spearman > 0.95
    assert found.mean_absolute_percentage_error < 12


def test_a_device_with_costs_like_no_source_is_learned_from_twenty_latencies(transfer: TransferPredictor) -> None:
    others = native_cells(400, seed=3)
    odd_ms = (1.8, 0.2, 3.6, 1.2, 0.7, 0.2)
    measured = native_latency_ms(others, odd_ms, pruned=False, seed=5)
    found = []
    for seed in range(4):
        few = native_cells(20, seed=40 + seed)
        transfer.fit(few, native_latency_ms(few, odd_ms, pruned=False, seed=seed))
        found.append(prediction_metrics(transfer.predict(others), measured))
    assert np.mean([one.spearman for one in found]) > 0.97
    assert np.mean([one.mean_absolute_percentage_error for one in found]) < 5


@pytest.mark.parametrize(("pruned", "view"), [(False, AS_GIVEN), (True, PRUNED)])
def test_whether_a_device_executes_dead_ends_is_learned(transfer: TransferPredictor, pruned: bool, view: int) -> None:
    few = native_cells(20, seed=6)
    assert not few.live.all()
    transfer.fit(few, native_latency_ms(few, TARGET_MS, pruned=pruned, seed=7))
    assert transfer.few_.view_shares[view] > 0.9


def test_intervals_of_ten_latencies_hold_their_share_and_are_of_use(transfer: TransferPredictor) -> None:
    others = native_cells(300, seed=8)
    measured = native_latency_ms(others, TARGET_MS, pruned=False, seed=9)
    shares, widths = [], []
    for seed in range(6):
        few = native_cells(10, seed=20 + seed)
        transfer.fit(few, native_latency_ms(few, TARGET_MS, pruned=False, seed=seed))
        lower, upper = transfer.predict_interval(others, 0.9)
        shares.append(coverage(lower, upper, measured))
        widths.append(np.mean((upper - lower) / measured))
    assert np.mean(shares) > 0.85
    assert np.mean(widths) < 0.5


def test_one_latency_is_enough_to_scale_the_sources(transfer: TransferPredictor) -> None:
    cells = native_cells(50, seed=10)
    measured = 10 * native_latency_ms(cells, COSTS_MS["one"], pruned=False, seed=11)
    predicted = transfer.fit(cells[0], measured[:1]).predict(cells)
    assert 0.5 < np.median(predicted / measured) < 2


@pytest.mark.slow
def test_latencies_beyond_the_most_are_drawn_by_the_seed(sources: Sources) -> None:
    cells = native_cells(40, seed=12)
    measured = native_latency_ms(cells, TARGET_MS, pruned=False, seed=13)
    one, other = (TransferPredictor(NATIVE, sources, max_points=20, seed=seed) for seed in (0, 1))
    assert len(one.fit(cells, measured).few_latency_ms_) == 20
    assert one.few_latency_ms_.tolist() != other.fit(cells, measured).few_latency_ms_.tolist()


def test_a_loaded_transfer_can_be_fitted_to_another_device(transfer: TransferPredictor, tmp_path: Path) -> None:
    few = native_cells(10, seed=14)
    measured = native_latency_ms(few, TARGET_MS, pruned=False, seed=15)
    transfer.fit(few, measured[::-1]).save(tmp_path / "transfer.zip")
    loaded = load_predictor(tmp_path / "transfer.zip")
    assert loaded.fit(few, measured).predict(few).tolist() == transfer.fit(few, measured).predict(few).tolist()


def test_one_source_alone_is_refused(sources: Sources) -> None:
    with pytest.raises(InvalidInputError, match="2 devices or more"):
        TransferPredictor(NATIVE, {"one": sources["one"]})


def test_a_transfer_without_sources_cannot_be_fitted() -> None:
    cells = native_cells(10, seed=0)
    with pytest.raises(InvalidInputError, match="needs sources"):
        TransferPredictor(NATIVE).fit(cells, np.ones(10))


def test_sources_of_another_form_are_refused(sources: Sources) -> None:
    with pytest.raises(InvalidInputError, match="2 devices or more"):
        TransferPredictor(NATIVE, [sources["one"], sources["third"]])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="give a pair"):
        TransferPredictor(NATIVE, {**sources, "bad": sources["one"][0]})  # type: ignore[dict-item]


def test_a_source_with_few_cells_is_refused(sources: Sources) -> None:
    cells = native_cells(9, seed=0)
    with pytest.raises(InvalidInputError, match="'small' has 9 cells"):
        TransferPredictor(NATIVE, {**sources, "small": (cells, np.ones(9))})


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_source_with_an_unusable_latency_is_refused(sources: Sources, bad: float) -> None:
    cells, latency_ms = sources["one"]
    spoiled = np.array(latency_ms)
    spoiled[5] = bad
    with pytest.raises(InvalidInputError, match="source 'bad'"):
        TransferPredictor(NATIVE, {**sources, "bad": (cells, spoiled)})


def test_no_point_at_most_is_refused(sources: Sources) -> None:
    with pytest.raises(InvalidInputError, match="max_points"):
        TransferPredictor(NATIVE, sources, max_points=0)


def test_pruned_cells_keep_what_is_live_and_fill_up_with_none() -> None:
    cells = native_cells(60, seed=16)
    pruned = pruned_rows(cells)
    assert isinstance(pruned, CellRows)
    assert not cells.live.all()
    none = cells.labels.index("none")
    assert (pruned.operations[~cells.live[:, 1:-1]] == none).all()
    np.testing.assert_array_equal(pruned.operations[cells.live[:, 1:-1]], cells.operations[cells.live[:, 1:-1]])
    assert [cell.pruned() for cell in pruned] == [cell.pruned() for cell in cells]


def test_spread_cells_are_farther_apart_than_cells_at_random() -> None:
    cells = native_cells(200, seed=17)
    chosen = spread_cells(cells, NATIVE, 12)
    counts = (cells.operations[:, :, np.newaxis] == np.arange(len(cells.labels))).sum(axis=1)

    def nearest(rows: NDArray[np.int64]) -> float:
        distances = np.abs(counts[rows][:, np.newaxis] - counts[rows]).sum(axis=2).astype(float)
        np.fill_diagonal(distances, np.inf)
        return float(distances.min(axis=1).mean())

    draws = [np.random.default_rng(seed).choice(200, 12, replace=False) for seed in range(20)]
    assert nearest(chosen) > np.mean([nearest(rows) for rows in draws])
    assert len(set(chosen.tolist())) == 12
    assert chosen.tolist() == spread_cells(cells, NATIVE, 12).tolist()


@pytest.mark.parametrize("count", [0, 6])
def test_more_cells_than_there_are_cannot_be_chosen(count: int) -> None:
    with pytest.raises(InvalidInputError, match="ask for 1 to 5"):
        spread_cells(native_cells(5, seed=0), NATIVE, count)


@pytest.mark.slow
def test_a_clone_keeps_the_sources(sources: Sources) -> None:
    from sklearn.base import clone

    copied = clone(TransferPredictor(NATIVE, sources, seed=3))
    assert set(copied.sources) == set(sources)
    assert copied.seed == 3
    few = native_cells(12, seed=18)
    measured = native_latency_ms(few, TARGET_MS, pruned=False, seed=19)
    assert np.isfinite(copied.fit(few, measured).predict(few)).all()


def test_a_fresh_one_is_unfitted_and_shares_what_the_sources_taught(transfer: TransferPredictor) -> None:
    few = native_cells(12, seed=18)
    measured = native_latency_ms(few, TARGET_MS, pruned=False, seed=19)
    transfer.fit(few, measured)
    fresh = transfer.fresh()
    assert not hasattr(fresh, "feature_names_")
    assert fresh._knowledge is transfer._knowledge
    assert fresh.fit(few, measured).training_digest_ == transfer.training_digest_


def test_a_loaded_one_has_fresh_ones_too(transfer: TransferPredictor, tmp_path: Path) -> None:
    few = native_cells(12, seed=18)
    measured = native_latency_ms(few, TARGET_MS, pruned=False, seed=19)
    transfer.fit(few, measured).save(tmp_path / "transfer.zip")
    fresh = load_predictor(tmp_path / "transfer.zip").fresh()
    assert fresh.fit(few, measured).predict(few).tolist() == transfer.predict(few).tolist()


def test_cells_of_another_space_than_the_sources_are_refused(sources: Sources, tmp_path: Path) -> None:
    cells, few = native_cells(30, seed=2), small_table(20)
    transfer = TransferPredictor(NATIVE, dict(list(sources.items())[:2])).fit(cells, cells.live.sum(axis=1))
    with pytest.raises(InvalidInputError, match="'one' measured cells of another space"):
        transfer.predict(few)
    transfer.save(tmp_path / "transfer.zip")
    with pytest.raises(InvalidInputError, match="'one' measured cells of another space"):
        load_predictor(tmp_path / "transfer.zip").fit(few, made_up_latency_ms(few))


def test_sources_of_different_spaces_are_refused(sources: Sources) -> None:
    few = small_table(20)
    mixed: Sources = {"one": sources["one"], "odd": (few, made_up_latency_ms(few))}
    cells = native_cells(20, seed=2)
    with pytest.raises(InvalidInputError, match="'odd' measured cells of another space"):
        TransferPredictor(NATIVE, mixed).fit(cells, cells.live.sum(axis=1))
