"""A lock that lies on the phone itself, for two hosts that share it.

It is a folder, which only one of them can make. A file in it names the owner and when the lock expires, by the phone's
own clock: an owner that crashed keeps nobody out for ever. Threads and processes of one host are kept apart by
:func:`leti_opt.device.resource_lock.hold`.
"""

from __future__ import annotations

import math
import os
import platform
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.device.pseudonym import pseudonym
from leti_opt.errors import PhoneError

if TYPE_CHECKING:
    from leti_opt.device.android.adb import ShellResult
    from leti_opt.device.android.phone_connection import PhoneConnection

_STEP = "taking the phone's lock"
_LEASE_S = 120.0
_LOOK_EVERY_S = 2.0
_ALSO_S = 60.0
_FOREIGN = 42
_LOST = "==leti_opt lock lost to"

# Prints "got" and what the holder wants to know at once, or what the lock's file says and the phone's time. A folder
# without a file is being made or was left by a host that crashed right then, so its own age counts.
_TAKE = """[ -d {folder} ] || mkdir -p {folder} || exit 1; now=$(date +%s)
if e=$(mkdir {lock} 2>&1); then
echo "{owner} $((now + {lease}))" > {lock}/owner || exit 1; echo got
{also}
exit 0; fi
[ -d {lock} ] || {{ echo "$e" >&2; exit 1; }}
o=; {{ read o < {lock}/owner; }} 2>/dev/null
[ -n "$o" ] || o="nobody - - $(( $(stat -c %Y {lock} 2>/dev/null || echo $now) + 30 ))"
echo "held $o $now"
"""
# The folder that is moved away may be a new one that another host has just made: then it is put back.
_CLEAR = """mv {lock} {lock}.{token} 2>/dev/null || exit 0
o=; {{ read o < {lock}.{token}/owner; }} 2>/dev/null
case "$o" in "{expired}"|"") rm -rf {lock}.{token};; *) mv {lock}.{token} {lock};; esac
"""
_RENEW = """o=; {{ read o < {lock}/owner; }} 2>/dev/null
case "$o" in "{owner} "*) ;; *) echo "{lost} $o"; exit {foreign};; esac
echo "{owner} $(( $(date +%s) + {lease} ))" > {lock}/owner.new && mv -f {lock}/owner.new {lock}/owner \
|| {{ echo "{lost}"; exit {foreign}; }}"""
_RELEASE = """o=; {{ read o < {lock}/owner; }} 2>/dev/null
case "$o" in "{owner} "*) rm -rf {also} {lock};; esac; true
"""


@dataclass(frozen=True)
class LockOwner:
    """Who holds a phone.

    Args:
        host: pseudonym of the host; ``nobody`` while the lock is being made.
        pid: of its process.
        token: of this very lock.
        expires_in_s: by the phone's clock.
    """

    host: str
    pid: str
    token: str
    expires_in_s: float

    @classmethod
    def parse(cls, text: str) -> LockOwner:
        """Read ``HOST PID TOKEN EXPIRES NOW``.

        >>> LockOwner.parse("ab12 77 feed 160 100").expires_in_s
        60.0
        """
        host, pid, token, expires, now = text.split()
        return cls(host, pid, token, float(expires) - float(now))


