"""Equal devices on other hosts: once enough networks were measured on both, it is seen whether they agree."""

from __future__ import annotations

from collections.abc import Iterable

from leti_opt.errors import NotFoundError
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.panel import PANEL_SIZE, link_epochs
from leti_opt.store.links import checks_of


def link_twins_elsewhere(service: MeasuringService, network_digests: Iterable[str]) -> list[str]:
    """Compare a device with others of its identity that share a panel's worth of networks with it in the store.

    Those that were compared before are left alone. The link is stored, so it also holds for the other device.

    Args:
        service: of the device; what it measured is in its store.
        network_digests: of the networks that may be compared.

    Returns:
        One line for each comparison.

    Raises:
        StoreError: the store cannot be read or written.
    """
    store, identity, epoch = service.store, service.identity, service.epoch
    compared = {frozenset((first, second)) for first, second, _ in checks_of(store.links(identity), identity)}
    lines = []
    for other in store.measured_epochs(identity):
        ends = frozenset(((identity, epoch), (identity, other)))
        if len(ends) == 1 or ends in compared:
            continue
        shared: list[str] = []
        for digest in network_digests:
            own = store.latencies(identity, epoch, digest, linked=False)
            theirs = store.latencies(identity, other, digest, linked=False)
            shared += own.keys() & theirs.keys()
        if len(shared) < PANEL_SIZE:
            continue
        try:
            link = link_epochs(service, (identity, other), sorted(shared))
        except NotFoundError:
            continue  # some were withdrawn since; further networks will do
        told = "agree, and answer for each other from now on" if link.agrees else "disagree: each gets all of the work"
        lines.append(
            f"{service.device.uri} and the {identity.name} of unit {other.unit[:8] or '?'}, "
            f"{other.system_build}: they {told} (median ratio {link.median_ratio:.3f}, "
            f"Spearman {link.spearman:.3f}, {link.networks} networks)"
        )
    return lines
