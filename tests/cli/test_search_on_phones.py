"""``leti-opt search`` on loopback phones, over the real adb server, with phones that die and come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from leti_opt import LatencyStore
from leti_opt.cli.main import app
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fixtures import MakePhone, adb_server, binary, make_phone
from tests.loopback_phone.phone import LoopbackPhone

__all__ = ["adb_server", "binary", "make_phone"]
pytestmark = [pytest.mark.needs("adb"), pytest.mark.needs("litert")]

QUICK = ["--network", "small", "--set", "filters=8", "--min-runs", "10", "--json"]


@pytest.fixture
def search(adb_server: PrivateAdbServer, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    monkeypatch.setenv("LETI_BENCHMARK_MODEL", str(binary))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> dict[str, Any]:
        outcome = CliRunner().invoke(app, ["search", *QUICK, *words])
        assert outcome.exit_code == 0, outcome.output
        found: dict[str, Any] = json.loads(outcome.stdout)
        return found

    return run


@contextmanager
def vanishing(phones: Sequence[LoopbackPhone], every_s: float) -> Iterator[list[str]]:
    """Lets the phones vanish and restart in turn; each only after it has measured something since it came back."""
    over = threading.Event()
    done: list[str] = []
    measured = [0] * len(phones)

    def has_measured(place: int) -> bool:
        ends = len([line for line in phones[place].log if line["event"] == "end"])
        if ends == measured[place]:
            return False
        measured[place] = ends
        return True

    def trouble() -> None:
        while not over.wait(every_s):
            place = len(done) % len(phones)
            if not has_measured(place):
                continue
            phone = phones[place]
            (phone.vanish, phone.reboot)[len(done) // len(phones) % 2](0.3)
            done.append(phone.address)

    thread = threading.Thread(target=trouble)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def measured_once(store: Path, cells: set[str]) -> None:
    with LatencyStore(store) as results:
        frame = results.to_frame(include_unstable=True)
        assert set(frame["cell"]) == cells
        assert not frame.duplicated(["model_key", "epoch_digest"]).any()


def test_a_search_ends_whole_though_its_phone_dies_and_comes_back(
    make_phone: MakePhone, search: Any, tmp_path: Path
) -> None:
    phone = make_phone(fixed_run_ms=1.0, longer_by=5.0)
    uri = f"android:{phone.address}/cpu"
    with vanishing([phone], every_s=2.5) as done:
        found = search("--device", uri, "--budget", "20", "--seed", "1", "--store", "phone.db")
    assert len(done) >= 2
    assert len(found["steps"]) == 20
    assert found["counts"]["infeasible"] == 0
    assert found["device"]["hardware"].startswith("loopback phone ")
    measured_once(tmp_path / "phone.db", {step["cell"] for step in found["steps"]})
    starts = len([line for line in phone.log if line["event"] == "start"])
    again = search("--device", uri, "--budget", "20", "--seed", "1", "--store", "phone.db")
    assert again["steps"] == found["steps"]
    assert len([line for line in phone.log if line["event"] == "start"]) == starts


def test_a_search_over_two_different_phones_goes_by_the_slower_one(
    make_phone: MakePhone, search: Any, tmp_path: Path
) -> None:
    quick, slow = make_phone(fixed_run_ms=1.0), make_phone(model="Model B", fixed_run_ms=4.0)
    uris = [f"android:{phone.address}/cpu" for phone in (quick, slow)]
    with vanishing([quick, slow], every_s=1.5):
        found = search("-d", uris[0], "-d", uris[1], "--budget", "8", "--workers", "3", "--store", "two.db")
    assert {row["uri"] for row in found["use"]} == set(uris)
    assert all(step["losses"][0] > 4.0 for step in found["steps"])
    assert all(row["done"] >= len({step["cell"] for step in found["steps"]}) for row in found["use"])


def test_a_cell_that_the_phone_refuses_is_infeasible_and_the_search_goes_on(make_phone: MakePhone, search: Any) -> None:
    phone = make_phone(gpu_refuses=("MAX_POOL_2D",), fixed_run_ms=1.0)
    found = search("--device", f"android:{phone.address}/gpu", "--budget", "12", "--seed", "1", "--set", "stacks=1")
    assert len(found["steps"]) == 12
    assert found["counts"]["infeasible"] >= 1
    assert found["counts"]["anew"] >= 1
    (reason,) = found["failures"]
    assert "not fully delegated to the gpu" in reason
    assert "MAX_POOL_2D" in reason


ELSEWHERE = """
import os, sys
for name in ("sched_getaffinity", "sched_setaffinity", "copy_file_range", "posix_fallocate"):
    if hasattr(os, name):
        delattr(os, name)

def watch(event, values):
    path = values[0] if values else ""
    if event == "open" and isinstance(path, (str, bytes)) and os.fsdecode(path).startswith(("/proc", "/sys")):
        raise RuntimeError(f"opened {path}")
    if event in ("os.fork", "os.forkpty"):
        raise RuntimeError("forked")

from leti_opt.cli.main import app
import leti_opt.objective.pooled, leti_opt.device.android.android_device, nevergrad, scipy.stats, pandas, pyarrow
sys.addaudithook(watch)
app(sys.argv[1:])
"""


def test_the_path_to_a_phone_keeps_to_what_macos_has(
    make_phone: MakePhone, adb_server: PrivateAdbServer, binary: Path, tmp_path: Path
) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(adb_server.port), "XDG_CACHE_HOME": str(tmp_path)}
    words = ["search", *QUICK, "--device", f"android:{phone.address}/cpu?binary={binary}", "--budget", "4"]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *words], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["steps"]) == 4


def test_the_check_for_macos_would_notice(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE.replace("app(sys.argv[1:])", "open('/proc/self/status')")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "opened /proc/self/status" in done.stderr
