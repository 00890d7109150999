"""Outputs of benchmark_model: what each reveals, and that none of it is another start's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.android.benchmark_model import RunOptions, read_start
from leti_opt.errors import AttemptError, DeviceError, InfeasibleError
from tests.device.android.written_outputs import FAILURES, FIGURES, FOLDER, Output

NAMED = {output.name: output for output in (*FIGURES, *FAILURES)}
TOGETHER = [
    (one, other)
    for one in FIGURES
    for other in FIGURES
    if (one.runs, one.options, one.dialect) == (other.runs, other.options, other.dialect)
]


def by_name(output: Output) -> str:
    return output.name


def test_every_file_is_in_the_table_and_a_case_of_its_own() -> None:
    files = {path.stem for path in FOLDER.glob("*.txt") if not path.stem.startswith("profile_")}
    assert files == set(NAMED)
    assert len(NAMED) == len(FIGURES) + len(FAILURES)


@pytest.mark.parametrize("output", FIGURES, ids=by_name)
def test_an_output_reveals_its_figures(output: Output) -> None:
    assert output.read() == output.start


def test_exact_figures_are_preferred_to_the_rounded_ones_of_the_block() -> None:
    assert NAMED["litert_cpu"].read().batch.mean_ms == 0.463729
    assert "Inference (avg):      0.46 ms" in NAMED["litert_cpu"].text


def test_without_a_warm_up_the_first_run_is_not_known() -> None:
    start = NAMED["cpu_no_warmup"].read()
    assert "First inference: 0," in NAMED["cpu_no_warmup"].text
    assert (start.first_run_ms, start.warmup_mean_ms) == (None, None)


def test_the_spread_of_one_run_is_not_known() -> None:
    assert NAMED["cpu_one_run"].read().batch.std_ms is None
    one_block_run = NAMED["litert_block_only"].text.replace("(300 runs)", "(1 runs)")
    for value in ("11.57", "12.64"):
        one_block_run = one_block_run.replace(value, "12.05")
    one_block_run = one_block_run.replace("0.19", "0.00")
    assert read_start(one_block_run, 0, 1, RunOptions(), "litert").batch.std_ms is None


def test_the_profilers_own_timings_are_no_latency() -> None:
    output = NAMED["cpu_profiled"]
    profile = output.text[output.text.index("INFO: Profiling Info") :]
    assert "Timings (microseconds): count=100" in profile
    before = output.text.index("INFO: Inference timings")
    assert output.read(output.text[:before] + profile + output.text[before:]) == output.start


def test_a_block_is_none_to_tensorflows_program() -> None:
    with pytest.raises(AttemptError, match="no figures"):
        read_start(NAMED["litert_block_only"].text, 0, 300, RunOptions(), "tensorflow")


@pytest.mark.parametrize("name", ["cpu_old", "cpu_new", "gpu_cl", "nnapi", "cpu_all_same"])
@pytest.mark.parametrize("difference", [-1, 1])
def test_as_many_runs_as_were_asked_for(name: str, difference: int) -> None:
    output = NAMED[name]
    with pytest.raises(AttemptError, match=f"was to make {output.runs} runs, not {output.runs + difference}"):
        replace(output, runs=output.runs + difference).read()


@pytest.mark.parametrize("name", ["litert_block_only", "time_limit"])
def test_fewer_runs_than_were_asked_for_are_no_measurement(name: str) -> None:
    with pytest.raises(AttemptError, match="runs, not 301"):
        replace(NAMED[name], runs=301).read()


def test_more_runs_than_asked_for_need_a_least_number_of_seconds() -> None:
    text = NAMED["cpu_more_runs"].text
    with pytest.raises(AttemptError, match="made 1090 runs, not 300"):
        NAMED["cpu_more_runs"].read(text.replace("at least 1 seconds", "at least 0 seconds"))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cpu_new", "Inference (avg): 4184.67"),
        ("litert_cpu", "Inference (avg):      0.46 ms"),
        ("litert_cpu", "Inference (min):      0.42 ms"),
        ("litert_cpu", "Inference (max):      0.50 ms"),
        ("litert_cpu", "Inference (std):      0.01"),
        ("litert_cpu", "(1000 runs)"),
    ],
)
def test_an_end_that_contradicts_the_statistics_is_refused(name: str, line: str) -> None:
    for at, old in enumerate(line):
        if old.isdigit():
            other = f"{line[:at]}{(int(old) + 3) % 10}{line[at + 1 :]}"
            with pytest.raises(AttemptError, match="contradict each other"):
                NAMED[name].read(NAMED[name].text.replace(line, other))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("Inference (avg):      12.05 ms (300 runs)\n", "", r"lack Inference \(avg\)"),
        ("12.05 ms (300 runs)\n", "12.05 ms\n", "contradict each other: 0 runs"),
        ("12.05 ms (300 runs)\n", "12.0.5 ms (300 runs)\n", r"lack Inference \(avg\)"),
        ("11.57", "12.57", "contradict each other"),
        ("0.19", "9.19", "contradict each other"),
        ("Inference (min):      11.57 ms\n", "Inference (min):      11.57 ms\n" * 2, "a line twice"),
    ],
)
def test_a_block_that_is_not_whole_is_refused(old: str, new: str, match: str) -> None:
    output = NAMED["litert_block_only"]
    assert old in output.text
    with pytest.raises(AttemptError, match=match):
        output.read(output.text.replace(old, new))


def test_a_block_too_coarse_for_the_network_gives_no_figure() -> None:
    output = NAMED["litert_block_only"]
    text = output.text
    for value in ("12.05", "11.57", "12.64", "0.19"):
        text = text.replace(f" {value}", " 0.00")
    with pytest.raises(AttemptError, match="no figures of its timed runs"):
        output.read(text)


@pytest.mark.parametrize("value", ["1e+999", "nan", "-5", "1.2.3", ""])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    output = NAMED["cpu_new"]
    for figure in ("Init: 5381", "First inference: 4500", "Warmup (avg): 4374.5", "Inference (avg): 4184.67", "std=44"):
        cut = max(figure.rfind(" "), figure.rfind("=")) + 1
        with pytest.raises(AttemptError):
            output.read(output.text.replace(figure, figure[:cut] + value))


@pytest.mark.parametrize(("one", "other"), TOGETHER, ids=lambda output: output.name)
def test_of_two_joined_outputs_the_last_counts(one: Output, other: Output) -> None:
    assert other.read(one.text + other.text) == other.start


@given(pair=st.sampled_from(TOGETHER), data=st.data())
def test_the_rest_of_an_earlier_start_changes_nothing(pair: tuple[Output, Output], data: st.DataObject) -> None:
    one, other = pair
    cut = data.draw(st.integers(0, len(one.text)))
    try:
        found = other.read(one.text[:cut] + "\n" + other.text)
    except AttemptError:
        return
    assert found == other.start


@given(pair=st.sampled_from(TOGETHER), data=st.data())
def test_a_later_start_that_is_cut_short_gives_nothing_of_the_earlier(
    pair: tuple[Output, Output], data: st.DataObject
) -> None:
    one, other = pair
    begun = other.text.index("\n") + 1
    cut = data.draw(st.integers(begun, len(other.text)))
    try:
        found = other.read(one.text + other.text[:cut])
    except AttemptError:
        return
    assert replace(found, peak_memory_bytes=None) in [
        replace(start, peak_memory_bytes=None) for start in (other.start, other.earlier) if start is not None
    ]


@given(
    lines=st.lists(st.sampled_from(sorted({line for output in NAMED.values() for line in output.text.splitlines()}))),
    output=st.sampled_from(list(NAMED.values())),
    exit_code=st.sampled_from([0, 1, 137]),
)
def test_any_mixture_of_lines_is_read_or_blamed_on_somebody(lines: list[str], output: Output, exit_code: int) -> None:
    with suppress(InfeasibleError, AttemptError, DeviceError):
        found = replace(output, exit_code=exit_code).read("\n".join(lines))
        assert found.batch.count == output.runs
        assert exit_code == 0
