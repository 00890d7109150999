"""Parts that a machine may lack: what was missing is listed at the end, or fails where it is required.

``LETI_REQUIRE=tensorflow,git`` turns a missing part into a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.store.postgresql import postgresql_server, postgresql_url  # noqa: F401 - fixtures for every test

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def postgresql_folder() -> Path | None:
    """Where ``initdb`` and ``pg_ctl`` are: on the path, or where Debian puts them."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


PARTS: dict[str, Callable[[], bool]] = {
    "tensorflow": lambda: importlib.util.find_spec("tensorflow") is not None,
    "litert": lambda: importlib.util.find_spec("ai_edge_litert") is not None,
    "adb": lambda: importlib.util.find_spec("adbutils") is not None,
    "git": lambda: shutil.which("git") is not None,
    "postgresql": lambda: postgresql_folder() is not None and importlib.util.find_spec("psycopg") is not None,
    "dask": lambda: importlib.util.find_spec("distributed") is not None,
    "root": lambda: os.geteuid() == 0,
}
_missing: set[str] = set()


def required_parts() -> set[str]:
    parts = {part for part in os.environ.get("LETI_REQUIRE", "").split(",") if part}
    unknown = parts - set(PARTS)
    if unknown:
        raise pytest.UsageError(f"LETI_REQUIRE names unknown parts {sorted(unknown)}; known: {sorted(PARTS)}")
    return parts


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts the tests in the background has Ctrl-C ignored, in this process and all of its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    absent = {part for part in required_parts() if not PARTS[part]()}
    if absent:
        raise pytest.UsageError(f"LETI_REQUIRE asks for {sorted(absent)}, which this machine lacks")
    if not hasattr(config, "workerinput"):
        # What an earlier version of the code left in the user's cache must not answer for this one.
        os.environ["LETI_CACHE_DIR"] = tempfile.mkdtemp(prefix="leti-opt-tests-")
        os.environ["XDG_DATA_HOME"] = os.path.join(os.environ["LETI_CACHE_DIR"], "data")  # the key of pseudonyms
        _use_an_adb_server_of_our_own(os.environ["LETI_CACHE_DIR"])
        os.environ["LETI_TESTS_BENCHMARK_MODEL"] = os.environ.pop("LETI_BENCHMARK_MODEL", "")


def _use_an_adb_server_of_our_own(folder: str) -> None:
    """Phones that hang on this machine are none of the tests' business; a server is started by whoever asks for one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ["ANDROID_ADB_SERVER_PORT"] = str(free.getsockname()[1])
    os.environ["ANDROID_USER_HOME"] = folder
    os.environ["ADB_MDNS"] = os.environ["ADB_USB"] = "0"


def _end_our_adb_server() -> None:
    port = int(os.environ["ANDROID_ADB_SERVER_PORT"])
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as server:
            server.sendall(b"0009host:kill")
            server.recv(4)
    except ConnectionError:
        pass  # nobody asked for one


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _end_our_adb_server()
        shutil.rmtree(os.environ["LETI_CACHE_DIR"], ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for part in marker.args:
            if part not in PARTS:
                pytest.fail(f"unknown part {part!r} in a needs marker; known: {sorted(PARTS)}")
            if not PARTS[part]():
                _missing.add(part)
                pytest.skip(f"this machine lacks {part}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _missing:
        terminalreporter.section("parts that this machine lacks")
        terminalreporter.line(", ".join(sorted(_missing)) + "; set LETI_REQUIRE to make that a failure")
