"""ArchitectureSpace: native to nevergrad in every respect, and never an invalid cell."""

from __future__ import annotations

import pickle

import nevergrad as ng
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nevergrad.parametrization.test_parameter import check_parameter_features, check_parameter_freezable

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidArchitectureError, InvalidDefinitionError
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from leti_opt.search_space.parametrization import ArchitectureSpace
from tests.search_space.spaces import ALL, CELL, ORDINARY, cells, name_of, relabelled, space


@pytest.mark.parametrize("definition", ORDINARY, ids=name_of)
def test_nevergrads_own_checks_pass(definition: SpaceDefinition) -> None:
    np.random.seed(3)
    made = ArchitectureSpace(definition)
    check_parameter_features(made)
    check_parameter_freezable(made)


@pytest.mark.parametrize("definition", ALL, ids=name_of)
def test_every_way_to_a_value_gives_a_valid_cell(definition: SpaceDefinition) -> None:
    made = space(definition)
    definition.check(made.value)
    for _ in range(15):
        child = made.sample()
        definition.check(child.value)
        child.mutate()
        definition.check(child.value)
        child.recombine(made.sample(), made)
        definition.check(child.value)
        assert child.value.labels == definition.labels


@pytest.mark.parametrize("definition", ALL, ids=name_of)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_arbitrary_data_decodes_to_a_valid_cell_and_always_the_same(
    definition: SpaceDefinition, data: st.DataObject
) -> None:
    made = space(definition)
    anything = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, 1.0, -1.0]), st.floats())
    weights = data.draw(hnp.arrays(float, made.dimension, elements=anything))
    child = made.spawn_child().set_standardized_data(weights, reference=made)
    definition.check(child.value)
    again = space(definition, seed=99).set_standardized_data(weights)
    assert str(again.value) == str(child.value)


def test_moves_draw_only_from_the_random_state_handed_in() -> None:
    outcomes = []
    for numpys_own in (1, 2):
        made = space(seed=4)
        np.random.seed(numpys_own)
        child = made.sample()
        child.mutate()
        child.recombine(made.sample())
        outcomes.append((str(child.value), child.get_standardized_data(reference=made).tolist()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("definition", ALL, ids=name_of)
def test_a_value_that_is_set_is_read_back(definition: SpaceDefinition) -> None:
    made = space(definition)
    for cell in cells(definition, 20):
        made.value = cell
        assert made.value == cell
        assert str(made.value) == str(cell)
        assert made.spawn_child(new_value=cell).value == cell


def test_a_value_survives_export_to_standardized_data() -> None:
    made = space()
    child = made.spawn_child(new_value=CELL)
    data = child.get_standardized_data(reference=made)
    assert data.shape == (made.dimension,)
    assert made.spawn_child().set_standardized_data(data, reference=made).value == CELL


def test_a_small_perturbation_of_the_data_changes_a_cell_rarely() -> None:
    made = space()
    child = made.spawn_child(new_value=CELL)
    data = child.get_standardized_data(reference=made)
    same = 0
    for _ in range(50):
        noise = made.random_state.normal(scale=0.02, size=data.size)
        same += made.spawn_child().set_standardized_data(data + noise, reference=made).value == CELL
    assert same == 50


@pytest.mark.parametrize("definition", [NAS_BENCH_101, NAS_BENCH_201], ids=name_of)
def test_an_unpruned_or_renumbered_cell_can_be_set(definition: SpaceDefinition) -> None:
    random_state = np.random.RandomState(0)
    for cell in cells(definition, 10):
        other = relabelled(cell.pruned(), random_state)
        made = space(definition)
        made.value = other
        assert made.value == cell


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0-1:", "must be an Architecture"),
        (Architecture.parse("0-1,1-2:conv:conv"), "conv"),
        (Architecture.parse("0-1,1-2,2-3,3-4,4-5,5-6,6-7:" + ",".join(["maxpool3x3"] * 6)), "8 vertices"),
        (Architecture.parse("0-1,0-2,0-3,0-4,1-2,1-3,1-4,2-3,2-4,3-4:" + ",".join(["maxpool3x3"] * 3)), "10 edges"),
    ],
)
def test_a_value_that_is_not_of_the_space_is_refused_and_changes_nothing(value: object, message: str) -> None:
    made = space()
    made.value = CELL
    with pytest.raises(InvalidArchitectureError, match=message):
        made.value = value
    with pytest.raises(InvalidArchitectureError, match=message):
        made.spawn_child(new_value=value)
    assert made.value == CELL


