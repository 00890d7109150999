"""The phone's side of adb over TCP: connection, authorization, streams, shell v2, and file transfer."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from tests.loopback_phone.adb_protocol import (
    MAX_PAYLOAD,
    PUBLIC_KEY,
    SIGNATURE,
    TOKEN,
    VERSION,
    Message,
    read_message,
)
from tests.loopback_phone.auth import parse_public_key, signed
from tests.loopback_phone.userland import Userland

_STDOUT, _STDERR, _EXIT = 1, 2, 3
_GONE = (IncompleteReadError, ConnectionError, ValueError)


class CutError(Exception):
    """A fault cuts the connection now."""


@dataclass(frozen=True)
class Service:
    """One thing that a host asked for.

    Args:
        at: when, in seconds since 1970.
        name: ``shell,v2,raw:COMMAND``, ``sync:`` and the like.
    """

    at: float
    name: str


class Adbd:
    """Serves hosts over TCP, one task a connection.

    Args:
        userland: runs commands and holds the files.
        hook: called with the name of a moment (``push``, ``pull``, ``shell`` …) and what is concerned; raises
            :class:`CutError` to cut the connection.
    """

    def __init__(self, userland: Userland, hook: Callable[[str, str], None]) -> None:
        self.userland = userland
        self.hook = hook
        self.services: list[Service] = []
        """What hosts asked for, in order."""
        self.accepted_keys: list[tuple[int, int]] = []
        self.away = False
        """While true, nobody can connect."""
        self.silent = False
        """While true, connections are taken and never answered: adb says that they are offline."""
        self._writers: set[StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    def take(self, reader: StreamReader, writer: StreamWriter) -> None:
        """A host has connected. From now on the connection can be cut, also before anything of it is served."""
        if self.away:
            writer.transport.abort()
            return
        # As a real adbd does. asyncio does so only where a socket was made with its protocol's number.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writers.add(writer)
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One host's connection, until it ends."""
        connection = _Connection(self, reader, writer)
        try:
            if not self.silent:
                await connection.run()
            else:
                await reader.read()
        except CutError:
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()  # the phone stops; asyncio would print what a task of a stream ends with
        except _GONE:
            pass  # the host went away, or is no adb: nothing of ours is lost
        finally:
            connection.end()
            self._writers.discard(writer)
            with suppress(RuntimeError):
                writer.close()

    def cut(self) -> None:
        """Cut every connection at once, as if the cable was pulled."""
        for writer in list(self._writers):
            writer.transport.abort()


@dataclass
class _Stream:
    """One service that the host opened."""

    local: int
    remote: int
    incoming: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    rest: bytes = b""


