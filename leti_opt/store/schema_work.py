"""The tables of what goes on around measurements: scores, searches, campaigns, and who works on what."""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from leti_opt.store.schema_columns import UtcDateTime, double, identifier, metadata, reference, text

scores = Table(
    "scores",
    metadata,
    identifier(),
    text("cell"),
    text("graph_hash"),
    text("evaluator_digest"),
    text("evaluator"),
    double("value", nullable=False),
    Column("details", JSON, nullable=False),
    double("duration_s", nullable=False),
    Column("scored_at", UtcDateTime, nullable=False),
    UniqueConstraint("cell", "evaluator_digest"),
)

searches = Table(
    "searches",
    metadata,
    identifier(),
    Column("digest", String(64), nullable=False, unique=True),
    Column("settings", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("search_id", ForeignKey("searches.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    text("cell"),
    Column("losses", JSON, nullable=False),
    text("status"),
    Column("told_at", UtcDateTime, nullable=False),
)

# Who works on what, for some time: several hosts share the work so.
claims = Table(
    "claims",
    metadata,
    Column("key", Text, primary_key=True),
    text("owner"),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "owner"),
)

campaigns = Table(
    "campaigns",
    metadata,
    identifier(),
    Column("digest", String(64), nullable=False, unique=True),
    text("name"),
    Column("settings", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

campaign_events = Table(
    "campaign_events",
    metadata,
    identifier(),
    reference("campaign"),
    Column("at", UtcDateTime, nullable=False),
    text("kind"),
    text("device", nullable=True),
    text("text"),
    Index(None, "campaign_id", "at"),
)
