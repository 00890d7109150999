"""The adb server: which phones it knows, their shells, and files to and from them.

The server is the one that Android's own tools use, started from adbutils' copy where none runs. Shell and transfer
speak its protocol over a plain socket: adbutils' own have no deadline for a whole call and lose the reason of a push
that the phone refused.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from leti_opt.device.android.adb_errors import ADVICE, of_refusal, refused_file
from leti_opt.device.android.adb_list import ListedPhone, parse_list
from leti_opt.device.android.adb_wire import AdbRefusalError, Wire
from leti_opt.errors import AttemptError, DeviceError, PhoneError, PhoneGoneError

DEFAULT_PORT = 5037
_QUERY_S = 10.0
_START_SERVER_S = 20.0
_ECHO_S = 5.0
_CHUNK = 64 * 1024
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_THIS_HOST = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ShellResult:
    """What a command on a phone left.

    Args:
        exit_code: its exit status.
        stdout, stderr: its two streams, as text.
    """

    exit_code: int
    stdout: str
    stderr: str


class AdbServer:
    """One adb server. It is started where none answers; several threads may use it.

    Args:
        port: of the server on this host; None for ``ANDROID_ADB_SERVER_PORT``, or adb's usual one.
        host: where it runs; None for ``ANDROID_ADB_SERVER_HOST``, or this host.
        connect_s: how long to wait for a phone at ``host:port`` to take the connection.

    Raises:
        DeviceError: the port is no port.
    """

    def __init__(self, port: int | None = None, host: str | None = None, connect_s: float = 10.0) -> None:
        self.connect_s = connect_s
        self.host = host or os.environ.get("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
        named = os.environ.get("ANDROID_ADB_SERVER_PORT", str(DEFAULT_PORT))
        try:
            self.port = int(named) if port is None else port
        except ValueError:
            self.port = 0
        if not 0 < self.port < 65536:
            raise DeviceError(
                f"ANDROID_ADB_SERVER_PORT must be a port from 1 to 65535, not {named!r}; "
                f"unset it for adb's usual {DEFAULT_PORT}"
            )

    def listed(self) -> list[ListedPhone]:
        """Every phone that the server knows, in whatever state.

        Raises:
            DeviceError: there is no server and none can be started, or what answers there is none.
        """
        for was_ended in (False, True):
            try:
                return parse_list(self._query("host:devices-l"))
            except (EOFError, ConnectionError) as error:
                if was_ended:  # once is forgiven: somebody may have ended it just now, and it is started again
                    raise self._no_server(error) from error
            except (TimeoutError, ValueError, AdbRefusalError) as error:
                raise self._no_server(error) from error
        raise AssertionError("the loop ends by a return or an error")

    def state(self, address: str) -> str:
        """State of one phone; empty if the server does not know it."""
        return next((phone.state for phone in self.listed() if phone.address == address), "")

    def connect(self, address: str) -> None:
        """Connect a phone at ``host:port``. The server's own answer is not believed: a shell has to answer.

        Raises:
            PhoneGoneError: nothing answers there.
            PhoneError: the phone has not authorized this computer.
        """
        step = "connecting"
        answer = self._asked_to_connect(address, step)
        if "already connected" in answer and self.state(address) != "device":
            self.disconnect(address)
            answer = self._asked_to_connect(address, step)
        deadline = time.monotonic() + min(self.connect_s, _ECHO_S)
        state = self.state(address)
        while state in ("offline", "authorizing", "connecting", "unauthorized") and time.monotonic() < deadline:
            time.sleep(0.05)
            state = self.state(address)
        if state == "unauthorized":
            raise PhoneError(address, step, "it has not authorized this computer", ADVICE["unauthorized"])
        if state != "device":
            raise PhoneGoneError(address, step, f"adb says: {answer or state or 'nothing'}", ADVICE["gone"])
        self._echo(address, step)

    def _asked_to_connect(self, address: str, step: str) -> str:
        try:
            return self._query(f"host:connect:{address}", self.connect_s).strip()
        except TimeoutError as error:
            raise PhoneGoneError(
                address, step, f"it takes the connection, and says nothing for {self.connect_s:.0f} s", ADVICE["gone"]
            ) from error
        except AdbRefusalError as error:
            raise PhoneGoneError(address, step, f"adb says: {error}", ADVICE["gone"]) from error
        except (EOFError, ConnectionError) as error:
            raise PhoneGoneError(address, step, "adb's server ended meanwhile", ADVICE["gone"]) from error

    def disconnect(self, address: str) -> None:
        """Forget a phone at ``host:port``; nothing happens if it is not known."""
        try:
            self._query(f"host:disconnect:{address}")
        except (AdbRefusalError, EOFError, ConnectionError):
            return  # it was not connected, or the server has just ended and has forgotten all of them

    def shell(self, address: str, command: str, deadline_s: float, step: str = "a command") -> ShellResult:
        """Run a command in the phone's shell.

        Args:
            address: of the phone.
            command: for its ``sh``.
            deadline_s: for the whole call.
            step: what it is for, in messages.

        Raises:
            AttemptError: the command took longer, while the phone answers.
            PhoneGoneError: the phone is gone.
            PhoneError: it has not authorized this computer, and the like.
        """
        parts: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}
        with (
            self._told(address, step, deadline_s),
            self._service(address, f"shell,v2,raw:{command}", deadline_s) as wire,
        ):
            while True:
                kind, length = struct.unpack("<BI", wire.read(5))
                data = wire.read(length)
                if kind == _EXIT:
                    break
                if kind in parts:
                    parts[kind].append(data)
        out, error = (b"".join(parts[kind]).decode("utf-8", errors="replace") for kind in (_STDOUT, _STDERR))
        return ShellResult(data[0], out, error)

    def push(
        self, address: str, source: bytes | Path, remote: str, mode: int, deadline_s: float, step: str = "pushing"
    ) -> None:
        """Write a file on the phone.

        Raises:
            PhoneError: the phone refuses it; the message has its reason.
            PhoneGoneError, AttemptError: as :meth:`shell`.
            OSError: the source cannot be read.
        """
        with (
            BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content,
            self._told(address, step, deadline_s),
            self._service(address, "sync:", deadline_s) as wire,
        ):
            wire.send(_request(b"SEND", f"{remote},{0o100000 | mode}".encode()))
            while chunk := content.read(_CHUNK):
                wire.send(_request(b"DATA", chunk))
            wire.send(struct.pack("<4sI", b"DONE", int(time.time())))
            _take_okay(wire, address, step, remote)

    def pull(self, address: str, remote: str, deadline_s: float, step: str = "pulling") -> bytes:
        """Content of a file on the phone.

        Raises:
            as :meth:`push`.
        """
        content = bytearray()
        with self._told(address, step, deadline_s), self._service(address, "sync:", deadline_s) as wire:
            wire.send(_request(b"RECV", remote.encode()))
            while True:
                name, length = struct.unpack("<4sI", wire.read(8))
                if name == b"DONE":
                    return bytes(content)
                data = wire.read(length)
                if name == b"FAIL":
                    raise refused_file(address, step, remote, data)
                content += data

    def _query(self, service: str, deadline_s: float | None = None) -> str:
        with self._connection(deadline_s or _QUERY_S) as wire:
            wire.ask(service)
            return wire.read_block()

    @contextmanager
    def _service(self, address: str, service: str, deadline_s: float) -> Iterator[Wire]:
        with self._connection(deadline_s) as wire:
            wire.ask(f"host:tport:serial:{address}")
            wire.read(8)
            wire.ask(service)
            yield wire

    @contextmanager
    def _connection(self, deadline_s: float) -> Iterator[Wire]:
        deadline = time.monotonic() + deadline_s
        with self._connected() as connected:
            yield Wire(connected, deadline)

    def _connected(self) -> socket.socket:
        try:
            return socket.create_connection((self.host, self.port), _QUERY_S)
        except OSError as error:
            if self.host not in _THIS_HOST:
                raise self._no_server(error) from error
        failure = self._start()
        try:
            return socket.create_connection((self.host, self.port), _QUERY_S)
        except OSError as error:
            raise failure or self._no_server(error) from error

    def _no_server(self, error: Exception) -> DeviceError:
        reason = "it says nothing" if isinstance(error, TimeoutError) else str(error) or "it broke off"
        return DeviceError(f"no adb server answers at {self.host}:{self.port}: {reason}; {self._advice()}")

    def _advice(self) -> str:
        if self.host not in _THIS_HOST:
            return f"start it there (adb -a -P {self.port} nodaemon server), or unset ANDROID_ADB_SERVER_HOST"
        return f"see what uses the port, or name another in ANDROID_ADB_SERVER_PORT (adb's usual: {DEFAULT_PORT})"

    def _start(self) -> DeviceError | None:
        """Start the server, or say why not: for instance since somebody else starts one at the same moment."""
        import adbutils

        command = [adbutils.adb_path(), "-P", str(self.port), "start-server"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_START_SERVER_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return DeviceError(f"adb cannot be started: {error}; try it by hand: {' '.join(command)}")
        if not done.returncode:
            return None
        said = " ".join(done.stdout.decode(errors="replace").split())[-300:]
        return DeviceError(f"adb's server does not start: {said}; try it by hand: {' '.join(command)}")

    @contextmanager
    def _told(self, address: str, step: str, deadline_s: float) -> Iterator[None]:
        """Turn what can go wrong on the way to a phone into our errors."""
        try:
            yield
        except AdbRefusalError as error:
            raise of_refusal(address, step, str(error)) from error
        except TimeoutError as error:
            self._echo(address, step)
            raise AttemptError(f"{address}: {step} took longer than {deadline_s:.0f} s") from error
        except (EOFError, ConnectionError) as error:
            raise PhoneGoneError(address, step, "the connection broke off", ADVICE["gone"]) from error

    def _echo(self, address: str, step: str) -> None:
        """Find out whether a phone answers at all."""
        try:
            with self._service(address, "shell,v2,raw:echo here", _ECHO_S) as wire:
                wire.read(5)
        except AdbRefusalError as error:
            raise of_refusal(address, step, str(error)) from error
        except DeviceError:
            raise
        except (OSError, EOFError) as error:
            self.listed()  # a server that says nothing is another fault
            raise PhoneGoneError(address, step, "it is listed, but does not answer", ADVICE["gone"]) from error


def _request(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content


def _take_okay(wire: Wire, address: str, step: str, remote: str) -> None:
    name, length = struct.unpack("<4sI", wire.read(8))
    if name != b"OKAY":
        raise refused_file(address, step, remote, wire.read(length))
