"""The adb server's list of phones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ListedPhone:
    """One phone as the server lists it.

    Args:
        address: serial, or ``host:port``.
        state: ``device``, ``offline``, ``unauthorized``, ``no permissions``, ``recovery`` …
        details: what else the server says, such as ``model``.
    """

    address: str
    state: str
    details: Mapping[str, str] = field(default_factory=dict)


def parse_list(text: str) -> list[ListedPhone]:
    """Read the server's list of phones.

    >>> parse_list("R58M123  unauthorized usb:1-2 transport_id:3")[0].state
    'unauthorized'
    >>> parse_list("0123  no permissions (missing udev rules?); see [http://…] usb:1-4")[0].state
    'no permissions'
    """
    found = []
    for line in text.splitlines():
        address, _, rest = line.strip().partition("\t" if "\t" in line else " ")
        rest = rest.strip()
        if not address or not rest:
            continue
        state = "no permissions" if rest.startswith("no permissions") else rest.split()[0]
        details = dict(re.findall(r"\b(product|model|device|transport_id|usb):(\S+)", rest))
        found.append(ListedPhone(address, state, details))
    return found
