"""What benchmark_model prints, read with suspicion: a figure is right, or there is an error.

TensorFlow's program prints aggregates in microseconds (``count=300 first=… avg=… std=…``) and a closing line that
repeats the mean; LiteRT's closes with a block in hundredths of milliseconds, with or without the former. An output
whose parts contradict each other, or that was cut short, gives no figure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.device.android.benchmark_closing import Closing, find_closing
from leti_opt.device.android.benchmark_failures import Delegation, check_delegation, check_failure, end_of
from leti_opt.device.android.benchmark_statistics import find_statistics, number_of, read_statistics
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError

if TYPE_CHECKING:
    from leti_opt.device.android.benchmark_model import Dialect, RunOptions

__all__ = ["Delegation", "Start", "read_start"]

_RUNNING = re.compile(r"Running benchmark for at least (\d+) iterations and at least (\S+) seconds\b")
_BEGINNING = re.compile(r"^(?:INFO: )?STARTING!|Running benchmark for at least", re.MULTILINE)


@dataclass(frozen=True)
class Start:
    """What one start of benchmark_model revealed; None where it did not say.

    Args:
        batch: the timed runs, as aggregates.
        initialization_ms: until the network was ready to run.
        first_run_ms: the very first run.
        warmup_mean_ms: mean of the warm-up.
        peak_memory_bytes: of the process.
        delegation: what the delegate said.
    """

    batch: RunBatch
    initialization_ms: float | None = None
    first_run_ms: float | None = None
    warmup_mean_ms: float | None = None
    peak_memory_bytes: int | None = None
    delegation: Delegation | None = None


def read_start(text: str, exit_code: int, runs: int, options: RunOptions, dialect: Dialect = "tensorflow") -> Start:
    r"""Read the output of one start.

    Args:
        text: both streams.
        exit_code: of the program; above 128 it was ended by a signal.
        runs: how many it was asked for.
        options: where it ran.
        dialect: whose program it is.

    Raises:
        InfeasibleError: the phone refuses this network.
        AttemptError: the program crashed, was killed, or said too little, or what cannot be.
        DeviceError: the program cannot run on this phone, or not as asked.

    >>> from leti_opt.device.android.benchmark_model import RunOptions
    >>> output = (
    ...     "Running benchmark for at least 3 iterations and at least 0 seconds\n"
    ...     "count=3 first=1010 curr=990 min=990 max=1010 avg=1000 std=8\n\n"
    ...     "Inference timings in us: Init: 500, First inference: 1200, Warmup (avg): 0, Inference (avg): 1000\n"
    ... )
    >>> read_start(output, 0, 3, RunOptions()).batch.mean_ms
    1.0
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    check_failure(text, exit_code, options)
    whole_lines = text[: text.rfind("\n") + 1]
    closing = find_closing(whole_lines, dialect)
    if closing is None:
        raise AttemptError(f"benchmark_model's output has no figures: {_tail(text)}")
    batch = _timed_runs(whole_lines, closing, runs)
    # Only now: an output that was cut short says nothing against the phone.
    delegation = check_delegation(text, options)
    return Start(
        batch,
        closing.initialization_ms,
        closing.first_run_ms,
        closing.warmup_mean_ms,
        closing.peak_memory_bytes,
        delegation,
    )


def _timed_runs(text: str, closing: Closing, runs: int) -> RunBatch:
    """The statistics between the last announcement of runs and the closing, which has to agree with both."""
    announced = list(_RUNNING.finditer(text, 0, closing.place))
    if _BEGINNING.search(text, closing.place):
        raise AttemptError(f"benchmark_model was cut short in its timed runs: {_tail(text)}")
    found = find_statistics(text, announced[-1].end(), closing.place) if announced else []
    if len(found) > 1:
        raise AttemptError(f"benchmark_model gave {len(found)} sets of figures of its timed runs: {_tail(text)}")
    if found:
        batch = read_statistics(found[0])
        closing.check(batch, found[0])
    elif not announced and closing.batch is not None and closing.batch.mean_ms > 0:
        batch = closing.batch
    else:
        raise AttemptError(f"benchmark_model gave no figures of its timed runs: {_tail(text)}")
    _check_count(batch, announced[-1] if announced else None, runs, text)
    return batch


def _check_count(batch: RunBatch, announced: re.Match[str] | None, runs: int, text: str) -> None:
    asked = int(announced[1]) if announced else runs
    if asked != runs:
        raise AttemptError(f"benchmark_model was to make {asked} runs, not {runs}: {_tail(text)}")
    # A least number of seconds may add runs; without one there are as many as were asked for.
    may_be_more = announced is None or number_of(announced[2], announced[0]) > 0
    if batch.count is None or batch.count < runs or (batch.count > runs and not may_be_more):
        raise AttemptError(f"benchmark_model made {batch.count} runs, not {runs}: {_tail(text)}")


def _tail(text: str) -> str:
    return end_of(text, of_none="it is empty")
