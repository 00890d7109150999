"""The tables of a latency store.

The migrations in ``migrations/versions`` make them; a test holds both equal. Types are chosen so that PostgreSQL can
hold the same tables.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import sqlite

SQLITE = sqlite.dialect()
"""How SQL is written for SQLite."""

HEAD = "0003"
"""The newest schema version; migrations are numbered upwards from 0001."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, kept in UTC with microseconds. Who stores one has checked that it has a time zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Turn a moment into UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Say that a stored moment is UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _to(table: str, *, nullable: bool = False) -> Column[int]:
    return Column(f"{table}_id", ForeignKey(f"{table}s.id"), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable)


def _double(name: str, *, nullable: bool = True) -> Column[float]:
    return Column(name, Double, nullable=nullable)


def _statistics() -> list[Column[int] | Column[float]]:
    """One series of runs, as :class:`~leti_opt.device.run_batch.RunBatch` has it."""
    return [
        Column("count", Integer),
        _double("mean_ms", nullable=False),
        *(_double(f"{name}_ms") for name in ("std", "min", "max", "median", "p5", "p95", "mean_error")),
        Column("runs_per_sample", Integer, nullable=False, server_default="1"),
    ]


models = Table(
    "models",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),
    _text("name"),
    _text("renderer"),
    _text("precision"),
    Column("batch_size", Integer),
    _text("input_shape", nullable=True),
    Column("flops", BigInteger),
    Column("parameters", BigInteger),
    _text("layer_graph_digest", nullable=True),
    _text("role", nullable=True),
    _text("path", nullable=True),
    _text("file_sha256", nullable=True),
)
"""``role`` is ``canary`` for the network that only watches its device, ``block`` for a part of a network, measured for
a lookup table, and NULL for results; ``path`` is a user's file."""

# What the digests in aliases stand for, so that a cell's network can be built again from the store alone.
networks = Table(
    "networks",
    metadata,
    _id(),
    Column("digest", Text, nullable=False, unique=True),
    Column("config", JSON, nullable=False),
)

# The unique index begins with the two columns that look-ups have, so it is also the index that they use.
aliases = Table(
    "aliases",
    metadata,
    _id(),
    _text("graph_hash"),
    _text("network_digest"),
    _text("renderer"),
    _text("cell"),
    _to("model"),
    UniqueConstraint("graph_hash", "network_digest", "renderer", "cell"),
    Index(None, "model_id"),
    # All cells of a network are read off this one.
    Index("ix_aliases_standing", "network_digest", "renderer", "model_id", "graph_hash"),
)

devices = Table(
    "devices",
    metadata,
    _id(),
    Column("digest", Text, nullable=False, unique=True),
    _text("kind"),
    _text("hardware"),
    _text("runtime"),
    _text("runner"),
    _text("delegate"),
    Column("options", JSON, nullable=False),
    _text("origin"),
)

epochs = Table(
    "epochs",
    metadata,
    _id(),
    _to("device"),
    _text("digest"),
    _text("system_build"),
    _text("driver"),
    _text("unit"),
    UniqueConstraint("device_id", "digest"),
)

epoch_links = Table(
    "epoch_links",
    metadata,
    _id(),
    Column("first_epoch_id", ForeignKey("epochs.id"), nullable=False),
    Column("second_epoch_id", ForeignKey("epochs.id"), nullable=False),
    Column("agrees", Boolean, nullable=False),
    _double("median_ratio"),
    _double("spearman"),
    Column("networks", Integer, nullable=False),
    Column("checked_at", UtcDateTime, nullable=False),
    Index(None, "first_epoch_id"),
    Index(None, "second_epoch_id"),
)

device_uris = Table(
    "device_uris",
    metadata,
    Column("uri", Text, primary_key=True),
    _to("device"),
    _to("epoch"),
    Column("last_seen", UtcDateTime, nullable=False),
)

_JUDGED = ("status", "count", "mean_ms", "std_ms", "relative_error", "runs_per_sample", "mean_error_ms")

measurements = Table(
    "measurements",
    metadata,
    _id(),
    Column("digest", String(64), nullable=False, unique=True),
    _to("model"),
    _to("epoch"),
    Column(
        "status", Text, CheckConstraint("status IN ('stable', 'unstable', 'unchecked')", name="status"), nullable=False
    ),
    *_statistics(),
    Column("min_runs", Integer, nullable=False),
    _double("max_relative_std", nullable=False),
    Column("warmup_runs", Integer, nullable=False),
    _double("first_run_ms"),
    _double("initialization_ms"),
    Column("started_at", UtcDateTime, nullable=False),
    _double("duration_s", nullable=False),
    _text("tool"),
    _text("commit", nullable=True),
    _text("origin"),
    _double("relative_error"),
    _text("source", nullable=True),
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
    _text("text"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("measurement_id", ForeignKey("measurements.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    _text("name"),
    _double("value", nullable=False),
    _text("unit"),
    _text("source"),
)

# What was measured while its device was not itself. The measurement stays; it answers nothing any more.
suspicions = Table(
    "suspicions",
    metadata,
    Column("measurement_id", ForeignKey("measurements.id"), primary_key=True),
    _text("reason"),
    Column("found_at", UtcDateTime, nullable=False),
)

# The networks that are measured again when a device has changed, in order of latency.
panel_members = Table(
    "panel_members",
    metadata,
    Column("device_id", ForeignKey("devices.id"), primary_key=True),
    Column("network_digest", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    _to("model"),
)

# Networks that could not be built have no model yet: their alias stands here itself.
failures = Table(
    "failures",
    metadata,
    _id(),
    _to("model", nullable=True),
    _text("graph_hash", nullable=True),
    _text("network_digest", nullable=True),
    _text("renderer", nullable=True),
    _text("cell", nullable=True),
    _to("device", nullable=True),
    _to("epoch", nullable=True),
    Column("stage", Text, CheckConstraint("stage IN ('build', 'load', 'run')", name="stage"), nullable=False),
    _text("reason"),
    Column("failed_at", UtcDateTime, nullable=False),
    _text("tool"),
    _text("commit", nullable=True),
    Index(None, "model_id"),
    Index(None, "graph_hash", "network_digest"),
)

scores = Table(
    "scores",
    metadata,
    _id(),
    _text("cell"),
    _text("graph_hash"),
    _text("evaluator_digest"),
    _text("evaluator"),
    _double("value", nullable=False),
    Column("details", JSON, nullable=False),
    _double("duration_s", nullable=False),
    Column("scored_at", UtcDateTime, nullable=False),
    UniqueConstraint("cell", "evaluator_digest"),
)

searches = Table(
    "searches",
    metadata,
    _id(),
    Column("digest", String(64), nullable=False, unique=True),
    Column("settings", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("search_id", ForeignKey("searches.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    _text("cell"),
    Column("losses", JSON, nullable=False),
    _text("status"),
    Column("told_at", UtcDateTime, nullable=False),
)

# Who works on what, for some time: several hosts share the work so.
claims = Table(
    "claims",
    metadata,
    Column("key", Text, primary_key=True),
    _text("owner"),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "owner"),
)

campaigns = Table(
    "campaigns",
    metadata,
    _id(),
    Column("digest", String(64), nullable=False, unique=True),
    _text("name"),
    Column("settings", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

campaign_events = Table(
    "campaign_events",
    metadata,
    _id(),
    _to("campaign"),
    Column("at", UtcDateTime, nullable=False),
    _text("kind"),
    _text("device", nullable=True),
    _text("text"),
    Index(None, "campaign_id", "at"),
)
