"""What goes into a store and comes out of it, besides measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel

FailureStage = Literal["build", "load", "run"]
ModelRole = Literal["canary", "block"]


@dataclass(frozen=True)
class CellAlias:
    """Names a model by its cell, so that looking a cell up builds nothing.

    Args:
        graph_hash: hash of the cell.
        network_digest: digest of the network config that the cell is laid out with.
        renderer: what turns the network into a file, with its version.
        cell: text of the canonical cell. The hash alone may stand for several cells.
    """

    graph_hash: str
    network_digest: str
    renderer: str
    cell: str


@dataclass(frozen=True)
class FailureRecord:
    """A network that cannot be built, or that a device cannot run: the architecture's fault.

    Args:
        stage: what failed: ``build``, ``load`` or ``run``.
        reason: one line.
        failed_at: when.
        model_key: key of the model; None where it was never built.
        alias: the cell, where it is known.
        device: where it failed; None where no device was involved, which goes for every device.
        epoch: the device's epoch at that time.
        tool: version of leti_opt.
        commit: its commit, where it runs from a checkout.
    """

    stage: FailureStage
    reason: str
    failed_at: datetime
    model_key: str | None = None
    alias: CellAlias | None = None
    device: DeviceIdentity | None = None
    epoch: DeviceEpoch | None = None
    tool: str = ""
    commit: str | None = None


@dataclass(frozen=True)
class EpochLink:
    """What a panel of networks, measured in two epochs of one device, showed.

    The two may also belong to devices that differ in their runtime alone, such as before and after an update of LiteRT.

    Args:
        first, second: the two epochs; their order means nothing.
        agrees: whether results of one may be served for the other.
        median_ratio: median of latency in ``second`` over latency in ``first``.
        spearman: rank correlation of both latencies.
        networks: how many networks were measured in both.
        checked_at: when.
        first_device, second_device: whose epochs they are; None for the device that the link is stored or asked for.
    """

    first: DeviceEpoch
    second: DeviceEpoch
    agrees: bool
    median_ratio: float | None
    spearman: float | None
    networks: int
    checked_at: datetime
    first_device: DeviceIdentity | None = None
    second_device: DeviceIdentity | None = None


@dataclass(frozen=True)
class EpochSummary:
    """What a store holds of one epoch of a device: figures that hold, neither withdrawn nor of a canary.

    Args:
        device: whose epoch it is.
        epoch: system build, driver and unit.
        networks: how many networks have such figures.
        own: how many of them were measured for this store, and not imported.
        last_measured: when the newest of these figures was started.
    """

    device: DeviceIdentity
    epoch: DeviceEpoch
    networks: int
    own: int
    last_measured: datetime


@dataclass(frozen=True)
class ModelRecord:
    """What a store knows of a model.

    Args:
        key: its key.
        name: what people call it.
        renderer: what made its file; ``file`` for a user's own.
        path: the user's file.
        file_sha256: of that file when it was first read.
    """

    key: str
    name: str
    renderer: str
    path: str | None = None
    file_sha256: str | None = None


@dataclass(frozen=True)
class ScoreRecord:
    """How well a cell did by some evaluator, such as its accuracy after a short training.

    Args:
        cell: text of the canonical cell.
        graph_hash: its hash.
        evaluator_digest: identity of the evaluator with all its settings.
        evaluator: what people call it.
        value: the score.
        details: further figures that JSON can hold.
        duration_s: how long it took.
        scored_at: when.
    """

    cell: str
    graph_hash: str
    evaluator_digest: str
    evaluator: str
    value: float
    duration_s: float
    scored_at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationRecord:
    """One entry of a search's journal: what the optimizer was told.

    Args:
        position: number of the ask, from 0.
        cell: text of the candidate.
        losses: what was told, one number for each objective.
        status: where the numbers come from, for instance ``measured`` or ``provisional``.
        told_at: when.
    """

    position: int
    cell: str
    losses: tuple[float, ...]
    status: str
    told_at: datetime


@dataclass(frozen=True)
class StoredResult:
    """What a replayed or simulated device gave for one network: a measurement, or the reason why it cannot run it.

    Args:
        model: the network.
        measurement: its figures; None where there is a failure.
        alias: the cell, where there is one.
        flops: operations of one run (2 x multiply-accumulates).
        parameters: trainable ones.
        failure: why it cannot run, in one line; None where there is a measurement.
        device: where it failed; a measurement has its own.
        epoch: the device's epoch when it failed.
        failed_at: when; None for now.
    """

    model: MeasurableModel
    measurement: Measurement | None = None
    alias: CellAlias | None = None
    flops: int | None = None
    parameters: int | None = None
    failure: str | None = None
    device: DeviceIdentity | None = None
    epoch: DeviceEpoch | None = None
    failed_at: datetime | None = None


@dataclass(frozen=True)
class Claim:
    """Who works on something.

    Args:
        key: what is worked on.
        owner: who does.
        expires_at: when it ends unless it is renewed, by the clock of the database server where there is one.
    """

    key: str
    owner: str
    expires_at: datetime


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign: its id in the store, what people call it, its settings, and when it was first opened."""

    id: int
    name: str
    settings: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class EventRecord:
    """One entry of a campaign's journal.

    Args:
        id: grows with every entry of the store.
        at: when, by the clock of the host that wrote it.
        kind: one word.
        text: one line.
        device: where; empty where no device was involved.
    """

    id: int
    at: datetime
    kind: str
    text: str
    device: str = ""


@dataclass(frozen=True)
class DeviceSummary:
    """What a store holds of one device."""

    name: str
    digest: str
    origin: str
    epochs: int
    measurements: int


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds, in numbers.

    ``size_bytes`` counts the file and its write-ahead log, or the whole database on a server. ``url`` is without the
    password.
    """

    url: str
    schema_version: str
    size_bytes: int
    models: int
    aliases: int
    measurements: int
    unstable: int
    failures: int
    scores: int
    searches: int
    evaluations: int
    devices: tuple[DeviceSummary, ...]
