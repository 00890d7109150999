"""A pool's end, and what is rare: closing, work that exits, listeners and looks that fail, and the report."""

from __future__ import annotations

import threading

import pytest

from leti_opt.device.device import Device
from leti_opt.device.pool import DevicePool, PoolPatience
from leti_opt.device.use import FAILING
from leti_opt.errors import DeviceError, InvalidInputError
from tests.device.bench import DEADLINE_S, QUICK, Bench, on_device, until


def test_closing_finishes_what_is_in_progress_and_drops_the_rest() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(device: Device) -> str:
        begun.set()
        assert go_on.wait(DEADLINE_S)
        return device.uri

    pool = DevicePool([Bench("a")], QUICK)
    running, queued, cancelled = pool.submit(slow, [0]), pool.submit(slow, [0]), pool.submit(slow, [0])
    assert begun.wait(DEADLINE_S)
    assert cancelled.cancel()
    threading.Timer(0.05, go_on.set).start()
    pool.close()
    pool.close()
    assert running.result(0) == "bench:a"
    with pytest.raises(DeviceError, match="closed before this was measured"):
        queued.result(0)
    with pytest.raises(InvalidInputError, match="closed"):
        pool.submit(on_device, [0])


def test_closing_does_not_wait_for_a_device_that_is_away() -> None:
    a = Bench("a")
    a.there = False
    pool = DevicePool([a], PoolPatience(pause_s=600.0, longest_pause_s=600.0), print)
    waiting = pool.submit(on_device, [0])
    until(lambda: pool.state(0) == "away")
    pool.close()
    with pytest.raises(DeviceError, match="closed"):
        waiting.result(0)


def test_closing_ends_a_devices_wait() -> None:
    waits, ended = threading.Event(), threading.Event()

    class Cooling(Bench):
        def interrupt(self) -> None:
            ended.set()

    def cool_down(_device: Device) -> None:
        waits.set()
        assert ended.wait(DEADLINE_S)
        raise DeviceError("nobody needs it any more")

    pool = DevicePool([Cooling("a")], QUICK, print)
    cooling = pool.submit(cool_down, [0])
    assert waits.wait(DEADLINE_S)
    pool.close()
    with pytest.raises(DeviceError, match="nobody needs it"):
        cooling.result(0)


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"back_within_s": -1.0}, {"pause_s": 0.0}, {"longest_pause_s": 0.1}])
def test_impossible_patience_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="a pool needs"):
        PoolPatience(**wrong)  # type: ignore[arg-type]


def test_impatient_work_does_not_wait_for_a_device_that_goes_away_before_taking_it() -> None:
    a = Bench("a")
    begun, go_on = threading.Event(), threading.Event()

    def dies(device: Device) -> str:
        begun.set()
        assert go_on.wait(DEADLINE_S)
        a.there = False
        return on_device(device)

    with DevicePool([a], PoolPatience(pause_s=0.01, longest_pause_s=0.02), print) as pool:
        pool.submit(dies, [0])
        assert begun.wait(DEADLINE_S)
        impatient = pool.submit(on_device, [0], is_patient=False)
        go_on.set()
        with pytest.raises(DeviceError, match="gone"):
            impatient.result(DEADLINE_S)


def test_a_look_that_raises_something_unforeseen_does_not_lose_the_device() -> None:
    a = Bench("a")
    a.there = False
    odd = [ValueError("no number"), OSError("odd")]

    def contact() -> None:
        if odd:
            raise odd.pop()
        a.there = True

    a.contact = contact  # type: ignore[method-assign]
    with DevicePool([a], QUICK, print) as pool:
        assert pool.submit(on_device, [0]).result(DEADLINE_S) == "bench:a"
        assert "ValueError: no number" in pool.report()[0].fault


def test_a_listener_that_fails_stops_no_device() -> None:
    def closed(_line: str) -> None:
        raise BrokenPipeError("nobody reads this")

    a = Bench("a")
    a.there = False
    with DevicePool([a], QUICK, closed) as pool:
        waiting = pool.submit(on_device, [0])
        until(lambda: pool.state(0) == "away")
        a.there = True
        assert waiting.result(DEADLINE_S) == "bench:a"


def test_work_that_exits_is_handed_to_who_asked() -> None:
    def exits(_device: Device) -> None:
        raise SystemExit(3)

    with DevicePool([Bench("a")], QUICK) as pool:
        with pytest.raises(SystemExit):
            pool.submit(exits, [0]).result(DEADLINE_S)
        assert pool.submit(on_device, [0]).result(DEADLINE_S) == "bench:a"


def test_the_report_counts_the_time_of_a_device_that_is_still_away() -> None:
    a = Bench("a")
    a.there = False
    with DevicePool([a], QUICK, print) as pool:
        pool.submit(on_device, [0])
        until(lambda: pool.report()[0].seconds.get(FAILING, 0.0) > 0.05)
        assert pool.state(0) == "away"


def test_what_does_not_count_is_not_in_the_report() -> None:
    with DevicePool([Bench("a")], QUICK) as pool:
        pool.submit(on_device, [0]).result(DEADLINE_S)
        pool.submit(on_device, [0], counts=False).result(DEADLINE_S)
        assert pool.report()[0].done == 1


def test_what_waits_for_a_device_that_is_away_keeps_no_other_build_back() -> None:
    b = Bench("b")
    b.there = False
    begun, built = threading.Event(), threading.Event()

    def while_it_is_built(_device: Device) -> bool:
        begun.set()
        return built.wait(DEADLINE_S)

    with DevicePool([Bench("a"), b], QUICK, print, away=[1]) as pool:
        for _ in range(10):
            pool.submit(on_device, [1])
        first = pool.submit(while_it_is_built, [0])
        assert begun.wait(DEADLINE_S)
        pool.submit(on_device, [0], prepare=built.set)
        assert first.result(DEADLINE_S)
