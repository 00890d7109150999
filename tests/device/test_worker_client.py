from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from leti_opt.device.worker_client import WorkerClient
from leti_opt.errors import AttemptError, DeviceError, InfeasibleError
from tests.device.tiny_tflite import adding_model, model_that_crashes, model_that_hangs, model_with_custom_operator

SETTINGS = {"threads": 1, "xnnpack": True, "cores": None, "seed": 0}


@pytest.fixture
def client() -> Iterator[WorkerClient]:
    client = WorkerClient()
    yield client
    client.close()


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.tflite"
    path.write_bytes(adding_model())
    return str(path)


def load(client: WorkerClient, path: str, deadline_s: float = 30) -> None:
    client.load(deadline_s, path=path, **SETTINGS)


def written(folder: Path, content: bytes) -> str:
    path = folder / "other.tflite"
    path.write_bytes(content)
    return str(path)


def test_one_worker_serves_many_models(client: WorkerClient, good: str) -> None:
    assert client.pid is None
    load(client, good)
    first = client.pid
    load(client, good)
    assert client.pid == first
    assert len(client.ask("run", 30, n=4)["samples_ns"]) == 4


def test_it_is_replaced_after_so_many_models(good: str) -> None:
    client = WorkerClient(models_per_worker=2)
    pids = []
    for _ in range(3):
        load(client, good)
        pids.append(client.pid)
    client.close()
    assert pids[0] == pids[1] != pids[2]
    assert not psutil.pid_exists(pids[0])


def test_a_refused_model_is_infeasible_and_the_worker_stays(client: WorkerClient, good: str, tmp_path: Path) -> None:
    load(client, good)
    pid = client.pid
    with pytest.raises(InfeasibleError, match=r"unresolved custom op: Strange\. See instructions"):
        load(client, written(tmp_path, model_with_custom_operator("Strange")))
    load(client, good)
    assert client.pid == pid


def test_a_crash_names_its_signal_and_the_next_model_gets_a_new_worker(
    client: WorkerClient, good: str, tmp_path: Path
) -> None:
    load(client, good)
    pid = client.pid
    with pytest.raises(AttemptError, match="the worker was killed by SIGABRT"):
        load(client, written(tmp_path, model_that_crashes()))
    assert client.pid is None
    load(client, good)
    assert client.pid != pid


def test_a_model_that_hangs_is_ended_at_its_deadline(client: WorkerClient, tmp_path: Path) -> None:
    load(client, written(tmp_path, model_that_hangs()))
    pid = client.pid
    assert pid is not None
    with pytest.raises(AttemptError, match=r"the worker hung for 0\.3 s"):
        client.ask("run", 0.3, n=1)
    assert not psutil.pid_exists(pid)


def test_a_stopped_worker_is_killed_by_its_parent(client: WorkerClient, good: str) -> None:
    load(client, good)
    pid = client.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # its own timer cannot end it now
    with pytest.raises(AttemptError, match=r"the worker hung for 0\.1 s"):
        client.ask("run", 0.1, n=1)
    assert not psutil.pid_exists(pid)


def test_a_worker_killed_between_two_runs_is_noticed(client: WorkerClient, good: str) -> None:
    load(client, good)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    with pytest.raises(AttemptError, match=r"the worker was killed by SIGKILL \(out of memory\?\)"):
        client.ask("run", 30, n=1)
    with pytest.raises(AttemptError, match="load the model again"):
        client.ask("run", 30, n=1)


def test_a_worker_killed_while_idle_is_replaced_by_the_next_load(client: WorkerClient, good: str) -> None:
    load(client, good)
    pid = client.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)], timeout=30)
    load(client, good)
    assert client.pid != pid


def test_an_error_of_ours_in_the_worker_is_told_with_its_last_lines(client: WorkerClient, good: str) -> None:
    load(client, good)
    with pytest.raises(AttemptError, match=r"ended with exit status 1; it said: .*KeyError: 'dance'"):
        client.ask("dance", 30)


def test_an_interrupted_request_takes_its_worker_along(client: WorkerClient, good: str, tmp_path: Path) -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    load(client, written(tmp_path, model_that_hangs()))
    pid = client.pid
    assert pid is not None
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            client.ask("run", 30, n=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not psutil.pid_exists(pid)
    load(client, good)
    assert len(client.ask("run", 30, n=3)["samples_ns"]) == 3


def test_closing_ends_the_process_and_may_be_repeated(client: WorkerClient, good: str) -> None:
    load(client, good)
    pid = client.pid
    assert pid is not None
    client.close()
    client.close()
    assert not psutil.pid_exists(pid)


def test_a_forgotten_client_takes_its_worker_along(good: str) -> None:
    client = WorkerClient()
    load(client, good)
    pid = client.pid
    assert pid is not None
    assert psutil.pid_exists(pid)
    del client
    gc.collect()
    assert not psutil.pid_exists(pid)


def test_a_forked_child_leaves_its_parents_worker_alone(client: WorkerClient, good: str) -> None:
    load(client, good)
    pid = client.pid
    child = os.fork()
    if child == 0:
        status = 1
        try:
            client.ask("run", 30, n=1)
        except AttemptError:
            client.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.pid == pid
    assert len(client.ask("run", 30, n=2)["samples_ns"]) == 2


@pytest.mark.parametrize("python", ["/nonexistent/python", "/bin/false"])
def test_a_worker_that_cannot_start_is_the_devices_fault(
    client: WorkerClient, good: str, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(DeviceError, match=python):
        load(client, good)
    assert client.pid is None
