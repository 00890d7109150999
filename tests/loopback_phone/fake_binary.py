"""A file that looks like a program for a phone. It cannot run anywhere; the loopback phone runs LiteRT in its place."""

from __future__ import annotations

import struct

_TARGETS = {"arm64-v8a": (2, 183), "armeabi-v7a": (1, 40), "x86_64": (2, 62), "x86": (1, 3)}


def fake_binary(abi: str = "arm64-v8a") -> bytes:
    """An ELF header for an ABI, and some text in place of a program."""
    bits, machine = _TARGETS[abi]
    identification = b"\x7fELF" + bytes([bits, 1, 1, 0]) + bytes(8)
    header = identification + struct.pack("<HHI", 3, machine, 1)
    return header.ljust(64, b"\0") + b"not a program: a stand-in for the tests of the loopback phone\n" * 64