def test_a_definition_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidDefinitionError, match="nasbench"):
        ArchitectureSpace("nasbench101")  # type: ignore[arg-type]


def test_a_frozen_space_is_read_but_not_changed() -> None:
    made = space()
    made.freeze()
    before = str(made.value)
    for change in (
        lambda: setattr(made, "value", CELL),
        made.mutate,
        lambda: made.recombine(made.spawn_child()),
        lambda: made.set_standardized_data(np.ones(made.dimension)),
    ):
        with pytest.raises(RuntimeError, match="frozen"):
            change()
    assert str(made.value) == before
    child = made.spawn_child()
    child.mutate()
    assert child.value != made.value


def test_copies_and_children_do_not_share_their_value() -> None:
    made = space()
    made.value = CELL
    for other in (made.copy(), made.spawn_child(), made.sample()):
        other.mutate()
        assert made.value == CELL
    copied = made.copy()
    made.mutate()
    assert copied.value == CELL


def test_children_know_their_parents() -> None:
    made = space()
    child = made.spawn_child()
    assert child.parents_uids == [made.uid]
    assert child.generation == 1
    sampled = made.sample()
    assert sampled.generation == 0
    assert sampled.heritage["lineage"] == sampled.uid
    assert sampled.random_state is made.random_state


def test_pickling_keeps_the_value_and_the_random_state() -> None:
    made = space()
    made.value = CELL
    back = pickle.loads(pickle.dumps(made))
    assert back.value == CELL
    assert back.definition == NAS_BENCH_101
    back.mutate()
    made.mutate()
    assert str(back.value) == str(made.value)


def test_samples_do_not_resemble_the_cell_they_are_drawn_from() -> None:
    far, near = space(seed=1), space(seed=1)
    near.value = CELL
    assert [str(far.sample().value) for _ in range(5)] == [str(near.sample().value) for _ in range(5)]


def test_samples_are_spread_over_the_space_as_its_cells_are() -> None:
    found = cells(NAS_BENCH_101, 300)
    assert len(set(found)) > 290
    assert sum(len(cell) >= 6 for cell in found) > 200  # of all 423,624 cells 99 % have six or seven vertices


@pytest.mark.parametrize(
    ("definition", "text"),
    [
        (NAS_BENCH_101, "0-1,1-2,2-3,3-4,4-5,5-6:" + ",".join(["conv3x3-bn-relu"] * 5)),
        (
            SpaceDefinition("few-edges", ("conv", "pool"), max_vertices=7, max_edges=3),
            "0-1,1-2,2-3:conv,conv:conv,pool",
        ),
    ],
    ids=["nasbench101", "few-edges"],
)
def test_a_new_space_starts_from_the_longest_chain(definition: SpaceDefinition, text: str) -> None:
    assert str(ArchitectureSpace(definition).value) == text


def test_a_new_native_space_starts_from_a_chain() -> None:
    assert NAS_BENCH_201.format_native(ArchitectureSpace(NAS_BENCH_201).value) == (
        "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"
    )


def test_equal_cells_have_equal_value_hashes() -> None:
    random_state = np.random.RandomState(0)
    for cell in cells(NAS_BENCH_101, 30):
        first, second = space(), space()
        first.value, second.value = cell, relabelled(cell, random_state)
        assert first.get_value_hash() == second.get_value_hash()
        second.mutate()
        assert first.get_value_hash() != second.get_value_hash()


def test_value_hashes_work_inside_a_container() -> None:
    inside = ng.p.Dict(cell=space(), rate=ng.p.Scalar())
    assert inside.get_value_hash() == inside.spawn_child().get_value_hash()


@pytest.mark.parametrize("definition", ALL, ids=name_of)
def test_names_are_short_and_stable(definition: SpaceDefinition) -> None:
    made = space(definition)
    before = made.name
    made.mutate()
    assert made.name == before == ArchitectureSpace(definition).name
    assert len(before) <= 34


def test_long_names_stay_different() -> None:
    names = {
        ArchitectureSpace(SpaceDefinition("a-space-with-a-very-long-name", ("a", "b"), size)).name for size in (4, 5)
    }
    assert len(names) == 2
    assert all(len(name) <= 34 for name in names)


def test_a_name_can_be_given() -> None:
    assert space().set_name("mine").spawn_child().name == "mine"
