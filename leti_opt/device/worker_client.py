"""The parent's side of :mod:`leti_opt.device.worker`: start it, ask it with a deadline, say how it ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from leti_opt.errors import AttemptError, DeviceError, InfeasibleError

START_DEADLINE_S = 60.0
MODELS_PER_WORKER = 200
_GRACE_S = 1.0
_STDERR_LINES = 3


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    owner: int
    unread: bytes = b""
    stderr_start: int = 0
    models: int = 0


class WorkerClient:
    """One worker process, started when it is first needed and again after a crash.

    It is not thread safe: requests of two threads would mix. Whoever uses it holds the lock of the device's resources
    (:func:`leti_opt.device.resource_lock.hold`), which also keeps two workers from disturbing each other's times. A
    forked child starts a worker of its own.

    Args:
        models_per_worker: models after which the worker is replaced, so that what a runtime leaks stays bounded.
    """

    def __init__(self, models_per_worker: int = MODELS_PER_WORKER) -> None:
        self._models_per_worker = models_per_worker
        self._worker: _Worker | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None while there is none."""
        return self._worker.process.pid if self._worker else None

    def load(self, deadline_s: float, **arguments: Any) -> dict[str, Any]:
        """Load a model, replacing the one before. Arguments and reply are those of the worker's ``load``.

        Raises:
            InfeasibleError: the runtime refuses the model.
            AttemptError: it crashed or hung.
            DeviceError: no worker can be started.
        """
        if self._worker and (
            self._worker.models >= self._models_per_worker
            or self._worker.process.poll() is not None
            or self._worker.owner != os.getpid()
        ):
            self.close()
        worker = self._worker or self._start()
        worker.models += 1
        return self._request(worker, "load", deadline_s, arguments)

    def ask(self, command: str, deadline_s: float, **arguments: Any) -> dict[str, Any]:
        """Send a command to the worker that holds the model.

        Raises:
            InfeasibleError: the runtime refuses to run the model.
            AttemptError: it crashed or hung, or its worker is gone already.
        """
        if self._worker is None or self._worker.owner != os.getpid():
            raise AttemptError("the worker that held the model is gone; load the model again")
        return self._request(self._worker, command, deadline_s, arguments)

    def close(self) -> None:
        """End the worker. May be called twice; the next :meth:`load` starts another."""
        self._worker = None
        if self._finalizer is not None:
            self._finalizer()

    def _start(self) -> _Worker:
        stderr: IO[bytes] = tempfile.TemporaryFile(prefix="leti-opt-worker-")  # noqa: SIM115  (closed by _end)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "leti_opt.device.worker"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(),
            )
        except OSError as error:
            stderr.close()
            raise DeviceError(
                f"cannot start a worker with {sys.executable}: {error}; is Python still there?"
            ) from error
        self._worker = worker = _Worker(process, stderr, os.getpid())
        self._finalizer = weakref.finalize(self, _end, worker)
        try:
            self._reply(worker, START_DEADLINE_S)
        except BaseException as error:
            self.close()
            if not isinstance(error, AttemptError):
                raise
            raise DeviceError(
                f"the worker did not start: {error}; try: {sys.executable} -m leti_opt.device.worker"
            ) from error
        return worker

    def _request(self, worker: _Worker, command: str, deadline_s: float, arguments: dict[str, Any]) -> dict[str, Any]:
        assert worker.process.stdin is not None
        request = {"command": command, "deadline_s": deadline_s, **arguments}
        worker.stderr_start = os.fstat(worker.stderr.fileno()).st_size
        with suppress(BrokenPipeError):  # it died before; the missing reply says how
            worker.process.stdin.write(json.dumps(request).encode() + b"\n")
        try:
            reply = self._reply(worker, deadline_s)
        except BaseException:  # after Ctrl-C, too: a reply that comes late must not answer the next request
            self.close()
            raise
        if "refused" in reply:
            raise InfeasibleError(str(reply["refused"]))
        if "mismatch" in reply:
            self.close()
            raise AttemptError(f"not the model that was asked for: {reply['mismatch']}")
        answer: dict[str, Any] = reply["ok"]
        return answer

    def _reply(self, worker: _Worker, deadline_s: float) -> dict[str, Any]:
        # The worker's own timer fires at the deadline; the grace is for one that is stopped.
        line = _read_line(worker, time.monotonic() + deadline_s + _GRACE_S)
        if line:
            reply: dict[str, Any] = json.loads(line)
            return reply
        hung = line is None
        if hung:
            worker.process.kill()
        status = worker.process.wait()
        end = f"hung for {deadline_s:g} s" if hung or status == -signal.SIGALRM else _describe_end(status)
        raise AttemptError(f"the worker {end}{_last_lines(worker)}")


def _environment() -> dict[str, str]:
    """The parent's, with its import path: the worker must find the same leti_opt from any folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _read_line(worker: _Worker, deadline: float) -> bytes | None:
    """The next line of stdout; empty at its end, None at the deadline."""
    assert worker.process.stdout is not None
    descriptor = worker.process.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    while b"\n" not in worker.unread:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(1000 * left_s):
            return None
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return b""
        worker.unread += chunk
    line, _, worker.unread = worker.unread.partition(b"\n")
    return line


def _describe_end(status: int) -> str:
    """How a process ended, from its exit status.

    >>> _describe_end(-11)
    'was killed by SIGSEGV'
    >>> _describe_end(3)
    'ended with exit status 3'
    """
    if status >= 0:
        return f"ended with exit status {status}"
    names = {known.value: known.name for known in signal.Signals}
    name = names.get(-status, f"signal {-status}")
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _last_lines(worker: _Worker) -> str:
    """What the runtime printed during the last request, for the end of a message."""
    text = os.pread(worker.stderr.fileno(), 1 << 16, worker.stderr_start).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("INFO:")]
    return f"; it said: {' | '.join(lines[-_STDERR_LINES:])}" if lines else ""


def _end(worker: _Worker) -> None:
    if worker.owner == os.getpid():
        worker.process.kill()
        worker.process.wait()
    for stream in (worker.process.stdin, worker.process.stdout, worker.stderr):
        if stream is not None:
            stream.close()
