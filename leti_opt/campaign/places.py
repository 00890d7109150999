"""Which devices a campaign's figures are of: units and epochs that a panel showed to agree count as one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import count

from leti_opt.campaign.claims import Place
from leti_opt.campaign.definition import CampaignDefinition
from leti_opt.campaign.sections import DeviceEntry
from leti_opt.campaign.standing import LACKING, Lookup, item_states
from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity
from leti_opt.device.open_device import open_device, open_devices
from leti_opt.errors import DeviceError, InvalidDeviceUriError, InvalidInputError
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.links import checks_of, served_epochs

_ANY_PHONE = "android:*"
_RUNS_OF_PHONES = 300
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


def known_devices(work: CampaignWork, definition: CampaignDefinition, store: LatencyStore) -> list[KnownDevice]:
    """The devices of a campaign: those that are here, and of the others what the store knows.

    A campaign on a cluster can so be looked at on a host that has none of its devices. ``android:*`` stands for the
    phones that are ready and those that took part before.

    Raises:
        InvalidDeviceUriError: a device's URI is wrong.
        StoreError: the store cannot be read.
    """
    refuse_twice(definition)
    known = store.devices_by_uri()
    found: list[KnownDevice] = []
    for entry in definition.devices:
        if entry.resource is not None or entry.uri.startswith(_ANY_PHONE):
            if entry.resource is None:
                uris = list(dict.fromkeys([*_phones_here(entry.uri), *_took_part(entry, work, known, store)]))
                there = [_known(uri, known) for uri in uris]
            else:
                there = [_elsewhere(uri, known[uri]) for uri in _uris(entry, known)]
            unknown = KnownDevice(entry.uri, None, _RUNS_OF_PHONES, _NEVER_SEEN)
            found += there or [unknown]
        else:
            found.append(_known(open_device(entry.uri).uri, known))
    return found


def absent_phones(
    work: CampaignWork, definition: CampaignDefinition, store: LatencyStore, ready: Sequence[Device]
) -> list[str]:
    """Phones that took part for an entry ``android:*`` before and are not ready now, by their URIs.

    A phone that is ready under another address is not among them.

    Raises:
        StoreError: the store cannot be read.
    """
    known = store.devices_by_uri()
    uris = {device.uri for device in ready}
    stars = [entry for entry in definition.devices if entry.uri.startswith(_ANY_PHONE)]
    found = {uri: known[uri][1].unit for entry in stars for uri in _took_part(entry, work, known, store)}
    absent = {uri: unit for uri, unit in found.items() if uri not in uris}
    if not absent:
        return []
    units = {known[uri][1].unit for uri in uris & known.keys()} | {_unit(device) for device in ready}
    by_unit = {unit: uri for uri, unit in absent.items() if unit not in units}
    return sorted(by_unit.values())


def _unit(device: Device) -> str:
    try:
        return device.epoch.unit
    except DeviceError:
        return ""


def _took_part(
    entry: DeviceEntry,
    work: CampaignWork,
    known: dict[str, tuple[DeviceIdentity, DeviceEpoch]],
    store: LatencyStore,
) -> list[str]:
    """Those of the store's URIs that an entry stands for and that have answers of the campaign."""
    uris = list(_uris(entry, known))
    lookup = Lookup(work) if uris else None
    runs = work.protocol.runs_of(_RUNS_OF_PHONES)
    return [uri for uri in uris if (item_states(work, store, *known[uri], runs, lookup) != LACKING).any()]


def _phones_here(uri: str) -> list[str]:
    try:
        return [device.uri for device in open_devices(uri)]
    except DeviceError:
        return []


def _known(uri: str, known: dict[str, tuple[DeviceIdentity, DeviceEpoch]]) -> KnownDevice:
    if uri in known and uri.startswith("android:"):
        return KnownDevice(uri, known[uri], _RUNS_OF_PHONES)  # it may be measuring now, and need not be asked
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
        return KnownDevice(uri, known[uri], _RUNS_OF_PHONES)  # of another host, with other cores


def _elsewhere(uri: str, place: tuple[DeviceIdentity, DeviceEpoch]) -> KnownDevice:
    """A device on some worker's host, as the store knows it: what is called the same here is another one."""
    try:
        with open_device(uri) as device:
            return KnownDevice(uri, place, device.default_min_runs)
    except InvalidDeviceUriError:
        return KnownDevice(uri, place, _RUNS_OF_PHONES)


def device_places(definition: CampaignDefinition, store: LatencyStore) -> list[DevicePlace]:
    """The devices of a campaign that the store has figures of. None of them is contacted.

    Raises:
        InvalidDeviceUriError: a device's URI is wrong.
        StoreError: the store cannot be read.
    """
    found: list[DevicePlace] = []
    given = {entry.name for entry in definition.devices if entry.name is not None}
    taken: set[str] = set()
    covered: set[tuple[DeviceIdentity, DeviceEpoch]] = set()
    known = store.devices_by_uri()
    for entry in definition.devices:
        for uri in _uris(entry, known):
            for place in _epochs_of_device(store, *known[uri]):
                if place in covered:
                    continue
                covered |= served_places(store, place)
                # A name that the user gave is never another device's.
                name = _unique(entry.name or _slug(place[0]), taken | (given - {entry.name}))
                taken.add(name)
                found.append(DevicePlace(name, *place, _known(uri, known).min_runs))
    return found


def without_figures(
    definition: CampaignDefinition, store: LatencyStore, places: Sequence[DevicePlace]
) -> list[DeviceEntry]:
    """Devices of a campaign that a data set of some places says nothing of.

    Raises:
        InvalidDeviceUriError: a device's URI is wrong.
        StoreError: the store cannot be read.
    """
    known = store.devices_by_uri()
    told: set[Place] = set()
    for place in places:
        told |= served_places(store, (place.identity, place.epoch))
    return [
        entry
        for entry in definition.devices
        if not any(place in told for uri in _uris(entry, known) for place in _epochs_of_device(store, *known[uri]))
    ]


def epochs_of(store: LatencyStore, place: DevicePlace) -> list[DeviceEpoch]:
    """The epochs whose figures a device's columns may hold, its own first.

    Raises:
        StoreError: the store cannot be read.
    """
    own = (place.identity, place.epoch)
    return [
        place.epoch,
        *sorted((epoch for _, epoch in served_places(store, own) - {own}), key=lambda epoch: epoch.digest),
    ]


def served_places(store: LatencyStore, place: Place) -> set[Place]:
    """A device's place and those whose figures it is served, too.

    Raises:
        StoreError: the store cannot be read.
    """
    return {place} | set(served_epochs(checks_of(store.links(place[0]), place[0]), place))


def _epochs_of_device(store: LatencyStore, identity: DeviceIdentity, last: DeviceEpoch) -> list[Place]:
    """All epochs of a device, the last one first."""
    return [(identity, last), *((identity, epoch) for epoch in store.measured_epochs(identity))]


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


def _unique(name: str, taken: AbstractSet[str]) -> str:
    """The name, or with a number after it.

    >>> _unique("a", set()), _unique("a", {"a", "a_2"})
    ('a', 'a_3')
    """
    candidates = (name if number == 1 else f"{name}_{number}" for number in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)