class PhoneLock:
    """The lock of one phone, as one process sees it.

    Args:
        phone: to hold.
        path: of the folder on it.
        clock, sleep: for tests.

    Attributes:
        waited_s: seconds in which another host held it.
    """

    def __init__(
        self, phone: PhoneConnection, path: str, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._phone, self._path = phone, path
        self._clock, self._sleep = clock, sleep
        self._host = pseudonym(platform.node())
        self._token = secrets.token_hex(8)
        self._depth = 0
        self._until = -math.inf
        self.waited_s = 0.0

    @property
    def _owner(self) -> str:
        return f"{self._host} {os.getpid()} {self._token}"

    def take(self, wait_s: float, also: str = "") -> str:
        """Wait until it is ours.

        Args:
            wait_s: how long at most.
            also: a script that runs in the same command as soon as it is ours.

        Returns:
            What that script printed.

        Raises:
            PhoneError: another host held it for all of that time.
        """
        if self._depth:
            said = self._phone.shell(also, _STEP).stdout if also else ""
            self._depth += 1
            return said
        deadline, told = self._clock() + wait_s, False
        while isinstance(holder := self._try(also), LockOwner):
            if self._is_dead(holder):
                self._clear(holder)
                continue
            if self._clock() >= deadline:
                raise PhoneError(
                    self._phone.address,
                    _STEP,
                    f"{_described(holder)} has held it for over {wait_s:.0f} s, and may for another "
                    f"{holder.expires_in_s:.0f} s",
                    "wait until it is done there, or stop it",
                )
            if not told:
                self._phone.notify(f"{self._phone.address}: {_described(holder)} measures on it; waiting")
                told = True
            began = self._clock()
            self._sleep(_LOOK_EVERY_S)
            self.waited_s += self._clock() - began
        self._depth = 1
        self._until = self._clock() + _LEASE_S
        return holder

    def release(self, also_remove: str = "") -> None:
        """Let go of it.

        Args:
            also_remove: paths that are removed in the same command, unless another host has taken the phone over.

        Raises:
            PhoneGoneError: the phone is gone; the lock expires by itself.
        """
        self._depth -= 1
        step = "letting go of the phone's lock"
        if not self._depth:
            self._until = -math.inf
            self._phone.shell(self._filled(_RELEASE, also=also_remove), step, check=False)
        elif also_remove:
            self._phone.shell(f"rm -rf {also_remove}", step, check=False)

    def renew(self, seconds: float) -> None:
        """Keep it for at least so long; nothing happens while that is certain anyway, or it is not held.

        Raises:
            PhoneError: it expired, and another host has taken it.
        """
        if not self._depth or self._until - self._clock() > seconds + _LEASE_S / 4:
            return
        began = self._clock()
        self.confirm(self._phone.shell(self.renewal(seconds), "keeping the lock", check=False), began, seconds)

    def renewal(self, seconds: float) -> str:
        """The script that keeps it for at least so long, to begin a command with; see :meth:`confirm`.

        It ends the command where another host has the lock.
        """
        return self._filled(_RENEW, lease=math.ceil(seconds + _LEASE_S))

    def confirm(self, reply: ShellResult, began: float, seconds: float) -> None:
        """What came of a command that began with :meth:`renewal`.

        Args:
            reply: to the command.
            began: when it was sent, on this lock's clock.
            seconds: that it asked for.

        Raises:
            PhoneError: the lock expired, and another host has taken it.
        """
        _, lost, rest = reply.stdout.partition(_LOST)
        if lost:
            holder = rest.partition("\n")[0].strip() or "nobody"
            raise PhoneError(
                self._phone.address,
                "keeping the phone's lock",
                f"it was lost to {holder} {reply.stderr.strip()}".rstrip(),
                "another host took it over because this one was silent for too long; start again when it is done",
            )
        self._until = began + seconds + _LEASE_S

    def _try(self, also: str) -> LockOwner | str:
        """Take it; what the script printed then, or who has it."""
        # The script may be the reading of a slow phone's state.
        command, deadline_s = self._filled(_TAKE, lease=math.ceil(_LEASE_S), also=also), _ALSO_S if also else None
        said = self._phone.shell(command, _STEP, deadline_s).stdout
        first, _, rest = said.partition("\n")
        return rest if first.strip() == "got" else LockOwner.parse(said.strip().partition(" ")[2])

    def _is_dead(self, holder: LockOwner) -> bool:
        if holder.expires_in_s <= 0:
            return True
        if holder.token == self._token:
            return True  # taken by a command whose answer was lost with the connection
        if holder.host != self._host or not holder.pid.isdecimal():
            return False
        if int(holder.pid) == os.getpid():
            return True  # the phone's other unit, or a device closed since, that could not let go: see hold() above
        try:
            os.kill(int(holder.pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _clear(self, holder: LockOwner) -> None:
        if holder.token != self._token:
            self._phone.notify(f"{self._phone.address}: taking over a lock that {_described(holder)} left behind")
        reply = self._phone.shell(f"cat {self._path}/owner 2>/dev/null", _STEP, check=False)
        expired = reply.stdout.strip()
        if expired and expired.split()[2:3] != [holder.token]:
            return  # somebody else was faster
        self._phone.shell(self._filled(_CLEAR, expired=expired), _STEP)

    def _filled(self, script: str, lease: int = 0, expired: str = "", also: str = "") -> str:
        return script.format(
            folder=self._path.rpartition("/")[0],
            lock=self._path,
            owner=self._owner,
            token=self._token,
            lease=lease,
            expired=expired,
            foreign=_FOREIGN,
            lost=_LOST,
            also=also,
        )


def _described(holder: LockOwner) -> str:
    if holder.host == "nobody":
        return "a process that is just taking it"
    return f"process {holder.pid} of the host {holder.host}"
