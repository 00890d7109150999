"""A line of statistics: every one that runs can have is read, digit by digit, and no other."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.android.benchmark_statistics import find_statistics, printed, read_statistics
from leti_opt.errors import AttemptError

LINE = "count=3 first=1010 curr=990 min=990 max=1010 avg=1000 std=8"
NEW_LINE = f"{LINE} p5=990 median=1000 p95=1010"

runs = st.lists(st.integers(1, 2_000_000), min_size=1, max_size=40) | st.builds(
    lambda first, others: [first + other for other in others],
    st.integers(1, 90_000_000),
    st.lists(st.integers(0, 30), min_size=1, max_size=300),
)


def mean_of(times_us: list[int]) -> float:
    return sum(times_us) / len(times_us)


def std_of(times_us: list[int]) -> int:
    """As the program calculates it: of the population, without what is after the point."""
    return int(math.sqrt(max(0.0, sum(us * us for us in times_us) / len(times_us) - mean_of(times_us) ** 2)))


def percentile(times_us: list[int], percent: int) -> int:
    return sorted(times_us)[len(times_us) * percent // 100]


def line_of(times_us: list[int], with_percentiles: bool) -> str:
    count, last = len(times_us), times_us[-1]
    if min(times_us) == max(times_us):
        line = f"count={count} curr={last}{'(all same)' if count > 1 else ''}"
    else:
        line = (
            f"count={count} first={times_us[0]} curr={last} min={min(times_us)} max={max(times_us)} "
            f"avg={mean_of(times_us):.6g} std={std_of(times_us)}"
        )
    percentiles = {"p5": 5, "median": 50, "p95": 95} if with_percentiles else {}
    return " ".join([line, *(f"{name}={percentile(times_us, percent)}" for name, percent in percentiles.items())])


@given(times_us=runs, with_percentiles=st.booleans())
def test_every_series_of_runs_is_read(times_us: list[int], with_percentiles: bool) -> None:
    batch = read_statistics(line_of(times_us, with_percentiles))
    assert batch.count == len(times_us)
    assert (batch.min_ms, batch.max_ms) == (min(times_us) / 1e3, max(times_us) / 1e3)
    assert batch.mean_ms == pytest.approx(mean_of(times_us) / 1e3, rel=5.1e-6)
    assert batch.std_ms == (std_of(times_us) / 1e3 if len(times_us) > 1 else None)
    assert batch.median_ms == (percentile(times_us, 50) / 1e3 if with_percentiles else None)
    assert (batch.p5_ms is None) == (batch.p95_ms is None) == (not with_percentiles)
    assert batch.runs_ms is None


@given(times_us=runs.filter(lambda times: len(times) > 1 and max(times) > min(times)), factor=st.integers(2, 100))
def test_a_spread_that_no_runs_have_is_refused(times_us: list[int], factor: int) -> None:
    widest = max(times_us) - min(times_us) + max(times_us) // 50_000 + 10
    impossible = line_of(times_us, False).replace(f"std={std_of(times_us)}", f"std={factor * widest}")
    with pytest.raises(AttemptError, match="contradict each other"):
        read_statistics(impossible)


def test_two_far_runs_cannot_have_no_spread() -> None:
    with pytest.raises(AttemptError, match="contradict each other"):
        read_statistics("count=4 first=1000 curr=9000 min=1000 max=9000 avg=5000 std=0")


@pytest.mark.parametrize("name", ["first", "curr", "min", "max", "avg", "std"])
def test_a_line_without_one_of_its_figures_is_refused(name: str) -> None:
    kept = [word for word in NEW_LINE.split() if not word.startswith(f"{name}=")]
    with pytest.raises(AttemptError, match=r"not whole|cannot be read"):
        read_statistics(" ".join(kept))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min=990", "min=1001"),
        ("max=1010", "max=1000"),
        ("first=1010", "first=1011"),
        ("curr=990", "curr=989"),
        ("avg=1000", "avg=1020"),
        ("avg=1000", "avg=980"),
        ("p5=990", "p5=1001"),
        ("p5=990", "p5=989"),
        ("median=1000", "median=1011"),
        ("p95=1010", "p95=999"),
        ("p95=1010", "p95=1011"),
    ],
)
def test_figures_out_of_order_are_refused(old: str, new: str) -> None:
    with pytest.raises(AttemptError, match="contradict each other"):
        read_statistics(NEW_LINE.replace(old, new))


@pytest.mark.parametrize(
    "line",
    [
        "count=0 curr=5",
        "count=3 curr=5",
        "count=1 curr=5(all same)",
        "count=2 curr=5(all same) p5=4 median=5 p95=5",
        "count=1 curr=5 p5=5 median=6 p95=5",
        "count=2 first=5 curr=5(all same)",
        "count=1 first=1010 curr=990 min=990 max=1010 avg=1000 std=8",
        f"{LINE} std=8",
        f"{LINE} p50=1000",
        f"{LINE} WARNING: something else",
        LINE.replace("std=8", "std=-9223372036854775808"),
        LINE.replace("avg=1000", "avg=nan"),
        LINE.replace("avg=1000", "avg=1e+999"),
        LINE.replace("avg=1000", "avg="),
    ],
)
def test_a_line_that_the_program_would_not_print_is_refused(line: str) -> None:
    with pytest.raises(AttemptError, match="benchmark_model"):
        read_statistics(line)


@pytest.mark.parametrize(
    "prefix",
    ["", "INFO: ", "INFO: [./litert/tools/benchmark.h:81] ", "07-14 13:14:52.859 22838 22838 I tflite  : "],
)
def test_what_a_log_puts_before_a_line_is_left_out(prefix: str) -> None:
    assert find_statistics(f"a line\n{prefix}{LINE}\n\n", 0, 200) == [LINE]


@pytest.mark.parametrize(
    "line", [f"Timings (microseconds): {LINE}", "Memory (bytes): count=0", "count=0", f"vendor cache {LINE}"]
)
def test_other_counts_are_no_statistics_of_runs(line: str) -> None:
    assert find_statistics(f"{line}\n", 0, 200) == []


@pytest.mark.parametrize(("value", "as_printed"), [(1010130.4, 1.01013e6), (465.3194, 465.319), (412.0, 412.0)])
def test_numbers_are_printed_with_six_digits(value: float, as_printed: float) -> None:
    assert printed(value) == as_printed
