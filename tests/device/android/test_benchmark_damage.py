"""Outputs with noise in between, cut short, with lines missing or swapped, with wrong digits: never another figure."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.android.benchmark_model import Start
from leti_opt.errors import AttemptError, DeviceError, InfeasibleError
from tests.device.android.written_outputs import FAILURES, FIGURES, Output

BLAMED = (InfeasibleError, AttemptError, DeviceError)
WHAT_RAN = re.compile(r"with delegate \((?!TfLiteXNNPack)|completely executed by the delegate")
# How closely the end of an output confirms the mean: of several runs it repeats every digit.
CONFIRMED_MS = {"cpu_one_run": 0.01, "litert_cpu": 0.01, "litert_gpu": 0.01, "litert_block_only": 1.0}
# Where nothing confirms the number of runs.
MORE_RUNS = {"cpu_more_runs", "litert_block_only"}

logcat_lines = st.builds(
    "{}-{:02} {:02}:14:52.{:03} {:5} {:5} {} {}: {}".format,
    st.sampled_from(["07", "12"]),
    st.integers(1, 28),
    st.integers(0, 23),
    st.integers(0, 999),
    st.integers(1, 32768),
    st.integers(1, 32768),
    st.sampled_from("VDIWE"),
    st.sampled_from(["Adreno-GSL", "hwservicemanager", "chatty  ", "gralloc4", "tflite-other"]),
    st.text("abcxyz count=123 .:()[]", max_size=40),
)
other_lines = st.sampled_from(
    [
        "",
        "   ",
        "\t",
        "count=0",
        "Timings (microseconds): count=50 first=1 curr=2 min=1 max=2 avg=1.5 std=0",
        "Memory (bytes): count=0",
        "cache: count=3 hits=2 size=4096",
        'WARNING: linker: Warning: "/vendor/lib64/libgsl.so" has unsupported flags DT_FLAGS_1=0x8',
        "Inference is warming up",
        "=============",
    ]
)
noise = st.lists(st.tuples(st.integers(0, 10_000), logcat_lines | other_lines), max_size=8)


def by_name(output: Output) -> str:
    return output.name


def with_noise(text: str, added: list[tuple[int, str]]) -> str:
    lines = text.split("\n")
    for place, line in added:
        lines.insert(place % len(lines), line)
    return "\n".join(lines)


def check_no_other_figure(found: Start, output: Output) -> None:
    """Everything is as in the whole output, or not known."""
    wholes = [start for start in (output.start, output.earlier) if start is not None]
    (whole,) = [start for start in wholes if start.batch == found.batch]
    for name in ("initialization_ms", "first_run_ms", "warmup_mean_ms", "peak_memory_bytes"):
        assert getattr(found, name) in (None, getattr(whole, name)), name
    if whole.delegation is None:
        assert found.delegation is None
    else:
        assert found.delegation is not None
        assert found.delegation.nodes in (None, whole.delegation.nodes)
        assert found.delegation.backend in ("", whole.delegation.backend)


def read_damaged(output: Output, text: str) -> None:
    """A damaged output is the start's fault, or reveals what the whole one does."""
    if output.options.unit != "cpu" and not WHAT_RAN.search(text):
        with pytest.raises((AttemptError, DeviceError)):
            output.read(text)
        return
    try:
        found = output.read(text)
    except AttemptError:
        return
    check_no_other_figure(found, output)


@given(output=st.sampled_from(FIGURES), added=noise)
def test_noise_changes_no_figure(output: Output, added: list[tuple[int, str]]) -> None:
    assert output.read(with_noise(output.text, added)) == output.start


@given(output=st.sampled_from(FAILURES), added=noise)
def test_noise_changes_nobodys_fault(output: Output, added: list[tuple[int, str]]) -> None:
    with pytest.raises(output.error) as raised:
        output.read(with_noise(output.text, added))
    assert type(raised.value) is output.error


