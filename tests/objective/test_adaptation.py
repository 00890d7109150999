"""A predictor for a new device: what is asked first, what the error stands on, what other devices are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leti_opt import DeviceLatencyObjective, LatencyStore, NetworkConfig, fit_actively
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.device.simulated import Formula, SimulatedDevice
from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.objective.adaptation import adapt, adaptable, check_sources, named_sources
from leti_opt.objective.standard_panel import standard_panel
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.predictor import load_predictor
from leti_opt.predictor.story_file import load_story, save_with_story
from leti_opt.predictor.training_data import TrainingData, TrainingStory
from leti_opt.predictor.transfer import TransferPredictor
from leti_opt.predictor.transfer_sources import SourceKnowledge
from tests.objective.cells import NETWORK, objective_on
from tests.objective.test_active import CountingDevice, mean_error
from tests.predictor.samples import small_table

SMOOTH = "replay:formula?seed=1&residual=0.02"


class Watch:
    """A clock that goes on by so much with every network that a device is asked for."""

    def __init__(self, device: CountingDevice, seconds_a_network: float) -> None:
        self.device, self.seconds = device, seconds_a_network

    def __call__(self) -> float:
        return self.seconds * len(self.device.loads)


@pytest.fixture(scope="module")
def table() -> ArchitectureTable:
    return small_table(200)


def figures(table: ArchitectureTable, seed: int, gflops_per_s: float, count: int = 60) -> TrainingData:
    """What another simulated device says of some cells."""
    objective = objective_on(SimulatedDevice(Formula(seed=seed, gflops_per_s=gflops_per_s, residual=0.02)))
    cells = table[:count]
    latency_ms = np.array([objective(cell) for cell in cells])
    identity = objective.service.identity
    return TrainingData(cells, latency_ms, NETWORK, TrainingStory(identity.name, identity.origin, count, "x.parquet"))


@pytest.fixture(scope="module")
def sources(table: ArchitectureTable) -> list[TrainingData]:
    return [figures(table, 11, 30.0), figures(table, 12, 5.0)]


def flops() -> FlopsPredictor:
    return FlopsPredictor(NETWORK)


class TestThePanel:
    def test_it_is_the_same_for_every_network_and_device(self, table: ArchitectureTable) -> None:
        panel = standard_panel(table)
        assert len(set(panel.graph_hashes.tolist())) == 20
        assert panel == standard_panel(table)
        assert len(standard_panel(table[:7])) == 7

    def test_it_is_asked_for_first_and_is_no_part_of_the_sample(self, table: ArchitectureTable) -> None:
        device = CountingDevice(Formula(seed=1))
        found = adapt(objective_on(device), flops(), table, panel=True, budget=90)
        asked = table[found.result.rows].graph_hashes.tolist()
        panel = standard_panel(table).graph_hashes.tolist()
        assert asked[:20] == panel
        assert found.panel == 20
        held = table[found.result.held_out_rows].graph_hashes.tolist()
        assert not set(held) & set(panel)
        assert len(device.loads) == len(set(device.loads)) == 90

    def test_the_device_keeps_it_for_a_comparison_of_its_epochs(self, table: ArchitectureTable) -> None:
        objective = objective_on(SMOOTH)
        assert objective.store.panel(objective.service.identity, NETWORK.digest) == []
        adapt(objective, flops(), table, panel=True, budget=40)
        kept = objective.store.panel(objective.service.identity, NETWORK.digest)
        keys = [objective.answer(cell).measurement for cell in standard_panel(table)]
        assert sorted(kept) == sorted(one.model_key for one in keys if one is not None)

    def test_a_panel_that_the_device_has_is_left_alone(self, table: ArchitectureTable) -> None:
        objective = objective_on(SMOOTH)
        measured = objective.answer(table[150]).measurement
        assert measured is not None
        objective.store.set_panel(objective.service.identity, NETWORK.digest, [measured.model_key])
        adapt(objective, flops(), table, panel=True, budget=40)
        assert objective.store.panel(objective.service.identity, NETWORK.digest) == [measured.model_key]

    def test_refused_networks_of_it_are_counted_and_not_kept(self, table: ArchitectureTable) -> None:
        objective = objective_on(SimulatedDevice(Formula(seed=5, infeasible=0.3, unstable=0.2)))
        found = adapt(objective, flops(), table, panel=True, budget=70)
        statuses = found.result.statuses[:20]
        assert {"infeasible", "provisional"} <= set(statuses.tolist())
        kept = objective.store.panel(objective.service.identity, NETWORK.digest)
        assert len(kept) == (statuses == "simulated").sum()

    def test_cells_that_are_none_of_the_table_cannot_be_first(self, table: ArchitectureTable) -> None:
        device = CountingDevice(Formula())
        with pytest.raises(InvalidInputError, match="none of the architectures"):
            fit_actively(objective_on(device), flops(), table[:50], budget=30, first=table[60:62])
        with pytest.raises(InvalidInputError, match="first holds 12 networks, the budget is 10"):
            fit_actively(objective_on(device), flops(), table, budget=10, first=table[:12])
        assert device.loads == []

    def test_first_networks_alone_have_no_error(self, table: ArchitectureTable) -> None:
        result = fit_actively(objective_on(SMOOTH), flops(), table[:30], budget=30, first=table[:30])
        assert result.reason == "budget"
        assert (result.error.held_out, result.error.upper) == (0, np.inf)


class TestTheError:
    def test_it_stands_on_twenty_networks_after_the_first_batch(self, table: ArchitectureTable) -> None:
        found = adapt(objective_on(SMOOTH), flops(), table, panel=True, budget=40)
        (step,) = found.result.steps
        assert step.error is not None
        assert step.error.held_out == 20
        assert step.error.mean < step.error.upper < np.inf
        assert step.error.interval == 0.9
        assert 0 <= step.error.within <= 1
        assert 0 <= step.error.coverage <= 1

    def test_networks_without_a_latency_are_made_up_for(self, table: ArchitectureTable) -> None:
        objective = objective_on(SimulatedDevice(Formula(seed=5, infeasible=0.2, unstable=0.2)))
        result = adapt(objective, flops(), table, budget=70).result
        held = [step.error.held_out for step in result.steps if step.error]
        assert held[0] < 20 <= held[-1]
        fewer = fit_actively(objective, flops(), table, budget=70)
        assert fewer.error.held_out < held[-1]

    def test_a_third_is_drawn_once_it_can_be_stated(self, table: ArchitectureTable) -> None:
        result = adapt(objective_on(SMOOTH), flops(), table, budget=80).result
        held = [step.error.held_out for step in result.steps if step.error]
        assert held[0] == 20
        assert len(held) == 4
        for more in np.diff(held):
            assert 7 <= more < 15, "some that were chosen are next in the random order too"

    def test_the_share_within_a_tenth_is_that_of_the_held_out(self, table: ArchitectureTable) -> None:
        rough = objective_on(SimulatedDevice(Formula(seed=1, residual=0.15)))
        error = adapt(rough, flops(), table, budget=60).result.error
        assert 0 < error.within < 1
        assert error.within * error.held_out == pytest.approx(round(error.within * error.held_out))

    @pytest.mark.parametrize("bad", [-1, 2.5, True])
    def test_a_number_that_is_none_is_refused(self, table: ArchitectureTable, bad: Any) -> None:
        with pytest.raises(InvalidInputError, match="least_held_out is a whole number"):
            fit_actively(objective_on(SMOOTH), flops(), table, budget=10, least_held_out=bad)


class TestTheTime:
    def test_no_network_is_asked_for_after_it(self, table: ArchitectureTable) -> None:
        device = CountingDevice(Formula(seed=1))
        found = adapt(objective_on(device), flops(), table, time_s=300, clock=Watch(device, 10.0))
        assert found.result.reason == "time"
        assert len(device.loads) == found.result.last.asked == 30
        assert found.result.last.elapsed_s == found.result.last.asking_s == 300
        assert "time is over" in found.result.summary

    def test_five_latencies_are_waited_for(self, table: ArchitectureTable) -> None:
        device = CountingDevice(Formula(seed=1))
        result = adapt(objective_on(device), flops(), table, time_s=1, clock=Watch(device, 10.0)).result
        assert (result.reason, len(device.loads), result.last.learned) == ("time", 5, 5)
        assert result.error.upper == np.inf

    def test_a_device_that_refuses_everything_ends_with_it(self, table: ArchitectureTable) -> None:
        device = CountingDevice(Formula(infeasible=1))
        with pytest.raises(NotFoundError, match="0 of 20 networks"):
            adapt(objective_on(device), flops(), table, time_s=1, clock=Watch(device, 10.0))

    def test_what_it_cut_is_asked_for_by_the_next_run(self, tmp_path: Path, table: ArchitectureTable) -> None:
        first, second, at_once = (CountingDevice(Formula(seed=1)) for _ in range(3))
        store = LatencyStore(tmp_path / "one.db")
        adapt(objective_on(first, store), flops(), table, time_s=330, clock=Watch(first, 10.0))
        result = adapt(objective_on(second, store), flops(), table, budget=60).result
        whole = adapt(objective_on(at_once), flops(), table, budget=60).result
        assert len(first.loads) == 33
        assert first.loads + second.loads == at_once.loads
        assert result.rows.tolist() == whole.rows.tolist()
        assert result.error == whole.error

    @pytest.mark.parametrize("bad", [0, -1, float("inf"), float("nan")])
    def test_a_time_that_is_none_is_refused(self, table: ArchitectureTable, bad: float) -> None:
        with pytest.raises(InvalidInputError, match="time_s is a positive number"):
            adapt(objective_on(SMOOTH), flops(), table, time_s=bad)


class TestOtherDevices:
    def test_they_are_learned_from_once_however_often_is_fitted(
        self, table: ArchitectureTable, sources: list[TrainingData], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Cross-validation and every further step fit to the new device alone."""
        learned: list[int] = []
        of, fit = SourceKnowledge.of, KernelPredictor.fit

        def counted_of(samples: Any, names: Any) -> Any:
            learned.append(len(samples))
            return of(samples, names)

        def counted_fit(self: KernelPredictor, *data: Any, **more: Any) -> KernelPredictor:
            learned.append(1)
            return fit(self, *data, **more)

        monkeypatch.setattr(SourceKnowledge, "of", counted_of)
        monkeypatch.setattr(KernelPredictor, "fit", counted_fit)
        found = adapt(objective_on(SMOOTH), adaptable(NETWORK, sources), table, sources=sources, budget=60)
        assert len(found.result.steps) == 3
        assert sorted(learned) == [1, 1, 2]

    def test_they_make_few_networks_worth_more(self, table: ArchitectureTable, sources: list[TrainingData]) -> None:
        objective = objective_on(SMOOTH)
        alone = adapt(objective, adaptable(NETWORK), table, budget=8).result
        helped = adapt(objective, adaptable(NETWORK, sources), table, sources=sources, budget=8).result
        assert isinstance(alone.predictor, KernelPredictor)
        assert isinstance(helped.predictor, TransferPredictor)
        assert helped.rows.tolist() == alone.rows.tolist()
        latency_ms = np.array([objective(cell) for cell in table])
        assert mean_error(helped, table, latency_ms) < 0.7 * mean_error(alone, table, latency_ms)

    def test_the_story_tells_of_them_and_comes_back_from_the_file(
        self, tmp_path: Path, table: ArchitectureTable, sources: list[TrainingData]
    ) -> None:
        found = adapt(objective_on(SMOOTH), adaptable(NETWORK, sources), table, sources=sources, budget=20)
        assert (found.story.cells, found.story.origin) == (20, "simulated")
        assert found.story.others == tuple(source.story for source in sources)
        save_with_story(found.result.predictor, found.story, tmp_path / "one.predictor")
        assert load_story(tmp_path / "one.predictor") == found.story
        loaded = load_predictor(tmp_path / "one.predictor")
        assert loaded.predict(table).tolist() == found.result.predictor.predict(table).tolist()

    def test_measured_figures_that_learned_from_simulated_ones_say_so(self) -> None:
        simulated = TrainingStory("formula [SIMULATED]", "simulated", 80, "x.parquet")
        story = TrainingStory("Pixel 7", "measured", 40, "latency.db", (simulated,))
        assert story.every_origin == "measured and simulated"
        assert story.statement() == "40 measured figures of Pixel 7 and 80 simulated figures of formula [SIMULATED]"

    def test_devices_of_one_name_stay_two(self, sources: list[TrainingData]) -> None:
        names = list(named_sources([sources[0], sources[0], sources[1]]))
        assert len(set(names)) == 3
        assert names[1] == f"{names[0]} (2)"

    def test_those_of_another_network_or_space_are_refused(
        self, table: ArchitectureTable, sources: list[TrainingData]
    ) -> None:
        with pytest.raises(InvalidInputError, match="are of another network"):
            check_sources(sources, NetworkConfig.small(filters=16))
        with pytest.raises(InvalidInputError, match="cells of another space"):
            check_sources(sources, NETWORK, ("nor_conv_1x1",))
        device = CountingDevice(Formula())
        other = DeviceLatencyObjective(device, NetworkConfig.small(filters=16), store=":memory:")
        with pytest.raises(InvalidInputError, match="are of another network"):
            adapt(other, FlopsPredictor(NetworkConfig.small(filters=16)), table, sources=sources)
        assert device.loads == []


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(
    tmp_path: Path, table: ArchitectureTable, sources: list[TrainingData]
) -> None:
    formula = Formula(seed=7, infeasible=0.1, unstable=0.1)
    broken, resumed = CountingDevice(formula, interrupted_at=51), CountingDevice(formula)
    store = LatencyStore(tmp_path / "one.db")
    with pytest.raises(KeyboardInterrupt):
        adapt(objective_on(broken, store), adaptable(NETWORK, sources), table, panel=True, budget=70)
    result = adapt(objective_on(resumed, store), adaptable(NETWORK, sources), table, panel=True, budget=70).result
    whole = adapt(
        objective_on(SimulatedDevice(formula)), adaptable(NETWORK, sources), table, panel=True, budget=70
    ).result
    assert len(broken.loads) == 51
    assert not set(resumed.loads) & set(broken.loads)
    assert result.rows.tolist() == whole.rows.tolist()
    assert result.predictor.training_digest_ == whole.predictor.training_digest_