class _Connection:
    def __init__(self, adbd: Adbd, reader: StreamReader, writer: StreamWriter) -> None:
        self._adbd, self._reader, self._writer = adbd, reader, writer
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next = 1

    def end(self) -> None:
        for stream in self._streams.values():
            stream.incoming.put_nowait(None)
        for task in self._tasks:
            task.cancel()

    async def run(self) -> None:
        if not await self._greet():
            return
        while True:
            message = await read_message(self._reader)
            if message.command == b"OPEN":
                self._open(message)
            elif message.command in (b"WRTE", b"OKAY", b"CLSE"):
                await self._continue(message)

    async def _greet(self) -> bool:
        """Take the host's greeting; false if it is not authorized and went away."""
        message = await read_message(self._reader)
        if message.command != b"CNXN":
            raise ValueError("the host does not begin with CNXN")
        settings = self._adbd.userland.settings
        while not await self._authorized():
            pass
        properties = settings.properties
        banner = "device::" + "".join(
            f"{name}={properties[name]};" for name in ("ro.product.name", "ro.product.model", "ro.product.device")
        )
        await self._send(b"CNXN", VERSION, MAX_PAYLOAD, f"{banner}features=shell_v2,cmd".encode())
        return True

    async def _authorized(self) -> bool:
        token = os.urandom(20)
        await self._send(b"AUTH", TOKEN, 0, token)
        message = await read_message(self._reader)
        if message.command != b"AUTH":
            raise ValueError(f"expected AUTH, got {message.command!r}")
        if message.first == SIGNATURE:
            return any(signed(token, message.payload, key) for key in self._adbd.accepted_keys)
        if message.first == PUBLIC_KEY:
            key = parse_public_key(message.payload)
            while not self._adbd.userland.authorized:
                # The owner has not tapped yet; the host stays in the state "unauthorized" as long as we are silent.
                self._adbd.hook("authorize", "")
                await asyncio.sleep(0.05)
                if self._reader.at_eof():
                    raise ConnectionError
            self._adbd.accepted_keys.append(key)
            return True
        return False

    async def _send(self, command: bytes, first: int, second: int, payload: bytes = b"") -> None:
        self._writer.write(Message(command, first, second, payload).encode())
        await self._writer.drain()

    def _open(self, message: Message) -> None:
        stream = _Stream(self._next, message.first)
        self._next += 1
        self._streams[stream.local] = stream
        service = message.payload.rstrip(b"\0").decode()
        self._adbd.services.append(Service(time.time(), service))
        task = asyncio.ensure_future(self._serve(stream, service))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _continue(self, message: Message) -> None:
        stream = self._streams.get(message.second)
        if stream is None:
            return
        if message.command == b"WRTE":
            stream.incoming.put_nowait(message.payload)
            await self._send(b"OKAY", stream.local, stream.remote)
        elif message.command == b"OKAY":
            stream.ready.set()
        else:
            stream.incoming.put_nowait(None)
            stream.ready.set()
            self._streams.pop(stream.local, None)

    async def _serve(self, stream: _Stream, service: str) -> None:
        await self._send(b"OKAY", stream.local, stream.remote)
        stream.ready.set()
        try:
            name, _, rest = service.partition(":")
            if name == "sync":
                await self._sync(stream)
            elif name.split(",")[0] in ("shell", "exec"):
                await self._shell(stream, rest, v2="v2" in name.split(","))
            elif name == "reboot":
                self._adbd.hook("reboot", "")
        except CutError:
            self._writer.transport.abort()
            return
        except (ConnectionError, EOFError):
            pass
        if stream.local in self._streams:
            await self._send(b"CLSE", stream.local, stream.remote)

    async def _write(self, stream: _Stream, data: bytes) -> None:
        for start in range(0, len(data), MAX_PAYLOAD):
            await stream.ready.wait()
            if stream.local not in self._streams:
                raise ConnectionError
            stream.ready.clear()
            await self._send(b"WRTE", stream.local, stream.remote, data[start : start + MAX_PAYLOAD])

    async def _read(self, stream: _Stream, count: int) -> bytes:
        while len(stream.rest) < count:
            data = await stream.incoming.get()
            if data is None:
                raise EOFError
            stream.rest += data
        taken, stream.rest = stream.rest[:count], stream.rest[count:]
        return taken

    async def _shell(self, stream: _Stream, command: str, v2: bool) -> None:
        self._adbd.hook("shell", command)

        async def write(kind: int, data: bytes) -> None:
            await self._write(stream, (struct.pack("<BI", kind, len(data)) if v2 else b"") + data)

        exit_code = await self._adbd.userland.run(
            command, lambda data: write(_STDOUT, data), lambda data: write(_STDERR, data)
        )
        if v2:
            await write(_EXIT, bytes([exit_code & 0xFF]))

    async def _sync(self, stream: _Stream) -> None:
        while True:
            name, length = struct.unpack("<4sI", await self._read(stream, 8))
            if name == b"QUIT":
                return
            path = (await self._read(stream, length)).decode()
            if name == b"STAT":
                await self._write(stream, b"STAT" + self._stat(path))
            elif name == b"SEND":
                await self._receive(stream, path)
            elif name == b"RECV":
                await self._deliver(stream, path)
            else:
                await self._fail(stream, f"unknown request {name!r}")
                return

    def _stat(self, path: str) -> bytes:
        try:
            found = self._adbd.userland.here(path).stat()
        except OSError:
            return struct.pack("<III", 0, 0, 0)
        return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))

    async def _receive(self, stream: _Stream, path_and_mode: str) -> None:
        path, _, mode = path_and_mode.rpartition(",")
        target = self._adbd.userland.here(path)
        problem = self._adbd.userland.refusal_to_write(path)
        with ExitStack() as stack:
            file = None
            if not problem:
                try:
                    file = stack.enter_context(target.open("wb"))
                except OSError as error:
                    problem = f"couldn't create file: {error.strerror}"
            while True:
                name, length = struct.unpack("<4sI", await self._read(stream, 8))
                if name == b"DONE":
                    break
                data = await self._read(stream, length)
                if file is not None:
                    file.write(data)
                    self._adbd.hook("push", path)
        if file is None:
            await self._fail(stream, problem)
            return
        target.chmod(int(mode) & 0o777)
        self._adbd.userland.log("push", path=path, bytes=target.stat().st_size)
        await self._write(stream, b"OKAY" + struct.pack("<I", 0))

    async def _deliver(self, stream: _Stream, path: str) -> None:
        try:
            content = self._adbd.userland.here(path).read_bytes()
        except OSError as error:
            await self._fail(stream, f"open failed: {error.strerror}")
            return
        for start in range(0, len(content), 65536):
            part = content[start : start + 65536]
            self._adbd.hook("pull", path)
            await self._write(stream, b"DATA" + struct.pack("<I", len(part)) + part)
        await self._write(stream, b"DONE" + struct.pack("<I", 0))

    async def _fail(self, stream: _Stream, reason: str) -> None:
        text = reason.encode()
        await self._write(stream, b"FAIL" + struct.pack("<I", len(text)) + text)
