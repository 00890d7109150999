"""Devices that share work. Their work is a function here; what phones do with it is tested with phones."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait

import pytest

from leti_opt.device.device import Device
from leti_opt.device.pool import DevicePool, PoolPatience
from leti_opt.device.use import FAILING, WAITING_FOR_BUILD, WAITING_FOR_WORK
from leti_opt.errors import DeviceError, InfeasibleError
from tests.device.bench import DEADLINE_S, QUICK, Bench, on_device, until


def test_work_is_done_by_those_that_may_do_it() -> None:
    with DevicePool([Bench("a"), Bench("b")], QUICK) as pool:
        assert {pool.submit(on_device, [1]).result(DEADLINE_S) for _ in range(5)} == {"bench:b"}
        assert pool.submit(on_device, [0]).result(DEADLINE_S) == "bench:a"


def test_devices_work_at_the_same_time() -> None:
    together = threading.Barrier(2)
    with DevicePool([Bench("a"), Bench("b")], QUICK) as pool:
        both = [pool.submit(lambda _device: together.wait(DEADLINE_S), [0, 1]) for _ in range(2)]
        assert sorted(future.result(DEADLINE_S) for future in both) == [0, 1]


def test_what_a_failing_device_had_goes_to_its_twin_and_it_comes_back() -> None:
    a, b = Bench("a"), Bench("b")
    told: list[str] = []
    a.there = False
    taken_by_a = threading.Event()

    def work(device: Device) -> str:
        if device is a:
            taken_by_a.set()
        else:
            assert taken_by_a.wait(DEADLINE_S)
        return on_device(device)

    with DevicePool([a, b], QUICK, told.append) as pool:
        assert [future.result(DEADLINE_S) for future in [pool.submit(work, [0, 1]) for _ in range(2)]] == [
            "bench:b"
        ] * 2
        until(lambda: pool.state(0) == "away" and a.looks > 0)
        a.there = True
        assert pool.submit(on_device, [0]).result(DEADLINE_S) == "bench:a"
        report = {row.uri: row for row in pool.report()}
    assert (report["bench:a"].failed, report["bench:a"].done, report["bench:b"].done) == (1, 1, 2)
    assert report["bench:a"].seconds[FAILING] > 0
    assert "bench:a is set aside: bench:a is gone; plug it in" in told
    assert any(line.startswith("bench:a is back after") for line in told)


def test_work_without_another_device_waits_until_its_own_is_back() -> None:
    a = Bench("a")
    a.there = False
    with DevicePool([a, Bench("b")], QUICK, print) as pool:
        waiting = pool.submit(on_device, [0])
        until(lambda: a.looks > 2)
        assert not waiting.done()
        assert pool.submit(on_device, [1]).result(DEADLINE_S) == "bench:b"
        a.there = True
        assert waiting.result(DEADLINE_S) == "bench:a"


def test_work_ends_with_the_fault_when_nobody_comes_back_in_time() -> None:
    a = Bench("a")
    a.there = False
    with DevicePool([a], PoolPatience(back_within_s=0.05, pause_s=0.01, longest_pause_s=0.01), print) as pool:
        with pytest.raises(DeviceError, match="bench:a is gone; plug it in"):
            pool.submit(on_device, [0]).result(DEADLINE_S)
        a.there = True
        until(lambda: pool.state(0) == "ready")
        assert pool.submit(on_device, [0]).result(DEADLINE_S) == "bench:a"


def test_a_device_that_answers_and_fails_all_the_same_is_left_out_for_good() -> None:
    told: list[str] = []

    def broken(device: Device) -> str:
        if device.uri == "bench:a":
            raise DeviceError("no benchmark_model; get one")
        return device.uri

    with DevicePool([Bench("a"), Bench("b")], QUICK, told.append) as pool:
        with pytest.raises(DeviceError, match="get one"):
            pool.submit(broken, [0]).result(DEADLINE_S)
        until(lambda: pool.state(0) == "out")
        assert pool.submit(broken, [0, 1]).result(DEADLINE_S) == "bench:b"
        with pytest.raises(DeviceError, match="get one"):
            pool.submit(broken, [0]).result(DEADLINE_S)
    assert told[-1].startswith("bench:a failed 3 times in a row and is left out from now on")


def test_a_network_that_fails_on_every_device_ends_after_some_tries() -> None:
    tried: list[str] = []

    def deadly(device: Device) -> str:
        tried.append(device.uri)
        raise DeviceError("restarted in the midst; charge it")

    with DevicePool([Bench(name) for name in "abcd"], QUICK, print) as pool:
        with pytest.raises(DeviceError, match="restarted"):
            pool.submit(deadly, range(4)).result(DEADLINE_S)
        assert len(tried) == QUICK.tries
        until(lambda: all(pool.state(place) == "ready" for place in range(4)))


def test_any_other_exception_is_the_works_own_and_the_device_goes_on() -> None:
    def refused(device: Device) -> str:
        raise InfeasibleError("ADD_N is not delegated")

    with DevicePool([Bench("a")], QUICK) as pool:
        with pytest.raises(InfeasibleError, match="ADD_N"):
            pool.submit(refused, [0]).result(DEADLINE_S)
        assert pool.submit(on_device, [0]).result(DEADLINE_S) == "bench:a"
        assert [(row.state, row.failed) for row in pool.report()] == [("ready", 0)]


def test_impatient_work_ends_with_the_first_fault() -> None:
    a = Bench("a")
    a.there = False
    with DevicePool([a], QUICK, print) as pool, pytest.raises(DeviceError, match="gone"):
        pool.submit(on_device, [0], is_patient=False).result(DEADLINE_S)
    assert pool.report()[0].failed == 1


def test_a_device_that_is_away_from_the_start_joins_later() -> None:
    a = Bench("a")
    a.there = False
    with DevicePool([a], QUICK, print, away=[0]) as pool:
        waiting = pool.submit(on_device, [0])
        until(lambda: a.looks > 1)
        a.there = True
        assert waiting.result(DEADLINE_S) == "bench:a"
        assert pool.report()[0].failed == 0


def test_the_next_network_is_built_while_the_device_works() -> None:
    built, measured = threading.Event(), threading.Event()

    def while_it_is_built(_device: Device) -> None:
        assert built.wait(DEADLINE_S), "nothing was built ahead"
        measured.set()

    with DevicePool([Bench("a")], QUICK) as pool:
        first = pool.submit(while_it_is_built, [0])
        second = pool.submit(lambda _device: measured.is_set(), [0], prepare=built.set)
        first.result(DEADLINE_S)
        assert second.result(DEADLINE_S)


def test_builds_ahead_are_few() -> None:
    started: list[int] = []
    go_on = threading.Event()
    with DevicePool([Bench("a")], QUICK) as pool:
        busy = pool.submit(lambda _device: go_on.wait(DEADLINE_S), [0])
        until(lambda: busy.running())
        queued = [
            pool.submit(on_device, [0], prepare=lambda number=number: started.append(number)) for number in range(50)
        ]  # type: ignore[misc]
        until(lambda: len(started) >= 2)
        time.sleep(0.05)
        assert started == [0, 1]
        go_on.set()
        wait(queued, DEADLINE_S)
    assert started == list(range(50))


def test_waiting_for_a_build_and_for_work_is_counted() -> None:
    a = Bench("a")
    with DevicePool([a], QUICK) as pool:
        time.sleep(0.05)
        pool.submit(on_device, [0], prepare=lambda: time.sleep(0.05)).result(DEADLINE_S)
        seconds = pool.report()[0].seconds
    assert seconds[WAITING_FOR_BUILD] >= 0.04
    assert seconds[WAITING_FOR_WORK] >= 0.04


def test_what_a_build_raises_is_left_for_the_work_to_find() -> None:
    def failing() -> None:
        raise ValueError("no such layer")

    with DevicePool([Bench("a")], QUICK) as pool:
        assert pool.submit(on_device, [0], prepare=failing).result(DEADLINE_S) == "bench:a"
