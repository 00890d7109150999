"""A real Dask cluster: ``dask scheduler`` and ``dask worker``, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


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
        self._start("scheduler", "dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(self._file))
        deadline = time.monotonic() + 60
        while not self._file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(json.loads(self._file.read_text())["address"])

    def client(self) -> Any:
        """A client of the test's own."""
        from distributed import Client

        return Client(self.address, timeout="60s", set_as_default=False)

    def start_worker(self, name: str, resources: str) -> None:
        """Start a worker with its nanny, which starts it again when it dies, and wait until the scheduler knows it."""
        place = self.folder / name
        self._start(
            name,
            "dask_worker",
            *("--scheduler-file", str(self._file), "--nthreads", "2", "--no-dashboard", "--name", name),
            *("--resources", resources, "--local-directory", str(place), "--death-timeout", "300"),
        )
        self.wait_for_workers(len(self._processes) - 1)

    def wait_for_workers(self, count: int) -> None:
        """Wait until the scheduler knows so many."""
        with self.client() as client:
            client.wait_for_workers(count, timeout=120)

    def pid_of(self, name: str) -> int:
        """Process that does a worker's work."""
        with self.client() as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            [address] = [address for address, worker in workers.items() if worker["name"] == name]
            [pid] = client.run(os.getpid, workers=[address]).values()
        return int(pid)

    def kill_worker(self, name: str) -> int:
        """SIGKILL for the process that does a worker's work; its nanny stays. The pid that is no more."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def log_of(self, name: str) -> str:
        """What a process wrote."""
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        """End every process."""
        for process in reversed(self._processes.values()):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, name: str, module: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