@pytest.mark.parametrize("output", FIGURES, ids=by_name)
@pytest.mark.parametrize("line_end", ["\r\n", "\r\r\n"])
def test_line_ends_change_no_figure(output: Output, line_end: str) -> None:
    assert output.read(output.text.replace("\r\n", "\n").replace("\n", line_end)) == output.start


@pytest.mark.parametrize("output", FIGURES, ids=by_name)
def test_an_output_cut_anywhere_is_the_starts_fault_or_reveals_the_same(output: Output) -> None:
    revealed = 0
    for end in range(len(output.text)):
        try:
            found = output.read(output.text[:end])
        except AttemptError:
            continue
        check_no_other_figure(found, output)
        revealed += 1
    assert revealed < len(output.text) / 2 or output.name in ("cpu_profiled", "cpu_two_starts")


@pytest.mark.parametrize("output", FAILURES, ids=by_name)
def test_a_failure_cut_anywhere_is_still_one(output: Output) -> None:
    for end in range(len(output.text)):
        with pytest.raises(BLAMED):
            output.read(output.text[:end])


@pytest.mark.parametrize("output", FIGURES, ids=by_name)
def test_an_output_without_one_line_or_with_one_twice_or_two_swapped(output: Output) -> None:
    lines = output.text.splitlines(keepends=True)
    for place, line in enumerate(lines):
        before, after = lines[:place], lines[place + 1 :]
        for damaged in ([*before, *after], [*before, line, line, *after], [*before, *after[:1], line, *after[1:]]):
            read_damaged(output, "".join(damaged))


@given(output=st.sampled_from([each for each in FIGURES if each.earlier is None]), data=st.data())
def test_an_output_with_two_lines_in_each_others_place(output: Output, data: st.DataObject) -> None:
    lines = output.text.splitlines(keepends=True)
    one, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    lines[one], lines[other] = lines[other], lines[one]
    read_damaged(output, "".join(lines))


@pytest.mark.parametrize("output", FIGURES, ids=by_name)
def test_a_wrong_digit_changes_neither_mean_nor_count(output: Output) -> None:
    """Of a percentile or of the fastest run it may go unnoticed, as long as runs could have such figures."""
    assert output.start is not None
    for line in re.finditer(r"^.*(?:count=|Inference (?:timings|\()|Running benchmark).*$", output.text, re.MULTILINE):
        for digit in re.finditer(r"\d", line[0]):
            at = line.start() + digit.start()
            for other in {"0", "1", "5", "9", str((int(digit[0]) + 1) % 10)} - {digit[0]}:
                try:
                    found = output.read(output.text[:at] + other + output.text[at + 1 :]).batch
                except AttemptError:
                    continue
                whole = output.start.batch
                assert abs(found.mean_ms - whole.mean_ms) <= CONFIRMED_MS.get(output.name, 0)
                assert found.count == whole.count or output.name in MORE_RUNS
                named = [found.min_ms, found.p5_ms, found.median_ms, found.p95_ms, found.max_ms]
                known = [value for value in named if value is not None]
                assert known == sorted(known)
                assert known[0] <= found.mean_ms <= known[-1]


@given(
    output=st.sampled_from(FIGURES),
    data=st.data(),
    added=st.text(max_size=3),
    removed=st.integers(min_value=0, max_value=3),
)
def test_any_damage_is_read_or_blamed_on_somebody(
    output: Output, data: st.DataObject, added: str, removed: int
) -> None:
    at = data.draw(st.integers(0, len(output.text)))
    with suppress(*BLAMED):
        count = output.read(output.text[:at] + added + output.text[at + removed :]).batch.count
        assert count is not None
        assert count >= output.runs


@pytest.mark.parametrize("name", ["failing_invoke", "failing_invoke_with_figures"])
def test_a_failing_run_is_no_measurement_even_if_its_exit_status_is_lost(name: str) -> None:
    (output,) = [each for each in FAILURES if each.name == name]
    for end in range(len(output.text) + 1):
        with pytest.raises(BLAMED):
            replace(output, exit_code=0).read(output.text[:end])
