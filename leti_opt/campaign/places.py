"""Which devices a campaign's figures are of: units and epochs that a panel showed to agree count as one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from leti_opt.campaign.definition import CampaignDefinition, DeviceEntry
from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.open_device import open_device, open_devices
from leti_opt.errors import DeviceError, InvalidDeviceUriError, InvalidInputError
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.links import checks_of, served_epochs

_ANY_PHONE = "android:*"
_TOLD = ("cores", "threads")
_NEVER_SEEN = "it cannot be reached, and the store has never seen it"


@dataclass(frozen=True)
class DevicePlace:
    """One device of a data set.

    Args:
        name: what its columns are called.
        identity: what it is.
        epoch: in which its figures are served; those of linked epochs are among them.
        min_runs: runs that a measurement has on this kind of device, where the protocol says nothing else.
    """

    name: str
    identity: DeviceIdentity
    epoch: DeviceEpoch
    min_runs: int


@dataclass(frozen=True)
class KnownDevice:
    """One device of a campaign, as far as it is known here.

    Args:
        uri: what leads to it.
        place: what it is, and its epoch; None where it is not here and the store has never seen it.
        min_runs: runs that a measurement has on this kind of device, where the protocol says nothing else.
        note: what is wrong with it; empty if nothing is.
    """

    uri: str
    place: tuple[DeviceIdentity, DeviceEpoch] | None
    min_runs: int
    note: str = ""


def refuse_twice(definition: CampaignDefinition) -> None:
    """Refuse entries that name one device in two ways.

    Raises:
        InvalidInputError: the message names both.
        InvalidDeviceUriError: a device's URI is wrong.
    """
    first: dict[str, str] = {}
    for entry in definition.devices:
        if entry.resource is None and not entry.uri.startswith(_ANY_PHONE):
            other = first.setdefault(open_device(entry.uri).uri, entry.uri)
            if other != entry.uri:
                raise InvalidInputError(f"{other} and {entry.uri} are one device; give it once")


def known_devices(definition: CampaignDefinition, store: LatencyStore) -> list[KnownDevice]:
    """The devices of a campaign: those that are here, and of the others what the store knows.

    A campaign on a cluster can so be looked at on a host that has none of its devices.

    Raises:
        InvalidDeviceUriError: a device's URI is wrong.
        StoreError: the store cannot be read.
    """
    refuse_twice(definition)
    known = store.devices_by_uri()
    found: list[KnownDevice] = []
    for entry in definition.devices:
        if entry.resource is not None or entry.uri.startswith(_ANY_PHONE):
            uris = list(_uris(entry, known))
            if entry.resource is None:
                uris = list(dict.fromkeys([*_phones_here(entry.uri), *uris]))
            found += [_known(uri, known) for uri in uris] or [KnownDevice(entry.uri, None, 300, _NEVER_SEEN)]
        else:
            found.append(_known(open_device(entry.uri).uri, known))
    return found


def _phones_here(uri: str) -> list[str]:
    try:
        return [device.uri for device in open_devices(uri)]
    except DeviceError:
        return []


def _known(uri: str, known: dict[str, tuple[DeviceIdentity, DeviceEpoch]]) -> KnownDevice:
    if uri in known and uri.startswith("android:"):
        return KnownDevice(uri, known[uri], 300)  # it may be measuring now, and need not be asked
    try:
        with open_device(uri) as device:
            try:
                return KnownDevice(uri, (device.identity, device.epoch), device.default_min_runs)
            except DeviceError as error:
                note = str(error) if uri in known else _NEVER_SEEN
                return KnownDevice(uri, known.get(uri), device.default_min_runs, note)
    except InvalidDeviceUriError:
        if uri not in known:
            raise
        return KnownDevice(uri, known[uri], 300)  # of another host, with other cores


def device_places(definition: CampaignDefinition, store: LatencyStore) -> list[DevicePlace]:
    """The devices of a campaign that the store has figures of. None of them is contacted.

    Raises:
        InvalidDeviceUriError: a device's URI is wrong.
        StoreError: the store cannot be read.
    """
    found: list[DevicePlace] = []
    taken: set[str] = set()
    covered: set[tuple[DeviceIdentity, DeviceEpoch]] = set()
    known = store.devices_by_uri()
    for entry in definition.devices:
        for uri in _uris(entry, known):
            identity, last = known[uri]
            others = [(identity, epoch) for epoch in store.measured_epochs(identity)]
            for place in [(identity, last), *others]:
                if place in covered:
                    continue
                covered |= served_epochs(checks_of(store.links(identity), identity), place)
                name = _unique(entry.name or _slug(identity), taken)
                found.append(DevicePlace(name, *place, _known(uri, known).min_runs))
    return found


def epochs_of(store: LatencyStore, place: DevicePlace) -> list[DeviceEpoch]:
    """The epochs whose figures a device's columns may hold, its own first.

    Raises:
        StoreError: the store cannot be read.
    """
    own = (place.identity, place.epoch)
    served = served_epochs(checks_of(store.links(place.identity), place.identity), own)
    return [place.epoch, *sorted((epoch for _, epoch in served - {own}), key=lambda epoch: epoch.digest)]


def _uris(entry: DeviceEntry, known: dict[str, tuple[DeviceIdentity, DeviceEpoch]]) -> Iterator[str]:
    """Those of the store's URIs that an entry stands for."""
    if not entry.uri.startswith(_ANY_PHONE):
        uri = entry.uri if entry.uri in known else _canonical(entry)
        return iter([uri] if uri in known else [])
    rest = open_device(entry.uri.replace("*", "any", 1)).uri.removeprefix("android:any")
    pattern = re.compile(rf"android:[^/?]+{re.escape(rest)}")
    return filter(pattern.fullmatch, known)


def _canonical(entry: DeviceEntry) -> str:
    """An entry's URI as the store has it, as far as this host can tell."""
    try:
        return open_device(entry.uri).uri
    except InvalidDeviceUriError:
        if entry.resource is None:
            raise
        return entry.uri  # a worker's host may have other cores and nicknames


def _slug(identity: DeviceIdentity) -> str:
    """A short name that a column can have.

    >>> _slug(DeviceIdentity("android", "Pixel 7 (Tensor G2)", "benchmark_model 1", "shell", "gpu"))
    'pixel_7_gpu'
    """
    hardware = re.sub(r"\(.*?\)", " ", identity.hardware)
    told = [
        f"{name}{value}" for name, value in identity.options if name == "cores" or (name == "threads" and value != "1")
    ]
    options = " ".join(told)
    words = re.findall(r"[a-z0-9]+", f"{hardware} {identity.delegate} {options}".lower())
    text = "_".join(words)[:40].strip("_") or "device"
    return text if text[0].isalpha() else f"d_{text}"


def _unique(name: str, taken: set[str]) -> str:
    for number in range(1, len(taken) + 2):
        candidate = name if number == 1 else f"{name}_{number}"
        if candidate not in taken:
            break
    taken.add(candidate)
    return candidate
