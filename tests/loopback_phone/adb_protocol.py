"""Messages of adb's transport: a header of six little-endian numbers, then the payload."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

VERSION = 0x01000001
"""From this version on the checksum is not looked at."""
MAX_PAYLOAD = 256 * 1024
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3

_HEADER = struct.Struct("<4sIIIII")


@dataclass(frozen=True)
class Message:
    """One message. The meaning of the two numbers depends on the command."""

    command: bytes
    first: int = 0
    second: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        magic = int.from_bytes(self.command, "little") ^ 0xFFFFFFFF
        checksum = sum(self.payload) & 0xFFFFFFFF if len(self.payload) < 4096 else 0
        return _HEADER.pack(self.command, self.first, self.second, len(self.payload), checksum, magic) + self.payload


async def read_message(reader: asyncio.StreamReader) -> Message:
    """The next message.

    Raises:
        asyncio.IncompleteReadError: the other side is gone.
        ValueError: this is no adb.
    """
    command, first, second, length, _, magic = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    if magic != int.from_bytes(command, "little") ^ 0xFFFFFFFF or length > 2 * 1024 * 1024:
        raise ValueError(f"not a message of adb: {command!r}")
    return Message(command, first, second, await reader.readexactly(length) if length else b"")
