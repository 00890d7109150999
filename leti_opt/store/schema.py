"""The tables of a latency store: networks, devices, measurements; those of the work around them are there by name.

The migrations in ``migrations/versions`` make them; a test holds both equal. Types are chosen so that PostgreSQL can
hold the same tables.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import sqlite

from leti_opt.store.schema_columns import UtcDateTime, double, identifier, reference, text
from leti_opt.store.schema_columns import metadata as metadata
from leti_opt.store.schema_work import campaign_events as campaign_events
from leti_opt.store.schema_work import campaigns as campaigns
from leti_opt.store.schema_work import claims as claims
from leti_opt.store.schema_work import evaluations as evaluations
from leti_opt.store.schema_work import scores as scores
from leti_opt.store.schema_work import searches as searches

SQLITE = sqlite.dialect()
"""How SQL is written for SQLite."""

HEAD = "0003"
"""The newest schema version; migrations are numbered upwards from 0001."""


def _statistics() -> list[Column[int] | Column[float]]:
    """One series of runs, as :class:`~leti_opt.device.run_batch.RunBatch` has it."""
    return [
        Column("count", Integer),
        double("mean_ms", nullable=False),
        *(double(f"{name}_ms") for name in ("std", "min", "max", "median", "p5", "p95", "mean_error")),
        Column("runs_per_sample", Integer, nullable=False, server_default="1"),
    ]


models = Table(
    "models",
    metadata,
    identifier(),
    Column("key", Text, nullable=False, unique=True),
    text("name"),
    text("renderer"),
    text("precision"),
    Column("batch_size", Integer),
    text("input_shape", nullable=True),
    Column("flops", BigInteger),
    Column("parameters", BigInteger),
    text("layer_graph_digest", nullable=True),
    text("role", nullable=True),
    text("path", nullable=True),
    text("file_sha256", nullable=True),
)
"""``role`` is ``canary`` for the network that only watches its device, ``block`` for a part of a network, measured for
a lookup table, and NULL for results; ``path`` is a user's file."""

# What the digests in aliases stand for, so that a cell's network can be built again from the store alone.
networks = Table(
    "networks",
    metadata,
    identifier(),
    Column("digest", Text, nullable=False, unique=True),
    Column("config", JSON, nullable=False),
)

# The unique index begins with the two columns that look-ups have, so it is also the index that they use.
aliases = Table(
    "aliases",
    metadata,
    identifier(),
    text("graph_hash"),
    text("network_digest"),
    text("renderer"),
    text("cell"),
    reference("model"),
    UniqueConstraint("graph_hash", "network_digest", "renderer", "cell"),
    Index(None, "model_id"),
    # All cells of a network are read off this one.
    Index("ix_aliases_standing", "network_digest", "renderer", "model_id", "graph_hash"),
)

devices = Table(
    "devices",
    metadata,
    identifier(),
    Column("digest", Text, nullable=False, unique=True),
    text("kind"),
    text("hardware"),
    text("runtime"),
    text("runner"),
    text("delegate"),
    Column("options", JSON, nullable=False),
    text("origin"),
)

epochs = Table(
    "epochs",
    metadata,
    identifier(),
    reference("device"),
    text("digest"),
    text("system_build"),
    text("driver"),
    text("unit"),
    UniqueConstraint("device_id", "digest"),
)

epoch_links = Table(
    "epoch_links",
    metadata,
    identifier(),
    Column("first_epoch_id", ForeignKey("epochs.id"), nullable=False),
    Column("second_epoch_id", ForeignKey("epochs.id"), nullable=False),
    Column("agrees", Boolean, nullable=False),
    double("median_ratio"),
    double("spearman"),
    Column("networks", Integer, nullable=False),
    Column("checked_at", UtcDateTime, nullable=False),
    Index(None, "first_epoch_id"),
    Index(None, "second_epoch_id"),
)

device_uris = Table(
    "device_uris",
    metadata,
    Column("uri", Text, primary_key=True),
    reference("device"),
    reference("epoch"),
    Column("last_seen", UtcDateTime, nullable=False),
)

_JUDGED = ("status", "count", "mean_ms", "std_ms", "relative_error", "runs_per_sample", "mean_error_ms")

measurements = Table(
    "measurements",
    metadata,
    identifier(),
    Column("digest", String(64), nullable=False, unique=True),
    reference("model"),
    reference("epoch"),
    Column(
        "status", Text, CheckConstraint("status IN ('stable', 'unstable', 'unchecked')", name="status"), nullable=False
    ),
    *_statistics(),
    Column("min_runs", Integer, nullable=False),
    double("max_relative_std", nullable=False),
    Column("warmup_runs", Integer, nullable=False),
    double("first_run_ms"),
    double("initialization_ms"),
    Column("started_at", UtcDateTime, nullable=False),
    double("duration_s", nullable=False),
    text("tool"),
    text("commit", nullable=True),
    text("origin"),
    double("relative_error"),
    text("source", nullable=True),
    Index(None, "model_id", "epoch_id"),
    # Whether every measurement of an epoch answers a protocol is read off this index alone.
    Index("ix_measurements_standing", "epoch_id", "model_id", *_JUDGED),
)

attempts = Table(
    "attempts",
    metadata,
    Column("measurement_id", ForeignKey("measurements.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    *_statistics(),
    Column("runs", LargeBinary),
)

attempt_faults = Table(
    "attempt_faults",
    metadata,
    Column("measurement_id", ForeignKey("measurements.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    text("text"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("measurement_id", ForeignKey("measurements.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    text("name"),
    double("value", nullable=False),
    text("unit"),
    text("source"),
)

# What was measured while its device was not itself. The measurement stays; it answers nothing any more.
suspicions = Table(
    "suspicions",
    metadata,
    Column("measurement_id", ForeignKey("measurements.id"), primary_key=True),
    text("reason"),
    Column("found_at", UtcDateTime, nullable=False),
)

# The networks that are measured again when a device has changed, in order of latency.
panel_members = Table(
    "panel_members",
    metadata,
    Column("device_id", ForeignKey("devices.id"), primary_key=True),
    Column("network_digest", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    reference("model"),
)

# Networks that could not be built have no model yet: their alias stands here itself.
failures = Table(
    "failures",
    metadata,
    identifier(),
    reference("model", nullable=True),
    text("graph_hash", nullable=True),
    text("network_digest", nullable=True),
    text("renderer", nullable=True),
    text("cell", nullable=True),
    reference("device", nullable=True),
    reference("epoch", nullable=True),
    Column("stage", Text, CheckConstraint("stage IN ('build', 'load', 'run')", name="stage"), nullable=False),
    text("reason"),
    Column("failed_at", UtcDateTime, nullable=False),
    text("tool"),
    text("commit", nullable=True),
    Index(None, "model_id"),
    Index(None, "graph_hash", "network_digest"),
)
