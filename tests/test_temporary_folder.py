from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import pytest

from leti_opt.temporary_folder import temporary_folder

HOLDER = """
import sys, time
from leti_opt.temporary_folder import temporary_folder
with temporary_folder("model") as folder:
    (folder / "model.tflite").write_bytes(b"x")
    (folder / "saved" / "variables").mkdir(parents=True)
    (folder / "saved" / "variables" / "data").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def holder() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_behind_is_removed_by_the_next() -> None:
    process, left = holder()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (left / "model.tflite").exists(), "it was killed while it had the folder"
    with temporary_folder("model") as own:
        assert not left.exists()
        assert own.exists()


def test_a_folder_that_a_living_process_has_stays() -> None:
    process, theirs = holder()
    try:
        with temporary_folder("model") as own:
            assert (theirs / "model.tflite").exists()
            assert own != theirs
    finally:
        process.kill()
        process.communicate()


def test_a_folder_ends_with_its_context_also_by_an_error(place: Path) -> None:
    with pytest.raises(KeyError), temporary_folder("model") as own:
        raise KeyError
    assert not own.exists()
    assert [file for file in place.rglob("*") if file.is_file()] == []


def test_a_forked_child_within_the_context_removes_nothing_at_its_end() -> None:
    held = temporary_folder("model")
    own = held.__enter__()
    child = os.fork()
    if child == 0:
        held.__exit__(None, None, None)
        os._exit(0)
    os.waitpid(child, 0)
    assert own.exists()
    held.__exit__(None, None, None)
    assert not own.exists()


def test_nobody_else_can_look_into_it() -> None:
    with temporary_folder("model") as own:
        assert own.parent.stat().st_mode & 0o077 == 0


def test_a_folder_whose_process_was_killed_before_it_was_locked_is_removed(place: Path) -> None:
    with temporary_folder("model") as own:
        parent = own.parent
    (parent / "model-made").mkdir()
    (parent / "model-begun").mkdir()
    (parent / "model-begun" / "new lock").write_bytes(b"")
    (parent / "other-made").mkdir()
    with temporary_folder("model") as own:
        assert sorted(parent.iterdir()) == sorted([own, parent / "other-made"])


def test_a_folder_that_another_process_is_making_at_this_moment_stays() -> None:
    with temporary_folder("model") as own:
        parent = own.parent
    making = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(making, fcntl.LOCK_SH)  # as its maker does
        (parent / "model-made").mkdir()
        with temporary_folder("model"):
            assert (parent / "model-made").exists()
    finally:
        os.close(making)


def test_where_folders_cannot_be_locked_only_what_was_locked_before_is_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, left = holder()
    process.kill()
    process.communicate()
    (left.parent / "model-made").mkdir()
    flock = fcntl.flock

    def of_files(file: IO[bytes] | int, mode: int) -> None:
        if isinstance(file, int):
            raise OSError(errno.EBADF, "Bad file descriptor")
        assert file.writable(), "a network file system locks only what can be written"
        flock(file, mode)

    monkeypatch.setattr(fcntl, "flock", of_files)
    with temporary_folder("model") as own:
        assert sorted(own.parent.iterdir()) == sorted([own, left.parent / "model-made"])
