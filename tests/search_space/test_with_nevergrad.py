"""ArchitectureSpace in nevergrad's hands: optimizers, containers, executors, logs and Pareto fronts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nevergrad as ng
import numpy as np
import pytest

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidSearchError
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from leti_opt.search_space.parametrization import ArchitectureSpace, pareto_front
from tests.search_space.spaces import CELL, ONE_CELL, name_of, space

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


def test_a_tabu_list_of_cells_is_kept() -> None:
    made = space()
    made.specify_tabu_length(1000)
    free = len(set(asked(space(), "DiscreteOnePlusOne", budget=40)))
    assert len(set(asked(made, "DiscreteOnePlusOne", budget=40))) >= free


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
