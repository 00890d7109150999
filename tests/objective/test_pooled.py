"""Several devices behind one objective. The devices are simulated; the same with phones is in tests/device/android."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from leti_opt import DeviceLatencyObjective, LatencyStore
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.errors import DeviceError, InfeasibleError, InvalidDeviceUriError, InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.objective.answers import Question
from leti_opt.objective.panel import PANEL_SIZE
from leti_opt.objective.pooled import PooledService
from leti_opt.objective.questions import cell_question
from leti_opt.search.architecture_search import ArchitectureSearch, SearchSettings
from tests.objective.changed_device import NETWORK, PROTOCOL, cells, measure_cells
from tests.objective.units import MANY, A, B, C, Unit, ask, gone, service


def test_twins_share_the_work_once_twenty_networks_show_that_they_agree(store: LatencyStore) -> None:
    a, b = Unit(A), Unit(B)
    told: list[str] = []
    pooled = service(store, [a, b], told.append)
    count = len(ask(pooled, MANY))
    pooled.close()
    assert [line for line in told if "agree, and share the work from now on" in line]
    assert PANEL_SIZE <= len(set(a.loads) & set(b.loads)) < count
    assert len(set(a.loads) | set(b.loads)) == count
    assert len(a.loads) == len(set(a.loads))
    assert [link.agrees for link in store.links(a.identity)] == [True]
    assert pooled.kinds[0].groups == [(0, 1)]


def test_a_second_session_knows_that_they_agree_and_measures_nothing_twice(store: LatencyStore) -> None:
    first = service(store, [Unit(A), Unit(B)])
    before = ask(first, MANY)
    first.close()
    a, b = Unit(A), Unit(B)
    second = service(store, [a, b])
    again = ask(second, MANY)
    assert a.loads == b.loads == []
    assert [x.measurement.latency_ms() for x in again if x.measurement] == [
        x.measurement.latency_ms() for x in before if x.measurement
    ]
    second.close()


def test_twins_that_disagree_each_get_all_of_it_and_the_slower_counts(store: LatencyStore) -> None:
    a, b = Unit(A), Unit(B, factor=1.2)
    told: list[str] = []
    pooled = service(store, [a, b], told.append)
    answers = ask(pooled, MANY)
    assert [line for line in told if "disagree: each gets all of the work" in line]
    assert set(a.loads) == set(b.loads)
    assert {answer.measurement.epoch.unit for answer in answers[PANEL_SIZE + 5 :] if answer.measurement} == {"b"}
    pooled.close()


def test_a_new_twin_is_compared_by_the_panel_of_the_one_that_has_figures(store: LatencyStore) -> None:
    keys = measure_cells(Unit(A), store, 40)
    a, b = Unit(A), Unit(B)
    pooled = service(store, [a, b])
    new = cells(MANY)[-3:]
    for cell in new:
        pooled.answer(cell_question(cell, NETWORK))
    pooled.settle()
    assert len(set(b.loads) & set(keys)) == PANEL_SIZE
    assert a.loads
    assert set(a.loads).isdisjoint(keys)
    assert pooled.kinds[0].groups == [(0, 1)]
    pooled.close()


def test_different_devices_each_measure_everything_and_the_slowest_is_the_answer(store: LatencyStore) -> None:
    quick, slow = Unit(A), Unit(B, runtime="older", factor=3.0)
    pooled = service(store, [quick, slow])
    for answer in ask(pooled, 5):
        assert answer.measurement is not None
        assert answer.measurement.device == slow.identity
    assert set(quick.loads) == set(slow.loads)
    assert len(pooled.kinds) == 2
    assert pooled.identity.hardware.startswith("slowest of ")
    assert pooled.identity.origin == "simulated"
    pooled.close()


def test_what_one_device_cannot_run_is_infeasible(store: LatencyStore) -> None:
    cell = cells(1)[0]
    key = MeasurableModel.of_graph(build_layer_graph(cell, NETWORK), "cell").key
    pooled = service(store, [Unit(A), Unit(B, runtime="older", refuses=[key])])
    answer = pooled.answer(cell_question(cell, NETWORK))
    assert answer.failure == "this driver refuses it"
    pooled.close()


def test_a_dead_twin_stops_nobody(store: LatencyStore) -> None:
    told: list[str] = []
    a, b = Unit(A), Unit(B, gone_after=5)
    b_contact = b.contact
    b.contact = lambda: b_contact() if len(b.loads) < 5 else gone()  # type: ignore[method-assign]
    pooled = service(store, [a, b], told.append)
    answers = ask(pooled, 30)
    assert all(answer.measurement is not None for answer in answers)
    assert any(line.startswith("unit:b is set aside") for line in told)
    pooled.settle()
    assert any("nobody looked whether" in line for line in told)
    pooled.close()


def test_a_different_device_that_isgone_for_good_ends_the_question_with_its_fault(store: LatencyStore) -> None:
    a, b = Unit(A), Unit(B, runtime="older", gone_after=3)
    b_contact = b.contact
    b.contact = lambda: b_contact() if len(b.loads) < 3 else gone()  # type: ignore[method-assign]
    pooled = service(store, [a, b])
    with pytest.raises(DeviceError, match="gone"):
        ask(pooled, 10)
    pooled.close()


def test_a_device_away_at_the_start_is_taken_for_what_the_store_knows(store: LatencyStore) -> None:
    measure_cells(Unit(B), store, 3)
    a, b = Unit(A), Unit(B)
    b.there = False
    told: list[str] = []
    pooled = service(store, [a, b], told.append)
    assert pooled.kinds[0].groups == [(0,), (1,)]
    assert pooled.answer(cell_question(cells(10)[9], NETWORK)).measurement is not None
    assert told[0] == "unit:b is set aside: unit:b is gone"
    pooled.close()


def test_a_device_away_at_the_start_that_nobody_knows_is_an_error(store: LatencyStore) -> None:
    b = Unit(B)
    b.there = False
    pooled = service(store, [Unit(A), b])
    with pytest.raises(DeviceError, match="unit:b is gone"):
        _ = pooled.identity


def test_one_device_named_twice_is_refused(store: LatencyStore) -> None:
    with pytest.raises(InvalidDeviceUriError, match="named twice"):
        PooledService([Unit(A), Unit(A)], store, PROTOCOL)


def test_what_one_twin_withdraws_answers_on_none(store: LatencyStore) -> None:
    pooled = service(store, [Unit(A), Unit(B)])
    ask(pooled, MANY)
    question = cell_question(cells(MANY)[-1], NETWORK)
    a, b = pooled.members
    answer = a.known(question)
    assert answer is not None
    assert answer.measurement is not None
    assert b.known(question) is not None
    owner = next(one for one in pooled.members if one.epoch == answer.measurement.epoch)
    keys = store.suspect(owner.identity, owner.epoch, since=answer.measurement.started_at, reason="test")
    assert answer.measurement.model_key in keys
    owner.on_withdrawn(keys)
    assert a.known(question) is b.known(question) is None
    pooled.close()


def test_a_build_is_made_once_for_all_devices(store: LatencyStore) -> None:
    built: list[str] = []

    def build() -> MeasurableModel:
        built.append("built")
        return MeasurableModel.of_graph(build_layer_graph(cells(1)[0], NETWORK), "cell")

    pooled = service(store, [Unit(A), Unit(B, runtime="older"), Unit(C, runtime="oldest")])
    assert pooled.answer(Question("cell", build)).measurement is not None
    pooled.close()
    assert built == ["built"]


def test_a_build_that_fails_is_infeasible_on_every_device(store: LatencyStore) -> None:
    def build() -> MeasurableModel:
        raise InfeasibleError("no such layers")

    pooled = service(store, [Unit(A), Unit(B, runtime="older")])
    answer = pooled.answer(Question("cell", build))
    assert answer.failure is not None
    assert "no such layers" in answer.failure
    pooled.close()


def test_an_objective_takes_several_devices_and_survives_pickling(tmp_path: Path) -> None:
    uris = ["replay:formula?seed=1", "replay:formula?seed=2"]
    objective = DeviceLatencyObjective(uris, NETWORK, store=tmp_path / "latency.db")
    each = [DeviceLatencyObjective(uri, NETWORK, store=":memory:") for uri in uris]
    for cell in cells(4):
        assert objective(cell) == max(one(cell) for one in each)
    assert objective.best().measurement.device.kind == "replay"
    with pytest.raises(InvalidInputError, match="2 devices"):
        _ = objective.device
    copy = pickle.loads(pickle.dumps(objective))
    assert [device.uri for device in copy.devices] == [open_device(uri).uri for uri in uris]
    assert copy(cells(1)[0]) == objective(cells(1)[0])
    copy.close()
    objective.close()
    assert objective(cells(1)[0]) == copy(cells(1)[0])  # closed ones may be used again
    objective.close()
    copy.close()


def test_offline_they_answer_from_the_store(tmp_path: Path) -> None:
    uris = ["replay:formula?seed=1", "replay:formula?seed=2"]
    online = DeviceLatencyObjective(uris, NETWORK, store=tmp_path / "latency.db")
    wanted = online(cells(1)[0])
    online.close()
    offline = DeviceLatencyObjective(uris, NETWORK, store=tmp_path / "latency.db", offline=True)
    assert offline(cells(1)[0]) == wanted


def test_a_search_with_several_workers_over_a_pool_goes_on_where_it_was(tmp_path: Path) -> None:
    def search(budget: int) -> tuple[list[float], dict[str, int]]:
        objective = DeviceLatencyObjective(
            ["replay:formula?seed=1", "replay:formula?seed=2"], NETWORK, store=tmp_path / "latency.db"
        )
        plan = ArchitectureSearch(objective, SearchSettings(budget=budget, seed=3, workers=4))
        result = plan.run()
        objective.close()
        repeated = sum(step.repeated for step in result.steps)
        return [step.losses[0] for step in result.steps], {"repeated": repeated}

    first, _ = search(16)
    again, counts = search(16)
    assert again == first
    assert counts == {"repeated": 16}
