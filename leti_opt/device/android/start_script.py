"""One command that starts benchmark_model: nothing else runs, the network is there to the byte, and off it goes.

Every command of its own costs tens of milliseconds on the way to a phone and back, so that what has to be looked at
right before a start is looked at by the same shell that starts the program.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from leti_opt.errors import PhoneError, PhoneGoneError

if TYPE_CHECKING:
    from leti_opt.device.android.adb import ShellResult
    from leti_opt.device.android.model_files import PlacedFile

_STEP = "measuring"
_MARK = "==leti_opt"
_STARTS = re.compile(rf"^{_MARK} starts (\S*) (\S*)\r?\n", re.MULTILINE)
_NETWORK = re.compile(rf"^{_MARK} network (gone|changed)\r?$", re.MULTILINE)
_ENDED = re.compile(r"^ended \d+(?=\r?$)", re.MULTILINE)
_NANOSECONDS = re.compile(r"\d{19}")

END_PROGRAMS = "for p in $(pidof benchmark_model); do kill -9 $p && echo ended $p; done; true"
"""A program that lost its host goes on running, and would share cores and file with the next one."""

_SCRIPT = f"""t=$(date +%s%N)
{END_PROGRAMS}
{{laying}}
[ -f {{path}} ] || {{{{ echo '{_MARK} network gone'; exit; }}}}
d=$({{digest}})
[ "$(stat -c %s {{path}})" = {{size}} ] && [ "${{{{d%% *}}}}" = {{sha256}} ] \\
|| {{{{ echo '{_MARK} network changed'; exit; }}}}
echo "{_MARK} starts $t $(date +%s%N)"
{{program}} 2>&1"""


@dataclass(frozen=True)
class Started:
    """What came of the command.

    Args:
        network: whether it was there as it was put there; otherwise nothing was started.
        text: what the program printed, both streams together.
        exit_code: its exit status.
        preparing_s: seconds that went into looking; 0 on a phone whose clock shows no fractions of a second.
        ended: the programs that were still running, and were ended.
    """

    network: Literal["there", "gone", "changed"]
    text: str = ""
    exit_code: int = 0
    preparing_s: float = 0.0
    ended: tuple[str, ...] = ()


def start_script(placed: PlacedFile, program: list[str], mask: str, deadline_s: float) -> str:
    """The script.

    Args:
        placed: the network.
        program: the words of the start.
        mask: of the cores, in hexadecimal; empty for all.
        deadline_s: when the phone itself kills the program.
    """
    before = ["timeout", "-s", "KILL", f"{deadline_s:.0f}", *(["taskset", mask] if mask else [])]
    count = placed.header_bytes
    return _SCRIPT.format(
        laying=placed.laying,
        path=placed.path,
        digest=f"head -c {count} {placed.path} | sha256sum" if count else f"sha256sum < {placed.path}",
        size=placed.size_bytes,
        sha256=placed.sha256,
        program=shlex.join(before + program),
    )


def read_started(reply: ShellResult, address: str) -> Started:
    """What the script printed.

    Args:
        reply: to the command.
        address: of the phone, for messages.

    Raises:
        PhoneGoneError: the reply was cut short.
        PhoneError: the phone's shell cannot run the script.
    """
    mark = _STARTS.search(reply.stdout)
    before = reply.stdout[: mark.start()] if mark else reply.stdout
    ended = tuple(_ENDED.findall(before))
    if mark:
        return Started("there", reply.stdout[mark.end() :], reply.exit_code, _seconds(mark[1], mark[2]), ended)
    found = _NETWORK.search(before)
    if found:
        return Started("gone" if found[1] == "gone" else "changed", ended=ended)
    said = " ".join((reply.stdout + reply.stderr).split())[-200:]
    if reply.exit_code:
        advice = "see whether the phone's shell has sha256sum, stat and head: adb shell sha256sum /system/build.prop"
        raise PhoneError(address, _STEP, f"its shell ended with status {reply.exit_code}: {said}", advice)
    raise PhoneGoneError(address, _STEP, f"the reply was cut short: {said!r}", "check the cable")


def _seconds(begin: str, end: str) -> float:
    if not (_NANOSECONDS.fullmatch(begin) and _NANOSECONDS.fullmatch(end)):
        return 0.0
    return max(0.0, (int(end) - int(begin)) / 1e9)
