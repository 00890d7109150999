"""Which phones a program is for, read from the beginning of its file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from leti_opt.errors import DeviceError, did_you_mean

HEAD_BYTES = 4096
"""Enough of a file: its ELF header, its table of segments, and in practice the name of its loader."""

_MAGIC = b"\x7fELF"
_EXECUTABLE_TYPES = (2, 3)
_LOADER_SEGMENT = 3
_ANDROID_LOADERS = "/system/bin/linker"


@dataclass(frozen=True, slots=True)
class _Target:
    bits: int
    machine: int


_TARGETS = {
    "arm64-v8a": _Target(64, 183),
    "armeabi-v7a": _Target(32, 40),
    "x86_64": _Target(64, 62),
    "x86": _Target(32, 3),
    "riscv64": _Target(64, 243),
}
_ORDERS: dict[int, Literal["<", ">"]] = {1: "<", 2: ">"}


@dataclass(frozen=True, slots=True)
class ElfHead:
    """What the beginning of an ELF file says.

    Args:
        bits: 32 or 64.
        machine: ELF's number of the processor.
        executable: whether it is a program; not so for object files and memory dumps.
        loader: path of the program that loads it; empty where it needs none, or the head ends before its name.
        little_endian: the order of its bytes; every Android phone is little-endian.
    """

    bits: int
    machine: int
    executable: bool
    loader: str
    little_endian: bool = True

    @property
    def abi(self) -> str:
        """Android's name of what it runs on, or a description where Android has none.

        >>> ElfHead(64, 183, True, "").abi
        'arm64-v8a'
        """
        for abi, target in _TARGETS.items():
            if self.little_endian and (target.bits, target.machine) == (self.bits, self.machine):
                return abi
        return f"{self.bits}-bit machine {self.machine}"


def read_elf_head(head: bytes) -> ElfHead | None:
    """Read the beginning of a file; None where it is no ELF file.

    >>> read_elf_head(b"#!/bin/sh") is None
    True
    """
    bits, order = {1: 32, 2: 64}.get(head[4] if len(head) > 5 else 0), _ORDERS.get(head[5] if len(head) > 5 else 0)
    if not head.startswith(_MAGIC) or bits is None or order is None or len(head) < (64 if bits == 64 else 52):
        return None
    kind, machine = struct.unpack_from(f"{order}HH", head, 16)
    return ElfHead(bits, machine, kind in _EXECUTABLE_TYPES, _loader(head, bits, order), order == "<")


def _loader(head: bytes, bits: int, order: str) -> str:
    if bits == 64:
        (table,), (entry_bytes, entries) = (
            struct.unpack_from(f"{order}Q", head, 32),
            struct.unpack_from(f"{order}HH", head, 54),
        )
        place, form = 8, f"{order}Q16xQ"
    else:
        (table,), (entry_bytes, entries) = (
            struct.unpack_from(f"{order}I", head, 28),
            struct.unpack_from(f"{order}HH", head, 42),
        )
        place, form = 4, f"{order}I8xI"
    for entry in range(entries):
        start = table + entry * entry_bytes
        if start + place + struct.calcsize(form) > len(head):
            return ""
        if struct.unpack_from(f"{order}I", head, start) == (_LOADER_SEGMENT,):
            offset, size = struct.unpack_from(form, head, start + place)
            return head[offset : offset + size].rstrip(b"\0").decode("utf-8", errors="replace")
    return ""


def check_elf(head: bytes, abi: str, name: str) -> None:
    """Refuse a file that a phone cannot execute, before it is pushed.

    Args:
        head: the first :data:`HEAD_BYTES` bytes of the file.
        abi: Android's name of the phone's processor, for instance ``arm64-v8a``.
        name: of the file, for the message.

    Raises:
        DeviceError: no program, one for another processor, or one for Linux in place of Android.

    >>> check_elf(b"#!/bin/sh", "arm64-v8a", "run.sh")
    Traceback (most recent call last):
    leti_opt.errors.DeviceError: run.sh is not a program for Android: ...
    """
    if abi not in _TARGETS:
        raise DeviceError(f"the phone's ABI {abi!r} is not one that we know; {did_you_mean(abi, _TARGETS)}")
    found = read_elf_head(head)
    if found is None or not found.executable:
        raise DeviceError(f"{name} is not a program for Android: it is no ELF executable; {_ask_for(abi)}")
    if found.abi != abi:
        raise DeviceError(f"{name} is for {found.abi}, and the phone is {abi}; {_ask_for(abi)}")
    if found.loader and not found.loader.startswith(_ANDROID_LOADERS):
        raise DeviceError(
            f"{name} is for Linux, not Android: it asks for {found.loader!r}, which no phone has; {_ask_for(abi)}"
        )


def _ask_for(abi: str) -> str:
    return f"name a benchmark_model that was built for Android {abi}"
