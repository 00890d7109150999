"""A row of a table on its way into the store, and what a user says of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.network.config import NetworkConfig
from leti_opt.store.records import CellAlias

UNKNOWN_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
"""When a figure was measured whose table does not say."""

KnownAliases = Callable[[str], list[tuple[CellAlias, str]]]
"""Cells with their model's key that a store knows by a hash."""


@dataclass(frozen=True)
class TableRow:
    """A row on its way into the store: a measurement, or a failure with its reason."""

    model: MeasurableModel
    alias: CellAlias | None
    place: tuple[DeviceIdentity, DeviceEpoch] | None
    measurement: Measurement | None
    failure: str | None = None
    failed_at: datetime = UNKNOWN_MOMENT
    costs: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class ImportSettings:
    """What a user says of a table; see :meth:`leti_opt.store.LatencyStore.import_data`."""

    unit: str | None = None
    device: str | None = None
    latency: str | None = None
    origin: str | None = None
    network: NetworkConfig | None = None
