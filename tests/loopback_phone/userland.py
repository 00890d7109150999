"""The loopback phone's files and shell: this host's ``/bin/sh`` over a folder that stands for the phone's root."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.loopback_phone.faults import AT_A_MOMENT, Faults
from tests.loopback_phone.settings import CORES, PhoneSettings
from tests.loopback_phone.shims import write_shims

_PHONE_PATHS = re.compile(r"(?<![\w./])/(?=(?:data/local|sys/devices/system|proc/(?:uptime|meminfo|sys))\b)")
_START = re.compile(r"\bbenchmark_model\b.*--graph=")
_IN_START = [name for name in AT_A_MOMENT if not name.endswith(("_push", "_pull"))]

Write = Callable[[bytes], Awaitable[None]]


class Userland:
    """Runs a phone's commands.

    Args:
        root: a folder of its own.
        settings: what the phone says of itself.
        faults: what goes wrong.
        struck: called when a fault strikes that concerns the connection, with its name.
    """

    def __init__(
        self, root: Path, settings: PhoneSettings, faults: Faults, struck: Callable[[str], None] = lambda _: None
    ) -> None:
        self.root, self.settings, self.faults = root.resolve(), settings, faults
        self._struck = struck
        self._zygote: subprocess.Popen[bytes] | None = None
        self._shells: dict[int, subprocess.Popen[bytes]] = {}
        self._written: dict[Path, str] = {}
        self._waiting = ThreadPoolExecutor(16, thread_name_prefix="phone shell")
        for folder in ("data/local/tmp", "state", "running", "proc/sys/kernel/random"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        write_shims(self.root / "bin")
        self._write_cores()
        self._booted_at = time.time()
        self.boot()

    @property
    def authorized(self) -> bool:
        """Whether the owner accepts new hosts at this moment."""
        return self.settings.authorized and not self.faults.is_on("unauthorized")

    def boot(self) -> None:
        """Start the phone: another boot, nothing runs."""
        self.stop()
        (self.root / "zygote").unlink(missing_ok=True)
        self._booted_at = time.time()
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"{uuid.uuid4()}\n")
        (self.root / "proc/meminfo").write_text("MemTotal:  7812344 kB\nMemAvailable:  3912344 kB\n")
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.loopback_phone.zygote", str(self.root / "zygote")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )

    def stop(self) -> None:
        """End everything that runs on the phone."""
        for pid in list(self._shells):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            with suppress(ProcessLookupError):
                os.killpg(zygote.pid, signal.SIGKILL)
            zygote.wait()
            for pipe in (zygote.stdin, zygote.stdout):
                if pipe is not None:
                    pipe.close()
        for left in (self.root / "running").glob("*"):
            left.unlink(missing_ok=True)

    def remove(self) -> None:
        """End everything and remove the phone's files."""
        self.stop()
        self._waiting.shutdown()
        shutil.rmtree(self.root, ignore_errors=True)

    def become(self, settings: PhoneSettings) -> None:
        """Be another phone from now on."""
        self.settings = settings

    def here(self, path: str) -> Path:
        """Where a path of the phone is on this host."""
        return self.root / path.lstrip("/")

    def refusal_to_write(self, path: str) -> str:
        """Why a file cannot be pushed now; empty if it can."""
        if self.faults.shows("read_only"):
            return "couldn't create file: Read-only file system"
        if self.faults.shows("storage_full"):
            return "write failed: No space left on device"
        if not self.here(path).parent.is_dir():
            return "couldn't create file: No such file or directory"
        return ""

    def log(self, event: str, **values: Any) -> None:
        """Add a line to the phone's own log."""
        line = json.dumps({"at": time.time(), "event": event, **values}) + "\n"
        with (self.root / "log.jsonl").open("a") as file:
            file.write(line)

    def read_log(self) -> list[dict[str, Any]]:
        """What the phone did, in order."""
        path = self.root / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def run(self, command: str, out: Write, error: Write) -> int:
        """Run a command as the phone's shell would.

        Returns:
            Its exit status.
        """
        fault = self._fault_of(command)
        if "benchmark_model" in command and self._zygote is not None:
            await asyncio.get_running_loop().run_in_executor(self._waiting, self._wait_for_zygote)
        self._write_state(command)
        process = subprocess.Popen(
            ["/bin/sh", "-c", _PHONE_PATHS.sub(f"{self.root}/", command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                "PATH": f"{self.root / 'bin'}:/usr/bin:/bin",
                "LOOPBACK_ROOT": str(self.root),
                "LOOPBACK_FAULT": fault,
                "HOME": str(self.root),
            },
            start_new_session=True,
        )
        self._shells[process.pid] = process
        loop = asyncio.get_running_loop()
        if fault in ("vanish_in_measure", "reboot_in_measure"):
            loop.call_later(0.15, self._struck, fault)
        # A thread waits, and not asyncio: what runs on a phone goes on when nobody listens any more. The shield keeps
        # a connection that is cut right now from taking the wait out of the thread's queue.
        ended = asyncio.wrap_future(self._waiting.submit(self._ended, process))
        stdout, stderr = await asyncio.shield(ended)
        for text, write in ((stdout, out), (stderr, error)):
            if text:
                await write(text.replace(str(self.root).encode(), b""))
        return process.returncode or 0

    def _ended(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        with process:
            outputs = process.communicate()
        self._shells.pop(process.pid, None)
        return outputs

    def _fault_of(self, command: str) -> str:
        if not _START.search(command):
            return ""
        for name in _IN_START:
            if self.faults.strikes(name):
                self.log("fault", name=name)
                return name
        return ""

    def _wait_for_zygote(self) -> None:
        zygote = self._zygote
        if zygote is not None and zygote.stdout is not None and not (self.root / "zygote").exists():
            zygote.stdout.readline()

    def _write_state(self, command: str) -> None:
        """The phone's properties and services as they are now."""
        settings = self.settings
        if self.faults.is_on("wrong_abi"):
            settings = replace(settings, abi="x86")
            if "getprop" in command:
                self.faults.count("wrong_abi")
        looked_at = "dumpsys battery" in command
        low = looked_at and self.faults.shows("battery_low")
        percent, charging = (5, False) if low else (settings.battery_percent, settings.charging)
        hot = looked_at and self.faults.strikes("hot")
        state = self.root / "state"
        self._write(state / "settings.json", json.dumps(asdict(settings)))
        self._write(state / "properties", "".join(f"{name}={value}\n" for name, value in settings.properties.items()))
        self._write(state / "dumpsys_battery", _battery(percent, 48.5 if hot else settings.battery_c, charging))
        self._write(
            state / "dumpsys_thermalservice", f"IsStatusOverride: false\nThermal Status: {settings.thermal_status}\n"
        )
        self._write(state / "dumpsys_power", "POWER MANAGER (dumpsys power)\nDisplay Power: state=OFF\n")
        self._write(state / "dumpsys_SurfaceFlinger", f"Build configuration: loopback\nGLES: {settings.gles}\n")
        if "uptime" in command:
            uptime_s = time.time() - self._booted_at
            self._write(self.root / "proc/uptime", f"{uptime_s:.2f} {uptime_s:.2f}\n")
        for name, fault in (("full", "storage_full"), ("read_only", "read_only")):
            if self.faults.is_on(fault):
                (state / name).touch()
            else:
                (state / name).unlink(missing_ok=True)

    def _write(self, path: Path, text: str) -> None:
        """Write a file unless it is as it was written last: a phone that is asked often would answer late."""
        if self._written.get(path) != text:
            _write(path, text)
            self._written[path] = text

    def _write_cores(self) -> None:
        for cores, max_khz in CORES:
            first, last = (int(core) for core in cores.split("-"))
            numbers = " ".join(str(core) for core in range(first, last + 1))
            for core in range(first, last + 1):
                folder = self.root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
                folder.mkdir(parents=True, exist_ok=True)
                for name, value in (
                    ("related_cpus", numbers),
                    ("cpuinfo_max_freq", str(max_khz)),
                    ("scaling_max_freq", str(max_khz)),
                    ("scaling_cur_freq", str(max_khz)),
                    ("scaling_governor", "performance"),
                ):
                    (folder / name).write_text(f"{value}\n")


def _battery(percent: int, temperature_c: float, charging: bool) -> str:
    return (
        "Current Battery Service state:\n"
        f"  AC powered: {'true' if charging else 'false'}\n  USB powered: false\n  status: {2 if charging else 3}\n"
        f"  present: true\n  level: {percent}\n  scale: 100\n  temperature: {temperature_c * 10:.0f}\n"
    )


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
