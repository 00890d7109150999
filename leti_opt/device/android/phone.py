"""One phone: every command and file goes through here, and it can be held against other hosts."""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from leti_opt.device.android.adb import AdbServer, ShellResult
from leti_opt.device.android.phone_connection import BOOT_ID, Patience, PhoneConnection
from leti_opt.device.android.phone_lock import PhoneLock
from leti_opt.errors import AttemptError, DeviceError, PhoneError, PhoneGoneError

REMOTE = "/data/local/tmp/leti_opt"
"""The folder on the phone in which everything of ours lies."""

_SLOWEST_PUSH = 1 << 20
"""Bytes a second that any connection carries."""
_SLOWEST_DIGEST = 20 << 20
_RESTARTED = "==leti_opt restarted"


class Phone(PhoneConnection):
    """A phone with its files and its lock; nothing is contacted before the first command.

    Args:
        address, server, patience, notify, clock, sleep: as for :class:`PhoneConnection`.
    """

    def __init__(
        self,
        address: str,
        server: AdbServer | None = None,
        patience: Patience | None = None,
        notify: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(address, server, patience, notify, clock, sleep)
        self._lock = PhoneLock(self, f"{REMOTE}/lock", clock, sleep)

    def push(self, source: bytes | Path, remote: str, step: str, mode: int = 0o644, read_back: bool = True) -> None:
        """Write a file on the phone, and read back its digest there.

        Args:
            source: its content, or a file of this host.
            remote: where to.
            step: what it is for, in messages.
            mode: its rights.
            read_back: False where the caller looks at the digest, in a command of its own.

        Raises:
            PhoneError: the phone refuses it, for instance because its storage is full.
            PhoneGoneError: it went away in the midst; half a file may be left, which the next push replaces.
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        deadline_s = self.patience.command_s + size / _SLOWEST_PUSH
        self._make_contact()
        self._lock.renew(deadline_s)
        try:
            self.server.push(self.address, source, remote, mode, deadline_s, step)
        except PhoneGoneError:
            raise
        except AttemptError as error:
            raise self._too_slow(step, deadline_s) from error
        except PhoneError:
            self._remove_half(remote)
            raise
        if read_back and self.digest(remote, step) != _sha256(source):
            self._remove_half(remote)
            raise PhoneGoneError(self.address, step, f"{remote} did not arrive whole", "check cable and storage")

    def pull(self, remote: str, step: str) -> bytes:
        """Content of a file on the phone.

        Raises:
            PhoneError: there is none.
            PhoneGoneError: the phone went away.
        """
        try:
            return self.server.pull(self.address, remote, self.patience.command_s, step)
        except AttemptError as error:
            raise self._too_slow(step, self.patience.command_s) from error

    def digest(self, remote: str, step: str, size: int | None = None) -> str | None:
        """SHA-256 of a file on the phone, computed there, in hexadecimal.

        Args:
            remote: the file.
            step: what it is for, in messages.
            size: of its first so many bytes; None for all of it.

        Returns:
            None if there is no such file.
        """
        path = shlex.quote(remote)
        program = f"sha256sum < {path}" if size is None else f"head -c {size} {path} | sha256sum"
        length = size or int(self.shell(f"stat -c %s {path} 2>/dev/null || echo 0", step).stdout.strip() or 0)
        deadline_s = self.patience.command_s + length / _SLOWEST_DIGEST
        reply = self.shell(f"[ -f {path} ] || exit 44; {program}", step, deadline_s, check=False)
        found = re.match(r"([0-9a-f]{64})\b", reply.stdout)
        if reply.exit_code == 44:
            return None
        if found is None:
            raise PhoneError(
                self.address,
                step,
                f"sha256sum of {remote} failed: {' '.join((reply.stderr + reply.stdout).split())[-200:]}",
                "see whether the phone's shell has sha256sum: adb shell sha256sum /system/build.prop",
            )
        return found[1]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the phone against other hosts. May be entered again by who holds it.

        Raises:
            PhoneError: another host held it for too long.
        """
        self.take()
        try:
            yield
        finally:
            self.release()

    def take(self, also: str = "") -> str:
        """Hold the phone against other hosts, until :meth:`release`.

        Args:
            also: a script that runs in the same command, once the phone is held.

        Returns:
            What it printed.

        Raises:
            PhoneError: another host held it for too long.
        """
        return self._lock.take(self.patience.lock_s, also)

    def release(self, also_remove: str = "") -> None:
        """Let go of the phone. One that is gone is told, and no error: every figure is here already.

        Args:
            also_remove: paths that are removed in the same command.
        """
        try:
            self._lock.release(also_remove)
        except DeviceError as error:
            left = "; what is left on it goes at its next start" if also_remove else ""
            self.notify(f"{error}; its lock expires by itself{left}")

    @property
    def waited_s(self) -> float:
        """Seconds in which another host held it."""
        return self._lock.waited_s

    def start(self, script: str, deadline_s: float) -> ShellResult:
        """Run a script that measures a network.

        In the same command it is seen to that the phone has not restarted since the last contact, and that no other
        host takes it over for as long as the script may take.

        Raises:
            PhoneError: another host has taken the phone over already.
            PhoneGoneError: it is gone, or has restarted; or it is another phone.
            AttemptError: the script took too long, while the phone answers.
        """
        step, began = "measuring", self._clock()
        same_boot = f"{BOOT_ID}; [ \"$b\" = '{self.boot_id}' ] || {{ echo '{_RESTARTED}'; exit; }}"
        command = f"{same_boot}\n{self._lock.renewal(deadline_s)}\n{script}"
        reply = self.shell(command, step, deadline_s, check=False, is_attempt=True)
        if reply.stdout.startswith(_RESTARTED):
            raise PhoneGoneError(self.address, step, "it has restarted", "wait until it has started")
        self._lock.confirm(reply, began, deadline_s)
        return reply

    def _too_slow(self, step: str, deadline_s: float) -> PhoneGoneError:
        """A file that takes too long is the connection's fault, never the network's."""
        return PhoneGoneError(
            self.address, step, f"no end after {deadline_s:.0f} s", "use a faster connection: a cable in place of Wi-Fi"
        )

    def _remove_half(self, remote: str) -> None:
        try:
            self.shell(f"rm -f {shlex.quote(remote)}", "removing half a file", check=False)
        except (PhoneGoneError, AttemptError) as error:
            self.notify(f"{error}; {remote} is removed at its next start")


def _sha256(source: bytes | Path) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
