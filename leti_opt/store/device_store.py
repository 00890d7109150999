"""What a store knows of devices: where they are, which epochs agree, and what each can be served."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.store import epoch_summary, links, panels, uris
from leti_opt.store.base import StoreBase
from leti_opt.store.records import EpochLink, EpochSummary
from leti_opt.store.values import moment

if TYPE_CHECKING:
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.store.standings import KnownCells, Standings


class DeviceStore(StoreBase):
    """The devices of a store."""

    def remember_uri(
        self, uri: str, identity: DeviceIdentity, epoch: DeviceEpoch, *, seen_at: datetime | None = None
    ) -> None:
        """Store which device a URI leads to, so that :meth:`device_of` answers without the device."""
        self._write(uris.remember, uri, identity, epoch, moment(seen_at or datetime.now(UTC), "seen_at"))

    def device_of(self, uri: str) -> tuple[DeviceIdentity, DeviceEpoch] | None:
        """The device and epoch that a URI led to when last seen; None if it never was."""
        return self._read(uris.device_of, uri)

    def devices_by_uri(self) -> dict[str, tuple[DeviceIdentity, DeviceEpoch]]:
        """The device and epoch that every URI led to when last seen, the one that was seen last first."""
        return self._read(uris.all_devices)

    def add_link(self, identity: DeviceIdentity, link: EpochLink) -> None:
        """Store what a panel showed about two epochs of a device, whether they agree or not.

        Raises:
            InvalidInputError: it is one epoch, or the link's devices differ in more than their runtime.
        """
        self._write(links.add_link, identity, link)

    def links(self, identity: DeviceIdentity) -> list[EpochLink]:
        """Every link between epochs of a device and of those that differ in their runtime alone, newest first."""
        return self._read(links.links, identity)

    def epochs(self, identity: DeviceIdentity) -> list[EpochSummary]:
        """The epochs with figures of a device and of those that differ in their runtime alone, last measured first."""
        return self._read(epoch_summary.summaries, identity)

    def measured_epochs(self, identity: DeviceIdentity) -> list[DeviceEpoch]:
        """The epochs of a device itself in which anything was measured, the one that was stored last first.

        Unlike :meth:`epochs` it counts nothing, so that it is quick in a store of any size.
        """
        return self._read(epoch_summary.measured, identity)

    def latencies(
        self, identity: DeviceIdentity, epoch: DeviceEpoch, network_digest: str, *, linked: bool = True
    ) -> dict[str, float]:
        """Mean latency in milliseconds, by model key, of every stable measurement that may be served in an epoch.

        Args:
            identity: the device.
            epoch: its epoch.
            network_digest: only cells that are laid out so; empty for users' own files.
            linked: False to leave out what was measured in other epochs, though it may be served here.
        """
        return self._read(epoch_summary.latencies, identity, epoch, network_digest, linked)

    def known_cells(self, network_digest: str, renderer: str, *, cells: bool = False) -> KnownCells:
        """Every cell of a network that the store knows, whatever the device.

        Args:
            network_digest: how the cells are laid out.
            renderer: what turns them into files, as in :class:`CellAlias`.
            cells: also the texts of the cells.
        """
        from leti_opt.store import standings

        return self._read(standings.known_cells, network_digest, renderer, cells)

    def standings(
        self,
        identity: DeviceIdentity,
        epoch: DeviceEpoch,
        network_digest: str,
        renderer: str,
        protocol: MeasurementProtocol,
        min_runs: int,
        *,
        figures: bool = False,
        cells: bool = False,
        known: KnownCells | None = None,
    ) -> Standings:
        """What can be answered for each cell in an epoch of a device, of all cells of a network at once.

        Args:
            identity: the device.
            epoch: its epoch; links to others count as for :meth:`find` and :meth:`failures`.
            network_digest: how the cells are laid out.
            renderer: what turns them into files, as in :class:`CellAlias`.
            protocol: what a stored measurement must be good enough for.
            min_runs: ``protocol.runs_on(device)``.
            figures: also what each answer rests on.
            cells: also the texts of the cells.
            known: of :meth:`known_cells`, for who asks about several devices. Cells that the store has learned of
                since are left out.

        >>> from leti_opt import LatencyStore, MeasurementProtocol, open_device
        >>> device = open_device("replay:formula")
        >>> with LatencyStore(":memory:") as store:
        ...     len(store.standings(device.identity, device.epoch, "", "", MeasurementProtocol(), 300))
        0
        """
        from leti_opt.store import standings

        request = standings.Request(identity, epoch, network_digest, renderer, protocol, min_runs)
        return self._read(standings.load, request, cells, figures, known)

    def set_panel(self, identity: DeviceIdentity, network_digest: str, model_keys: Sequence[str]) -> None:
        """Choose the networks that are measured again to see whether a device has changed.

        Args:
            identity: the device.
            network_digest: how the cells are laid out; empty for users' own files.
            model_keys: models that the store knows, in order of latency.
        """
        self._write(panels.replace, identity, network_digest, model_keys)

    def panel(self, identity: DeviceIdentity, network_digest: str) -> list[str]:
        """Keys of the panel's models; empty where none was chosen."""
        return self._read(panels.load, identity, network_digest)
