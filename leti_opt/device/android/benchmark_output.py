"""What benchmark_model prints, read with suspicion: a figure is right, or there is an error.

TensorFlow's program prints aggregates in microseconds (``count=300 first=… avg=… std=…``) and a closing line that
repeats the mean; LiteRT's prints a block in hundredths of milliseconds, with or without the former. An output whose
parts contradict each other, or that was cut short, gives no figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from leti_opt.device.android.benchmark_failures import Delegation, check_delegation, check_failure
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError

if TYPE_CHECKING:
    from leti_opt.device.android.benchmark_model import Dialect, RunOptions

__all__ = ["Delegation", "Start", "read_start"]

_PREFIX = r"^(?:\S+ )*?(?:INFO: )?(?:\[[^\]\n]*\] ?)?"
_STATISTICS = re.compile(rf"{_PREFIX}(count=\d+(?: [a-z0-9]+=\S+)* [a-z0-9]+=[^\n]*)$", re.MULTILINE)
_RUNNING = re.compile(r"Running benchmark for at least (\d+) iterations", re.MULTILINE)
_TIMINGS = re.compile(
    r"Inference timings in us: Init: (\S+), First inference: (\S+), Warmup \(avg\): (\S+), "
    r"Inference \(avg\): ([0-9.e+]+)[ \t]*$",
    re.MULTILINE,
)
_PEAK_MB = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: ([0-9.e+]+)[ \t]*$", re.MULTILINE)
_BLOCK = "BENCHMARK RESULTS"
_BLOCK_LINE = re.compile(
    r"(Model initialization|Warmup \(first\)|Warmup \(avg\)|Inference \((?:avg|min|max|std)\)"
    r"|Peak memory[^:\n]*):[ \t]+([0-9.]+)(?:[ \t]*(ms|MB))?(?:[ \t]*\((\d+) runs\))?[ \t]*$",
    re.MULTILINE,
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_NAMES = ("count", "first", "curr", "min", "max", "avg", "std", "p5", "median", "p95")
_AVG_DIGITS = 6
_BLOCK_STEP_MS = 0.01


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
    """Read the output of one start.

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
    delegation = check_delegation(text, options)
    start = _read_statistics(text, runs, delegation)
    if start is None and dialect == "litert":
        start = _read_block(text, delegation)
    if start is None:
        raise AttemptError(f"benchmark_model's output has no figures: {_tail(text)}")
    if start.batch.count is None or start.batch.count < runs:
        raise AttemptError(f"benchmark_model made {start.batch.count} runs, not {runs}: {_tail(text)}")
    return start


def _read_statistics(text: str, runs: int, delegation: Delegation | None) -> Start | None:
    """The closing line, and the statistics of the timed runs before it."""
    closing = list(_TIMINGS.finditer(text))
    if not closing:
        return None
    last = closing[-1]
    begun = list(_RUNNING.finditer(text, 0, last.start()))
    if not begun:
        raise AttemptError(f"benchmark_model says nothing of its timed runs: {_tail(text)}")
    if int(begun[-1][1]) != runs:
        raise AttemptError(f"benchmark_model was to make {begun[-1][1]} runs, not {runs}: {_tail(text)}")
    found = list(_STATISTICS.finditer(text, begun[-1].end(), last.start()))
    if len(found) != 1:
        raise AttemptError(f"benchmark_model gave {len(found)} sets of figures of its timed runs: {_tail(text)}")
    batch = _batch(found[0][1])
    init, first, warmup, mean = (_number(group) for group in last.groups())
    _agree(batch.mean_ms, mean / 1e3, found[0][1])
    peak = list(_PEAK_MB.finditer(text))
    return Start(
        batch,
        init / 1e3,
        first / 1e3,
        warmup / 1e3 or None,
        round(float(peak[-1][1]) * 2**20) if peak else None,
        delegation,
    )


