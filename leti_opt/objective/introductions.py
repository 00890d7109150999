"""Several devices tell what they are, all at once, before they work together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import DeviceError, InvalidDeviceUriError
from leti_opt.objective.measuring import MeasuringService
from leti_opt.store.latency_store import LatencyStore


def introduce(members: Sequence[MeasuringService], store: LatencyStore, notify: Callable[[str], None]) -> set[int]:
    """Ask all devices at once what they are; one that is away is taken for what the store knows of it.

    Returns:
        The places of those that are away.

    Raises:
        DeviceError: a device cannot be reached, and the store has never seen it.
        InvalidDeviceUriError: two of them are one phone.
    """
    away: set[int] = set()
    with ThreadPoolExecutor(len(members), thread_name_prefix="introduce") as asking:
        asked = [asking.submit(_introduced, member) for member in members]
    for place, (member, future) in enumerate(zip(members, asked, strict=True)):
        error = future.exception()
        if not isinstance(error, DeviceError):
            future.result()
            continue
        known = store.device_of(member.device.uri)
        if known is None:
            raise error
        member.take_for(*known)
        away.add(place)
        notify(f"{member.device.uri} is set aside: {error}")
    _refuse_one_phone([member for place, member in enumerate(members) if place not in away])
    return away


def refuse_twice(uris: Sequence[str]) -> None:
    """Refuse a device that is named twice.

    Raises:
        InvalidDeviceUriError: names it.
    """
    twice = sorted({uri for uri in uris if uris.count(uri) > 1})
    if twice:
        raise InvalidDeviceUriError(f"the device {twice[0]} is named twice; name it once")


def _introduced(member: MeasuringService) -> tuple[DeviceIdentity, DeviceEpoch]:
    _ = member.device.resources
    return member.identity, member.epoch


def _refuse_one_phone(members: Sequence[MeasuringService]) -> None:
    owners: dict[str, str] = {}
    for member in members:
        uri = member.device.uri
        for resource in sorted(member.device.resources):
            other = owners.setdefault(resource, uri)
            if resource.startswith("android:") and other.partition("/")[0] != uri.partition("/")[0]:
                raise InvalidDeviceUriError(f"{other} and {uri} lead to one phone; name it once")
