"""Several devices behind one objective. The devices are simulated; the same with phones is in tests/device/android."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from leti_opt import DeviceLatencyObjective, LatencyStore, MeasurementProtocol
from leti_opt.device import resource_lock
from leti_opt.device.device import DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.pool import PoolPatience
from leti_opt.errors import (
    DeviceError,
    InfeasibleError,
    InvalidDeviceUriError,
    InvalidInputError,
    NotFoundError,
    StatisticUnavailableError,
)
from leti_opt.network.assembly import build_layer_graph
from leti_opt.objective.answers import Answer, Question
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.latency import cell_question
from leti_opt.objective.panel import PANEL_SIZE
from leti_opt.objective.pooled import PooledService
from leti_opt.search.architecture_search import ArchitectureSearch, SearchSettings
from tests.device.test_pool import until
from tests.objective.changed_device import NETWORK, PROTOCOL, ChangedDevice, cells, measure_cells
from tests.objective.pacing_device import PacingDevice, watched

A, B, C = (DeviceEpoch("build 1", unit=unit) for unit in ("a", "b", "c"))
QUICK = PoolPatience(tries=2, back_within_s=0.2, pause_s=0.01, longest_pause_s=0.02)
MANY = 120


class Unit(ChangedDevice):
    """A device with a URI of its own."""

    def __init__(self, epoch: DeviceEpoch, **settings: object) -> None:
        super().__init__(epoch, **settings)  # type: ignore[arg-type]
        self.uri = f"unit:{epoch.unit}"
        self.there = True

    def contact(self) -> None:
        if not self.there:
            raise DeviceError(f"{self.uri} is gone")

    @property
    def resources(self) -> frozenset[str]:
        self.contact()
        return frozenset({self.uri})


def service(store: LatencyStore, devices: Sequence[Unit], told: Callable[[str], None] = print) -> PooledService:
    found = PooledService(devices, store, PROTOCOL, patience=QUICK)
    found.notify = told
    return found


def ask(pooled: PooledService, count: int, start: int = 0) -> list[Answer]:
    return [pooled.answer(cell_question(cell, NETWORK)) for cell in cells(count)[start:]]


@pytest.fixture
def store() -> LatencyStore:
    return LatencyStore(":memory:")


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
    b.contact = lambda: b_contact() if len(b.loads) < 5 else _gone()  # type: ignore[method-assign]
    pooled = service(store, [a, b], told.append)
    answers = ask(pooled, 30)
    assert all(answer.measurement is not None for answer in answers)
    assert any(line.startswith("unit:b is set aside") for line in told)
    pooled.settle()
    assert any("nobody looked whether" in line for line in told)
    pooled.close()


def _gone() -> None:
    raise DeviceError("unit:b is gone")


def test_a_different_device_that_is_gone_for_good_ends_the_question_with_its_fault(store: LatencyStore) -> None:
    a, b = Unit(A), Unit(B, runtime="older", gone_after=3)
    b_contact = b.contact
    b.contact = lambda: b_contact() if len(b.loads) < 3 else _gone()  # type: ignore[method-assign]
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


class Gated(Unit):
    """Does something of a test's before each load."""

    def __init__(self, epoch: DeviceEpoch, before: Callable[[Gated], None], **settings: object) -> None:
        super().__init__(epoch, **settings)
        self.before = before

    def load(self, model: MeasurableModel) -> Session:
        self.before(self)
        return super().load(model)


def ask_at_once(pooled: PooledService, count: int) -> list[Answer]:
    with ThreadPoolExecutor(count) as asking:
        return list(asking.map(lambda cell: pooled.answer(cell_question(cell, NETWORK)), cells(count)))


def test_three_twins_that_are_found_to_agree_answer_all_that_is_queued(store: LatencyStore) -> None:
    pooled = service(store, [Gated(epoch, lambda _unit: time.sleep(0.005)) for epoch in (A, B, C)])
    answers = ask_at_once(pooled, 60)
    assert all(answer.measurement is not None for answer in answers)
    until(lambda: pooled.kinds[0].groups == [(0, 1, 2)])
    pooled.close()


def test_what_a_twin_left_undone_is_done_by_the_one_that_is_found_to_agree(store: LatencyStore) -> None:
    is_out = threading.Event()

    def break_down(unit: Gated) -> None:
        if len(unit.loads) >= 25:
            raise DeviceError("unit:a is broken")

    def wait_for_it(unit: Gated) -> None:
        if len(unit.loads) >= 15:
            assert is_out.wait(30.0)

    def tell(line: str) -> None:
        if "left out" in line:
            is_out.set()

    pooled = service(store, [Gated(A, break_down), Gated(B, wait_for_it)], tell)
    answers = ask_at_once(pooled, 60)
    assert all(answer.measurement is not None for answer in answers)
    pooled.close()


