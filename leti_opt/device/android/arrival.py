"""What is asked of a phone as soon as it is held: whether it is as it was left, and its state.

It is a script that travels with taking the lock, since every command of its own costs tens of milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from leti_opt.device.android.phone_connection import BOOT_ID
from leti_opt.device.android.phone_state import STATE_COMMAND, PhoneState, parse_whole_state

_BOOT = "boot "


@dataclass(frozen=True)
class Arrival:
    """A phone at the moment in which it was taken.

    Args:
        same_boot: whether it has been running ever since it was made ready; if not, it may be another phone.
        state: its state then; None where it is not known.
    """

    same_boot: bool
    state: PhoneState | None = None


def arrival_script(boot_id: str) -> str:
    """The script; it prints the phone's state unless it has restarted.

    Args:
        boot_id: of the boot in which the phone was made ready.
    """
    return f"""{BOOT_ID}; echo "{_BOOT}$b"\n[ "$b" = '{boot_id}' ] || exit 0\n{STATE_COMMAND}"""


def read_arrival(text: str, boot_id: str) -> Arrival:
    r"""What the script printed. A reply that was cut short tells nothing of the state.

    >>> read_arrival("boot 1-2\\n", "3-4")
    Arrival(same_boot=False, state=None)
    """
    first, _, rest = text.partition("\n")
    same_boot = first.strip() == f"{_BOOT}{boot_id}"
    return Arrival(same_boot, parse_whole_state(rest) if same_boot else None)
