from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from leti_opt.device.worker import random_input
from tests.device.tiny_tflite import adding_model, model_that_hangs

PATIENCE_S = 60.0
LOAD = {"command": "load", "threads": 1, "xnnpack": True, "cores": None, "seed": 0, "deadline_s": 30}


@contextmanager
def worker() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "leti_opt.device.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            assert receive(process)["ok"]["pid"] == process.pid
            yield process
        finally:
            process.kill()


def send(process: subprocess.Popen[bytes], **request: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()


def receive(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    reply: dict[str, Any] = json.loads(process.stdout.readline())
    return reply


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_gone(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.02)


def test_it_times_each_run_and_loads_no_tensorflow(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(adding_model())
    with worker() as process:
        send(process, **LOAD, path=str(path))
        assert receive(process)["ok"]["initialization_ms"] > 0
        send(process, command="run", n=7, deadline_s=30)
        samples_ns = receive(process)["ok"]["samples_ns"]
        assert len(samples_ns) == 7
        assert min(samples_ns) > 0
        libraries = Path(f"/proc/{process.pid}/maps").read_text()
    assert "ai_edge_litert" in libraries
    assert "site-packages/tensorflow" not in libraries


def test_it_ends_when_its_input_ends() -> None:
    with worker() as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


def test_it_ends_itself_at_the_deadline_of_a_command(tmp_path: Path) -> None:
    path = tmp_path / "hangs.tflite"
    path.write_bytes(model_that_hangs())
    with worker() as process:
        send(process, **LOAD, path=str(path))
        assert "ok" in receive(process)
        send(process, command="run", n=1, deadline_s=0.2)
        assert process.wait(PATIENCE_S) == -signal.SIGALRM


def test_a_deadline_ends_with_its_command(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(adding_model())
    with worker() as process:
        send(process, **{**LOAD, "deadline_s": 5}, path=str(path))
        assert "ok" in receive(process)
        send(process, command="run", n=1, deadline_s=0.3)
        assert "ok" in receive(process)
        time.sleep(0.5)
        send(process, command="run", n=1, deadline_s=5)
        assert "ok" in receive(process)


def test_prints_of_the_runtime_do_not_reach_the_replies() -> None:
    script = (
        "import os\n"
        "from leti_opt.device import worker\n"
        "replies = worker._keep_stdout_for_replies()\n"
        "os.write(1, b'native noise')\n"
        "print('python noise', flush=True)\n"
        "worker._send(replies, {'ok': {}})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b'{"ok": {}}\n'
    assert b"native noise" in done.stderr
    assert b"python noise" in done.stderr


PARENT = """
import sys
from pathlib import Path
from leti_opt.device.host_cpu import HostCpu
from leti_opt.device.model import MeasurableModel
device = HostCpu(deadline_s=float(sys.argv[2]))
session = device.load(MeasurableModel(key="k", name="k", renderer="file", path=Path(sys.argv[1])))
print(device._client.pid, flush=True)
session.run(1)
print("ran", flush=True)
sys.stdin.read()
"""


def test_a_killed_parent_leaves_no_busy_worker_beyond_its_deadline(tmp_path: Path) -> None:
    path = tmp_path / "hangs.tflite"
    path.write_bytes(model_that_hangs())
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        worker_process = psutil.Process(pid)
        loaded_s = worker_process.cpu_times().user
        while worker_process.cpu_times().user < loaded_s + 0.2:  # it spins in the endless loop
            time.sleep(0.01)
        assert not is_gone(pid)
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        wait_until_gone(pid)


def test_a_killed_parent_leaves_no_idle_worker(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(adding_model())
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), "600"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == b"ran\n"
        assert not is_gone(pid)
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        wait_until_gone(pid)


def test_a_script_without_a_main_guard_measures_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(adding_model())
    script = tmp_path / "script.py"
    script.write_text(
        "from leti_opt.device import MeasurableModel, MeasurementProtocol, measure, open_device\n"
        "from pathlib import Path\n"
        "model = MeasurableModel(key='k', name='k', renderer='file', path=Path('model.tflite'))\n"
        "with open_device('host-cpu?cores=0') as device:\n"
        "    m = measure(device, model, MeasurementProtocol(min_runs=3, max_attempts=1))\n"
        "print('runs:', m.batch.count)\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "runs: 3\n", "")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64])
def test_floats_are_small_and_vary(dtype: type[np.generic]) -> None:
    values = random_input(np.random.default_rng(0), (50,), dtype)
    assert values.dtype == dtype
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= 1.5
    assert len(np.unique(values)) > 10


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_quantized_values_fill_their_range(dtype: type[np.generic]) -> None:
    values = random_input(np.random.default_rng(0), (5000,), dtype).astype(int)
    assert np.ptp(values) > 0.9 * (np.iinfo(dtype).max - np.iinfo(dtype).min)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.bool_])
def test_indices_and_truth_values_are_zero_or_one(dtype: type[np.generic]) -> None:
    assert set(random_input(np.random.default_rng(0), (50,), dtype).astype(int)) == {0, 1}


def test_inputs_follow_from_the_seed() -> None:
    first, again, other = (random_input(np.random.default_rng(seed), (9,), np.float32) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
