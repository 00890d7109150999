"""Accuracy and latency as a list of losses."""

from __future__ import annotations

import nevergrad as ng
import pytest

from leti_opt import AccuracyLatencyObjective, Architecture, ArchitectureSpace
from leti_opt.errors import InfeasibleError, InvalidInputError
from tests.contracts.scripted_device import ScriptedDevice, steady
from tests.objective.cells import CONV, objective_on


def size_as_accuracy(cell: Architecture) -> float:
    return len(cell.pruned()) / 10


def test_losses_are_the_share_of_errors_and_milliseconds() -> None:
    objective = AccuracyLatencyObjective(lambda _: 0.9, objective_on(ScriptedDevice([steady(4.0)])))
    assert objective(CONV) == pytest.approx([0.1, 4.0])


def test_an_infeasible_network_is_not_trained() -> None:
    device = ScriptedDevice([], load_script=[InfeasibleError("refused")])
    asked: list[Architecture] = []
    objective = AccuracyLatencyObjective(lambda cell: asked.append(cell) or 0.5, objective_on(device))
    assert objective(CONV) == objective.upper_bounds
    assert asked == []


def test_an_accuracy_in_percent_is_refused() -> None:
    objective = AccuracyLatencyObjective(lambda _: 93.2, objective_on("replay:formula"))
    with pytest.raises(InvalidInputError, match="not percent"):
        objective(CONV)


@pytest.mark.parametrize("name", ["DE", "NGOpt", "DiscreteOnePlusOne", "CMA", "RandomSearch"])
def test_nevergrads_pareto_front_holds_what_nothing_beats(name: str) -> None:
    space = ArchitectureSpace()
    space.random_state.seed(2)
    optimizer = ng.optimizers.registry[name](space, budget=40)
    objective = AccuracyLatencyObjective(size_as_accuracy, objective_on("replay:formula?seed=3"))
    objective.give_bounds(optimizer)
    optimizer.minimize(objective)
    front = optimizer.pareto_front()
    assert front
    losses = [objective(candidate.value) for candidate in front]
    for first in losses:
        assert not any(other[0] < first[0] and other[1] < first[1] for other in losses)
    assert 1 <= len(optimizer.pareto_front(size=2, subset="domain-covering")) <= 2
