"""What a campaign asks of a Dask cluster, and what it says of one that does not do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leti_opt.errors import DeviceError
from leti_opt.version import version

CONNECT_WITHIN_S = 20.0
"""A scheduler that does not answer for so long is not there."""


def connected(cluster: str) -> Any:
    """A client of the cluster.

    Args:
        cluster: address of the scheduler.

    Raises:
        DeviceError: Dask is missing, or the scheduler cannot be reached.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise DeviceError("Dask is not installed; run: pip install 'leti_opt[cluster]'") from error
    try:
        return Client(cluster, timeout=CONNECT_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"no Dask scheduler answers at {cluster} ({error}); start one with: dask scheduler"
        ) from error


def workers_of(client: Any) -> dict[str, Mapping[str, float]]:
    """What resources every worker has, by its address."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: dict(worker["resources"]) for address, worker in workers.items()}


def resources_of(client: Any) -> Mapping[str, float]:
    """How much of every resource the workers have together."""
    found: dict[str, float] = {}
    for there in workers_of(client).values():
        for name, count in there.items():
            found[name] = found.get(name, 0.0) + count
    return found


def worker_fault(client: Any, worker: str) -> str | None:
    """Why a worker cannot do a campaign's tasks; None if nothing is known against it.

    It is asked beforehand: one that lacks the code would close itself, and be waited for.
    """
    try:
        found = client.run(version, workers=[worker], on_error="return").get(worker)
    except OSError:  # the scheduler is away; the task will find out
        return None
    if isinstance(found, Exception) and not isinstance(found, OSError):  # one that is gone is another matter
        return _lacking(worker, found)
    if isinstance(found, str) and found != version():
        return f"the worker {worker} has leti_opt {found}, this host {version()}; install the same version on both"
    return None


def failure_text(failed: BaseException, worker: str) -> str:
    """What to say of a task that ended by something that is none of our own errors.

    >>> failure_text(MemoryError("no room"), "tcp://a:1")
    'MemoryError: no room'
    """
    cause = failed.__cause__ if isinstance(failed.__cause__, ImportError) else failed
    if isinstance(cause, ImportError):
        return _lacking(worker, cause)
    return f"{type(failed).__name__}: {failed}"


def _lacking(worker: str, error: BaseException) -> str:
    return (
        f"the worker {worker}, or the scheduler, cannot import what the task needs ({error}); install leti_opt "
        f"{version()} on every host of the cluster, the scheduler's included: pip install 'leti_opt[cluster]'"
    )
