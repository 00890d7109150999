"""Predictors of networks that are no cells, and the vectors that describe these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError, PredictorFileError
from leti_opt.predictor.choice_vectors import one_hot_choices
from leti_opt.predictor.evaluation import evaluate, split_by_class
from leti_opt.predictor.fbnet import CHOICES, STAGES, fbnet_vectors
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.metrics import share_within
from leti_opt.predictor.once_for_all import once_for_all_vectors
from leti_opt.predictor.predictor import load_predictor
from leti_opt.predictor.vector_predictors import (
    BoostedTreesVectorPredictor,
    KernelVectorPredictor,
    VectorPredictor,
)
from leti_opt.predictor.vectors import Vectors, beside, vectors_of
from tests.contracts.row_predictor_contract import RowMaker, RowPredictorContract
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table

OPTIONS = ("skip", "narrow", "wide")


def made_up(count: int, seed: int = 0, noise: float = 0.02) -> tuple[Vectors, NDArray[np.float64]]:
    """Networks of six blocks, and what a device would take that adds up blocks and waits for its launches."""
    draw = np.random.default_rng(seed)
    choices = draw.integers(0, 3, (count, 6))
    work = (np.array([0.0, 1.0, 2.5])[choices] * [1, 1, 1, 2, 2, 3]).sum(axis=1)
    latency_ms = np.maximum(3.0 + work, 12.0) * np.exp(noise * draw.standard_normal(count))
    return one_hot_choices(choices, OPTIONS, stages=(3, 2, 1)), latency_ms


class OfVectors(RowPredictorContract):
    @pytest.fixture
    def table(self) -> Vectors:
        return made_up(60)[0]

    @pytest.fixture
    def latency_ms(self) -> NDArray[np.float64]:
        return made_up(60)[1]

    def test_a_bare_array_is_as_good_as_vectors(
        self, make: RowMaker, table: Vectors, latency_ms: NDArray[np.float64]
    ) -> None:
        predictor = make().fit(table.values, latency_ms)
        named = make().fit(vectors_of(table.values), latency_ms)
        assert predictor.predict(table.values).tolist() == named.predict(vectors_of(table.values)).tolist()

    def test_features_of_other_names_are_refused(
        self, make: RowMaker, table: Vectors, latency_ms: NDArray[np.float64]
    ) -> None:
        predictor = make().fit(table, latency_ms)
        with pytest.raises(InvalidInputError, match="of the same space"):
            predictor.predict(Vectors(table.values, (*table.names[1:], table.names[0])))

    @pytest.mark.parametrize("bad", [[], [[]], [1.0, 2.0], [["conv"]], [[1.0], [1.0, 2.0]]])
    def test_something_else_than_vectors_is_refused(self, make: RowMaker, bad: Any) -> None:
        with pytest.raises(InvalidInputError, match="vectors"):
            make().fit(bad, [1.0])

    def test_any_kind_is_read_by_the_common_class(
        self, make: RowMaker, table: Vectors, latency_ms: NDArray[np.float64], tmp_path: Path
    ) -> None:
        predictor = make().fit(table, latency_ms)
        predictor.save(tmp_path / "one.predictor")
        assert type(VectorPredictor.load(tmp_path / "one.predictor")) is type(predictor)

    def test_its_file_is_no_predictor_of_cells(
        self, make: RowMaker, table: Vectors, latency_ms: NDArray[np.float64], tmp_path: Path
    ) -> None:
        make().fit(table, latency_ms).save(tmp_path / "one.predictor")
        with pytest.raises(PredictorFileError, match="VectorPredictor, which is no LatencyPredictor; read it with"):
            load_predictor(tmp_path / "one.predictor")


class TestKernels(OfVectors):
    @pytest.fixture
    def make(self) -> RowMaker:
        return KernelVectorPredictor

    def test_groups_that_are_not_there_are_refused(self, table: Vectors, latency_ms: NDArray[np.float64]) -> None:
        with pytest.raises(InvalidInputError, match="no group 'stages'; did you mean 'stage'"):
            KernelVectorPredictor(details=("stages",)).fit(table, latency_ms)
        with pytest.raises(InvalidInputError, match="leave one that makes the sum"):
            KernelVectorPredictor(details=("block", "stage", "total")).fit(table, latency_ms)

    def test_details_and_metric_are_groups(self) -> None:
        vectors, latencies = made_up(200)
        predictor = KernelVectorPredictor(details=("block",), metric=("total",)).fit(vectors, latencies)
        assert share_within(predictor.predict(vectors), latencies, 0.1) > 0.95

    def test_large_groups_are_details_where_there_is_a_smaller_one(self) -> None:
        draw = np.random.default_rng(1)
        vectors = one_hot_choices(draw.integers(0, 3, (80, 12)), OPTIONS)
        latency_ms = 5 + vectors.values @ draw.uniform(0, 1, len(vectors.names))
        assert [len(columns) for columns in vectors.groups.values()] == [36, 3]

        def answers(**settings: Any) -> list[float]:
            return KernelVectorPredictor(**settings).fit(vectors, latency_ms).predict(vectors).tolist()

        assert answers() == answers(details=("block",), metric=("total",)) != answers(details=())

    def test_it_learns_a_sum_and_where_it_ends(self) -> None:
        vectors, latency_ms = made_up(400, noise=0)
        split = split_by_class(range(400), 300, seed=0)
        found = evaluate(KernelVectorPredictor(), vectors, latency_ms, split)
        assert found.metrics.count == 100
        assert found.metrics.within[0.05] > 0.9

    def test_intervals_hold_their_share(self) -> None:
        vectors, latency_ms = made_up(1000, noise=0.05)
        found = evaluate(KernelVectorPredictor(), vectors, latency_ms, split_by_class(range(1000), 300, seed=0))
        assert 0.85 < found.coverage < 0.95


class TestBoostedTrees(OfVectors):
    @pytest.fixture
    def make(self) -> RowMaker:
        return lambda: BoostedTreesVectorPredictor(trees=40)


def test_a_predictor_of_cells_is_none_of_vectors(tmp_path: Path) -> None:
    table = small_table(30)
    FlopsPredictor(SMALL).fit(table, made_up_latency_ms(table)).save(tmp_path / "one.predictor")
    with pytest.raises(PredictorFileError, match=r"no VectorPredictor; read it with FlopsPredictor\.load"):
        VectorPredictor.load(tmp_path / "one.predictor")


class TestVectors:
    def test_names_must_fit(self) -> None:
        for names in (("one",), ("one", "one"), ("one", "two", "three")):
            with pytest.raises(InvalidInputError, match="give each its own"):
                Vectors(np.ones((3, 2)), names)

    def test_a_number_that_is_none_is_named(self) -> None:
        with pytest.raises(InvalidInputError, match="feature 1 of row 2 is nan"):
            Vectors(np.array([[0, 0], [0, 0], [0, np.nan]]), ("one", "two"))

    def test_they_do_not_change_with_the_array_that_they_came_from(self) -> None:
        values = np.ones((1, 1))
        vectors = Vectors(values, ("one",))
        values[:] = 5
        assert vectors.values.tolist() == [[1.0]]

    def test_parts_of_other_networks_do_not_go_beside(self) -> None:
        with pytest.raises(InvalidInputError, match=r"features of \[1, 2\] networks"):
            beside(Vectors(np.ones((1, 1)), ("one",)), Vectors(np.ones((2, 1)), ("two",)))


class TestChoices:
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=1, max_size=5))
    def test_counts_are_sums_of_what_the_blocks_are(self, choices: list[list[int]]) -> None:
        vectors = one_hot_choices(choices, OPTIONS, stages=(3, 2, 1))
        parts = {group: vectors.values[:, columns] for group, columns in vectors.groups.items()}
        blocks = parts["block"].reshape(len(choices), 6, 3)
        assert blocks.argmax(axis=2).tolist() == choices
        assert (blocks.sum(axis=2) == 1).all()
        by_stage = [blocks[:, start:stop].sum(axis=1) for start, stop in ((0, 3), (3, 5), (5, 6))]
        np.testing.assert_array_equal(parts["stage"], np.hstack(by_stage))
        np.testing.assert_array_equal(parts["total"], blocks.sum(axis=1))

    @pytest.mark.parametrize(
        ("choices", "stages", "match"),
        [
            ([[0, 3]], None, "positions 0 to 2 of skip, narrow, wide, not 3"),
            ([[-1, 0]], None, "not -1"),
            ([[0.5, 1.0]], None, "whole numbers"),
            ([0, 1], None, "whole numbers"),
            ([[0, 1]], (1, 2), "give each block its stage"),
            ([[0, 1]], (2, 0), "give each block its stage"),
        ],
    )
    def test_impossible_choices_are_refused(self, choices: Any, stages: tuple[int, ...] | None, match: str) -> None:
        with pytest.raises(InvalidInputError, match=match):
            one_hot_choices(choices, OPTIONS, stages)

    def test_fbnet_is_read_by_name(self) -> None:
        numbers = np.random.default_rng(0).integers(0, len(CHOICES), (5, 22))
        texts = ["|".join(CHOICES[place] for place in row) for row in numbers]
        found, expected = fbnet_vectors(texts), one_hot_choices(numbers, CHOICES, STAGES)
        assert found.names == expected.names
        np.testing.assert_array_equal(found.values, expected.values)

    def test_other_spaces_are_not_taken_for_fbnet(self) -> None:
        with pytest.raises(InvalidInputError, match="network 1 has a block 'k3_e9'; did you mean"):
            fbnet_vectors(["|".join(["skip"] * 22), "|".join(["k3_e9"] * 22)])
        with pytest.raises(InvalidInputError, match="network 0 has 3 blocks; FBNet's have 22"):
            fbnet_vectors(["skip|skip|skip"])


def subnet(**changes: object) -> dict[str, Any]:
    return {"ks": [3, 5, 7, 3] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 2, 3], "r": 192, **changes}


class TestOnceForAll:
    def test_layers_beyond_the_depth_mean_nothing(self) -> None:
        one = once_for_all_vectors([subnet()])
        other = once_for_all_vectors([subnet(ks=[3, 5, 3, 7, *[3, 5, 7, 3] * 4], e=[3, 4, 4, 3, *[3, 4, 6, 6] * 4])])
        np.testing.assert_array_equal(one.values, other.values)

    def test_layers_within_the_depth_do(self) -> None:
        one, other = (once_for_all_vectors([subnet(ks=[first, *([3] * 19)])]).values for first in (3, 5))
        assert (one != other).any()

    def test_every_layer_that_is_there_is_counted_once(self) -> None:
        vectors = once_for_all_vectors([subnet(), subnet(d=[4] * 5)])
        for group in ("layer", "total", "depth"):
            assert vectors.values[:, vectors.groups[group]].sum(axis=1).tolist() == [14, 20]

    def test_work_goes_with_the_pixels(self) -> None:
        vectors = once_for_all_vectors([subnet(r=112), subnet(r=224)])
        for group in ("layer", "total", "depth"):
            plain, pixels = (vectors.values[:, vectors.groups[name]] for name in (group, f"{group}_pixels"))
            np.testing.assert_array_equal(plain[0], plain[1])
            np.testing.assert_allclose(pixels, plain * [[0.25], [1.0]])

    def test_json_is_as_good_and_a_resolution_may_be_left_out(self) -> None:
        settings = subnet()
        del settings["r"]
        texts = [json.dumps(settings), json.dumps(subnet())]
        np.testing.assert_array_equal(
            once_for_all_vectors(texts, resolution=192).values, once_for_all_vectors([subnet(), subnet()]).values
        )

    @pytest.mark.parametrize(
        ("settings", "match"),
        [
            (subnet(ks=[3] * 19), "give 20 numbers"),
            (subnet(e=3), "give 20 numbers"),
            (subnet(ks=[2] * 20), "ks of subnet 0 has 2; it is one of 3, 5, 7"),
            (subnet(d=[2, 2, 2, 2, 1]), "d of subnet 0 has 1; it is one of 2, 3, 4"),
            (subnet(r="224"), "side in pixels"),
            (subnet(r=0), "side in pixels"),
            ({"ks": [3] * 20}, "lack e, d"),
            ("[1, 2]", "lack ks, e, d"),
            ("{", "no JSON"),
        ],
    )
    def test_what_is_no_subnet_is_refused(self, settings: Any, match: str) -> None:
        with pytest.raises(InvalidInputError, match=match):
            once_for_all_vectors([settings])

    def test_none_at_all_is_refused(self) -> None:
        with pytest.raises(InvalidInputError, match="no subnet"):
            once_for_all_vectors([])
