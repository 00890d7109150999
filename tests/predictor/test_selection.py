"""What is measured next: it fills the space, goes to where a predictor is unsure, and never comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leti_opt import Architecture, DeviceLatencyObjective, NetworkConfig, select
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.predictor import selection
from leti_opt.predictor.cells import CellRows
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.held_out_error import FEWEST_HELD_OUT, HeldOut, hold_out, mean_upper_bound
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.selection import relative_widths
from leti_opt.predictor.space_filling import farthest_first, standardized_points
from leti_opt.predictor.structure_features import structure_features
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table

NETWORK = NetworkConfig.small(filters=8)


class UnsureOfPools(LatencyPredictor):
    """Its interval is wide where a cell has pools, narrow elsewhere; all cells look the same to it but for a number."""

    def features(self, architectures: Any) -> Any:
        values, names = structure_features(architectures)
        return values, names

    def _fit(self, *learned: Any) -> None:
        names = learned[1]
        self.pools = names.index("counts/maxpool3x3")

    def _predict(self, features: Any) -> Any:
        return np.full(len(features), 2.0)

    def _half_widths(self, features: Any, coverage: float) -> Any:
        return np.where(features[:, self.pools] > 0, coverage, 0.01 * coverage)

    def _learned(self) -> dict[str, Any]:
        return {}

    def _restore(self, learned: dict[str, Any]) -> None:
        pass


def slow_gaps(points: NDArray[Any], there: list[NDArray[Any]]) -> NDArray[Any]:
    """The obvious way: the distance of each point to every one that is there, every time."""
    return np.array([min(float(np.linalg.norm(point - other)) for other in there) for point in points])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(2, 25),
    there=st.integers(0, 5),
    weighted=st.booleans(),
    data=st.data(),
)
def test_each_point_is_the_farthest_in_the_obvious_way_too(
    seed: int, size: int, there: int, weighted: bool, data: st.DataObject
) -> None:
    draw = np.random.default_rng(seed)
    points, near = draw.standard_normal((size, 3)), draw.standard_normal((there, 3))
    weights = draw.uniform(0.5, 2.0, size) if weighted else None
    n, first = data.draw(st.integers(1, size)), data.draw(st.integers(0, size - 1))
    found = farthest_first(points.astype(np.float32), n, near.astype(np.float32), weights, first)
    assert len(set(found.tolist())) == n
    factors = np.ones(size) if weights is None else weights
    for place, row in enumerate(found.tolist()):
        beyond = [*near, *points[found[:place]]]
        if beyond:
            scores = slow_gaps(points, beyond) * factors
            assert scores[row] >= scores.max() - 5e-3, "but for the rounding of single precision"
        else:
            assert row == (first if weights is None else int(weights.argmax()))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_equal_points_are_chosen_once_each_and_after_all_different_ones(values: list[int]) -> None:
    points = np.array(values, dtype=np.float32)[:, np.newaxis]
    found = farthest_first(points, len(values)).tolist()
    assert sorted(found) == list(range(len(values)))
    different = len(set(values))
    assert len({values[row] for row in found[:different]}) == different


def test_each_group_of_features_counts_the_same_and_constant_ones_do_not() -> None:
    values = np.random.default_rng(0).uniform(5, 9, (50, 7))
    values[:, 6] = 3.0
    points = standardized_points(values, ("one/a", "two/a", "two/b", "two/c", "two/d", "two/e", "constant/a"))
    assert points.shape == (50, 6)
    variances = points.var(axis=0)
    assert variances[0] == pytest.approx(1, abs=1e-5)
    assert variances[1:].sum() == pytest.approx(1, abs=1e-5)


def test_structure_is_told_as_cell_by_cell() -> None:
    cells = [small_table(40)[row] for row in range(40)]
    values, names = structure_features(cells)
    for cell, row in zip(cells, values, strict=True):
        told = dict(zip(names, row.astype(int).tolist(), strict=True))
        inner = cell.operations[1:-1]
        assert [told[f"counts/{label}"] for label in cell.labels] == [inner.count(label) for label in cell.labels]
        kinds = ["input", *inner, "output"]
        edges = [(int(a), int(b)) for a, b in zip(*np.nonzero(cell.adjacency), strict=True)]
        assert sum(told[name] for name in names if name.startswith("pairs/")) == len(edges)
        for source, target in edges:
            assert told[f"pairs/{kinds[source]}-{kinds[target]}"] >= 1
        longest = {0: 0}
        for vertex in range(1, len(cell)):
            longest[vertex] = 1 + max(longest[source] for source, target in edges if target == vertex)
        sizes = (told["size/vertices"], told["size/edges"], told["size/depth"])
        assert sizes == (len(cell), len(edges), longest[len(cell) - 1])


def test_what_leads_nowhere_is_no_structure() -> None:
    bare = Architecture.parse("0-1,1-2:maxpool3x3")
    dead = Architecture.parse("0-1,1-3,0-2:maxpool3x3,conv3x3-bn-relu")
    rows = CellRows.from_architectures([bare, dead])
    values, _ = structure_features(rows)
    assert values[0].tolist() == values[1].tolist()


@pytest.mark.parametrize("predictor", [None, FlopsPredictor(SMALL), KernelPredictor(SMALL)], ids=str)
def test_measured_rows_are_never_chosen_and_none_twice(predictor: LatencyPredictor | None) -> None:
    table, measured = small_table(60), np.arange(0, 60, 3)
    found = select(table, 40, predictor, measured, seed=4)
    assert len(set(found.tolist())) == 40
    assert not set(found.tolist()) & set(measured.tolist())


def test_the_same_seed_gives_the_same_choice_and_another_another() -> None:
    table = small_table(60)
    assert select(table, 10, seed=1).tolist() == select(table, 10, seed=1).tolist()
    assert select(table, 10, seed=1).tolist() != select(table, 10, seed=2).tolist()


def test_choosing_goes_on_where_measured_rows_left_off() -> None:
    table = small_table(60)
    first = select(table, 10)
    on = select(table, 10, measured=first, seed=9)
    points = standardized_points(*structure_features(table))

    def gap(rows: Any) -> float:
        between = np.linalg.norm(points[rows][:, np.newaxis] - points[rows], axis=2)
        return float(between[np.triu_indices(len(rows), 1)].min())

    random = [gap(np.random.default_rng(seed).choice(60, 20, replace=False)) for seed in range(20)]
    assert gap(np.concatenate([first, on])) > max(random)


def test_a_fitted_predictor_is_asked_where_it_is_unsure_and_the_batch_is_diverse() -> None:
    table = small_table(80)
    predictor = UnsureOfPools(SMALL).fit(table, made_up_latency_ms(table))
    found = select(table, 12, predictor)
    values, names = predictor.features(table)
    pools = values[:, names.index("counts/maxpool3x3")]
    assert (pools[found] > 0).all()
    assert 0 < (pools > 0).sum() < 80
    assert len(np.unique(values[found], axis=0)) == 12


def test_equal_cells_are_not_chosen_together() -> None:
    table = small_table(20)
    doubled = ArchitectureTable.from_architectures([*table, *table])
    predictor = KernelPredictor(SMALL).fit(table, made_up_latency_ms(table))
    for each in (None, predictor):
        found = select(doubled, 15, each)
        assert len(set((found % 20).tolist())) == 15


def test_widths_are_relative_and_what_has_none_is_as_unsure_as_any() -> None:
    table = small_table(30)
    predictor = FlopsPredictor(SMALL).fit(table, made_up_latency_ms(table))
    widths = relative_widths(predictor, table)
    assert np.allclose(widths, widths[0])
    predictor.scores_ = np.full(30, np.inf)
    assert relative_widths(predictor, table).tolist() == [1.0] * 30


def test_of_many_cells_a_random_part_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_CANDIDATES", 12)
    table, measured = small_table(60), np.arange(5)
    runs = [select(table, 3, measured=measured, seed=seed).tolist() for seed in range(40)]
    assert runs[0] == select(table, 3, measured=measured, seed=0).tolist()
    assert all(len(set(found)) == 3 and not set(found) & set(range(5)) for found in runs)
    assert len({row for found in runs for row in found}) > 30


def test_cells_that_were_handed_in_unpruned_and_a_space_of_ones_own_are_taken() -> None:
    labels = ("wide", "narrow")
    chain = np.eye(4, k=1, dtype=int)
    cells = [Architecture(chain, ["input", one, two, "output"], labels) for one in labels for two in labels]
    assert sorted(select(cells, 4).tolist()) == [0, 1, 2, 3]
    assert len(select(CellRows.from_architectures(cells), 2, measured=[0])) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"n": 0}, "0 cells cannot be chosen of 9"),
        ({"n": True}, "True cells"),
        ({"n": 2.0}, "2.0 cells"),
        ({"n": 8, "measured": [0, 1]}, "ask for 1 to 7"),
        ({"n": 1, "measured": range(9)}, "of which 9 are measured"),
        ({"n": 1, "measured": [9]}, "the row 9; the 9 cells have rows 0 to 8"),
        ({"n": 1, "measured": [-1]}, "the row -1"),
        ({"n": 1, "measured": [0.5]}, "whole numbers"),
        ({"n": 1, "measured": [[0]]}, "shape"),
        ({"n": 1, "seed": -1}, "seed is a whole number"),
        ({"n": 1, "seed": "a"}, "seed is a whole number"),
        ({"n": 1, "predictor": "flops"}, "not 'flops'"),
    ],
)
def test_bad_input_is_refused(call: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        select(small_table(9), **call)


def test_what_is_no_cell_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not 5"):
        select(5, 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="no cell"):
        select([], 1)


def test_choosing_beats_chance_on_a_simulated_device() -> None:
    """Of 30 cells, averaged over seeds: the largest error and the 95th percentile are smaller than for random cells."""
    objective = DeviceLatencyObjective("replay:formula?seed=1&residual=0.02", NETWORK, store=":memory:")
    table = small_table(250)
    latency_ms = np.array([objective(cell) for cell in table])

    def worst(rows: NDArray[np.int64]) -> tuple[float, float]:
        predicted = KernelPredictor(NETWORK).fit(table[rows], latency_ms[rows]).predict(table)
        errors = np.delete(np.abs(predicted - latency_ms) / latency_ms, rows)
        return float(errors.max()), float(np.quantile(errors, 0.95))

    chosen, random = [], []
    for seed in range(6):
        rows = select(table, 15, KernelPredictor(NETWORK), seed=seed)
        fitted = KernelPredictor(NETWORK).fit(table[rows], latency_ms[rows])
        chosen.append(worst(np.concatenate([rows, select(table, 15, fitted, measured=rows, seed=seed)])))
        random.append(worst(np.random.default_rng(seed).choice(len(table), 30, replace=False)))
    assert np.mean(chosen, axis=0)[0] < 0.8 * np.mean(random, axis=0)[0]
    assert np.mean(chosen, axis=0)[1] < np.mean(random, axis=0)[1]


@pytest.mark.parametrize("kind", ["normal", "exponential"])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_bound_of_a_mean_error_holds_as_often_as_it_says(kind: str, confidence: float) -> None:
    draw = np.random.default_rng(5)
    errors = draw.exponential(size=(1500, 30)) if kind == "exponential" else np.abs(draw.standard_normal((1500, 30)))
    mean = 1.0 if kind == "exponential" else np.sqrt(2 / np.pi)
    held = np.mean([mean < mean_upper_bound(own, confidence) for own in errors])
    assert confidence - 0.015 < held


def test_few_or_infinite_errors_have_no_bound() -> None:
    assert mean_upper_bound(np.full(FEWEST_HELD_OUT - 1, 0.1), 0.9) == np.inf
    assert mean_upper_bound([*np.full(30, 0.1), np.inf], 0.9) == np.inf
    assert mean_upper_bound(np.full(30, 0.1), 0.9) == pytest.approx(0.1)


@given(st.integers(0, 1000), st.integers(20, 60))
def test_widened_intervals_hold_their_share_of_further_cells(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    held = HeldOut(np.full(count, 5.0), 5 + draw.standard_normal(count), draw.uniform(0.1, 1.0, count))
    within = np.abs(held.predicted_ms - 5) <= held.widening(0.9) * held.half_width_ms * (1 + 1e-12)
    assert within.sum() >= 0.9 * count
    assert held.widening(0.9) >= 1


def test_a_held_out_cell_was_not_learned_from() -> None:
    """Rows that were not drawn at random are never held out; each other one is predicted without itself."""
    table = small_table(40)
    latency_ms = made_up_latency_ms(table)
    latency_ms[7] *= 100
    fair = np.array([3, 7, 11, 20, 30, 31])
    held = hold_out(KernelPredictor(SMALL), table, latency_ms, fair, 0.9)
    assert held.latency_ms.tolist() == latency_ms[fair].tolist()
    assert held.errors[1] > 0.9
    rest = np.setdiff1d(np.arange(40), [7])
    alone = KernelPredictor(SMALL).fit(table[rest], latency_ms[rest]).predict(table[[7]])
    assert held.predicted_ms[1] == pytest.approx(alone[0])