def test_a_device_that_returns_as_another_is_refused(store: LatencyStore) -> None:
    measure_cells(Unit(B), store, 3)
    b = Unit(B)
    b.there = False
    pooled = service(store, [Unit(A, runtime="older"), b])
    _ = pooled.kinds
    b._epoch, b.there = DeviceEpoch("build 2", unit="b"), True
    with pytest.raises(DeviceError, match=r"came back as something else .* build 2"):
        ask(pooled, 10, start=9)
    assert not b.loads
    pooled.close()


def test_a_device_that_returns_as_it_was_takes_part(store: LatencyStore) -> None:
    measure_cells(Unit(B), store, 3)
    b = Unit(B)
    b.there = False
    pooled = service(store, [Unit(A, runtime="older"), b])
    _ = pooled.kinds
    b.there = True
    assert ask(pooled, 10, start=9)[0].measurement is not None
    assert len(b.loads) == 1
    pooled.close()


class Hiding(Unit):
    """Reveals no p95."""

    def load(self, model: MeasurableModel) -> Session:
        session = super().load(model)
        run = session.run
        session.run = lambda n, per=1: replace(run(n, per), p95_ms=None)  # type: ignore[method-assign]
        return session


def test_a_statistic_that_disagreeing_twins_do_not_reveal_is_an_error(store: LatencyStore) -> None:
    measured = service(store, [Hiding(A), Hiding(B, factor=1.3)])
    ask(measured, 40)
    until(lambda: len(measured.kinds[0].circles()) == 2)
    measured.close()
    pooled = PooledService([Hiding(A), Hiding(B, factor=1.3)], store, PROTOCOL, statistic="p95", patience=QUICK)
    (future,) = pooled.submit(cell_question(cells(MANY)[-1], NETWORK)).values()
    with pytest.raises(StatisticUnavailableError, match="no p95"):
        future.result(30.0)
    pooled.close()


def test_offline_the_slower_of_disagreeing_twins_counts_too(tmp_path: Path) -> None:
    store = LatencyStore(tmp_path / "latency.db")
    online = service(store, [Unit(A), Unit(B, factor=1.3)])
    ask(online, MANY)
    until(lambda: len(online.kinds[0].circles()) == 2)
    wanted = ask(online, MANY)[-1]
    online.close()
    offline = PooledService([Unit(A), Unit(B, factor=1.3)], store, PROTOCOL, offline=True)
    assert wanted.measurement is not None
    found = ask(offline, MANY)[-1].measurement
    assert found is not None
    assert found.latency_ms() == wanted.measurement.latency_ms()
    assert found.epoch == B


def test_offline_a_twin_answers_for_one_that_may_yet_agree(store: LatencyStore) -> None:
    measure_cells(Unit(A), store, 1)
    measure_cells(Unit(B), store, 5)
    offline = PooledService([Unit(A), Unit(B)], store, PROTOCOL, offline=True)
    assert all(answer.measurement is not None for answer in ask(offline, 5))
    with pytest.raises(NotFoundError, match="go online"):
        ask(offline, 6, start=5)


def test_devices_named_in_another_order_are_the_same(store: LatencyStore) -> None:
    pools = [service(store, units) for units in ([Unit(A), Unit(B, runtime="x")], [Unit(B, runtime="x"), Unit(A)])]
    assert len({pooled.identity for pooled in pools}) == 1


def test_the_report_counts_networks_alone_and_memory_keeps_no_runs(store: LatencyStore) -> None:
    pooled = service(store, [Unit(A), Unit(B, runtime="older")])
    ask(pooled, 5)
    pooled.settle()
    assert [row.done for row in pooled.report()] == [5, 5]
    kept = [one.measurement for found in pooled._answers.values() for one in found.values()]
    assert all(batch.runs_ms is None for measurement in kept if measurement for batch in measurement.attempts)
    pooled.close()


class Pacing(PacingDevice):
    """One of several devices with a pace."""

    def __init__(self, name: str, pace: Callable[[float], float]) -> None:
        super().__init__(pace)
        self.uri = f"pacing:{name}"

    @property
    def identity(self) -> DeviceIdentity:
        return replace(super().identity, hardware=self.uri)


def paced_pool(store: LatencyStore, slow: Callable[[float], bool]) -> tuple[PooledService, Pacing]:
    """A device that is twice as slow at times, and one that is not."""
    devices = [Pacing("a", lambda now_s: 2.0 if slow(now_s) else 1.0), Pacing("b", lambda _now_s: 1.0)]
    canary = CanarySettings(every_s=1e6, wait_s=60.0, calibration=8, spacing_s=0.1)
    pooled = PooledService(devices, store, MeasurementProtocol(), canary=canary, patience=QUICK)
    pooled.notify = print
    for member, device in zip(pooled.members, devices, strict=True):
        watched(member, device)
        watch = member._watching()
        assert watch is not None
        watch.calibrate()
    return pooled, devices[0]


