"""A real adb server of our own: a private port, a private home, loopback only."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path


class PrivateAdbServer:
    """adbutils' adb as a server that knows nothing of the user's phones.

    Args:
        home: keeps its key.
    """

    def __init__(self, home: Path) -> None:
        import adbutils

        self._adb = adbutils.adb_path()
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs in order to use this server."""
        return {
            "HOME": str(self.home),
            "ANDROID_USER_HOME": str(self.home),
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ADB_MDNS_OPENSCREEN": "0",
            "ADB_MDNS": "0",
            "ADB_USB": "0",
        }

    def start(self) -> PrivateAdbServer:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [self._adb, "-L", f"tcp:localhost:{self.port}", "nodaemon", "server"],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.05)
        raise RuntimeError(f"adb's server did not start on port {self.port}")

    def kill(self) -> None:
        """Kill it, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def run(self, *words: str) -> str:
        """What the adb client prints."""
        done = subprocess.run(
            [self._adb, *words],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr

    def stop(self) -> None:
        """End it."""
        self.run("kill-server")  # one that was started again after a kill is not our child
        self.kill()
