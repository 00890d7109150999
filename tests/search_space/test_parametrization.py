"""ArchitectureSpace: native to nevergrad in every respect, and never an invalid cell."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nevergrad as ng
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nevergrad.parametrization.test_parameter import check_parameter_features, check_parameter_freezable

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidArchitectureError, InvalidDefinitionError, InvalidSearchError
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from leti_opt.search_space.parametrization import ArchitectureSpace, pareto_front
from tests.search_space.spaces import ALL, ONE_CELL, ORDINARY, cells, name_of, relabelled

CELL = Architecture.parse("0-1,0-2,1-3,2-3,3-4:conv3x3-bn-relu,maxpool3x3,conv1x1-bn-relu")
OPTIMIZERS = [
    "DiscreteOnePlusOne",
    "PortfolioDiscreteOnePlusOne",
    "DoubleFastGADiscreteOnePlusOne",
    "DiscreteLenglerOnePlusOne",
    "AdaptiveDiscreteOnePlusOne",
    "RecombiningPortfolioDiscreteOnePlusOne",
    "OptimisticDiscreteOnePlusOne",
    "DE",
    "TwoPointsDE",
    "NGOpt",
    "CMA",
    "OnePlusOne",
    "RandomSearch",
    "ScrHammersleySearch",
    "PSO",
    "TBPSA",
    "cGA",
    "ES",
    "RecES",
    "NonNSGAIIES",
]


def space(definition: SpaceDefinition = NAS_BENCH_101, seed: int = 12) -> ArchitectureSpace:
    made = ArchitectureSpace(definition)
    made.random_state.seed(seed)
    return made


def loss(cell: Architecture) -> float:
    return abs(len(cell.edges) - 7) + 0.3 * cell.operations.count("maxpool3x3")


def two_losses(cell: Architecture) -> list[float]:
    return [float(len(cell.edges)), float(7 - len(cell)) + 0.1 * cell.operations.count("maxpool3x3")]


def asked(parameter: ng.p.Parameter, optimizer: str, budget: int = 60) -> list[Architecture]:
    """The cells that an optimizer asks for, with the noise that a measurement would have left out."""
    np.random.seed(0)  # a few optimizers draw from numpy's own state
    chosen = ng.optimizers.registry[optimizer](parameter, budget=budget)
    found = []
    for _ in range(budget):
        candidate = chosen.ask()
        found.append(candidate.value)
        chosen.tell(candidate, loss(candidate.value))
    assert isinstance(chosen.recommend().value, Architecture)
    return found


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


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_ask_only_for_valid_cells(optimizer: str) -> None:
    found = asked(space(), optimizer)
    assert len(found) == 60
    for cell in found:
        NAS_BENCH_101.check(cell)
    assert len(set(found)) > 5


@pytest.mark.parametrize("optimizer", ["DiscreteOnePlusOne", "NGOpt", "ES"])
@pytest.mark.parametrize("definition", [NAS_BENCH_201, *ONE_CELL], ids=name_of)
def test_optimizers_work_on_other_kinds_and_on_a_single_cell(definition: SpaceDefinition, optimizer: str) -> None:
    for cell in asked(space(definition), optimizer):
        definition.check(cell)


@pytest.mark.parametrize("optimizer", ["DiscreteOnePlusOne", "DE", "NGOpt", "CMA", "RandomSearch", "RecES"])
def test_the_same_seed_gives_the_same_asks(optimizer: str) -> None:
    first = [str(cell) for cell in asked(space(seed=5), optimizer)]
    assert [str(cell) for cell in asked(space(seed=5), optimizer)] == first
    assert [str(cell) for cell in asked(space(seed=6), optimizer)] != first


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


def test_a_tabu_list_of_cells_is_kept() -> None:
    made = space()
    made.specify_tabu_length(1000)
    free = len(set(asked(space(), "DiscreteOnePlusOne", budget=40)))
    assert len(set(asked(made, "DiscreteOnePlusOne", budget=40))) >= free


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


def test_the_space_is_deterministic_discrete_and_may_be_declared_noisy() -> None:
    made = space()
    analysis = ng.p.helpers.analyze(made)
    assert analysis.deterministic
    assert not analysis.continuous
    made.function.deterministic = False
    assert not made.spawn_child().function.deterministic
    assert len(asked(made, "NGOpt")) == 60


def test_minimize_in_an_instrumentation_beside_other_parameters() -> None:
    inside = ng.p.Instrumentation(space(), rate=ng.p.Log(lower=0.01, upper=1.0), depth=ng.p.Choice([1, 2, 3]))
    inside.random_state.seed(3)

    def objective(cell: Architecture, rate: float, depth: int) -> float:
        NAS_BENCH_101.check(cell)
        return loss(cell) + rate + depth

    best = ng.optimizers.registry["PortfolioDiscreteOnePlusOne"](inside, budget=80).minimize(objective)
    assert objective(*best.args, **best.kwargs) < objective(*inside.args, **inside.kwargs)


@pytest.mark.parametrize("optimizer", ["DE", "NGOpt", "RecES"])
def test_containers_hold_several_spaces(optimizer: str) -> None:
    normal, reduction = space(), space(NAS_BENCH_201)
    inside = ng.p.Tuple(normal, ng.p.Dict(reduction=reduction, width=ng.p.Scalar(lower=1, upper=9)))
    inside.random_state.seed(1)
    chosen = ng.optimizers.registry[optimizer](inside, budget=60)
    for _ in range(60):
        candidate = chosen.ask()
        first, others = candidate.value
        NAS_BENCH_101.check(first)
        NAS_BENCH_201.check(others["reduction"])
        chosen.tell(candidate, loss(first) + others["width"])


def test_mutation_inside_a_container_moves_the_cell() -> None:
    inside = ng.p.Instrumentation(space(), x=ng.p.Scalar())
    child = inside.spawn_child()
    child.mutate()
    assert child.args[0] != inside.args[0]


def test_a_dumped_optimizer_goes_on_with_the_same_asks(tmp_path: Path) -> None:
    chosen = ng.optimizers.registry["DE"](space(), budget=80)
    for _ in range(40):
        candidate = chosen.ask()
        chosen.tell(candidate, loss(candidate.value))
    chosen.dump(tmp_path / "optimizer.pkl")
    loaded = ng.optimizers.registry["DE"].load(tmp_path / "optimizer.pkl")
    for _ in range(20):
        one, other = chosen.ask(), loaded.ask()
        assert str(one.value) == str(other.value)
        chosen.tell(one, loss(one.value))
        loaded.tell(other, loss(other.value))


def test_a_suggestion_is_asked_next() -> None:
    chosen = ng.optimizers.registry["DiscreteOnePlusOne"](space(), budget=10)
    chosen.suggest(CELL)
    assert chosen.ask().value == CELL


def test_minimize_with_an_executor() -> None:
    chosen = ng.optimizers.registry["PortfolioDiscreteOnePlusOne"](space(), budget=40, num_workers=3)
    with ThreadPoolExecutor(max_workers=3) as executor:
        best = chosen.minimize(loss, executor=executor)
    assert loss(best.value) < loss(space().value)


def test_cheap_constraints_see_the_cell() -> None:
    made = space()
    made.register_cheap_constraint(_has_no_pooling)
    found = asked(made, "PortfolioDiscreteOnePlusOne", budget=30)
    assert all(_has_no_pooling(cell) for cell in found)


def _has_no_pooling(cell: Architecture) -> bool:
    return "maxpool3x3" not in cell.operations


def test_the_parameters_logger_writes_what_it_can_load(tmp_path: Path) -> None:
    chosen = ng.optimizers.registry["DiscreteOnePlusOne"](space(), budget=5)
    logger = ng.callbacks.ParametersLogger(tmp_path / "log.json")
    chosen.register_callback("tell", logger)
    chosen.minimize(loss)
    logged = logger.load()
    assert len(logged) == 5
    assert logged[0]["#parametrization"] == "ArchitectureSpace(nasbench101)"
    assert any(np.shape(value) == (21,) for value in logged[0].values())
    assert len(logger.load_flattened()) == 5


def multiobjective(parameter: ng.p.Parameter, budget: int = 80) -> ng.optimizers.base.Optimizer:
    chosen = ng.optimizers.registry["DE"](parameter, budget=budget)
    chosen.tell(ng.p.MultiobjectiveReference(), [20.0, 20.0])
    for _ in range(budget):
        candidate = chosen.ask()
        cell = candidate.value if isinstance(candidate, ArchitectureSpace) else candidate.args[0]
        chosen.tell(candidate, two_losses(cell))
    return chosen


@pytest.mark.parametrize("subset", ["random", "loss-covering", "EPS", "domain-covering"])
def test_nevergrads_pareto_front_of_a_size(subset: str) -> None:
    chosen = multiobjective(space())
    assert len(chosen.pareto_front()) > 2
    front = chosen.pareto_front(size=2, subset=subset)
    assert len(front) == 2
    assert all(isinstance(candidate.value, Architecture) for candidate in front)


@pytest.mark.parametrize("plain", [False, True])
def test_our_pareto_front_of_a_size_is_spread_out(plain: bool) -> None:
    parameter = ng.p.Instrumentation(space(), x=ng.p.Scalar()) if plain else space()
    parameter.random_state.seed(2)
    chosen = multiobjective(parameter)
    whole = pareto_front(chosen)
    assert len(whole) > 3
    front = pareto_front(chosen, size=2)
    firsts = sorted(candidate.losses[0] for candidate in whole)
    assert sorted(candidate.losses[0] for candidate in front) == [firsts[0], firsts[-1]]
    three = pareto_front(chosen, size=3)
    assert three[:2] == front
    assert len({candidate.uid for candidate in three}) == 3
    assert len(pareto_front(chosen, size=1000)) == len(whole)


def test_a_pareto_front_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidSearchError, match="1 or more"):
        pareto_front(multiobjective(space(), budget=30), size=0)
