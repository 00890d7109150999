"""A stand-in for :class:`Phone` that runs its commands in this host's ``/bin/sh``, in a temporary folder.

It is no phone, and it speaks no adb: the loopback phone does.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from leti_opt.device.android.adb import ShellResult
from leti_opt.device.android.phone import REMOTE
from leti_opt.errors import PhoneError

T = TypeVar("T")
_ELF_MACHINES = {"arm64-v8a": (2, 183), "armeabi-v7a": (1, 40), "x86_64": (2, 62), "x86": (1, 3)}


@dataclass
class FakePhone:
    """What the modules use of a phone.

    Args:
        root: stands for the root of the phone's file system.
    """

    root: Path
    address: str = "FAKE1"
    boot_id: str = "boot-1"
    steps: list[str] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.here(REMOTE).mkdir(parents=True)
        tools = self.root / "tools"
        tools.mkdir()
        self.running = self.root / "running"
        self.running.write_text("")
        (tools / "pidof").write_text(f"#!/bin/sh\ncat {self.running}\n: > {self.running}\n")
        (tools / "pidof").chmod(0o755)

    def here(self, remote: str) -> Path:
        """Where a path of the phone is on this host."""
        return self.root / remote.lstrip("/")

    def notify(self, line: str) -> None:
        self.told.append(line)

    def shell(self, command: str, step: str, deadline_s: float | None = None, check: bool = True) -> ShellResult:
        self.steps.append(step)
        local = command.replace("/data/local/tmp", str(self.here("/data/local/tmp")))
        environment = {**os.environ, "PATH": f"{self.root / 'tools'}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["/bin/sh", "-c", local], capture_output=True, env=environment, timeout=deadline_s or 20, check=False
        )
        stdout = done.stdout.decode(errors="replace").replace(str(self.root), "")
        result = ShellResult(done.returncode, stdout, done.stderr.decode(errors="replace"))
        if check and result.exit_code:
            raise PhoneError(self.address, step, result.stderr or f"status {result.exit_code}", "look")
        return result

    def push(self, source: bytes | Path, remote: str, step: str, mode: int = 0o644, read_back: bool = True) -> None:  # noqa: ARG002
        self.steps.append(step)
        self.pushed.append(remote)
        content = source.read_bytes() if isinstance(source, Path) else source
        self.here(remote).write_bytes(content)
        self.here(remote).chmod(mode)

    @contextmanager
    def held(self) -> Iterator[None]:
        self.here(f"{REMOTE}/lock").mkdir()
        try:
            yield
        finally:
            self.here(f"{REMOTE}/lock").rmdir()

    def recovering(self, step: str, action: Callable[[], T]) -> T:
        self.steps.append(step)
        return action()

    def pull(self, remote: str, step: str) -> bytes:
        self.steps.append(step)
        return self.here(remote).read_bytes()

    def digest(self, remote: str, step: str, size: int | None = None) -> str | None:
        self.steps.append(step)
        if not self.here(remote).exists():
            return None
        content = self.here(remote).read_bytes()
        return hashlib.sha256(content if size is None else content[:size]).hexdigest()

    def files(self) -> list[str]:
        """Names in our folder on the phone."""
        return sorted(path.name for path in self.here(REMOTE).iterdir())


def fake_program(abi: str = "arm64-v8a", loader: str = "/system/bin/linker64", text: bytes = b"") -> bytes:
    """The header of an ELF program and its loader's name: nothing in it can be executed."""
    size, machine = _ELF_MACHINES[abi]
    name = loader.encode() + b"\0" if loader else b""
    if size == 2:
        header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
            "<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, bool(name), 0, 0, 0
        )
        segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 120, 120, len(name), len(name), 1)
    else:
        header = b"\x7fELF\x01\x01\x01".ljust(16, b"\0") + struct.pack(
            "<HHIIIIIHHHHHH", 3, machine, 1, 0, 52, 0, 0, 52, 32, bool(name), 0, 0, 0
        )
        segment = struct.pack("<IIIIIIII", 3, 84, 84, 84, len(name), len(name), 4, 1)
    return header + (segment + name if name else b"") + text
