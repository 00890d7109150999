"""What happens in a campaign: kept in its journal, and told to a command of the user's."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

from leti_opt.campaign.work import CampaignWork
from leti_opt.errors import StoreError
from leti_opt.store.latency_store import LatencyStore

STARTED, LOST, BACK, OUT, NOTE, FINISHED, INCOMPLETE, STOPPED = (
    "started",
    "device-lost",
    "device-back",
    "device-out",
    "note",
    "finished",
    "incomplete",
    "stopped",
)
"""Kinds of events. ``note`` is all that has no kind of its own; the user's command is not told of it."""

_COMMAND_TIMEOUT_S = 30.0
_KEPT_BYTES = 2000
_LOGGER = logging.getLogger("leti_opt")


def started_text(work: CampaignWork, devices: int) -> str:
    """What is told when a campaign starts."""
    return f"{work.name}: {len(work):,} networks on {devices} device(s)"


class EventLog:
    """Writes events into the campaign's journal and runs the user's command. Several threads may call it.

    The command is run by the shell with ``LETI_EVENT``, ``LETI_EVENT_TEXT``, ``LETI_CAMPAIGN`` and ``LETI_DEVICE`` in
    its environment and the same as JSON on its input. A command that fails or hangs stops nothing; it is noted once.

    Args:
        store: whose journal.
        campaign: its id there.
        name: what people call it.
        command: the user's; None for none.
    """

    def __init__(self, store: LatencyStore, campaign: int, name: str, command: str | None = None) -> None:
        self._store = store
        self._campaign = campaign
        self._name = name
        self._command = command
        self._is_warned = False
        self._running: list[threading.Thread] = []
        self._lock = threading.Lock()

    def add(self, kind: str, text: str, device: str = "") -> None:
        """Write an event. A journal that cannot be written now stops no measurement: the line goes to the log."""
        try:
            self._store.add_event(self._campaign, kind, text, device)
        except StoreError as error:
            _LOGGER.warning("%s (not in the journal: %s)", text, error)
        if self._command is not None and kind != NOTE:
            thread = threading.Thread(target=self._run, args=(kind, text, device), daemon=True, name=f"event {kind}")
            with self._lock:
                self._running = [one for one in self._running if one.is_alive()] + [thread]
            thread.start()

    def close(self) -> None:
        """Wait for the commands that are running."""
        with self._lock:
            running = list(self._running)
        for thread in running:
            thread.join(2 * _COMMAND_TIMEOUT_S)

    def _run(self, kind: str, text: str, device: str) -> None:
        assert self._command is not None
        told = {"event": kind, "event_text": text, "campaign": self._name, "device": device}
        told_as_json = json.dumps({**told, "at": datetime.now(UTC).isoformat()}).encode()
        said = bytearray()
        environment = {f"LETI_{name.upper()}": value.replace("\0", "") for name, value in told.items()}
        try:
            with subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                bufsize=0,
                start_new_session=True,
            ) as command:
                if not _has_ended(command, told_as_json, said):
                    os.killpg(command.pid, signal.SIGKILL)
                    self._warn(f"it took longer than {_COMMAND_TIMEOUT_S:.0f} s, and was ended")
                    return
        except OSError as error:
            self._warn(str(error))
            return
        if command.returncode:
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            self._warn(f"exit status {command.returncode}{': ' if last else ''}{''.join(last)[:200]}")

    def _warn(self, what: str) -> None:
        with self._lock:
            if self._is_warned:
                return
            self._is_warned = True
        self.add(NOTE, f"on_event = {self._command!r} failed, the campaign goes on: {what}")


def _has_ended(command: subprocess.Popen[bytes], told: bytes, said: bytearray) -> bool:
    """Whether a command ended in time, with all that writes to its output; the end of that comes into ``said``."""
    deadline = time.monotonic() + _COMMAND_TIMEOUT_S
    listening = threading.Thread(target=_listen, args=(command, told, said), daemon=True, name="event output")
    listening.start()
    listening.join(_COMMAND_TIMEOUT_S)
    if listening.is_alive():
        return False
    try:
        command.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _listen(command: subprocess.Popen[bytes], told: bytes, said: bytearray) -> None:
    """Give a command its input and hear it out. Only the end is kept: some commands never stop talking."""
    assert command.stdin is not None
    assert command.stdout is not None
    with suppress(OSError):  # it need not read what it is told
        command.stdin.write(told)
    with suppress(OSError, ValueError):  # it is closed when the command was ended, though others hold its output
        command.stdin.close()
        while chunk := command.stdout.read(65536):
            said += chunk
            del said[:-_KEPT_BYTES]
