"""A device's URI, taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from leti_opt.errors import InvalidDeviceUriError


@dataclass(frozen=True)
class DeviceUri:
    """A URI taken apart: ``kind[:address][/unit][?option=value&…]``.

    Args:
        kind: ``host-cpu``, ``replay`` …
        address: everything between the colon and the question mark; its kind says what it means.
        options: names and values, percent-decoded.
    """

    kind: str
    address: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> DeviceUri:
        """Take a URI apart.

        Raises:
            InvalidDeviceUriError: an option has no value or occurs twice, or there is no kind.

        >>> DeviceUri.parse("host-cpu?threads=2").options
        {'threads': '2'}
        """
        body, _, query = text.strip().partition("?")
        kind, _, address = body.partition(":")
        if not kind:
            raise InvalidDeviceUriError(f"{text!r} names no device; write for instance 'host-cpu?threads=1'")
        options: dict[str, str] = {}
        for part in filter(None, query.split("&")):
            name, equals, value = part.partition("=")
            if not (name and equals and value):
                raise InvalidDeviceUriError(f"{part!r} in {text!r} is no option; write name=value")
            if name in options:
                raise InvalidDeviceUriError(f"option {name!r} occurs twice in {text!r}")
            options[name] = unquote(value)
        return cls(kind, address, options)
