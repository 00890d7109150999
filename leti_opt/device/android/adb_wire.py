"""A connection to the adb server: requests with their length in hexadecimal, answered by OKAY or FAIL."""

from __future__ import annotations

import socket
import sys
import time


class AdbRefusalError(Exception):
    """The server answered FAIL; the message is its reason. It does not leave this package's adb modules."""


class Wire:
    """One connection, with a deadline over everything that is read and sent.

    The server sends its answers in small pieces. Each is acknowledged at once: a piece that waits for the
    acknowledgement of the one before it would cost a delay of 40 ms.

    Args:
        connected: the socket.
        deadline: on :func:`time.monotonic`'s clock.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket, self._deadline = connected, deadline
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, service: str) -> None:
        """Ask for a service.

        Raises:
            AdbRefusalError: the server refuses.
            TimeoutError: the deadline has passed.
            EOFError: the connection broke off.
        """
        request = service.encode()
        self.send(f"{len(request):04x}".encode() + request)
        answer = self.read(4)
        if answer == b"FAIL":
            raise AdbRefusalError(self.read_block())
        if answer != b"OKAY":
            raise AdbRefusalError(f"not an adb server: {answer!r}")

    def read_block(self) -> str:
        """A text with its length before it."""
        return self.read(int(self.read(4), 16)).decode("utf-8", errors="replace")

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        found = bytearray()
        while len(found) < count:
            self._socket.settimeout(self._left_s())
            self._acknowledge_at_once()
            data = self._socket.recv(min(count - len(found), 1 << 20))
            if not data:
                raise EOFError
            found += data
        return bytes(found)

    def send(self, data: bytes) -> None:
        """All of the data."""
        self._socket.settimeout(self._left_s())
        self._socket.sendall(data)

    def _acknowledge_at_once(self) -> None:
        # Linux forgets the setting while it receives; other systems do not have it.
        if sys.platform == "linux":
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _left_s(self) -> float:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s
