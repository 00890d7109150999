"""A real Dask cluster: ``dask scheduler`` and ``dask worker``, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil


class DaskCluster:
    """Starts a scheduler at once, and workers when asked.

    Args:
        folder: where scheduler and workers keep their files.
        environment: of the workers.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._file = folder / "scheduler.json"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._start_scheduler("0")

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(json.loads(self._file.read_text())["address"])

    def client(self) -> Any:
        """A client of the test's own."""
        from distributed import Client

        return Client(self.address, timeout="60s", set_as_default=False)

    def start_worker(
        self,
        name: str,
        resources: str,
        threads: int = 2,
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a worker with its nanny, which starts it again when it dies, and wait until the scheduler knows it."""
        place = self.folder / name
        self._start(
            name,
            "dask_worker",
            *("--scheduler-file", str(self._file), "--nthreads", str(threads), "--no-dashboard", "--name", name),
            *("--resources", resources, "--local-directory", str(place), "--death-timeout", "300"),
            *more,
            environment=environment,
        )
        self.wait_for_workers(len(self._processes) - 1)

    def wait_for_workers(self, count: int) -> None:
        """Wait until the scheduler knows so many."""
        with self.client() as client:
            client.wait_for_workers(count, timeout=120)

    def restart_scheduler(self) -> None:
        """SIGKILL for the scheduler, and another one at its address."""
        port = self.address.rpartition(":")[2]
        self._file.unlink()
        scheduler = self._processes["scheduler"]
        scheduler.kill()
        scheduler.wait()
        self._start_scheduler(port)

    def pid_of(self, name: str) -> int:
        """Process that does a worker's work; one that is being started again is waited for."""
        deadline = time.monotonic() + 60
        with self.client() as client:
            while True:
                workers = client.scheduler_info(n_workers=-1)["workers"]
                found = [address for address, worker in workers.items() if worker["name"] == name]
                if found or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            [address] = found
            [pid] = client.run(os.getpid, workers=[address]).values()
        return int(pid)

    def kill_worker(self, name: str) -> int:
        """SIGKILL for the process that does a worker's work; its nanny stays. The pid that is no more."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_worker_with_children(self, name: str) -> list[psutil.Process]:
        """The same, and all processes that it started: none of them has time to tidy up. They are given back."""
        return _killed(psutil.Process(self.pid_of(name)))

    def kill_host(self, name: str) -> list[psutil.Process]:
        """SIGKILL for everything of a worker, its nanny first, so that nobody starts it again."""
        process = self._processes.pop(name)
        killed = _killed(psutil.Process(process.pid))
        process.wait()
        return killed

    def log_of(self, name: str) -> str:
        """What a process wrote."""
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        """End every process."""
        for process in reversed(self._processes.values()):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start_scheduler(self, port: str) -> None:
        arguments = ("--port", port, "--no-dashboard", "--scheduler-file", str(self._file))
        self._start("scheduler", "dask_scheduler", *arguments)
        deadline = time.monotonic() + 60
        while not self._file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _start(self, name: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
                env={**self._environment, **(environment or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _killed(first: psutil.Process) -> list[psutil.Process]:
    """SIGKILL for a process and then for its children, as they were before."""
    processes = [first, *first.children(recursive=True)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # one that ends with its parent
            process.kill()
    psutil.wait_procs(processes, timeout=30)
    return processes
