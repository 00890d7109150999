"""Processes that end with the one that they work for, also when that is killed."""

from __future__ import annotations

import os
import select
import threading
import time
from functools import cache

_LOOK_EVERY_S = 1.0


def end_with(owner: int) -> None:
    """Have this process end at once when another one of this host has ended. May be called again and again.

    A process pool's workers wait for work that a killed process can hand out no more: five minutes or for ever, and
    what they share (semaphores, pipes) stays with them.

    Args:
        owner: its process id; this process's own changes nothing.
    """
    if owner != os.getpid():
        _watch(owner, os.getpid())


@cache
def _watch(owner: int, _own: int) -> None:  # by the own id, too: a forked child inherits the cache, but no thread
    threading.Thread(target=_end_after, args=(owner,), name=f"ends with {owner}", daemon=True).start()


def _end_after(owner: int) -> None:
    _wait_for(owner)
    os._exit(1)  # whatever it builds is for nobody, and its locks end with it


def _wait_for(process: int) -> None:
    """Wait for another process's end; without looking again and again where the system can tell."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    except (OSError, AttributeError):  # an older kernel, a container that forbids it, or another system
        while _is_there(process):
            time.sleep(_LOOK_EVERY_S)
        return
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        ended.poll()
    finally:
        os.close(descriptor)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