def _batch(line: str) -> RunBatch:
    values = _values(line)
    count = int(values["count"])
    if "min" not in values:
        if count == 1 or "all same" in line:
            same_ms = values["curr"] / 1e3
            return RunBatch(count, same_ms, 0.0 if count > 1 else None, same_ms, same_ms)
        raise AttemptError(f"benchmark_model's figures are not whole: {line}")
    needed = ("min", "max", "avg", "std")
    if any(name not in values for name in needed):
        raise AttemptError(f"benchmark_model's figures are not whole: {line}")
    _check_order(values, line)
    ms = {name: value / 1e3 for name, value in values.items()}
    return RunBatch(
        count,
        ms["avg"],
        ms["std"],
        ms["min"],
        ms["max"],
        median_ms=ms.get("median"),
        p5_ms=ms.get("p5"),
        p95_ms=ms.get("p95"),
    )


def _values(line: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for word in line.replace("(all same)", "").split():
        name, _, value = word.partition("=")
        if name not in _NAMES or name in values or not _NUMBER.fullmatch(value):
            raise AttemptError(f"benchmark_model's figures cannot be read: {line}")
        values[name] = float(value)
    if values.get("count", 0) < 1 or "curr" not in values or not all(map(math.isfinite, values.values())):
        raise AttemptError(f"benchmark_model's figures cannot be read: {line}")
    return values


def _check_order(values: Mapping[str, float], line: str) -> None:
    """Figures that contradict each other are worth nothing, for instance of an output that was cut and joined."""
    slack = 10.0 ** (1 - _AVG_DIGITS) * values["max"] + 1
    ordered = [values[name] for name in ("min", "p5", "median", "p95", "max") if name in values]
    in_order = all(low <= high for low, high in pairwise(ordered))
    mean_within = values["min"] - slack <= values["avg"] <= values["max"] + slack
    spread_possible = values["std"] <= (values["max"] - values["min"]) / 2 + slack
    ends_within = all(values["min"] <= values[name] <= values["max"] for name in ("first", "curr") if name in values)
    if not (in_order and mean_within and spread_possible and ends_within):
        raise AttemptError(f"benchmark_model's figures contradict each other: {line}")


def _agree(mean_ms: float, closing_ms: float, line: str) -> None:
    if not math.isclose(mean_ms, closing_ms, rel_tol=10.0 ** (2 - _AVG_DIGITS), abs_tol=1e-3):
        raise AttemptError(
            f"benchmark_model's figures contradict each other: a mean of {mean_ms:g} ms in {line!r}, but "
            f"{closing_ms:g} ms in its closing line"
        )


def _read_block(text: str, delegation: Delegation | None) -> Start | None:
    """LiteRT's block, in hundredths of milliseconds."""
    place = text.rfind(_BLOCK)
    if place < 0:
        return None
    found = {match[1]: (float(match[2]), match[4]) for match in _BLOCK_LINE.finditer(text, place)}
    missing = [name for name in ("avg", "min", "max", "std") if f"Inference ({name})" not in found]
    if missing:
        raise AttemptError(f"benchmark_model's results lack Inference ({missing[0]}): {_tail(text)}")
    mean_ms, runs = found["Inference (avg)"]
    low_ms, high_ms, std_ms = (found[f"Inference ({name})"][0] for name in ("min", "max", "std"))
    if runs is None or not low_ms - _BLOCK_STEP_MS <= mean_ms <= high_ms + _BLOCK_STEP_MS or mean_ms <= 0:
        raise AttemptError(f"benchmark_model's results contradict each other: {_tail(text)}")
    peak = [value for name, (value, _) in found.items() if name.startswith("Peak memory")]
    return Start(
        RunBatch(int(runs), mean_ms, std_ms, low_ms, high_ms),
        found.get("Model initialization", (None, None))[0],
        found.get("Warmup (first)", (None, None))[0],
        found.get("Warmup (avg)", (None, None))[0],
        round(peak[-1] * 2**20) if peak else None,
        delegation,
    )


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise AttemptError(f"benchmark_model's closing line has {text!r} for a number")
    return float(text)


def _tail(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())[-300:] or "it is empty"
