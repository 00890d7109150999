"""One measurement at a time on a physical resource, across threads and processes.

The locks are ``flock`` locks on files of the user's cache folder, one pair of files a resource. The reader/writer lock
of filelock was the other candidate. It is a SQLite database, exists since filelock 3.21 only, raises instead of
waiting when two threads want opposite modes, takes 0.9 ms where this takes 0.14 ms (seen on a 2-core host), and cannot
say who holds it. The kernel drops a ``flock`` when its process dies, and ``/proc/locks`` names the holder.

The cache folder, not the runtime folder: a session started by cron or without a login has no runtime folder, and two
processes that disagree on the folder would not exclude each other. (Two that run with different ``HOME`` or
``XDG_CACHE_HOME`` still do not.)

A resource has two files. Whoever wants it queues at the *turnstile* first and keeps that until the resource itself is
theirs. So a measurement that waits for builds in progress lets no further build begin, and builds that wait for a
measurement come before the next one: neither can starve the other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

import platformdirs

from leti_opt.errors import DeviceError, InvalidInputError
from leti_opt.host_cores import usable_cores

DEFAULT_TIMEOUT_S = 3600.0
_CORES = "host-cpu:"
_SHORTEST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02


def core_resource(core: int) -> str:
    """Name of one of this host's cores.

    >>> core_resource(0)
    'host-cpu:0'
    """
    return f"{_CORES}{core}"


@contextmanager
def hold(resources: Iterable[str], timeout_s: float | None = DEFAULT_TIMEOUT_S) -> Iterator[None]:
    """Hold exclusive locks on named resources for as long as the context.

    Every thread and process of this user on this host that asks for one of them waits. A thread may ask again for
    what it already holds. Locks end with the context or with the process.

    Args:
        resources: names, for instance ``host-cpu:0``; an empty collection holds nothing.
        timeout_s: how long to wait for all of them together; None for ever.

    Raises:
        DeviceError: one stayed busy (the message says which, and who holds it), or waiting for it could never end.

    >>> with hold(["doctest-phone"]):
    ...     pass
    """
    with ExitStack() as stack:
        _take_all(stack, resources, fcntl.LOCK_EX, timeout_s)
        yield


@contextmanager
def building_on_host(timeout_s: float | None = DEFAULT_TIMEOUT_S) -> Iterator[None]:
    """Keep measurements away from this process's cores while it builds networks.

    Builds overlap each other. A measurement of one of the cores waits for the builds in progress, and a build waits
    for a measurement in progress. A thread that is itself measuring on this host builds at once: what it builds is for
    its own measurement, and waiting for other cores could last for ever.

    Raises:
        DeviceError: a measurement went on for longer than ``timeout_s``.
    """
    cores = {core_resource(core) for core in usable_cores()}
    with ExitStack() as stack:
        if not any(name.startswith(_CORES) for name in _thread.held):
            _take_all(stack, cores, fcntl.LOCK_SH, timeout_s)
        yield


def is_held(resource: str) -> bool:
    """Whether anybody on this host holds a resource, or builds on it, right now.

    >>> with hold(["doctest-phone"]):
    ...     is_held("doctest-phone")
    True
    >>> is_held("doctest-phone")
    False
    """
    descriptor = _open(_folder() / f"{_file_name(resource)}.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        _close(descriptor)
    return False


@dataclass
class _Held:
    descriptor: int
    mode: int
    depth: int = 1


class _Thread(threading.local):
    def __init__(self) -> None:
        self.held: dict[str, _Held] = {}


# Which locks a thread holds is a fact about the process, so it lives at module level, as in any lock library.
_thread = _Thread()
_descriptors: set[int] = set()


def _take_all(stack: ExitStack, resources: Iterable[str], mode: int, timeout_s: float | None) -> None:
    if isinstance(resources, str):
        raise InvalidInputError(f"resources must be a collection of names, not the text {resources!r}")
    names = sorted(set(resources))
    _refuse_what_would_deadlock(names, mode)
    if not names:
        return
    folder = _folder()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    for name in names:
        _take(folder, name, mode, deadline)
        stack.callback(_release, name)


def _refuse_what_would_deadlock(names: list[str], mode: int) -> None:
    held = _thread.held
    for name in names:
        if name in held and mode == fcntl.LOCK_EX and held[name].mode == fcntl.LOCK_SH:
            raise DeviceError(f"this thread builds and would wait for itself on {name}; leave building_on_host() first")
    new = [name for name in names if name not in held]
    if new and held and new[0] < max(held):
        raise DeviceError(
            f"this thread holds {', '.join(sorted(held))} and asks for {new[0]}, which could wait for ever; "
            "name all resources in one hold()"
        )


def _take(folder: Path, name: str, mode: int, deadline: float | None) -> None:
    if name in _thread.held:
        _thread.held[name].depth += 1
        return
    turnstile = _open(folder / f"{_file_name(name)}.turn")
    try:
        _wait_for(turnstile, name, mode, deadline)
        descriptor = _open(folder / f"{_file_name(name)}.lock")
        try:
            _wait_for(descriptor, name, mode, deadline)
        except BaseException:
            _close(descriptor)
            raise
    finally:
        _close(turnstile)
    _thread.held[name] = _Held(descriptor, mode)


def _release(name: str) -> None:
    held = _thread.held.get(name)
    if held is None:  # a forked child leaves a context that its parent entered
        return
    held.depth -= 1
    if held.depth == 0:
        del _thread.held[name]
        _close(held.descriptor)


def _wait_for(descriptor: int, name: str, mode: int, deadline: float | None) -> None:
    pause_s = _SHORTEST_PAUSE_S
    while True:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        if deadline is not None and time.monotonic() >= deadline:
            raise DeviceError(
                f"{name} is busy: {_holders(descriptor)}; wait until it is done, or stop it, and try again"
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _holders(descriptor: int) -> str:
    """Who holds the file's lock, as far as this process may know."""
    inode = os.fstat(descriptor).st_ino
    found = []
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                found.append(_describe(int(fields[4])))
    except OSError:
        pass
    return "held by " + ", ".join(sorted(set(found))) if found else "another measurement or a build holds it"


def _describe(pid: int) -> str:
    if pid == os.getpid():
        return f"another thread of this process ({pid})"
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    return f"process {pid} ({command[:120]})" if command else f"process {pid}"


def _open(path: Path) -> int:
    _forget_in_forked_children()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DeviceError(
            f"cannot open the lock file {path}: {error.strerror}; remove it or make it writable"
        ) from error
    _descriptors.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    # Unlocking first: a child forked by other code may own a copy of the descriptor, which would keep the lock.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _file_name(name: str) -> str:
    text = quote(name, safe="")
    return text if len(text) <= 100 else hashlib.sha256(name.encode()).hexdigest()


def _folder() -> Path:
    """The folder of lock files: private to the user, one a host, since home folders may be shared by many hosts."""
    folder = Path(platformdirs.user_cache_dir("leti_opt")) / "locks" / quote(platform.node() or "host", safe="")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise DeviceError(
            f"cannot create the lock folder {folder}: {error.strerror}; set XDG_CACHE_HOME to one that can be written"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise DeviceError(
            f"the folder of lock files {folder} must be a folder of yours that nobody else can write to; "
            "remove it, or set XDG_CACHE_HOME to another place"
        )
    return folder


@cache
def _forget_in_forked_children() -> None:
    """Let forked children start without locks: a copied descriptor would keep the lock of a parent that died."""
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()
    _thread.held.clear()
