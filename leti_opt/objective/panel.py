"""Panels: a few networks that tell whether a device has changed, so that an update costs twenty measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from heapq import nsmallest

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import NotFoundError
from leti_opt.objective.answers import Question
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.panel_check import LEAST_NETWORKS, PanelCheck, check_panel
from leti_opt.objective.panel_model import panel_model
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.links import checks_of, served_epochs
from leti_opt.store.records import EpochLink, EpochSummary

__all__ = [
    "changed_since",
    "choose_panel",
    "compare_epochs",
    "link_epochs",
    "measure_models",
    "panel_figures",
    "panel_model",
    "spread_networks",
]

PANEL_SIZE = 20
SPREAD_TOO_FAR = "its runs spread too far"
"""Why a network without a stable figure is left out, in the line that is shown of it."""

_TRIES = 10


def choose_panel(
    store: LatencyStore,
    identity: DeviceIdentity,
    epoch: DeviceEpoch,
    network_digest: str,
    size: int = PANEL_SIZE,
) -> list[str]:
    """Networks that tell whether a device has changed: spread evenly over its latencies, and remembered.

    A panel stays the same as long as its members hold: they have a stable figure that may be served in this epoch, and
    can be built again. Members that do not are replaced, and a panel that is too small grows. A device with a new
    runtime takes over the panel of the one with the old.

    Args:
        store: where the figures are.
        identity: the device.
        epoch: an epoch in which networks were measured.
        network_digest: how the cells are laid out; empty for users' own files.
        size: how many networks; fewer where the store has fewer.

    Returns:
        Keys of models, the fastest first; empty where the store has no figures.
    """
    known = _known_panel(store, identity, network_digest)
    chosen = spread_networks(store, identity, epoch, network_digest, size, keep=known)
    if chosen and chosen != store.panel(identity, network_digest):
        store.set_panel(identity, network_digest, chosen)
    return chosen


def spread_networks(
    store: LatencyStore,
    identity: DeviceIdentity,
    epoch: DeviceEpoch,
    network_digest: str,
    size: int = PANEL_SIZE,
    keep: Sequence[str] = (),
    linked: bool = True,
) -> list[str]:
    """What :func:`choose_panel` chooses, without remembering it.

    Args:
        store, identity, epoch, network_digest, size: as there.
        keep: the members to keep if they hold.
        linked: False to choose from what was measured in this very epoch.
    """
    latency_ms = store.latencies(identity, epoch, network_digest, linked=linked)
    ranked = sorted(latency_ms, key=lambda key: (latency_ms[key], key))
    rank = {key: place for place, key in enumerate(ranked)}
    chosen = [key for key in keep if key in rank and _can_be_built(store, key)]
    free = set(ranked) - set(keep)
    for target in _open_targets(len(ranked), size, [rank[key] for key in chosen]):
        for key in nsmallest(_TRIES, free, key=lambda key: (abs(rank[key] - target), rank[key])):
            free.remove(key)
            if _can_be_built(store, key):
                chosen.append(key)
                break
    return sorted(chosen, key=rank.__getitem__)


def _known_panel(store: LatencyStore, identity: DeviceIdentity, network_digest: str) -> list[str]:
    """The device's panel, or that of the sibling with another runtime that was measured last."""
    own = store.panel(identity, network_digest)
    if own:
        return own
    siblings = dict.fromkeys(summary.device for summary in store.epochs(identity))
    panels = (store.panel(device, network_digest) for device in siblings)
    return next(filter(None, panels), [])


def _open_targets(count: int, size: int, taken: list[int]) -> list[float]:
    """Evenly spread ranks that no member stands near yet."""
    targets = [place * (count - 1) / max(size - 1, 1) for place in range(size)]
    for rank in taken[:size]:
        targets.remove(min(targets, key=lambda target: abs(target - rank)))
    return targets


def _can_be_built(store: LatencyStore, key: str) -> bool:
    try:
        panel_model(store, key)
    except NotFoundError:
        return False
    return True


def measure_models(
    service: MeasuringService,
    models: Iterable[MeasurableModel],
    show: Callable[[str], None] | None = None,
) -> dict[str, Measurement]:
    """Measure networks in the device's present epoch; what this very epoch has is taken from the store.

    Args:
        service: what measures.
        models: the networks.
        show: called with a line for each network, as soon as its figure is there; networks that are infeasible or
            unstable are left out, and their lines say so.

    Returns:
        Measurements by model key.

    Raises:
        DeviceError: the device is gone; everything measured so far is in the store.
    """
    found: list[str] = []
    for model in models:
        measurement, line = _measured_here(service, model)
        if measurement is not None:
            found.append(model.key)
        if show is not None:
            show(line)
    service.settle()  # what the device measured beside its usual pace is replaced now
    stored = {key: _holding(service, key) for key in found}
    return {key: measurement for key, measurement in stored.items() if measurement is not None}


def _measured_here(service: MeasuringService, model: MeasurableModel) -> tuple[Measurement | None, str]:
    known = _holding(service, model.key)
    if known is not None:
        return known, f"{known.latency_ms():.3f} ms from the store  {model.name}"
    for failure in service.store.failures(model_key=model.key, identity=service.identity, epoch=service.epoch):
        if failure.epoch in (None, service.epoch):
            return None, f"left out, infeasible: {failure.reason}  {model.name}"
    answer = service.answer(Question(model.name, lambda: model), fresh=True)
    if answer.measurement is None:
        return None, f"left out, infeasible: {answer.failure}  {model.name}"
    if answer.provisional:
        return None, f"left out, {SPREAD_TOO_FAR}  {model.name}"
    return answer.measurement, f"{answer.measurement.latency_ms():.3f} ms anew  {model.name}"


