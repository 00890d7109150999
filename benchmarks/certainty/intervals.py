"""What an interval from few runs is worth on this host: proven on recorded traces.

    python -m benchmarks.certainty.intervals

Each trace is 20,000 runs. From its first half come 24 looks, as a canary takes them, which tell how far the host's pace
wanders. In its second half, stretches that begin at random are measured: as the fixed 300 runs, and by growing numbers
of runs until the interval is as narrow as that of 300 runs is. An interval holds if it contains the whole trace's mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.certainty.traces import Trace, load_traces
from benchmarks.result_table import Figure, write_result
from leti_opt.device.certainty import MIN_RUNS, least_relative_error, mean_interval, with_wander

LOOKS, RUNS_OF_A_LOOK = 24, 60
FIXED_RUNS = 300
STRETCHES = 200
SEED = 1
SLACK = 1.05
GROWTH = 1.5
MAX_RUNS = 3_000
TARGET = 0.01


@dataclass(frozen=True)
class Finding:
    """What a trace showed.

    Args:
        trace: its name.
        spread: standard deviation of its runs, as a share of the mean.
        wander: of the looks.
        fixed_error: the honest relative half width of 300 runs, median.
        fixed_coverage: share of those intervals that hold.
        runs: runs that the growing way needed for the same width, median.
        coverage: share of its intervals that hold.
        naive_stops: share of stretches where the runs alone looked sure to one per cent.
        naive_coverage: share of those that were right.
        least_runs: runs that one per cent would take if they were independent.
    """

    trace: str
    spread: float
    wander: float
    fixed_error: float
    fixed_coverage: float
    runs: float
    coverage: float
    naive_stops: float
    naive_coverage: float
    least_runs: float


def main() -> None:
    """Judge every trace and write the table."""
    findings = [judge(trace) for trace in load_traces()]
    write_result(
        "intervals",
        "Intervals of the mean on recorded traces",
        [
            "trace",
            "std / mean",
            "wander",
            "± of 300 runs",
            "of these hold",
            "runs for the same ±",
            "of these hold",
            "looked sure to 1 %",
            "of these right",
            "runs for 1 % at best",
        ],
        [_row(finding) for finding in findings],
        _notes(findings),
        _figures(findings),
    )


def judge(trace: Trace) -> Finding:
    """Measure stretches of one trace in every way."""
    runs, mean = trace.runs_ms, float(trace.runs_ms.mean())
    half = runs.size // 2
    looks = [float(np.median(runs[start : start + RUNS_OF_A_LOOK])) for start in np.linspace(0, half, LOOKS, dtype=int)]
    wander = float(np.std(looks) / np.median(looks))
    starts = np.random.default_rng(SEED).integers(half, runs.size - MAX_RUNS, STRETCHES)
    fixed = [_interval(runs[start : start + FIXED_RUNS], wander) for start in starts]
    fixed_error = float(np.median([error / middle for middle, error in fixed]))
    grown = [_grown(runs[start:], wander, SLACK * fixed_error) for start in starts]
    naive = [_grown(runs[start:], 0.0, TARGET) for start in starts]
    sure = [found for found in naive if found[2] <= TARGET * found[1]]
    spread = float(runs.std() / mean)
    return Finding(
        trace=trace.name,
        spread=spread,
        wander=wander,
        fixed_error=fixed_error,
        fixed_coverage=_holding(fixed, mean),
        runs=float(np.median([count for count, _, _ in grown])),
        coverage=_holding([found[1:] for found in grown], mean),
        naive_stops=len(sure) / STRETCHES,
        naive_coverage=_holding([found[1:] for found in sure], mean),
        least_runs=(least_relative_error(spread) / TARGET) ** 2,
    )


def _interval(runs: NDArray[np.float64], wander: float) -> tuple[float, float]:
    """Mean and half width."""
    interval = mean_interval(runs)
    assert interval is not None, "a stretch has enough runs"
    return interval.mean, with_wander(interval.half_width, interval.mean, wander)


def _grown(runs: NDArray[np.float64], wander: float, target: float) -> tuple[int, float, float]:
    """Runs, mean and half width where a growing stretch is narrow enough, or has all that it may have."""
    count = MIN_RUNS
    while True:
        middle, error = _interval(runs[:count], wander)
        if error <= target * middle or count >= MAX_RUNS:
            return count, middle, error
        count = min(MAX_RUNS, math.ceil(GROWTH * count))


def _holding(found: Sequence[tuple[float, float]], mean: float) -> float:
    if not found:
        return math.nan
    return float(np.mean([abs(middle - mean) <= error for middle, error in found]))


def _row(finding: Finding) -> list[str]:
    return [
        finding.trace,
        f"{finding.spread:.3f}",
        f"{finding.wander:.3f}",
        f"{100 * finding.fixed_error:.0f} %",
        f"{100 * finding.fixed_coverage:.0f} %",
        f"{finding.runs:.0f}",
        f"{100 * finding.coverage:.0f} %",
        f"{100 * finding.naive_stops:.0f} %",
        "–" if math.isnan(finding.naive_coverage) else f"{100 * finding.naive_coverage:.0f} %",
        f"{finding.least_runs:,.0f}",
    ]


def _notes(findings: Sequence[Finding]) -> list[str]:
    lowest = min(finding.wander for finding in findings)
    return [
        f"Wander: standard deviation of {LOOKS} looks of {RUNS_OF_A_LOOK} runs in the trace's first half. With it no "
        f"number of runs in a row gets below ±{100 * least_relative_error(lowest):.0f} % on the steadiest trace, so "
        f"`relative_error={TARGET}` is refused here. The two columns before the last show what happens without it: the "
        "runs of a moment look sure, and are wrong.",
        "Runs for 1 % at best: what the trace's spread would take if every run were independent of the others.",
        f"Traces: `python -m benchmarks.certainty.record`; {STRETCHES} stretches of each, seed {SEED}.",
    ]


def _figures(findings: Sequence[Finding]) -> list[Figure]:
    covered = [finding.coverage for finding in findings]
    saved = [FIXED_RUNS / finding.runs for finding in findings]
    best = max(FIXED_RUNS / finding.least_runs for finding in findings)
    return [
        Figure("intervals that hold, mean over the traces", 100 * float(np.mean(covered)), "%", 90, 95),
        Figure("intervals that hold, worst trace", 100 * min(covered), "%", 90, 95),
        Figure("runs saved at the certainty that 300 runs have, median trace", float(np.median(saved)), "x", 3, 10),
        Figure("runs saved at ±1 %, steadiest trace, if its runs were independent", best, "x", 3, 10),
    ]


if __name__ == "__main__":
    main()
