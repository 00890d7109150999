"""The command that looks whether all is as it was left, and starts the program; and what is asked on arrival."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.android.adb import ShellResult
from leti_opt.device.android.arrival import Arrival, arrival_script, read_arrival
from leti_opt.device.android.model_files import PlacedFile
from leti_opt.device.android.phone_state import parse_state
from leti_opt.device.android.start_script import Started, read_started, start_script
from leti_opt.errors import PhoneError, PhoneGoneError
from tests.device.android.written_phones import NAMES, read_phone

CONTENT = b"a network of some bytes"
SAID = "count=3 avg=5\nthe last line\n"


@pytest.fixture
def placed(tmp_path: Path) -> PlacedFile:
    path = tmp_path / "model.tflite"
    path.write_bytes(CONTENT)
    return PlacedFile(str(path), 0, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def run(placed: PlacedFile, program: list[str]) -> ShellResult:
    done = subprocess.run(
        ["/bin/sh", "-c", start_script(placed, program, "", 20)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return ShellResult(done.returncode, done.stdout, done.stderr)


def test_what_the_program_prints_on_either_stream_and_its_status_come_back(placed: PlacedFile) -> None:
    reply = run(placed, ["sh", "-c", "echo out; echo error >&2; exit 7"])
    started = read_started(reply, "PHONE")
    assert (started.network, started.text, started.exit_code) == ("there", "out\nerror\n", 7)
    assert started.preparing_s > 0


def test_the_phone_itself_ends_the_program_at_its_deadline(placed: PlacedFile) -> None:
    script = start_script(placed, ["benchmark_model", "--graph=x"], "f0", 12.4)
    assert script.splitlines()[-1] == "timeout -s KILL 12 taskset f0 benchmark_model --graph=x 2>&1"


@pytest.mark.parametrize(
    ("content", "network"),
    [(None, "gone"), (CONTENT[:-1] + b"x", "changed"), (CONTENT[:-1], "changed"), (b"", "changed")],
)
def test_nothing_is_started_on_a_file_that_is_not_there_to_the_byte(
    placed: PlacedFile, tmp_path: Path, content: bytes | None, network: str
) -> None:
    Path(placed.path).unlink()
    if content is not None:
        Path(placed.path).write_bytes(content)
    reply = run(placed, ["touch", str(tmp_path / "started")])
    assert read_started(reply, "PHONE") == Started(network)  # type: ignore[arg-type]
    assert not (tmp_path / "started").exists()


def test_only_the_header_is_digested_and_the_size_of_the_whole_is_looked_at(placed: PlacedFile) -> None:
    header = PlacedFile(placed.path, 4, hashlib.sha256(CONTENT[:4]).hexdigest(), len(CONTENT))
    Path(placed.path).write_bytes(CONTENT[:4] + bytes(len(CONTENT) - 4))
    assert read_started(run(header, ["true"]), "PHONE").network == "there"
    Path(placed.path).write_bytes(CONTENT[:4])
    assert read_started(run(header, ["true"]), "PHONE").network == "changed"


def test_a_program_that_prints_our_marks_cannot_pass_itself_off() -> None:
    text = "==leti_opt starts 1 2\n==leti_opt network gone\n==leti_opt starts 3 4\n"
    assert read_started(ShellResult(0, text, ""), "PHONE").text.startswith("==leti_opt network gone")


@given(st.integers(0, 200))
def test_a_reply_that_is_cut_before_the_program_gives_no_start(length: int) -> None:
    whole = f"ended 123\n==leti_opt starts {10**18} {10**18 + 5 * 10**8}\n{SAID}"
    begin = whole.index(SAID)
    cut = whole[:length]
    if length < begin:
        with pytest.raises(PhoneGoneError, match="cut short"):
            read_started(ShellResult(0, cut, ""), "PHONE")
    else:
        found = read_started(ShellResult(0, cut, ""), "PHONE")
        assert found == Started("there", cut[begin:], 0, 0.5, ("ended 123",))


def test_line_ends_of_a_terminal_change_nothing() -> None:
    text = "ended 5\r\n==leti_opt starts 1 2\r\ncount=1\r\n"
    assert read_started(ShellResult(0, text, ""), "PHONE") == Started("there", "count=1\r\n", ended=("ended 5",))
    assert read_started(ShellResult(0, "==leti_opt network gone\r\n", ""), "PHONE").network == "gone"


@pytest.mark.parametrize(
    ("begin", "end", "seconds"),
    [
        (str(10**18), str(10**18 + 25 * 10**7), 0.25),
        (str(10**18), str(10**18 - 1), 0.0),
        ("1700000000%N", "1700000001%N", 0.0),
        ("1700000000", "1700000001", 0.0),
        ("", "", 0.0),
    ],
)
def test_a_clock_without_fractions_of_a_second_counts_nothing(begin: str, end: str, seconds: float) -> None:
    found = read_started(ShellResult(0, f"==leti_opt starts {begin} {end}\nx", ""), "PHONE")
    assert found.preparing_s == pytest.approx(seconds)
    assert found.text == "x"


def test_a_shell_that_cannot_run_the_script_is_the_phones_fault() -> None:
    with pytest.raises(PhoneError, match=r"PHONE: measuring: its shell ended with status 127: .*not found") as raised:
        read_started(ShellResult(127, "", "sh: sha256sum: not found"), "PHONE")
    assert not isinstance(raised.value, PhoneGoneError)


def here() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_phone_that_has_restarted_is_not_asked_for_its_state() -> None:
    script = arrival_script("another-boot")
    text = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=20, check=True).stdout
    assert text == f"boot {here()}\n"
    assert read_arrival(text, "another-boot") == Arrival(same_boot=False)


def test_a_phone_that_has_not_restarted_tells_its_state() -> None:
    script = arrival_script(here())
    text = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=20, check=True).stdout
    found = read_arrival(text, here())
    assert found.same_boot
    assert found.state is not None
    assert found.state.available_memory_bytes is not None


@given(st.sampled_from(NAMES), st.floats(0, 1, exclude_max=True))
def test_a_state_that_is_cut_short_is_not_taken(name: str, share: float) -> None:
    state = read_phone(name)["state"]
    assert read_arrival(f"boot 1-2\n{state}", "1-2") == Arrival(True, parse_state(state))
    assert read_arrival(f"boot 1-2\n{state[: int(share * (len(state) - 1))]}", "1-2") == Arrival(True)
