"""Tables of operators as benchmark_model prints them: as text or CSV, one or several, whole or cut short."""

from __future__ import annotations

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.android.benchmark_profile import read_profile
from leti_opt.device.operator_time import OperatorTime
from leti_opt.errors import AttemptError
from tests.device.android.written_outputs import FOLDER

OPERATORS = [
    ("CONV_2D", "model/conv2d/Relu;model/conv2d/BiasAdd", 0.812),
    ("DEPTHWISE_CONV_2D", "model/depthwise/Relu", 0.244),
    ("SPLIT", "model/split:0, model/split:1, model/split:2", 0.038),
    ("ADD", "model/add, with a comma", 0.018),
    ("FULLY_CONNECTED", "Identity", 0.055),
]
KERNELS = [
    ("Convolution (NHWC, F32) IGEMM", "Delegate/Convolution (NHWC, F32) IGEMM:0", 0.801),
    ("Depthwise Convolution (NHWC, F32)", "Delegate/Depthwise Convolution (NHWC, F32):1", 0.22),
    ("Fully Connected (NC, F32) GEMM", "Delegate/Fully Connected (NC, F32) GEMM:2", 0.05),
]
SYNCED = [("LiteRT::Run[buffer registration]", "LiteRT::Run[buffer registration]/0", 0.014), *KERNELS]
PROFILES = {
    "profile_text": OPERATORS,
    "profile_csv": OPERATORS,
    "profile_text_old": OPERATORS,
    "profile_text_delegate": KERNELS,
    "profile_csv_delegate": KERNELS,
    "profile_text_no_start": SYNCED,
    "cpu_profiled": OPERATORS,
}
RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
INTERNAL = "Delegate internal"


@cache
def text_of(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def brief(times: tuple[OperatorTime, ...]) -> list[tuple[str, str, float | None]]:
    return [(time.operator, time.name, time.latency_ms) for time in times]


def without_rest(text: str) -> str:
    """Only the table itself, as a file that is cut right behind it."""
    return text[: text.index("\n\n", text.index("Run Order")) + 1]


def test_every_profile_of_the_folder_is_in_the_table() -> None:
    assert {path.stem for path in FOLDER.glob("profile_*.txt")} == set(PROFILES) - {"cpu_profiled"}


@pytest.mark.parametrize("name", PROFILES)
def test_operators_are_read_in_the_order_of_execution(name: str) -> None:
    times = read_profile(text_of(name))
    assert brief(times) == PROFILES[name]
    assert [time.position for time in times] == list(range(len(times)))


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("line_end", ["\r\n", "\r\r\n"])
def test_line_ends_change_no_time(name: str, line_end: str) -> None:
    text = text_of(name)
    if line_end == "\r\r\n":  # an old adb doubles the line ends, and with them the empty lines
        text = re.sub(r"\n(?=\t|node|=)", "\n", text)
    assert brief(read_profile(text.replace("\n", "\r\n"))) == PROFILES[name]


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_cut_anywhere_is_refused_or_the_same(name: str) -> None:
    text = text_of(name)
    # As long as nothing was printed of its inside, a delegate is one operator.
    outside = [("TfLiteXNNPackDelegate", "Identity", 1.09)]
    for end in range(len(text)):
        try:
            times = brief(read_profile(text[:end]))
        except AttemptError:
            continue
        assert times == PROFILES[name] or (times == outside and INTERNAL not in text[: end - 20])


@pytest.mark.parametrize("name", ["profile_text", "profile_csv"])
def test_a_profile_without_one_of_its_rows_is_refused(name: str) -> None:
    lines = text_of(name).split("\n")
    first = lines.index(RUNS) + 3
    for row in range(first, first + len(OPERATORS)):
        with pytest.raises(AttemptError, match="cut short: 4 of 5 operators"):
            read_profile("\n".join([*lines[:row], *lines[row + 1 :]]))


@pytest.mark.parametrize("name", ["profile_text", "profile_csv"])
def test_a_table_that_ends_with_its_file_is_whole_if_its_shares_add_up(name: str) -> None:
    table = without_rest(text_of(name).split(RUNS)[1])
    assert brief(read_profile(table)) == OPERATORS
    all_but_one = table[: table.rstrip("\n").rindex("\n") + 1]
    with pytest.raises(AttemptError, match="cut short: 4 operators"):
        read_profile(all_but_one)


def test_the_initialization_is_no_part_of_the_runs() -> None:
    initialization = text_of("profile_csv").split(RUNS)[0]
    assert "AllocateTensors" in initialization
    with pytest.raises(AttemptError, match="no table of operators"):
        read_profile(initialization)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("other", PROFILES)
def test_of_two_profiles_the_last_counts(name: str, other: str) -> None:
    assert brief(read_profile(f"{text_of(other)}\n{RUNS}\n{text_of(name)}")) == PROFILES[name]


@pytest.mark.parametrize("form", ["text", "csv"])
def test_a_delegate_that_took_a_part_is_one_operator_among_the_others(form: str) -> None:
    whole, _, inside = text_of(f"profile_{form}_delegate").partition(INTERNAL)
    assert len(read_profile(whole)) == 1
    partly = f"{text_of(f'profile_{form}')}{INTERNAL}{inside}"
    assert brief(read_profile(partly)) == OPERATORS


def test_another_subgraph_is_not_the_network() -> None:
    text = text_of("profile_csv")
    subgraph = "Subgraph (index: 1, name: while_body) Operator-wise" + text.split("Operator-wise")[1].replace(
        "CONV_2D", "MUL"
    )
    assert brief(read_profile(text + subgraph)) == OPERATORS


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no table of operators"),
        ("STARTING!\nBenchmarking failed.\n", r"no table of operators \(STARTING"),
        ("== Run Order ==\n", "has the columns"),
        ("== Run Order ==\nnode type, start, first, name\nADD, 0, 1, [a]:0\n\n", "no avg_ms or name"),
        ("== Run Order ==\nnode type, avg_ms, %\nADD, 1, 100%\n\n", "no avg_ms or name"),
        ("== Run Order ==\nnode type, avg_ms, %, name\n\n", "cut short: 0 operators"),
        ("== Run Order ==\nnode type, avg_ms, %, name\nADD, x, 100%, [a]:0\n\n", "no operator: ADD, x"),
        ("== Run Order ==\nnode type, avg_ms, %, name\nADD, nan, 100%, [a]:0\n\n", "without a time: ADD, nan"),
        ("== Run Order ==\nnode type, avg_ms, %, name\nADD, -1, 100%, [a]:0\n\n", "without a time: ADD, -1"),
        (
            "== Run Order ==\nnode type, avg_ms, %, name\nADD, 1, 100%, [a]:0\nW linker: unused\n\n",
            "no operator: W link",
        ),
    ],
)
def test_what_is_no_profile_is_refused(text: str, match: str) -> None:
    with pytest.raises(AttemptError, match=match):
        read_profile(text)