def named(number: int) -> Question:
    model = MeasurableModel(f"key-{number}", f"network {number}", "none")
    return Question(model.name, lambda: model)


def test_figures_that_are_withdrawn_and_not_measured_again_end_with_a_fault(store: LatencyStore) -> None:
    pooled, device = paced_pool(store, lambda now_s: now_s > 1000.0)
    for number in range(5):
        pooled.answer(named(number))
    device.now_s = 2000.0
    with pytest.raises(DeviceError, match=r"5 network\(s\) were measured while a device was not at its usual pace"):
        pooled.settle()
    pooled.close()


def test_figures_that_are_withdrawn_are_measured_again_by_a_device_that_recovers_late(store: LatencyStore) -> None:
    pooled, device = paced_pool(store, lambda now_s: 1000.0 < now_s < 3000.0)
    device.now_s = 2000.0
    answers = [pooled.answer(named(number)) for number in range(5)]
    with pytest.raises(DeviceError, match=r"5 network\(s\)"):
        pooled.settle()
    device.now_s = 4000.0
    until(lambda: pooled.report()[0].state == "ready")
    pooled.settle()
    current = [pooled.current(answer).measurement for answer in answers]
    assert all(measurement is not None and measurement.latency_ms() < 1.1 for measurement in current)
    pooled.close()


def test_a_build_ahead_of_a_users_network_keeps_away_from_cores_that_are_measured(store: LatencyStore) -> None:
    held: list[bool] = []

    def build() -> MeasurableModel:
        held.append(bool(resource_lock._thread.held))
        return MeasurableModel.of_graph(build_layer_graph(cells(1)[0], NETWORK), "cell")

    pooled = service(store, [Unit(A), Unit(B, runtime="older")])
    pooled.answer(Question("cell", build))
    pooled.close()
    assert held == [True]


def test_nobody_asks_a_device_that_is_away_how_to_build_ahead(store: LatencyStore) -> None:
    measure_cells(Unit(B), store, 3)
    b = Unit(B)
    b.needs_file, b.there = True, False
    prepared: list[str] = []
    b.prepare = lambda model: prepared.append(model.key)  # type: ignore[method-assign]
    pooled = service(store, [Unit(A), b])
    ask(pooled, 10, start=5)
    assert not prepared
    pooled.close()


def test_a_build_that_exits_lets_nobody_wait(store: LatencyStore) -> None:
    def build() -> MeasurableModel:
        raise SystemExit(3)

    pooled = service(store, [Unit(A), Unit(B, runtime="older")])
    for future in pooled.submit(Question("cell", build)).values():
        with pytest.raises(SystemExit):
            future.result(30.0)
    pooled.close()


def test_a_limit_is_judged_by_each_of_disagreeing_twins_and_by_one_that_is_there(store: LatencyStore) -> None:
    a, b, c = Unit(A), Unit(B), Unit(C, factor=1.3)
    pooled = service(store, [a, b, c])
    ask(pooled, MANY)
    until(lambda: [member.device.uri for member in pooled.judges] == ["unit:a", "unit:c"])
    a.there = False
    with pytest.raises(DeviceError):
        pooled._running().submit(lambda device: device.contact(), [0], is_patient=False).result(30.0)
    assert [member.device.uri for member in pooled.judges] == ["unit:b", "unit:c"]
    pooled.close()


def test_a_search_that_is_interrupted_waits_for_no_device_that_is_away(store: LatencyStore) -> None:
    a, b = Unit(A), Unit(B, runtime="older", gone_after=3)
    b_contact = b.contact
    b.contact = lambda: b_contact() if len(b.loads) < 3 else _gone()  # type: ignore[method-assign]
    objective = DeviceLatencyObjective([a, b], NETWORK, store=store, protocol=PROTOCOL)
    service = objective.service
    assert isinstance(service, PooledService)
    service.patience = PoolPatience(tries=5, back_within_s=600.0, pause_s=0.05, longest_pause_s=0.05)

    def interrupt_when_it_waits(line: str) -> None:
        if "is set aside" in line:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            service.notify = print

    service.notify = interrupt_when_it_waits
    search = ArchitectureSearch(objective, SearchSettings(budget=40, seed=1, workers=4))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        search.run()
    assert time.monotonic() - started < 300, "it waited until the device was given up"
    with pytest.raises(DeviceError, match="was interrupted"):
        service.answer(cell_question(cells(MANY)[-1], NETWORK))
    service.close()
    assert len(store.to_frame(origin="any", epoch="any")) >= 3