def _holding(service: MeasuringService, key: str) -> Measurement | None:
    """What this very epoch has of a network, where the service's protocol takes it."""
    min_runs = service.protocol.runs_on(service.device)
    for measurement in _own(service.store, service.identity, service.epoch, key):
        if measurement.status == "unchecked":
            return measurement
        if service.protocol.served_by(measurement, min_runs):
            return replace(measurement, stable=True)
    return None


def _own(store: LatencyStore, identity: DeviceIdentity, epoch: DeviceEpoch, key: str) -> list[Measurement]:
    """Measurements of this very epoch, and not of one that is linked to it, newest first."""
    return [found for found in store.find(key, identity, epoch) if (found.device, found.epoch) == (identity, epoch)]


def panel_figures(
    store: LatencyStore, identity: DeviceIdentity, epoch: DeviceEpoch, keys: Iterable[str]
) -> dict[str, float]:
    """Newest latency in milliseconds, by model key, of networks that hold in this very epoch."""
    found = {key: [one for one in _own(store, identity, epoch, key) if one.status != "unstable"] for key in keys}
    return {key: measurements[0].latency_ms() for key, measurements in found.items() if measurements}


def compare_epochs(
    service: MeasuringService, earlier: tuple[DeviceIdentity, DeviceEpoch], keys: Iterable[str]
) -> PanelCheck:
    """Compare networks that were measured in an earlier epoch and in the present one; measures nothing.

    Raises:
        NotFoundError: fewer than 10 networks were measured in both.
    """
    wanted = list(keys)
    before_ms = panel_figures(service.store, *earlier, wanted)
    now_ms = panel_figures(service.store, service.identity, service.epoch, wanted)
    shared = len(before_ms.keys() & now_ms.keys())
    if shared < LEAST_NETWORKS:
        raise NotFoundError(
            f"only {shared} networks have stable figures both in {earlier[1].system_build} and in "
            f"{service.epoch.system_build} ({len(before_ms)} before, {len(now_ms)} now); at least {LEAST_NETWORKS} "
            "tell whether a device has changed: measure more networks"
        )
    return check_panel(before_ms, now_ms)


def link_epochs(
    service: MeasuringService, earlier: tuple[DeviceIdentity, DeviceEpoch], keys: Iterable[str]
) -> EpochLink:
    """Store whether an earlier epoch and the present one agree; measures nothing.

    They agree if the median ratio is within 3 % and Spearman's rank correlation at least 0.99.

    Args:
        service: what measures, with its store.
        earlier: a device, which may have another runtime, and its epoch.
        keys: models, measured in both.

    Returns:
        The link; the one that is stored already if it says the same.

    Raises:
        NotFoundError: fewer than 10 networks were measured in both; nothing is stored.
        InvalidInputError: the earlier epoch is the present one, or of another device.
    """
    check = compare_epochs(service, earlier, keys)
    identity, (earlier_device, earlier_epoch) = service.identity, earlier
    link = EpochLink(
        first=earlier_epoch,
        second=service.epoch,
        agrees=check.agrees,
        median_ratio=check.median_ratio,
        spearman=check.spearman,
        networks=len(check.rows),
        checked_at=datetime.now(UTC),
        first_device=None if earlier_device == identity else earlier_device,
    )
    for known in service.store.links(identity):
        if _ends(known) == _ends(link):
            if replace(known, checked_at=link.checked_at) == link:
                return known
            break
    service.store.add_link(identity, link)
    return link


def _ends(link: EpochLink) -> set[tuple[DeviceIdentity | None, DeviceEpoch]]:
    return {(link.first_device, link.first), (link.second_device, link.second)}


def changed_since(store: LatencyStore, identity: DeviceIdentity, epoch: DeviceEpoch) -> str | None:
    """One line if the device has changed and nobody has looked yet whether earlier figures still go; else None.

    Other units of the same model count only until this one has figures of its own.
    """
    if identity.origin in ("replayed", "imported"):
        return None
    known = [summary for summary in store.epochs(identity) if summary.own]
    here = (identity, epoch)
    started = any((summary.device, summary.epoch) == here for summary in known)
    checks = checks_of(store.links(identity), identity)
    settled = served_epochs(checks, here) | {
        end for first, second, _ in checks if here in (first, second) for end in (first, second)
    }
    unused = [
        summary
        for summary in known
        if (summary.device, summary.epoch) not in settled | {here} and (summary.epoch.unit == epoch.unit or not started)
    ]
    if not unused:
        return None
    figures = sum(summary.own for summary in unused)
    return (
        f"the device has changed ({_change(unused[0], identity, epoch)}): {figures} earlier figures are not used; run: "
        "leti-opt compare --panel, with the same --device, --network and --store"
    )


def _change(earlier: EpochSummary, identity: DeviceIdentity, epoch: DeviceEpoch) -> str:
    system = "kernel" if identity.kind.startswith("host") else "system"
    changes: Mapping[str, tuple[str, str]] = {
        "runtime": (earlier.device.runtime, identity.runtime),
        system: (earlier.epoch.system_build, epoch.system_build),
        "driver": (earlier.epoch.driver, epoch.driver),
    }
    found = [f"{what} {old or 'none'} → {new or 'none'}" for what, (old, new) in changes.items() if old != new]
    return ", ".join(found + (["another unit"] if earlier.epoch.unit != epoch.unit else []))
