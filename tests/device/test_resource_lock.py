from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leti_opt.device.resource_lock import building_on_host, core_resource, hold
from leti_opt.errors import DeviceError, InvalidInputError

PATIENCE_S = 60.0
HOLDER = """
import sys
from leti_opt.device.resource_lock import hold
with hold([sys.argv[1]]):
    print("held", flush=True)
    sys.stdin.read()
"""
FORKING_HOLDER = """
import os, sys, time
from leti_opt.device.resource_lock import hold
with hold([sys.argv[1]]):
    child = os.fork()
    if child == 0:
        time.sleep(120)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of this test only: the machine may be measuring something else right now."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@contextmanager
def other_process(script: str, resource: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, resource], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def is_free(resource: str) -> bool:
    """Whether another thread could take it at once."""
    free: list[bool] = []

    def attempt() -> None:
        try:
            with hold([resource], timeout_s=0):
                free.append(True)
        except DeviceError:
            free.append(False)

    in_thread(attempt).join()
    return free[0]


def test_threads_take_turns() -> None:
    inside, most = 0, 0

    def measure() -> None:
        nonlocal inside, most
        for _ in range(10):
            with hold(["phone"], timeout_s=PATIENCE_S):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [in_thread(measure) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert most == 1


def test_processes_exclude_each_other_and_the_message_names_the_holder() -> None:
    with other_process(HOLDER, "phone:7") as (process, answer):
        assert answer == "held"
        busy = f"phone:7 is busy: held by process {process.pid} "
        with pytest.raises(DeviceError, match=busy), hold(["phone:7"], timeout_s=0.05):
            pytest.fail("two processes hold one phone")
        with hold(["phone:8"], timeout_s=0.05):
            pass


def test_a_killed_process_holds_nothing() -> None:
    with other_process(HOLDER, "phone") as (process, answer):
        assert answer == "held"
        assert not is_free("phone")
        process.send_signal(signal.SIGKILL)
        with hold(["phone"], timeout_s=PATIENCE_S):
            assert process.wait() == -signal.SIGKILL


def test_a_forked_child_does_not_keep_the_lock_of_its_killed_parent() -> None:
    with other_process(FORKING_HOLDER, "phone") as (process, child):
        try:
            assert not is_free("phone")
            process.kill()
            process.wait()
            with hold(["phone"], timeout_s=PATIENCE_S):
                os.kill(int(child), 0)  # still alive
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_a_forked_child_holds_nothing_itself() -> None:
    with hold(["phone"]):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with hold(["phone"], timeout_s=0):
                    status = 2
            except DeviceError:
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert not is_free("phone")


def test_a_thread_may_hold_again_what_it_holds() -> None:
    with hold(["a", "b"]):
        with hold(["b"], timeout_s=0):
            pass
        assert not is_free("b")
    assert is_free("a")
    assert is_free("b")


def test_an_error_inside_frees_everything() -> None:
    with pytest.raises(KeyError), hold(["a", "b"]):
        raise KeyError
    assert is_free("a")
    assert is_free("b")


def test_a_timeout_frees_what_was_taken_already() -> None:
    with hold(["b"]):
        failed: list[str] = []

        def attempt() -> None:
            try:
                with hold(["a", "b"], timeout_s=0):
                    pass
            except DeviceError as error:
                failed.append(str(error))

        in_thread(attempt).join()
        assert len(failed) == 1
        assert f"another thread of this process ({os.getpid()})" in failed[0]
        assert is_free("a")


def test_waiting_in_vain_leaks_no_descriptors() -> None:
    with other_process(HOLDER, "b") as (_, answer):
        assert answer == "held"
        open_before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(DeviceError), hold(["a", "b"], timeout_s=0):
                pytest.fail("held what another process holds")
        assert len(os.listdir("/proc/self/fd")) == open_before


def test_opposite_orders_do_not_deadlock() -> None:
    def take(names: list[str]) -> None:
        for _ in range(20):
            with hold(names, timeout_s=PATIENCE_S):
                pass
        finished.append(names)

    finished: list[list[str]] = []
    for thread in [in_thread(lambda names=names: take(names)) for names in (["a", "b"], ["b", "a"])]:  # type: ignore[misc]
        thread.join()
    assert len(finished) == 2


def test_asking_for_an_earlier_name_while_holding_a_later_one_is_refused() -> None:
    with hold(["b"]), pytest.raises(DeviceError, match=r"name all resources in one hold\(\)"), hold(["a"]):
        pytest.fail("this could deadlock with a thread that does the opposite")


def test_no_resources_need_no_lock() -> None:
    with hold(["phone"]), hold([]):
        entered = True
    assert entered
    assert is_free("phone")


def test_a_single_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not the text 'phone'"), hold("phone"):
        pytest.fail("held the letters of a name")


def test_long_and_odd_names_are_different_locks(tmp_path: Path) -> None:
    names = ["/dev/x:1", "/dev/x:2", "x" * 300 + "a", "x" * 300 + "b", "ä", ".."]
    with hold(names):
        assert not any(is_free(name) for name in names)
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and "locks" not in path.parts]
    assert outside == []


def test_builds_overlap() -> None:
    meeting = threading.Barrier(3, timeout=PATIENCE_S)

    def build() -> None:
        with building_on_host(timeout_s=PATIENCE_S):
            meeting.wait()

    threads = [in_thread(build) for _ in range(2)]
    meeting.wait()
    for thread in threads:
        thread.join()
    assert not meeting.broken, "both builds and this thread met while both held their locks"


def cores() -> list[str]:
    return [core_resource(core) for core in sorted(os.sched_getaffinity(0))]


def may_build() -> bool:
    allowed: list[bool] = []

    def attempt() -> None:
        try:
            with building_on_host(timeout_s=0):
                allowed.append(True)
        except DeviceError:
            allowed.append(False)

    in_thread(attempt).join()
    return allowed[0]


def test_no_build_begins_during_a_measurement_of_one_of_the_cores() -> None:
    with hold(cores()[-1:]):
        assert not may_build()
    assert may_build()


def test_a_measurement_elsewhere_does_not_stop_builds() -> None:
    with hold(["phone"]):
        assert may_build()


def test_a_measurement_waits_for_builds_in_progress_and_later_builds_wait_for_it() -> None:
    measured, order = threading.Event(), []

    def measure() -> None:
        with hold(cores(), timeout_s=PATIENCE_S):
            order.append("measured")
            measured.set()

    def build() -> None:
        with building_on_host(timeout_s=PATIENCE_S):
            order.append("built")

    with building_on_host():
        assert may_build()
        measuring = in_thread(measure)
        wait_until(lambda: not may_build())  # the measurement is in the queue
        assert not measured.is_set()
        later = in_thread(build)
    measuring.join()
    later.join()
    assert order == ["measured", "built"]


def test_a_stream_of_builds_does_not_starve_a_measurement() -> None:
    stop = threading.Event()
    builds: list[int] = []

    def build(number: int) -> None:
        while not stop.is_set():
            with building_on_host(timeout_s=PATIENCE_S):
                builds.append(number)
                time.sleep(0.002)

    builders = [in_thread(lambda number=number: build(number)) for number in range(3)]  # type: ignore[misc]
    wait_until(lambda: {0, 1, 2} <= set(builds))
    try:
        for _ in range(3):
            with hold(cores(), timeout_s=PATIENCE_S):
                before = len(builds)
                time.sleep(0.01)
                assert len(builds) == before
    finally:
        stop.set()
        for builder in builders:
            builder.join()


def test_a_thread_that_measures_builds_at_once() -> None:
    with hold(cores()), building_on_host(timeout_s=0):
        assert not is_free(cores()[0])


def test_a_thread_that_builds_cannot_measure_before_it_is_done() -> None:
    with building_on_host(), pytest.raises(DeviceError, match="would wait for itself"), hold(cores()):
        pytest.fail("a measurement during one's own build")


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    with hold(["phone"]):
        pass
    (folder,) = (tmp_path / "cache" / "leti_opt" / "locks").iterdir()
    folder.chmod(0o777)
    with pytest.raises(DeviceError, match="nobody else can write to"), hold(["phone"]):
        pytest.fail("trusted a folder of everybody")


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(DeviceError, match="set XDG_CACHE_HOME"), hold(["phone"]):
        pytest.fail("held a lock without a file")


def test_a_link_in_place_of_a_lock_file_is_refused(tmp_path: Path) -> None:
    with hold(["phone"]):
        pass
    (lock,) = tmp_path.rglob("phone.lock")
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="cannot open the lock file"), hold(["phone"]):
        pytest.fail("followed a link")
    assert not (tmp_path / "elsewhere").exists()
