"""A connection to one phone: its shell, with a deadline over every command, and patience when it goes away."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from leti_opt.device.android.adb import AdbServer, ShellResult
from leti_opt.device.android.adb_errors import advice_on
from leti_opt.errors import AttemptError, PhoneError, PhoneGoneError

Result = TypeVar("Result")

_LOGGER = logging.getLogger("leti_opt")

BOOT_ID = "b=; { read b < /proc/sys/kernel/random/boot_id; } 2>/dev/null"
"""Puts the boot's number into the shell's variable ``b``, without a program of its own; empty where it is hidden."""

_CONTACT = f'{BOOT_ID}; echo "$b"; getprop ro.serialno; getprop ro.boot.serialno; echo end of contact'
_PROPERTY = re.compile(r"^\[(.*?)\]: \[(.*?)\]\r?$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a phone.

    Args:
        tries: how often something is done again because the phone went away in its midst.
        back_within_s: a phone that is not back after so many seconds is given up.
        pause_s: between two looks whether it is back.
        command_s: deadline of an ordinary command.
        lock_s: how long to wait for another host that holds the phone.
    """

    tries: int = 3
    back_within_s: float = 120.0
    pause_s: float = 1.0
    command_s: float = 20.0
    lock_s: float = 900.0


class PhoneConnection:
    """A phone by its address, as far as its shell goes; nothing is contacted before the first command.

    Args:
        address: what adb calls it: a serial, or ``host:port``, which is connected when first needed.
        server: the adb server; None for this host's usual one.
        patience: how long to wait for it.
        notify: told in one line what is waited for; None for the log.
        clock, sleep: for tests.

    Attributes:
        lost_s: seconds that were lost because it went away.
    """

    def __init__(
        self,
        address: str,
        server: AdbServer | None = None,
        patience: Patience | None = None,
        notify: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self.patience = patience or Patience()
        self.notify = notify or _LOGGER.warning
        self.lost_s = 0.0
        self._server = server
        self._clock, self._sleep = clock, sleep
        self._serial: str | None = None
        self._boot_id = ""
        self._properties: Mapping[str, str] | None = None

    @property
    def server(self) -> AdbServer:
        """The adb server."""
        if self._server is None:
            self._server = AdbServer()
        return self._server

    @property
    def serial(self) -> str:
        """Serial number of the hardware, whichever address leads to it."""
        self._make_contact()
        assert self._serial is not None
        return self._serial

    @property
    def boot_id(self) -> str:
        """Another one after every restart of the phone; as of the last contact."""
        self._make_contact()
        return self._boot_id

    @property
    def properties(self) -> Mapping[str, str]:
        """What ``getprop`` prints; read once a boot."""
        if self._properties is None:
            self._make_contact()
            reply = self._shell("getprop", "reading its properties", self.patience.command_s)
            self._properties = parse_properties(reply.stdout)
        return self._properties

    def look(self, step: str) -> None:
        """Connect it again where that is needed, and make sure that it is the same phone.

        Raises:
            PhoneError: another phone answers at this address, or it has not authorized this computer.
            PhoneGoneError: nothing answers.
        """
        try:
            self._connect_again()
            self.contact(step)
        except AttemptError as error:
            raise PhoneGoneError(self.address, step, str(error), "restart the phone if this goes on") from error

    def contact(self, step: str) -> None:
        """Make sure that the same phone as ever is there.

        Raises:
            PhoneError: another phone answers at this address.
            PhoneGoneError: nothing answers.
        """
        reply = self._shell(_CONTACT, step, self.patience.command_s)
        lines = [line.strip() for line in reply.stdout.splitlines()]
        if lines[-1:] != ["end of contact"]:
            raise PhoneGoneError(self.address, step, "its reply was cut short", "check the cable")
        boot_id, *serials = lines[:-1]
        serial = next(filter(None, serials), "") or self.address
        if self._serial is not None and serial != self._serial:
            raise PhoneError(
                self.address,
                step,
                f"another phone answers there now: its serial number is {serial}, not {self._serial}",
                "everything measured is kept; connect the first phone again, or start anew for this one",
            )
        if boot_id != self._boot_id:
            self._boot_id, self._properties = boot_id, None
        self._serial = serial

    def shell(
        self, command: str, step: str, deadline_s: float | None = None, check: bool = True, is_attempt: bool = False
    ) -> ShellResult:
        """Run a command in the phone's shell.

        Args:
            command: for its ``sh``.
            step: what it is for, in messages.
            deadline_s: for the whole call; None for an ordinary command's.
            check: whether an exit status other than 0 is an error.
            is_attempt: whether the command measures a network, which may be to blame if it takes too long.

        Raises:
            PhoneError: the command failed.
            PhoneGoneError: the phone is gone, or took too long over what should be quick.
            AttemptError: an attempt took too long, while the phone answers.
        """
        self._make_contact()
        reply = self._shell(command, step, deadline_s or self.patience.command_s, is_attempt)
        if check and reply.exit_code:
            said = " ".join((reply.stderr or reply.stdout).split())[-300:] or "it said nothing"
            raise PhoneError(self.address, step, f"exit status {reply.exit_code}: {said}", advice_on(said))
        return reply

    def wait_until_back(self, step: str) -> float:
        """Wait until the same phone answers again.

        Returns:
            Seconds waited.

        Raises:
            PhoneGoneError: it did not come back in time.
            PhoneError: another phone answers in its place, or it has not authorized this computer.
        """
        began = self._clock()
        deadline = began + self.patience.back_within_s
        while True:
            try:
                self.look(step)
            except PhoneGoneError as error:
                if self._clock() >= deadline:
                    raise PhoneGoneError(
                        self.address,
                        step,
                        f"it went away and was not back after {self._clock() - began:.0f} s ({error})",
                        "check cable, hub and battery; the same command goes on where it was",
                    ) from error
                self._sleep(self.patience.pause_s)
            else:
                return self._clock() - began

    def recovering(self, step: str, action: Callable[[], Result]) -> Result:
        """Do something, and do it again when the phone went away in its midst and is back.

        Raises:
            PhoneGoneError: it did not come back, or went away too often.
            whatever the action raises.
        """
        for left in range(self.patience.tries - 1, -1, -1):
            try:
                return action()
            except PhoneGoneError as error:
                if self._serial is None or not left:
                    raise  # a phone that was never there is not waited for
                self.notify(f"{error.phone}: {error.step}: {error.what}; waiting until it is back")
                began = self._clock()
                try:
                    waited_s = self.wait_until_back(step)
                finally:
                    self.lost_s += self._clock() - began
                self.notify(f"{self.address}: back after {waited_s:.1f} s")
        raise AssertionError("the loop ends by a return or an error")

    def _make_contact(self) -> None:
        if self._serial is None:
            self.look("first contact")

    def _shell(self, command: str, step: str, deadline_s: float, is_attempt: bool = False) -> ShellResult:
        try:
            return self.server.shell(self.address, command, deadline_s, step)
        except AttemptError as error:
            if is_attempt:
                raise
            raise PhoneGoneError(
                self.address, step, f"no end after {deadline_s:.0f} s", "restart the phone if this goes on"
            ) from error

    def _can_be_connected(self) -> bool:
        return re.fullmatch(r".+:\d+", self.address) is not None

    def _connect_again(self) -> None:
        if self._can_be_connected() and self.server.state(self.address) != "device":
            self.server.connect(self.address)


def parse_properties(text: str) -> dict[str, str]:
    r"""Read what ``getprop`` prints. A value may have several lines.

    >>> parse_properties("[ro.product.model]: [Pixel 7]\n[ro.x]: []\n")
    {'ro.product.model': 'Pixel 7', 'ro.x': ''}
    """
    return {match[1]: match[2] for match in _PROPERTY.finditer(text)}