def test_times_may_be_printed_with_an_exponent_and_shares_be_none() -> None:
    text = "== Run Order ==\nnode type, start, avg_ms, %, name\nADD, -1e-05, 8.6e-05, nan%, [a]:0\n\n"
    assert brief(read_profile(text)) == [("ADD", "a", 8.6e-05)]


words = st.text("abcXYZ_/;:()0123456789", min_size=1, max_size=8).filter(lambda word: not re.fullmatch(r"[\d.]+", word))
phrases = st.lists(words, min_size=1, max_size=4).map(", ".join)


@given(rows=st.lists(st.tuples(phrases, phrases, st.integers(0, 99_999)), min_size=1, max_size=6), as_csv=st.booleans())
def test_types_and_names_may_hold_commas(rows: list[tuple[str, str, int]], as_csv: bool) -> None:
    separator, header = (", ", "node type, avg_ms, %, times called, name")
    if not as_csv:
        separator, header = "\t", "\t  [node type]\t[avg ms]\t [%]\t[times called]\t[Name]"
    lines = [separator.join([kind, f"{us / 1e3:g}", "1%", "1", f"[{name}]:7"]) for kind, name, us in rows]
    text = "\n".join(["== Run Order ==", header, *lines, "", f"Number of nodes executed: {len(rows)}", ""])
    assert brief(read_profile(text)) == [(kind, name, us / 1e3) for kind, name, us in rows]


@given(text=st.text(max_size=200), name=st.sampled_from(list(PROFILES)), data=st.data())
def test_any_text_is_read_or_refused(text: str, name: str, data: st.DataObject) -> None:
    whole = text_of(name)
    at = data.draw(st.integers(0, len(whole)))
    try:
        times = read_profile(whole[:at] + text + whole[at:])
    except AttemptError:
        return
    assert times
    assert all(time.latency_ms is not None and time.latency_ms >= 0 for time in times)
