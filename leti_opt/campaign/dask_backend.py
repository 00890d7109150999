"""joblib's own Dask backend, with the failures that it keeps to itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any


def dask_backend(client: Any, **bound: Any) -> Any:
    """What ``joblib.parallel_config(backend=…)`` takes, so that whoever waits for a task learns how it ended.

    joblib 1.6 waits for ever for a task that ends by no fault of its own function: because its worker died again and
    again, or cannot import what it needs. Of one that the scheduler forgot it takes the exception for the result. And
    where the workers have but one thread together, it does the task in this process, on this host.

    Args:
        client: of the cluster.
        bound: where the tasks may run, as ``Client.submit`` takes it.
    """
    from joblib._dask import DaskDistributedBackend

    class TellingBackend(DaskDistributedBackend):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, n_jobs)

        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
            job = super().submit(func, callback)
            job.add_done_callback(lambda ended: callback and ended.exception() and callback(ended.exception()))
            return job

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return TellingBackend(client=client, **bound)


def deaths() -> tuple[type[Exception], ...]:
    """What is raised of a task whose worker died: several over the same task, or the one that had its result."""
    from distributed import KilledWorker

    return (KilledWorker, CancelledError)
