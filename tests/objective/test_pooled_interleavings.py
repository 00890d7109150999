"""Several devices behind one service: what happens while something else does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from leti_opt import DeviceLatencyObjective, LatencyStore, MeasurementProtocol
from leti_opt.device import resource_lock
from leti_opt.device.device import DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.pool import PoolPatience
from leti_opt.errors import DeviceError, NotFoundError, StatisticUnavailableError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.objective.answers import Answer, Question
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.pooled import PooledService
from leti_opt.objective.questions import cell_question
from leti_opt.search.architecture_search import ArchitectureSearch, SearchSettings
from tests.device.bench import until
from tests.objective.changed_device import NETWORK, PROTOCOL, cells, measure_cells
from tests.objective.pacing_device import PacingDevice, watched
from tests.objective.units import MANY, QUICK, A, B, C, Unit, ask, gone, service


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
    b.contact = lambda: b_contact() if len(b.loads) < 3 else gone()  # type: ignore[method-assign]
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
