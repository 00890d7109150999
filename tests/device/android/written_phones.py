"""The phones of ``phones/``, which we wrote, and a stand-in for one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from leti_opt.device.android.cores import CORES_COMMAND
from leti_opt.device.android.phone_state import STATE_COMMAND

FOLDER = Path(__file__).with_name("phones")
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))


def read_phone(name: str) -> dict[str, str]:
    """What a phone prints, by command."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    parts = re.split(r"^### (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def properties_of(name: str) -> dict[str, str]:
    """Its properties."""
    return dict(re.findall(r"^\[(.+?)\]: \[(.*?)\]$", read_phone(name)["getprop"], re.MULTILINE | re.DOTALL))


class Reply(NamedTuple):
    """What a shell gives back."""

    exit_code: int
    stdout: str
    stderr: str = ""


@dataclass
class WrittenPhone:
    """Answers from a file. ``replies`` come before, each once, for the commands that begin so."""

    name: str
    address: str = "127.0.0.1:5555"
    replies: list[tuple[str, str]] = field(default_factory=list)
    kernel: str = "5.10.157-android13"
    asked: list[str] = field(default_factory=list)
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.properties = self.properties or properties_of(self.name)

    @property
    def serial(self) -> str:
        """As the properties say."""
        return self.properties.get("ro.serialno", "")

    def shell(self, command: str, step: str, deadline_s: float | None = None, check: bool = True) -> Reply:  # noqa: ARG002
        """Answer from ``replies``, else from the file."""
        self.asked.append(command)
        if self.replies and command.startswith(self.replies[0][0]):
            return Reply(0, self.replies.pop(0)[1])
        printed = read_phone(self.name)
        answers: dict[str, Callable[[], Reply]] = {
            STATE_COMMAND: lambda: Reply(0, printed["state"]),
            CORES_COMMAND: lambda: Reply(0, printed["cores"]),
            "dumpsys SurfaceFlinger 2>&1": lambda: Reply(0, printed["surfaceflinger"]),
            "uname -r 2>/dev/null": lambda: Reply(0, f"{self.kernel}\n") if self.kernel else Reply(127, ""),
        }
        return answers[command]()
